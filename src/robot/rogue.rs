//! The rogue: asks what is wrong on purpose. It has an account of its own like anybody else; every
//! other one plays a passenger, the others play drivers who are never on shift. One that plays a
//! passenger asks for too much at once now and then, and for a journey in the middle of it: should it
//! get one it behaves like any passenger, for which it has one inside.

use std::{collections::VecDeque, time::Duration};

use super::{
    Act, Event, Robot, Standing, Surroundings, Trip,
    cue::{Cue, alarm, kind_and_turn, seconds},
    passenger::Passenger,
    ploys::{self, Ploy, Prey},
    sign_on::{Progress, SignOn},
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        place::Place,
        rng::Rng,
        time::Time,
    },
    history::{
        answer::Refusal,
        op::{Ask, Op, OpKind, Outcome},
        probe::{Probe, ProbeSet},
    },
};

const STEPS: &[OpKind] = &[OpKind::DriverRegister, OpKind::DriverLogin];

// Alarms, above those of the passenger inside.
const PROWL: u32 = 15;
const AFTER: u32 = 14;
const HELD: u32 = 13;
const AGAIN: u32 = 12;

/// Others' jobs that it remembers.
const PREY_MAX: usize = 8;
/// It is too much at once for the first time at this pulse, and so many pulses later again.
const BURST_FIRST: u32 = 3;
const BURST_EVERY: u32 = 16;
/// Between the burst and the request in the middle of it: all of the burst has arrived by then.
const HOLD: Duration = Duration::from_millis(15);
/// How long it waits where the limit does not say.
const QUIET: Duration = Duration::from_secs(1);
/// Beyond what the limit says.
const QUIET_SLACK: Duration = Duration::from_millis(100);
/// Times that it comes back as the limit says before it gives up.
const AFTER_MAX: u32 = 8;
/// Of so many rogues one is a sentinel.
const SENTINEL_EVERY: u32 = 4;
/// A token counts as fresh for this part of its life.
const FRESH: f64 = 0.6;
/// A token is certainly over so long after its life.
const EXPIRED_AFTER: Duration = Duration::from_secs(2);
/// Times that one question is asked.
const TWINS: u32 = 3;

/// Fewer would play one side only.
const ROGUES_MIN: u32 = 2;

/// How many rogues there are beside so many drivers and passengers of the load, where those probes can be
/// sent: none where there is nothing that they could ask.
pub fn rogues(share: f64, drivers: u32, passengers: u32, probes: ProbeSet) -> u32 {
    // Replays are sent by others.
    let theirs = |probe: &Probe| *probe != Probe::PingReplay && probes.has(*probe);
    if share <= 0.0 || !Probe::ALL.iter().any(theirs) {
        return 0;
    }
    let all = f64::from(drivers) + f64::from(passengers);
    ((all * share).ceil() as u32).max(ROGUES_MIN)
}

/// Asks what is wrong.
#[derive(Debug)]
pub struct Rogue {
    number: u32,
    side: Side,
    /// When it last got its token.
    since: Time,
    /// It has asked with its token after the token's life.
    over: bool,
    pulses: u32,
    prey: VecDeque<Prey>,
    burst: Burst,
    /// A driver of another tenant, on shift at one place, once it is there; and that it is.
    sentinel: Option<(Place, bool)>,
    /// The question that is asked again, and how often.
    twin: Option<(Trip, u32)>,
    drained: bool,
}

#[derive(Debug)]
enum Side {
    Passenger(Box<Passenger>),
    Driver(SignOn, Standing),
}

/// How far it is with asking for too much at once.
#[derive(Debug)]
enum Burst {
    No,
    /// The request is to come, and the burst before it.
    Armed,
    /// The burst is out, and the request is held back for a moment.
    Out(Option<Box<Ask>>),
    /// It waits, as the limit said, after so many times in vain.
    Quiet(u32),
}

impl Rogue {
    /// The rogue of that number.
    pub fn new(number: u32) -> Self {
        let rides = RobotId { kind: RobotKind::Rogue, number }.rides();
        let side = if rides {
            Side::Passenger(Box::new(Passenger::new(number)))
        } else {
            Side::Driver(SignOn::new(STEPS), Standing::Arriving)
        };
        Self {
            number,
            side,
            since: Time::ZERO,
            over: false,
            pulses: 0,
            prey: VecDeque::new(),
            burst: Burst::No,
            sentinel: None,
            twin: None,
            drained: false,
        }
    }

    fn rides(&self) -> bool {
        matches!(self.side, Side::Passenger(_))
    }

    /// Lets the passenger inside take an event, where there is one. Should it ask for a journey while
    /// the burst is due, the burst goes first.
    fn inside(&mut self, event: Event<'_>, cue: &mut Cue<'_>) {
        let Side::Passenger(passenger) = &mut self.side else { return };
        let first = cue.acts.len();
        passenger.step(cue.now, event, cue.rng, cue.around, cue.acts);
        let asks =
            |act: &Act| matches!(act, Act::Ask(ask) if ask.op == OpKind::PassengerRequestJob);
        if matches!(self.burst, Burst::Armed)
            && let Some(at) = cue.acts[first..].iter().position(asks)
            && let Act::Ask(request) = cue.acts.remove(first + at)
        {
            let op = OpKind::PassengerCurrentJob;
            for _ in 0..cue.around.habits.rogue.burst {
                cue.ask(Ask { probe: Some(Probe::LimitBurst), ..Ask::new(op) });
            }
            self.burst = Burst::Out(Some(Box::new(request)));
            cue.wake(HOLD, alarm(HELD, 0));
        }
    }

    fn start(&mut self, cue: &mut Cue<'_>) {
        Self::next_pulse(cue);
        if self.number % SENTINEL_EVERY == SENTINEL_EVERY - 1
            && cue.around.probes.has(Probe::Outside)
        {
            let hour = cue.around.clock.hour(cue.now);
            self.sentinel = Some((cue.around.city.draw_trip(hour, cue.rng).0, false));
        }
        if let Side::Driver(sign_on, standing) = &mut self.side {
            match sign_on.begin(cue.around.ops) {
                Some(step) => self.ask_step(step, cue),
                None => *standing = Standing::Free,
            }
        }
        self.inside(Event::Start, cue);
    }

    /// A step of signing on. A sentinel says from the first whose it is.
    fn ask_step(&self, op: OpKind, cue: &mut Cue<'_>) {
        let opens = self.sentinel.is_some() && op == OpKind::DriverRegister;
        cue.ask(Ask { probe: opens.then_some(Probe::Outside), ..Ask::new(op) });
    }

    /// A sentinel goes on shift and says where it is, and does nothing else.
    fn stand_guard(&self, at: Place, on_shift: bool, cue: &mut Cue<'_>) {
        let age = cue.now - self.since;
        if age > cue.around.token_ttl.mul_f64(FRESH) {
            return cue.ask(Ask::new(OpKind::DriverLogin));
        }
        let op = if on_shift { OpKind::DriverPing } else { OpKind::DriverGoOnline };
        let (at, seq, probe) = (Some(at), Some(self.pulses.into()), Some(Probe::Outside));
        cue.ask(Ask { at, seq, probe, ..Ask::new(op) });
    }

    fn next_pulse(cue: &mut Cue<'_>) {
        let wait = cue.rng.between(0.5, 1.5) / cue.around.habits.rogue.rate;
        cue.wake(seconds(wait), alarm(PROWL, 0));
    }

    fn prowl(&mut self, cue: &mut Cue<'_>) {
        if self.drained || self.standing() == Standing::Gone {
            return;
        }
        Self::next_pulse(cue);
        if self.standing() == Standing::Arriving || !matches!(self.burst, Burst::No) {
            return;
        }
        self.pulses += 1;
        if self.rides() {
            self.as_passenger(cue);
        } else {
            self.as_driver(cue);
        }
    }

    fn as_passenger(&mut self, cue: &mut Cue<'_>) {
        let age = cue.now - self.since;
        if age > cue.around.token_ttl.mul_f64(FRESH) {
            return cue.ask(Ask::new(OpKind::PassengerLogin));
        }
        if self.is_burst_due(cue) {
            self.burst = Burst::Armed;
            self.prey.clear();
            let hour = cue.around.clock.hour(cue.now);
            let (from, to) = cue.around.city.draw_trip(hour, cue.rng);
            return self.inside(Event::Wish(Trip { from, to }), cue);
        }
        let mood = cue.rng.unit();
        if mood < 0.1 && self.twin.is_none() && cue.around.probes.has(Probe::Twin) {
            let hour = cue.around.clock.hour(cue.now);
            let (from, to) = cue.around.city.draw_trip(hour, cue.rng);
            self.twin = Some((Trip { from, to }, 0));
            return self.ask_twin(cue);
        }
        match mood {
            ..0.3 => self.try_one(ploys::PASSENGER_TOKENS, cue),
            0.3..0.65 => self.try_one(ploys::PASSENGER_JOBS, cue),
            _ => self.try_one(ploys::PASSENGER_INPUT, cue),
        }
    }

    fn is_burst_due(&self, cue: &Cue<'_>) -> bool {
        self.pulses % BURST_EVERY == BURST_FIRST
            && self.standing() == Standing::Free
            && cue.around.probes.has(Probe::LimitBurst)
            && cue.has(OpKind::PassengerCurrentJob)
            && cue.has(OpKind::PassengerRequestJob)
    }

    fn as_driver(&mut self, cue: &mut Cue<'_>) {
        if let Some((at, on_shift)) = self.sentinel {
            return self.stand_guard(at, on_shift, cue);
        }
        let (age, life) = (cue.now - self.since, cue.around.token_ttl);
        let mood = cue.rng.unit();
        if self.over {
            return cue.ask(Ask::new(OpKind::DriverLogin));
        }
        if age > life + EXPIRED_AFTER {
            self.over = true;
            for ploy in ploys::EXPIRED {
                if cue.has(ploy.0) && cue.around.probes.has(ploy.1) {
                    self.try_this(*ploy, cue);
                }
            }
        } else if age > life.mul_f64(FRESH) || mood < 0.3 {
            self.try_one(ploys::DRIVER_TOKENS, cue);
        } else if mood < 0.65 {
            self.try_one(ploys::DRIVER_JOBS, cue);
        } else {
            self.try_one(ploys::DRIVER_INPUT, cue);
        }
    }

    fn try_one(&self, all: &[Ploy], cue: &mut Cue<'_>) {
        if let Some(ploy) = ploys::draw(all, cue) {
            self.try_this(ploy, cue);
        }
    }

    fn try_this(&self, ploy: Ploy, cue: &mut Cue<'_>) {
        let ask = ploys::ask(ploy, self.id(), self.pulses, cue);
        if ploy.1 != Probe::JobOther {
            return cue.ask(ask);
        }
        // The newest first: older ones are over already, and are no good test.
        let ask = self.prey.iter().rev().find_map(|prey| prey.put_into(ask.clone()));
        if let Some(ask) = ask {
            cue.ask(ask);
        }
    }

    fn ask_twin(&mut self, cue: &mut Cue<'_>) {
        let Some((trip, asked)) = &mut self.twin else { return };
        if *asked == TWINS {
            self.twin = None;
            return;
        }
        *asked += 1;
        let key = Some(Id::from(u64::from(self.pulses)));
        let (at, to, probe) = (Some(trip.from), Some(trip.to), Some(Probe::Twin));
        cue.ask(Ask { at, to, key, probe, ..Ask::new(OpKind::PassengerQuote) });
    }

    /// Remembers a job that certainly is another's: while it has none of its own, and wants none.
    fn hears(&mut self, op: &Op) {
        let alone = self.standing() == Standing::Free && matches!(self.burst, Burst::No);
        if let Some(prey) = Prey::of(op).filter(|_| alone) {
            if self.prey.len() == PREY_MAX {
                self.prey.pop_front();
            }
            self.prey.push_back(prey);
        }
    }

    fn done(&mut self, op: &Op, cue: &mut Cue<'_>) {
        match op.ask.probe {
            Some(Probe::Twin) => self.ask_twin(cue),
            Some(Probe::LimitAfter) => self.came_back(op, cue),
            Some(Probe::Outside) => {
                if let (Some((_, on_shift)), OpKind::DriverGoOnline) =
                    (&mut self.sentinel, op.kind())
                {
                    *on_shift |= op.outcome == Outcome::Ok;
                }
                self.sign_on(op, cue);
            }
            Some(_) => {}
            None => {
                let logs_in = matches!(op.kind(), OpKind::DriverLogin | OpKind::PassengerLogin);
                if logs_in && op.outcome == Outcome::Ok && op.ask.phone.is_none() {
                    (self.since, self.over) = (op.done, false);
                }
                if op.kind() == OpKind::PassengerRequestJob {
                    self.requested(op, cue);
                }
                self.sign_on(op, cue);
                self.inside(Event::Done(op), cue);
            }
        }
    }

    /// The request in the middle of the burst was answered.
    fn requested(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if matches!(self.burst, Burst::Out(None)) {
            self.burst = Burst::No;
            if op.answer.refusal == Some(Refusal::Limited) {
                self.keep_quiet(op, 0, cue);
            }
        }
    }

    fn keep_quiet(&mut self, op: &Op, tries: u32, cue: &mut Cue<'_>) {
        let told = op.answer.retry_after_ms;
        let wait = told.map_or(QUIET, |ms| Duration::from_millis(u64::from(ms)));
        self.burst = Burst::Quiet(tries);
        cue.wake(wait + QUIET_SLACK, alarm(AFTER, 0));
    }

    fn came_back(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Burst::Quiet(tries) = self.burst else { return };
        self.burst = Burst::No;
        if op.answer.refusal == Some(Refusal::Limited) && tries + 1 < AFTER_MAX {
            self.keep_quiet(op, tries + 1, cue);
        }
    }

    fn sign_on(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Side::Driver(sign_on, standing) = &mut self.side else { return };
        if *standing != Standing::Arriving {
            return;
        }
        match sign_on.done(op, cue.around.ops) {
            Progress::Stray => {}
            Progress::Ask(step) => self.ask_step(step, cue),
            Progress::Wait(step, tries) => {
                let wait = cue.patience(step, tries);
                cue.wake(wait, alarm(AGAIN, 0));
            }
            Progress::In => *standing = Standing::Free,
            Progress::GivenUp => {
                *standing = Standing::Gone;
                cue.rest();
            }
        }
    }

    fn rang(&mut self, kind: u32, cue: &mut Cue<'_>) {
        match (kind, &mut self.burst) {
            (PROWL, _) => self.prowl(cue),
            (HELD, Burst::Out(held)) => {
                if let Some(request) = held.take() {
                    cue.ask(*request);
                }
            }
            (AFTER, Burst::Quiet(_)) => {
                let op = OpKind::PassengerCurrentJob;
                cue.ask(Ask { probe: Some(Probe::LimitAfter), ..Ask::new(op) });
            }
            (AGAIN, _) => {
                if let Side::Driver(sign_on, Standing::Arriving) = &self.side {
                    self.ask_step(sign_on.step(), cue);
                }
            }
            _ => {}
        }
    }

    fn sign_off(&mut self, cue: &mut Cue<'_>) {
        self.drained = true;
        if let Side::Driver(_, standing) = &mut self.side {
            if self.sentinel.is_some() {
                let probe = Some(Probe::Outside);
                cue.ask(Ask { probe, ..Ask::new(OpKind::DriverGoOffline) });
            }
            *standing = Standing::Gone;
            cue.rest();
        }
        self.inside(Event::SignOff, cue);
    }
}

impl Robot for Rogue {
    fn id(&self) -> RobotId {
        RobotId { kind: RobotKind::Rogue, number: self.number }
    }

    fn step(
        &mut self,
        now: Time,
        event: Event<'_>,
        rng: &mut Rng,
        around: &Surroundings,
        acts: &mut Vec<Act>,
    ) {
        let mut cue = Cue { now, rng, around, acts };
        match event {
            Event::Start => self.start(&mut cue),
            Event::Alarm(alarm) => match kind_and_turn(alarm) {
                (kind @ AGAIN..=PROWL, _) => self.rang(kind, &mut cue),
                _ => self.inside(event, &mut cue),
            },
            Event::Done(op) => self.done(op, &mut cue),
            Event::Overheard(op) => self.hears(op),
            Event::Drain => {
                self.drained = true;
                self.inside(event, &mut cue);
            }
            Event::SignOff => self.sign_off(&mut cue),
            Event::Told(_) => self.inside(event, &mut cue),
            Event::Wish(_) | Event::Known(_) | Event::Report => {}
        }
    }

    fn standing(&self) -> Standing {
        let standing = match &self.side {
            Side::Passenger(passenger) => passenger.standing(),
            Side::Driver(_, standing) => *standing,
        };
        match (standing, &self.burst) {
            (Standing::Free, Burst::Out(_) | Burst::Quiet(_)) => Standing::Busy,
            _ => standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::{Answer, JobState},
        robot::puppet::{Puppet, job, job_answer, steady},
        scenario::{self, Robots},
    };
    use OpKind as K;

    fn habits() -> Robots {
        let rogue = scenario::Rogue { share: 1.0, rate: 10.0, burst: 5 };
        Robots { rogue, ..steady() }
    }

    /// A rogue that has signed on.
    fn rogue(number: u32) -> Puppet<Rogue> {
        let mut puppet = Puppet::new(Rogue::new(number), habits());
        puppet.event(Event::Start);
        let steps = if number.is_multiple_of(2) {
            [K::PassengerRegister, K::PassengerLogin]
        } else {
            [K::DriverRegister, K::DriverLogin]
        };
        for step in steps {
            puppet.ok(step);
        }
        assert_eq!(puppet.standing(), Standing::Free);
        puppet
    }

    /// Rings so many alarms, refuses every probe, and hands out what was asked.
    fn prowl(puppet: &mut Puppet<Rogue>, alarms: u32) -> Vec<Ask> {
        let mut all = Vec::new();
        for _ in 0..alarms {
            puppet.ring();
            while !puppet.asked.is_empty() {
                let ask = puppet.asked.remove(0);
                all.push(ask.clone());
                let probe = ask.probe.is_some();
                let refusal = probe.then_some(Refusal::Forbidden);
                let outcome = if probe { Outcome::Fail } else { Outcome::Ok };
                puppet.done(ask, outcome, Answer { refusal, ..Answer::default() });
            }
        }
        all
    }

    fn overheard(puppet: &mut Puppet<Rogue>) {
        let moment = puppet.now;
        let op = Op {
            id: 99,
            robot: RobotId::passenger(5),
            ask: Ask::new(K::PassengerRequestJob),
            planned: moment,
            sent: moment,
            done: moment,
            outcome: Outcome::Ok,
            attempts: vec![],
            answer: job_answer(Some(&job(JobState::Requested))),
        };
        puppet.event(Event::Overheard(&op));
    }

    #[test]
    fn each_side_asks_all_that_is_wrong_and_what_is_others_only_when_it_heard_of_it() {
        for (number, side) in [(0, "passenger."), (1, "driver.")] {
            let mut puppet = rogue(number);
            let before = prowl(&mut puppet, 100);
            assert!(before.iter().all(|ask| ask.probe != Some(Probe::JobOther)));
            overheard(&mut puppet);
            let after = prowl(&mut puppet, 400);
            let others: Vec<_> =
                after.iter().filter(|ask| ask.probe == Some(Probe::JobOther)).collect();
            assert!(others.iter().all(|ask| ask.job == Some(Id::from("J1"))));
            assert!(others.iter().all(|ask| ask.op.word().starts_with(side)));
            let kinds = |probe: fn(Probe) -> bool| {
                after.iter().filter(|ask| ask.probe.is_some_and(probe)).count()
            };
            assert!(kinds(Probe::is_of_token) > 20 && kinds(Probe::is_of_input) > 20);
            assert!(number == 0 || !others.is_empty());
        }
    }

    #[test]
    fn one_that_plays_a_driver_asks_with_its_token_when_it_is_over_and_logs_in_again() {
        let mut puppet = rogue(1);
        puppet.around.token_ttl = Duration::from_secs(10);
        let since = puppet.now;
        let mut expired = 0;
        for _ in 0..600 {
            let asked = prowl(&mut puppet, 1);
            let over = asked.iter().filter(|ask| ask.probe == Some(Probe::TokenExpired));
            let over = over.count();
            assert!(over == 0 || puppet.now > since + Duration::from_secs(12));
            expired += over;
        }
        assert!(expired >= 4, "{expired}");
    }

    #[test]
    fn the_burst_goes_before_the_request_and_it_comes_back_when_it_may() {
        let mut puppet = rogue(0);
        let mut request = None;
        for _ in 0..1_000 {
            puppet.ring();
            let burst = puppet.asked.iter().filter(|ask| ask.probe == Some(Probe::LimitBurst));
            if burst.count() == 5 {
                assert!(puppet.take(K::PassengerRequestJob).is_none(), "it is held back");
                assert_eq!(puppet.standing(), Standing::Busy);
                puppet.asked.clear();
                while request.is_none() {
                    puppet.ring();
                    request = puppet.take(K::PassengerRequestJob);
                }
                break;
            }
            puppet.asked.clear();
        }
        let limited = Answer {
            refusal: Some(Refusal::Limited),
            retry_after_ms: Some(3_000),
            ..Answer::default()
        };
        let answered = puppet.now;
        puppet.asked.clear();
        puppet.done(request.unwrap(), Outcome::Fail, limited);
        while puppet.asked.is_empty() {
            puppet.ring();
        }
        assert!(puppet.now >= answered + Duration::from_secs(3));
        assert_eq!(puppet.asked[0].probe, Some(Probe::LimitAfter));
        puppet.ok(K::PassengerCurrentJob);
        assert_eq!(puppet.standing(), Standing::Free);
    }

    #[test]
    fn nothing_is_asked_any_more_when_the_demand_is_over() {
        for number in [0, 1] {
            let mut puppet = rogue(number);
            puppet.event(Event::Drain);
            puppet.ring();
            assert!(puppet.asked.is_empty());
            puppet.event(Event::SignOff);
            assert_eq!((puppet.standing(), puppet.rested > 0), (Standing::Gone, true));
        }
    }
}
