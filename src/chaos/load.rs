//! How faults reach the load: neither a node nor a link is hit then, but what the robots do. `run`
//! hands in an implementation.

use crate::base::time::Time;

/// What was sent in a second, and for how many seconds that was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Requests of jobs.
    pub requests_per_s: f64,
    /// Location updates.
    pub updates_per_s: f64,
    /// Measured for so long.
    pub seconds: f64,
}

/// What came up beside the usual load so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    /// Wishes to travel.
    pub wishes: u64,
    /// Location updates.
    pub updates: u64,
}

/// How it stands with robots that lost their sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logins {
    /// So many did.
    pub asked: u32,
    /// So many have sent a login since.
    pub sent: u32,
    /// So many are not in again.
    pub away: u32,
}

/// All robots of a run together, as far as faults may move them.
pub trait Crowd {
    /// Has so many jobs wanted, and so many location updates sent, times what is usual, instead of
    /// what was asked before; planned as all load is, and below the target's ceiling.
    fn surge(&self, jobs: f64, updates: f64);

    /// All is as usual again.
    fn end_surge(&self);

    /// What came up beside the usual.
    fn extra(&self) -> Extra;

    /// What was sent of late while nothing was raised.
    fn usual(&self) -> Rates;

    /// What was sent since then.
    fn sent_since(&self, from: Time) -> Rates;

    /// Location updates a second that the load asks for now, without any surge.
    fn updates_per_s(&self) -> f64;

    /// Lets a share of the robots that are signed on lose their sessions, and log in at once; tells
    /// how many: none, too, where the target has nothing to log in to.
    fn log_all_in(&self, share: f64) -> u32;

    /// Lets those who are still not in, and do not try, try once more.
    fn log_in_again(&self);

    /// How it stands with them.
    fn logins(&self) -> Logins;
}
