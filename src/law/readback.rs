//! What the audits at the end of a run showed: the city at rest. Only a whole list lets anybody say
//! that something is *not* there.

use std::collections::BTreeMap;

use super::{Seen, fact::Fact, fact::is_audit};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::{ChargeView, JobView, Refusal},
        op::{Op, OpKind, Outcome},
        record::Phase,
    },
};

/// One list that the auditor read, page by page.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// What was on it, by id; the newest reading counts.
    pub by_id: BTreeMap<Id, (T, Fact)>,
    /// When its first page was sent.
    from: Option<Time>,
    /// True once a page said that nothing follows.
    whole: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), from: None, whole: false }
    }
}

impl<T> Listing<T> {
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

/// The read-back of a run.
#[derive(Debug, Clone, Default)]
pub struct ReadBack {
    begun: bool,
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
    /// Takes one record; audits before the phase of the read-back are not at rest and are left out.
    pub fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Phase(phase, _) => self.begun |= phase >= Phase::ReadBack,
            Seen::Op(op) if self.begun && op.outcome == Outcome::Ok && is_audit(op.kind()) => {
                self.audit(op);
            }
            Seen::Op(op)
                if self.begun
                    && op.kind() == OpKind::AuditJob
                    && op.outcome == Outcome::Fail
                    && op.answer.refusal == Some(Refusal::NotFound) =>
            {
                if let Some(job) = &op.ask.job {
                    self.missing.insert(job.clone(), Fact::of(op));
                }
            }
            Seen::Op(_) | Seen::Fault(_) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn audit(&mut self, op: &Op) {
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            self.jobs.by_id.insert(view.id.clone(), (view.clone(), Fact::about(op, view)));
        }
        let sums = match op.kind() {
            OpKind::AuditJobs => return self.jobs.page(op),
            OpKind::AuditCharges => &mut self.charges,
            OpKind::AuditEarnings => &mut self.earnings,
            OpKind::AuditRefunds => &mut self.refunds,
            _ => return,
        };
        for charge in &op.answer.charges {
            let fact = Fact { job: Some(charge.job.clone()), ..Fact::of(op) };
            sums.by_id.insert(charge.id.clone(), (charge.clone(), fact));
        }
        sums.page(op);
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
