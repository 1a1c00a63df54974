//! Torn write: kill a node in the middle of a sync, so that the last of what it wrote is there by half.
//! A kill does that to a node by chance; this does it always.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    nodes::{self, KeptDown},
    provider::Strike,
};

const FAULT: KeptDown = KeptDown { kind: "torn-write", verb: nodes::TEAR, strike: Strike::Kill };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "kills a node in the middle of a sync: the last unsynced write of more than a sector (512 bytes) is there by half, the others are there; keeps it down, and starts it again (nodes that have a disk: storage)",
    bites: "the disk has half of that write, and the node's health check is not answered",
    hits: Hits::Nodes,
    roles: &["storage"],
    worlds: &[World::Virtual],
    keys: &[],
    example: "[[fault]]\n\
              kind = \"torn-write\"\n\
              nodes = [\"b/storage-1\"]\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
