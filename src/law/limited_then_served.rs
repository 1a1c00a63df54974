//! limited-then-served: whoever asks for too much is told to wait, gets nothing for it, and is served
//! when the wait is over. Rogues ask for too much on purpose, and for a journey in the middle of it.

use std::{collections::BTreeMap, time::Duration};

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally, unprobed};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::{
        answer::{JobView, Refusal},
        op::{Op, OpKind, Outcome},
        probe::Probe,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "limited-then-served",
    means: "*probe*: the read-back has more jobs of a robot than it made requests that were not all \
            refused with 429; or a robot that kept as quiet as it was told is refused with 429 again, \
            five times in a row",
    needs: &[&[OpKind::PassengerRequestJob]],
    cannot: |declares| unprobed(declares, |probe| probe == Probe::LimitBurst),
    // Whatever a rogue that plays a passenger asks ends its quiet.
    watches: &[
        OpKind::PassengerRegister,
        OpKind::PassengerLogin,
        OpKind::PassengerNearDrivers,
        OpKind::PassengerQuote,
        OpKind::PassengerRequestJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::PassengerCancel,
        OpKind::PassengerPay,
        OpKind::PassengerRate,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "effects of other operations than a request; the limits of those who do not run into \
                 them on purpose; a job too many of one that was given as many others, of which nothing \
                 was heard for the horizon",
    rare: true,
    start: |_, tally| Box::new(Limited { known: BTreeMap::new(), tally }),
};

/// A backend that is too busy for one moment is no breach: so often in a row it is.
const IN_VAIN: usize = 5;
/// Where it does not say how long to wait.
const USUAL_WAIT: Duration = Duration::from_secs(1);

/// What is known of one rogue.
#[derive(Default)]
struct Known {
    /// Its account is of this run.
    fresh: bool,
    /// Requests that may have made a job.
    asked: usize,
    /// Requests that were refused with 429.
    limited: u64,
    /// The last of them.
    refused: Option<Fact>,
    /// The last refusal with 429, and how long it was told to wait.
    wait: Option<(Time, Duration)>,
    /// When it last asked anything.
    last: Time,
    /// Refused again though it had waited.
    in_vain: Vec<Fact>,
}

struct Limited {
    known: BTreeMap<RobotId, Known>,
    tally: Tally,
}

impl Limited {
    fn op(&mut self, op: &Op) {
        if op.robot.kind != RobotKind::Rogue {
            return;
        }
        let known = self.known.entry(op.robot).or_default();
        let refused = op.answer.refusal == Some(Refusal::Limited);
        match (op.kind(), op.ask.probe) {
            (OpKind::PassengerRegister, None) => {
                known.fresh |= op.outcome == Outcome::Ok && !op.answer.replayed;
            }
            (OpKind::PassengerRequestJob, None) => {
                let always = op.attempts.iter().all(|one| one.status == Some(429));
                if refused && always && op.outcome == Outcome::Fail {
                    self.tally.observed += 1;
                    known.limited += 1;
                    known.refused = Some(Fact::of(op));
                } else if op.outcome != Outcome::Fail {
                    known.asked += 1;
                }
            }
            // Bad input that was taken is another law's matter.
            (OpKind::PassengerRequestJob, Some(_)) if op.outcome != Outcome::Fail => {
                known.asked += 1;
            }
            (_, Some(Probe::LimitAfter)) => came_back(known, op, &mut self.tally),
            _ => {}
        }
        known.last = known.last.max(op.sent);
        if refused {
            let told = op.answer.retry_after_ms;
            let wait = told.map_or(USUAL_WAIT, |ms| Duration::from_millis(u64::from(ms)));
            let until = |(at, wait): (Time, Duration)| at + wait;
            if known.wait.is_none_or(|before| until(before) <= op.done + wait) {
                known.wait = Some((op.done, wait));
            }
        }
    }

    fn judge_effects(&self, tally: &mut Tally) {
        let rest = self.tally.read_back();
        if !rest.jobs.is_whole() {
            return;
        }
        let mut of_account: BTreeMap<&Id, Vec<(&JobView, &Fact)>> = BTreeMap::new();
        for (view, fact) in rest.jobs.by_id.values() {
            if let Some(account) = &view.passenger {
                of_account.entry(account).or_default().push((view, fact));
            }
        }
        for (robot, known) in &self.known {
            let Some(refused) = &known.refused else { continue };
            let account = self.tally.accounts().of(*robot).filter(|_| known.fresh);
            let Some(account) = account else { continue };
            tally.opportunities += known.limited;
            let jobs = of_account.get(&account).map_or(&[][..], Vec::as_slice);
            let Some((view, read)) = jobs.last().filter(|_| jobs.len() > known.asked) else {
                continue;
            };
            let ids: Vec<_> = jobs.iter().map(|(view, _)| view.id.to_string()).collect();
            let what = format!(
                "{}; {}: of its requests {} were refused with 429 and {} were not, and it has {} jobs: \
                 {}",
                refused.tell(),
                read.tell(),
                known.limited,
                known.asked,
                jobs.len(),
                ids.join(", "),
            );
            tally.breach(what, Some(&view.id), &[refused, read]);
        }
    }
}

/// It came back when it had been told that it may.
fn came_back(known: &mut Known, op: &Op, tally: &mut Tally) {
    tally.observed += 1;
    let Some((at, wait)) = known.wait else { return };
    if op.sent < at + wait || known.last > at {
        return;
    }
    match (op.outcome, op.answer.refusal) {
        (Outcome::Fail, Some(Refusal::Limited)) => {
            known.in_vain.push(Fact::of(op));
            if known.in_vain.len() == IN_VAIN {
                tally.opportunities += 1;
                let last = Fact::of(op);
                let what = format!(
                    "{}: it was refused with 429 for the {IN_VAIN}th time in a row, though it asked \
                     nothing for as long as it was told (at last {} s)",
                    last.tell(),
                    wait.as_secs_f64(),
                );
                let proof: Vec<_> = known.in_vain.iter().collect();
                tally.breach(what, None, &proof);
                known.in_vain.clear();
            }
        }
        (Outcome::Info, _) => {}
        _ => {
            let served = op.attempts.iter().any(|one| one.status.is_some());
            tally.opportunities += u64::from(served);
            known.in_vain.clear();
        }
    }
}

impl Law for Limited {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) | Seen::Probe(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        self.judge_effects(&mut tally);
        tally.judge_at_rest(complete, "nobody ran into a limit and came back")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, r, view},
        },
    };

    const LAW: &str = "limited-then-served";

    /// Rogue 0 asks for a journey in a burst, and is refused.
    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        tale.robots(&[r(0)]);
        limited(tale.request(r(0), (10.0, 10.1), "K1", "J1"));
        tale
    }

    fn limited(op: &mut Op) {
        op.refused(Refusal::Limited);
        op.answer.retry_after_ms = Some(1_000);
        op.attempts[0].status = Some(429);
    }

    fn after(tale: &mut Tale, at: f64) -> &mut Op {
        let why = (Probe::LimitAfter, Refusal::NotFound, 404);
        tale.probe(r(0), OpKind::PassengerCurrentJob, (at, at + 0.1), why)
    }

    fn of_rogue(job: &str) -> JobView {
        let passenger = Some(account(r(0)));
        JobView { passenger, ..view(job, JobState::Expired, 0, None) }
    }

    #[test]
    fn who_gets_nothing_and_is_served_later_was_treated_right() {
        let mut good = tale();
        after(&mut good, 12.0);
        good.read_back(90.0, Vec::new(), Vec::new());
        let judgement = good.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 2));
        let mut none = Tale::default();
        assert_eq!(none.judge(LAW).verdict, Verdict::NotApplicable);
        none.declares.probes = vec![Probe::LimitBurst];
        none.read_back(90.0, Vec::new(), Vec::new());
        assert_eq!(none.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_job_that_came_of_a_429_breaks_it() {
        let mut bad = tale();
        bad.read_back(90.0, vec![of_rogue("J1")], Vec::new());
        let judgement = bad.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        let end = "1 were refused with 429 and 0 were not, and it has 1 jobs: J1";
        assert!(what.ends_with(end), "{what}");
    }

    #[test]
    fn a_request_of_which_nobody_knows_may_have_made_the_job() {
        let mut lost = tale();
        lost.request(r(0), (20.0, 20.1), "K2", "J2").info();
        lost.read_back(90.0, vec![of_rogue("J2")], Vec::new());
        assert_eq!(lost.judge(LAW).verdict, Verdict::Pass);
        let mut vague = tale();
        let op = vague.request(r(0), (20.0, 20.1), "K2", "J2");
        limited(op);
        let first = op.attempts[0].clone();
        op.attempts.insert(0, crate::history::op::Attempt { outcome: Outcome::Info, ..first });
        op.outcome = Outcome::Info;
        vague.read_back(90.0, vec![of_rogue("J2")], Vec::new());
        assert_ne!(vague.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn who_waits_as_told_and_is_refused_again_and_again_was_not() {
        let refused = |times: u32, gap: f64| {
            let mut tale = tale();
            for n in 0..times {
                limited(after(&mut tale, 10.2 + gap * f64::from(n + 1)));
            }
            tale.read_back(90.0, Vec::new(), Vec::new());
            tale.judge(LAW).verdict
        };
        assert_eq!(refused(5, 1.5), Verdict::Broken);
        assert_eq!(refused(4, 1.5), Verdict::Pass);
        assert_eq!(refused(9, 0.5), Verdict::Pass, "it did not wait");
    }
}
