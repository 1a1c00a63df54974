//! resume-after-restart: an app that comes back and asks for its live job is told of it. Robots ask as
//! an app does after a restart, and when they are in doubt. Only a job that was certainly live before
//! and after the question is missed.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, job_of},
    roll::Roll,
    tally::Tally,
};
use crate::{
    base::id::RobotKind,
    history::{
        answer::Refusal,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "resume-after-restart",
    means: "a robot asks for its live job and is told that it has none, though it had the same job, in \
            the same assignment, before and after",
    needs: &[&[OpKind::DriverCurrentJob, OpKind::PassengerCurrentJob]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverCurrentJob,
        OpKind::PassengerRequestJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
    ],
    blind_spot: "a job that is never seen again; drivers of assignments without a number",
    rare: true,
    start: |declares, tally| Box::new(ResumeAfterRestart::new(declares, tally)),
};

/// A robot and the job that it has.
struct Live {
    /// The last word that it has it.
    fact: Fact,
    /// A question after that was answered with nothing.
    missed: Option<(Fact, Fact)>,
}

struct ResumeAfterRestart {
    read_delay: Duration,
    live: Roll<Live>,
    tally: Tally,
}

impl ResumeAfterRestart {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self { read_delay: declares.read_delay.0, live: Roll::default(), tally }
    }

    fn op(&mut self, op: &Op) {
        let asks = matches!(op.kind(), OpKind::DriverCurrentJob | OpKind::PassengerCurrentJob);
        let none = op.answer.job.is_none() && op.outcome == Outcome::Ok
            || op.answer.refusal == Some(Refusal::NotFound) && op.outcome == Outcome::Fail;
        if asks && none {
            return self.missed(op);
        }
        // A repeated answer tells of the past.
        if op.outcome != Outcome::Ok || op.answer.replayed || op.ask.again.is_some() {
            return;
        }
        if job_of(op).is_none() {
            return;
        }
        let driver = op.robot.kind == RobotKind::Driver;
        let told = op.answer.job.as_deref().map(|view| view.state);
        let lives =
            told.is_none_or(|state| if driver { state.is_held() } else { !state.is_terminal() });
        if lives {
            self.lives(op, asks);
        } else {
            self.live.remove(op.robot);
        }
    }

    fn lives(&mut self, op: &Op, asks: bool) {
        let fact = Fact::of(op);
        let Some(live) = self.live.get_mut(op.robot) else {
            self.live.insert(op.robot, Live { fact, missed: None });
            return;
        };
        let same = live.fact.job == fact.job && is_same_hold(&live.fact, &fact);
        self.tally.observed += u64::from(asks);
        self.tally.opportunities += u64::from(asks && same && live.fact.before(fact.sent));
        let after = fact.sent.saturating_sub(self.read_delay);
        if let Some((before, look)) = live.missed.take_if(|(_, look)| look.before(after))
            && before.job == fact.job
            && is_same_hold(&before, &fact)
        {
            self.tally.opportunities += 1;
            let what = format!(
                "{}; {} and was told that there is none; {}",
                before.tell(),
                look.tell(),
                fact.tell()
            );
            self.tally.breach(what, fact.job.as_ref(), &[&before, &look, &fact]);
        }
        live.fact = fact;
    }

    fn missed(&mut self, op: &Op) {
        let Some(live) = self.live.get_mut(op.robot) else { return };
        let look = Fact::of(op);
        if live.fact.before(look.sent.saturating_sub(self.read_delay)) {
            live.missed.get_or_insert_with(|| (live.fact.clone(), look));
        }
    }
}

/// The job was not given away between the two: a passenger's never is, a driver's has a number.
fn is_same_hold(one: &Fact, other: &Fact) -> bool {
    one.robot.kind == RobotKind::Passenger || one.number != 0 && one.number == other.number
}

impl Law for ResumeAfterRestart {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("nobody who had a job asked which it was")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, p, view},
        },
    };

    const LAW: &str = "resume-after-restart";

    fn look(tale: &mut Tale, at: f64, number: Option<u32>) -> &mut Op {
        let op = tale.op(d(1), OpKind::DriverCurrentJob, (at, at + 0.1));
        let seen = number.map(|number| view("J1", JobState::Accepted, number, Some(d(1))));
        op.answer.job = seen.map(std::rc::Rc::new);
        op
    }

    fn taken() -> Tale {
        let mut tale = Tale::default();
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        tale
    }

    #[test]
    fn who_asks_is_told() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = taken();
        look(&mut tale, 13.0, Some(1));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn a_job_that_comes_and_goes_is_caught() {
        let mut tale = taken();
        look(&mut tale, 13.0, None);
        look(&mut tale, 14.0, Some(1));
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 accepted job J1 at 12.100 s (ok, op 1); driver/00001 read at 13.100 s (ok, \
             op 2) and was told that there is none; driver/00001 read job J1 as accepted at 14.100 s \
             (ok, op 3)"
        );
        let mut passenger = Tale::default();
        passenger.request(p(1), (10.0, 10.1), "K1", "J1");
        passenger.op(p(1), OpKind::PassengerCurrentJob, (11.0, 11.1));
        let open = view("J1", JobState::Offered, 0, None);
        passenger.read(p(1), OpKind::PassengerJobStatus, (12.0, 12.1), open);
        assert_eq!(passenger.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn given_back_and_taken_again_is_another_hold() {
        let mut tale = taken();
        look(&mut tale, 13.0, None);
        look(&mut tale, 14.0, Some(2));
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut overlaps = taken();
        look(&mut overlaps, 12.05, None);
        look(&mut overlaps, 14.0, Some(1));
        assert_eq!(overlaps.judge(LAW).verdict, Verdict::Pass);
        let mut unsure = taken();
        look(&mut unsure, 13.0, None).info();
        look(&mut unsure, 14.0, Some(1));
        assert_eq!(unsure.judge(LAW).verdict, Verdict::Pass);
    }
}
