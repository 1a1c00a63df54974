//! Pause: a node stands still, its connections open, and goes on later as if nothing had been.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown = KeptDown { kind: "pause", verb: nodes::PAUSE, strike: Strike::Pause };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "lets a node stand still (SIGSTOP), and go on (SIGCONT): its connections stay open, what is sent to it waits, and time passes without it",
    bites: "the node answers no health check, though it lives",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"pause\"\n\
              select = { role = \"core\", az = \"c\" }\n\
              mode = \"one\"\n\
              at = \"45s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
