//! What the scenario asks for at each moment: the demand, and how many drivers are wanted. Seconds
//! count from the start of the demand.

use std::time::Duration;

use crate::{base::time::Time, city::clock::CityClock, scenario::Scenario};

/// A scenario's wishes over time.
pub struct Profile<'a> {
    scenario: &'a Scenario,
    clock: CityClock,
}

impl<'a> Profile<'a> {
    /// Of a scenario.
    pub fn of(scenario: &'a Scenario) -> Self {
        let time = &scenario.time;
        let clock =
            CityClock { origin: Time::ZERO, start_s: time.start_s(), scale: time.time_scale };
        Self { scenario, clock }
    }

    /// Share of `load.jobs_per_hour` that is asked for at that moment.
    pub fn demand_share(&self, at_s: f64) -> f64 {
        self.scenario.load.demand_by_hour.during(self.clock.hour(at(at_s)))
    }

    /// Share of `load.drivers` that is wanted on shift at that moment.
    pub fn drivers_share(&self, at_s: f64) -> f64 {
        self.scenario.load.drivers_by_hour.at(self.clock.hours(at(at_s)))
    }

    /// Requests a second at that moment; none outside of the demand.
    pub fn requests_per_s(&self, at_s: f64) -> f64 {
        if !(0.0..self.duration_s()).contains(&at_s) {
            return 0.0;
        }
        self.scenario.load.jobs_per_hour / 3_600.0 * self.demand_share(at_s)
    }

    /// Drivers wanted at that moment; before and after the demand as at its ends.
    pub fn drivers(&self, at_s: f64) -> f64 {
        let at_s = at_s.clamp(0.0, (self.duration_s() - 1e-6).max(0.0));
        (f64::from(self.scenario.load.drivers) * self.drivers_share(at_s)).round()
    }

    /// How long the demand runs.
    pub fn duration_s(&self) -> f64 {
        self.scenario.time.duration.0.as_secs_f64()
    }

    /// The first moment of the busiest hour of the run: most requests, then most drivers.
    pub fn busiest_s(&self) -> f64 {
        let mut best = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let mut busiest = 0.0;
        for at_s in self.hour_starts() {
            let here = (self.demand_share(at_s), self.drivers_share(at_s));
            if here > best {
                (best, busiest) = (here, at_s);
            }
        }
        busiest
    }

    /// The start of the demand, and of each full hour of the city's first day in it.
    fn hour_starts(&self) -> impl Iterator<Item = f64> {
        let (start_s, scale) = (self.clock.start_s, self.clock.scale);
        let next = (start_s / 3_600.0).floor() + 1.0;
        let later = (0..24).map(move |hour| {
            // A little into the hour: no rounding puts it into the one before.
            ((next + f64::from(hour)) * 3_600.0 - start_s + 1e-3) / scale
        });
        let duration_s = self.duration_s();
        std::iter::once(0.0).chain(later.take_while(move |at_s| *at_s < duration_s))
    }

    /// The local time of the city at that moment, in seconds since midnight.
    pub fn local_s(&self, at_s: f64) -> f64 {
        (self.clock.start_s + at_s * self.clock.scale).rem_euclid(86_400.0)
    }
}

fn at(at_s: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(at_s.max(0.0))
}
