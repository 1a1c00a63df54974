//! Distances, times and prices on the road, as this backend reckons them. Pure; money is integers
//! of minor units from end to end.

use crate::{
    backend::{
        boot::{CityFacts, Tariff},
        wire,
    },
    base::{place::Place, time::Time},
};

/// Slower than this nobody reckons, in km/h.
const SPEED_KMH_MIN: f64 = 3.0;
const METRES_PER_S_PER_KMH: f64 = 1_000.0 / 3_600.0;

/// Roads and prices of the city.
#[derive(Debug, Clone)]
pub struct Road {
    facts: CityFacts,
}

impl Road {
    /// Of the city.
    pub fn new(facts: &CityFacts) -> Self {
        Self { facts: facts.clone() }
    }

    /// Metres on the road between two places.
    pub fn metres(&self, from: Place, to: Place) -> u32 {
        libm::round(from.metres_to(to) * self.facts.detour).clamp(0.0, 1e9) as u32
    }

    /// City seconds on the road for so many metres at the hour that the city shows at `now`.
    pub fn seconds(&self, metres: u32, now: Time) -> u32 {
        let speed = self.facts.speed_kmh.get(self.hour(now)).copied().unwrap_or(SPEED_KMH_MIN);
        let metres_per_s = speed.max(SPEED_KMH_MIN) * METRES_PER_S_PER_KMH;
        libm::round(f64::from(metres) / metres_per_s) as u32
    }

    /// City seconds in so many milliseconds of the run.
    pub fn city_seconds(&self, run_ms: u64) -> u32 {
        let seconds = run_ms as f64 * self.facts.time_scale.max(0.0) / 1_000.0;
        libm::round(seconds).clamp(0.0, 1e6) as u32
    }

    /// What a journey of that length and time costs.
    pub fn fare_minor(&self, metres: u32, seconds: u32) -> i64 {
        fare_minor(&self.facts.tariff, metres, seconds)
    }

    /// What so much time on the road costs.
    pub fn time_minor(&self, seconds: i64) -> i64 {
        self.facts.tariff.per_minute_minor * seconds / 60
    }

    /// Fee of a passenger who gives up after the driver's arrival.
    pub fn fee_minor(&self) -> i64 {
        self.facts.tariff.no_show_fee_minor
    }

    fn hour(&self, now: Time) -> usize {
        let passed = now.since(self.facts.clock_origin).as_secs_f64() * self.facts.time_scale;
        ((self.facts.clock_start_s + passed) / 3_600.0) as usize % 24
    }
}

/// Base, distance and time, each part rounded half up to a minor unit; never below the minimum.
pub fn fare_minor(tariff: &Tariff, metres: u32, seconds: u32) -> i64 {
    let distance = (tariff.per_km_minor * i64::from(metres) + 500) / 1_000;
    let time = (tariff.per_minute_minor * i64::from(seconds) + 30) / 60;
    (tariff.base_minor + distance + time).max(tariff.minimum_minor)
}

/// A place as messages carry it.
pub fn to_wire(place: Place) -> wire::Place {
    wire::Place { lat_e6: place.lat_e6, lon_e6: place.lon_e6 }
}

/// A place from a message; a missing one is refused.
pub fn from_wire(place: Option<&wire::Place>) -> Result<Place, super::RpcError> {
    let place = place.ok_or_else(|| super::refuse(super::Code::Invalid, "a place is missing"))?;
    let known =
        place.lat_e6.unsigned_abs() <= 90_000_000 && place.lon_e6.unsigned_abs() <= 180_000_000;
    if !known {
        return Err(super::refuse(super::Code::Invalid, "no such place on the Earth"));
    }
    Ok(Place { lat_e6: place.lat_e6, lon_e6: place.lon_e6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fares_are_whole_minor_units_and_have_a_floor() {
        let tariff = Tariff {
            base_minor: 420,
            per_km_minor: 132,
            per_minute_minor: 47,
            minimum_minor: 600,
            no_show_fee_minor: 500,
        };
        assert_eq!(fare_minor(&tariff, 0, 0), 600);
        assert_eq!(fare_minor(&tariff, 10_000, 1_200), 420 + 1_320 + 940);
        // 132 * 1.504 = 198.528 rounds up, 47 * 0.5 = 23.5 rounds half up.
        assert_eq!(fare_minor(&tariff, 1_504, 30), 420 + 199 + 24);
    }

    #[test]
    fn a_place_off_the_earth_is_refused() {
        let far = wire::Place { lat_e6: 90_000_001, lon_e6: 0 };
        assert!(from_wire(Some(&far)).is_err());
        assert!(from_wire(None).is_err());
        assert!(from_wire(Some(&wire::Place { lat_e6: i32::MIN, lon_e6: 0 })).is_err());
    }
}
