//! Message drop: some of the messages that a node is sent, or its replies, never arrive.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, ENDPOINT, OF, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "message-drop";
const DID: Did = ["messages", "were lost"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "loses messages at a serving node: requests, replies or news of some endpoints",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[ENDPOINT, OF, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"message-drop\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"/core/job/*\"\n",
        "of = \"replies\"\n",
        "toxicity = 0.2\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::Lost),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::Lost),
};
