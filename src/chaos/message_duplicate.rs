//! Message duplicate: some messages arrive twice, as a bus that delivers at least once delivers them.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, ENDPOINT, OF, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "message-duplicate";
const DID: Did = ["messages", "came twice"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "delivers messages twice at a serving node",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[ENDPOINT, OF, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"message-duplicate\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"*\"\n",
        "of = \"all\"\n",
        "toxicity = 0.5\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::Twice),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::Twice),
};
