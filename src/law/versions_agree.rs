//! versions-agree: while two versions of the backend run beside each other, both answer one question
//! alike. A rogue asks for one price three times in a row: where the first and the third answer agree
//! and the second does not, no moment explains it, only who answered.

use std::{collections::BTreeMap, time::Duration};

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally, unprobed};
use crate::{
    base::id::{Id, RobotId},
    history::{
        answer::Quote,
        op::{Ask, Op, OpKind, Outcome},
        probe::Probe,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "versions-agree",
    means: "*probe*: while two versions run, a question that is asked three times within ten seconds is \
            answered in one way, in another, and in the first way again (fare and time on the road)",
    needs: &[&[OpKind::PassengerQuote]],
    cannot: |declares| unprobed(declares, |probe| probe == Probe::Twin),
    // Probes come to every law; of the other ops it needs none, and this one is nobody's.
    watches: &[OpKind::CleanupRobot],
    blind_spot: "answers other than prices; a version that nobody happened to ask, and one that differs \
                 only where nobody asked",
    rare: true,
    start: |_, tally| Box::new(VersionsAgree { open: BTreeMap::new(), tally }),
};

/// Three answers that are further apart are no three answers to one question.
const TOGETHER: Duration = Duration::from_secs(10);
/// Times that one question is asked.
const ASKED: usize = 3;

/// One answer.
struct Told {
    ask: Ask,
    said: Quote,
    fact: Fact,
}

struct VersionsAgree {
    /// The answers of each robot to the question that it is asking.
    open: BTreeMap<RobotId, Vec<Told>>,
    tally: Tally,
}

impl VersionsAgree {
    fn probe(&mut self, op: &Op) {
        if op.ask.probe != Some(Probe::Twin) {
            return;
        }
        self.tally.observed += 1;
        let open = self.open.entry(op.robot).or_default();
        let same = open.first().is_some_and(|first| first.ask == op.ask);
        if !same {
            open.clear();
        }
        let (Outcome::Ok, Some(said)) = (op.outcome, op.answer.quote) else { return open.clear() };
        open.push(Told { ask: op.ask.clone(), said, fact: Fact::of(op) });
        if open.len() == ASKED {
            let told = std::mem::take(open);
            self.compare(&told);
        }
    }

    fn compare(&mut self, told: &[Told]) {
        let [first, second, third] = told else { return };
        let in_order = first.fact.done <= second.fact.sent && second.fact.done <= third.fact.sent;
        if !in_order || third.fact.done > first.fact.sent + TOGETHER {
            return;
        }
        self.tally.opportunities += 1;
        // When a car can be there changes from one moment to the next.
        let says = |told: &Told| (told.said.fare_minor, told.said.trip_s);
        if says(first) == says(third) && says(first) != says(second) {
            let words =
                |told: &Told| format!("{} for {} s", told.said.fare_minor, told.said.trip_s);
            let key = told[0].ask.key.as_ref().map_or("", Id::as_str);
            let what = format!(
                "{} asked for one price three times (question {key}) and was told {} (op {}), {} (op \
                 {}), and {} again (op {}) by {}",
                first.fact.robot,
                words(first),
                first.fact.op,
                words(second),
                second.fact.op,
                words(third),
                third.fact.op,
                third.fact.done,
            );
            self.tally.breach(what, None, &[&first.fact, &second.fact, &third.fact]);
        }
    }
}

impl Law for VersionsAgree {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Probe(op) = seen {
            self.probe(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no question was answered three times in a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::Refusal,
        law::{
            Verdict,
            testkit::{Tale, r},
        },
    };

    const LAW: &str = "versions-agree";

    /// The fares that rogue 0 is told, a second apart; none where nobody knows.
    fn told(fares: &[Option<i64>], gap: f64) -> Judgement {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        for (n, fare) in fares.iter().enumerate() {
            let at = 1.0 + gap * n as f64;
            let why = (Probe::Twin, Refusal::Other, 200);
            let op = tale.probe(r(0), OpKind::PassengerQuote, (at, at + 0.1), why);
            op.ask.key = Some("9".into());
            op.answer.refusal = None;
            (op.outcome, op.attempts[0].outcome) = (Outcome::Info, Outcome::Info);
            if let Some(fare_minor) = *fare {
                (op.outcome, op.attempts[0].outcome) = (Outcome::Ok, Outcome::Ok);
                let eta_s = Some(60 + n as u32);
                op.answer.quote = Some(Quote { fare_minor, trip_s: 300, eta_s });
            }
        }
        tale.judge(LAW)
    }

    #[test]
    fn one_answer_three_times_is_right_and_so_is_one_that_changed() {
        for fares in [[700, 700, 700], [700, 700, 900], [700, 900, 900], [700, 800, 900]] {
            let judgement = told(&fares.map(Some), 1.0);
            assert_eq!(
                (judgement.verdict, judgement.opportunities),
                (Verdict::Pass, 1),
                "{fares:?}"
            );
        }
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::NotApplicable);
        assert_eq!(told(&[], 1.0).verdict, Verdict::Unknown);
    }

    #[test]
    fn to_and_fro_breaks_it() {
        let judgement = told(&[Some(700), Some(701), Some(700)], 1.0);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.contains("was told 700 for 300 s (op 1), 701 for 300 s (op 2)"), "{what}");
        assert_eq!(judgement.violations[0].ops, ["1", "2", "3"]);
    }

    #[test]
    fn nothing_follows_from_an_answer_that_is_missing_or_late() {
        let judgement = told(&[Some(700), None, Some(701), Some(700)], 1.0);
        assert_eq!(judgement.verdict, Verdict::Unknown);
        assert_eq!(told(&[Some(700), Some(701), Some(700)], 8.0).verdict, Verdict::Unknown);
    }
}
