//! What is noted of each op while a sample is played: when, of which kind, and which wish of a
//! passenger caused it. A wish begins with the first look at prices (or the request) and ends with
//! the last op about it.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeMap,
};

use super::shape::KINDS;
use crate::{
    base::{
        id::{Id, RobotKind},
        time::Time,
    },
    engine::Sink,
    history::{
        op::{Op, OpKind, Outcome},
        record::{Phase, Record},
    },
};

/// What a driver says when it has come to an end of a drive, or of the journey.
const ENDS_A_DRIVE: [OpKind; 4] =
    [OpKind::DriverArrive, OpKind::DriverDropOff, OpKind::DriverCancel, OpKind::DriverNoShow];

/// A journey that somebody wished for.
#[derive(Debug)]
pub struct Wish {
    /// When it came up, in seconds from the beginning of the fill; so are all moments here.
    pub began_s: f64,
    /// When its last op was done.
    pub ended_s: f64,
    /// The key of its request, once it was asked for.
    key: Option<Id>,
    drives: Vec<Drive>,
}

/// A driver drives for a wish.
#[derive(Debug)]
pub struct Drive {
    /// From when …
    pub from_s: f64,
    /// … to when: for ever, where nothing was heard of its end.
    to_s: f64,
    /// With the passenger, and not towards it.
    pub trip: bool,
}

impl Wish {
    /// Its drives that had begun by then, each with how long it had taken.
    pub fn drives_until(&self, at_s: f64) -> impl Iterator<Item = (&Drive, f64)> {
        let until_s = at_s.min(self.ended_s);
        let took = move |drive: &Drive| until_s.min(drive.to_s) - drive.from_s;
        self.drives.iter().map(move |drive| (drive, took(drive))).filter(|(_, took)| *took > 0.0)
    }

    /// The drive of that moment.
    pub fn drive_at(&self, at_s: f64) -> Option<&Drive> {
        self.drives.iter().find(|drive| (drive.from_s..drive.to_s).contains(&at_s))
    }

    /// What its driver said at that moment.
    fn said(&mut self, kind: OpKind, at_s: f64) {
        let begins = matches!(kind, OpKind::DriverAccept | OpKind::DriverPickUp);
        if !begins && !ENDS_A_DRIVE.contains(&kind) {
            return;
        }
        if let Some(last) = self.drives.last_mut() {
            last.to_s = last.to_s.min(at_s);
        }
        if begins {
            let trip = kind == OpKind::DriverPickUp;
            self.drives.push(Drive { from_s: at_s, to_s: f64::INFINITY, trip });
        }
    }
}

/// An op that a wish caused.
#[derive(Debug)]
pub struct Caused {
    /// Its kind, by index.
    pub kind: usize,
    /// The wish, by number.
    pub wish: usize,
    /// How long after the wish came up it was due, in seconds.
    pub age_s: f64,
}

/// Everything noted.
#[derive(Debug, Default)]
pub struct Notes {
    origin: Option<Time>,
    width_s: f64,
    /// When each phase began.
    pub phases: Vec<(Phase, f64)>,
    /// Ops by bucket and kind.
    pub ops: Vec<[u32; KINDS]>,
    /// Attempts by bucket and kind.
    pub attempts: Vec<[u32; KINDS]>,
    /// A driver came on shift (1) or left it (−1).
    pub shifts: Vec<(f64, i32)>,
    on_shift: Vec<bool>,
    /// A passenger signed on.
    pub passengers: Vec<f64>,
    /// Every wish.
    pub wishes: Vec<Wish>,
    /// The wish that each passenger has, or had last.
    latest: Vec<Option<usize>>,
    /// The wish behind each job.
    jobs: BTreeMap<Id, usize>,
    /// Ops of wishes.
    pub caused: Vec<Caused>,
    /// Ops of drivers on shift that no wish caused, updates and shifts aside.
    pub idle: Vec<u64>,
    /// Entries that audits listed, by kind.
    pub listed: Vec<u64>,
}

/// Takes notes of all that is recorded.
pub struct Notebook(RefCell<Notes>);

impl Notebook {
    /// An empty one; `width_s` is the width of its buckets.
    pub fn new(width_s: f64) -> Self {
        let none = vec![0; KINDS];
        let notes = Notes { width_s, idle: none.clone(), listed: none, ..Notes::default() };
        Self(RefCell::new(notes))
    }

    /// What is in it; it is empty afterwards.
    pub fn take(&self) -> Notes {
        self.0.take()
    }

    fn open(&self) -> RefMut<'_, Notes> {
        self.0.borrow_mut()
    }
}

impl Sink for Notebook {
    fn record(&self, record: Record) {
        match record {
            Record::Op(op) => self.open().op(&op),
            Record::Phase { phase, at } => self.open().phase(phase, at),
            _ => {}
        }
    }
}

impl Notes {
    /// Ops of a kind, in all.
    pub fn count(&self, kind: OpKind) -> f64 {
        self.ops.iter().map(|bucket| f64::from(bucket[kind.index()])).sum()
    }

    /// Attempts of a kind, in all.
    pub fn attempts_of(&self, kind: OpKind) -> f64 {
        self.attempts.iter().map(|bucket| f64::from(bucket[kind.index()])).sum()
    }

    /// The end of the last bucket.
    pub fn end_s(&self) -> f64 {
        self.ops.len() as f64 * self.width_s
    }

    /// When a phase began.
    pub fn began(&self, phase: Phase) -> Option<f64> {
        self.phases.iter().find(|(p, _)| *p == phase).map(|(_, at)| *at)
    }

    /// Seconds on shift of all drivers together, between two moments.
    pub fn driver_seconds(&self, from_s: f64, to_s: f64) -> f64 {
        let mut shifts = self.shifts.clone();
        shifts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut on, mut last, mut sum) = (0_i32, from_s, 0.0);
        for (at, step) in shifts {
            let at_s = at.clamp(from_s, to_s);
            sum += f64::from(on) * (at_s - last);
            (on, last) = (on + step, at_s);
        }
        sum + f64::from(on) * (to_s - last)
    }

    fn phase(&mut self, phase: Phase, at: Time) {
        if phase == Phase::Fill {
            self.origin = Some(at);
        }
        if let Some(origin) = self.origin {
            self.phases.push((phase, (at - origin).as_secs_f64()));
        }
    }

    fn op(&mut self, op: &Op) {
        let Some(origin) = self.origin else { return };
        let at_s = |at: Time| (at - origin).as_secs_f64();
        let (planned_s, done_s, kind) = (at_s(op.planned), at_s(op.done), op.kind().index());
        let bucket = (planned_s / self.width_s) as usize;
        if self.ops.len() <= bucket {
            self.ops.resize(bucket + 1, [0; KINDS]);
            self.attempts.resize(bucket + 1, [0; KINDS]);
        }
        self.ops[bucket][kind] += 1;
        self.attempts[bucket][kind] += op.attempts.len() as u32;
        match op.robot.kind {
            RobotKind::Driver => self.of_driver(op, planned_s, done_s),
            RobotKind::Passenger => self.of_passenger(op, planned_s, done_s),
            RobotKind::Rogue => {}
            RobotKind::Auditor => {
                self.listed[kind] += (op.answer.jobs.len() + op.answer.charges.len()) as u64;
            }
        }
    }

    fn of_driver(&mut self, op: &Op, planned_s: f64, done_s: f64) {
        match op.kind() {
            OpKind::DriverPing | OpKind::DriverRegister | OpKind::DriverLogin => {}
            OpKind::DriverGoOnline if op.outcome == Outcome::Ok => self.shift(op, done_s, true),
            OpKind::DriverGoOffline => self.shift(op, planned_s, false),
            kind => {
                let answered = op.answer.job.as_ref().map(|job| &job.id);
                let job = op.ask.job.as_ref().or(answered);
                match job.and_then(|job| self.jobs.get(job)) {
                    Some(wish) => {
                        let wish = *wish;
                        self.caused_by(wish, kind, planned_s);
                        if op.outcome == Outcome::Ok {
                            self.wishes[wish].said(kind, done_s);
                        }
                    }
                    None => self.idle[kind.index()] += 1,
                }
            }
        }
    }

    /// A driver comes or goes, once: neither a second try nor a second sign-on counts.
    fn shift(&mut self, op: &Op, at_s: f64, on: bool) {
        let number = op.robot.number as usize;
        if self.on_shift.len() <= number {
            self.on_shift.resize(number + 1, false);
        }
        if self.on_shift[number] != on {
            self.on_shift[number] = on;
            self.shifts.push((at_s, if on { 1 } else { -1 }));
        }
    }

    fn of_passenger(&mut self, op: &Op, planned_s: f64, done_s: f64) {
        match op.kind() {
            OpKind::PassengerRegister => return self.passengers.push(planned_s),
            OpKind::PassengerLogin => return,
            _ => {}
        }
        let number = op.robot.number as usize;
        if self.latest.len() <= number {
            self.latest.resize(number + 1, None);
        }
        let wish = match self.latest[number] {
            Some(wish) if !self.begins(op, wish) => wish,
            _ => {
                self.wishes.push(Wish {
                    began_s: planned_s,
                    ended_s: done_s,
                    key: None,
                    drives: vec![],
                });
                self.wishes.len() - 1
            }
        };
        self.latest[number] = Some(wish);
        self.wishes[wish].ended_s = self.wishes[wish].ended_s.max(done_s);
        if op.kind() == OpKind::PassengerRequestJob && op.ask.again.is_none() {
            self.wishes[wish].key.clone_from(&op.ask.key);
        }
        if let (Some(job), OpKind::PassengerRequestJob) = (&op.answer.job, op.kind()) {
            self.jobs.entry(job.id.clone()).or_insert(wish);
        }
        self.caused_by(wish, op.kind(), planned_s);
    }

    /// True when an op begins another wish than the one that its robot had last: prices are looked
    /// at only before a request, and each wish asks under a key of its own. A second tap begins
    /// nothing, whichever request it repeats.
    fn begins(&self, op: &Op, latest: usize) -> bool {
        let Some(known) = &self.wishes[latest].key else { return false };
        match op.kind() {
            OpKind::PassengerNearDrivers | OpKind::PassengerQuote => true,
            OpKind::PassengerRequestJob => {
                op.ask.again.is_none() && op.ask.key.as_ref() != Some(known)
            }
            _ => false,
        }
    }

    fn caused_by(&mut self, wish: usize, kind: OpKind, planned_s: f64) {
        let age_s = (planned_s - self.wishes[wish].began_s).max(0.0);
        self.caused.push(Caused { kind: kind.index(), wish, age_s });
    }
}
