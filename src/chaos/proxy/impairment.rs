//! The toxics of a link, added up: what a connection has to know.

use std::time::Duration;

use crate::{base::rng::Rng, chaos::provider::Toxic};

/// What is wrong with a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Impairment {
    /// Connections are torn down.
    pub reset: bool,
    /// Nothing passes.
    pub black_hole: bool,
    /// Mean and half width of each latency, in milliseconds; they add up.
    latencies_ms: Vec<(u64, u64)>,
}

impl Impairment {
    pub fn of(toxics: &[Toxic]) -> Self {
        let mut sum = Self::default();
        for toxic in toxics {
            match *toxic {
                Toxic::Latency { latency_ms, jitter_ms } => {
                    sum.latencies_ms.push((latency_ms, jitter_ms));
                }
                Toxic::BlackHole => sum.black_hole = true,
                Toxic::Reset => sum.reset = true,
            }
        }
        sum
    }

    /// Nothing is wrong.
    pub fn is_clear(&self) -> bool {
        !self.reset && !self.black_hole && self.latencies_ms.is_empty()
    }

    /// How long one chunk is held back.
    pub fn delay(&self, rng: &mut Rng) -> Duration {
        let seconds: f64 = self
            .latencies_ms
            .iter()
            .map(|&(mean, half)| {
                let (mean, half) = (mean as f64, half as f64);
                rng.between(mean - half, mean + half).max(0.0) / 1e3
            })
            .sum();
        Duration::from_secs_f64(seconds.min(1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_the_jitter_and_fill_it() {
        let sick = Impairment::of(&[
            Toxic::Latency { latency_ms: 100, jitter_ms: 50 },
            Toxic::Latency { latency_ms: 10, jitter_ms: 0 },
        ]);
        let mut rng = Rng::from_seed("delays");
        let delays: Vec<u128> = (0..1_000).map(|_| sick.delay(&mut rng).as_millis()).collect();
        assert!(delays.iter().all(|delay| (60..=160).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 65) && delays.iter().any(|delay| *delay > 155));
    }

    #[test]
    fn no_toxic_is_clear() {
        assert!(Impairment::of(&[]).is_clear());
        assert!(!Impairment::of(&[Toxic::BlackHole]).is_clear());
    }
}
