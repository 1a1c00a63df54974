//! Error answers: a service answers with an error, and does nothing.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, ENDPOINT, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "error-answers";
const DID: Did = ["requests", "were refused"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "answers requests with an error that says that nothing was done (as an overloaded service does)",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[ENDPOINT, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"error-answers\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"/core/*\"\n",
        "toxicity = 0.1\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::Refused),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::Refused),
};
