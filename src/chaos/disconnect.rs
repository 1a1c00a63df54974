//! Disconnect: a node of a target of yours is taken off its networks, and put back into them.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown =
    KeptDown { kind: "disconnect", verb: nodes::DISCONNECT, strike: Strike::Disconnect };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "takes a node off all its networks and puts it back into them (a Docker container, or what a command or call of the target's file does)",
    bites: "it is in none of its networks any more, or its probe fails",
    hits: Hits::Nodes,
    roles: &[],
    worlds: &[World::Real],
    keys: &[],
    example: "[[fault]]\n\
              kind = \"disconnect\"\n\
              nodes = [\"a/core-1\"]\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
