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

/// How something lies around its mean, with a width given beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Around {
    /// Everything within the width is as likely.
    #[default]
    Uniform,
    /// Bell-shaped; the width is the standard deviation.
    Normal,
    /// Mostly near its least, which is the mean less the width, and now and then far above it.
    Pareto,
}

impl Around {
    /// All of them, by their words.
    pub const ALL: [(&'static str, Self); 3] =
        [("uniform", Self::Uniform), ("normal", Self::Normal), ("pareto", Self::Pareto)];

    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
        }
    }

    /// True for the usual one, which files leave out.
    pub fn is_uniform(&self) -> bool {
        *self == Self::Uniform
    }

    /// One draw, in the unit of `mean` and `width`; never negative.
    pub fn draw(self, rng: &mut Rng, mean: f64, width: f64) -> f64 {
        let drawn = match self {
            Self::Uniform => rng.between(mean - width, mean + width),
            Self::Normal => mean + width * normal(rng),
            Self::Pareto => mean - width + width * tail(rng),
        };
        drawn.max(0.0)
    }
}

/// Lomax with the shape 3 and the mean 1, which has a variance; cut off where nobody waits any more.
fn tail(rng: &mut Rng) -> f64 {
    const MOST: f64 = 100.0;
    (2.0 * (1.0 / libm::cbrt(1.0 - rng.unit()) - 1.0)).min(MOST)
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

    #[test]
    fn whatever_lies_around_a_mean_has_that_mean() {
        for (word, around) in Around::ALL {
            assert_eq!(around.word(), word);
            let mut rng = Rng::from_seed(word);
            let n = 50_000;
            let draws: Vec<f64> = (0..n).map(|_| around.draw(&mut rng, 100.0, 20.0)).collect();
            let mean = draws.iter().sum::<f64>() / f64::from(n);
            assert!((mean - 100.0).abs() < 1.0, "{word}: {mean}");
            let far = draws.iter().filter(|draw| **draw > 180.0).count();
            match around {
                Around::Uniform => assert!(draws.iter().all(|draw| (80.0..=120.0).contains(draw))),
                Around::Normal => assert!(far < 30, "{far}"),
                Around::Pareto => assert!((200..2_000).contains(&far), "{far}"),
            }
        }
    }
}
