//! Names of the nodes of a backend.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// A node by its logical name, `a/core-1`: AZ, role, number. Names are dialled, not addresses, so
/// that a world can put a fault (or a proxy) between two names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub CompactString);

impl NodeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The availability zone: what stands before the slash.
    pub fn az(&self) -> &str {
        self.0.split_once('/').map_or("", |(az, _)| az)
    }

    /// The role: `core` of `a/core-1`.
    pub fn role(&self) -> &str {
        let rest = self.0.split_once('/').map_or(self.0.as_str(), |(_, rest)| rest);
        rest.rsplit_once('-').map_or(rest, |(role, _)| role)
    }
}

impl From<&str> for NodeName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_zone_and_role() {
        let name = NodeName::from("a/core-1");
        assert_eq!((name.az(), name.role()), ("a", "core"));
        assert_eq!(NodeName::from("robots").az(), "");
    }
}
