//! The jobs of a run, for a target that lists none: the auditor reads them back one by one. Where
//! the target has a list of its own nothing is kept here.

use std::collections::HashSet;

use crate::{
    base::id::Id,
    history::op::{Op, OpKind, OpSet, Outcome},
};

/// Jobs that are kept at most. Later ones are not read back: the share of jobs that were is told in
/// the report, and laws that need them all do not pass.
const JOBS_MAX: usize = 100_000;

/// Jobs that ops were answered with, in the order in which they were first told.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    wanted: bool,
    ids: Vec<Id>,
    // Never iterated.
    known: HashSet<Id>,
}

impl Jobs {
    /// None yet; none ever, where the target with those ops can list them.
    pub fn new(ops: OpSet) -> Self {
        let wanted = ops.has(OpKind::AuditJob) && !ops.has(OpKind::AuditJobs);
        Self { wanted, ..Self::default() }
    }

    /// Keeps the job that a request was answered with.
    pub fn note(&mut self, op: &Op) {
        let requested = op.kind() == OpKind::PassengerRequestJob
            && op.ask.probe.is_none()
            && op.outcome == Outcome::Ok;
        if !self.wanted || !requested || self.ids.len() == JOBS_MAX {
            return;
        }
        if let Some(view) = &op.answer.job
            && self.known.insert(view.id.clone())
        {
            self.ids.push(view.id.clone());
        }
    }

    /// All of them, handed over.
    pub fn take(&mut self) -> Vec<Id> {
        self.known.clear();
        std::mem::take(&mut self.ids)
    }
}
