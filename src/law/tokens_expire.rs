//! tokens-expire: who somebody is must be proven, and a proof has an end. Robots ask with bad tokens on
//! purpose: whoever is not turned away was let in.

use std::{collections::BTreeMap, time::Duration};

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally, unprobed};
use crate::{
    base::id::RobotId,
    history::{
        answer::Refusal,
        declares::Declares,
        op::{Op, OpKind, Outcome},
        probe::Probe,
        record::{FaultChange, FaultEvent},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "tokens-expire",
    means: "*probe*: a request is answered whose token is missing, malformed, forged, of another kind \
            of account, of a session that was closed, or whose life was certainly over",
    needs: &[],
    cannot: |declares| unprobed(declares, Probe::is_of_token),
    watches: &[OpKind::DriverLogin, OpKind::PassengerLogin],
    blind_spot: "bad tokens that no rogue thinks of; a bad token that is refused for another reason; \
                 expired ones in a run in which clocks were set wrong",
    rare: true,
    start: |declares, tally| Box::new(TokensExpire::new(declares, tally)),
};

/// Clocks of the backend's parts that are a little apart.
const SLACK: Duration = Duration::from_secs(1);
/// The fault after which nobody's word about time counts.
const SKEW: &str = "skew";

struct TokensExpire {
    life: Duration,
    /// When a robot last got a token, or may have.
    since: BTreeMap<RobotId, Fact>,
    skewed: bool,
    tally: Tally,
}

impl TokensExpire {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self { life: declares.token_ttl.0, since: BTreeMap::new(), skewed: false, tally }
    }

    fn fault(&mut self, event: &FaultEvent) {
        let bites = matches!(event.change, FaultChange::Injected | FaultChange::Bit);
        self.skewed |= event.kind == SKEW && bites;
    }

    fn probe(&mut self, op: &Op) {
        let Some(probe) = op.ask.probe.filter(|probe| probe.is_of_token()) else { return };
        self.tally.observed += 1;
        let got = self.since.get(&op.robot);
        if probe == Probe::TokenExpired {
            let over = |got: &Fact| op.sent > got.done + self.life + SLACK;
            if self.skewed || !got.is_some_and(over) {
                return;
            }
        }
        let turned_away =
            matches!(op.answer.refusal, Some(Refusal::Unauthenticated | Refusal::Forbidden));
        match op.outcome {
            Outcome::Fail if turned_away => self.tally.opportunities += 1,
            Outcome::Ok => self.let_in(op, probe),
            Outcome::Fail | Outcome::Info => {}
        }
    }

    fn let_in(&mut self, op: &Op, probe: Probe) {
        self.tally.opportunities += 1;
        let fact = Fact::of(op);
        let got = self.since.get(&op.robot).filter(|_| probe == Probe::TokenExpired);
        let since = got.map_or(String::new(), |got| {
            let (life, at, op) = (self.life.as_secs_f64(), got.done, got.op);
            format!(" (it was given at {at}, op {op}, for {life} s)")
        });
        let what = format!("{}: it was let in, though {}{since}", fact.tell(), wrong(probe));
        let proof: Vec<_> = got.into_iter().chain([&fact]).collect();
        self.tally.breach(what, fact.job.as_ref(), &proof);
    }
}

/// What was wrong, in words.
fn wrong(probe: Probe) -> &'static str {
    match probe {
        Probe::TokenAbsent => "no token went with it",
        Probe::TokenMalformed => "its token was none",
        Probe::TokenForged => "its token was forged",
        Probe::TokenExpired => "its token had expired",
        Probe::TokenRevoked => "its session had been closed",
        _ => "its token is of another kind of account",
    }
}

impl Law for TokensExpire {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            // One of which nobody knows may have given a token as well.
            Seen::Op(op) if op.outcome != Outcome::Fail => {
                self.since.insert(op.robot, Fact::of(op));
            }
            Seen::Probe(op) => self.probe(op),
            Seen::Fault(event) => self.fault(event),
            Seen::Op(_) | Seen::Phase(..) | Seen::Told(_) => {}
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no request with a bad token was answered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{span::Span, time::Time},
        history::record::{FaultChange, FaultEvent, Record},
        law::{
            Verdict,
            testkit::{Tale, Tweak, r},
        },
    };

    const LAW: &str = "tokens-expire";

    /// A rogue that logged in at 1 s asks with a bad token at `at`.
    fn asked(probe: Probe, at: f64, change: impl Fn(&mut Op)) -> Tale {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        tale.declares.token_ttl = Span::secs(20);
        tale.op(r(1), OpKind::DriverLogin, (1.0, 1.1));
        let why = (probe, Refusal::Unauthenticated, 401);
        change(tale.probe(r(1), OpKind::DriverCurrentJob, (at, at + 0.1), why));
        tale
    }

    fn let_in(op: &mut Op) {
        (op.outcome, op.attempts[0].outcome) = (Outcome::Ok, Outcome::Ok);
        op.answer.refusal = None;
    }

    #[test]
    fn who_is_turned_away_is_right_and_a_target_without_probes_is_not_judged() {
        for probe in Probe::ALL.iter().filter(|probe| probe.is_of_token()) {
            assert_eq!(asked(*probe, 30.0, |_| {}).judge(LAW).verdict, Verdict::Pass, "{probe}");
            let forbidden = asked(*probe, 30.0, |op| {
                op.refused(Refusal::Forbidden);
            });
            assert_eq!(forbidden.judge(LAW).verdict, Verdict::Pass, "{probe}");
        }
        let mut tale = Tale::default();
        assert_eq!(tale.judge(LAW).verdict, Verdict::NotApplicable);
        tale.declares.probes = vec![Probe::TokenAbsent];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn who_is_let_in_breaks_it() {
        for probe in Probe::ALL.iter().filter(|probe| probe.is_of_token()) {
            let judgement = asked(*probe, 30.0, let_in).judge(LAW);
            assert_eq!(judgement.verdict, Verdict::Broken, "{probe}");
        }
        let judgement = asked(Probe::TokenExpired, 30.0, let_in).judge(LAW);
        let what = &judgement.violations[0].what;
        let end = "its token had expired (it was given at 1.100 s, op 1, for 20 s)";
        assert!(what.ends_with(end), "{what}");
        assert_eq!(judgement.violations[0].ops, ["1", "2"]);
    }

    #[test]
    fn a_token_within_its_life_and_its_leeway_is_a_good_one() {
        for at in [5.0, 20.0, 22.0] {
            let tale = asked(Probe::TokenExpired, at, let_in);
            assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "{at}");
        }
        // A login of which nobody knows may have brought a fresh one.
        let mut renewed = asked(Probe::TokenExpired, 30.0, let_in);
        renewed.op(r(1), OpKind::DriverLogin, (15.0, 16.0)).info();
        assert_eq!(renewed.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn nothing_follows_from_what_nobody_knows_or_from_clocks_that_were_set_wrong() {
        let lost = asked(Probe::TokenForged, 30.0, |op| {
            op.info();
        });
        assert_eq!(lost.judge(LAW).verdict, Verdict::Unknown);
        let missed = asked(Probe::TokenForged, 30.0, |op| {
            op.refused(Refusal::NotFound);
        });
        assert_eq!(missed.judge(LAW).verdict, Verdict::Unknown);
        let mut law = TokensExpire::new(&Declares::default(), asked_tally());
        let tale = asked(Probe::TokenExpired, 2_000.0, let_in);
        let at = Time::from_secs_f64(0.5);
        law.see(Seen::Fault(&FaultEvent {
            fault: 0,
            kind: SKEW.into(),
            victims: Vec::new(),
            change: FaultChange::Injected,
            planned: at,
            at,
            more_updates_per_s: 0.0,
            effect: String::new(),
        }));
        for record in tale.records() {
            match &record {
                Record::Op(op) if op.ask.probe.is_some() => law.see(Seen::Probe(op)),
                Record::Op(op) => law.see(Seen::Op(op)),
                _ => {}
            }
        }
        assert_ne!(law.judge(true).verdict, Verdict::Broken);
    }

    fn asked_tally() -> Tally {
        let sieve = crate::law::known::Known::default().sieve(LAW);
        Tally::new(sieve, crate::law::common::Common::default())
    }
}
