//! A lease: leave to break something for a time. It is written down before anything is touched, and
//! goes when a probe has seen all well again; whoever finds one whose owner is dead knows what to put
//! back. Says what is written; where, is a [`Ledger`]'s matter.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::provider::{LinkName, ROBOTS};
use crate::base::name::NodeName;

/// How long after the end of a fault its lease still holds: healing, and the look at it, take time.
pub const GRACE: Duration = Duration::from_mins(2);

/// One fault in force, or about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The number of the fault in its run: the lease's id there.
    pub fault: u32,
    /// Its kind.
    pub kind: String,
    /// The nodes that it hits, each with what must be known of it beside its name to put it back:
    /// see [`super::provider::Provider::tag`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<NodeName, String>,
    /// The links that it hits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkName>,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it ends, put back or not: from then on anybody may heal it.
    pub expires: Timestamp,
}

impl Lease {
    /// Its victims, as the history writes them.
    pub fn victims(&self) -> Vec<String> {
        if self.nodes.is_empty() && self.links.is_empty() {
            return vec![ROBOTS.to_owned()];
        }
        let links = self.links.iter().map(ToString::to_string);
        self.nodes.keys().map(ToString::to_string).chain(links).collect()
    }
}

/// What was done to a fault, by one of those who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// It is in force.
    Inject,
    /// Its effect was seen.
    Bit,
    /// Its effect was looked for, and not seen.
    Missed,
    /// It could not be injected, or was refused.
    Failed,
    /// It is being put back.
    Heal,
    /// A probe has seen that it is.
    HealVerified,
    /// A probe could not confirm it.
    HealUnverified,
}

/// One act, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What was done.
    pub act: Deed,
    /// The number of the fault in its run.
    pub fault: u32,
    /// Its kind.
    pub kind: String,
    /// Its victims.
    pub victims: Vec<String>,
    /// What was done or seen, in words.
    pub what: String,
}

/// Where leases and acts are written down.
pub trait Ledger {
    /// Writes a lease down, before its fault touches anything. The text says why it could not be:
    /// then the fault must not be injected.
    fn take(&self, lease: &Lease) -> Result<(), String>;

    /// The fault of that number is put back, and was seen to be.
    fn give_back(&self, fault: u32);

    /// Writes an act down.
    fn tell(&self, act: &Act);
}

/// Nothing is written: for a world that ends with its process, and all that is broken in it too.
#[derive(Debug, Clone, Copy)]
pub struct NoLedger;

impl Ledger for NoLedger {
    fn take(&self, _: &Lease) -> Result<(), String> {
        Ok(())
    }

    fn give_back(&self, _: u32) {}

    fn tell(&self, _: &Act) {}
}
