//! Wrong names: what a node calls is found where it is not, as when a name service answers with the
//! address of another.

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{Did, ENDPOINT, OnMessages, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "wrong-names";
const DID: Did = ["calls", "went to an instance that does not serve them"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "answers a node that looks for an instance to call with one that does not serve what it calls",
    bites: "the node counted calls that it happened to",
    hits: Hits::Nodes,
    // Core nodes call the store alone, whose leader they find by asking it.
    roles: &["api", "orchestration"],
    worlds: World::BOTH,
    keys: &[ENDPOINT, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"wrong-names\"\n",
        "nodes = [\"a/api-1\"]\n",
        "endpoint = \"/orchestration/*\"\n",
        "toxicity = 0.5\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| OnMessages::read(keys, KIND, DID, Meddle::Misled),
    draw: |rng| OnMessages::draw(rng, KIND, DID, Meddle::Misled),
};
