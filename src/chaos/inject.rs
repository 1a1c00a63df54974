//! Inject: does to a node of a target of yours whatever its file has for it.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown = KeptDown { kind: "inject", verb: nodes::INJECT, strike: Strike::Inject };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "does to a node what the target's file has under `inject`, a command or a call, and then what it has under `heal`",
    bites: "the probe of the target's file fails",
    hits: Hits::Nodes,
    roles: &[],
    worlds: &[World::Real],
    keys: &[],
    example: "[[fault]]\n\
              kind = \"inject\"\n\
              nodes = [\"a/core-1\"]\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
