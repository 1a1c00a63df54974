//! no-silent-degradation: an answer that says ok has in it what it is about. A part that failed is told,
//! not left out or filled with nothing.

use std::collections::BTreeMap;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::Fact,
    tally::{Tally, VIOLATIONS_KEPT},
};
use crate::history::{
    answer::{Answer, JobState},
    op::{Op, OpKind, Outcome},
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "no-silent-degradation",
    means: "an answer is ok and lacks the part that it is about, which other answers of its kind have; or \
            a journey is quoted, or charged, at nothing where others cost something",
    needs: &[&[
        OpKind::PassengerQuote,
        OpKind::PassengerJobStatus,
        OpKind::PassengerPay,
        OpKind::PassengerRequestJob,
    ]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerQuote,
        OpKind::PassengerJobStatus,
        OpKind::PassengerRequestJob,
        OpKind::PassengerPay,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "lists that are too short; parts that no answer ever has; times on the road",
    rare: false,
    start: |_, tally| Box::new(NoSilentDegradation { parts: BTreeMap::new(), tally }),
};

/// What an answer may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Quote,
    QuotedFare,
    Job,
    Charge,
    Fare,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Quote => "a price",
            Self::QuotedFare => "a price above nothing",
            Self::Job => "the job",
            Self::Charge => "the charge",
            Self::Fare => "a fare above nothing",
        }
    }
}

/// How often that part of the answers to one kind of op was there, and the first that lacked it.
#[derive(Default)]
struct Seldom {
    there: u64,
    lacked: u64,
    kept: Vec<Fact>,
}

struct NoSilentDegradation {
    parts: BTreeMap<(OpKind, Part), Seldom>,
    tally: Tally,
}

impl NoSilentDegradation {
    fn op(&mut self, op: &Op) {
        // A repeated answer may be shorter than the first.
        if op.outcome != Outcome::Ok || op.answer.replayed {
            return;
        }
        let Answer { quote, job, jobs, charges, .. } = &op.answer;
        match op.kind() {
            OpKind::PassengerQuote => {
                self.count(op, Part::Quote, quote.is_some());
                if let Some(quote) = quote {
                    self.count(op, Part::QuotedFare, quote.fare_minor > 0);
                }
            }
            OpKind::PassengerJobStatus | OpKind::PassengerRequestJob | OpKind::AuditJob => {
                self.count(op, Part::Job, job.is_some());
            }
            OpKind::PassengerPay => self.count(op, Part::Charge, !charges.is_empty()),
            _ => {}
        }
        for view in jobs.iter().chain(job.as_deref()) {
            if view.state == JobState::Completed
                && let Some(fare) = view.fare_minor
            {
                self.count(op, Part::Fare, fare > 0);
            }
        }
    }

    fn count(&mut self, op: &Op, part: Part, there: bool) {
        self.tally.observed += 1;
        let seldom = self.parts.entry((op.kind(), part)).or_default();
        if there {
            seldom.there += 1;
            return;
        }
        seldom.lacked += 1;
        if seldom.kept.len() < VIOLATIONS_KEPT {
            seldom.kept.push(Fact::of(op));
        }
    }
}

impl Law for NoSilentDegradation {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for ((_, part), seldom) in &self.parts {
            tally.opportunities += seldom.there;
            // A target whose answers never have it is not degraded.
            if seldom.there == 0 {
                continue;
            }
            for fact in &seldom.kept {
                tally.opportunities += 1;
                let (told, part, there) = (fact.tell(), part.word(), seldom.there);
                let (lacked, all) = (seldom.lacked, seldom.lacked + there);
                let what = format!(
                    "{told}: the answer lacks {part}, as {lacked} of {all} such answers do"
                );
                tally.breach(what, fact.job.as_ref(), &[fact]);
            }
        }
        tally.judge("no answer had a part that could be missing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::Quote,
        law::{
            Verdict,
            testkit::{Tale, Tweak, p, view},
        },
    };

    const LAW: &str = "no-silent-degradation";

    fn quotes(fares: &[Option<i64>]) -> Tale {
        let mut tale = Tale::default();
        for fare in fares {
            let op = tale.op(p(1), OpKind::PassengerQuote, (10.0, 10.1));
            op.answer.quote = fare.map(|fare_minor| Quote { fare_minor, trip_s: 60, eta_s: None });
        }
        tale
    }

    #[test]
    fn whole_answers_are_right() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(quotes(&[Some(900), Some(1_200)]).judge(LAW).verdict, Verdict::Pass);
        assert_eq!(quotes(&[None, None]).judge(LAW).verdict, Verdict::Unknown, "it never has one");
    }

    #[test]
    fn an_answer_that_leaves_out_what_it_is_about_is_caught() {
        let judgement = quotes(&[None, Some(900)]).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 passenger.quote at 10.100 s (ok, op 1): the answer lacks a price, as 1 \
             of 2 such answers do"
        );
        assert_eq!(quotes(&[Some(0), Some(900)]).judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_journey_for_nothing_is_caught() {
        let mut tale = Tale::default();
        for (job, fare) in [("J1", 1_200), ("J2", 0)] {
            let mut seen = view(job, JobState::Completed, 1, None);
            seen.fare_minor = Some(fare);
            tale.read(p(1), OpKind::PassengerJobStatus, (10.0, 10.1), seen);
        }
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_failed_openly_is_told() {
        let mut tale = quotes(&[Some(900)]);
        tale.op(p(1), OpKind::PassengerQuote, (11.0, 11.1)).info();
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }
}
