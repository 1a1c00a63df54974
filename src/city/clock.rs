//! What the hour is in the city: run time, scaled, from a local start.

use std::time::Duration;

use crate::base::time::Time;

/// Turns the time of a run into the hour of the city's day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CityClock {
    /// The moment of the run at which the city shows `start_s`.
    pub origin: Time,
    /// Seconds since local midnight at the origin.
    pub start_s: f64,
    /// City seconds in one second of the run.
    pub scale: f64,
}

impl CityClock {
    /// Local hour, 0 to 23, at `now`. (A day of 24 hours: clock changes are not walked through.)
    pub fn hour(&self, now: Time) -> usize {
        (self.hours(now) as u64 % 24) as usize
    }

    /// Hours since the midnight before the origin, parts of them included.
    pub fn hours(&self, now: Time) -> f64 {
        (self.start_s + (now - self.origin).as_secs_f64() * self.scale) / 3_600.0
    }

    /// How long it is from `now` until the next local hour begins; never zero.
    pub fn until_next_hour(&self, now: Time) -> Duration {
        let left = 1.0 - self.hours(now).fract();
        self.run_span(left * 3_600.0).max(Duration::from_millis(1))
    }

    /// How long something that takes `city` seconds of the city takes in the run.
    pub fn run_span(&self, city_s: f64) -> Duration {
        Duration::from_secs_f64((city_s / self.scale).clamp(0.0, 1e9))
    }

    /// City seconds that pass in `span` of the run.
    pub fn city_s(&self, span: Duration) -> f64 {
        span.as_secs_f64() * self.scale
    }
}
