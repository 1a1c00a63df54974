//! Reset: connections of a link are torn down, and new ones are refused.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    links::Silent,
    provider::Toxic,
};

const FAULT: Silent = Silent {
    kind: "reset",
    toxics: &[Toxic::Reset { after_ms: 0 }],
    only: None,
    did: "connections are reset",
};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "resets every connection of a link, and every new one at once",
    bites: "exchanges fail over links that answered before",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"reset\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
