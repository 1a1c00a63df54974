//! Jobs that certainly lived in this run: a list at rest may hold older ones, which prove nothing.

use std::collections::BTreeSet;

use super::fact::job_of;
use crate::{
    base::id::Id,
    history::op::{Op, OpKind, Outcome},
};

/// The ids of those jobs.
#[derive(Debug, Default)]
pub struct Lived {
    jobs: BTreeSet<Id>,
}

impl Lived {
    /// Takes an op: an offer, a job that was given, or one that a driver has.
    pub fn see(&mut self, op: &Op) {
        if let Some(offer) = op.answer.offer.as_deref() {
            self.add(&offer.job);
        }
        match op.kind() {
            OpKind::PassengerRequestJob if op.outcome != Outcome::Fail => {
                if let Some(job) = job_of(op) {
                    self.add(job);
                }
            }
            OpKind::DriverCurrentJob => {
                if let Some(view) = op.answer.job.as_deref().filter(|view| view.state.is_held()) {
                    self.add(&view.id);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, job: &Id) {
        if !self.jobs.contains(job) {
            self.jobs.insert(job.clone());
        }
    }

    /// Whether that job is among them.
    pub fn has(&self, job: &Id) -> bool {
        self.jobs.contains(job)
    }
}
