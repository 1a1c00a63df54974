//! What a robot's step costs, and the life of an op: `cargo bench --bench engine`.
//! The target answers at once and the world is the virtual one, so that only our own cost is seen.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::{path::Path, rc::Rc, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use futures_util::future::LocalBoxFuture;
use robot_city::{
    base::{id::RobotId, name::NodeName, rng::Rng, time::Time},
    city::{City, clock::CityClock},
    engine::{
        Engine,
        target::{Target, Tried},
    },
    history::{
        answer::Answer,
        declares::{Declares, Offers},
        op::{Ask, Attempt, Op, OpKind, OpSet, Outcome},
        probe::ProbeSet,
        record::Record,
    },
    robot::{Act, Event, Robot, Surroundings, driver::Driver},
    scenario::{Load, Robots},
    world::virtual_::Sim,
};

fn main() {
    divan::main();
}

/// Drivers of the benches: those of the evening in Dublin.
const DRIVERS: u32 = 12_000;
const PING_EVERY: Duration = Duration::from_millis(7_500);

fn around() -> Surroundings {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cities/dublin.toml");
    let city = City::load(&path).expect("the checked-in city is valid");
    Surroundings {
        city: Rc::new(city),
        clock: CityClock { origin: Time::ZERO, start_s: 77_400.0, scale: 1.0 },
        habits: Rc::new(Robots::default()),
        ping_every: PING_EVERY,
        ops: OpSet::all().without(OpKind::SetupApproveDriver),
        offers: Offers::Ping,
        search_ttl: Duration::from_mins(1),
        token_ttl: Duration::from_mins(2),
        probes: ProbeSet::default(),
        second_phones: 0.0,
    }
}

/// Answers everything with yes, at once.
struct Yes(Declares);

fn yes() -> Tried {
    Tried {
        outcome: Outcome::Ok,
        answer: Answer::default(),
        node: None,
        status: Some(200),
        error: None,
        expired: false,
        retry: false,
    }
}

impl Target for Yes {
    fn declares(&self) -> &Declares {
        &self.0
    }
    fn attempt<'a>(&'a self, _: RobotId, _: &'a Ask, _: u32) -> LocalBoxFuture<'a, Tried> {
        Box::pin(std::future::ready(yes()))
    }
}

fn op(robot: RobotId, ask: Ask, now: Time) -> Op {
    let (outcome, node) = (Outcome::Ok, None);
    let attempt = Attempt { sent: now, done: now, outcome, node, status: Some(200), error: None };
    Op {
        id: 1,
        robot,
        ask,
        planned: now,
        sent: now,
        done: now,
        outcome,
        attempts: vec![attempt],
        answer: Answer::default(),
    }
}

/// A driver on shift, and the alarm of its next ping.
fn on_shift(around: &Surroundings, rng: &mut Rng) -> (Driver, Act) {
    let mut driver = Driver::new(42);
    let mut acts = vec![];
    driver.step(Time(1), Event::Start, rng, around, &mut acts);
    let mut ping = None;
    while ping.is_none() {
        let asked = acts.iter().find_map(|act| match act {
            Act::Ask(ask) if ask.op != OpKind::DriverPing => Some(ask.clone()),
            _ => None,
        });
        let ask = asked.expect("it signs on step by step");
        acts.clear();
        let op = op(driver.id(), ask, Time(1));
        driver.step(Time(1), Event::Done(&op), rng, around, &mut acts);
        // The last alarm that it sets when it comes on shift is that of its pulse.
        ping = acts.iter().rev().find(|act| matches!(act, Act::Wake(..))).cloned();
    }
    (driver, ping.expect("it is set"))
}

/// One ping of one driver: the alarm, and the answer.
#[divan::bench]
fn driver_ping_step(bencher: Bencher) {
    let around = around();
    let mut rng = Rng::from_seed("bench");
    let (mut driver, Act::Wake(mut at, alarm)) = on_shift(&around, &mut rng) else { return };
    let answer = op(driver.id(), Ask::new(OpKind::DriverPing), at);
    let mut acts = vec![];
    bencher.bench_local(|| {
        acts.clear();
        driver.step(at, Event::Alarm(alarm), &mut rng, &around, &mut acts);
        driver.step(at, Event::Done(&answer), &mut rng, &around, &mut acts);
        at += PING_EVERY;
        acts.len()
    });
}

/// A minute of 12,000 drivers in virtual time: the cost of each ping with everything around it
/// (agenda, step, op, world), but no target.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn life_of_a_ping(bencher: Bencher) {
    let pings = u64::from(DRIVERS) * 8;
    bencher.counter(ItemsCount::new(pings)).with_inputs(city_at_work).bench_local_values(
        |(sim, engine)| {
            let minute = engine.load(Duration::from_mins(1));
            sim.run(minute).expect("the world goes on");
            engine.figures().pings.ok
        },
    );
}

fn city_at_work() -> (Sim, Rc<Engine>) {
    let sim = Sim::new("bench");
    let env = sim.node(&NodeName::from("robots"));
    let load = Load {
        drivers: DRIVERS,
        updates_per_second: 1_600.0,
        jobs_per_hour: 0.0,
        passengers: 0,
        ..Load::default()
    };
    let target = Rc::new(Yes(Declares::default()));
    let sink = Rc::new(|record: Record| {
        divan::black_box(&record);
    });
    let engine = Rc::new(Engine::new(env, target, around(), load, sink));
    let filled = sim.run(engine.fill(Duration::from_secs(5)));
    assert!(filled.expect("the world goes on"));
    (sim, engine)
}
