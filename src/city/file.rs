//! The shape of a city's TOML file, before it is validated.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{hours::Hours, tariff::Tariff};

/// A city's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CityFile {
    pub name: String,
    /// What it is, in a sentence.
    #[serde(default, rename = "about")]
    pub _about: String,
    /// Availability zones that serve it.
    pub azs: Vec<String>,
    /// IANA name.
    pub time_zone: String,
    /// ISO 4217 code.
    pub currency: String,
    /// `GeoJSON` file with the boundary and the zones, from the folder of the TOML file.
    pub map: String,
    pub tariff: Tariff,
    pub roads: Roads,
    pub trips: Trips,
    /// Named values by the hour.
    #[serde(default)]
    pub profiles: BTreeMap<String, Hours>,
    pub zones: Vec<ZoneFile>,
}

/// How robots move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roads {
    /// Length on the road over length as the crow flies.
    pub detour: f64,
    /// Mean speed by local hour.
    pub speed_kmh: Hours,
    /// The fastest that a car is believed to drive.
    pub v_max_kmh: f64,
}

/// How far passengers travel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trips {
    /// Shorter journeys are not made, on the road.
    pub shortest_m: f64,
    /// Distance on the road.
    pub distance: Distance,
}

/// The distribution of distances, in metres on the road.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Distance {
    /// Lognormal; the median may change with the hour.
    Lognormal { median_m: Hours, sigma: f64 },
    /// Memoryless.
    Exponential { mean_m: Hours },
}

/// A zone; its polygon stands in the map under the same name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ZoneFile {
    pub name: String,
    pub demand: Weight,
    /// As the demand, when left out.
    pub supply: Option<Weight>,
    /// As the demand, when left out.
    pub attraction: Option<Weight>,
    #[serde(default)]
    pub hot_spots: Vec<HotSpotFile>,
}

/// A place where more happens than around it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HotSpotFile {
    pub name: String,
    pub lat: f64,
    pub lon: f64,
    pub radius_m: f64,
    #[serde(default)]
    pub demand: Weight,
    #[serde(default)]
    pub supply: Weight,
    #[serde(default)]
    pub attraction: Weight,
}

/// A weight, and how it changes over the day.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    pub weight: f64,
    #[serde(default)]
    pub by_hour: Hours,
}
