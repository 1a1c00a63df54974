//! The engine in a virtual world, with a small target in memory.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use futures_util::future::LocalBoxFuture;

use super::*;
use crate::{
    base::{
        id::{Id, RobotId},
        name::NodeName,
        time::Time,
    },
    history::{
        answer::{Answer, ChargeView, JobState, JobView, OfferView, Refusal},
        declares::Declares,
        op::{Ask, Op, OpKind, Outcome},
    },
    robot::puppet,
    scenario::{Arrivals, Robots},
    world::virtual_::Sim,
};
use target::Tried;

use OpKind as K;

/// A backend of few words: one offer a job, to the first driver who pings.
#[derive(Default)]
struct Toy {
    declares: Declares,
    env: RefCell<Option<Env>>,
    jobs: RefCell<BTreeMap<String, JobView>>,
    keys: RefCell<BTreeMap<Id, Id>>,
    charges: RefCell<BTreeMap<Id, Id>>,
    waiting: RefCell<Vec<Id>>,
    /// The open offer of each driver: shown until it is taken.
    offers: RefCell<BTreeMap<RobotId, Rc<OfferView>>>,
    /// Nothing is answered before that moment.
    stalled_until: Cell<Time>,
    /// Effects of requests whose answer is lost, still to come.
    lose_answers: Cell<u32>,
    refuse_connections: Cell<u32>,
    expire_once: Cell<bool>,
    duplicates: Cell<u32>,
    /// Sessions that were lost.
    forgotten: Cell<u32>,
}

impl Toy {
    fn job(&self, robot: RobotId, live: bool) -> Option<JobView> {
        let me = Id::from(robot.to_string().as_str());
        let jobs = self.jobs.borrow();
        let mine = |job: &&JobView| match robot.kind {
            RobotKind::Driver => job.driver.as_ref() == Some(&me) && job.state.is_held(),
            _ => job.passenger.as_ref() == Some(&me) && !job.state.is_terminal(),
        };
        jobs.values().find(|job| !live || mine(job)).cloned()
    }

    fn request(&self, robot: RobotId, ask: &Ask) -> Answer {
        let key = ask.key.clone().unwrap();
        let known = self.keys.borrow().get(&key).cloned();
        let replayed = known.is_some();
        if replayed {
            self.duplicates.set(self.duplicates.get() + 1);
        }
        let id = known.unwrap_or_else(|| {
            let id = Id::from(format!("J{}", self.jobs.borrow().len()).as_str());
            let view = JobView {
                id: id.clone(),
                state: JobState::Requested,
                assignment: 0,
                driver: None,
                passenger: Some(Id::from(robot.to_string().as_str())),
                key: None,
                pickup: ask.at,
                dropoff: ask.to,
                fare_minor: None,
                assignments: vec![],
            };
            self.jobs.borrow_mut().insert(id.0.to_string(), view);
            self.keys.borrow_mut().insert(key, id.clone());
            self.waiting.borrow_mut().push(id.clone());
            id
        });
        let job = self.jobs.borrow().get(id.as_str()).cloned().map(Rc::new);
        Answer { job, replayed, ..Answer::default() }
    }

    fn ping(&self, robot: RobotId) -> Answer {
        if self.job(robot, true).is_some() {
            return Answer::default();
        }
        if let Some(offer) = self.offers.borrow().get(&robot) {
            return Answer { offer: Some(offer.clone()), ..Answer::default() };
        }
        let Some(job) = self.waiting.borrow_mut().pop() else { return Answer::default() };
        let offer = Rc::new(OfferView {
            id: Id::from(format!("O-{job}").as_str()),
            job: job.clone(),
            pickup: puppet::place(0),
            dropoff: Some(puppet::place(1)),
            expires_in_ms: 60_000,
            fare_minor: None,
        });
        self.offers.borrow_mut().insert(robot, offer.clone());
        Answer { offer: Some(offer), ..Answer::default() }
    }

    fn turn(&self, robot: RobotId, ask: &Ask, state: JobState) -> Result<Answer, Refusal> {
        let mut jobs = self.jobs.borrow_mut();
        let id = ask.job.as_ref().ok_or(Refusal::Invalid)?;
        let job = jobs.get_mut(id.as_str()).ok_or(Refusal::NotFound)?;
        if job.state >= state {
            return Err(Refusal::Conflict);
        }
        job.state = state;
        self.offers.borrow_mut().remove(&robot);
        if state == JobState::Accepted {
            job.driver = Some(Id::from(robot.to_string().as_str()));
            job.assignment += 1;
        }
        Ok(Answer { job: Some(Rc::new(job.clone())), ..Answer::default() })
    }

    fn pay(&self, ask: &Ask) -> Answer {
        let job = ask.job.clone().unwrap();
        let fresh = Id::from(format!("C-{job}").as_str());
        let id = self.charges.borrow_mut().entry(job.clone()).or_insert(fresh).clone();
        Answer {
            charges: vec![ChargeView { id, job, amount_minor: 900, fee: false }],
            ..Answer::default()
        }
    }

    fn effect(&self, robot: RobotId, ask: &Ask) -> Result<Answer, Refusal> {
        if ask.probe.is_some() {
            return Err(Refusal::Forbidden);
        }
        Ok(match ask.op {
            K::DriverPing => self.ping(robot),
            K::PassengerRequestJob => self.request(robot, ask),
            K::DriverAccept => self.turn(robot, ask, JobState::Accepted)?,
            K::DriverArrive => self.turn(robot, ask, JobState::Arrived)?,
            K::DriverPickUp => self.turn(robot, ask, JobState::PickedUp)?,
            K::DriverDropOff => self.turn(robot, ask, JobState::Completed)?,
            K::PassengerPay => self.pay(ask),
            K::DriverCurrentJob | K::PassengerCurrentJob => {
                puppet::job_answer(self.job(robot, true).as_ref())
            }
            K::PassengerJobStatus => {
                let id = ask.job.as_ref().ok_or(Refusal::Invalid)?;
                let jobs = self.jobs.borrow();
                puppet::job_answer(Some(jobs.get(id.as_str()).ok_or(Refusal::NotFound)?))
            }
            K::AuditJobs => Answer {
                // Two a page.
                jobs: self.page(ask).into_iter().take(2).collect(),
                next: self.page(ask).get(2).map(|job| job.id.clone()),
                ..Answer::default()
            },
            _ => Answer::default(),
        })
    }

    fn page(&self, ask: &Ask) -> Vec<JobView> {
        let from = ask.key.clone().unwrap_or_default();
        let jobs = self.jobs.borrow();
        jobs.values().filter(|job| job.id >= from).cloned().collect()
    }

    fn env(&self) -> Env {
        self.env.borrow().clone().unwrap()
    }
}

fn tried(outcome: Outcome, answer: Answer) -> Tried {
    Tried { outcome, answer, node: None, status: None, error: None, expired: false, retry: false }
}

fn take_one(left: &Cell<u32>) -> bool {
    let some = left.get() > 0;
    left.set(left.get().saturating_sub(1));
    some
}

impl Target for Toy {
    fn declares(&self) -> &Declares {
        &self.declares
    }

    fn forget(&self, _: RobotId) {
        self.forgotten.set(self.forgotten.get() + 1);
    }

    fn attempt<'a>(
        &'a self,
        robot: RobotId,
        ask: &'a Ask,
        _attempt: u32,
    ) -> LocalBoxFuture<'a, Tried> {
        Box::pin(async move {
            let env = self.env();
            env.sleep(Duration::from_millis(2)).await;
            env.sleep_until(self.stalled_until.get()).await;
            if ask.op == K::PassengerRequestJob && take_one(&self.refuse_connections) {
                return Tried { retry: true, ..tried(Outcome::Fail, Answer::default()) };
            }
            if ask.op == K::DriverCurrentJob && self.expire_once.take() {
                return Tried { expired: true, ..tried(Outcome::Fail, Answer::default()) };
            }
            match self.effect(robot, ask) {
                Ok(_) if ask.op == K::PassengerRequestJob && take_one(&self.lose_answers) => {
                    Tried { retry: true, ..tried(Outcome::Info, Answer::default()) }
                }
                Ok(answer) => tried(Outcome::Ok, answer),
                Err(refusal) => tried(Outcome::Fail, puppet::refusal_answer(refusal)),
            }
        })
    }
}

type Records = Rc<RefCell<Vec<Record>>>;

struct Bench {
    sim: Sim,
    toy: Rc<Toy>,
    engine: Rc<Engine>,
    records: Records,
}

fn bench_with(habits: Robots, load: Load) -> Bench {
    let sim = Sim::new("engine");
    let env = sim.node(&NodeName::from("robots"));
    let toy = Rc::new(Toy::default());
    *toy.env.borrow_mut() = Some(env.clone());
    let records = Records::default();
    let sink: Rc<dyn Sink> = {
        let records = records.clone();
        Rc::new(move |record| records.borrow_mut().push(record))
    };
    let every = f64::from(load.drivers) / load.updates_per_second;
    let mut around = puppet::around(habits);
    around.ping_every = Duration::from_secs_f64(every);
    let engine = Rc::new(Engine::new(env, toy.clone(), around, load, sink));
    Bench { sim, toy, engine, records }
}

fn load() -> Load {
    Load {
        drivers: 200,
        updates_per_second: 100.0,
        jobs_per_hour: 1_800.0,
        passengers: 10,
        arrivals: Arrivals::Constant,
        ..Load::default()
    }
}

fn bench() -> Bench {
    bench_with(puppet::steady(), load())
}

const FILL: Duration = Duration::from_secs(5);

impl Bench {
    fn run<T>(&self, phase: impl Future<Output = T>) -> T {
        self.sim.run(phase).unwrap()
    }

    fn filled(self) -> Self {
        assert!(self.run(self.engine.fill(FILL)));
        self
    }

    fn ops(&self, kind: OpKind) -> Vec<Rc<Op>> {
        let records = self.records.borrow();
        let ops = records.iter().filter_map(|record| match record {
            Record::Op(op) if op.kind() == kind => Some(op.clone()),
            _ => None,
        });
        ops.collect()
    }
}

#[test]
fn a_whole_run_completes_and_pays_its_jobs_and_leaves_nobody_behind() {
    let bench = bench().filled();
    bench.run(bench.engine.load(Duration::from_secs(40)));
    bench.engine.drain();
    assert!(bench.run(bench.engine.settle(Duration::from_mins(2))));
    assert!(bench.run(bench.engine.read_back()));
    assert!(bench.run(bench.engine.sign_off(Duration::from_secs(30))));
    let jobs = bench.toy.jobs.borrow();
    assert_eq!(jobs.len(), 20, "1,800 an hour for 40 s");
    assert!(jobs.values().all(|job| job.state == JobState::Completed));
    assert_eq!(bench.toy.charges.borrow().len(), 20);
    let figures = bench.engine.figures();
    assert_eq!((figures.drivers_on_shift, figures.open_jobs, figures.in_flight), (0, 0, 0));
    assert_eq!((figures.wishes, figures.wishes_lost), (20, 0));
    let pages = bench.ops(K::AuditJobs);
    assert_eq!(pages.iter().map(|page| page.answer.jobs.len()).sum::<usize>(), 20);
    assert_eq!(bench.ops(K::DriverGoOffline).len(), 200);
}

#[test]
fn pings_are_even_and_at_the_asked_rate() {
    let bench = bench().filled();
    let start = bench.engine.figures().at;
    bench.run(bench.engine.load(Duration::from_secs(20)));
    let mut buckets = [0_u32; 200];
    for ping in bench.ops(K::DriverPing) {
        if ping.planned >= start {
            let bucket = (ping.planned - start).as_millis() as usize / 100;
            buckets[bucket.min(199)] += 1;
        }
    }
    let (low, high) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
    // Ten in each tenth of a second.
    assert!(*low >= 8 && *high <= 12, "{low} to {high}");
    assert_eq!(buckets.iter().sum::<u32>(), 2_000);
}

#[test]
fn response_time_counts_from_the_plan_while_the_target_stalls() {
    let bench = bench().filled();
    let start = bench.sim.now();
    bench.toy.stalled_until.set(start + Duration::from_secs(1));
    bench.run(bench.engine.load(Duration::from_secs(3)));
    let pings = bench.ops(K::DriverPing);
    let during: Vec<_> = pings
        .iter()
        .filter(|op| op.planned >= start && op.planned < start + Duration::from_secs(1))
        .collect();
    // None was held back, and each tells how long it really took.
    assert!((99..=101).contains(&during.len()), "{}", during.len());
    for op in during {
        assert!(op.sent - op.planned < Duration::from_millis(100), "open model: sent on time");
        let left = start + Duration::from_secs(1) - op.planned;
        assert!(op.done - op.planned >= left, "{:?} < {left:?}", op.done - op.planned);
    }
}

#[test]
fn a_ceiling_holds_and_the_lag_shows_it() {
    let load = Load { ceiling_per_second: Some(50), ..load() };
    let bench = bench_with(puppet::steady(), load);
    bench.run(bench.engine.fill(FILL));
    let start = bench.sim.now();
    bench.run(bench.engine.load(Duration::from_secs(10)));
    let sent = |from: Time, to: Time| {
        let records = bench.records.borrow();
        let count = records.iter().filter(|record| match record {
            Record::Op(op) => op.sent >= from && op.sent < to,
            _ => false,
        });
        count.count()
    };
    for second in 0..9 {
        let from = start + Duration::from_secs(second);
        assert!(sent(from, from + Duration::from_secs(1)) <= 51);
    }
    assert!(bench.engine.figures().lag_us.max() > 1_000_000);
}

#[test]
fn a_lost_answer_is_tried_again_with_the_same_key_and_has_one_effect() {
    let bench = bench().filled();
    bench.toy.lose_answers.set(2);
    bench.run(bench.engine.load(Duration::from_secs(10)));
    let requests = bench.ops(K::PassengerRequestJob);
    let first = &requests[0];
    let outcomes: Vec<_> = first.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Info, Outcome::Info, Outcome::Ok]);
    assert_eq!((first.outcome, first.answer.replayed), (Outcome::Ok, true));
    // Growing waits: 200 ms and 400 ms, of which at least a half.
    let waits: Vec<_> = first.attempts.windows(2).map(|two| two[1].sent - two[0].done).collect();
    assert!(waits[0] >= Duration::from_millis(100) && waits[0] <= Duration::from_millis(200));
    assert!(waits[1] >= Duration::from_millis(200) && waits[1] <= Duration::from_millis(400));
    assert_eq!(bench.toy.duplicates.get(), 2);
    assert_eq!(bench.toy.jobs.borrow().len(), 5);
}

#[test]
fn an_op_that_never_connects_certainly_failed_after_its_attempts() {
    let bench = bench().filled();
    bench.toy.refuse_connections.set(6);
    bench.run(bench.engine.load(Duration::from_secs(10)));
    let requests = bench.ops(K::PassengerRequestJob);
    let failed: Vec<_> = requests.iter().filter(|op| op.outcome == Outcome::Fail).collect();
    let attempts: usize = failed.iter().map(|op| op.attempts.len()).sum();
    assert!(failed.iter().all(|op| op.attempts.len() == 6));
    assert!(attempts <= 6);
    assert!(bench.engine.figures().retries >= 5);
}

#[test]
fn an_expired_token_is_renewed_by_a_login_of_its_own_and_the_op_tried_once_more() {
    let bench = bench().filled();
    let logins = bench.ops(K::DriverLogin).len();
    bench.toy.expire_once.set(true);
    bench.run(bench.engine.load(Duration::from_secs(20)));
    assert_eq!(bench.ops(K::DriverLogin).len(), logins + 1);
    let looks = bench.ops(K::DriverCurrentJob);
    let renewed: Vec<_> = looks.iter().filter(|op| op.attempts.len() == 2).collect();
    assert_eq!(renewed.len(), 1);
    assert_eq!(renewed[0].outcome, Outcome::Ok);
}

#[test]
fn pings_beyond_the_limit_are_skipped_and_told() {
    // A ping each 100 ms, and nothing is answered for ten seconds.
    let load = Load { drivers: 2, updates_per_second: 20.0, jobs_per_hour: 0.0, ..load() };
    let bench = bench_with(puppet::steady(), load).filled();
    bench.toy.stalled_until.set(bench.sim.now() + Duration::from_secs(10));
    bench.run(bench.engine.load(Duration::from_secs(5)));
    let figures = bench.engine.figures();
    assert_eq!(figures.in_flight, 2 * hub::IN_FLIGHT_PER_ROBOT);
    assert!(figures.pings.skipped >= 2 * 40, "{}", figures.pings.skipped);
    assert_eq!(figures.pings.planned, figures.pings.sent + figures.pings.skipped);
    let records = bench.records.borrow();
    let told = records.iter().map(|record| match record {
        Record::Skipped { count, .. } => *count,
        _ => 0,
    });
    assert_eq!(told.sum::<u64>(), figures.pings.skipped);
}

#[test]
fn a_driver_who_goes_home_is_replaced() {
    let habits =
        Robots { shift_s: crate::base::dist::Spread::Uniform(100.0, 600.0), ..puppet::steady() };
    let bench = bench_with(habits, Load { jobs_per_hour: 0.0, ..load() });
    bench.run(bench.engine.fill(FILL));
    bench.run(bench.engine.load(Duration::from_secs(30)));
    assert!(bench.ops(K::DriverGoOffline).len() > 100);
    let figures = bench.engine.figures();
    let here = figures.drivers_on_shift + figures.drivers_arriving;
    assert_eq!(here, 200, "none lost, none too many");
}

#[test]
fn a_dead_target_neither_hangs_a_phase_nor_is_stormed() {
    let bench = bench();
    bench.toy.stalled_until.set(Time::from_secs_f64(3_600.0));
    assert!(!bench.run(bench.engine.fill(FILL)));
    bench.engine.drain();
    assert!(bench.run(bench.engine.settle(Duration::from_secs(1))));
    assert!(!bench.run(bench.engine.sign_off(Duration::from_secs(5))));
    let figures = bench.engine.figures();
    assert_eq!(u64::from(figures.in_flight), 210, "one op each");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = || {
        let habits = Robots { clumsy: 0.3, ..Robots::default() };
        let bench = bench_with(habits, Load { arrivals: Arrivals::Poisson, ..load() });
        let bench = bench.filled();
        bench.run(bench.engine.load(Duration::from_secs(30)));
        let records = bench.records.borrow();
        serde_json::to_string(&*records).unwrap()
    };
    let (one, two) = (history(), history());
    assert!(one.len() > 100_000);
    assert!(one == two, "the histories differ");
}

#[test]
fn another_robot_changes_no_other_robots_stream() {
    let first_place = |drivers| {
        let bench = bench_with(puppet::steady(), Load { drivers, ..load() }).filled();
        let online = bench.ops(K::DriverGoOnline);
        online.iter().find(|op| op.robot == RobotId::driver(5)).unwrap().ask.at
    };
    assert_eq!(first_place(20), first_place(50));
}

#[test]
fn rogues_ask_beside_the_load_and_count_in_no_figure() {
    let rogue = crate::scenario::Rogue { share: 0.05, rate: 5.0, burst: 10 };
    let bench = bench_with(Robots { rogue, ..puppet::steady() }, load()).filled();
    bench.run(bench.engine.load(Duration::from_secs(20)));
    bench.engine.drain();
    assert!(bench.run(bench.engine.settle(Duration::from_mins(2))));
    let asked = bench.records.borrow().len();
    assert!(bench.run(bench.engine.sign_off(Duration::from_secs(30))));
    let records = bench.records.borrow();
    let ops = |records: &[Record]| -> Vec<Rc<Op>> {
        let op = |record: &Record| match record {
            Record::Op(op) => Some(op.clone()),
            _ => None,
        };
        records.iter().filter_map(op).collect()
    };
    let probes: Vec<_> = ops(&records).into_iter().filter(|op| op.ask.probe.is_some()).collect();
    assert!(probes.len() > 500, "{}", probes.len());
    assert!(probes.iter().all(|op| op.robot.kind == RobotKind::Rogue && op.attempts.len() == 1));
    let late = ops(&records[asked..]).into_iter().filter(|op| op.ask.probe.is_some());
    assert_eq!(late.filter(|op| op.kind() != K::DriverGoOffline).count(), 0, "after the drain");
    let figures = bench.engine.figures();
    let counted: u64 = figures.by_kind.iter().map(|counts| counts.ok + counts.fail).sum();
    assert_eq!(counted, ops(&records).iter().filter(|op| op.is_load()).count() as u64);
    assert_eq!(figures.by_kind[K::DriverRegister.index()].planned, 200);
}

/// Ops of a kind by the second after `start` in which they were planned.
fn by_second(bench: &Bench, kind: OpKind, start: Time, seconds: usize) -> Vec<usize> {
    let mut counts = vec![0; seconds];
    for op in bench.ops(kind).iter().filter(|op| op.planned >= start) {
        counts[((op.planned - start).as_secs() as usize).min(seconds - 1)] += 1;
    }
    counts
}

#[test]
fn a_surge_is_planned_at_its_rate_and_ends_at_once() {
    let bench = bench().filled();
    let (start, reins) = (bench.sim.now(), bench.engine.reins());
    assert!((reins.updates_per_s() - 100.0).abs() < 1e-9);
    let env = bench.sim.node(&NodeName::from("operator"));
    bench.run(async {
        let surge = async {
            env.sleep_until(start + Duration::from_secs(10)).await;
            let usual = reins.usual();
            assert!(usual.updates.abs_diff(100 * usual.seconds) <= 5, "{usual:?}");
            reins.surge(3.0, 2.0);
            env.sleep_until(start + Duration::from_secs(20)).await;
            let sent = reins.sent_since(start + Duration::from_secs(10));
            assert!(sent.updates / sent.seconds >= 195, "{sent:?}");
            reins.end_surge();
        };
        futures_util::join!(bench.engine.load(Duration::from_secs(30)), surge);
    });
    let pings = by_second(&bench, K::DriverPing, start, 30);
    let sums = |counts: &[usize]| -> [usize; 3] {
        std::array::from_fn(|third| counts[third * 10..(third + 1) * 10].iter().sum())
    };
    // What was due at the very end may still have come.
    let [before, during, after] = sums(&pings);
    assert_eq!(before, 1_000, "{pings:?}");
    assert!((1_990..=2_000).contains(&during), "{pings:?}");
    assert!((1_000..=1_001).contains(&after), "{pings:?}");
    // Half a request a second, and one more of them beside it.
    assert!((9..=10).contains(&reins.extra().wishes), "{:?}", reins.extra());
    let requests = by_second(&bench, K::PassengerRequestJob, start, 30);
    let [before, during, after] = sums(&requests);
    assert!((4..=6).contains(&before) && (4..=6).contains(&after), "{requests:?}");
    assert!((13..=16).contains(&during), "{requests:?}");
}

#[test]
fn what_a_surge_asks_for_counts_from_its_plan_while_the_target_stalls() {
    let bench = bench().filled();
    let (start, reins) = (bench.sim.now(), bench.engine.reins());
    bench.toy.stalled_until.set(start + Duration::from_secs(2));
    let surge = async { reins.surge(1.0, 2.0) };
    bench.run(async { futures_util::join!(bench.engine.load(Duration::from_secs(4)), surge) });
    let pings = by_second(&bench, K::DriverPing, start, 4);
    assert!(pings.iter().all(|count| (195..=205).contains(count)), "{pings:?}");
    let late = bench
        .ops(K::DriverPing)
        .into_iter()
        .find(|op| op.planned >= start && op.done - op.planned > Duration::from_millis(1_900));
    assert!(late.is_some(), "nobody waited for the stalled target");
}

#[test]
fn all_log_in_at_once_and_what_is_refused_meanwhile_waits_for_that() {
    let bench = bench().filled();
    let (start, reins) = (bench.sim.now(), bench.engine.reins());
    let env = bench.sim.node(&NodeName::from("operator"));
    bench.run(async {
        let wave = async {
            env.sleep_until(start + Duration::from_secs(5)).await;
            assert_eq!(reins.log_all_in(1.0), 210);
            env.sleep(Duration::from_secs(1)).await;
        };
        futures_util::join!(bench.engine.load(Duration::from_secs(10)), wave);
    });
    assert_eq!(reins.logins(), reins::Logins { asked: 210, sent: 210, away: 0 });
    assert_eq!(bench.toy.forgotten.get(), 210);
    let at = start + Duration::from_secs(5);
    let logins = [bench.ops(K::DriverLogin), bench.ops(K::PassengerLogin)].concat();
    assert_eq!(logins.iter().filter(|op| op.planned == at).count(), 210);
    let share = reins.log_all_in(0.5);
    assert!((80..=130).contains(&share), "{share}");
}
