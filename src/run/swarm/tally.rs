//! What a swarm came to: how often each verdict, what the laws saw in all, which seeds failed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::trial::Trial;
use crate::{
    law::{Verdict, registry::LAWS},
    report::verdict::Exit,
};

/// Failures that are remembered, those with the shortest history; the others are counted.
const FAILURES_MAX: usize = 1_000;

/// The sum of all trials.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Seeds that were played.
    pub played: u64,
    /// How often each verdict, by its word.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// What the laws saw, by name.
    pub laws: BTreeMap<String, LawTally>,
    /// Why seeds were inconclusive or missed a gate, and how many of them.
    pub reasons: BTreeMap<String, u64>,
    /// The known failures, by what they look like; those that no seed showed too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<String, KnownTally>,
    /// Records of all histories.
    pub records: u64,
    #[serde(skip)]
    worst: Option<Exit>,
    /// By the length of the history, and the seed.
    #[serde(skip)]
    failures: BTreeMap<(u64, u64), Trial>,
}

/// What one law saw over all seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LawTally {
    /// Opportunities in all.
    pub opportunities: u64,
    /// Seeds that gave it any.
    pub seeds: u64,
    /// Seeds in which it was seen to hold: not all that gave it an opportunity gave it enough.
    pub passed: u64,
    /// Seeds that broke it.
    pub broken: u64,
    /// Seeds with known failures of it.
    pub known: u64,
}

/// What a known failure was over all seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KnownTally {
    /// Breaches that it excused, in all.
    pub excused: u64,
    /// Seeds with a breach whose words it fits.
    pub seeds: u64,
}

impl Tally {
    /// Counts one in.
    pub fn add(&mut self, trial: Trial) {
        self.played += 1;
        self.records += trial.records;
        *self.verdicts.entry(word(trial.exit)).or_default() += 1;
        for seen in &trial.laws {
            let law = self.laws.entry(seen.law.clone()).or_default();
            law.opportunities += seen.opportunities;
            law.seeds += u64::from(seen.opportunities > 0);
            law.passed += u64::from(seen.verdict == Verdict::Pass);
            law.broken += u64::from(seen.violations > 0);
            law.known += u64::from(seen.known.iter().any(|known| known.excused > 0));
            for seen in &seen.known {
                let known = self.known.entry(seen.name.clone()).or_default();
                known.excused += seen.excused;
                known.seeds += u64::from(seen.matched > 0);
            }
        }
        if !trial.is_failure() {
            // Those of a pass are its known failures, which are counted by themselves.
            let why = if trial.exit == Exit::Pass { &[] } else { &trial.reasons[..] };
            for reason in why {
                *self.reasons.entry(kind_of(reason)).or_default() += 1;
            }
            return;
        }
        self.worst = Some(self.worst.map_or(trial.exit, |worst| worst.worse(trial.exit)));
        // One without a verdict has no history to be short: it comes after those that have.
        let length = if trial.records == 0 { u64::MAX } else { trial.records };
        self.failures.insert((length, trial.seed), trial);
        if self.failures.len() > FAILURES_MAX {
            self.failures.pop_last();
        }
    }

    /// How many came to that.
    pub fn count(&self, exit: Exit) -> u64 {
        self.verdicts.get(word(exit)).copied().unwrap_or_default()
    }

    /// The failures, the shortest history first.
    pub fn failures(&self) -> impl Iterator<Item = &Trial> {
        self.failures.values()
    }

    /// Failures in all, remembered or not.
    pub fn failed(&self) -> u64 {
        [Exit::Pass, Exit::Inconclusive, Exit::GateMissed]
            .into_iter()
            .fold(self.played, |left, exit| left - self.count(exit))
    }

    /// The laws that no seed gave an opportunity, of those that were judged.
    pub fn never_seen(&self) -> impl Iterator<Item = &str> {
        self.laws.iter().filter(|(_, law)| law.opportunities == 0).map(|(name, _)| name.as_str())
    }

    /// The laws with what they saw, in the order in which people read them.
    pub fn laws_in_order(&self) -> impl Iterator<Item = (&'static str, &LawTally)> {
        LAWS.iter().filter_map(|law| Some((law.name, self.laws.get(law.name)?)))
    }

    /// The exit code of the whole: that of the failure that comes first in the contract, then that of
    /// a signal; some seeds may prove nothing, as long as one passed.
    pub fn exit(&self, interrupted: Option<Exit>) -> Exit {
        if let Some(worst) = self.worst {
            return worst;
        }
        if let Some(signal) = interrupted {
            return signal;
        }
        if self.count(Exit::GateMissed) > 0 {
            return Exit::GateMissed;
        }
        if self.count(Exit::Pass) > 0 { Exit::Pass } else { Exit::Inconclusive }
    }
}

/// How a verdict is called in tallies.
pub fn word(exit: Exit) -> &'static str {
    match exit {
        Exit::Pass => "passed",
        Exit::Inconclusive => "inconclusive",
        Exit::GateMissed => "gate missed",
        Exit::Broken => "broken",
        Exit::LeftBehind => "left behind",
        Exit::Crash => "crashed",
        Exit::Unfit => "unfit",
        Exit::Usage => "not playable",
        Exit::Interrupted | Exit::Terminated => "interrupted",
    }
}

/// A reason without its figures, which differ from seed to seed.
fn kind_of(reason: &str) -> String {
    let text = reason.split(" (").next().unwrap_or(reason);
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::swarm::trial::LawSeen;

    fn trial(seed: u64, exit: Exit, records: u64) -> Trial {
        let law_seen = |law: &str, opportunities| LawSeen {
            law: law.to_owned(),
            opportunities,
            violations: u64::from(exit == Exit::Broken),
            verdict: match (exit, opportunities) {
                (Exit::Broken, _) => Verdict::Broken,
                (_, 2..) => Verdict::Pass,
                _ => Verdict::Unknown,
            },
            known: Vec::new(),
        };
        Trial {
            seed,
            exit,
            records,
            sum: seed,
            drivers: 1,
            faults: Vec::new(),
            laws: vec![law_seen("charged-once", seed), law_seen("unique-ids", 0)],
            reasons: vec![format!("not enough seen: jobs completed ({seed})")],
            evidence: String::new(),
        }
    }

    fn tally(exits: &[Exit]) -> Tally {
        let mut tally = Tally::default();
        for (exit, seed) in exits.iter().zip(1..) {
            tally.add(trial(seed, *exit, 100 - seed));
        }
        tally
    }

    #[test]
    fn sums_are_of_all_seeds() {
        let tally = tally(&[Exit::Pass, Exit::Broken, Exit::Inconclusive]);
        assert_eq!((tally.played, tally.failed()), (3, 1));
        let law = &tally.laws["charged-once"];
        assert_eq!((law.opportunities, law.seeds, law.passed, law.broken), (6, 3, 1, 1));
        assert_eq!(tally.never_seen().collect::<Vec<_>>(), ["unique-ids"]);
        // A pass has none but its known failures, and those are counted by themselves.
        assert_eq!(tally.reasons["not enough seen: jobs completed"], 1);
    }

    #[test]
    fn the_shortest_history_comes_first_and_a_crash_without_one_last() {
        let mut tally = tally(&[Exit::Broken, Exit::Broken, Exit::LeftBehind]);
        tally.add(trial(9, Exit::Crash, 0));
        let order: Vec<_> = tally.failures().map(|trial| trial.seed).collect();
        assert_eq!(order, [3, 2, 1, 9]);
    }

    #[test]
    fn no_more_failures_are_remembered_than_the_limit() {
        let mut tally = Tally::default();
        for seed in 1..=2_000 {
            tally.add(trial(seed, Exit::Broken, 3_000 - seed));
        }
        assert_eq!(tally.failures().count(), FAILURES_MAX);
        assert_eq!(tally.failures().next().unwrap().seed, 2_000);
        assert_eq!(tally.failed(), 2_000);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let cases: [(&[Exit], Exit); 8] = [
            (&[], Exit::Inconclusive),
            (&[Exit::Inconclusive], Exit::Inconclusive),
            (&[Exit::Inconclusive, Exit::Pass], Exit::Pass),
            (&[Exit::Pass, Exit::GateMissed], Exit::GateMissed),
            (&[Exit::GateMissed, Exit::Crash], Exit::Crash),
            (&[Exit::Crash, Exit::LeftBehind], Exit::LeftBehind),
            (&[Exit::Broken, Exit::LeftBehind], Exit::LeftBehind),
            (&[Exit::Unfit, Exit::Crash], Exit::Unfit),
        ];
        for (exits, wanted) in cases {
            assert_eq!(tally(exits).exit(None), wanted, "{exits:?}");
        }
        for signal in [Exit::Interrupted, Exit::Terminated] {
            assert_eq!(tally(&[Exit::Pass, Exit::GateMissed]).exit(Some(signal)), signal);
            assert_eq!(tally(&[Exit::Broken]).exit(Some(signal)), Exit::Broken);
        }
    }
}
