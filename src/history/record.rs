//! The records of a history: one JSON object a line.

use std::{
    hash::{Hash as _, Hasher},
    rc::Rc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    answer::Answer,
    declares::Declares,
    op::{Op, OpKind},
    services::ServiceMap,
    times::Times,
};
use crate::base::{id::RobotId, name::NodeName, time::Time};

/// The version of the format; raised when a reader would misread.
pub const SCHEMA: u32 = 1;

/// How a line begins that is an op.
const OP: &[u8] = br#"{"type":"op","#;

/// One line of a history, told apart by `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// The first line: what ran.
    Run(Box<Header>),
    /// The run went on to its next part.
    Phase {
        /// Which.
        phase: Phase,
        /// When.
        #[serde(rename = "at_ns")]
        at: Time,
    },
    /// One op, finished.
    Op(Rc<Op>),
    /// Location updates that are counted instead of written one by one.
    Pings(Box<PingCount>),
    /// A location update that was counted, and is told again since it may matter to the offer that
    /// its driver read next: for the laws, not for the figures.
    Recalled(Rc<Op>),
    /// A robot was told something that it had not asked for: a hint, never a read.
    Told(Box<Told>),
    /// Something that robots were to be told unasked may never have come.
    Missed(Box<Missed>),
    /// A fault changed.
    Fault(FaultEvent),
    /// Planned updates that were never sent, since the generator could not.
    Skipped {
        /// When.
        #[serde(rename = "at_ns")]
        at: Time,
        /// How many.
        count: u64,
        /// Why, for people.
        why: String,
    },
    /// The last line: how the run ended.
    End(Ending),
}

impl Record {
    /// Reads a line. Most are ops that say so first, as we write them: those are read in one go, where any
    /// other record has to be taken apart before it is known what it is.
    pub fn from_line(line: &[u8]) -> serde_json::Result<Self> {
        if line.starts_with(OP) {
            return serde_json::from_slice(line).map(|op| Self::Op(Rc::new(op)));
        }
        serde_json::from_slice(line)
    }

    /// Adds it to the sum of a history: two histories with the same sum are the same, as far as
    /// anybody needs to know. Of an update that told nothing only who, when and how are summed up;
    /// there are too many of them for more.
    pub fn sum_into(&self, sum: &mut impl Hasher) {
        match self {
            Self::Op(op) | Self::Recalled(op) => {
                if op.kind() == OpKind::DriverPing && op.answer.is_empty() {
                    (op.id, op.robot.number, op.sent, op.done, op.outcome).hash(sum);
                } else {
                    op.hash(sum);
                }
            }
            // They are few. What cannot be written shows where it is written.
            _ => serde_json::to_string(self).unwrap_or_default().hash(sum),
        }
    }
}

/// Location updates that ended ok at the first attempt and told nothing, planned within the same
/// eight seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PingCount {
    /// Planned from this moment on.
    #[serde(rename = "from_ns")]
    pub from: Time,
    /// Planned while the demand ran.
    pub load: bool,
    /// How many in each second from then on.
    pub by_second: Vec<u32>,
    /// One more than the highest number of a driver.
    pub drivers: u32,
    /// done − planned.
    pub response_us: Times,
    /// done − sent.
    pub service_us: Times,
    /// sent − planned.
    pub lag_us: Times,
}

impl PingCount {
    /// None yet.
    pub fn new(from: Time, load: bool) -> Self {
        let times = Times::default();
        Self {
            from,
            load,
            by_second: Vec::new(),
            drivers: 0,
            response_us: times.clone(),
            service_us: times.clone(),
            lag_us: times,
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.response_us.0.len()
    }

    /// One more.
    pub fn add(&mut self, op: &Op) {
        let second = (op.planned - self.from).as_secs() as usize;
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        self.drivers = self.drivers.max(op.robot.number + 1);
        self.response_us.record(op.done - op.planned);
        self.service_us.record(op.done - op.sent);
        self.lag_us.record(op.sent - op.planned);
    }
}

/// What a robot was told unasked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// When.
    #[serde(rename = "at_ns")]
    pub at: Time,
    /// Whom.
    pub robot: RobotId,
    /// What.
    pub answer: Answer,
    /// The simulator told it, of what another robot had seen, and not the backend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

/// A gap in what is told unasked: whoever listened on that link may have missed something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// When it was noticed.
    #[serde(rename = "at_ns")]
    pub at: Time,
    /// The link, by its name in the mapping.
    pub link: String,
    /// What happened, for people.
    pub why: String,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// When.
    #[serde(rename = "at_ns")]
    pub at: Time,
    /// CPU seconds of the process with the robots while the demand ran.
    #[serde(default, rename = "generator_cpu_s", skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<f64>,
    /// The largest resident size of that process in MB.
    #[serde(default, rename = "generator_rss_mb", skip_serializing_if = "Option::is_none")]
    pub rss_mb: Option<f64>,
    /// CPU seconds of all nodes of the embedded backend while the demand ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_cpu_s: Option<f64>,
    /// CPU seconds of the fault proxy while the demand ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_cpu_s: Option<f64>,
    /// `INT` or `TERM` where a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// When the run heard of that signal.
    #[serde(default, rename = "signal_at_ns", skip_serializing_if = "Option::is_none")]
    pub signal_at: Option<Time>,
    /// It ended before it was through: what is missing says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_short: bool,
    /// Why all faults were called off before their time, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<String>,
    /// What could not be put back.
    #[serde(default)]
    pub left_behind: Vec<String>,
    /// Nodes of the embedded backend that ended though nobody killed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<NodeName>,
    /// The backend's services at the end of the demand, where somebody watches them.
    #[serde(default, skip_serializing_if = "ServiceMap::is_empty")]
    pub services: ServiceMap,
}

/// What a history is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name, version and commit of the tool.
    pub tool: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's id: the name of its folder.
    pub run: String,
    /// The seed, as given.
    pub seed: String,
    /// `real` or `virtual`.
    pub time: String,
    /// Start, RFC 3339 in UTC.
    pub started_at: String,
    /// Labels of the run.
    pub labels: std::collections::BTreeMap<String, String>,
    /// What the target declares.
    pub declares: Declares,
    /// Planted bugs that were switched on.
    pub plants: Vec<String>,
    /// Updates a second that the scenario asks for, on average over the demand.
    pub updates_per_s: f64,
    /// City seconds in one second of the run.
    pub time_scale: f64,
    /// SHA-256 of `plan.toml`.
    pub plan_sha256: String,
}

/// The parts of a run, in order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The backend comes up.
    Start,
    /// Robots sign on.
    Fill,
    /// The demand runs; time zero of a plan.
    Load,
    /// No new requests.
    Drain,
    /// Every fault is put back.
    Heal,
    /// Open jobs reach an end.
    Settle,
    /// Audits.
    ReadBack,
    /// Robots sign off, the backend stops.
    Stop,
}

/// A fault was injected, measured, healed or seen to have recovered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultEvent {
    /// The number of the fault in the run, from 0.
    pub fault: u32,
    /// Its kind, a word of the registry.
    pub kind: String,
    /// Whom it hit: nodes, or links written `from -> to`.
    pub victims: Vec<NodeName>,
    /// What happened.
    pub change: FaultChange,
    /// When it was due.
    #[serde(rename = "planned_ns")]
    pub planned: Time,
    /// When it was done.
    #[serde(rename = "at_ns")]
    pub at: Time,
    /// Location updates a second that it asks for, from then on until it is put back, beside those
    /// of the load.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_updates_per_s: f64,
    /// What was measured, for people.
    pub effect: String,
}

/// True for what need not be written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &f64) -> bool {
    value.abs() < f64::EPSILON
}

/// What happened to a fault.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FaultChange {
    /// It is in force.
    Injected,
    /// Its effect was seen.
    Bit,
    /// Its effect was looked for, and not seen.
    Missed,
    /// It was put back, and a probe says so.
    Healed,
    /// It was put back and the probe could not confirm it.
    HealUnverified,
    /// It could not be injected at all.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_is_read_the_same_wherever_it_says_what_it_is() {
        let op = r#""id":"7","robot":"driver/00001","ask":{"op":"driver.ping","seq":3},"planned_ns":1,
            "sent_ns":2,"done_ns":5,"outcome":"ok","attempts":[{"sent_ns":2,"done_ns":5,"outcome":"ok"}]"#;
        let first = Record::from_line(format!(r#"{{"type":"op",{op}}}"#).as_bytes()).unwrap();
        let last = Record::from_line(format!(r#"{{{op},"type":"op"}}"#).as_bytes()).unwrap();
        assert_eq!(first, last);
        assert!(matches!(&first, Record::Op(op) if op.id == 7 && op.ask.seq == Some(3)));
        let written = serde_json::to_string(&first).unwrap();
        assert!(written.as_bytes().starts_with(OP), "{written}");
        assert!(Record::from_line(br#"{"type":"op","id":"7"}"#).is_err());
    }
}
