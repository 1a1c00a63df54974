//! What a target read out of a backend's answer, in the words of the job flow.

use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{id::Id, place::Place};

/// States of a job, in the order of the flow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Asked for; nobody has been offered it yet.
    Requested,
    /// Shown to a driver.
    Offered,
    /// A driver has taken it.
    Accepted,
    /// The driver is at the kerb.
    Arrived,
    /// On the way.
    PickedUp,
    /// Over, as wished. Terminal.
    Completed,
    /// Given up by a side. Terminal.
    Cancelled,
    /// Nobody took it in time. Terminal.
    Expired,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Offered,
        Self::Accepted,
        Self::Arrived,
        Self::PickedUp,
        Self::Completed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// True for the three states that a job never leaves.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired)
    }

    /// True while a driver holds the job.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Accepted | Self::Arrived | Self::PickedUp)
    }

    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Arrived => "arrived",
            Self::PickedUp => "picked_up",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// One numbered assignment of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    /// From 1.
    pub number: u32,
    /// The account of the driver who accepted.
    pub driver: Id,
    /// True once the driver was released from it before the job's end.
    #[serde(default)]
    pub released: bool,
}

/// A job as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// The job.
    pub id: Id,
    /// Its state.
    pub state: JobState,
    /// The number of the newest assignment; 0 before the first accept.
    #[serde(default)]
    pub assignment: u32,
    /// The driver who holds it, or held it at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Id>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passenger: Option<Id>,
    /// The key of the request that asked for it, where the backend shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Id>,
    /// Where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup: Option<Place>,
    /// Where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropoff: Option<Place>,
    /// The final fare in minor units, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fare_minor: Option<i64>,
    /// Every assignment so far (audits).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignments: Vec<Assignment>,
}

/// A job shown to one driver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct OfferView {
    /// The offer.
    pub id: Id,
    /// The job.
    pub job: Id,
    /// Where the job begins.
    pub pickup: Place,
    /// Where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropoff: Option<Place>,
    /// How long it is still open, in milliseconds, by the backend's word.
    pub expires_in_ms: u64,
    /// Quoted fare in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fare_minor: Option<i64>,
}

/// Money taken for a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ChargeView {
    /// The charge.
    pub id: Id,
    /// The job.
    pub job: Id,
    /// Minor units, net of refunds.
    pub amount_minor: i64,
    /// True for a fee on a cancelled job or a no-show.
    #[serde(default)]
    pub fee: bool,
}

/// A free driver near a passenger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct NearDriver {
    /// The driver's account.
    pub driver: Id,
    /// Where the backend believes it is.
    pub at: Place,
    /// Seconds to the passenger.
    pub eta_s: u32,
}

/// What a journey would cost and take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Quote {
    /// Minor units.
    pub fare_minor: i64,
    /// Seconds on the road.
    pub trip_s: u32,
    /// Seconds until a car is there, where one is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u32>,
}

/// What can be wrong with a live job.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum IssueRule {
    /// Nobody has taken it for too long.
    NoDriver,
    /// Nothing is heard of the driver who holds it.
    SilentDriver,
    /// The driver is not at the pickup although it should be.
    LatePickup,
    /// Another.
    #[serde(other)]
    Other,
}

/// Something that the backend says is wrong with a live job now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct IssueView {
    /// What.
    pub rule: IssueRule,
    /// The job.
    pub job: Id,
    /// The driver whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Id>,
    /// For how long, in milliseconds.
    #[serde(default)]
    pub open_ms: u64,
}

/// Why a backend refused, in our words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The token is missing, expired or wrong (401).
    Unauthenticated,
    /// Not allowed (403).
    Forbidden,
    /// No such thing (404, 410).
    NotFound,
    /// The state does not allow it, somebody was first (409).
    Conflict,
    /// The input is wrong (400, 422).
    Invalid,
    /// Too many requests (429).
    Limited,
    /// Anything else that certainly did not happen.
    Other,
}

/// Everything that a target may have read from one answer; empty fields were not there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The robot's account at the backend (register, login).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Id>,
    /// One job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Rc<JobView>>,
    /// Many jobs (audits).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobView>,
    /// An offer that is pending for the driver who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Rc<OfferView>>,
    /// Free drivers nearby.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<NearDriver>,
    /// A price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// Charges: the one of a payment, or a page of them; of `audit.earnings` and `audit.refunds` the
    /// sums that drivers got, and passengers got back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<ChargeView>,
    /// Live issues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<IssueView>,
    /// Where a page of an audit goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Id>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// When it may be asked again, in milliseconds from the answer on, where it was too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// The backend says that it has seen this idempotency key before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

impl Answer {
    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
