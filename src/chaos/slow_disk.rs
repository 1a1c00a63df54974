//! Slow disk: syncs take longer, as on a disk that fails or is shared.

use std::time::Duration;

use super::{
    fault::{FaultEntry, Hits, World},
    messages::{self, DELAY, Did, JITTER, OnMessages, TOXICITY},
    provider::Meddle,
};

const KIND: &str = "slow-disk";
const DID: Did = ["syncs", "took longer"];

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: KIND,
    means: "lets each sync of a node's disk take longer (nodes that have one: storage)",
    bites: "the node counted syncs that took longer",
    hits: Hits::Nodes,
    roles: &["storage"],
    worlds: World::BOTH,
    keys: &[DELAY, JITTER, TOXICITY],
    example: concat!(
        "[[fault]]\n",
        "kind = \"slow-disk\"\n",
        "nodes = [\"b/storage-1\"]\n",
        "delay = \"300ms\"\n",
        "jitter = \"100ms\"\n",
        "toxicity = 1.0\n",
        "at = \"20s\"\n",
        "for = \"15s\"\n",
    ),
    read: |keys| {
        let (delay, jitter) = messages::delay(keys)?;
        OnMessages::read(keys, KIND, DID, Meddle::SlowSync(delay, jitter))
    },
    draw: |rng| {
        let delay = Duration::from_millis(rng.log_between(20.0, 800.0) as u64);
        OnMessages::draw(rng, KIND, DID, Meddle::SlowSync(delay, Duration::ZERO))
    },
};
