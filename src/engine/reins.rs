//! What may be done to the load of a run from outside, and what is seen of it.

use std::{rc::Rc, time::Duration};

use super::hub::Hub;
pub use super::{recent::Sent, surge::Extra, wave::Logins};
use crate::{base::time::Time, history::op::OpKind, scenario::Load};

/// How far back one looks for what is usual.
const USUAL: Duration = Duration::from_mins(1);

/// A handle on the load.
pub struct Reins {
    pub(super) hub: Rc<Hub>,
    pub(super) load: Load,
}

impl Reins {
    /// From now on so many jobs and location updates times what is usual.
    pub fn surge(&self, jobs: f64, updates: f64) {
        self.hub.surge(&self.load, jobs, updates);
    }

    /// All is as usual again.
    pub fn end_surge(&self) {
        self.hub.end_surge();
    }

    /// What came up beside the usual so far.
    pub fn extra(&self) -> Extra {
        self.hub.state.borrow().surge.so_far
    }

    /// What was sent of late while the load was as usual.
    pub fn usual(&self) -> Sent {
        let now = self.hub.env.now();
        let state = self.hub.state.borrow();
        state.tally.recent.between(now.saturating_sub(USUAL).max(state.surge.usual_since), now)
    }

    /// What was sent since then.
    pub fn sent_since(&self, from: Time) -> Sent {
        self.hub.state.borrow().tally.recent.between(from, self.hub.env.now())
    }

    /// Location updates a second that the load asks for at this moment.
    pub fn updates_per_s(&self) -> f64 {
        let around = &self.hub.around;
        if !around.ops.has(OpKind::DriverPing) {
            return 0.0;
        }
        let wanted = self.hub.state.borrow().supply.wanted(self.hub.env.now(), &around.clock);
        f64::from(wanted) / around.ping_every.as_secs_f64()
    }

    /// A share of the robots lose their sessions and log in; tells how many.
    pub fn log_all_in(&self, share: f64) -> u32 {
        self.hub.log_all_in(share)
    }

    /// Those of them who are still not in try once more.
    pub fn log_in_again(&self) {
        self.hub.log_in_again();
    }

    /// How it stands with them.
    pub fn logins(&self) -> Logins {
        self.hub.logins()
    }
}
