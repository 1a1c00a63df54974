//! mine-is-mine: what is one robot's, no other can read or change. Robots ask for others' jobs and
//! offers on purpose; whoever is served, or has something in hand at rest, was let too near.

use std::collections::{BTreeMap, VecDeque};

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, shelf::Shelf, tally::Tally, unprobed};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::{
        op::{Op, OpKind, Outcome},
        probe::Probe,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "mine-is-mine",
    means: "*probe*: a robot reads or changes a job that another asked for, or takes an offer that was \
            made to another; or a job is at rest in the hands of one who only tried",
    needs: &[&[OpKind::PassengerRequestJob]],
    cannot: |declares| unprobed(declares, |probe| probe == Probe::JobOther),
    watches: &[
        OpKind::PassengerRequestJob,
        OpKind::DriverAccept,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a change behind a refusal, but for a job that changed hands; charges and positions; \
                 jobs of which nothing was heard for the horizon; all but the last \
                 64 offers that a robot tried to take",
    rare: true,
    start: |_, tally| Box::new(MineIsMine::new(tally)),
};

/// The last tries of one robot, which are remembered for the read-back.
const TRIES_MAX: usize = 64;

struct MineIsMine {
    /// Who asked for each job.
    owners: Shelf<Option<(RobotId, Fact)>>,
    /// Accepts of others' offers by rogues that play drivers: none of them is ever on shift.
    tries: BTreeMap<RobotId, VecDeque<Fact>>,
    seen_until: Time,
    tally: Tally,
}

impl MineIsMine {
    fn new(tally: Tally) -> Self {
        Self { owners: tally.shelf(), tries: BTreeMap::new(), seen_until: Time::ZERO, tally }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        if op.kind() == OpKind::PassengerRequestJob
            && op.outcome == Outcome::Ok
            && let Some(view) = &op.answer.job
        {
            self.owners.at(&view.id, op.done).get_or_insert_with(|| (op.robot, Fact::of(op)));
        }
        self.owners.forget(self.seen_until);
    }

    fn probe(&mut self, op: &Op) {
        let (Some(Probe::JobOther), Some(job)) = (op.ask.probe, &op.ask.job) else { return };
        self.tally.observed += 1;
        let owner = self.owners.get(job, op.done).and_then(|owner| owner.clone());
        let own = owner.as_ref().is_some_and(|(robot, _)| *robot == op.robot);
        let drives = op.robot.kind == RobotKind::Rogue && !op.robot.rides();
        // Of a passenger it must be known whose the job is; a rogue that drives never has any.
        if own || owner.is_none() && !drives {
            return;
        }
        if drives && op.kind() == OpKind::DriverAccept {
            let tries = self.tries.entry(op.robot).or_default();
            if tries.len() == TRIES_MAX {
                tries.pop_front();
            }
            tries.push_back(Fact::of(op));
        }
        match op.outcome {
            Outcome::Fail if op.attempts.iter().any(|one| one.status.is_some()) => {
                self.tally.opportunities += 1;
            }
            Outcome::Ok => self.served(op, job, owner.as_ref()),
            Outcome::Fail | Outcome::Info => {}
        }
    }

    fn served(&mut self, op: &Op, job: &Id, owner: Option<&(RobotId, Fact)>) {
        self.tally.opportunities += 1;
        let fact = Fact::of(op);
        let whose = owner.map_or(String::new(), |(robot, asked)| {
            format!("{robot} asked for it (op {}), and ", asked.op)
        });
        let kind = op.kind();
        let what = format!("{}: {whose}it is no business of {}: {kind}", fact.tell(), op.robot);
        let proof: Vec<_> = owner.map(|(_, asked)| asked).into_iter().chain([&fact]).collect();
        self.tally.breach(what, Some(job), &proof);
    }

    /// Jobs at rest that are, or were, in the hands of one who only tried.
    fn judge_hands(&self, tally: &mut Tally) {
        let rest = self.tally.read_back();
        for (robot, tries) in &self.tries {
            let Some(account) = self.tally.accounts().of(*robot) else { continue };
            for tried in tries {
                let Some(job) = &tried.job else { continue };
                let Some((view, read)) = rest.job(job) else { continue };
                if tried.outcome != Outcome::Ok
                    && view.assignments.iter().any(|one| one.driver == account)
                {
                    let what = format!("{}; {}: {robot} has it, or had", tried.tell(), read.tell());
                    tally.breach(what, Some(job), &[tried, read]);
                }
            }
        }
    }
}

impl Law for MineIsMine {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Probe(op) => self.probe(op),
            Seen::Fault(_) | Seen::Phase(..) | Seen::Told(_) => {}
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        self.judge_hands(&mut tally);
        tally.judge("nobody was refused what is another's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::{JobState, Refusal},
        law::{
            Verdict,
            testkit::{Tale, d, p, r, view},
        },
    };

    const LAW: &str = "mine-is-mine";

    /// Passenger 1 asks for J1, and rogue `who` does that with it.
    fn tried(who: u32, kind: OpKind, change: impl Fn(&mut Op)) -> Tale {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        tale.robots(&[p(1), r(0), r(1)]);
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        let op = tale.probe(r(who), kind, (12.0, 12.1), (Probe::JobOther, Refusal::Forbidden, 403));
        op.ask.job = Some("J1".into());
        change(op);
        tale
    }

    fn served(op: &mut Op) {
        (op.outcome, op.attempts[0].outcome) = (Outcome::Ok, Outcome::Ok);
        op.answer.refusal = None;
    }

    #[test]
    fn who_is_refused_is_right() {
        let reads = |change: fn(&mut Op)| tried(0, OpKind::PassengerJobStatus, change);
        assert_eq!(reads(|_| {}).judge(LAW).verdict, Verdict::Pass);
        let missing = reads(|op| op.answer.refusal = Some(Refusal::NotFound));
        assert_eq!(missing.judge(LAW).verdict, Verdict::Pass, "or is told that there is none");
        let mut none = Tale::default();
        assert_eq!(none.judge(LAW).verdict, Verdict::NotApplicable);
        none.declares.probes = vec![Probe::JobOther];
        assert_eq!(none.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn who_is_served_breaks_it() {
        for kind in [OpKind::PassengerJobStatus, OpKind::PassengerCancel, OpKind::PassengerPay] {
            let judgement = tried(0, kind, served).judge(LAW);
            assert_eq!(judgement.verdict, Verdict::Broken, "{kind}");
            let what = &judgement.violations[0].what;
            let middle =
                "passenger/00001 asked for it (op 4), and it is no business of rogue/00000";
            assert!(what.contains(middle), "{what}");
        }
        for kind in [OpKind::DriverAccept, OpKind::DriverArrive, OpKind::DriverCancel] {
            assert_eq!(tried(1, kind, served).judge(LAW).verdict, Verdict::Broken, "{kind}");
        }
    }

    #[test]
    fn a_job_in_the_hands_of_one_who_was_refused_breaks_it() {
        let taken = |by: RobotId| {
            let mut tale = tried(1, OpKind::DriverAccept, |_| {});
            tale.read_back(90.0, vec![view("J1", JobState::Accepted, 1, Some(by))], Vec::new());
            tale.judge(LAW).verdict
        };
        assert_eq!(taken(r(1)), Verdict::Broken);
        assert_eq!(taken(d(3)), Verdict::Pass);
    }

    #[test]
    fn nothing_follows_where_it_may_be_its_own_or_nobody_knows_how_it_ended() {
        let lost = tried(0, OpKind::PassengerJobStatus, |op| {
            (op.outcome, op.attempts[0].outcome) = (Outcome::Info, Outcome::Info);
            op.answer.refusal = None;
        });
        assert_eq!(lost.judge(LAW).verdict, Verdict::Unknown);
        let unknown = tried(0, OpKind::PassengerJobStatus, |op| {
            served(op);
            op.ask.job = Some("J9".into());
        });
        assert_eq!(unknown.judge(LAW).verdict, Verdict::Unknown, "nobody knows whose it is");
        let mut own = tried(0, OpKind::PassengerJobStatus, |op| {
            served(op);
            op.ask.job = Some("J2".into());
        });
        own.request(r(0), (11.0, 11.1), "K2", "J2");
        assert_eq!(own.judge(LAW).verdict, Verdict::Unknown);
    }
}
