//! Draws faults that nobody wrote down, for a run that varies what it breaks. Whom they hit, when and
//! for how long is drawn here; what a kind needs of its own it draws itself, in its own file. What
//! comes out is sensible: long enough to be measured, inside the run, and in nobody's way.

use std::{collections::BTreeSet, time::Duration};

use super::{
    fault::{FaultEntry, Hits},
    provider::{LinkName, ROBOTS},
    resolved::ResolvedFault,
};
use crate::base::{name::NodeName, rng::Rng, span::Span};

/// Before it, nothing is broken: without a healthy stretch nobody knows what a fault changed.
const EARLIEST_MS: u64 = 3_000;
/// A shorter fault may be over before its effect is measured.
const SHORTEST_MS: u64 = 3_000;
/// No longer than that: a city that is mostly broken shows little.
const LONGEST_MS: u64 = 30_000;
/// And no longer than that share of the run.
const SHARE_MAX: u64 = 4;
/// Between two faults on one victim: the first is measured as healed, and the second measures its
/// victims while they are well.
const GAP: Duration = Duration::from_secs(3);
/// Draws until one is in nobody's way.
const TRIES_MAX: usize = 32;

/// Where faults may strike.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The nodes of the target.
    pub nodes: &'a [NodeName],
    /// Its links.
    pub links: &'a [LinkName],
    /// How long the demand runs.
    pub duration: Duration,
}

impl Ground<'_> {
    /// One more fault of that kind beside those of `taken`; `None` where luck finds no room, or
    /// the run is too short for any.
    pub fn draw(
        &self,
        entry: &FaultEntry,
        taken: &[ResolvedFault],
        rng: &mut Rng,
    ) -> Option<ResolvedFault> {
        (0..TRIES_MAX).find_map(|_| {
            let window = self.draw_window(rng)?;
            self.draw_once(entry, window, taken, rng)
        })
    }

    /// The same for one that begins at a given moment and lasts so long.
    pub fn draw_at(
        &self,
        entry: &FaultEntry,
        window: (Span, Span),
        taken: &[ResolvedFault],
        rng: &mut Rng,
    ) -> Option<ResolvedFault> {
        (0..TRIES_MAX).find_map(|_| self.draw_once(entry, window, taken, rng))
    }

    fn draw_once(
        &self,
        entry: &FaultEntry,
        (at, lasts): (Span, Span),
        taken: &[ResolvedFault],
        rng: &mut Rng,
    ) -> Option<ResolvedFault> {
        let (nodes, links) = match entry.hits {
            Hits::Nodes => (self.draw_nodes(entry, rng), Vec::new()),
            Hits::Links => (Vec::new(), self.draw_links(rng)),
            Hits::Load => Default::default(),
        };
        if entry.hits != Hits::Load && nodes.is_empty() && links.is_empty() {
            return None;
        }
        let fault = ResolvedFault::new((entry.draw)(rng), at, lasts, nodes, links);
        if lasts.0 < fault.fault().needs(fault.victims().len()) {
            return None;
        }
        taken.iter().all(|other| agree(&fault, other)).then_some(fault)
    }

    /// When, and for how long, in whole milliseconds: short ones are likelier.
    fn draw_window(&self, rng: &mut Rng) -> Option<(Span, Span)> {
        let duration = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let longest = (duration / SHARE_MAX).clamp(SHORTEST_MS, LONGEST_MS);
        let lasts = rng.log_between(SHORTEST_MS as f64, longest as f64) as u64;
        let latest = duration.checked_sub(lasts)?;
        let room = latest.checked_sub(EARLIEST_MS)?;
        let at = EARLIEST_MS + rng.below(usize::try_from(room).ok()?.saturating_add(1)) as u64;
        Some((Span::millis(at), Span::millis(lasts)))
    }

    /// Mostly one node; now and then all of an AZ.
    fn draw_nodes(&self, entry: &FaultEntry, rng: &mut Rng) -> Vec<NodeName> {
        let fit: Vec<&NodeName> = self.nodes.iter().filter(|node| entry.suits(node)).collect();
        let Some(&node) = pick(&fit, rng) else { return Vec::new() };
        let whole_az = rng.chance(0.15);
        let hit = |other: &&NodeName| *other == node || (whole_az && other.az() == node.az());
        sorted(fit.into_iter().filter(hit))
    }

    /// One link, those of a node, those of an AZ, those between two AZs, or the robots'.
    fn draw_links(&self, rng: &mut Rng) -> Vec<LinkName> {
        let Some(link) = pick(self.links, rng) else { return Vec::new() };
        let end =
            if rng.chance(0.5) || link.from.as_str() == ROBOTS { &link.to } else { &link.from };
        let azs = (link.from.az(), link.to.az());
        let hit: Box<dyn Fn(&LinkName) -> bool> = match rng.unit() {
            unit if unit < 0.3 => Box::new(|other| other == link),
            unit if unit < 0.55 => Box::new(|other| other.from == *end || other.to == *end),
            unit if unit < 0.75 => {
                Box::new(|other| other.from.az() == end.az() || other.to.az() == end.az())
            }
            unit if unit < 0.9 => Box::new(|other| {
                let others = (other.from.az(), other.to.az());
                others == azs || others == (azs.1, azs.0)
            }),
            _ => Box::new(|other| other.from.as_str() == ROBOTS),
        };
        sorted(self.links.iter().filter(|other| hit(other)))
    }
}

/// Whether both can be played and measured: they leave each other's victims time to be well, and a
/// fault on links keeps enough of them whose ends live.
fn agree(one: &ResolvedFault, other: &ResolvedFault) -> bool {
    let apart = |first: &ResolvedFault, second: &ResolvedFault| {
        first.at.0 + first.lasts.0 + GAP <= second.at.0
    };
    if apart(one, other) || apart(other, one) {
        return true;
    }
    !one.shares_a_victim(other) && can_be_measured(one, other) && can_be_measured(other, one)
}

/// Whether half of the links of `sick` at least touch no node of `dead`.
fn can_be_measured(sick: &ResolvedFault, dead: &ResolvedFault) -> bool {
    if !dead.fault().keeps_down() {
        return true;
    }
    let dies = |link: &&LinkName| dead.nodes.contains(&link.from) || dead.nodes.contains(&link.to);
    sick.links.iter().filter(dies).count() * 2 <= sick.links.len()
}

fn pick<'a, T>(from: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    from.get(rng.below(from.len()))
}

fn sorted<'a, T: Ord + Clone + 'a>(hit: impl Iterator<Item = &'a T>) -> Vec<T> {
    hit.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{Resolved, fault::FAULTS};

    fn nodes() -> Vec<NodeName> {
        let names = ["a/api-1", "a/core-1", "b/api-1", "b/core-1", "b/storage-1", "c/core-1"];
        names.map(NodeName::from).to_vec()
    }

    fn links() -> Vec<LinkName> {
        let link = |from: &str, to: &str| LinkName { from: from.into(), to: to.into() };
        let mut links = vec![link("robots", "a/api-1"), link("robots", "b/api-1")];
        for api in ["a/api-1", "b/api-1"] {
            links.extend(["a/core-1", "b/core-1", "c/core-1"].map(|core| link(api, core)));
        }
        links.extend(["a/core-1", "b/core-1", "c/core-1"].map(|core| link(core, "b/storage-1")));
        links
    }

    fn drawn(seed: usize, seconds: u64) -> Vec<ResolvedFault> {
        let (nodes, links) = (nodes(), links());
        let duration = Duration::from_secs(seconds);
        let ground = Ground { nodes: &nodes, links: &links, duration };
        let mut rng = Rng::from_seed(&seed.to_string());
        let mut faults = Vec::new();
        for entry in FAULTS.iter().cycle().take(FAULTS.len() * 2) {
            faults.extend(ground.draw(entry, &faults, &mut rng));
        }
        faults
    }

    #[test]
    fn what_is_drawn_lies_inside_the_run_and_none_clash() {
        let mut count = 0;
        for seed in 0..200 {
            let faults = drawn(seed, 40);
            count += faults.len();
            for (n, fault) in faults.iter().enumerate() {
                assert!(fault.at.0 + fault.lasts.0 <= Duration::from_secs(40), "{fault:?}");
                assert!(fault.at.0 >= Duration::from_millis(EARLIEST_MS), "{fault:?}");
                assert!(faults[..n].iter().all(|other| fault.clash(other).is_none()));
                assert!(!fault.victims().is_empty());
            }
        }
        assert!(count > 1_000, "{count}");
    }

    #[test]
    fn what_is_drawn_reads_back_from_a_plan() {
        for seed in 0..50 {
            let resolved = Resolved { faults: drawn(seed, 120), ..Resolved::default() };
            let text = toml::to_string(&resolved).unwrap();
            assert_eq!(toml::from_str::<Resolved>(&text).unwrap(), resolved);
        }
    }

    #[test]
    fn a_run_that_is_too_short_has_no_room() {
        assert!(drawn(1, 5).is_empty());
    }
}
