//! Partition: nothing passes a link, and nobody is told; connections stay open and stall.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    links::Silent,
    provider::Toxic,
};

const FAULT: Silent =
    Silent { kind: "partition", toxics: &[Toxic::BlackHole], did: "nothing passes" };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "lets nothing pass a link, both ways: connections stay open and stall, new ones too; what was sent arrives after the healing",
    bites: "no answer comes back over links that answered before",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"partition\"\n\
              links = { between = [{ az = \"a\" }, { az = \"b\" }] }\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
