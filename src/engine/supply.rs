//! Keeps the number of drivers on shift: who goes home is replaced by a fresh one, and where the
//! day's profile falls, those who were on shift longest are sent home.

use std::time::Duration;

use crate::{
    base::time::Time,
    city::clock::CityClock,
    scenario::{Load, profile::Profile},
};

/// How long the place of a driver who never got in stays empty: a backend that lets nobody in must
/// not be stormed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How often the drivers are counted where the number that is wanted changes over the day, at most;
/// and in seconds of the city.
const CENSUS_EVERY: Duration = Duration::from_secs(10);
const CENSUS_CITY_S: f64 = 600.0;

/// How long it is from one census to the next.
pub(super) fn census_every(clock: &CityClock) -> Duration {
    CENSUS_EVERY.min(clock.run_span(CENSUS_CITY_S)).max(Duration::from_millis(100))
}

/// Who is wanted.
#[derive(Debug)]
pub(super) struct Supply {
    peak: u32,
    by_hour: Profile,
    open: bool,
    /// Drivers below this number were sent home already.
    sent_home: u32,
}

impl Supply {
    /// The drivers of a load, once it is opened.
    pub fn new(load: &Load) -> Self {
        let by_hour = load.drivers_by_hour.clone();
        Self { peak: load.drivers, by_hour, open: false, sent_home: 0 }
    }

    /// How many drivers are wanted on shift at `now`.
    pub fn wanted(&self, now: Time, clock: &CityClock) -> u32 {
        (f64::from(self.peak) * self.by_hour.at(clock.hours(now))).round() as u32
    }

    /// True when that number changes over the day.
    pub fn changes(&self) -> bool {
        !self.by_hour.is_empty()
    }

    /// Starts to replace.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Replaces nobody from here on.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// True while drivers are replaced.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A driver is gone and `here` are left of those `wanted`: how long until another comes, if one
    /// does.
    pub fn replace(&self, was_in: bool, here: u32, wanted: u32) -> Option<Duration> {
        let wait = if was_in { Duration::ZERO } else { AFTER_FAILURE };
        (self.open && here < wanted).then_some(wait)
    }

    /// The number of the driver who is to go home next, of those below `admitted`.
    pub fn next_home(&mut self, admitted: u32) -> Option<u32> {
        let next = self.sent_home;
        (next < admitted).then(|| {
            self.sent_home += 1;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_while_open_and_short() {
        let mut supply = Supply::new(&Load { drivers: 3, ..Load::default() });
        assert_eq!(supply.replace(true, 2, 3), None);
        supply.open();
        assert_eq!(supply.replace(true, 2, 3), Some(Duration::ZERO));
        assert_eq!(supply.replace(false, 2, 3), Some(AFTER_FAILURE));
        assert_eq!(supply.replace(true, 3, 3), None);
        supply.close();
        assert_eq!(supply.replace(true, 2, 3), None);
    }

    #[test]
    fn as_many_are_wanted_as_the_hour_says() {
        let clock = CityClock { origin: Time::ZERO, start_s: 0.0, scale: 3_600.0 };
        let mut by_hour = vec![0.5; 24];
        by_hour[1] = 1.0;
        let load = Load { drivers: 100, drivers_by_hour: Profile(by_hour), ..Load::default() };
        let wanted = |at_s: f64| Supply::new(&load).wanted(Time::from_secs_f64(at_s), &clock);
        assert_eq!([wanted(0.0), wanted(0.5), wanted(1.0), wanted(5.0)], [50, 75, 100, 50]);
    }
}
