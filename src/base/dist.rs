//! Distributions on `libm`, so that they draw the same numbers on every machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// Exponential with the given mean.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * libm::log(1.0 - rng.unit())
}

/// Standard normal, by Box and Muller's method.
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.unit()));
    radius * libm::cos(2.0 * std::f64::consts::PI * rng.unit())
}

/// Lognormal with the given *median* and the deviation of its logarithm.
pub fn lognormal(rng: &mut Rng, median: f64, sigma: f64) -> f64 {
    median * libm::exp(sigma * normal(rng))
}

/// A span of seconds drawn at random, as scenario files write it:
/// `{ uniform = [1.0, 8.0] }`, `{ lognormal = { median = 40, sigma = 0.5 } }`,
/// `{ exponential = 30.0 }` or `{ fixed = 5.0 }`; all in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Spread {
    /// Always the same.
    Fixed(f64),
    /// Every value between the two is as likely.
    Uniform(f64, f64),
    /// Memoryless, with this mean.
    Exponential(f64),
    /// Skewed to the right.
    Lognormal {
        /// Half of the draws are below it.
        median: f64,
        /// Deviation of the logarithm.
        sigma: f64,
    },
}

impl Spread {
    /// One draw, in seconds, never negative.
    pub fn seconds(&self, rng: &mut Rng) -> f64 {
        let drawn = match *self {
            Self::Fixed(value) => value,
            Self::Uniform(low, high) => rng.between(low, high),
            Self::Exponential(mean) => exponential(rng, mean),
            Self::Lognormal { median, sigma } => lognormal(rng, median, sigma),
        };
        drawn.max(0.0)
    }

    /// One draw as a duration.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        Duration::from_secs_f64(self.seconds(rng).min(1e9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_medians_are_as_asked() {
        let mut rng = Rng::from_seed("dist");
        let n = 20_000;
        let mean: f64 = (0..n).map(|_| exponential(&mut rng, 30.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 30.0).abs() < 1.0, "mean {mean}");
        let below = (0..n).filter(|_| lognormal(&mut rng, 40.0, 0.5) < 40.0).count();
        assert!((below as f64 / f64::from(n) - 0.5).abs() < 0.02, "below the median: {below}");
    }
}
