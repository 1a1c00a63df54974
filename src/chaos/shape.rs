//! Shapes of partitions: which nodes do not see which. The seed draws who stands where; what comes
//! out is a list of links, and any fault on links may strike it.

use std::collections::{BTreeMap, BTreeSet};

use super::provider::LinkName;
use crate::base::{name::NodeName, rng::Rng};

/// How some nodes are torn apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One is cut off from all others.
    Isolate,
    /// One half does not see the other; the first is the smaller one.
    Halves,
    /// One AZ does not see another one.
    Azs,
    /// Two halves that do not see each other, and one node between that sees all.
    Bridge,
    /// Each sees a majority, and no two the same one: on a ring, the nearest ones.
    Ring,
}

impl Shape {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 5] = [
        ("isolate", Self::Isolate),
        ("halves", Self::Halves),
        ("azs", Self::Azs),
        ("bridge", Self::Bridge),
        ("ring", Self::Ring),
    ];

    /// The links between nodes that do not see each other; the text says what is lacking.
    pub fn cut<'a>(
        self,
        among: &BTreeSet<NodeName>,
        links: &'a BTreeSet<LinkName>,
        rng: &mut Rng,
    ) -> Result<BTreeSet<&'a LinkName>, String> {
        let sides = self.sides(among, rng)?;
        let side = |node: &NodeName| sides.get(node).copied();
        let torn = |link: &&LinkName| match (side(&link.from), side(&link.to)) {
            (Some(one), Some(other)) => self.tears(one, other, among.len()),
            _ => false,
        };
        Ok(links.iter().filter(torn).collect())
    }

    /// Where each node stands; those that are left out see everybody.
    fn sides(
        self,
        among: &BTreeSet<NodeName>,
        rng: &mut Rng,
    ) -> Result<BTreeMap<NodeName, usize>, String> {
        let least = match self {
            Self::Isolate | Self::Halves | Self::Azs => 2,
            Self::Bridge => 3,
            Self::Ring => 4,
        };
        let azs: BTreeSet<&str> = among.iter().map(NodeName::az).collect();
        let (count, what) = match self {
            Self::Azs => (azs.len(), "AZs"),
            _ => (among.len(), "nodes"),
        };
        if count < least {
            return Err(format!("needs {least} {what}, and `among` has {count}"));
        }
        if self == Self::Azs {
            let drawn = shuffled(azs, rng);
            let side = |node: &NodeName| drawn[..2].iter().position(|az| *az == node.az());
            return Ok(among.iter().filter_map(|node| Some((node.clone(), side(node)?))).collect());
        }
        let drawn = shuffled(among.iter().cloned(), rng).into_iter().enumerate();
        let side = |place: usize| match self {
            Self::Isolate => usize::from(place > 0),
            Self::Halves => usize::from(place >= count / 2),
            // The first one is the bridge, and belongs to neither.
            Self::Bridge => usize::from(place > count / 2),
            Self::Azs | Self::Ring => place,
        };
        let stands = drawn.filter(|(place, _)| self != Self::Bridge || *place > 0);
        Ok(stands.map(|(place, node)| (node, side(place))).collect())
    }

    /// Whether those who stand there do not see each other.
    fn tears(self, one: usize, other: usize, count: usize) -> bool {
        if self != Self::Ring {
            return one != other;
        }
        let apart = one.abs_diff(other);
        // Half of all, rounded down, beside oneself are a majority; they lie on both sides.
        apart.min(count - apart) > (count / 2).div_ceil(2)
    }
}

fn shuffled<T>(all: impl IntoIterator<Item = T>, rng: &mut Rng) -> Vec<T> {
    let mut left: Vec<T> = all.into_iter().collect();
    let mut drawn = Vec::with_capacity(left.len());
    while !left.is_empty() {
        drawn.push(left.swap_remove(rng.below(left.len())));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: usize) -> BTreeSet<NodeName> {
        let name = |n: usize| format!("{}/storage-{}", ["a", "b", "c"][n % 3], n / 3 + 1);
        (0..count).map(|n| name(n).as_str().into()).collect()
    }

    /// Everybody dials everybody.
    fn links(nodes: &BTreeSet<NodeName>) -> BTreeSet<LinkName> {
        let all = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to)));
        all.filter(|(from, to)| from != to)
            .map(|(from, to)| LinkName { from: from.clone(), to: to.clone() })
            .collect()
    }

    /// How many others each one sees, and whom.
    fn sights(shape: Shape, count: usize, seed: usize) -> Vec<BTreeSet<NodeName>> {
        let nodes = nodes(count);
        let links = links(&nodes);
        let cut = shape.cut(&nodes, &links, &mut Rng::from_seed(&seed.to_string())).unwrap();
        let sight = |node: &NodeName| {
            let open = links.iter().filter(|link| link.from == *node && !cut.contains(link));
            open.map(|link| link.to.clone()).chain([node.clone()]).collect()
        };
        // Both ways alike.
        assert!(cut.iter().all(|link| {
            cut.contains(&LinkName { from: link.to.clone(), to: link.from.clone() })
        }));
        nodes.iter().map(sight).collect()
    }

    fn counts(shape: Shape, count: usize, seed: usize) -> Vec<usize> {
        let mut counts: Vec<usize> = sights(shape, count, seed).iter().map(BTreeSet::len).collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn each_shape_leaves_as_many_in_sight_as_it_says() {
        for seed in 0..20 {
            assert_eq!(counts(Shape::Isolate, 5, seed), [1, 4, 4, 4, 4]);
            assert_eq!(counts(Shape::Halves, 5, seed), [2, 2, 3, 3, 3]);
            assert_eq!(counts(Shape::Bridge, 5, seed), [3, 3, 3, 3, 5]);
            assert_eq!(counts(Shape::Azs, 6, seed), [4, 4, 4, 4, 6, 6]);
        }
    }

    #[test]
    fn on_the_ring_each_sees_a_majority_and_no_two_the_same() {
        for count in 4..10 {
            let all = sights(Shape::Ring, count, count);
            assert!(all.iter().all(|sight| sight.len() > count / 2 && sight.len() < count));
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), count, "of {count}");
        }
    }

    #[test]
    fn everybody_can_be_the_one_and_too_few_are_refused() {
        let alone =
            |seed| sights(Shape::Isolate, 5, seed).iter().position(|sight| sight.len() == 1);
        assert_eq!((0..60).map(alone).collect::<BTreeSet<_>>().len(), 5);
        let nodes = nodes(3);
        let links = links(&nodes);
        let why = Shape::Ring.cut(&nodes, &links, &mut Rng::from_seed("1")).unwrap_err();
        assert_eq!(why, "needs 4 nodes, and `among` has 3");
    }
}
