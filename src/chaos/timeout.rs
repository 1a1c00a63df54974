//! Timeout: what is sent over a link goes nowhere, and nothing closes: a black hole. Whoever has no time-out
//! of its own waits for ever.

use std::sync::Arc;

use super::{
    fault::{FaultEntry, Hits, World},
    links::Silent,
    provider::Toxic,
};

const FAULT: Silent = Silent {
    kind: "timeout",
    toxics: &[Toxic::Timeout { close_ms: 0 }],
    only: None,
    did: "what is sent goes nowhere",
};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "swallows what is sent over a link, both ways, and closes nothing; connections that lost something are reset at the healing",
    bites: "no answer comes back over links that answered before",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"timeout\"\n\
              links = { from = { role = \"api\" }, to = { role = \"core\" } }\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read: |_| Ok(Arc::new(FAULT)),
    draw: |_| Arc::new(FAULT),
};
