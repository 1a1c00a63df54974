//! Since when no fault has been in force. A heal that nobody verified is no heal.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    base::time::Time,
    history::record::{FaultChange, FaultEvent},
};

/// The faults in force, and the moment of the last heal.
#[derive(Debug, Clone, Default)]
pub struct Calm {
    active: BTreeSet<u32>,
    since: Time,
}

impl Calm {
    /// Takes one change of a fault.
    pub fn see(&mut self, event: &FaultEvent) {
        match event.change {
            // Where a heal is unverified nobody knows: as if it were in force.
            FaultChange::Injected
            | FaultChange::Bit
            | FaultChange::Missed
            | FaultChange::HealUnverified => {
                self.active.insert(event.fault);
            }
            FaultChange::Healed => {
                self.active.remove(&event.fault);
                self.since = self.since.max(event.at);
            }
            FaultChange::Failed => {}
        }
    }

    /// True when at `moment` nothing had been broken for at least `span`.
    pub fn for_at_least(&self, span: Duration, moment: Time) -> bool {
        self.active.is_empty() && self.since + span < moment
    }
}
