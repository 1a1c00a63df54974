//! What the processes of a run cost, in CPU seconds.

use std::time::Duration;

use crate::world::real::process;

/// CPU time of the three parts of a run on one machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    /// The process with the robots.
    pub robots: Duration,
    /// The largest resident size of that process, in MB.
    pub robots_peak_mb: f64,
    /// All nodes of the embedded backend, dead ones included.
    pub backend: Duration,
    /// The fault proxy.
    pub proxy: Duration,
}

impl Costs {
    /// Of this process and those parts.
    pub fn now(backend: Duration, proxy: Duration) -> Self {
        let own = process::own_usage();
        let robots_peak_mb = own.rss_peak_bytes as f64 / 1e6;
        Self { robots: own.cpu, robots_peak_mb, backend, proxy }
    }

    /// What was spent since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            robots_peak_mb: self.robots_peak_mb,
            robots: self.robots.saturating_sub(earlier.robots),
            backend: self.backend.saturating_sub(earlier.backend),
            proxy: self.proxy.saturating_sub(earlier.proxy),
        }
    }
}
