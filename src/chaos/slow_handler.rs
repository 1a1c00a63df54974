//! Slow handler: a service takes its time, and what it works at counts as in flight.

use std::time::Duration;

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{self, DELAY, Did, ENDPOINT, JITTER, OnMessages, SERVING, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "slow-handler";
const DID: Did = ["requests", "were handled late"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "handles requests late, while they count as in flight",
    bites: "the node counted messages that it happened to",
    hits: Hits::Nodes,
    roles: SERVING,
    worlds: World::BOTH,
    keys: &[DELAY, JITTER, ENDPOINT, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"slow-handler\"\n",
        "nodes = [\"a/core-1\"]\n",
        "endpoint = \"*\"\n",
        "delay = \"300ms\"\n",
        "jitter = \"100ms\"\n",
        "toxicity = 1.0\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| {
        let (delay, jitter) = messages::delay(keys)?;
        OnMessages::read(keys, KIND, DID, Meddle::Slow(delay, jitter))
    },
    draw: |rng| {
        let delay = Duration::from_millis(rng.log_between(20.0, 800.0) as u64);
        OnMessages::draw(rng, KIND, DID, Meddle::Slow(delay, Duration::ZERO))
    },
};
