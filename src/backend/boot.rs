//! What a node is told when it starts. Plain data: it travels as JSON over the node's stdin.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::product::Product;
use crate::base::{name::NodeName, place::Place, time::Time};

/// Everything that a node needs to know, in either world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Its name, `a/core-1`; role and AZ follow from it.
    pub name: NodeName,
    /// 10 bits for its unique ids; no two nodes share one.
    pub machine: u16,
    /// How often it was started before.
    pub incarnation: u32,
    /// The version of the code that it runs as, from 1.
    pub version: u32,
    /// The seed of the run.
    pub seed: String,
    /// The names of every node of the backend; those of the role `core` hold discovery.
    pub nodes: Vec<NodeName>,
    /// Settings that all nodes share.
    pub settings: Settings,
    /// Planted bugs that are switched on, by name.
    pub plants: Vec<String>,
    /// The config's documents by key, before anything is set.
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
    /// Somebody collects what it traces.
    #[serde(default)]
    pub traced: bool,
}

/// Settings that all nodes share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Life of an offer.
    pub offer_ttl: Duration,
    /// Life of a search.
    pub search_ttl: Duration,
    /// Offers of one job that may be open at once.
    pub offers_at_once: u32,
    /// Life of a token.
    pub token_ttl: Duration,
    /// How old a position may be and still be used.
    pub ping_ttl: Duration,
    /// How far from the pickup an offered driver may be, in metres.
    pub reach_m: f64,
    /// What the company offers, and to whom.
    #[serde(default)]
    pub product: Product,
    /// The city, as far as a backend knows it.
    pub city: CityFacts,
}

/// The city, as far as a backend knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CityFacts {
    /// Its name.
    pub name: String,
    /// Zones: name and ring (closed or not).
    pub zones: Vec<(String, Vec<Place>)>,
    /// The boundary's ring.
    pub boundary: Vec<Place>,
    /// Road over crow.
    pub detour: f64,
    /// Mean speed in km/h for each local hour: 24 values.
    pub speed_kmh: Vec<f64>,
    /// Tariff in minor units.
    pub tariff: Tariff,
    /// Seconds since local midnight at `clock_origin`.
    pub clock_start_s: f64,
    /// The moment of the run at which the local clock shows that.
    pub clock_origin: Time,
    /// City seconds in a second of the run.
    pub time_scale: f64,
}

/// A tariff in minor units of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Flag fall.
    pub base_minor: i64,
    /// For each kilometre on the road.
    pub per_km_minor: i64,
    /// For each minute on the road.
    pub per_minute_minor: i64,
    /// The least that a journey costs.
    pub minimum_minor: i64,
    /// Fee for a passenger who cancels after the driver's arrival, or does not show.
    pub no_show_fee_minor: i64,
}
