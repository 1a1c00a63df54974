//! A toxic as the API writes it: name, type, stream, toxicity and attributes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::{
    base::{dist::Around, suggest::must_be_one_of},
    chaos::provider::{Per, Toxic as Harm, Toxicity, Way},
};

/// One toxic of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Toxic {
    pub attributes: Map<String, Value>,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub stream: Way,
    pub toxicity: f64,
    /// Ours: drawn for each connection, as Toxiproxy does, or for each HTTP/1.1 request.
    #[serde(rename = "toxicity_per", skip_serializing_if = "Per::is_usual")]
    pub per: Per,
}

/// A toxic as it is sent.
#[derive(Debug, Deserialize)]
struct Sent {
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    stream: Option<String>,
    toxicity: Option<f64>,
    toxicity_per: Option<Per>,
}

/// A type of toxic, its attributes, and what they make.
struct Kind {
    name: &'static str,
    attributes: &'static [&'static str],
    harm: fn(&[u64]) -> Harm,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "latency",
        attributes: &["latency", "jitter"],
        harm: |a| Harm::Latency { latency_ms: a[0], jitter_ms: a[1], around: Around::Uniform },
    },
    Kind {
        name: "bandwidth",
        attributes: &["rate"],
        harm: |a| Harm::Bandwidth { rate: a[0].saturating_mul(1_000), each: true },
    },
    Kind {
        name: "slow_close",
        attributes: &["delay"],
        harm: |a| Harm::SlowClose { delay_ms: a[0] },
    },
    Kind { name: "timeout", attributes: &["timeout"], harm: |a| Harm::Timeout { close_ms: a[0] } },
    Kind { name: "reset_peer", attributes: &["timeout"], harm: |a| Harm::Reset { after_ms: a[0] } },
    Kind {
        name: "slicer",
        attributes: &["average_size", "size_variation", "delay"],
        harm: |a| Harm::Slicer { size: small(a[0]), variation: small(a[1]), delay_us: a[2] },
    },
    Kind {
        name: "limit_data",
        attributes: &["bytes"],
        harm: |a| Harm::LimitData { bytes: a[0], politely: true },
    },
];

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Toxic {
    /// Reads a new toxic.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        let sent: Sent = serde_json::from_slice(body).map_err(Refusal::bad)?;
        let stream = match sent.stream.as_deref() {
            None | Some("downstream") => Way::Downstream,
            Some("upstream") => Way::Upstream,
            Some(_) => {
                let what = "stream was invalid, can be either upstream or downstream";
                return Err(Refusal::new(http::StatusCode::BAD_REQUEST, what));
            }
        };
        kind_of(&sent.kind)?;
        let word = if stream == Way::Upstream { "upstream" } else { "downstream" };
        let usual = format!("{}_{word}", sent.kind);
        let toxic = Self {
            attributes: Map::new(),
            name: if sent.name.is_empty() { usual } else { sent.name.clone() },
            kind: sent.kind.clone(),
            stream,
            toxicity: 1.0,
            per: Per::Connection,
        };
        toxic.with(sent)
    }

    /// The same with what is sent instead of what it had.
    pub fn updated(&self, body: &[u8]) -> Result<Self, Refusal> {
        self.clone().with(serde_json::from_slice(body).map_err(Refusal::bad)?)
    }

    fn with(mut self, sent: Sent) -> Result<Self, Refusal> {
        self.toxicity = sent.toxicity.unwrap_or(self.toxicity);
        if !(0.0..=1.0).contains(&self.toxicity) {
            return Err(Refusal::bad("toxicity must be from 0 to 1"));
        }
        self.per = sent.toxicity_per.unwrap_or(self.per);
        let known = kind_of(&self.kind)?.attributes;
        for (name, value) in sent.attributes {
            if !known.contains(&name.as_str()) {
                let hint = must_be_one_of(&name, known.iter().copied());
                return Err(Refusal::bad(format!("attribute `{name}` is not known: {hint}")));
            }
            if !value.is_u64() {
                let what = format!("attribute `{name}` must be a whole number, 0 or more");
                return Err(Refusal::bad(what));
            }
            self.attributes.insert(name, value);
        }
        for name in known {
            self.attributes.entry(*name).or_insert_with(|| 0.into());
        }
        let of = |name: &str| self.attributes.get(name).and_then(Value::as_u64).unwrap_or(0);
        if self.kind == "slicer" && of("size_variation") >= of("average_size") {
            return Err(Refusal::bad("size_variation must be smaller than average_size"));
        }
        Ok(self)
    }

    /// What it does to a connection.
    pub fn harm(&self) -> Result<Harm, Refusal> {
        let kind = kind_of(&self.kind)?;
        let value = |name: &&str| self.attributes.get(*name).and_then(Value::as_u64).unwrap_or(0);
        let values: Vec<u64> = kind.attributes.iter().map(value).collect();
        Ok(Harm::Partly {
            way: Some(self.stream),
            toxicity: Some(Toxicity { share: self.toxicity, per: self.per }),
            of: vec![(kind.harm)(&values)],
        })
    }
}

fn kind_of(name: &str) -> Result<&'static Kind, Refusal> {
    let wrong = || {
        let hint = must_be_one_of(name, KINDS.iter().map(|kind| kind.name));
        Refusal::new(http::StatusCode::BAD_REQUEST, format!("invalid toxic type: {hint}"))
    };
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(wrong)
}
