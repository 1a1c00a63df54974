//! Who certainly held which job, and when. An accept that was ok begins a hold; a later own op or
//! read witnesses it; anything that a driver or the passenger did may have ended it from the moment
//! it was *sent*. What is left between is certain. Where nobody accepts, since jobs are born with their
//! drivers, a hold is certain from the first read that named the driver to the last.

use std::collections::BTreeMap;

use super::{
    Seen,
    accounts::Accounts,
    fact::{Fact, is_audit, job_of},
    shelf::{OP_LIFE, Shelf},
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::{
        answer::JobView,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The ops that laws about holds watch.
pub const WATCHES: &[OpKind] = &[
    OpKind::DriverAccept,
    OpKind::DriverArrive,
    OpKind::DriverPickUp,
    OpKind::DriverDropOff,
    OpKind::DriverCancel,
    OpKind::DriverNoShow,
    OpKind::DriverCurrentJob,
    OpKind::DriverGoOffline,
    OpKind::PassengerCancel,
    OpKind::PassengerJobStatus,
    OpKind::PassengerCurrentJob,
    OpKind::CleanupRobot,
    OpKind::AuditJob,
    OpKind::AuditJobs,
];

/// One driver's hold of one assignment of a job.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Who.
    pub driver: RobotId,
    /// Which job.
    pub job: Id,
    /// Which assignment; 0 when nobody said.
    pub number: u32,
    /// The accept that began it; where nobody accepts, the first read that named the driver.
    pub accept: Fact,
    /// The answer to the accept named this driver as the job's own.
    pub named: bool,
    /// What confirmed it.
    pub witness: Option<Fact>,
    /// A read showed that it still stood at this moment.
    confirmed: Time,
    /// A law has told of it.
    pub told: bool,
}

/// A stretch of time in which a hold certainly stood: [from, until).
#[derive(Debug, Clone)]
pub struct Certain<'a> {
    /// The hold.
    pub hold: &'a Hold,
    /// The accept was done.
    pub from: Time,
    /// It may have ended from here on.
    pub until: Time,
    /// What may have ended it.
    pub ender: Option<&'a Fact>,
}

impl Hold {
    /// How it began, for people.
    pub fn tell_begin(&self) -> String {
        let told = self.accept.tell();
        if self.accept.kind == OpKind::DriverAccept {
            return told;
        }
        format!("{told} in the hands of {}", self.driver)
    }
}

impl Certain<'_> {
    /// How far it is certain, for people.
    pub fn tell_end(&self) -> String {
        match (self.ender, self.until) {
            (Some(end), _) => format!("nothing could end it before {}", end.sent),
            (None, Time::MAX) => "nothing ever ended it".to_owned(),
            (None, until) => format!("it still stood at {until}"),
        }
    }
}

#[derive(Debug, Default)]
struct JobHolds {
    holds: Vec<Hold>,
    enders: Vec<Fact>,
}

/// All holds of a run.
#[derive(Debug)]
pub struct Holds {
    accounts: Accounts,
    releases_alone: bool,
    /// Nobody accepts: who holds a job is seen in reads alone.
    sighted: bool,
    /// A job that lost its driver may find one again.
    reassigns: bool,
    read_delay: std::time::Duration,
    jobs: Shelf<JobHolds>,
    /// The remembered jobs that each driver held.
    of_driver: BTreeMap<RobotId, Vec<Id>>,
    /// Ops of a driver that may end whatever it holds.
    leaves: BTreeMap<RobotId, Vec<Fact>>,
    seen_until: Time,
}

impl Holds {
    /// None yet.
    pub fn new(declares: &Declares, tally: &Tally) -> Self {
        let sighted = !declares.asked().has(OpKind::DriverAccept);
        Self {
            accounts: tally.accounts(),
            // Nor does anybody see the end of a job that the backend ends by itself.
            releases_alone: sighted
                || declares.releases_alone
                || !declares.asked().has(OpKind::DriverDropOff),
            sighted,
            reassigns: declares.reassigns,
            read_delay: declares.read_delay.0,
            jobs: tally.shelf(),
            of_driver: BTreeMap::new(),
            leaves: BTreeMap::new(),
            seen_until: Time::ZERO,
        }
    }

    /// Takes one record.
    pub fn see(&mut self, seen: Seen<'_>) {
        let Seen::Op(op) = seen else { return };
        self.seen_until = self.seen_until.max(op.done);
        match op.kind() {
            _ if op.outcome == Outcome::Fail => {}
            OpKind::DriverAccept => self.accept(op),
            OpKind::DriverArrive | OpKind::DriverPickUp => self.own_move(op),
            OpKind::DriverDropOff => {
                self.own_move(op);
                self.end(op);
            }
            OpKind::DriverCancel | OpKind::DriverNoShow | OpKind::PassengerCancel => self.end(op),
            OpKind::DriverGoOffline | OpKind::CleanupRobot => self.leave(op),
            _ => self.read(op),
        }
    }

    /// Every job that is remembered, with its holds.
    pub fn by_job(&self) -> impl Iterator<Item = (&Id, &[Hold])> {
        self.jobs.iter().map(|(job, all)| (job, all.holds.as_slice()))
    }

    /// The holds of one job.
    pub fn of_job(&self, job: &Id) -> &[Hold] {
        self.jobs.peek(job).map_or(&[], |all| all.holds.as_slice())
    }

    /// The drivers who held that job.
    pub fn drivers(&self, job: &Id) -> Vec<RobotId> {
        let mut drivers: Vec<_> = self.of_job(job).iter().map(|hold| hold.driver).collect();
        drivers.sort_unstable();
        drivers.dedup();
        drivers
    }

    /// The next job of which nothing was heard for the horizon; it is due to be [forgotten].
    ///
    /// [forgotten]: Self::forget
    pub fn due(&mut self) -> Option<Id> {
        self.jobs.due(self.seen_until).cloned()
    }

    /// Forgets the job that is due.
    pub fn forget(&mut self) {
        let Some((job, all)) = self.jobs.expire(self.seen_until) else { return };
        for hold in all.holds {
            if let Some(jobs) = self.of_driver.get_mut(&hold.driver) {
                jobs.retain(|one| *one != job);
                if jobs.is_empty() {
                    self.of_driver.remove(&hold.driver);
                }
            }
        }
    }

    /// Notes that a law has told of a hold.
    pub fn tell(&mut self, job: &Id, accept: u64) {
        let all = self.jobs.peek_mut(job).into_iter().flat_map(|all| &mut all.holds);
        for hold in all.filter(|hold| hold.accept.op == accept) {
            hold.told = true;
        }
    }

    /// The certain stretches of the witnessed holds of one job, those that are empty left out.
    pub fn certain_of_job(&self, job: &Id, complete: bool) -> Vec<Certain<'_>> {
        let all = self.jobs.peek(job).into_iter();
        all.flat_map(|all| all.holds.iter().map(move |hold| (all, hold)))
            .filter(|(_, hold)| hold.witness.is_some())
            .map(|(all, hold)| self.stretch(all, hold, complete))
            .filter(|certain| certain.from < certain.until)
            .collect()
    }

    /// The same of one driver.
    pub fn certain_of_driver(&self, driver: RobotId, complete: bool) -> Vec<Certain<'_>> {
        let jobs = self.of_driver.get(&driver).into_iter().flatten();
        jobs.flat_map(|job| self.certain_of_job(job, complete))
            .filter(|certain| certain.hold.driver == driver)
            .collect()
    }

    /// Every driver who held a job that is remembered.
    pub fn all_drivers(&self) -> impl Iterator<Item = RobotId> {
        self.of_driver.keys().copied()
    }

    /// A driver leaves. What can have ended no hold that is remembered, nor one of an accept under
    /// way, is dropped; after one of unknown outcome, which may end any later hold, no other counts.
    fn leave(&mut self, op: &Op) {
        let jobs = self.of_driver.get(&op.robot).into_iter().flatten();
        let holds = jobs.flat_map(|job| self.of_job(job)).map(|hold| hold.accept.sent);
        let lately = op.done.saturating_sub(OP_LIFE);
        let since = holds.min().map_or(lately, |first| first.min(lately));
        let leaves = self.leaves.entry(op.robot).or_default();
        leaves.retain(|one| one.outcome == Outcome::Info || one.done >= since);
        if !leaves.iter().any(|one| one.outcome == Outcome::Info && one.sent <= op.sent) {
            leaves.push(Fact::of(op));
        }
    }

    fn hold(&mut self, hold: Hold) {
        let jobs = self.of_driver.entry(hold.driver).or_default();
        if !jobs.contains(&hold.job) {
            jobs.push(hold.job.clone());
        }
        self.jobs.at(&hold.job.clone(), self.seen_until).holds.push(hold);
    }

    fn stretch<'a>(&'a self, job: &'a JobHolds, hold: &'a Hold, complete: bool) -> Certain<'a> {
        let from = hold.accept.done;
        let (until, ender) = if self.releases_alone {
            (hold.confirmed, None)
        } else {
            let horizon =
                if complete { Time::MAX } else { self.seen_until.saturating_sub(OP_LIFE) };
            self.first_ender(job, hold)
                .filter(|ender| ender.sent < horizon)
                .map_or((horizon, None), |ender| (ender.sent, Some(ender)))
        };
        if until < hold.confirmed {
            return Certain { hold, from, until: hold.confirmed, ender: None };
        }
        Certain { hold, from, until, ender }
    }

    fn first_ender<'a>(&'a self, job: &'a JobHolds, hold: &Hold) -> Option<&'a Fact> {
        let leaves = self.leaves.get(&hold.driver).into_iter().flatten();
        let own = leaves.chain(job.enders.iter().filter(|ender| ender_concerns(ender, hold)));
        own.filter(|ender| {
            // What was over before the accept began ended something else. What is unknown may
            // happen at any later moment.
            ender.outcome == Outcome::Info || ender.done >= hold.accept.sent
        })
        .min_by_key(|ender| ender.sent)
    }

    fn accept(&mut self, op: &Op) {
        let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) else { return };
        let view = op.answer.job.as_deref();
        if view.is_some_and(|view| !view.state.is_held()) {
            // Acknowledged, and already over again by the same answer.
            return;
        }
        let own = view.and_then(|view| self.accounts.is(op.robot, view.driver.as_ref()?));
        let number = view.filter(|_| own != Some(false)).map_or(0, |view| view.assignment);
        let again = self
            .of_job(job)
            .iter()
            .any(|hold| hold.driver == op.robot && number != 0 && hold.number == number);
        if again {
            self.jobs.get(job, self.seen_until);
            return;
        }
        self.hold(Hold {
            driver: op.robot,
            job: job.clone(),
            number,
            accept: Fact::of(op).numbered(number),
            named: own == Some(true),
            witness: None,
            confirmed: Time::ZERO,
            told: false,
        });
    }

    /// A move of the driver's own confirms that its accept stood.
    fn own_move(&mut self, op: &Op) {
        // A repeated answer tells of the past.
        if op.outcome != Outcome::Ok || op.answer.replayed {
            return;
        }
        let number = op.ask.assignment.unwrap_or(0);
        if let Some(job) = job_of(op)
            && let Some(hold) = self.hold_at(job, op.robot, number, op.sent)
        {
            hold.witness.get_or_insert_with(|| Fact::of(op));
        }
    }

    fn end(&mut self, op: &Op) {
        if let Some(job) = job_of(op) {
            self.jobs.at(job, self.seen_until).enders.push(Fact::of(op));
        }
    }

    fn read(&mut self, op: &Op) {
        if op.outcome != Outcome::Ok {
            return;
        }
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            self.read_one(op, view);
        }
    }

    fn read_one(&mut self, op: &Op, view: &JobView) {
        let delay = self.read_delay;
        if self.sighted {
            self.sight(op, view);
        }
        let Some(job) = self.jobs.get(&view.id, self.seen_until) else { return };
        // The driver's own live job is his whether or not the view names him.
        let own = op.kind() == OpKind::DriverCurrentJob;
        let accounts = &self.accounts;
        let named = |hold: &Hold| {
            let told = view.driver.as_ref().and_then(|driver| accounts.is(hold.driver, driver));
            told.unwrap_or(own && hold.driver == op.robot)
        };
        let holds = job.holds.iter_mut().filter(|hold| hold.accept.before(op.sent));
        let newest = holds
            .filter(|hold| named(hold) && agree(hold.number, view.assignment))
            .max_by_key(|hold| hold.accept.done);
        if let Some(hold) = newest.filter(|_| view.state.is_held()) {
            hold.witness.get_or_insert_with(|| Fact::about(op, view));
            hold.confirmed = hold.confirmed.max(op.sent.saturating_sub(delay));
        }
        for hold in job.holds.iter_mut().filter(|hold| hold.witness.is_none()) {
            let listed = view.assignments.iter().any(|one| {
                one.number == hold.number && accounts.is(hold.driver, &one.driver) == Some(true)
            });
            if listed && hold.accept.before(op.sent) {
                hold.witness = Some(Fact::about(op, view));
            }
        }
    }

    /// A read names a driver for the first time, and nothing but reads tells of it. Of a job that may
    /// have gone to another and come back only numbered assignments are certain.
    fn sight(&mut self, op: &Op, view: &JobView) {
        let driver = view.driver.as_ref().and_then(|driver| self.accounts.driver(driver));
        let Some(driver) = driver.filter(|_| view.state.is_held()) else { return };
        let number = view.assignment;
        if self.reassigns && number == 0 {
            return;
        }
        let holds = self.of_job(&view.id);
        // Of a job that only the read-back speaks of nothing more will be heard.
        if holds.is_empty() && is_audit(op.kind()) {
            return;
        }
        if holds.iter().any(|hold| hold.driver == driver && hold.number == number) {
            return;
        }
        self.hold(Hold {
            driver,
            job: view.id.clone(),
            number,
            accept: Fact::about(op, view),
            named: false,
            witness: None,
            confirmed: Time::ZERO,
            told: false,
        });
    }

    /// The newest hold of that driver that began before `moment`.
    fn hold_at(
        &mut self,
        job: &Id,
        driver: RobotId,
        number: u32,
        moment: Time,
    ) -> Option<&mut Hold> {
        let holds = &mut self.jobs.get(job, self.seen_until)?.holds;
        holds
            .iter_mut()
            .filter(|hold| hold.driver == driver && hold.accept.before(moment))
            .filter(|hold| agree(hold.number, number))
            .max_by_key(|hold| hold.accept.done)
    }
}

/// Two numbers of an assignment are the same, or one of them is not known.
fn agree(one: u32, other: u32) -> bool {
    one == 0 || other == 0 || one == other
}

/// A passenger's cancel concerns every hold of the job; a driver's op only that of its assignment.
fn ender_concerns(ender: &Fact, hold: &Hold) -> bool {
    ender.robot.kind != RobotKind::Driver || agree(ender.number, hold.number)
}
