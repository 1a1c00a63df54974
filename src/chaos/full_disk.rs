//! Full disk: each write to a node's store finds no room. Nothing of it is written, and the store stays
//! whole.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, OnMessages},
    provider::Meddle,
};

const KIND: &str = "full-disk";
const DID: Did = ["writes", "found no room"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "refuses each write to a node's disk: no space left (nodes that have one: storage)",
    bites: "the node counted writes that found no room",
    hits: Hits::Nodes,
    roles: &["storage"],
    worlds: World::BOTH,
    keys: &[],
    example: concat!(
        "[[fault]]\n",
        "kind = \"full-disk\"\n",
        "nodes = [\"b/storage-1\"]\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::NoRoom),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::NoRoom),
};
