//! What the audits at the end of a run showed: the city at rest. Only a whole list lets anybody say
//! that something is *not* there. Of a long list only that is kept which the run spoke of within the
//! horizon, and a limited number of strangers.

use std::collections::BTreeMap;

use super::{
    Seen,
    fact::{Fact, is_audit, job_of},
    shelf::Shelf,
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::{ChargeView, JobView, Refusal},
        op::{Op, OpKind, Outcome},
        record::Phase,
    },
};

/// Things on a list that nobody spoke of lately, and that are kept all the same. A law that remembers
/// a job finds it on the list, if it is there: whatever a law remembers was heard of.
const STRANGERS_MAX: usize = 10_000;

/// One list that the auditor read, page by page.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// What was on it, by id; the newest reading counts.
    pub by_id: BTreeMap<Id, (T, Fact)>,
    /// When its first page was sent.
    from: Option<Time>,
    /// True once a page said that nothing follows.
    whole: bool,
    strangers: usize,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), from: None, whole: false, strangers: 0 }
    }
}

impl<T> Listing<T> {
    fn add(&mut self, id: &Id, heard: bool, value: impl FnOnce() -> (T, Fact)) {
        if !heard && !self.by_id.contains_key(id) {
            if self.strangers == STRANGERS_MAX {
                return;
            }
            self.strangers += 1;
        }
        self.by_id.insert(id.clone(), value());
    }

    fn page(&mut self, op: &Op) {
        self.from.get_or_insert(op.sent);
        // A question about one job is no page of the whole list.
        self.whole |= op.ask.job.is_none() && op.answer.next.is_none();
    }

    /// True when whatever was certainly there at `moment` must be on the list.
    pub fn covers(&self, moment: Time) -> bool {
        self.whole && self.from.is_some_and(|from| moment < from)
    }

    /// True when the whole list was read.
    pub fn is_whole(&self) -> bool {
        self.whole
    }
}

/// Sums of money by the job that they are about.
pub type SumsByJob<'a> = BTreeMap<&'a Id, Vec<(&'a ChargeView, &'a Fact)>>;

impl Listing<ChargeView> {
    /// The sums by job: each once, however many pages it was on.
    pub fn by_job(&self) -> SumsByJob<'_> {
        let mut by_job = SumsByJob::new();
        for (sum, fact) in self.by_id.values() {
            by_job.entry(&sum.job).or_default().push((sum, fact));
        }
        by_job
    }
}

/// The jobs at rest by the account that asked and its key, where the backend shows both.
pub fn jobs_by_key(read_back: &ReadBack) -> BTreeMap<(&Id, &Id), Vec<(&JobView, &Fact)>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (view, fact) in read_back.jobs.by_id.values() {
        if let (Some(who), Some(key)) = (&view.passenger, &view.key) {
            by_key.entry((who, key)).or_default().push((view, fact));
        }
    }
    by_key
}

/// What was heard of a job during the run.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Since when it certainly lived in this run: a list at rest may hold older ones, which prove
    /// nothing.
    lived: Option<Time>,
    /// Who was told that it is its own, having asked for it.
    given: Vec<RobotId>,
    /// One of them was told so for the first time.
    born: bool,
}

/// The read-back of a run.
#[derive(Debug, Default)]
pub struct ReadBack {
    begun: bool,
    /// Jobs that the run spoke of.
    heard: Shelf<Heard>,
    seen_until: Time,
    /// Jobs.
    pub jobs: Listing<JobView>,
    /// Charges.
    pub charges: Listing<ChargeView>,
    /// What drivers got: sums, each of a job.
    pub earnings: Listing<ChargeView>,
    /// What passengers got back.
    pub refunds: Listing<ChargeView>,
    /// Jobs of which the backend said, asked for one by one, that they do not exist.
    pub missing: BTreeMap<Id, Fact>,
}

impl ReadBack {
    /// That remembers the jobs of the run on that shelf.
    pub fn new(heard: Shelf<Heard>) -> Self {
        Self { heard, ..Self::default() }
    }

    /// Takes one record; audits before the phase of the read-back are not at rest and are left out.
    pub fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Phase(phase, _) => self.begun |= phase >= Phase::ReadBack,
            Seen::Op(op) if is_audit(op.kind()) => {
                if self.begun && op.outcome == Outcome::Ok {
                    self.audit(op);
                } else if self.begun
                    && op.kind() == OpKind::AuditJob
                    && op.outcome == Outcome::Fail
                    && op.answer.refusal == Some(Refusal::NotFound)
                    && let Some(job) = &op.ask.job
                    && (self.hears(job) || self.missing.len() < STRANGERS_MAX)
                {
                    self.missing.insert(job.clone(), Fact::of(op));
                }
            }
            Seen::Op(op) => self.hear(op),
            Seen::Fault(_) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    /// A job is spoken of: one that certainly lives when it is offered, given, or in a driver's hands.
    fn hear(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        // What is compared with the lists must not be forgotten while they are read.
        if !self.begun {
            self.heard.forget(self.seen_until);
        }
        let offer = op.answer.offer.as_deref().map(|offer| &offer.job);
        if let Some(job) = offer {
            self.heard.at(job, self.seen_until).lived.get_or_insert(op.done);
        }
        let Some(job) = job_of(op) else { return };
        let held = op.answer.job.as_deref().is_some_and(|view| view.state.is_held());
        let lives = match op.kind() {
            OpKind::PassengerRequestJob => op.outcome != Outcome::Fail,
            OpKind::DriverCurrentJob => held,
            _ => false,
        };
        let heard = self.heard.at(job, self.seen_until);
        if lives {
            heard.lived.get_or_insert(op.done);
        }
        if op.kind() == OpKind::PassengerRequestJob && op.outcome == Outcome::Ok {
            if !heard.given.contains(&op.robot) {
                heard.given.push(op.robot);
            }
            heard.born |= !op.answer.replayed && op.ask.again.is_none();
        }
    }

    fn audit(&mut self, op: &Op) {
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            let heard = self.heard.peek(&view.id).is_some();
            self.jobs.add(&view.id, heard, || (view.clone(), Fact::about(op, view)));
        }
        let sums = match op.kind() {
            OpKind::AuditJobs => return self.jobs.page(op),
            OpKind::AuditCharges => &mut self.charges,
            OpKind::AuditEarnings => &mut self.earnings,
            OpKind::AuditRefunds => &mut self.refunds,
            _ => return,
        };
        for charge in &op.answer.charges {
            let heard = self.heard.peek(&charge.job).is_some();
            let fact = || Fact::of(op).of_job(&charge.job);
            sums.add(&charge.id, heard, || (charge.clone(), fact()));
        }
        sums.page(op);
    }

    /// Since when a job is known to live in this run, if it is.
    pub fn lived(&self, job: &Id) -> Option<Time> {
        self.heard.peek(job)?.lived
    }

    /// Whether that robot was given the job that it asked for.
    pub fn gave(&self, job: &Id, robot: RobotId) -> bool {
        self.heard.peek(job).is_some_and(|heard| heard.given.contains(&robot))
    }

    /// True for a job that was spoken of within the horizon.
    pub fn hears(&self, job: &Id) -> bool {
        self.heard.peek(job).is_some()
    }

    /// True when nothing that was ever heard of that job is forgotten.
    pub fn remembers(&self, job: &Id) -> bool {
        !self.heard.has_forgotten() || self.heard.peek(job).is_some_and(|heard| heard.born)
    }

    /// True when the run was longer than what is remembered of it: a job that seems new may be old.
    pub fn has_forgotten(&self) -> bool {
        self.heard.has_forgotten()
    }

    /// True when all of these jobs were read: the whole list was, or each of them (and any at all).
    pub fn has_read<'a>(&self, mut jobs: impl Iterator<Item = &'a Id>) -> bool {
        let read = |id: &Id| self.jobs.by_id.contains_key(id) || self.missing.contains_key(id);
        let any = !self.jobs.by_id.is_empty() || !self.missing.is_empty();
        self.jobs.is_whole() || any && jobs.all(read)
    }

    /// How a job was read back.
    pub fn job(&self, id: &Id) -> Option<(&JobView, &Fact)> {
        self.jobs.by_id.get(id).map(|(view, fact)| (view, fact))
    }

    /// The charges by job: each charge once, however many pages it was on.
    pub fn charges_by_job(&self) -> SumsByJob<'_> {
        self.charges.by_job()
    }
}
