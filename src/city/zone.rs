//! A zone of the city: a named polygon with its weights by the hour.

use super::{hours::HOURS, ring::Ring};
use crate::base::place::Place;

/// Weights by local hour.
pub type ByHour = [f64; HOURS];

/// A zone.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Its name, unique in the city.
    pub name: String,
    /// Weight of journeys that begin on its ground, hot spots apart.
    pub demand: ByHour,
    /// Weight of drivers who start or reposition there.
    pub supply: ByHour,
    /// Weight of journeys that end there.
    pub attraction: ByHour,
    /// Where more happens than around.
    pub hot_spots: Vec<HotSpot>,
    pub(super) shape: Ring,
    /// A place that is surely inside: where a draw ends that met no place by luck.
    pub(super) inner: Place,
}

/// A place in a zone where more happens than around it.
#[derive(Debug, Clone, PartialEq)]
pub struct HotSpot {
    /// Its name.
    pub name: String,
    /// Its middle.
    pub at: Place,
    /// How far around the middle it reaches.
    pub radius_m: f64,
    /// Weight of journeys that begin there, on the scale of the zones' weights.
    pub demand: ByHour,
    /// Weight of drivers who start or reposition there.
    pub supply: ByHour,
    /// Weight of journeys that end there.
    pub attraction: ByHour,
}

impl Zone {
    /// Its corners, each once.
    pub fn ring(&self) -> &[Place] {
        self.shape.corners()
    }

    /// True for a place in the zone or on its edge.
    pub fn contains(&self, place: Place) -> bool {
        self.shape.contains(place)
    }
}
