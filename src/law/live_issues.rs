//! live-issues-true: nobody is called out for a job that is well. Compares what the backend says is
//! wrong with live jobs with what the robots saw of them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::TELL_ACCOUNTS,
    calm::Calm,
    fact::{Fact, job_of},
    holds::Holds,
    tally::Tally,
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::{IssueRule, IssueView},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// Reads with issues that are kept until the holds are certain; of later ones nothing is said.
const READS_MAX: usize = 50_000;

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "live-issues-true",
    means: "an issue is told of a job that a robot had seen end, or that nobody has it while a \
            driver certainly held it, all that while no fault was in force and the bound had passed",
    needs: &[&[OpKind::AuditIssues]],
    cannot: |_| None,
    watches: &[
        TELL_ACCOUNTS[0],
        TELL_ACCOUNTS[1],
        TELL_ACCOUNTS[2],
        TELL_ACCOUNTS[3],
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
    blind_spot: "issues that are not told; silence and lateness of drivers",
    rare: true,
    start: |declares, blank| Box::new(LiveIssuesTrue::new(declares, blank)),
};

struct LiveIssuesTrue {
    /// What the backend may take to notice.
    bound: Duration,
    /// The first read of each job's end.
    ended: BTreeMap<Id, Fact>,
    first_end: Option<Time>,
    calm: Calm,
    /// An issue of a job that had ended, with its end and the read that told it.
    late: Vec<(IssueView, Fact, Fact)>,
    /// Issues of jobs without a driver, and the reads that told them.
    orphans: Vec<(Id, Fact)>,
    holds: Holds,
    observed: u64,
    opportunities: u64,
    /// Empty: each judgement counts anew.
    blank: Tally,
}

impl LiveIssuesTrue {
    fn new(declares: &Declares, blank: Tally) -> Self {
        Self {
            bound: declares.settle_bound.0 + declares.read_delay.0,
            ended: BTreeMap::new(),
            first_end: None,
            calm: Calm::default(),
            late: Vec::new(),
            orphans: Vec::new(),
            holds: Holds::new(declares),
            observed: 0,
            opportunities: 0,
            blank,
        }
    }

    fn op(&mut self, op: &Op) {
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
            self.ended.entry(job.clone()).or_insert_with(|| Fact::of(op));
        }
    }

    fn told(&mut self, op: &Op) {
        self.observed += op.answer.issues.len() as u64;
        if !self.calm.for_at_least(self.bound, op.sent) {
            return;
        }
        let long_ago = |moment: Time| moment + self.bound < op.sent;
        // From here on there is a job of which nothing may be told any more.
        self.opportunities += u64::from(self.first_end.is_some_and(long_ago));
        for issue in &op.answer.issues {
            let end = self.ended.get(&issue.job).filter(|end| long_ago(end.done));
            if let Some(end) = end.filter(|_| self.late.len() < READS_MAX) {
                self.late.push((issue.clone(), end.clone(), Fact::of(op)));
            }
            if issue.rule == IssueRule::NoDriver && self.orphans.len() < READS_MAX {
                self.orphans.push((issue.job.clone(), Fact::of(op)));
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
        let mut tally = self.blank.clone();
        (tally.observed, tally.opportunities) = (self.observed, self.opportunities);
        for (issue, end, read) in &self.late {
            let what = format!("{}; {}: {:?} of it", end.tell(), read.tell(), issue.rule);
            tally.breach(what, Some(&issue.job), &[end, read]);
        }
        let certain = self.holds.certain(complete);
        for (job, read) in &self.orphans {
            let held = certain.iter().find(|held| {
                held.hold.job == *job
                    && held.from + self.bound < read.sent
                    && held.until > read.done
            });
            if let Some(held) = held {
                tally.opportunities += 1;
                let (begin, end, told) = (held.hold.tell_begin(), held.tell_end(), read.tell());
                let what = format!("{begin}; {end}; {told}: that nobody has job {job}");
                tally.breach(what, Some(job), &[&held.hold.accept, read]);
            }
        }
        tally.judge("nobody was told what is wrong long after a job had ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{answer::JobState, record::FaultChange},
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
