//! The figures of the virtual world. Illustrative: they have the order of magnitude of a cloud
//! region with three availability zones, and were not measured at anybody's.

use std::time::Duration;

use crate::base::{rng::Rng, time::nanos};

/// A span that is drawn anew each time, uniform between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl Span {
    /// Between `min` and `max` microseconds.
    pub const fn micros(min: u64, max: u64) -> Self {
        Self { min: Duration::from_micros(min), max: Duration::from_micros(max) }
    }

    /// Draws one, in nanoseconds.
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        let min = nanos(self.min);
        min + below(rng, nanos(self.max).saturating_sub(min).saturating_add(1))
    }
}

/// Uniform in 0..`n`, or 0 when `n` is 0; integers alone, so the same on every machine.
pub(super) fn below(rng: &mut Rng, n: u64) -> u64 {
    ((u128::from(rng.u64()) * u128::from(n)) >> 64) as u64
}

/// One-way delays of the network. Each direction between two nodes has a fixed part, drawn once
/// from the span that fits, and a part for each frame, uniform up to `jitter_percent` of the fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSettings {
    /// From a node to itself.
    pub local: Span,
    /// Between nodes of one AZ.
    pub within_az: Span,
    /// Between AZs.
    pub between_az: Span,
    /// From or to a node without an AZ: the robots, over the internet.
    pub outside: Span,
    /// Jitter of each frame, in percent of the fixed part.
    pub jitter_percent: u64,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            local: Span::micros(20, 40),
            within_az: Span::micros(150, 320),
            between_az: Span::micros(800, 1_200),
            outside: Span::micros(5_000, 16_000),
            jitter_percent: 25,
        }
    }
}

/// Times of the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSettings {
    /// Opening a store, a repair included.
    pub open: Span,
    /// One sync.
    pub sync: Span,
    /// How long after an early acknowledgement the sync follows.
    pub early_window: Duration,
    /// A planted bug: a sync does nothing, so a kill loses nearly everything.
    pub skip_sync: bool,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            open: Span::micros(2_000, 6_000),
            sync: Span::micros(1_000, 4_000),
            early_window: Duration::from_millis(250),
            skip_sync: false,
        }
    }
}

/// All settings of a virtual world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Delays of the network.
    pub network: NetworkSettings,
    /// Times of the disks.
    pub disk: DiskSettings,
    /// What every wall clock shows at time zero, in milliseconds since 1970.
    pub epoch_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            network: NetworkSettings::default(),
            disk: DiskSettings::default(),
            // 2026-01-01T00:00:00Z.
            epoch_ms: 1_767_225_600_000,
        }
    }
}
