//! What a target declares about itself, so that laws can judge it. Recorded with every run.

use serde::{Deserialize, Serialize};

use super::{answer::JobState, op::OpKind};
use crate::base::span::Span;

/// Declarations of a target; the defaults are those of the embedded backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declares {
    /// Its name.
    pub name: String,
    /// `local`, `staging`, `production`.
    pub environment: String,
    /// The operations it maps.
    pub ops: Vec<OpKind>,
    /// The moves of a job's state that the backend may make, whoever asks.
    pub transitions: Vec<(JobState, JobState)>,
    /// An accepted job can go back to be offered.
    pub reassigns: bool,
    /// The backend may take an accepted job from its driver without anybody asking (one that fell
    /// silent, say).
    pub releases_alone: bool,
    /// Live jobs that one driver may hold.
    pub jobs_per_driver: u32,
    /// How stale a read may be: zero is linearizable.
    pub read_delay: Span,
    /// Life of an offer.
    pub offer_ttl: Span,
    /// Life of a search for a driver.
    pub search_ttl: Span,
    /// Life of an idempotency key.
    pub idempotency_ttl: Span,
    /// Life of a token.
    pub token_ttl: Span,
    /// How old a position may be and still be used.
    pub ping_ttl: Span,
    /// How far a driver may be from the pickup as the crow flies, in metres.
    pub reach_m: f64,
    /// How far a driver may drift from an acknowledged position, in metres a second of its age.
    pub drift_m_per_s: f64,
    /// After this long without a fault a move that is the backend's own must have been made.
    pub settle_bound: Span,
    /// It can be told that time runs faster.
    pub scaled_time: bool,
    /// How a driver hears of an offer.
    #[serde(skip_serializing_if = "Offers::is_usual")]
    pub offers: Offers,
}

/// How a driver hears of an offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Offers {
    /// It rides in the answer to a ping.
    #[default]
    Ping,
    /// A free driver asks for it.
    Poll {
        /// How often.
        every: Span,
    },
    /// The backend tells it unasked.
    Push,
    /// The passenger sees whom the backend has in mind, and the simulator tells that driver: no
    /// offer of the backend's own is ever seen.
    Relay,
}

impl Offers {
    fn is_usual(&self) -> bool {
        *self == Self::Ping
    }
}

impl Default for Declares {
    fn default() -> Self {
        use JobState::{
            Accepted, Arrived, Cancelled, Completed, Expired, Offered, PickedUp, Requested,
        };
        Self {
            name: "embedded".into(),
            environment: "local".into(),
            ops: OpKind::ALL.to_vec(),
            transitions: vec![
                (Requested, Offered),
                (Requested, Cancelled),
                (Requested, Expired),
                (Offered, Requested),
                (Offered, Accepted),
                (Offered, Cancelled),
                (Offered, Expired),
                (Accepted, Arrived),
                (Accepted, Requested),
                (Accepted, Cancelled),
                (Arrived, PickedUp),
                (Arrived, Requested),
                (Arrived, Cancelled),
                (PickedUp, Completed),
            ],
            reassigns: true,
            releases_alone: false,
            jobs_per_driver: 1,
            read_delay: Span::secs(0),
            offer_ttl: Span::secs(15),
            search_ttl: Span::secs(60),
            idempotency_ttl: Span::secs(86_400),
            token_ttl: Span::secs(900),
            ping_ttl: Span::secs(30),
            reach_m: 5_000.0,
            drift_m_per_s: 0.0,
            settle_bound: Span::secs(20),
            scaled_time: true,
            offers: Offers::Ping,
        }
    }
}
