//! Places on the ground, in integer micro-degrees: the same on every machine.

use serde::{Deserialize, Serialize};

/// Mean radius of the Earth in metres (IUGG).
const EARTH_M: f64 = 6_371_008.8;
const METRES_PER_MICRO_DEGREE: f64 = EARTH_M * std::f64::consts::PI / 180.0 / 1e6;

/// A place, in micro-degrees (about 0.11 m of latitude each). In JSON `[lat_e6, lon_e6]`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(from = "(i32, i32)", into = "(i32, i32)")]
pub struct Place {
    /// Latitude in micro-degrees, north positive.
    pub lat_e6: i32,
    /// Longitude in micro-degrees, east positive.
    pub lon_e6: i32,
}

impl From<(i32, i32)> for Place {
    fn from((lat_e6, lon_e6): (i32, i32)) -> Self {
        Self { lat_e6, lon_e6 }
    }
}

impl From<Place> for (i32, i32) {
    fn from(place: Place) -> Self {
        (place.lat_e6, place.lon_e6)
    }
}

impl Place {
    /// From degrees.
    pub fn from_degrees(lat: f64, lon: f64) -> Self {
        Self { lat_e6: libm::round(lat * 1e6) as i32, lon_e6: libm::round(lon * 1e6) as i32 }
    }

    /// Latitude in degrees.
    pub fn lat(self) -> f64 {
        f64::from(self.lat_e6) / 1e6
    }

    /// Longitude in degrees.
    pub fn lon(self) -> f64 {
        f64::from(self.lon_e6) / 1e6
    }

    /// Distance in metres as the crow flies, on a plane through both places: within 0.1 % of the
    /// great circle for the size of a city.
    pub fn metres_to(self, other: Self) -> f64 {
        let (east, north) = self.offset_to(other);
        libm::sqrt(east * east + north * north)
    }

    /// Metres east and north from here to `other`.
    pub fn offset_to(self, other: Self) -> (f64, f64) {
        let middle = f64::midpoint(self.lat(), other.lat());
        let north = (f64::from(other.lat_e6) - f64::from(self.lat_e6)) * METRES_PER_MICRO_DEGREE;
        let east = (f64::from(other.lon_e6) - f64::from(self.lon_e6))
            * METRES_PER_MICRO_DEGREE
            * libm::cos(middle.to_radians());
        (east, north)
    }

    /// The place that many metres east and north of here.
    #[must_use]
    pub fn offset(self, east_m: f64, north_m: f64) -> Self {
        let shrink = libm::cos(self.lat().to_radians()).max(1e-6);
        let lat = f64::from(self.lat_e6) + north_m / METRES_PER_MICRO_DEGREE;
        let lon = f64::from(self.lon_e6) + east_m / (METRES_PER_MICRO_DEGREE * shrink);
        Self { lat_e6: libm::round(lat) as i32, lon_e6: libm::round(lon) as i32 }
    }

    /// The place `metres` along the straight way to `other`, not beyond it.
    #[must_use]
    pub fn toward(self, other: Self, metres: f64) -> Self {
        let whole = self.metres_to(other);
        if whole <= metres || whole == 0.0 {
            return other;
        }
        let part = (metres / whole).max(0.0);
        let along = |from: i32, to: i32| {
            from + libm::round((f64::from(to) - f64::from(from)) * part) as i32
        };
        Self { lat_e6: along(self.lat_e6, other.lat_e6), lon_e6: along(self.lon_e6, other.lon_e6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_agree_with_the_map() {
        let spire = Place::from_degrees(53.349_8, -6.260_3);
        let airport = Place::from_degrees(53.421_3, -6.270_1);
        // 7.98 km on the great circle.
        assert!((spire.metres_to(airport) - 7_980.0).abs() < 20.0);
        assert!((spire.toward(airport, 1_000.0).metres_to(spire) - 1_000.0).abs() < 1.0);
        assert_eq!(spire.toward(airport, 1e6), airport);
        let (east, north) = spire.offset_to(airport);
        assert!(spire.offset(east, north).metres_to(airport) < 10.0);
    }
}
