//! bad-input-is-4xx: what makes no sense is refused, at once, and changes nothing. Robots send bad input
//! on purpose.

use std::{collections::BTreeMap, time::Duration};

use super::{Judgement, Law, LawEntry, Seen, calm::Calm, fact::Fact, tally::Tally, unprobed};
use crate::history::{
    answer::Refusal,
    declares::Declares,
    op::{Attempt, Op, OpKind, Outcome},
    probe::Probe,
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "bad-input-is-4xx",
    means: "*probe*: bad input (a number that is none or out of its range, something that is missing, \
            of the wrong type, far too large, cut off, or about a job that does not exist) is taken, is \
            answered with 500, or is never answered though nothing is broken",
    needs: &[],
    cannot: |declares| unprobed(declares, Probe::is_of_input),
    // Probes come to every law; of the other ops it needs none, and this one is nobody's.
    watches: &[OpKind::CleanupRobot],
    blind_spot: "a change behind a refusal (a job that came of one is another law's matter: \
                 nothing-unasked-exists); bad input that no rogue thinks of",
    rare: true,
    start: |declares, tally| Box::new(BadInput::new(declares, tally)),
};

/// So often it must not be answered, and never be, to count as a hang: one lost answer is bad luck.
const HANGS_MIN: usize = 3;

/// What became of one kind of bad input at one operation.
#[derive(Default)]
struct Tried {
    answered: bool,
    /// Without an answer, though nothing was broken.
    hung: Vec<Fact>,
}

struct BadInput {
    settle: Duration,
    tried: BTreeMap<(OpKind, Probe), Tried>,
    calm: Calm,
    tally: Tally,
}

impl BadInput {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            settle: declares.settle_bound.0,
            tried: BTreeMap::new(),
            calm: Calm::default(),
            tally,
        }
    }

    fn probe(&mut self, op: &Op) {
        let Some(probe) = op.ask.probe.filter(|probe| probe.is_of_input()) else { return };
        self.tally.observed += 1;
        let error = |one: &&Attempt| one.outcome != Outcome::Ok && one.status.is_some_and(is_error);
        let tried = self.tried.entry((op.kind(), probe)).or_default();
        if let Some(bad) = op.attempts.iter().find(error) {
            tried.answered = true;
            let status = bad.status.unwrap_or_default();
            let why = bad.error.as_deref().map_or(String::new(), |why| format!(" ({why})"));
            return self.breach(op, probe, &format!("it was answered with {status}{why}"));
        }
        match (op.outcome, op.answer.refusal) {
            (Outcome::Ok, _) => {
                tried.answered = true;
                self.breach(op, probe, "it was taken");
            }
            // Refused for another reason: nobody looked at the input.
            (Outcome::Fail, Some(Refusal::Unauthenticated | Refusal::Limited)) => {}
            (Outcome::Fail, _) if op.attempts.iter().any(is_refusal) => {
                tried.answered = true;
                self.tally.opportunities += 1;
            }
            // It could not be asked so.
            (Outcome::Fail, _) if op.attempts.iter().all(|one| one.node.is_none()) => {}
            // Not even a connection, or no answer.
            _ if self.calm.for_at_least(self.settle, op.sent) && tried.hung.len() < HANGS_MIN => {
                tried.hung.push(Fact::of(op));
            }
            _ => {}
        }
    }

    fn breach(&mut self, op: &Op, probe: Probe, what: &str) {
        self.tally.opportunities += 1;
        let fact = Fact::of(op);
        let what = format!("{}: {}, and {what}", fact.tell(), wrong(probe));
        self.tally.breach(what, fact.job.as_ref(), &[&fact]);
    }
}

/// It says that the backend failed; that somebody is not there (502, 503, 504) is no such thing.
fn is_error(status: u16) -> bool {
    (500..600).contains(&status) && !matches!(status, 502..=504)
}

fn is_refusal(attempt: &Attempt) -> bool {
    attempt.status.is_some_and(|status| (400..500).contains(&status))
}

/// What was wrong, in words.
fn wrong(probe: Probe) -> &'static str {
    match probe {
        Probe::InputNan => "a number in it is none",
        Probe::InputRange => "a number in it is out of its range",
        Probe::InputMissing => "something is missing in it",
        Probe::InputType => "something in it has the wrong type",
        Probe::InputOversized => "it is far too large",
        Probe::InputGarbled => "it is cut off",
        _ => "there is no such job",
    }
}

impl Law for BadInput {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Probe(op) => self.probe(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Op(_) | Seen::Phase(..) | Seen::Told(_) => {}
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for ((kind, probe), tried) in &self.tried {
            if let ([.., last], false) = (tried.hung.as_slice(), tried.answered)
                && tried.hung.len() >= HANGS_MIN
            {
                tally.opportunities += 1;
                let (times, wrong) = (tried.hung.len(), wrong(*probe));
                let what = format!(
                    "{}: {wrong}, and none of {times} such requests ({kind}) was ever answered",
                    last.tell()
                );
                let proof: Vec<_> = tried.hung.iter().collect();
                tally.breach(what, last.job.as_ref(), &proof);
            }
        }
        tally.judge("no bad input was answered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::record::FaultChange,
        law::{
            Verdict,
            testkit::{Tale, Tweak, r},
        },
    };

    const LAW: &str = "bad-input-is-4xx";

    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        tale
    }

    fn sent(tale: &mut Tale, probe: Probe, at: f64) -> &mut Op {
        let why = (probe, Refusal::Invalid, 400);
        tale.probe(r(1), OpKind::DriverPing, (at, at + 0.1), why)
    }

    fn answered(probe: Probe, change: impl Fn(&mut Op)) -> Judgement {
        let mut tale = tale();
        change(sent(&mut tale, probe, 1.0));
        tale.judge(LAW)
    }

    fn unanswered(op: &mut Op) {
        op.info();
        op.attempts[0].status = None;
    }

    #[test]
    fn a_refusal_is_right_and_one_for_another_reason_proves_nothing() {
        for probe in Probe::ALL.iter().filter(|probe| probe.is_of_input()) {
            assert_eq!(answered(*probe, |_| {}).verdict, Verdict::Pass, "{probe}");
            let no = answered(*probe, |op| op.answer.refusal = Some(Refusal::Unauthenticated));
            assert_eq!(no.verdict, Verdict::Unknown, "{probe}");
        }
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::NotApplicable);
        assert_eq!(tale().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn what_is_taken_or_ends_in_an_error_breaks_it() {
        let taken = answered(Probe::InputNan, |op| {
            (op.outcome, op.attempts[0].outcome) = (Outcome::Ok, Outcome::Ok);
            (op.attempts[0].status, op.answer.refusal) = (Some(200), None);
        });
        assert_eq!(taken.verdict, Verdict::Broken);
        let what = &taken.violations[0].what;
        assert!(what.ends_with("a number in it is none, and it was taken"), "{what}");
        let error = answered(Probe::InputUnknownId, |op| {
            op.info();
            op.attempts[0].error = Some("500: oh no".into());
            op.attempts[0].status = Some(500);
        });
        assert_eq!(error.verdict, Verdict::Broken);
        let what = &error.violations[0].what;
        assert!(what.ends_with("no such job, and it was answered with 500 (500: oh no)"), "{what}");
    }

    #[test]
    fn one_lost_answer_or_somebody_who_is_not_there_is_bad_luck() {
        assert_eq!(answered(Probe::InputNan, unanswered).verdict, Verdict::Unknown);
        for status in [502, 503, 504] {
            let absent = answered(Probe::InputNan, |op| {
                op.info();
                op.attempts[0].status = Some(status);
            });
            assert_eq!(absent.verdict, Verdict::Unknown, "{status}");
        }
    }

    #[test]
    fn what_is_never_answered_hangs_unless_something_is_broken() {
        let lost = |faulty: bool, answered: bool| {
            let mut tale = tale();
            for at in [50.0, 60.0, 70.0] {
                unanswered(sent(&mut tale, Probe::InputOversized, at));
            }
            if answered {
                sent(&mut tale, Probe::InputOversized, 80.0);
            }
            if faulty {
                tale.fault(FaultChange::Injected, 55.0);
                tale.fault(FaultChange::Healed, 65.0);
            }
            tale.judge(LAW)
        };
        let judgement = lost(false, false);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(
            what.ends_with("none of 3 such requests (driver.ping) was ever answered"),
            "{what}"
        );
        assert_eq!(lost(false, true).verdict, Verdict::Pass);
        assert_eq!(lost(true, false).verdict, Verdict::Unknown);
    }
}
