//! `plan.toml`: a run, resolved. Running it again needs nothing else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    base::{file::FileError, rng::Rng},
    chaos::plan::{Plan as FaultPlan, Resolved},
    city::City,
    scenario::Scenario,
};

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// A run, resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name: its file's stem.
    pub name: String,
    /// The seed, as given.
    pub seed: String,
    /// `real` or `virtual`.
    pub time: String,
    /// Planted bugs that are switched on.
    pub plants: Vec<String>,
    /// Labels of the run.
    pub labels: BTreeMap<String, String>,
    /// The scenario, with everything that was left out.
    pub scenario: Scenario,
    /// The faults with their victims and offsets.
    pub faults: Resolved,
    /// The city's files: name to text.
    pub city: BTreeMap<String, String>,
}

/// What the command line says of a run beyond the scenario's file.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Instead of the scenario's city.
    pub city: Option<String>,
    /// Instead of the scenario's fault plan; `none` for none.
    pub chaos: Option<String>,
    /// The seed; drawn where it is left out.
    pub seed: Option<String>,
    /// Instead of the scenario's duration.
    pub duration: Option<crate::base::span::Span>,
    /// `key=value` over the scenario's file.
    pub sets: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Planted bugs.
    pub plants: Vec<String>,
}

impl RunPlan {
    /// The text of `plan.toml`.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// SHA-256 of its text.
    pub fn sha256(&self) -> String {
        let text = self.to_toml().unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The plan of a recorded run.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        crate::base::file::load(path)
    }

    /// The root of the run's random streams.
    pub fn rng(&self) -> Rng {
        Rng::from_seed(&self.seed)
    }

    /// The city, from the plan's own copy of its files.
    pub fn city(&self) -> Result<City, FileError> {
        City::from_files(Path::new(&self.scenario.city), &self.city)
    }
}
