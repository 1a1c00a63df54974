//! Traces as people and tools see them: the block of the summary, and the text view of one trace.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};

use super::summary::TimesSummary;
use crate::history::hop::{Hop, HopKind, MessageId, TraceId};

/// No trace is deeper; what says it is goes round in a circle.
const DEPTH_MAX: usize = 32;

/// `traces` of the summary, and `traces/figures.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TracesSummary {
    /// Hops that reached the collector.
    pub recorded: u64,
    /// Hops that were dropped where they were made, since nothing waits for a trace.
    pub dropped: u64,
    /// Hops that were handed over and never came.
    pub lost: u64,
    /// Hops that were recorded, counted, and not kept: the run's folder holds no more.
    pub unwritten: u64,
    /// One location update in so many was traced.
    pub pings_one_in: u32,
    /// One look in so many was traced.
    pub looks_one_in: u32,
    /// The slowest of each operation, the slowest first.
    pub slowest: Vec<SlowTrace>,
    /// Every endpoint that answered a traced message.
    pub endpoints: Vec<EndpointSummary>,
    /// What was sent as OpenTelemetry, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<ExportSummary>,
    /// What went wrong with the collecting itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How the export went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportSummary {
    /// Spans that the sink took.
    pub sent: u64,
    /// Spans that it was not given, or did not take.
    pub dropped: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// One slow trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct SlowTrace {
    pub trace: TraceId,
    pub op: String,
    pub took_us: u64,
}

/// One endpoint, as its instances saw it: traced messages only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndpointSummary {
    /// `/{tier}/{service}/{endpoint}`, or a path of the API.
    pub path: String,
    /// Answers.
    pub count: u64,
    /// Those that were errors.
    pub errors: u64,
    /// From the arrival to the answer.
    pub took_us: TimesSummary,
    /// Answers a second at the end of the run: exponentially weighted over 1, 5 and 15 minutes.
    pub per_s: [f64; 3],
}

/// One trace that the report shows, and why.
#[derive(Debug, Clone)]
pub struct ShownTrace {
    /// Which.
    pub trace: TraceId,
    /// Why it is shown, for people.
    pub why: String,
    /// Its hops, in the order of time.
    pub hops: Vec<Hop>,
}

/// How deep each message lies below the first.
pub fn depths(hops: &[Hop]) -> BTreeMap<MessageId, usize> {
    let mut parents = BTreeMap::new();
    for hop in hops {
        let parent: &mut MessageId = parents.entry(hop.message).or_default();
        // Some ends of a message know its parent and some do not.
        *parent = (*parent).max(hop.parent);
    }
    let depth = |message: &MessageId| {
        let up = std::iter::successors(Some(message), |message| parents.get(message));
        up.take(DEPTH_MAX).take_while(|message| parents.contains_key(message)).count() - 1
    };
    parents.keys().map(|message| (*message, depth(message))).collect()
}

/// The text view of one trace: its hops in the order of time, one a line, indented by depth, with
/// the error under the call that made it.
pub fn text(hops: &[Hop]) -> String {
    let Some(first) = hops.first() else { return String::new() };
    let depths = depths(hops);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "trace {}  (begins at {})", first.trace, first.at);
    for hop in hops {
        let depth = depths.get(&hop.message).copied().unwrap_or_default();
        let (indent, after) = ("  ".repeat(depth), millis(hop.at.since(first.at).as_nanos()));
        let ends = match (hop.kind, hop.to.as_str()) {
            (HopKind::Req | HopKind::Rep, "") => format!("{} → all", hop.from),
            (HopKind::Req | HopKind::Rep, to) => format!("{} → {to}", hop.from),
            (HopKind::In | HopKind::Out, to) => to.to_owned(),
        };
        let took = hop.took.map_or(String::new(), |took| format!("  {}", millis(took.into())));
        let (kind, path) = (hop.kind.word(), &hop.path);
        let _ = writeln!(text, "{after:>12}  {indent}{kind:<3} {path}  {ends}{took}");
        if let Some(error) = &hop.error {
            let _ = writeln!(text, "{:>12}  {indent}    error: {error}", "");
        }
    }
    text
}

/// Nanoseconds in milliseconds, for people.
pub(super) fn millis(nanos: u128) -> String {
    format!("{:.3} ms", nanos as f64 / 1e6)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::time::Time;

    /// A robot's request that calls two services, of which the second fails.
    pub fn sample() -> Vec<Hop> {
        let trace = TraceId::of_op(1, 2, 0);
        let hop = |at_us: u64, message, parent, kind, ends: (&str, &str), path: &str| Hop {
            trace,
            at: Time(at_us * 1_000),
            message: MessageId(message),
            parent: MessageId(parent),
            kind,
            from: ends.0.into(),
            to: ends.1.into(),
            path: path.into(),
            host: "virtual".into(),
            az: String::new().into(),
            instance: String::new().into(),
            took: None,
            error: None,
        };
        let (robot, call) = (("passenger/00001", "a/api-1"), ("a/api-1", "a/core-1"));
        let mut hops = vec![
            hop(0, 513, 0, HopKind::Req, robot, "passenger.quote"),
            hop(8_000, 513, 0, HopKind::In, robot, "/v1/customer/quote"),
            hop(8_000, 7, 513, HopKind::Req, call, "/core/fare/quote"),
            hop(8_200, 7, 0, HopKind::In, call, "/core/fare/quote"),
            hop(8_300, 7, 0, HopKind::Out, call, "/core/fare/quote"),
            hop(8_500, 7, 513, HopKind::Rep, call, "/core/fare/quote"),
            hop(8_500, 513, 0, HopKind::Out, robot, "/v1/customer/quote"),
            hop(16_500, 513, 0, HopKind::Rep, robot, "passenger.quote"),
        ];
        for (at, took) in [(4, 100), (5, 500), (6, 500), (7, 16_500)] {
            hops[at].took = Some(took * 1_000);
        }
        hops[5].error = Some("Invalid: out of town".to_owned());
        hops
    }

    #[test]
    fn the_text_is_in_time_order_indented_and_tells_the_error_under_its_call() {
        let text = text(&sample());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 10, "{text}");
        assert!(lines[1].contains("  REQ passenger.quote  passenger/00001 → a/api-1"), "{text}");
        assert!(lines[3].contains("8.000 ms    REQ /core/fare/quote  a/api-1 → a/core-1"));
        assert!(lines[6].ends_with("REP /core/fare/quote  a/api-1 → a/core-1  0.500 ms"));
        assert_eq!(lines[7].trim(), "error: Invalid: out of town");
        assert!(lines[9].ends_with("16.500 ms"));
    }

    #[test]
    fn parents_that_go_round_in_a_circle_do_no_harm() {
        let mut hops = sample();
        hops[2].parent = MessageId(7);
        hops[5].parent = MessageId(7);
        assert!(depths(&hops)[&MessageId(7)] < DEPTH_MAX);
        assert_eq!(super::text(&[]), "");
    }
}
