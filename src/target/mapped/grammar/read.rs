//! The grammar of what is read out of an answer. Says nothing about what it means: that is `read.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that is picked out of an answer: a JSONPath, or more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a JSONPath in quotes, or a table with some of path, expr, is, as, of"
)]
pub enum Pick {
    /// A JSONPath: its first match.
    Path(String),
    /// With a reading.
    More(PickMore),
}

/// A pick with a reading.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PickMore {
    /// A JSONPath: its first match.
    pub path: Option<String>,
    /// An expression, instead.
    pub expr: Option<String>,
    /// This value, whatever came.
    #[schemars(with = "Option<serde_json::Value>")]
    pub is: Option<toml::Value>,
    /// Its unit, where it is not ours.
    #[serde(rename = "as")]
    pub unit: Option<Unit>,
    /// It is not the job's id but what is kept of the job under that name.
    pub of: Option<String>,
}

/// Units of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Money in major units, `12.50`, as a number or a text.
    Major,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Micro-degrees.
    MicroDegrees,
}

/// What is read out of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Read {
    /// The robot's account.
    pub account: Option<Pick>,
    /// One job.
    pub job: Option<JobRead>,
    /// Many jobs.
    pub jobs: Option<JobRead>,
    /// An offer for the driver who asked.
    pub offer: Option<OfferRead>,
    /// Free drivers nearby.
    pub drivers: Option<NearRead>,
    /// A price.
    pub quote: Option<QuoteRead>,
    /// Charges.
    pub charges: Option<ChargeRead>,
    /// Where a page goes on.
    pub next: Option<Pick>,
    /// The backend says that it has seen this key before.
    pub replayed: Option<Pick>,
}

impl Read {
    /// With what `other` reads beside it; its own comes first.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            account: self.account.or(other.account),
            job: self.job.or(other.job),
            jobs: self.jobs.or(other.jobs),
            offer: self.offer.or(other.offer),
            drivers: self.drivers.or(other.drivers),
            quote: self.quote.or(other.quote),
            charges: self.charges.or(other.charges),
            next: self.next.or(other.next),
            replayed: self.replayed.or(other.replayed),
        }
    }
}

/// A place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceRead {
    /// Degrees north.
    pub lat: Pick,
    /// Degrees east.
    pub lon: Pick,
}

/// A job. Paths are from each entry of `each`, or from the whole answer without it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobRead {
    /// The entries: a JSONPath.
    pub each: Option<String>,
    /// The job's id; left out: the one that was asked for.
    pub id: Option<Pick>,
    /// A word of `[state]`; left out: the state that follows from the operation.
    pub state: Option<Pick>,
    /// The number of its newest assignment.
    pub assignment: Option<Pick>,
    /// The driver's account.
    pub driver: Option<Pick>,
    /// The passenger's account.
    pub passenger: Option<Pick>,
    /// The key (`ask.key`) of the request that asked for it.
    pub key: Option<Pick>,
    /// Where it begins.
    pub pickup: Option<PlaceRead>,
    /// Where it ends.
    pub dropoff: Option<PlaceRead>,
    /// The final fare in minor units.
    pub fare: Option<Pick>,
    /// Its assignments.
    pub assignments: Option<AssignmentRead>,
}

/// An assignment of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentRead {
    /// The entries: a JSONPath.
    pub each: String,
    /// Its number, from 1.
    pub number: Pick,
    /// The driver's account.
    pub driver: Pick,
    /// Whether the driver was released before the job's end.
    #[serde(default)]
    pub released: Option<Pick>,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfferRead {
    /// The offer's id; left out: the job's.
    #[serde(default)]
    pub id: Option<Pick>,
    /// The job's id.
    pub job: Pick,
    /// Where the job begins.
    #[serde(default)]
    pub pickup: Option<PlaceRead>,
    /// Where it ends.
    #[serde(default)]
    pub dropoff: Option<PlaceRead>,
    /// How long it is open still, in milliseconds; left out: `declares.offer_ttl`.
    #[serde(default)]
    pub expires_in: Option<Pick>,
    /// The quoted fare in minor units.
    #[serde(default)]
    pub fare: Option<Pick>,
}

/// Free drivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearRead {
    /// The entries: a JSONPath.
    pub each: String,
    /// The driver's account.
    pub driver: Pick,
    /// Where it is.
    pub at: PlaceRead,
    /// Seconds to the passenger.
    #[serde(default)]
    pub eta: Option<Pick>,
}

/// A price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuoteRead {
    /// Minor units.
    pub fare: Pick,
    /// Seconds on the road.
    #[serde(default)]
    pub trip: Option<Pick>,
    /// Seconds until a car is there.
    #[serde(default)]
    pub eta: Option<Pick>,
}

/// A charge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChargeRead {
    /// The entries: a JSONPath; left out: the whole answer is one.
    #[serde(default)]
    pub each: Option<String>,
    /// Its id.
    pub id: Pick,
    /// The job's id; left out: the one that was asked for.
    #[serde(default)]
    pub job: Option<Pick>,
    /// Minor units.
    pub amount: Pick,
    /// Whether it is a fee on a cancelled job or a no-show.
    #[serde(default)]
    pub fee: Option<Pick>,
}
