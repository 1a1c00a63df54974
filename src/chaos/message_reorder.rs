//! Message reorder: some messages arrive after the one that was sent after them.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, ENDPOINT, OF, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "message-reorder";
const DID: Did = ["messages", "were overtaken"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "delivers messages after the next one at a serving node (or after 200 ms where none follows)",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[ENDPOINT, OF, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"message-reorder\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"*\"\n",
        "of = \"requests\"\n",
        "toxicity = 0.5\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::Overtaken),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::Overtaken),
};
