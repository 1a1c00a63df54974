//! state-never-goes-back: within one assignment a journey only goes on. What `legal-transitions`
//! allows by way of another driver is not allowed here.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, is_audit, is_read},
    graph::Graph,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::time::Time,
    history::{
        answer::{JobState, JobView},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "state-never-goes-back",
    means: "of two reads, one certainly after the other, the later one shows an older assignment, \
            or an earlier state of the same one",
    needs: &[&[OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob, OpKind::DriverCurrentJob]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverCurrentJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "targets that do not number their assignments; steps back within one session that \
                 are younger than the declared delay of reads; reads further apart than the horizon",
    rare: false,
    start: |declares, tally| Box::new(NeverGoesBack::new(declares, tally)),
};

struct NeverGoesBack {
    graph: Graph,
    read_delay: Duration,
    /// Of each job, the first read of each state of each assignment.
    jobs: Shelf<Vec<Fact>>,
    seen_until: Time,
    tally: Tally,
}

impl NeverGoesBack {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            graph: Graph::new(&declares.transitions),
            read_delay: declares.read_delay.0,
            jobs: tally.shelf(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn read(&mut self, op: &Op, view: &JobView) {
        self.tally.observed += 1;
        // Of a job that only the read-back speaks of nothing more will be heard.
        let tells = view.assignment != 0 && !is_audit(op.kind());
        if !tells && self.jobs.peek(&view.id).is_none() {
            return;
        }
        let now = Fact::about(op, view);
        let truth = op.sent.saturating_sub(self.read_delay);
        let seen = self.jobs.at(&view.id, self.seen_until);
        let mut follows = false;
        for earlier in seen.iter().filter(|earlier| earlier.before(truth)) {
            follows = true;
            if let Some(how) = goes_back(&self.graph, earlier, view) {
                let what = format!("{}; later {}: {how}", earlier.tell(), now.tell());
                self.tally.breach(what, Some(&view.id), &[earlier, &now]);
            }
        }
        self.tally.opportunities += u64::from(follows);
        let known = |one: &Fact| one.state == now.state && one.number == now.number;
        // Assignment 0 is a target's way to say nothing.
        if now.number != 0 && !seen.iter().any(known) {
            seen.push(now);
        }
    }
}

fn goes_back(graph: &Graph, earlier: &Fact, view: &JobView) -> Option<String> {
    if view.assignment == 0 {
        return None;
    }
    if view.assignment < earlier.number {
        return Some(format!("assignment {} was there already", earlier.number));
    }
    let from = earlier.state?;
    let stays = view.state.is_held() || view.state == JobState::Completed;
    let back = view.assignment == earlier.number
        && stays
        && from.is_held()
        && !graph.reaches_held(from, view.state);
    back.then(|| format!("in assignment {} it had come further", earlier.number))
}

impl Law for NeverGoesBack {
    fn see(&mut self, seen: Seen<'_>) {
        let Seen::Op(op) = seen else { return };
        if op.outcome == Outcome::Ok && is_read(op.kind()) {
            self.seen_until = self.seen_until.max(op.done);
            for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
                self.read(op, view);
            }
            self.jobs.forget(self.seen_until);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no job with a driver was read twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{Tale, d, p, view},
    };
    use JobState::{Accepted, Arrived, Completed, Requested};

    const LAW: &str = "state-never-goes-back";

    fn reads(reads: &[(f64, JobState, u32)]) -> Tale {
        let mut tale = Tale::default();
        for (at, state, number) in reads {
            let job = view("J1", *state, *number, Some(d(1)));
            tale.read(p(1), OpKind::PassengerJobStatus, (*at, at + 0.5), job);
        }
        tale
    }

    #[test]
    fn a_journey_that_goes_on_or_begins_again_with_another_driver_is_right() {
        let tale = reads(&[(1.0, Requested, 0), (2.0, Arrived, 1), (3.0, Accepted, 2)]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        // Sent back, and still numbered by the driver it had.
        let tale = reads(&[(1.0, Arrived, 1), (2.0, Requested, 1), (3.0, Completed, 2)]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_step_back_is_caught() {
        let judgement = reads(&[(1.0, Arrived, 1), (2.0, Accepted, 1)]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("in assignment 1 it had come further"), "{what}");
        let judgement = reads(&[(1.0, Accepted, 2), (2.0, Arrived, 1)]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
    }

    #[test]
    fn reads_at_the_same_time_prove_nothing() {
        let judgement = reads(&[(1.0, Arrived, 1), (1.4, Accepted, 1)]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Unknown);
        let mut stale = reads(&[(1.0, Arrived, 1), (2.0, Accepted, 1)]);
        stale.declares.read_delay = crate::base::span::Span::secs(1);
        assert_eq!(stale.judge(LAW).verdict, Verdict::Unknown);
    }
}
