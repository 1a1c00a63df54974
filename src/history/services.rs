//! The services of the reference backend as its monitor saw them at the end of the demand: instances
//! with their health, and who calls whom.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How well something is; worse is greater.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to say.
    #[default]
    Fine,
    /// Look at it.
    Warn,
    /// It fails.
    Bad,
}

impl Level {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its node.
    pub name: String,
    /// How often it was started before.
    pub incarnation: u32,
    /// Of its code.
    pub version: u32,
    /// Its machine.
    pub host: String,
    /// Seconds since its start.
    pub up_s: f64,
    /// Its worst check.
    pub level: Level,
    /// Checks that are not fine, in words.
    pub trouble: Vec<String>,
    /// What it serves, the platform's own left out.
    pub services: Vec<String>,
}

/// Calls from one service to another, by all instances that live, since they do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calls {
    /// The service, or the tier, that calls.
    pub from: String,
    /// The service that is called.
    pub to: String,
    /// Calls.
    pub calls: u64,
    /// Without an answer, or with an error.
    pub errors: u64,
    /// One-way news besides.
    pub news: u64,
    /// Calls and news a second, over the lives of the callers.
    pub per_s: f64,
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
}

/// Instances, and who calls whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceMap {
    /// By name.
    pub instances: Vec<Instance>,
    /// By who calls, then by who is called.
    pub calls: Vec<Calls>,
}

impl ServiceMap {
    /// True when nobody was seen.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    /// Every service that was seen, and the worst of its instances; a tier without services of its
    /// own, like `api`, stands under its own name.
    pub fn services(&self) -> BTreeMap<&str, Level> {
        let mut found: BTreeMap<&str, Level> = BTreeMap::new();
        for name in self.calls.iter().flat_map(|calls| [&calls.from, &calls.to]) {
            let serves = |instance: &&Instance| {
                let role = instance.name.split_once('/').map_or("", |(_, role)| role);
                instance.services.contains(name) || role.starts_with(&format!("{name}-"))
            };
            let worst = self.instances.iter().filter(serves).map(|one| one.level).max();
            // Nobody serves what is called: that is as bad as it gets.
            found.insert(name, worst.unwrap_or(Level::Bad));
        }
        found
    }
}
