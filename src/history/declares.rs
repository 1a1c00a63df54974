//! What a target declares about itself, so that laws can judge it. Recorded with every run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    answer::JobState,
    op::{OpKind, OpSet},
    probe::{Probe, ProbeSet},
};
use crate::base::span::Span;

/// Declarations of a target; the defaults are those of the embedded backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on one another")]
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
    /// An accept names the offer and not the job alone, so that one offer cannot stand for another.
    #[serde(skip_serializing_if = "is_true")]
    pub named_offers: bool,
    /// Operations that the backend does by itself: no robot asks for them, and their effects are
    /// expected all the same (`driver.accept`: a job is born with its driver).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub automatic: Vec<OpKind>,
    /// Operations whose requests do not carry the robot's idempotency key, though robots have one for
    /// them (`passenger.request_job`, `passenger.pay`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keyless: Vec<OpKind>,
    /// What is charged for a job that is not driven to its end.
    #[serde(skip_serializing_if = "Fees::is_usual")]
    pub fees: Fees,
    /// How sums are to be read.
    #[serde(skip_serializing_if = "Money::is_usual")]
    pub money: Money,
    /// The probes that are sent to it: none where there are no rogues, or it cannot be asked wrongly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// A robot may be signed on with two phones at once, each with a token of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub second_phones: bool,
}

/// What is charged for a job that is not driven to its end, in minor units; nothing, where it does
/// not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fees {
    /// The passenger gave up a job that had a driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_minor: Option<i64>,
    /// The passenger was not at the kerb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_show_minor: Option<i64>,
}

impl Fees {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// How sums are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Money {
    /// Digits of the minor unit: 2 where a hundred of them make one.
    pub minor_units: u8,
    /// Two sums of one job may differ by so many minor units.
    pub rounding_minor: i64,
    /// The part of a fare that the driver does not get.
    pub commission: f64,
}

impl Default for Money {
    fn default() -> Self {
        Self { minor_units: 2, rounding_minor: 0, commission: 0.0 }
    }
}

impl Money {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Declares {
    /// The operations that robots ask: those that it maps and does not do by itself.
    pub fn asked(&self) -> OpSet {
        self.ops.iter().copied().filter(|op| !self.does_alone(*op)).collect()
    }

    /// The probes that are sent to it.
    pub fn probed(&self) -> ProbeSet {
        self.probes.iter().copied().collect()
    }

    /// Whether the backend does that by itself.
    pub fn does_alone(&self, op: OpKind) -> bool {
        self.automatic.contains(&op)
    }

    /// True where no offer of the backend's own is ever seen: the simulator makes them.
    pub fn synthetic_offers(&self) -> bool {
        self.offers == Offers::Relay
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(truth: &bool) -> bool {
    !*truth
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_true(truth: &bool) -> bool {
    *truth
}

/// How a driver hears of an offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
            named_offers: true,
            automatic: Vec::new(),
            keyless: Vec::new(),
            fees: Fees::default(),
            money: Money::default(),
            probes: Vec::new(),
            second_phones: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_not_written_and_old_headers_are_read() {
        let text = serde_json::to_string(&Declares::default()).unwrap();
        for field in ["offers", "named_offers", "automatic", "keyless", "fees", "money"] {
            assert!(!text.contains(&format!("\"{field}\"")), "{field} in {text}");
        }
        assert_eq!(serde_json::from_str::<Declares>(&text).unwrap(), Declares::default());
        let unusual = Declares {
            offers: Offers::Poll { every: Span::secs(2) },
            automatic: vec![OpKind::DriverAccept],
            fees: Fees { cancel_minor: Some(300), no_show_minor: None },
            money: Money { commission: 0.2, ..Money::default() },
            ..Declares::default()
        };
        let text = serde_json::to_string(&unusual).unwrap();
        assert_eq!(serde_json::from_str::<Declares>(&text).unwrap(), unusual);
    }

    #[test]
    fn robots_ask_what_is_mapped_and_not_automatic() {
        let ops = vec![OpKind::DriverAccept, OpKind::DriverArrive];
        let declares =
            Declares { ops, automatic: vec![OpKind::DriverAccept], ..Declares::default() };
        let asked = declares.asked();
        assert!(asked.has(OpKind::DriverArrive));
        assert!(!asked.has(OpKind::DriverAccept) && !asked.has(OpKind::DriverPing));
        assert!(!declares.synthetic_offers());
    }
}
