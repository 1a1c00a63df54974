//! The grammar of `[driver.ping.batch]`: location updates that go out together. Says nothing about
//! what it means: that is `compiled.rs` beside it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::grammar::{Pick, When};
use crate::{base::span::Span, history::answer::Refusal};

/// Location updates that go out as one request. Each stays an op of its own, planned when its driver
/// planned it; what becomes of the request becomes of each, unless `results` says more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The most updates of one request: with so many it goes out at once.
    pub most: u32,
    /// The oldest of them waits no longer for company.
    #[schemars(with = "String")]
    pub within: Span,
    /// Whose updates go together.
    #[serde(default)]
    pub of: Of,
    /// One update, as JSON: templates in the words of its own driver. The step's `json` has the list
    /// of them as `{{ batch }}`.
    #[schemars(with = "serde_json::Value")]
    pub each: toml::Value,
    /// Updates that may wait, of all drivers together; one more certainly is not sent.
    #[serde(default = "queue")]
    pub queue: u32,
    /// With `of = "all"`: requests that may be under way at once. Those of one driver always go one
    /// after the other.
    #[serde(default = "at_once")]
    pub at_once: u32,
    /// Where the answer says what became of each update.
    #[serde(default)]
    pub results: Option<Results>,
}

/// Whose updates go together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Those of one driver, who sends them.
    #[default]
    Driver,
    /// Those of all drivers, through one gateway: `me` is the auditor (`[robot.auditor]`).
    All,
}

/// Where the answer says what became of each update. Rules and readings (`read` of the step) are of
/// one entry: `body` is that entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The entries: a JSONPath. Without `id` they are in the order of the updates.
    pub each: String,
    /// What names the update of an entry.
    #[serde(default)]
    pub id: Option<Pick>,
    /// The same of an update: a template, such as `{{ ask.seq }}`.
    #[serde(default)]
    pub is: Option<String>,
    /// It certainly did not happen, for that reason.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, When>")]
    pub refused: BTreeMap<Refusal, When>,
    /// It certainly did not happen, and may go better the next time.
    #[serde(default)]
    pub undone: Option<When>,
    /// It happened. Left out: the status of the whole answer says so.
    #[serde(default)]
    pub ok: Option<When>,
    /// The backend's words on what went wrong.
    #[serde(default)]
    pub error: Option<String>,
}

fn queue() -> u32 {
    100_000
}

fn at_once() -> u32 {
    4
}
