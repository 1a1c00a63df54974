//! answers-match-questions: nobody gets the answer to somebody else's question.

use super::{Judgement, Law, LawEntry, Seen, accounts::Accounts, fact::Fact, tally::Tally};
use crate::history::op::{Op, OpKind, Outcome};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "answers-match-questions",
    means: "an answer is about another job than the question, or a robot's own job is said to be \
            another's",
    needs: &[],
    cannot: |_| None,
    watches: &[
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverCurrentJob,
        OpKind::PassengerRequestJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCancel,
        OpKind::PassengerCurrentJob,
        OpKind::PassengerPay,
        OpKind::AuditJob,
    ],
    blind_spot: "answers that name neither job nor robot",
    rare: false,
    start: |_, tally| Box::new(AnswersMatch { accounts: tally.accounts(), tally }),
};

struct AnswersMatch {
    accounts: Accounts,
    tally: Tally,
}

impl AnswersMatch {
    fn op(&mut self, op: &Op) {
        self.tally.observed += 1;
        let mut asked = false;
        let mut wrong = None;
        if let Some(job) = &op.ask.job {
            let told = op.answer.job.as_deref().map(|view| &view.id);
            let charged = op.answer.charges.iter().map(|charge| &charge.job);
            for other in told.into_iter().chain(charged) {
                asked = true;
                if other != job {
                    wrong = Some(format!("it asked about job {job} and was told of {other}"));
                }
            }
        }
        if let Some((whose, own)) = self.own(op) {
            asked = true;
            if !own {
                wrong = Some(format!("as its own it was told of a job of {whose}"));
            }
        }
        self.tally.opportunities += u64::from(asked);
        if let Some(wrong) = wrong {
            let fact = Fact::of(op);
            let what = format!("{}: {wrong}", fact.tell());
            self.tally.breach(what, fact.job.as_ref(), &[&fact]);
        }
    }

    /// Whose job the answer shows where only the robot's own may be shown, and whether it is.
    fn own<'a>(&self, op: &'a Op) -> Option<(&'a crate::base::id::Id, bool)> {
        let view = op.answer.job.as_deref()?;
        let whose = match op.kind() {
            OpKind::DriverCurrentJob => view.driver.as_ref()?,
            OpKind::PassengerCurrentJob | OpKind::PassengerRequestJob => view.passenger.as_ref()?,
            _ => return None,
        };
        Some((whose, self.accounts.is(op.robot, whose)?))
    }
}

impl Law for AnswersMatch {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen
            && op.outcome == Outcome::Ok
        {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no answer named a job that could be compared")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, charge, d, good_journey, p, view},
        },
    };

    const LAW: &str = "answers-match-questions";

    #[test]
    fn an_ordinary_journey_is_right() {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        good_journey(&mut tale, 10.0, "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn anothers_answer_is_caught() {
        let status = OpKind::PassengerJobStatus;
        let mut tale = Tale::default();
        tale.robots(&[p(1), d(1)]);
        tale.read(p(1), status, (1.0, 1.1), view("J2", JobState::Requested, 0, None)).ask.job =
            Some("J1".into());
        let pay = tale.op(p(1), OpKind::PassengerPay, (2.0, 2.1));
        pay.ask.job = Some("J1".into());
        pay.answer.charges = vec![charge("C1", "J2", 1)];
        let others = view("J3", JobState::Accepted, 1, Some(d(2)));
        tale.read(d(1), OpKind::DriverCurrentJob, (3.0, 3.1), others);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 3));
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("it asked about job J1 and was told of J2"), "{what}");
        let what = &judgement.violations[2].what;
        assert!(what.ends_with(account(d(2)).as_str()), "{what}");
    }

    #[test]
    fn an_unknown_account_or_outcome_proves_nothing() {
        let mut tale = Tale::default();
        let others = view("J3", JobState::Accepted, 1, Some(d(2)));
        tale.read(d(1), OpKind::DriverCurrentJob, (3.0, 3.1), others);
        tale.cancel(p(1), (4.0, 5.0), "J1").info();
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
