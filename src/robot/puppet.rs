//! A robot on strings, for the tests of robots: events by hand, alarms in order, answers as scripted.

use std::{rc::Rc, time::Duration};

use super::{Act, Alarm, Event, Robot, Standing, Surroundings, Trip};
use crate::{
    base::{id::Id, place::Place, rng::Rng, time::Time},
    city::{City, clock::CityClock},
    history::{
        answer::{Answer, JobState, JobView, OfferView, Refusal},
        declares::Offers,
        op::{Ask, Attempt, Op, OpKind, OpSet, Outcome},
        probe::Probe,
    },
    scenario::Robots,
};

/// A city for tests: time in it runs twenty times as fast.
pub fn around(habits: Robots) -> Surroundings {
    let city: City = crate::city::tests::bay();
    let second_phones = habits.mishaps.second_phones;
    Surroundings {
        city: Rc::new(city),
        clock: CityClock { origin: Time::ZERO, start_s: 79_200.0, scale: 20.0 },
        habits: Rc::new(habits),
        ping_every: Duration::from_millis(7_500),
        ops: OpSet::all().without(OpKind::SetupApproveDriver),
        offers: Offers::Ping,
        search_ttl: Duration::from_mins(1),
        token_ttl: Duration::from_mins(2),
        probes: Probe::ALL.iter().copied().collect(),
        second_phones,
    }
}

/// Habits without any whim: every offer is taken at once, nobody gives anything up.
pub fn steady() -> Robots {
    Robots {
        clumsy: 0.0,
        declines: 0.0,
        ignores: 0.0,
        driver_cancels: 0.0,
        cancels_before_match: 0.0,
        cancels_after_match: 0.0,
        no_shows: 0.0,
        browses: 0.0,
        ..Robots::default()
    }
}

/// The robot and its strings.
pub struct Puppet<R> {
    pub robot: R,
    pub now: Time,
    pub rested: u32,
    pub around: Surroundings,
    rng: Rng,
    alarms: Vec<(Time, Alarm)>,
    /// Asked and not yet answered, in order.
    pub asked: Vec<Ask>,
    ops: u64,
}

impl<R: Robot> Puppet<R> {
    pub fn new(robot: R, habits: Robots) -> Self {
        let rng = Rng::from_seed("puppet");
        let (asked, alarms) = (vec![], vec![]);
        Self { robot, now: Time(1), rested: 0, around: around(habits), rng, alarms, asked, ops: 0 }
    }

    /// Lets it take an event now.
    pub fn event(&mut self, event: Event<'_>) {
        self.event_at(self.now, event);
    }

    fn event_at(&mut self, now: Time, event: Event<'_>) {
        let mut acts = vec![];
        self.robot.step(now, event, &mut self.rng, &self.around, &mut acts);
        for act in acts {
            match act {
                Act::Ask(ask) => self.asked.push(ask),
                Act::Wake(at, alarm) => {
                    assert!(at >= now, "an alarm in the past");
                    self.alarms.push((at, alarm));
                }
                Act::Rest => self.rested += 1,
            }
        }
    }

    /// Goes on from another part of its stream.
    pub fn rng_skip(&mut self, draws: u32) {
        for _ in 0..draws {
            self.rng.u64();
        }
    }

    /// Rings the earliest alarm with its planned moment, and tells that.
    pub fn ring(&mut self) -> Time {
        // Of the same moment the first that was set: the sort is stable.
        self.alarms.sort_by_key(|(at, _)| *at);
        assert!(!self.alarms.is_empty(), "nothing to wait for");
        let (at, alarm) = self.alarms.remove(0);
        self.now = self.now.max(at);
        self.event_at(at, Event::Alarm(alarm));
        at
    }

    /// The first op of that kind that waits for an answer, taken out of the list.
    pub fn take(&mut self, kind: OpKind) -> Option<Ask> {
        let index = self.asked.iter().position(|ask| ask.op == kind)?;
        Some(self.asked.remove(index))
    }

    /// Rings alarms until it asks `kind`; drops pings, and answers looks at the job with `job`.
    pub fn until(&mut self, kind: OpKind, job: Option<&JobView>) -> Ask {
        for _ in 0..10_000 {
            if let Some(ask) = self.take(kind) {
                return ask;
            }
            self.look(job);
            if let Some(ask) = self.take(kind) {
                return ask;
            }
            self.asked.retain(|ask| ask.op != OpKind::DriverPing);
            self.ring();
        }
        panic!("never asked {kind}; waits for {:?}", self.asked);
    }

    /// Answers every look at a job.
    pub fn look(&mut self, job: Option<&JobView>) {
        let looks =
            [OpKind::DriverCurrentJob, OpKind::PassengerCurrentJob, OpKind::PassengerJobStatus];
        for kind in looks {
            while let Some(ask) = self.take(kind) {
                self.done(ask, Outcome::Ok, job_answer(job));
            }
        }
    }

    /// Ends an op a moment from now.
    pub fn done(&mut self, ask: Ask, outcome: Outcome, answer: Answer) -> u64 {
        let sent = self.now;
        self.done_from(ask, sent, outcome, answer)
    }

    /// Ends an op that was sent at `sent`.
    pub fn done_from(&mut self, ask: Ask, sent: Time, outcome: Outcome, answer: Answer) -> u64 {
        self.now += Duration::from_millis(5);
        self.ops += 1;
        let attempt =
            Attempt { sent, done: self.now, outcome, node: None, status: None, error: None };
        let op = Op {
            id: self.ops,
            robot: self.robot.id(),
            ask,
            planned: sent,
            sent,
            done: self.now,
            outcome,
            attempts: vec![attempt],
            answer,
        };
        self.event(Event::Done(&op));
        self.ops
    }

    /// Ends the one op of that kind that waits for an answer.
    pub fn end(&mut self, kind: OpKind, outcome: Outcome, answer: Answer) -> Ask {
        let ask = self.take(kind).unwrap_or_else(|| panic!("{kind} not in {:?}", self.asked));
        self.done(ask.clone(), outcome, answer);
        ask
    }

    /// Ends it well, without content.
    pub fn ok(&mut self, kind: OpKind) -> Ask {
        self.end(kind, Outcome::Ok, Answer::default())
    }

    /// Ends it with a refusal.
    pub fn refused(&mut self, kind: OpKind, refusal: Refusal) -> Ask {
        self.end(kind, Outcome::Fail, refusal_answer(refusal))
    }

    /// Ends it unknown.
    pub fn unknown(&mut self, kind: OpKind) -> Ask {
        self.end(kind, Outcome::Info, Answer::default())
    }

    pub fn standing(&self) -> Standing {
        self.robot.standing()
    }

    /// The kinds of what waits for an answer.
    pub fn kinds(&self) -> Vec<OpKind> {
        self.asked.iter().map(|ask| ask.op).collect()
    }
}

pub fn refusal_answer(refusal: Refusal) -> Answer {
    Answer { refusal: Some(refusal), ..Answer::default() }
}

pub fn job_answer(job: Option<&JobView>) -> Answer {
    Answer { job: job.map(|job| Rc::new(job.clone())), ..Answer::default() }
}

pub fn trip() -> Trip {
    Trip { from: place(0), to: place(1) }
}

/// Some places of the test city, 2 km apart.
pub fn place(number: i32) -> Place {
    Place::from_degrees(53.05, 0.02 + 0.03 * f64::from(number))
}

pub fn job(state: JobState) -> JobView {
    JobView {
        id: Id::from("J1"),
        state,
        assignment: 1,
        driver: None,
        passenger: None,
        key: None,
        pickup: Some(place(0)),
        dropoff: Some(place(1)),
        fare_minor: None,
        assignments: vec![],
    }
}

pub fn offer(id: &str, expires_in_ms: u64) -> OfferView {
    OfferView {
        id: Id::from(id),
        job: Id::from("J1"),
        pickup: place(0),
        dropoff: Some(place(1)),
        expires_in_ms,
        fare_minor: None,
    }
}
