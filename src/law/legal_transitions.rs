//! legal-transitions: what is read of a job later can come after what was read before.

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
    name: "legal-transitions",
    means: "two reads of a job, one certainly after the other, are not in the closure of the \
            declared `transitions` (reading may skip states)",
    needs: &[&[OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob, OpKind::DriverCurrentJob]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverCurrentJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a wrong move that was gone again before the next read, or reads that are further apart \
                 than the horizon",
    rare: false,
    start: |declares, tally| Box::new(LegalTransitions::new(declares, tally)),
};

/// For each state, the read that saw it first (by when it was done).
type FirstSeen = Vec<Fact>;

struct LegalTransitions {
    graph: Graph,
    read_delay: Duration,
    jobs: Shelf<FirstSeen>,
    seen_until: Time,
    tally: Tally,
}

impl LegalTransitions {
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
        // A stale read shows the past, by as much as the target declares.
        let truth = op.sent.saturating_sub(self.read_delay);
        if let Some(seen) = self.jobs.get(&view.id, self.seen_until) {
            let mut follows = false;
            for earlier in seen.iter().filter(|earlier| earlier.before(truth)) {
                follows = true;
                let from = earlier.state.unwrap_or(JobState::Requested);
                if !self.graph.reaches(from, view.state) {
                    breach(&mut self.tally, earlier, &Fact::about(op, view));
                }
            }
            self.tally.opportunities += u64::from(follows);
            if !seen.iter().any(|earlier| earlier.state == Some(view.state)) {
                seen.push(Fact::about(op, view));
            }
        } else if !is_audit(op.kind()) {
            // Of a job that only the read-back speaks of nothing more will be heard.
            self.jobs.at(&view.id, self.seen_until).push(Fact::about(op, view));
        }
    }
}

fn breach(tally: &mut Tally, earlier: &Fact, later: &Fact) {
    let word = |fact: &Fact| fact.state.map_or("unknown", JobState::word);
    let what = format!(
        "{}; later {}: a job that is {} cannot become {}",
        earlier.tell(),
        later.tell(),
        word(earlier),
        word(later)
    );
    tally.breach(what, later.job.as_ref(), &[earlier, later]);
}

impl Law for LegalTransitions {
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
        self.tally.clone().judge("no job was read twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::span::Span,
        law::{
            Verdict,
            testkit::{Tale, d, p, view},
        },
    };
    use JobState::{Accepted, Cancelled, Completed, PickedUp, Requested};

    const LAW: &str = "legal-transitions";

    fn reads(reads: &[(f64, f64, JobState)]) -> Tale {
        let mut tale = Tale::default();
        for (sent, done, state) in reads {
            let job = view("J1", *state, 0, None);
            tale.read(p(1), OpKind::PassengerJobStatus, (*sent, *done), job);
        }
        tale
    }

    #[test]
    fn states_may_be_skipped_and_a_job_may_go_back_to_be_offered() {
        let tale = reads(&[(1.0, 1.1, Requested), (2.0, 2.1, Accepted), (3.0, 3.1, Requested)]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(tale.judge(LAW).opportunities, 2);
        assert_eq!(reads(&[(1.0, 1.1, Requested)]).judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_job_that_comes_back_to_life_is_caught() {
        let tale = reads(&[(1.0, 1.1, Cancelled), (2.0, 2.1, Accepted)]);
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.contains("read job J1 as cancelled at 1.100 s"), "{what}");
        assert!(what.ends_with("cannot become accepted"), "{what}");
        let tale = reads(&[(1.0, 1.1, PickedUp), (2.0, 2.1, Cancelled)]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn reads_at_the_same_time_or_within_the_delay_prove_nothing() {
        let tale = reads(&[(1.0, 1.5, Completed), (1.2, 1.6, PickedUp)]);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut tale = reads(&[(1.0, 1.1, Completed), (2.0, 2.1, PickedUp)]);
        tale.declares.read_delay = Span::secs(1);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.read(d(1), OpKind::DriverCurrentJob, (2.2, 2.3), view("J1", PickedUp, 1, None));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }
}
