//! live-issues-true: nobody is called out for a job that is well. Compares what the backend says is
//! wrong with live jobs with what the robots saw of them.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    calm::Calm,
    fact::{Fact, is_audit, job_of},
    holds::Holds,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::IssueRule,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// Reads that told one issue that are kept until the holds are certain.
const READS_MAX: usize = 64;

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "live-issues-true",
    means: "an issue is told of a job that a robot had seen end, or that nobody has it while a \
            driver certainly held it, all that while no fault was in force and the bound had passed",
    needs: &[&[OpKind::AuditIssues]],
    cannot: |_| None,
    watches: &[
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
        OpKind::AuditIssues,
    ],
    blind_spot: "issues that are not told; silence and lateness of drivers; issues of jobs of which nothing \
                 was heard for the horizon",
    rare: true,
    start: |declares, tally| Box::new(LiveIssuesTrue::new(declares, tally)),
};

struct LiveIssuesTrue {
    /// What the backend may take to notice.
    bound: Duration,
    /// The first read of each job's end.
    ended: Shelf<Option<Fact>>,
    first_end: Option<Time>,
    calm: Calm,
    /// Jobs that were said to be without a driver, and the reads that told so.
    orphans: Shelf<Vec<Fact>>,
    holds: Holds,
    seen_until: Time,
    tally: Tally,
}

impl LiveIssuesTrue {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            bound: declares.settle_bound.0 + declares.read_delay.0,
            ended: tally.shelf(),
            first_end: None,
            calm: Calm::default(),
            orphans: tally.shelf(),
            holds: Holds::new(declares, &tally),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.forget();
        if op.outcome != Outcome::Ok {
            return;
        }
        if op.kind() == OpKind::AuditIssues {
            return self.told(op);
        }
        let read = op.answer.job.as_deref().filter(|view| view.state.is_terminal());
        let over = match op.kind() {
            OpKind::DriverDropOff | OpKind::PassengerCancel => job_of(op),
            _ => read.map(|view| &view.id),
        };
        if let Some(job) = over {
            self.first_end.get_or_insert(op.done);
            // Of a job that only the read-back speaks of nothing more will be heard.
            if !is_audit(op.kind()) {
                self.ended.at(job, self.seen_until).get_or_insert_with(|| Fact::of(op));
            }
        }
    }

    /// Before anything about a job is forgotten it is looked at.
    fn forget(&mut self) {
        self.ended.forget(self.seen_until);
        while let Some((job, reads)) = self.orphans.expire(self.seen_until) {
            let mut tally = self.tally.clone();
            self.weigh(&job, &reads, false, &mut tally);
            self.tally = tally;
        }
        while let Some(job) = self.holds.due() {
            // An issue that is told again and again outlives the hold: then it is weighed now.
            if let Some(reads) = self.orphans.peek_mut(&job).map(std::mem::take) {
                let mut tally = self.tally.clone();
                self.weigh(&job, &reads, false, &mut tally);
                self.tally = tally;
            }
            self.holds.forget();
        }
    }

    fn weigh(&self, job: &Id, reads: &[Fact], complete: bool, tally: &mut Tally) {
        let certain = self.holds.certain_of_job(job, complete);
        for read in reads {
            let held = certain
                .iter()
                .find(|held| held.from + self.bound < read.sent && held.until > read.done);
            if let Some(held) = held {
                tally.opportunities += 1;
                let (begin, end, told) = (held.hold.tell_begin(), held.tell_end(), read.tell());
                let what = format!("{begin}; {end}; {told}: that nobody has job {job}");
                tally.breach(what, Some(job), &[&held.hold.accept, read]);
            }
        }
    }

    fn told(&mut self, op: &Op) {
        self.tally.observed += op.answer.issues.len() as u64;
        if !self.calm.for_at_least(self.bound, op.sent) {
            return;
        }
        let bound = self.bound;
        let long_ago = |moment: Time| moment + bound < op.sent;
        // From here on there is a job of which nothing may be told any more.
        self.tally.opportunities += u64::from(self.first_end.is_some_and(long_ago));
        for issue in &op.answer.issues {
            let end = self.ended.peek(&issue.job).and_then(Option::as_ref);
            if let Some(end) = end.filter(|end| long_ago(end.done)) {
                let read = Fact::of(op);
                let what = format!("{}; {}: {:?} of it", end.tell(), read.tell(), issue.rule);
                self.tally.breach(what, Some(&issue.job), &[end, &read]);
            }
            if issue.rule == IssueRule::NoDriver {
                let reads = self.orphans.at(&issue.job, self.seen_until);
                if reads.len() < READS_MAX {
                    reads.push(Fact::of(op));
                }
            }
        }
    }
}

impl Law for LiveIssuesTrue {
    fn see(&mut self, seen: Seen<'_>) {
        self.holds.see(seen);
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for (job, reads) in self.orphans.iter() {
            self.weigh(job, reads, complete, &mut tally);
        }
        tally.judge("nobody was told what is wrong long after a job had ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{
            answer::{IssueView, JobState},
            record::FaultChange,
        },
        law::{
            Verdict,
            testkit::{AUDITOR, Tale, Tweak, d, good_journey, p, view},
        },
    };

    const LAW: &str = "live-issues-true";

    fn told(tale: &mut Tale, at: f64, rule: IssueRule, job: &str) {
        let issue = IssueView { rule, job: job.into(), driver: None, open_ms: 1_000 };
        tale.op(AUDITOR, OpKind::AuditIssues, (at, at + 0.1)).answer.issues = vec![issue];
    }

    /// Job J1 is over soon after 10 s.
    fn evening() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        good_journey(&mut tale, 10.0, "J1");
        tale
    }

    #[test]
    fn without_a_look_nothing_is_known() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(evening().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn issues_of_live_jobs_and_of_those_that_ended_just_now_are_well() {
        let mut tale = evening();
        told(&mut tale, 11.0, IssueRule::NoDriver, "J1");
        told(&mut tale, 25.0, IssueRule::LatePickup, "J1");
        told(&mut tale, 90.0, IssueRule::NoDriver, "J2");
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 1));
        assert_eq!(judgement.observed, 3);
    }

    #[test]
    fn an_issue_of_a_job_that_ended_or_is_held_breaks_it() {
        let mut tale = evening();
        told(&mut tale, 90.0, IssueRule::SilentDriver, "J1");
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(judgement.violations[0].job, Some("J1".into()));

        let mut tale = evening();
        tale.accept(d(1), (40.0, 40.1), "J2", 1);
        let held = view("J2", JobState::Accepted, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (41.0, 41.1), held);
        told(&mut tale, 80.0, IssueRule::NoDriver, "J2");
        tale.moves(d(1), OpKind::DriverArrive, (85.0, 85.1), "J2", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn while_faults_are_in_force_or_nobody_knows_the_end_nothing_is_judged() {
        let mut tale = evening();
        tale.fault(FaultChange::Injected, 50.0);
        told(&mut tale, 90.0, IssueRule::SilentDriver, "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);

        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        tale.cancel(p(1), (20.0, 20.1), "J3").info();
        told(&mut tale, 90.0, IssueRule::NoDriver, "J3");
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }
}
