//! Which nodes a backend has, and which of them speak to which. Names only: nothing is started.

use crate::base::name::NodeName;

/// The role of a message broker.
pub const BROKER: &str = "broker";
/// The role of a node that holds rows.
pub const STORAGE: &str = "storage";

/// The order in which nodes are listed and numbered: those that others need come first.
const ROLES: [&str; 4] = [STORAGE, "core", "orchestration", "api"];

/// The layout of a backend.
pub struct Layout;

impl Layout {
    /// The names of all nodes: in each AZ so many of each role, and `storage` where
    /// [`Layout::storage`] says.
    pub fn of(
        azs: &[String],
        api_per_az: usize,
        orchestration_per_az: usize,
        core_per_az: usize,
        storage: Vec<NodeName>,
    ) -> Vec<NodeName> {
        let counts = [0, core_per_az, orchestration_per_az, api_per_az];
        let mut names = storage;
        for (role, count) in ROLES.into_iter().zip(counts) {
            for az in azs {
                names.extend((1..=count).map(|number| name(az, role, number)));
            }
        }
        names
    }

    /// The brokers of a backend whose services talk over them: one in each AZ.
    pub fn brokers(azs: &[String]) -> Vec<NodeName> {
        azs.iter().map(|az| name(az, BROKER, 1)).collect()
    }

    /// The nodes that hold the rows: one in `first_az`, who leads at first, the others in turn in the
    /// other AZs.
    pub fn storage(azs: &[String], first_az: &str, replicas: usize) -> Vec<NodeName> {
        let others = azs.iter().map(String::as_str).filter(|az| *az != first_az);
        let azs: Vec<&str> = std::iter::once(first_az).chain(others).collect();
        let at = |place: usize| name(azs[place % azs.len()], STORAGE, 1 + place / azs.len());
        (0..replicas).map(at).collect()
    }

    /// The machine number of `node` among `nodes`, from 1; 0 is for whoever is no node. Ten bits
    /// are room for 1,023 nodes.
    pub fn machine(nodes: &[NodeName], node: &NodeName) -> u16 {
        let at = nodes.iter().position(|known| known == node);
        at.and_then(|at| u16::try_from(at + 1).ok()).filter(|number| *number < 1_024).unwrap_or(0)
    }

    /// Every link that can come to exist: who dials whom. A node's link to itself is not listed:
    /// it crosses no network. Where there are brokers everybody dials them, for its own AZ's may be
    /// down, and besides them only storage: a database is no service on the bus.
    pub fn links(nodes: &[NodeName]) -> Vec<(NodeName, NodeName)> {
        let bus = nodes.iter().any(|node| node.role() == BROKER);
        let mut links = Vec::new();
        for from in nodes {
            for to in nodes {
                let dials = match to.role() {
                    BROKER => true,
                    STORAGE => dials(from.role(), STORAGE),
                    role => !bus && dials(from.role(), role),
                };
                if from != to && dials {
                    links.push((from.clone(), to.clone()));
                }
            }
        }
        links
    }
}

/// Everybody dials core, for discovery if for nothing else.
fn dials(from: &str, to: &str) -> bool {
    match to {
        "core" => true,
        // Events and pings go to whoever listens; everything else goes down the tiers.
        "orchestration" => matches!(from, "api" | "orchestration" | "core"),
        "api" => from == "orchestration",
        STORAGE => matches!(from, "core" | STORAGE),
        _ => false,
    }
}

fn name(az: &str, role: &str, number: usize) -> NodeName {
    NodeName::from(format!("{az}/{role}-{number}").as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn three() -> Vec<NodeName> {
        let azs = ["a", "b", "c"].map(str::to_owned);
        Layout::of(&azs, 1, 1, 1, Layout::storage(&azs, "b", 3))
    }

    #[test]
    fn replicas_of_storage_spread_over_the_azs_from_the_first() {
        let azs = ["a", "b"].map(str::to_owned);
        let names = |replicas| Layout::storage(&azs, "b", replicas);
        assert_eq!(names(1), ["b/storage-1".into()]);
        assert_eq!(names(3), ["b/storage-1", "a/storage-1", "b/storage-2"].map(NodeName::from));
    }

    #[test]
    fn three_azs_have_three_of_each() {
        let names: Vec<String> = three().iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 12);
        assert_eq!(names[0], "b/storage-1", "the first is the one that leads at first");
        for name in ["c/storage-1", "a/core-1", "c/orchestration-1", "b/api-1"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        let machines: BTreeSet<u16> =
            three().iter().map(|node| Layout::machine(&three(), node)).collect();
        assert_eq!(machines, (1..=12).collect());
        assert_eq!(Layout::machine(&three(), &"robots".into()), 0);
    }

    #[test]
    fn with_brokers_every_link_ends_at_one_or_at_storage() {
        let azs = ["a", "b", "c"].map(str::to_owned);
        let nodes = [Layout::brokers(&azs), three()].concat();
        let links = Layout::links(&nodes);
        let has = |from: &str, to: &str| links.contains(&(from.into(), to.into()));
        assert!(has("a/api-1", "a/broker-1") && has("a/api-1", "c/broker-1"));
        assert!(has("a/broker-1", "b/broker-1") && !has("a/api-1", "a/core-1"));
        assert!(has("a/core-1", "b/storage-1") && has("b/storage-1", "c/storage-1"));
        assert_eq!(links.len(), 12 * 3 + 3 * 2 + 3 * 3 + 3 * 2);
    }

    #[test]
    fn links_go_down_the_tiers_and_to_discovery() {
        let links = Layout::links(&three());
        let has = |from: &str, to: &str| links.contains(&(from.into(), to.into()));
        assert!(has("a/api-1", "c/orchestration-1") && has("a/api-1", "b/core-1"));
        assert!(has("a/orchestration-1", "b/core-1") && has("a/core-1", "b/storage-1"));
        assert!(has("a/core-1", "b/core-1") && has("b/storage-1", "a/core-1"));
        assert!(has("a/storage-1", "b/storage-1") && has("b/storage-1", "a/storage-1"));
        assert!(!has("a/core-1", "a/core-1") && !has("a/core-1", "a/api-1"));
        assert!(!has("a/api-1", "b/storage-1") && !has("a/orchestration-1", "b/storage-1"));
        assert!(has("a/orchestration-1", "c/api-1") && has("a/core-1", "b/orchestration-1"));
        assert_eq!(links.len(), 9 + 9 + 9 + 6 + 9 + 6 + 9 + 9 + 9 + 6);
    }
}
