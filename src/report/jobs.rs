//! How many jobs a run had, and what became of them. One of which nothing was heard for the horizon is
//! counted as it stands and forgotten, so that a run may go on for months.

use std::time::Duration;

use crate::{
    base::time::Time,
    history::{
        answer::{JobState, JobView},
        op::{Op, OpKind, Outcome},
        record::Phase,
    },
    law::shelf::Shelf,
};

const STATES: usize = JobState::ALL.len();

/// One job.
#[derive(Debug, Default)]
struct Seen {
    /// The newest state that was seen.
    state: Option<JobState>,
    /// Its request was acknowledged.
    asked: bool,
    /// An audit showed it.
    audited: bool,
}

/// The jobs of a run.
#[derive(Debug, Default)]
pub struct Jobs {
    remembered: Shelf<Seen>,
    /// Those that are forgotten, by the state in which they were last seen.
    forgotten: [u64; STATES],
    now: Time,
    reading_back: bool,
}

impl Jobs {
    /// None yet; each is remembered for `horizon` after the last word about it.
    pub fn within(horizon: Duration) -> Self {
        Self { remembered: Shelf::new(horizon), ..Self::default() }
    }

    /// The run went on to another part.
    pub fn enter(&mut self, phase: Phase) {
        self.reading_back |= phase >= Phase::ReadBack;
    }

    /// Takes an op.
    pub fn see(&mut self, op: &Op) {
        self.now = self.now.max(op.done);
        // What is compared with the read-back must not be forgotten meanwhile.
        while !self.reading_back
            && let Some((_, seen)) = self.remembered.expire(self.now)
        {
            if let Some(state) = seen.state {
                self.forgotten[state as usize] += 1;
            }
        }
        if op.outcome == Outcome::Ok {
            for view in op.answer.job.as_deref().into_iter().chain(&op.answer.jobs) {
                self.see_one(op, view);
            }
        }
    }

    fn see_one(&mut self, op: &Op, view: &JobView) {
        let audit = matches!(op.kind(), OpKind::AuditJob | OpKind::AuditJobs);
        // It may be one that was counted before.
        let again = audit || op.answer.replayed || op.ask.again.is_some();
        if again && self.remembered.has_forgotten() && self.remembered.peek(&view.id).is_none() {
            return;
        }
        let seen = self.remembered.at(&view.id, self.now);
        // Late answers do not reopen what has ended; an audit is the last word.
        if audit || !seen.state.is_some_and(JobState::is_terminal) {
            seen.state = Some(view.state);
        }
        seen.asked |= op.kind() == OpKind::PassengerRequestJob;
        seen.audited |= audit;
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.remembered.len() as u64 + self.forgotten.iter().sum::<u64>()
    }

    /// Those whose newest known state is this one.
    pub fn count_in(&self, state: JobState) -> u64 {
        let remembered = self.remembered.values().filter(|seen| seen.state == Some(state));
        remembered.count() as u64 + self.forgotten[state as usize]
    }

    /// Of the acknowledged jobs that are remembered, the share that an audit showed.
    pub fn share_read_back(&self) -> f64 {
        let asked = || self.remembered.values().filter(|seen| seen.asked);
        let shown = asked().filter(|seen| seen.audited).count();
        match asked().count() {
            0 => 1.0,
            asked => shown as f64 / asked as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::testkit::{AUDITOR, Tale, p, view};

    /// A job in the first minute, and one in the 20th; what a read-back shows is seen as well.
    fn jobs(shown: &[&str]) -> Jobs {
        let mut tale = Tale::default();
        for (at, job) in [(10.0, "J1"), (1_200.0, "J2")] {
            tale.request(p(1), (at, at + 0.1), "K", job);
            let over = view(job, JobState::Completed, 1, None);
            tale.read(p(1), OpKind::PassengerJobStatus, (at + 30.0, at + 30.1), over);
        }
        let mut jobs = Jobs::within(Duration::from_mins(10));
        for record in tale.records() {
            if let crate::history::record::Record::Op(op) = record {
                jobs.see(&op);
            }
        }
        jobs.enter(Phase::ReadBack);
        let mut list = Tale::default();
        let op = list.op(AUDITOR, OpKind::AuditJobs, (3_000.0, 3_000.1));
        op.answer.jobs = shown.iter().map(|job| view(job, JobState::Completed, 1, None)).collect();
        jobs.see(op);
        jobs
    }

    #[test]
    fn what_is_forgotten_is_counted_once() {
        let jobs = jobs(&["J1", "J2"]);
        assert_eq!((jobs.remembered.len(), jobs.count()), (1, 2));
        assert_eq!(jobs.count_in(JobState::Completed), 2);
        assert_eq!(jobs.count_in(JobState::Requested), 0);
    }

    #[test]
    fn what_is_remembered_must_be_read_back() {
        assert!((jobs(&["J1", "J2"]).share_read_back() - 1.0).abs() < 1e-9);
        assert!(jobs(&["J1"]).share_read_back() < 1e-9);
        assert!((Jobs::default().share_read_back() - 1.0).abs() < 1e-9);
    }
}
