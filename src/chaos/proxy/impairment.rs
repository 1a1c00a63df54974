//! The toxics of a link, added up: what a connection has to know.

use std::time::Duration;

use crate::{
    base::{dist::Around, rng::Rng},
    chaos::provider::Toxic,
};

/// A piece on a narrow line takes no longer than that, so that what follows flows.
const PIECE_SHARE: u64 = 20;
/// Pieces that one read may bring.
const PIECES_MAX: usize = 64;

/// What is wrong with a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Impairment {
    /// Connections are torn down.
    pub reset: bool,
    /// Nothing passes.
    pub black_hole: bool,
    /// What is sent goes nowhere.
    pub swallows: bool,
    /// Bytes a second of all connections together, in each direction.
    pub rate: Option<u64>,
    /// The end of a connection is held back.
    pub close_delay: Duration,
    /// Bytes of a piece, and the pause between two.
    slices: Option<(usize, Duration)>,
    /// Bytes that a connection may carry in a direction.
    pub limit: Option<u64>,
    /// Mean and width of each latency, in milliseconds, and how they lie; they add up.
    latencies_ms: Vec<(u64, u64, Around)>,
}

impl Impairment {
    pub fn of(toxics: &[Toxic]) -> Self {
        let mut sum = Self::default();
        for toxic in toxics {
            match *toxic {
                Toxic::Latency { latency_ms, jitter_ms, around } => {
                    sum.latencies_ms.push((latency_ms, jitter_ms, around));
                }
                Toxic::Bandwidth { rate_kb } => {
                    let rate = u64::from(rate_kb.max(1)) * 1_000;
                    sum.rate = Some(sum.rate.map_or(rate, |known| known.min(rate)));
                }
                Toxic::BlackHole => sum.black_hole = true,
                Toxic::Timeout => sum.swallows = true,
                Toxic::Reset => sum.reset = true,
                Toxic::SlowClose { delay_ms } => sum.close_delay += Duration::from_millis(delay_ms),
                Toxic::Slicer { size, delay_ms } => {
                    sum.slices = Some((size.max(1) as usize, Duration::from_millis(delay_ms)));
                }
                Toxic::LimitData { bytes } => {
                    sum.limit = Some(sum.limit.map_or(bytes, |known| known.min(bytes)));
                }
            }
        }
        sum
    }

    /// Nothing is wrong.
    pub fn is_clear(&self) -> bool {
        *self == Self::default()
    }

    /// Nothing goes out.
    pub fn lets_nothing_out(&self) -> bool {
        self.black_hole || self.swallows
    }

    /// How long one chunk is held back.
    pub fn delay(&self, rng: &mut Rng) -> Duration {
        let drawn = self
            .latencies_ms
            .iter()
            .map(|&(mean, width, around)| around.draw(rng, mean as f64, width as f64) / 1e3);
        Duration::from_secs_f64(drawn.sum::<f64>().min(1e6))
    }

    /// The most bytes that go out in one piece, and the pause between two; `None` where they may go
    /// as they came.
    pub fn pieces(&self) -> Option<(usize, Duration)> {
        let narrow = self.rate.map(|rate| ((rate / PIECE_SHARE).max(1) as usize, Duration::ZERO));
        match (self.slices, narrow) {
            (Some((size, pause)), Some((narrow, _))) => Some((size.min(narrow), pause)),
            (slices, narrow) => slices.or(narrow),
        }
    }

    /// The most bytes that one read may bring.
    pub fn read_max(&self) -> usize {
        self.pieces().map_or(usize::MAX, |(size, _)| size.saturating_mul(PIECES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(latency_ms: u64, jitter_ms: u64) -> Toxic {
        Toxic::Latency { latency_ms, jitter_ms, around: Around::Uniform }
    }

    #[test]
    fn delays_stay_within_the_jitter_and_fill_it() {
        let sick = Impairment::of(&[latency(100, 50), latency(10, 0)]);
        let mut rng = Rng::from_seed("delays");
        let delays: Vec<u128> = (0..1_000).map(|_| sick.delay(&mut rng).as_millis()).collect();
        assert!(delays.iter().all(|delay| (60..=160).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 65) && delays.iter().any(|delay| *delay > 155));
    }

    #[test]
    fn no_toxic_is_clear() {
        assert!(Impairment::of(&[]).is_clear());
        let toxics = [
            latency(1, 0),
            Toxic::Bandwidth { rate_kb: 1 },
            Toxic::BlackHole,
            Toxic::Timeout,
            Toxic::Reset,
            Toxic::SlowClose { delay_ms: 1 },
            Toxic::Slicer { size: 1, delay_ms: 1 },
            Toxic::LimitData { bytes: 1 },
        ];
        for toxic in toxics {
            let text = serde_json::to_string(&toxic).unwrap();
            assert_eq!(serde_json::from_str::<Toxic>(&text).unwrap(), toxic, "{text}");
            assert!(!Impairment::of(&[toxic]).is_clear(), "{text}");
        }
    }

    #[test]
    fn a_read_brings_no_more_than_a_few_pieces() {
        let pieces = |toxics: &[Toxic]| Impairment::of(toxics).pieces();
        assert_eq!(pieces(&[Toxic::BlackHole]), None);
        let slicer = Toxic::Slicer { size: 100, delay_ms: 5 };
        assert_eq!(pieces(std::slice::from_ref(&slicer)), Some((100, Duration::from_millis(5))));
        assert_eq!(pieces(&[Toxic::Bandwidth { rate_kb: 20 }]), Some((1_000, Duration::ZERO)));
        let both = [slicer, Toxic::Bandwidth { rate_kb: 1 }];
        assert_eq!(pieces(&both), Some((50, Duration::from_millis(5))));
        assert_eq!(Impairment::of(&both).read_max(), 50 * PIECES_MAX);
    }
}
