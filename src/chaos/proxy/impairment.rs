//! What is wrong with one direction of a connection, added up.

use std::time::Duration;

use crate::{
    base::{dist::Around, rng::Rng},
    chaos::provider::Toxic,
};

/// A piece on a narrow line takes no longer than that, so that what follows flows.
const PIECE_SHARE: u64 = 20;
/// Pieces that one read may bring.
const PIECES_MAX: usize = 64;
/// Bytes of a packet, for what loses packets.
const PACKET_BYTES: usize = 1_460;
/// Times that one packet is lost one after the other, at most.
const LOSSES_MAX: u32 = 6;

/// The sum of some toxics.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Impairment {
    /// Something is wrong.
    sick: bool,
    /// Nothing passes.
    pub black_hole: bool,
    /// What is sent goes nowhere.
    pub swallows: bool,
    /// Bytes a second of all connections together.
    pub rate: Option<u64>,
    /// Bytes a second of each connection.
    pub rate_each: Option<u64>,
    /// The end of a connection is held back.
    pub close_delay: Duration,
    /// Bytes of a piece, how many more or fewer, and the pause between two.
    slices: Option<(usize, usize, Duration)>,
    /// Bytes that a connection may carry, and whether it is closed politely then.
    pub limit: Option<(u64, bool)>,
    /// Mean and width of each latency, in milliseconds, and how they lie; they add up.
    latencies_ms: Vec<(u64, u64, Around)>,
    /// Share of packets lost, and milliseconds until one is sent again.
    losses: Vec<(f64, u64)>,
}

impl Impairment {
    /// One more toxic. What ends a connection at a time is no matter of one direction.
    pub fn add(&mut self, toxic: &Toxic) {
        self.sick = true;
        let least = |known: Option<u64>, rate: u64| Some(known.map_or(rate, |old| old.min(rate)));
        match *toxic {
            Toxic::Latency { latency_ms, jitter_ms, around } => {
                self.latencies_ms.push((latency_ms, jitter_ms, around));
            }
            Toxic::Bandwidth { rate: 0, .. } | Toxic::BlackHole => self.black_hole = true,
            Toxic::Bandwidth { rate, each: false } => self.rate = least(self.rate, rate),
            Toxic::Bandwidth { rate, each: true } => self.rate_each = least(self.rate_each, rate),
            Toxic::Loss { share, again_ms } => self.losses.push((share, again_ms)),
            Toxic::Timeout { .. } => self.swallows = true,
            Toxic::SlowClose { delay_ms } => self.close_delay += Duration::from_millis(delay_ms),
            Toxic::Slicer { size, variation, delay_us } => {
                let (size, variation) = (size.max(1) as usize, variation as usize);
                self.slices = Some((size, variation, Duration::from_micros(delay_us)));
            }
            Toxic::LimitData { bytes, politely } => {
                let limit = self.limit.map_or(bytes, |(old, _)| old.min(bytes));
                self.limit = Some((limit, politely));
            }
            Toxic::Reset { .. } | Toxic::Names { .. } | Toxic::Partly { .. } => {}
        }
    }

    /// Nothing is wrong.
    pub fn is_clear(&self) -> bool {
        !self.sick
    }

    /// Nothing goes out.
    pub fn lets_nothing_out(&self) -> bool {
        self.black_hole || self.swallows
    }

    /// How long a chunk of so many bytes is held back.
    pub fn delay(&self, bytes: usize, rng: &mut Rng) -> Duration {
        let drawn = self
            .latencies_ms
            .iter()
            .map(|&(mean, width, around)| around.draw(rng, mean as f64, width as f64) / 1e3);
        let drawn = Duration::from_secs_f64(drawn.sum::<f64>().min(1e6));
        self.losses.iter().fold(drawn, |sum, &(share, again_ms)| {
            sum + Duration::from_millis(resent_ms(share, again_ms, bytes, rng))
        })
    }

    /// The most bytes that one piece has, and the pause between two; `None` where they may go as
    /// they came. Each piece has a size of its own where that varies.
    pub fn pieces(&self, rng: &mut Rng) -> Option<(usize, Duration)> {
        let narrow = self.rate.into_iter().chain(self.rate_each).min();
        let narrow = narrow.map(|rate| ((rate / PIECE_SHARE).max(1) as usize, Duration::ZERO));
        let slices = self.slices.map(|(size, variation, pause)| {
            let size = size.saturating_sub(variation) + rng.below(2 * variation + 1);
            (size.max(1), pause)
        });
        match (slices, narrow) {
            (Some((size, pause)), Some((narrow, _))) => Some((size.min(narrow), pause)),
            (slices, narrow) => slices.or(narrow),
        }
    }

    /// The pause between two pieces, where there is one.
    pub fn pause(&self) -> Option<Duration> {
        self.slices.map(|(_, _, pause)| pause).filter(|pause| !pause.is_zero())
    }

    /// The most bytes that one read may bring.
    pub fn read_max(&self) -> usize {
        let sizes = [self.slices.map(|(size, ..)| size as u64), self.rate, self.rate_each];
        let least = sizes.into_iter().enumerate().filter_map(|(n, size)| {
            let size = size?;
            Some(if n == 0 { size } else { (size / PIECE_SHARE).max(1) })
        });
        least.min().map_or(usize::MAX, |size| (size as usize).saturating_mul(PIECES_MAX))
    }
}

/// How long the last of so many bytes is late because packets are lost: the packets travel beside
/// one another, so the one that is lost most often counts.
pub(super) fn resent_ms(share: f64, again_ms: u64, bytes: usize, rng: &mut Rng) -> u64 {
    let packets = bytes.div_ceil(PACKET_BYTES).max(1);
    let losses = (0..packets).map(|_| (0..LOSSES_MAX).take_while(|_| rng.chance(share)).count());
    let most = losses.max().unwrap_or_default();
    // Sent again after so long, then twice as long, and so on.
    again_ms.saturating_mul((1 << most) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::provider::Answer;

    fn of(toxics: &[Toxic]) -> Impairment {
        let mut sum = Impairment::default();
        for toxic in toxics {
            sum.add(toxic);
        }
        sum
    }

    fn latency(latency_ms: u64, jitter_ms: u64) -> Toxic {
        Toxic::Latency { latency_ms, jitter_ms, around: Around::Uniform }
    }

    fn narrow(rate: u64) -> Toxic {
        Toxic::Bandwidth { rate, each: false }
    }

    #[test]
    fn delays_stay_within_the_jitter_and_fill_it() {
        let sick = of(&[latency(100, 50), latency(10, 0)]);
        let mut rng = Rng::from_seed("delays");
        let delays: Vec<u128> = (0..1_000).map(|_| sick.delay(1, &mut rng).as_millis()).collect();
        assert!(delays.iter().all(|delay| (60..=160).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 65) && delays.iter().any(|delay| *delay > 155));
    }

    #[test]
    fn every_toxic_survives_the_wire_and_makes_sick() {
        assert!(of(&[]).is_clear());
        for answer in [Answer::Gone, Answer::Wrong, Answer::Slow { delay_ms: 5 }] {
            let toxic = Toxic::Names { answer };
            let text = serde_json::to_string(&toxic).unwrap();
            assert_eq!(serde_json::from_str::<Toxic>(&text).unwrap(), toxic, "{text}");
        }
        let toxics = [
            latency(1, 0),
            narrow(1),
            Toxic::Bandwidth { rate: 1, each: true },
            Toxic::Loss { share: 0.5, again_ms: 200 },
            Toxic::BlackHole,
            Toxic::Timeout { close_ms: 0 },
            Toxic::SlowClose { delay_ms: 1 },
            Toxic::Slicer { size: 1, variation: 0, delay_us: 1 },
            Toxic::LimitData { bytes: 1, politely: false },
            Toxic::Reset { after_ms: 5 },
            Toxic::Partly { way: None, toxicity: None, of: vec![Toxic::BlackHole] },
        ];
        for toxic in toxics {
            let text = serde_json::to_string(&toxic).unwrap();
            assert_eq!(serde_json::from_str::<Toxic>(&text).unwrap(), toxic, "{text}");
            assert!(!of(&[toxic]).is_clear(), "{text}");
        }
    }

    #[test]
    fn a_read_brings_no_more_than_a_few_pieces() {
        let mut rng = Rng::from_seed("pieces");
        let mut pieces = |toxics: &[Toxic]| of(toxics).pieces(&mut rng);
        let slicer = Toxic::Slicer { size: 100, variation: 0, delay_us: 5_000 };
        let pause = Duration::from_millis(5);
        assert_eq!(pieces(&[Toxic::BlackHole]), None);
        assert_eq!(pieces(std::slice::from_ref(&slicer)), Some((100, pause)));
        assert_eq!(pieces(&[narrow(20_000)]), Some((1_000, Duration::ZERO)));
        let both = [slicer, narrow(1_000)];
        assert_eq!(pieces(&both), Some((50, pause)));
        assert_eq!(of(&both).read_max(), 50 * PIECES_MAX);
        let varied = of(&[Toxic::Slicer { size: 100, variation: 20, delay_us: 0 }]);
        let sizes: Vec<usize> = (0..500).map(|_| varied.pieces(&mut rng).unwrap().0).collect();
        assert!(sizes.iter().all(|size| (80..=120).contains(size)));
        assert!(sizes.contains(&80) && sizes.contains(&120));
    }

    #[test]
    fn what_is_lost_comes_later_and_as_often_as_asked() {
        let mut rng = Rng::from_seed("loss");
        let late: Vec<u64> = (0..20_000).map(|_| resent_ms(0.1, 200, 1, &mut rng)).collect();
        let lost = late.iter().filter(|ms| **ms > 0).count();
        assert!((1_800..2_200).contains(&lost), "{lost}");
        assert!(late.iter().all(|ms| [0, 200, 600, 1_400, 3_000, 6_200, 12_600].contains(ms)));
        let large = (0..1_000).filter(|_| resent_ms(0.1, 200, 14_600, &mut rng) > 0).count();
        assert!((600..700).contains(&large), "ten packets are hit more often than one: {large}");
    }
}
