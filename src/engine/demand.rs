//! When somebody wishes to travel, and from where to where: an open model, whatever the backend does.

use std::time::Duration;

use crate::{
    base::{dist::exponential, rng::Rng, time::Time},
    city::clock::CityClock,
    robot::{Surroundings, Trip},
    scenario::{Arrivals, Load, profile::Profile},
};

/// The stream of wishes.
pub(super) struct Demand {
    times: Rng,
    trips: Rng,
    /// At the peak.
    per_s: f64,
    by_hour: Profile,
    arrivals: Arrivals,
    until: Time,
}

impl Demand {
    /// The wishes of a load; none before [`Self::open`].
    pub fn new(root: &Rng, load: &Load) -> Self {
        Self {
            times: root.fork("arrivals"),
            trips: root.fork("trips"),
            per_s: load.jobs_per_hour / 3_600.0,
            by_hour: load.demand_by_hour.clone(),
            arrivals: load.arrivals,
            until: Time::ZERO,
        }
    }

    /// Opens from `start` until `until`; answers when the first wish is due.
    pub fn open(&mut self, start: Time, until: Time, clock: &CityClock) -> Option<Time> {
        self.until = until;
        match self.arrivals {
            Arrivals::Poisson => self.next(start, clock),
            // Half a gap in, so that both ends of the span look alike.
            Arrivals::Constant => self.after(start, 0.5 / self.per_s, clock),
        }
    }

    /// True while wishes come up.
    pub fn is_open(&self, at: Time) -> bool {
        at < self.until
    }

    /// When the wishes end.
    pub fn until(&self) -> Time {
        self.until
    }

    /// No more wishes.
    pub fn close(&mut self) {
        self.until = Time::ZERO;
    }

    /// When the wish after the one at `last` is due, unless the demand is over by then.
    pub fn next(&mut self, last: Time, clock: &CityClock) -> Option<Time> {
        let gap_s = match self.arrivals {
            Arrivals::Poisson => exponential(&mut self.times, 1.0 / self.per_s),
            Arrivals::Constant => 1.0 / self.per_s,
        };
        self.after(last, gap_s, clock)
    }

    /// The moment after `last` by which as many wishes are due as in `gap_s` seconds of the peak:
    /// in an hour of half the demand it takes twice as long. (Of a Poisson process whose rate
    /// changes in steps this draws exactly: its gaps are exponential in the sum of the rate.)
    fn after(&self, last: Time, mut gap_s: f64, clock: &CityClock) -> Option<Time> {
        let mut at = last;
        while at < self.until && gap_s.is_finite() {
            let share = self.by_hour.during(clock.hour(at));
            let hour = clock.until_next_hour(at);
            let in_hour_s = hour.as_secs_f64() * share;
            if self.by_hour.is_empty() || gap_s < in_hour_s {
                let at = at + Duration::from_secs_f64(gap_s / share);
                return (at < self.until).then_some(at);
            }
            gap_s -= in_hour_s;
            at += hour;
        }
        None
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

    /// The city's day in one second of the run for each of its minutes, from midnight.
    const CLOCK: CityClock = CityClock { origin: Time::ZERO, start_s: 0.0, scale: 60.0 };

    fn demand(arrivals: Arrivals, by_hour: &[f64]) -> Demand {
        let demand_by_hour = Profile(by_hour.to_vec());
        let load = Load { jobs_per_hour: 15_000.0, arrivals, demand_by_hour, ..Load::default() };
        Demand::new(&Rng::from_seed("demand"), &load)
    }

    /// All wishes between two seconds.
    fn wishes(mut demand: Demand, from_s: f64, to_s: f64) -> Vec<Time> {
        let (from, to) = (Time::from_secs_f64(from_s), Time::from_secs_f64(to_s));
        let mut next = demand.open(from, to, &CLOCK);
        let mut all = vec![];
        while let Some(at) = next {
            all.push(at);
            next = demand.next(at, &CLOCK);
        }
        all
    }

    #[test]
    fn the_rate_is_as_asked() {
        // 15,000 an hour for 20 minutes.
        assert_eq!(wishes(demand(Arrivals::Constant, &[]), 20.0, 1_220.0).len(), 5_000);
        let drawn = wishes(demand(Arrivals::Poisson, &[]), 20.0, 1_220.0).len();
        // Three standard deviations of a Poisson count of that mean.
        assert!((4_788..=5_212).contains(&drawn), "{drawn}");
    }

    #[test]
    fn each_hour_has_its_share() {
        // An hour of the city is a minute of the run: 250 wishes at the peak.
        let mut by_hour = [0.0; 24];
        (by_hour[1], by_hour[3]) = (1.0, 0.5);
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let all = wishes(demand(arrivals, &by_hour), 0.0, 600.0);
            let minute = |n: usize| {
                all.iter().filter(|at| at.as_secs_f64() as usize / 60 == n).count() as i64
            };
            // Three standard deviations; evenly spaced ones may be one off.
            let slack = if arrivals == Arrivals::Poisson { 48 } else { 1 };
            assert!((minute(1) - 250).abs() <= slack, "{arrivals:?} {}", minute(1));
            assert!((minute(3) - 125).abs() <= slack, "{arrivals:?} {}", minute(3));
            assert_eq!(minute(1) + minute(3), all.len() as i64, "none in any other hour");
        }
    }

    #[test]
    fn a_closed_demand_gives_nothing() {
        let mut demand = demand(Arrivals::Poisson, &[]);
        assert!(demand.next(Time(1), &CLOCK).is_none());
        demand.open(Time(0), Time::MAX, &CLOCK);
        demand.close();
        assert!(demand.next(Time(1), &CLOCK).is_none());
    }
}
