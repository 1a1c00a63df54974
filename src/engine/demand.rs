//! When somebody wishes to travel, and from where to where: an open model, whatever the backend does.

use std::time::Duration;

use crate::{
    base::{dist::exponential, rng::Rng, time::Time},
    robot::{Surroundings, Trip},
    scenario::Arrivals,
};

/// The stream of wishes.
pub(super) struct Demand {
    times: Rng,
    trips: Rng,
    per_s: f64,
    arrivals: Arrivals,
    start: Time,
    count: u64,
    until: Time,
}

impl Demand {
    /// `jobs_per_hour` wishes; none before [`Self::open`].
    pub fn new(root: &Rng, jobs_per_hour: f64, arrivals: Arrivals) -> Self {
        Self {
            times: root.fork("arrivals"),
            trips: root.fork("trips"),
            per_s: jobs_per_hour / 3_600.0,
            arrivals,
            start: Time::ZERO,
            count: 0,
            until: Time::ZERO,
        }
    }

    /// Opens from `start` until `until`; answers when the first wish is due.
    pub fn open(&mut self, start: Time, until: Time) -> Option<Time> {
        (self.start, self.until, self.count) = (start, until, 0);
        self.next(start)
    }

    /// True while wishes come up.
    pub fn is_open(&self, at: Time) -> bool {
        at < self.until
    }

    /// No more wishes.
    pub fn close(&mut self) {
        self.until = Time::ZERO;
    }

    /// When the wish after the one at `last` is due, unless the demand is over by then.
    pub fn next(&mut self, last: Time) -> Option<Time> {
        if self.per_s <= 0.0 || !self.per_s.is_finite() {
            return None;
        }
        let at = match self.arrivals {
            Arrivals::Poisson => {
                last + Duration::from_secs_f64(exponential(&mut self.times, 1.0 / self.per_s))
            }
            Arrivals::Constant => {
                // From the start each time: no rounding adds up. Half a gap in, so that both
                // ends of the span look alike.
                let gaps = self.count as f64 + 0.5;
                self.count += 1;
                self.start + Duration::from_secs_f64(gaps / self.per_s)
            }
        };
        (at < self.until).then_some(at)
    }

    /// The journey that is wished for at `now`.
    pub fn trip(&mut self, now: Time, around: &Surroundings) -> Trip {
        let hour = around.clock.hour(now);
        let (from, to) = around.city.draw_trip(hour, &mut self.trips);
        Trip { from, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(arrivals: Arrivals) -> Vec<Time> {
        let mut demand = Demand::new(&Rng::from_seed("demand"), 15_000.0, arrivals);
        let mut next = demand.open(Time::from_secs_f64(20.0), Time::from_secs_f64(1_220.0));
        let mut all = vec![];
        while let Some(at) = next {
            all.push(at);
            next = demand.next(at);
        }
        all
    }

    #[test]
    fn the_rate_is_as_asked() {
        // 15,000 an hour for 20 minutes.
        assert_eq!(count(Arrivals::Constant).len(), 5_000);
        let drawn = count(Arrivals::Poisson).len();
        // Three standard deviations of a Poisson count of that mean.
        assert!((4_788..=5_212).contains(&drawn), "{drawn}");
    }

    #[test]
    fn a_closed_demand_gives_nothing() {
        let mut demand = Demand::new(&Rng::from_seed("demand"), 15_000.0, Arrivals::Poisson);
        assert!(demand.next(Time(1)).is_none());
        demand.open(Time(0), Time::MAX);
        demand.close();
        assert!(demand.next(Time(1)).is_none());
    }
}
