//! The city: boundary, zones, demand, speeds, tariff. File to validated value; no clock, no I/O
//! beyond reading the file, no randomness but the stream that is handed in.

use std::path::Path;

use crate::base::{
    file::{FileError, Source},
    place::Place,
};

pub mod clock;
mod demand;
mod file;
mod hours;
mod map;
mod ring;
mod tariff;
mod turns;
mod validate;
mod way;
mod zone;

use demand::{Choices, TripDistance};
use ring::Ring;
use turns::Turns;

pub use hours::HOURS;
pub use tariff::Tariff;
pub use way::Way;
pub use zone::{ByHour, HotSpot, Zone};

/// A validated city.
#[derive(Debug, Clone)]
pub struct City {
    /// Its name.
    pub name: String,
    /// Availability zones that serve it, one at least.
    pub azs: Vec<String>,
    /// IANA name of its time zone.
    pub time_zone: String,
    /// ISO 4217 code of its currency.
    pub currency: String,
    /// What a journey costs.
    pub tariff: Tariff,
    /// Length on the road over length as the crow flies.
    pub detour: f64,
    /// Mean speed on the road by local hour.
    pub speed_kmh: ByHour,
    /// The fastest that a car is believed to drive.
    pub v_max_kmh: f64,
    /// The files that it was made of, the TOML first, so that a run can keep them.
    sources: Vec<Source>,
    boundary_ring: Ring,
    zones: Vec<Zone>,
    turns: Turns,
    choices: Choices,
    trip_distance: TripDistance,
    shortest_trip_m: f64,
}

impl City {
    /// Reads and validates a city's file and the map that it names.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::from_source(&Source::read(path)?)
    }

    /// Validates a city's file that was read already; the map is read from beside it.
    pub fn from_source(source: &Source) -> Result<Self, FileError> {
        let file: file::CityFile = source.parse()?;
        let path = source.path.parent().unwrap_or_else(|| Path::new("")).join(&file.map);
        let map = Source::read(&path).map_err(|error| {
            source.error("map", format!("{}: {}", error.path.display(), error.what))
        })?;
        validate::city(source, file, &map)
    }

    /// The city of two texts that were read already: its file, and the map that it names.
    pub fn from_sources(source: &Source, map: &Source) -> Result<Self, FileError> {
        validate::city(source, source.parse()?, map)
    }

    /// The files that it was made of: the TOML, then the map.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The corners of the boundary, each once.
    pub fn boundary(&self) -> &[Place] {
        self.boundary_ring.corners()
    }

    /// The zones. Where two overlap, the first counts.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// True for a place inside the boundary or on it.
    pub fn contains(&self, place: Place) -> bool {
        self.boundary_ring.contains(place)
    }

    /// The first zone that holds the place.
    pub fn zone_of(&self, place: Place) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.contains(place))
    }

    /// Mean speed on the road in that local hour.
    pub fn speed_m_per_s(&self, hour: usize) -> f64 {
        self.speed_kmh[hour % HOURS] / 3.6
    }
}

#[cfg(test)]
pub(crate) mod tests;
