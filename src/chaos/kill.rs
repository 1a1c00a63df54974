//! Kill: SIGKILL a node, keep it down, start it again.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown = KeptDown { kind: "kill", verb: nodes::KILL, strike: Strike::Kill };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "kills a node at once (SIGKILL), keeps it down, and starts it again",
    bites: "the process is gone and its health check is not answered",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"kill\"\n\
              select = { role = \"core\", az = \"c\" }\n\
              mode = \"one\"\n\
              at = \"45s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
