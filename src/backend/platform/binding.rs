//! Binding: which of the instances that serve something are asked how often. Rules by service, kept
//! in the config under [`KEY`] and applied by every caller as it chooses an instance: shares by
//! version, a roll-out from one version to the next, instances and machines to avoid. A rule moves
//! traffic and never stops it: where it leaves nobody, it is as if it did not say that.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::directory::Instance;
use crate::base::{glob::fits, name::NodeName, time::Time};

/// The config key that holds the [`Rules`].
pub const KEY: &str = "binding";
/// In a rule's place: holds for every service besides its own rule.
pub const EVERY: &str = "*";
/// Weights are no larger, so that they can be added.
const WEIGHT_MAX: u32 = 1_000_000;
/// Steps of a roll-out.
const STEPS: u64 = 10_000;

/// Rules by service, like `core/fare`; [`EVERY`] for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rules(pub BTreeMap<String, Rule>);

/// What holds for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Shares by version; a version that is not listed gets nothing. Empty: versions do not matter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<u32, u32>,
    /// In place of fixed shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roll_out: Option<RollOut>,
    /// Instances (`a/core-1`) and machines (`a-1`) that are not asked; `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
}

/// From one version to the next, evenly over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollOut {
    /// Has all of the traffic before.
    pub from: u32,
    /// Has all of it after.
    pub to: u32,
    /// How long it takes, in milliseconds.
    pub over_ms: u64,
    /// When it begins, in milliseconds since the origin of the run. Left out: when it is set; the
    /// config service writes it down then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
}

/// Why rules are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{KEY}`: {service}: {why}")]
pub struct RuleError {
    service: String,
    why: String,
}

impl Rules {
    /// Reads and checks rules.
    pub fn parse(json: &serde_json::Value) -> Result<Self, RuleError> {
        let map = json.as_object().ok_or_else(|| RuleError {
            service: "all".to_owned(),
            why: "must be an object: service to rule".to_owned(),
        })?;
        let mut rules = BTreeMap::new();
        for (service, rule) in map {
            let wrong = |why: String| RuleError { service: service.clone(), why };
            let rule: Rule =
                serde_json::from_value(rule.clone()).map_err(|why| wrong(why.to_string()))?;
            rule.check().map_err(|why| wrong(why.to_owned()))?;
            rules.insert(service.clone(), rule);
        }
        Ok(Self(rules))
    }

    /// Writes down when roll-outs begin that do not say so.
    pub fn stamp(&mut self, now: Time) {
        for rule in self.0.values_mut() {
            if let Some(roll_out) = &mut rule.roll_out {
                roll_out.start_ms.get_or_insert(now.0 / 1_000_000);
            }
        }
    }

    /// True when nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `instance` is not to be asked for `service`.
    fn avoids(&self, service: &str, instance: &Instance) -> bool {
        let named = [self.0.get(EVERY), self.0.get(service)];
        named
            .into_iter()
            .flatten()
            .flat_map(|rule| &rule.avoid)
            .any(|pattern| fits(pattern, instance.name.as_str()) || fits(pattern, &instance.host))
    }

    /// Those of `instances` that the rules let serve `service`, and their shares if any are set.
    pub(super) fn bind<'a>(
        &self,
        service: &str,
        instances: &[&'a Instance],
    ) -> (Vec<&'a Instance>, Option<Shares>) {
        let kept: Vec<&Instance> =
            instances.iter().copied().filter(|one| !self.avoids(service, one)).collect();
        let kept = if kept.is_empty() { instances.to_vec() } else { kept };
        let rule = self.0.get(service).or_else(|| self.0.get(EVERY));
        let shares = rule.and_then(|rule| Shares::of(rule, &kept));
        (kept, shares)
    }
}

impl Rule {
    fn check(&self) -> Result<(), &'static str> {
        if self.roll_out.is_some() && !self.versions.is_empty() {
            return Err("has both `versions` and `roll_out`: leave one out");
        }
        if self.versions.values().any(|weight| *weight > WEIGHT_MAX) {
            return Err("a weight is above 1000000: weights are relative, use smaller ones");
        }
        if !self.versions.is_empty() && self.versions.values().all(|weight| *weight == 0) {
            return Err("every version has the weight 0: give one of them more");
        }
        match self.roll_out {
            Some(RollOut { from, to, .. }) if from == to => {
                Err("rolls out from a version to itself")
            }
            _ => Ok(()),
        }
    }
}

/// The instances of one service by version, with the share of each.
pub(super) struct Shares {
    sides: Vec<Side>,
    roll_out: Option<RollOut>,
    drawn: Cell<u64>,
}

/// The instances of one version.
pub(super) struct Side {
    version: u32,
    weight: u64,
    pub near: Vec<NodeName>,
    pub far: Vec<NodeName>,
}

impl Shares {
    /// None where the rule sets no shares, or nobody of its versions runs.
    fn of(rule: &Rule, instances: &[&Instance]) -> Option<Self> {
        let versions: BTreeMap<u32, u32> = match rule.roll_out {
            Some(roll_out) => BTreeMap::from([(roll_out.from, 1), (roll_out.to, 1)]),
            None => rule.versions.clone(),
        };
        let sides: Vec<Side> = versions
            .into_iter()
            .filter(|(version, weight)| {
                *weight > 0 && instances.iter().any(|one| one.version == *version)
            })
            .map(|(version, weight)| Side {
                version,
                weight: weight.into(),
                near: Vec::new(),
                far: Vec::new(),
            })
            .collect();
        let roll_out = rule.roll_out.filter(|_| sides.len() > 1);
        (!sides.is_empty()).then(|| Self { sides, roll_out, drawn: Cell::default() })
    }

    /// Where the next calls start: seeded, so that nodes do not all begin with the same version.
    pub(super) fn start_at(&self, turn: usize) {
        self.drawn.set(turn as u64);
    }

    pub(super) fn side_of(&mut self, version: u32) -> Option<&mut Side> {
        self.sides.iter_mut().find(|side| side.version == version)
    }

    /// The versions in the order in which to try them: the one whose turn it is, then the others.
    pub(super) fn draw(&self, now: Time) -> impl Iterator<Item = &Side> {
        let weight =
            |side: &Side| self.roll_out.map_or(side.weight, |r| r.weight(side.version, now));
        let total: u64 = self.sides.iter().map(weight).sum();
        let drawn = self.drawn.get();
        self.drawn.set(drawn.wrapping_add(1));
        let mut at = spread(drawn, total);
        let first = self.sides.iter().position(|side| {
            let own = weight(side);
            let here = at < own;
            at = at.saturating_sub(own);
            here
        });
        let first = first.unwrap_or_default();
        self.sides[first..].iter().chain(&self.sides[..first])
    }
}

impl RollOut {
    /// The weight of a version at `now`, of [`STEPS`] in all.
    fn weight(&self, version: u32, now: Time) -> u64 {
        let begun = Duration::from_millis(self.start_ms.unwrap_or_default());
        let gone = now.since(Time::ZERO + begun).as_millis() as u64;
        let done = (STEPS * gone).checked_div(self.over_ms).map_or(STEPS, |done| done.min(STEPS));
        if version == self.to { done } else { STEPS - done }
    }
}

/// The `n`th of a row of numbers below `total` that are spread evenly: multiples of the golden ratio,
/// so that every stretch of calls keeps the shares and nothing is drawn from a random stream.
fn spread(n: u64, total: u64) -> u64 {
    let part = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((u128::from(part) * u128::from(total)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_and_odd_ones_are_refused() {
        let read = |json| Rules::parse(&json);
        let rules = read(json!({
            "core/fare": {"versions": {"1": 90, "2": 10}, "avoid": ["a/core-1"]},
            "core/eta": {"roll_out": {"from": 1, "to": 2, "over_ms": 1000}},
        }));
        let mut rules = rules.unwrap();
        assert_eq!(rules.0["core/fare"].versions[&2], 10);
        rules.stamp(Time::from_secs_f64(7.0));
        rules.stamp(Time::from_secs_f64(9.0));
        assert_eq!(rules.0["core/eta"].roll_out.unwrap().start_ms, Some(7_000));
        assert_eq!(read(serde_json::to_value(&rules).unwrap()).unwrap(), rules);
        for odd in [
            json!([]),
            json!({"core/fare": {"version": {"1": 1}}}),
            json!({"core/fare": {"versions": {"1": 0}}}),
            json!({"core/fare": {"versions": {"1": 2_000_000}}}),
            json!({"core/fare": {"roll_out": {"from": 2, "to": 2, "over_ms": 1}}}),
            json!({"core/fare": {"versions": {"1": 1},
                   "roll_out": {"from": 1, "to": 2, "over_ms": 1}}}),
        ] {
            assert!(read(odd.clone()).is_err(), "{odd}");
        }
    }

    #[test]
    fn every_stretch_of_calls_keeps_the_shares() {
        for from in [0, 12_345, 1 << 40] {
            let hits = (from..from + 1_000).filter(|n| spread(*n, 100) < 10).count();
            assert!((98..=102).contains(&hits), "{hits} of 1,000");
            // Nor does it matter which of them somebody else takes.
            let hits = (from..from + 3_000).step_by(3).filter(|n| spread(*n, 100) < 10).count();
            assert!((95..=105).contains(&hits), "{hits} of 1,000");
        }
    }

    #[test]
    fn a_roll_out_moves_evenly() {
        let roll_out = RollOut { from: 1, to: 2, over_ms: 10_000, start_ms: Some(5_000) };
        let at = |s: f64| roll_out.weight(2, Time::from_secs_f64(s));
        assert_eq!([at(0.0), at(5.0), at(7.5), at(15.0), at(99.0)], [0, 0, 2_500, STEPS, STEPS]);
        assert_eq!(roll_out.weight(1, Time::from_secs_f64(7.5)), 7_500);
        assert_eq!(RollOut { over_ms: 0, ..roll_out }.weight(2, Time::ZERO), STEPS);
    }
}
