//! Terminate: ask a node to end (SIGTERM), keep it down, start it again. Unlike a kill it gives the node
//! the chance to say goodbye.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown =
    KeptDown { kind: "terminate", verb: nodes::TERMINATE, strike: Strike::Terminate };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "asks a node to end (SIGTERM), keeps it down, and starts it again; one that has no last words goes as if it were killed",
    bites: "the process is gone and its health check is not answered",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"terminate\"\n\
              select = { role = \"core\", az = \"c\" }\n\
              mode = \"one\"\n\
              at = \"45s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
