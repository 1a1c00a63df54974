//! Message delay: some messages of a node arrive late; others overtake them, as on a bus and on no stream.

use std::time::Duration;

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{self, DELAY, Did, ENDPOINT, JITTER, OF, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "message-delay";
const DID: Did = ["messages", "were late"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "delivers messages late at a serving node; others overtake them",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[DELAY, JITTER, ENDPOINT, OF, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"message-delay\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"*\"\n",
        "of = \"all\"\n",
        "delay = \"200ms\"\n",
        "jitter = \"100ms\"\n",
        "toxicity = 0.3\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| {
        let (delay, jitter) = messages::delay(keys)?;
        OnMessages::read(keys, KIND, DID, Meddle::Late(delay, jitter))
    },
    draw: |rng| {
        let delay = Duration::from_millis(rng.log_between(20.0, 400.0) as u64);
        OnMessages::draw(rng, KIND, DID, Meddle::Late(delay, Duration::ZERO))
    },
};
