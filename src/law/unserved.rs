//! Passengers who wait while a car stands idle: a job that was sought for and that nobody was shown,
//! though a driver certainly was free and in reach all that time. Two laws are made of it: one looks
//! at the job, the other at the driver.

use std::{collections::VecDeque, time::Duration};

use super::{
    Seen,
    calm::Calm,
    fact::{Fact, job_of},
    shelf::Shelf,
    supply::{Cabs, Doubt, WATCHES as CABS},
    suspicion::Suspicions,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        place::Place,
        time::Time,
    },
    history::{
        answer::{JobState, JobView},
        declares::{Declares, Offers},
        op::{Op, OpKind, Outcome},
    },
};

/// The ops that the two laws watch.
pub const WATCHES: &[OpKind] = &[
    CABS[0],
    CABS[1],
    CABS[2],
    CABS[3],
    CABS[4],
    CABS[5],
    CABS[6],
    CABS[7],
    CABS[8],
    CABS[9],
    CABS[10],
    CABS[11],
    OpKind::PassengerRequestJob,
    OpKind::PassengerCancel,
    OpKind::PassengerJobStatus,
    OpKind::PassengerCurrentJob,
];

/// A distance on another model of the Earth.
const SLACK: f64 = 0.98;
/// A job is looked at so long after its wait, so that what was on its way then is known.
const GRACE: Duration = Duration::from_secs(1);

/// What is known of one job.
#[derive(Default)]
struct Wait {
    request: Option<(Fact, Place)>,
    /// Somebody was shown it, or has it.
    served: bool,
    /// It may have been over before its wait was.
    gone: bool,
}

/// A job that waited, and a driver who might have had it.
pub struct Unserved {
    /// The request.
    pub request: Fact,
    /// The driver.
    pub driver: RobotId,
    /// It was free since then.
    pub free_since: Time,
    /// What ended its last job, where it was shown nothing since.
    pub ended: Option<Fact>,
    /// The job was sought for until then at least.
    pub until: Time,
}

/// The fold.
pub struct Waits {
    declares: (Duration, Duration, Duration),
    /// After so long without a fault, and without a change, every index is right.
    bound: Duration,
    within_m: f64,
    cabs: Cabs,
    jobs: Shelf<Wait>,
    due: VecDeque<(Time, Id)>,
    found: Suspicions<Unserved>,
    /// Jobs that were served though they might have been left.
    pub served: u64,
    calm: Calm,
    seen_until: Time,
}

/// Why a target cannot be judged.
pub fn cannot(declares: &Declares) -> Option<&'static str> {
    match declares.offers {
        Offers::Ping | Offers::Poll { .. } => None,
        Offers::Push => Some("offers are pushed: who missed one was not left alone"),
        Offers::Relay => Some("offers are synthetic: no offer of the backend's own is seen"),
    }
}

impl Waits {
    /// Of a target that declares this.
    pub fn new(declares: &Declares, tally: &Tally) -> Self {
        let (search, settle) = (declares.search_ttl.0, declares.settle_bound.0);
        let ping_ttl = declares.ping_ttl.0;
        let drift_m = declares.drift_m_per_s * ping_ttl.as_secs_f64();
        Self {
            declares: (search, search.min(settle), ping_ttl),
            bound: settle + ping_ttl,
            within_m: declares.reach_m * SLACK - drift_m,
            cabs: tally.cabs(),
            jobs: tally.shelf(),
            due: VecDeque::new(),
            found: Suspicions::default(),
            served: 0,
            calm: Calm::default(),
            seen_until: Time::ZERO,
        }
    }

    /// Offers shown to drivers who had a job before.
    pub fn offered_again(&self) -> u64 {
        self.cabs.supply().offered_again
    }

    /// The next of those found that no op under way can explain any more.
    pub fn ripe(&mut self) -> Option<Unserved> {
        self.found.ripe(self.seen_until)
    }

    /// The others that were found: certain only when the history is complete.
    pub fn standing(&self, complete: bool) -> impl Iterator<Item = &Unserved> {
        self.found.standing(complete)
    }

    /// Takes one record.
    pub fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        match self.cabs.doubt() {
            Some(Doubt::Of(driver, from)) => {
                self.found.retain(|one| one.driver != driver || one.until < from);
            }
            Some(Doubt::Deaf(from)) => self.found.retain(|one| one.until < from),
            None => {}
        }
        match op.kind() {
            OpKind::PassengerRequestJob => self.request(op),
            OpKind::PassengerCancel if op.outcome != Outcome::Fail => {
                if let Some(job) = job_of(op) {
                    self.jobs.at(job, self.seen_until).gone = true;
                    let same = |one: &Unserved| one.request.job.as_ref() == Some(job);
                    self.found.retain(|one| !same(one) || one.until < op.sent);
                }
            }
            OpKind::DriverAccept if op.outcome != Outcome::Fail => {
                if let Some(job) = job_of(op).cloned() {
                    self.serve(&job);
                }
            }
            OpKind::DriverPing | OpKind::DriverNextOffer => {
                if let Some(offer) = op.answer.offer.clone() {
                    self.serve(&offer.job);
                }
            }
            _ => {
                if let Some(view) = op.answer.job.clone() {
                    self.read(op, &view);
                }
            }
        }
        while let Some((at, _)) = self.due.front()
            && *at < self.seen_until
            && let Some((_, job)) = self.due.pop_front()
        {
            self.look_at(&job);
        }
        self.jobs.forget(self.seen_until);
    }

    fn request(&mut self, op: &Op) {
        let (Some(job), Some(place)) = (job_of(op), op.ask.at) else { return };
        if op.outcome != Outcome::Ok || op.answer.replayed || op.ask.again.is_some() {
            return;
        }
        let wait = self.jobs.at(job, self.seen_until);
        if wait.request.is_none() {
            wait.request = Some((Fact::of(op), place));
            let until = self.until(op.sent, op.done);
            self.due.push_back((until + GRACE, job.clone()));
        }
    }

    /// Until when a job that was asked for then is certainly sought for.
    fn until(&self, sent: Time, done: Time) -> Time {
        (sent + self.declares.0).min(done + self.declares.1)
    }

    fn serve(&mut self, job: &Id) {
        self.jobs.at(job, self.seen_until).served = true;
        self.found.retain(|one| one.request.job.as_ref() != Some(job));
    }

    fn read(&mut self, op: &Op, view: &JobView) {
        if op.outcome != Outcome::Ok {
            return;
        }
        if view.assignment > 0 || view.state == JobState::Offered || view.state.is_held() {
            return self.serve(&view.id);
        }
        let Some(wait) = self.jobs.get(&view.id, self.seen_until) else { return };
        wait.gone |= view.state.is_terminal();
    }

    /// The wait of a job is over: was there anybody who might have had it?
    fn look_at(&mut self, id: &Id) {
        let Some(wait) = self.jobs.peek(id) else { return };
        let Some((request, place)) = wait.request.as_ref().filter(|_| !wait.gone || wait.served)
        else {
            return;
        };
        let (from, until) = (request.done, self.until(request.sent, request.done));
        let quiet = self.calm.for_at_least(self.bound + (self.seen_until - from), self.seen_until);
        let supply = self.cabs.supply();
        if !quiet || supply.deaf_until >= from || until <= from {
            return;
        }
        let target = (*place, self.within_m);
        let mut idle = supply.cabs().filter_map(|(driver, cab)| {
            let since = cab.free_since.filter(|since| *since + self.bound < from)?;
            let free = cab.offered_until < from
                && cab.stood_within(target, (from, until), self.declares.2);
            let ended = cab.ended.as_ref().filter(|_| !cab.offered_since_end);
            free.then(|| (driver, since, ended.cloned()))
        });
        if wait.served {
            self.served += u64::from(idle.next().is_some());
            return;
        }
        let found: Vec<Unserved> = idle
            .map(|(driver, free_since, ended)| {
                let request = request.clone();
                Unserved { request, driver, free_since, ended, until }
            })
            .collect();
        for one in found {
            self.found.push(until, one);
        }
    }
}
