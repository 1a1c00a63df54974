//! What a journey costs in the city. Figures only: who charges, and when, is the backend's.

use serde::{Deserialize, Serialize};

/// A tariff in minor units of the city's currency.
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

impl Tariff {
    /// Each figure with its key in the file.
    pub(super) fn figures(&self) -> [(&'static str, i64); 5] {
        [
            ("base_minor", self.base_minor),
            ("per_km_minor", self.per_km_minor),
            ("per_minute_minor", self.per_minute_minor),
            ("minimum_minor", self.minimum_minor),
            ("no_show_fee_minor", self.no_show_fee_minor),
        ]
    }
}
