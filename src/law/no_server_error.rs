//! no-server-error: a right question is never answered with 500. (502, 503 and 504 say that somebody
//! is not there; how often is a threshold's matter, not a law's.)

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally};
use crate::history::op::{Attempt, Op, OpKind, Outcome};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "no-server-error",
    means: "an attempt at a valid request is answered with HTTP 500",
    needs: &[],
    cannot: |_| None,
    watches: OpKind::ALL,
    blind_spot: "failures that are told with another status, or with 200",
    rare: false,
    start: |_, tally| Box::new(NoServerError { tally }),
};

struct NoServerError {
    tally: Tally,
}

impl NoServerError {
    fn op(&mut self, op: &Op) {
        self.tally.observed += 1;
        self.tally.opportunities += u64::from(op.attempts.iter().any(|one| one.status.is_some()));
        // A target may say of a 500 what it means (an expired session, say): that is no error then.
        let is_bad = |one: &&Attempt| one.status == Some(500) && one.outcome == Outcome::Info;
        let Some(bad) = op.attempts.iter().find(is_bad) else { return };
        let fact = Fact::of(op);
        let node = bad.node.as_ref().map_or(String::new(), |node| format!(" by {node}"));
        let error = bad.error.as_deref().map_or(String::new(), |error| format!(": {error}"));
        let what = format!("{}: answered with 500{node} at {}{error}", fact.tell(), bad.done);
        self.tally.breach(what, fact.job.as_ref(), &[&fact]);
    }
}

impl Law for NoServerError {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no answer with a status was seen")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d},
        },
    };

    const LAW: &str = "no-server-error";

    fn answered(status: Option<u16>) -> Judgement {
        let mut tale = Tale::default();
        let ping = tale.ping(d(1), (1.0, 1.1), Place::default(), None);
        if status != Some(200) {
            ping.info();
            ping.attempts[0].outcome = Outcome::Info;
        }
        ping.attempts[0].status = status;
        ping.attempts[0].node = Some("a/api-1".into());
        tale.judge(LAW)
    }

    #[test]
    fn only_500_breaks_it() {
        assert_eq!(answered(Some(200)).verdict, Verdict::Pass);
        assert_eq!(answered(Some(503)).verdict, Verdict::Pass);
        assert_eq!(answered(None).verdict, Verdict::Unknown);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let judgement = answered(Some(500));
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("answered with 500 by a/api-1 at 1.100 s"), "{what}");
    }
}
