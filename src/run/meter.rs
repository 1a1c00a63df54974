//! Rates of events as exponentially weighted averages over 1, 5 and 15 minutes, like the load of a
//! machine. Time is handed in: the same events give the same rates.

use std::time::Duration;

use crate::base::time::Time;

/// Between two looks at what was counted.
const TICK: Duration = Duration::from_secs(5);
/// Minutes over which each rate is weighted.
const MINUTES: [f64; 3] = [1.0, 5.0, 15.0];
/// Ticks without an event after which every rate is as good as zero.
const IDLE_TICKS: u64 = 10_000;

/// Counts events.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    count: u64,
    uncounted: u64,
    /// When the current tick began; the first event says when the first one did.
    tick: Option<Time>,
    rates: Option<[f64; 3]>,
}

impl Meter {
    /// One more, at that time. One that comes late counts where it comes.
    pub fn mark(&mut self, at: Time) {
        self.pass(at);
        self.count += 1;
        self.uncounted += 1;
    }

    /// In all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Events a second at `now`.
    pub fn rates(&mut self, now: Time) -> [f64; 3] {
        self.pass(now);
        self.rates.unwrap_or_else(|| {
            // Younger than one tick.
            let seconds = self.tick.map_or(0.0, |tick| now.since(tick).as_secs_f64());
            [self.uncounted as f64 / seconds.max(1.0); 3]
        })
    }

    fn pass(&mut self, now: Time) {
        let mut tick = *self.tick.get_or_insert(now);
        let passed = now.since(tick).as_nanos() / TICK.as_nanos();
        for _ in 0..u64::try_from(passed).unwrap_or(IDLE_TICKS).min(IDLE_TICKS) {
            let now_per_s = std::mem::take(&mut self.uncounted) as f64 / TICK.as_secs_f64();
            self.rates = Some(match self.rates {
                None => [now_per_s; 3],
                Some(rates) => std::array::from_fn(|n| {
                    let weight = 1.0 - libm::exp(-TICK.as_secs_f64() / 60.0 / MINUTES[n]);
                    rates[n] + weight * (now_per_s - rates[n])
                }),
            });
            tick += TICK;
        }
        self.tick = Some(tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(meter: &mut Meter, from_s: u64, to_s: u64, per_s: u64) {
        for second in from_s..to_s {
            for n in 0..per_s {
                meter.mark(Time((second * 1_000 + n) * 1_000_000));
            }
        }
    }

    #[test]
    fn a_steady_stream_has_one_rate_and_an_end_of_it_fades_by_its_minutes() {
        let mut meter = Meter::default();
        marked(&mut meter, 0, 600, 20);
        let steady = meter.rates(Time::from_secs_f64(600.0));
        assert!(steady.iter().all(|rate| (rate - 20.0).abs() < 0.5), "{steady:?}");
        let [one, five, fifteen] = meter.rates(Time::from_secs_f64(660.0));
        // One minute of silence leaves 1/e of the rate over one minute.
        assert!((one - 20.0 / std::f64::consts::E).abs() < 0.5, "{one}");
        assert!(one < five && five < fifteen && fifteen < 20.0, "{one} {five} {fifteen}");
        assert_eq!(meter.count(), 12_000);
    }

    #[test]
    fn a_young_meter_tells_what_it_has_seen() {
        let mut meter = Meter::default();
        assert!(meter.rates(Time::ZERO).iter().all(|rate| *rate < 1e-9));
        marked(&mut meter, 1, 3, 10);
        let young = meter.rates(Time::from_secs_f64(2.0));
        assert!(young.iter().all(|rate| (rate - 10.0).abs() < 1e-9), "{young:?}");
    }
}
