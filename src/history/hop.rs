//! Hops: what a traced request did on its way through the services, one record for each of the four
//! ends of a message. Kept beside the history, never in it. The id of a robot's trace is arithmetic
//! on its run and op, so that one is found from the other.

use std::{fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::op::{Op, OpKind, Outcome};
use crate::base::{
    name::NodeName,
    time::{Time, nanos},
};

/// Bits of a trace's lower half below the number of the op: the attempt, from 1.
const ATTEMPT_BITS: u32 = 8;
/// The bit of a trace's lower half that tells a job's from an op's: no id of a job has it.
const JOB: u64 = 1 << 63;
/// The golden ratio in 64 bits: spreads numbers that follow each other.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The id of a trace: 128 bits, of which a robot's are the run's upper half, its op and its attempt.
/// Written as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

impl TraceId {
    /// The trace of an attempt, from 0, of the op of that number.
    pub fn of_op(run: u64, op: u64, attempt: u32) -> Self {
        let attempt = u64::from(attempt + 1) & ((1 << ATTEMPT_BITS) - 1);
        Self::of_halves(run, op << ATTEMPT_BITS | attempt)
    }

    /// The trace of these two halves.
    pub fn of_halves(upper: u64, lower: u64) -> Self {
        Self(u128::from(upper) << 64 | u128::from(lower))
    }

    /// The half that travels between the services, and is the id of the robot's own message.
    pub fn lower(self) -> u64 {
        self.0 as u64
    }

    /// What it is the trace of.
    pub fn subject(self) -> Subject {
        match self.lower() {
            lower if lower & JOB == 0 => Subject::Op(lower >> ATTEMPT_BITS),
            lower => Subject::Job(lower & !JOB),
        }
    }

    /// The attempt, from 0.
    pub fn attempt(self) -> u64 {
        (self.lower() & ((1 << ATTEMPT_BITS) - 1)).saturating_sub(1)
    }

    /// W3C trace context, sampled: `00-…-…-01`.
    pub fn traceparent(self) -> String {
        format!("00-{self}-{:016x}-01", self.lower())
    }
}

/// What a trace is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An attempt at the op of that number.
    Op(u64),
    /// What the backend did for the job of that id by itself.
    Job(u64),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Op(number) => write!(f, "op {number}"),
            Self::Job(id) => write!(f, "job {id}"),
        }
    }
}

/// The upper half of all traces of a run: FNV-1a of its id, for all that is asked of it is to tell
/// runs apart.
pub fn half_of_run(run: &str) -> u64 {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    run.bytes().fold(0xCBF2_9CE4_8422_2325, hash)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TraceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let read = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        read.map(Self).ok_or_else(|| format!("`{text}` is no trace: it has 32 hexadecimal digits"))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = CompactString::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id of a message within its trace: 16 hexadecimal digits; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId(pub u64);

impl MessageId {
    /// No message.
    pub const NONE: Self = Self(0);

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = CompactString::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The four ends of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HopKind {
    /// The caller sends.
    Req,
    /// The callee has it.
    In,
    /// The callee has answered.
    Out,
    /// The caller has the answer, or has given up.
    Rep,
}

impl HopKind {
    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Req => "REQ",
            Self::In => "IN",
            Self::Out => "OUT",
            Self::Rep => "REP",
        }
    }
}

/// One record of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Whose. The first key of a line: a reader that looks for few traces need not parse the rest.
    pub trace: TraceId,
    /// When.
    #[serde(rename = "at_ns")]
    pub at: Time,
    /// Of which message.
    pub message: MessageId,
    /// The message that was handled when this one was sent.
    #[serde(default, skip_serializing_if = "MessageId::is_none")]
    pub parent: MessageId,
    /// Which of its ends.
    #[serde(rename = "type")]
    pub kind: HopKind,
    /// The caller.
    pub from: NodeName,
    /// The callee; empty where it went to everybody who serves the path.
    pub to: NodeName,
    /// `/{tier}/{service}/{endpoint}`, or the path of the API.
    pub path: CompactString,
    /// The machine of who recorded it.
    pub host: CompactString,
    /// The availability zone of who recorded it; empty for robots.
    pub az: CompactString,
    /// Who recorded it: the node, and how often it was started before.
    pub instance: CompactString,
    /// Of OUT and REP: since IN and REQ.
    #[serde(default, rename = "took_ns", skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which ops are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// One location update in so many.
    pub pings_one_in: u32,
    /// One of the looks that robots take again and again in so many.
    pub looks_one_in: u32,
}

impl Sampling {
    /// Whether the op of that kind and number is. Asked on every location update: no more than a
    /// multiplication.
    pub fn takes(&self, op: OpKind, number: u64) -> bool {
        let one_in = match op {
            OpKind::DriverPing => self.pings_one_in,
            OpKind::DriverNextOffer
            | OpKind::DriverCurrentJob
            | OpKind::PassengerJobStatus
            | OpKind::PassengerCurrentJob => self.looks_one_in,
            _ => return true,
        };
        let spread = number.wrapping_mul(SPREAD) >> 32;
        one_in > 0 && spread.is_multiple_of(u64::from(one_in))
    }
}

/// How the requests of a run are marked as parts of traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracing {
    /// The upper half of its traces.
    pub run: u64,
    /// Which ops.
    pub sampling: Sampling,
}

impl Tracing {
    /// The trace of an attempt, from 0, at an op; none where it is not traced.
    pub fn of(&self, kind: OpKind, op: u64, attempt: u32) -> Option<TraceId> {
        self.sampling.takes(kind, op).then(|| TraceId::of_op(self.run, op, attempt))
    }

    /// The robots' own ends of an op, which its record tells: each attempt's REQ and REP.
    pub fn hops(&self, op: &Op) -> Vec<Hop> {
        if !self.sampling.takes(op.kind(), op.id) {
            return Vec::new();
        }
        let mut hops = Vec::with_capacity(2 * op.attempts.len());
        for (attempt, number) in op.attempts.iter().zip(0..) {
            let trace = TraceId::of_op(self.run, op.id, number);
            let req = Hop {
                trace,
                at: attempt.sent,
                message: MessageId(trace.lower()),
                parent: MessageId::NONE,
                kind: HopKind::Req,
                from: op.robot.to_string().as_str().into(),
                to: attempt.node.clone().unwrap_or_default(),
                path: op.kind().word().into(),
                host: CompactString::default(),
                az: CompactString::default(),
                instance: "robots".into(),
                took: None,
                error: None,
            };
            let (took, kind) = (Some(nanos(attempt.done - attempt.sent)), HopKind::Rep);
            let wrong = || attempt.error.clone().unwrap_or_else(|| "not ok".to_owned());
            let error = (attempt.outcome != Outcome::Ok).then(wrong);
            hops.push(req.clone());
            hops.push(Hop { at: attempt.done, kind, took, error, ..req });
        }
        hops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_found_from_its_op_and_back() {
        let trace = TraceId::of_op(half_of_run("evening-7"), 4_711, 2);
        assert_eq!((trace.subject(), trace.attempt()), (Subject::Op(4_711), 2));
        let job = TraceId::of_halves(1, 1 << 63 | 0x0113_f04e_c540_0000);
        assert_eq!(job.subject(), Subject::Job(77_669_839_702_851_584));
        assert_eq!(trace.to_string().parse(), Ok(trace));
        assert_ne!(trace, TraceId::of_op(half_of_run("evening-8"), 4_711, 2));
        let parent = trace.traceparent();
        let parts: Vec<&str> = parent.split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"));
        assert!(parts[1].ends_with(parts[2]), "{parent}");
        for wrong in ["", "12", "0x00000000000000000000000000000001"] {
            assert!(wrong.parse::<TraceId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn moves_are_traced_in_full_and_pings_one_in_so_many() {
        let sampling = Sampling { pings_one_in: 100, looks_one_in: 1 };
        let taken = |op, many: u64| (0..many).filter(|number| sampling.takes(op, *number)).count();
        assert_eq!(taken(OpKind::PassengerRequestJob, 500), 500);
        assert_eq!(taken(OpKind::PassengerJobStatus, 500), 500);
        let pings = taken(OpKind::DriverPing, 100_000);
        assert!((800..1_200).contains(&pings), "{pings} of 100,000");
        let none = Sampling { pings_one_in: 0, looks_one_in: 0 };
        assert!(!none.takes(OpKind::DriverPing, 0) && !none.takes(OpKind::DriverCurrentJob, 7));
    }

    #[test]
    fn a_hop_reads_back_and_its_line_begins_with_its_trace() {
        let hop = Hop {
            trace: TraceId::of_op(1, 2, 0),
            at: Time(3),
            message: MessageId(4),
            parent: MessageId::NONE,
            kind: HopKind::Req,
            from: "a/api-1".into(),
            to: "b/core-1".into(),
            path: "/core/job/get".into(),
            host: "127.0.0.1".into(),
            az: "a".into(),
            instance: "a/api-1#0".into(),
            took: None,
            error: None,
        };
        let line = serde_json::to_string(&hop).unwrap();
        assert!(line.starts_with(&format!("{{\"trace\":\"{}\"", hop.trace)), "{line}");
        assert!(line.contains(r#""type":"REQ""#), "{line}");
        assert_eq!(serde_json::from_str::<Hop>(&line).unwrap(), hop);
    }
}
