//! How far faults may reach at one moment: how many AZs, how much of a role, how many at once, and
//! when all of it is called off. Judges sets of faults; who asks, and when, is others' matter.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{keys::Keys, provider::LinkName, resolved::ResolvedFault};
use crate::base::{file::FileError, name::NodeName, span::Span};

/// The window of the stop condition, where a plan does not say.
const ABORT_AFTER: Span = Span::secs(10);
/// A stop condition looks at no less and no more than this.
const ABORT_AFTER_RANGE: std::ops::RangeInclusive<Span> = Span::secs(1)..=Span::secs(3_600);
/// AZs at most for which the smallest number that links touch is found out.
const AZS_MAX: usize = 12;

/// The limits of a plan. What is left out does not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// AZs with a node down, or cut off from others, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azs: Option<u32>,
    /// Of each role more than half of the nodes stay up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub majority: Option<bool>,
    /// Faults in force at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// All is healed, and the demand ends, when more than this share of the ops, in percent, does
    /// not end well …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_above: Option<f64>,
    /// … for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_after: Option<Span>,
}

impl Limits {
    /// Of a backend that the run did not start, where its plan does not say otherwise.
    pub const OF_OTHERS: Self = Self {
        azs: Some(1),
        majority: Some(true),
        at_once: Some(3),
        abort_above: Some(50.0),
        abort_after: Some(ABORT_AFTER),
    };

    /// True where nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// These, and where they say nothing those.
    #[must_use]
    pub fn over(self, those: Self) -> Self {
        let abort_above = self.abort_above.or(those.abort_above);
        Self {
            azs: self.azs.or(those.azs),
            majority: self.majority.or(those.majority),
            at_once: self.at_once.or(those.at_once),
            abort_above,
            abort_after: self.abort_after.or(those.abort_after).filter(|_| abort_above.is_some()),
        }
    }

    /// Reads `[limits]`.
    pub(super) fn read(mut keys: Keys<'_>) -> Result<Self, FileError> {
        let majority = keys.flag("majority")?;
        let azs = count(&mut keys, "azs")?;
        let at_once = count(&mut keys, "at_once")?;
        let above = keys.number("abort_above")?;
        if let Some(wrong) = above.as_ref().filter(|p| !(0.0..100.0).contains(p.get_ref())) {
            let what = "must be a percentage from 0 to below 100";
            return Err(keys.wrong(&wrong.span(), "abort_above", what));
        }
        let after = keys.span("abort_after")?;
        if let Some(wrong) = after.as_ref().filter(|a| !ABORT_AFTER_RANGE.contains(a.get_ref())) {
            let what = format!(
                "must be between {} and {}",
                ABORT_AFTER_RANGE.start(),
                ABORT_AFTER_RANGE.end()
            );
            return Err(keys.wrong(&wrong.span(), "abort_after", what));
        }
        if let (Some(after), None) = (&after, &above) {
            let what = "says how long, and `abort_above` is missing, which says above what";
            return Err(keys.wrong(&after.span(), "abort_after", what));
        }
        keys.finish()?;
        let abort_above = above.map(Spanned::into_inner);
        let abort_after = after.map(Spanned::into_inner).or(abort_above.map(|_| ABORT_AFTER));
        Ok(Self { azs, majority, at_once, abort_above, abort_after })
    }

    /// Which limit these faults break, in force together at a target of these nodes: its key, and why.
    pub fn breach(
        &self,
        faults: &[&ResolvedFault],
        nodes: &[NodeName],
    ) -> Option<(&'static str, String)> {
        self.too_many(faults)
            .or_else(|| self.too_many_azs(faults, nodes))
            .or_else(|| self.majority_lost(faults, nodes))
    }

    fn too_many(&self, faults: &[&ResolvedFault]) -> Option<(&'static str, String)> {
        let most = self.at_once?;
        let count = faults.len();
        let why = || format!("{count} faults would be in force at once, and {most} may be");
        (count > most as usize).then(|| ("limits.at_once", why()))
    }

    fn too_many_azs(
        &self,
        faults: &[&ResolvedFault],
        nodes: &[NodeName],
    ) -> Option<(&'static str, String)> {
        let most = self.azs?;
        let hit = azs_hit(faults, nodes);
        let azs: Vec<&str> = hit.iter().copied().collect();
        let why = || {
            let (count, azs) = (azs.len(), azs.join(", "));
            format!(
                "nodes of {count} AZs ({azs}) would be down or cut off at once, and {most} may be"
            )
        };
        (azs.len() > most as usize).then(|| ("limits.azs", why()))
    }

    fn majority_lost(
        &self,
        faults: &[&ResolvedFault],
        nodes: &[NodeName],
    ) -> Option<(&'static str, String)> {
        if self.majority != Some(true) {
            return None;
        }
        let down = down_by_role(faults);
        down.into_iter().find_map(|(role, down)| {
            let all = nodes.iter().filter(|node| node.role() == role).count();
            let why = || {
                format!("{down} of {all} {role} nodes would be down at once, and more than half must stay up")
            };
            (down * 2 >= all).then(|| ("limits.majority", why()))
        })
    }
}

/// How many nodes of each role are down at one moment, at worst.
fn down_by_role<'a>(faults: &[&'a ResolvedFault]) -> BTreeMap<&'a str, usize> {
    let mut together: BTreeSet<&NodeName> = BTreeSet::new();
    let mut down: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in faults.iter().filter(|fault| fault.keeps_down()) {
        if fault.one_by_one() {
            let roles: BTreeSet<&str> = fault.nodes.iter().map(NodeName::role).collect();
            for role in roles {
                *down.entry(role).or_default() += 1;
            }
        } else {
            together.extend(&fault.nodes);
        }
    }
    for node in together {
        *down.entry(node.role()).or_default() += 1;
    }
    down
}

/// The AZs that are hit at one moment, at worst: those of nodes that are down, and as few more as
/// all links that are cut have an end in.
fn azs_hit<'a>(faults: &[&'a ResolvedFault], nodes: &'a [NodeName]) -> BTreeSet<&'a str> {
    let mut hit: BTreeSet<&str> = BTreeSet::new();
    let down = || faults.iter().filter(|fault| fault.keeps_down());
    for fault in down().filter(|fault| !fault.one_by_one()) {
        hit.extend(fault.nodes.iter().map(NodeName::az));
    }
    for fault in down().filter(|fault| fault.one_by_one()) {
        // One of them: at worst one where nobody is down yet.
        let fresh = fault.nodes.iter().map(NodeName::az).find(|az| !hit.contains(az));
        hit.extend(fresh);
    }
    let cut = faults.iter().filter(|fault| fault.cuts()).flat_map(|fault| &fault.links);
    let cut: Vec<&LinkName> = cut.filter(|link| !touches(link, &hit)).collect();
    hit.extend(fewest_touched(&cut, nodes));
    hit.remove("");
    hit
}

fn touches(link: &LinkName, azs: &BTreeSet<&str>) -> bool {
    azs.contains(link.from.az()) || azs.contains(link.to.az())
}

/// The fewest AZs such that each of the links has an end in one of them.
fn fewest_touched<'a>(links: &[&LinkName], nodes: &'a [NodeName]) -> BTreeSet<&'a str> {
    let azs: BTreeSet<&str> = nodes.iter().map(NodeName::az).filter(|az| !az.is_empty()).collect();
    let azs: Vec<&str> = azs.into_iter().take(AZS_MAX).collect();
    let chosen = |set: u32| -> BTreeSet<&str> {
        (0..azs.len()).filter(|n| set & (1 << n) != 0).map(|n| azs[n]).collect()
    };
    let mut sets: Vec<u32> = (0..1 << azs.len()).collect();
    sets.sort_by_key(|set| set.count_ones());
    let covers = |set: &u32| links.iter().all(|link| touches(link, &chosen(*set)));
    sets.into_iter().find(|set| covers(set)).map_or_else(|| azs.iter().copied().collect(), chosen)
}

/// A whole number from 1 on, where it is given.
fn count(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<u32>, FileError> {
    let Some(number) = keys.number(key)? else { return Ok(None) };
    let value = *number.get_ref();
    if value.fract() == 0.0 && (1.0..=1_000.0).contains(&value) {
        return Ok(Some(value as u32));
    }
    Err(keys.wrong(&number.span(), key, "must be a whole number from 1 to 1000"))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{base::rng::Rng, chaos::Plan};

    fn nodes() -> Vec<NodeName> {
        let of = |az: &str| {
            let names = ["api-1", "core-1", "core-2", "storage-1"];
            names.map(|name| NodeName::from(format!("{az}/{name}").as_str()))
        };
        ["a", "b", "c"].iter().flat_map(|az| of(az)).collect()
    }

    fn links() -> Vec<LinkName> {
        let nodes = nodes();
        let robots = ["a", "b", "c"].map(|az| format!("robots -> {az}/api-1").parse().unwrap());
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to)));
        let between = pairs.filter(|(from, to)| from != to);
        let between = between.map(|(from, to)| LinkName { from: from.clone(), to: to.clone() });
        between.chain(robots).collect()
    }

    /// What is said of a plan of these limits and faults.
    fn said(limits: &str, faults: &[&str]) -> Result<(), String> {
        let mut text = format!("[limits]\n{limits}\n");
        for (number, fault) in faults.iter().enumerate() {
            // Each begins a second later, and all are in force in the end.
            let for_ = 60 - number;
            let when = format!("at = \"{number}s\"\nfor = \"{for_}s\"\n");
            text.extend(["[[fault]]\n", fault, "\n", &when]);
        }
        let plan = Plan::parse(&text, Path::new("plan.toml")).map_err(|why| why.to_string())?;
        let hour = Duration::from_hours(1);
        let faults = plan
            .resolve(&nodes(), &links(), hour, &Rng::from_seed("42"))
            .map_err(|why| why.to_string())?;
        plan.check_limits(&faults, &nodes()).map_err(|why| why.to_string())
    }

    fn refused(limits: &str, faults: &[&str]) -> String {
        said(limits, faults).unwrap_err()
    }

    fn kill(nodes: &str) -> String {
        format!("kind = \"kill\"\nnodes = [{nodes}]")
    }

    #[test]
    fn one_az_may_be_lost_and_no_two() {
        let zone = "kind = \"kill\"\nselect = { az = \"b\" }\nmode = \"all\"";
        said("azs = 1", &[zone]).unwrap();
        let why = refused("azs = 1", &[zone, &kill("\"c/core-1\"")]);
        let says =
            "plan.toml:12: `limits.azs`: nodes of 2 AZs (b, c) would be down or cut off at once";
        assert!(why.starts_with(says), "{why}");
        said("azs = 2", &[zone, &kill("\"c/core-1\"")]).unwrap();
    }

    #[test]
    fn a_cut_counts_for_the_fewest_azs_that_it_can_be_about() {
        let cut = |links: &str| format!("kind = \"partition\"\nlinks = {links}");
        let b = cut("{ az = \"b\" }");
        said("azs = 1", &[&b]).unwrap();
        said("azs = 1", &[&b, &kill("\"b/core-1\"")]).unwrap();
        assert!(refused("azs = 1", &[&b, &kill("\"a/core-1\"")]).contains("(a, b)"));
        let ring = "[{ between = [{ az = \"a\" }, { az = \"b\" }] }, \
                    { between = [{ az = \"b\" }, { az = \"c\" }] }, \
                    { between = [{ az = \"a\" }, { az = \"c\" }] }]";
        assert!(refused("azs = 1", &[&cut(ring)]).contains("2 AZs"));
        assert!(refused("azs = 2", &[&cut("{ from = \"robots\" }")]).contains("3 AZs"));
        // What is slow is not cut.
        let slow = "kind = \"latency\"\nlinks = { from = \"robots\" }\nlatency = \"50ms\"";
        said("azs = 1", &[slow]).unwrap();
    }

    #[test]
    fn most_of_each_role_stays_up() {
        said("majority = true", &[&kill("\"a/core-1\", \"b/core-2\"")]).unwrap();
        said("majority = false", &[&kill("\"a/core-1\", \"b/core-1\", \"c/core-1\"")]).unwrap();
        let why = refused("majority = true", &[&kill("\"a/core-1\", \"b/core-1\", \"c/core-1\"")]);
        assert!(why.contains("3 of 6 core nodes"), "{why}");
        let two = [kill("\"a/storage-1\""), kill("\"b/storage-1\"")];
        let why = refused("majority = true", &[&two[0], &two[1]]);
        assert!(why.contains("plan.toml:11") && why.contains("2 of 3 storage nodes"), "{why}");
        let rolling = "kind = \"rolling-restart\"\nnodes = [\"b/storage-1\", \"c/storage-1\"]";
        said("majority = true\nazs = 1", &[rolling]).unwrap();
        assert!(refused("majority = true", &[rolling, &two[0]]).contains("2 of 3"));
    }

    #[test]
    fn so_many_at_once() {
        let three = ["\"a/core-1\"", "\"b/core-1\"", "\"c/core-1\""].map(kill);
        let three: Vec<&str> = three.iter().map(String::as_str).collect();
        said("at_once = 3", &three).unwrap();
        let why = refused("at_once = 2", &three);
        assert!(why.contains("limits.at_once") && why.contains("3 faults"), "{why}");
    }

    #[test]
    fn what_is_no_limit_is_named() {
        for (limits, says) in [
            ("azs = 0", "from 1 to 1000"),
            ("at_once = 1.5", "from 1 to 1000"),
            ("majority = 1", "true or false"),
            ("abort_above = 100", "below 100"),
            ("abort_after = \"10s\"", "`abort_above` is missing"),
            ("abort_above = 5\nabort_after = \"2h\"", "between 1s and 1h"),
            ("zones = 1", "must be one of"),
        ] {
            let why = refused(limits, &[]);
            assert!(why.starts_with("plan.toml:") && why.contains(says), "{limits}: {why}");
        }
    }

    #[test]
    fn a_plan_says_more_than_the_defaults() {
        let own = Limits { azs: Some(3), majority: Some(false), ..Limits::default() };
        let all = own.over(Limits::OF_OTHERS);
        assert_eq!((all.azs, all.majority, all.at_once), (Some(3), Some(false), Some(3)));
        assert_eq!(all.abort_after, Some(ABORT_AFTER));
        assert!(Limits::default().over(Limits::default()).is_none());
    }
}
