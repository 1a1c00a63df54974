//! The collector of a run's traces: takes what the nodes hand over and what the robots tell of their
//! own ends, keeps figures of every endpoint in memory, and writes hops to the run's folder up to a
//! limit. It asks nobody for anything: whoever is slow or gone is only missing from it.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use compact_str::{CompactString, format_compact};
use hdrhistogram::Histogram;
use prost::Message as _;

use super::{
    meter::Meter,
    otlp::{Exporter, Sent},
};
use crate::{
    backend::wire::phosphor::{self as wire, HopBatch},
    base::{name::NodeName, time::Time},
    history::{
        hop::{Hop, HopKind, MessageId, TraceId, Tracing},
        manifest::HistoryError,
        traces::{FOLDER, TraceWriter},
    },
    report::{
        summary::TimesSummary,
        timeline::record_us,
        traces::{EndpointSummary, ExportSummary, SlowTrace, TracesSummary},
    },
    scenario::traces::Sink,
};

/// The figures of a run's traces, below `traces/`.
pub const FIGURES: &str = "figures.json";
/// Endpoints that are told apart; all further ones count as one.
const ENDPOINTS_MAX: usize = 1_000;
/// Lives of nodes that are told apart.
const SENDERS_MAX: usize = 10_000;
/// Traces that are called the slowest.
const SLOWEST_MAX: usize = 6;

/// What one collector is told when it begins.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run's folder.
    pub folder: PathBuf,
    /// What is traced, and as whose.
    pub tracing: Tracing,
    /// The machine that its nodes run on.
    pub host: CompactString,
    /// Bytes of the run's folder that traces may fill.
    pub bytes_max: u64,
    /// Where they are sent to as OpenTelemetry too.
    pub sink: Option<Sink>,
    /// The origin of the run, in milliseconds since 1970.
    pub epoch_ms: u64,
}

/// Takes hops.
pub struct Collector {
    order: Order,
    writer: Option<TraceWriter>,
    exporter: Option<Exporter>,
    senders: BTreeMap<(String, u32), Sender>,
    endpoints: BTreeMap<CompactString, Endpoint>,
    /// The slowest of each operation: microseconds, and which.
    slowest: BTreeMap<CompactString, (u64, TraceId)>,
    summary: TracesSummary,
    latest: Time,
}

/// What is known of one life of a node.
#[derive(Default)]
struct Sender {
    /// Hops that it has handed over, as far as its last batch tells.
    handed: u64,
    /// Hops of it that came.
    came: u64,
    dropped: u64,
}

struct Endpoint {
    meter: Meter,
    errors: u64,
    took_us: Histogram<u64>,
}

impl Default for Endpoint {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "three digits are within the library's bounds")]
        let took_us = Histogram::new(3).expect("three significant digits");
        Self { meter: Meter::default(), errors: 0, took_us }
    }
}

impl Collector {
    /// Begins the traces in the run's folder.
    pub fn create(order: Order) -> anyhow::Result<Self> {
        let writer = TraceWriter::create(&order.folder, order.bytes_max)?;
        let export = |sink| Exporter::start(sink, order.epoch_ms);
        let exporter = order.sink.clone().map(export).transpose()?;
        let sampling = order.tracing.sampling;
        let summary = TracesSummary {
            pings_one_in: sampling.pings_one_in,
            looks_one_in: sampling.looks_one_in,
            ..TracesSummary::default()
        };
        Ok(Self {
            order,
            writer: Some(writer),
            exporter,
            senders: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            slowest: BTreeMap::new(),
            summary,
            latest: Time::ZERO,
        })
    }

    /// Takes one datagram; what cannot be read is counted as lost.
    pub fn datagram(&mut self, bytes: &[u8]) {
        let Ok(batch) = HopBatch::decode(bytes) else {
            self.summary.lost += 1;
            return;
        };
        let HopBatch { node, incarnation, handed, dropped, hops } = batch;
        let (came, key) = (hops.len() as u64, (node, incarnation));
        let name = NodeName::from(key.0.as_str());
        let instance = format_compact!("{name}#{incarnation}");
        if self.senders.contains_key(&key) || self.senders.len() < SENDERS_MAX {
            let sender = self.senders.entry(key).or_default();
            sender.came += came;
            // Datagrams may come in any order.
            sender.handed = sender.handed.max(handed + came);
            sender.dropped = sender.dropped.max(dropped);
        }
        for hop in hops {
            let hop = self.read(hop, &name, &instance);
            self.hop(&hop);
        }
    }

    /// Takes hops.
    pub fn take(&mut self, hops: &[Hop]) {
        for hop in hops {
            self.hop(hop);
        }
    }

    fn hop(&mut self, hop: &Hop) {
        self.summary.recorded += 1;
        self.latest = self.latest.max(hop.at);
        let took = Duration::from_nanos(hop.took.unwrap_or_default());
        match hop.kind {
            HopKind::Out => self.answered(hop, took),
            HopKind::Rep if hop.message.0 == hop.trace.lower() => self.ended(hop, took),
            _ => {}
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.take(hop);
        }
        self.write(|writer| writer.append(hop));
    }

    /// Hops of robots that were dropped on their way to here.
    pub fn dropped(&mut self, hops: u64) {
        self.summary.dropped += hops;
    }

    /// Hands what was written to the system. About once a second.
    pub fn flush(&mut self) {
        if let Some(exporter) = &mut self.exporter {
            exporter.flush();
        }
        self.write(TraceWriter::flush);
    }

    /// Closes the traces and writes their figures.
    pub fn finish(mut self) -> std::io::Result<()> {
        if let Some(writer) = self.writer.take() {
            self.summary.unwritten = writer.unwritten();
            if let Err(why) = writer.finish() {
                self.summary.note = why.to_string();
            }
        }
        self.summary.exported = self.exporter.take().map(|exporter| {
            let Sent { sent, dropped, why } = exporter.finish();
            ExportSummary { sent, dropped, why }
        });
        for sender in self.senders.values() {
            self.summary.dropped += sender.dropped;
            self.summary.lost += sender.handed - sender.came.min(sender.handed);
        }
        let mut slowest: Vec<_> = std::mem::take(&mut self.slowest).into_iter().collect();
        slowest.sort_by_key(|(_, (took_us, trace))| (std::cmp::Reverse(*took_us), *trace));
        slowest.truncate(SLOWEST_MAX);
        let slow = |(op, (took_us, trace)): (CompactString, _)| SlowTrace {
            trace,
            op: op.into(),
            took_us,
        };
        self.summary.slowest = slowest.into_iter().map(slow).collect();
        let latest = self.latest;
        let endpoint = |(path, mut seen): (CompactString, Endpoint)| EndpointSummary {
            path: path.into(),
            count: seen.meter.count(),
            errors: seen.errors,
            took_us: TimesSummary::of(&seen.took_us),
            per_s: seen.meter.rates(latest).map(|rate| (rate * 1e3).round() / 1e3),
        };
        self.summary.endpoints =
            std::mem::take(&mut self.endpoints).into_iter().map(endpoint).collect();
        let text = serde_json::to_string_pretty(&self.summary)? + "\n";
        fs::write(self.order.folder.join(FOLDER).join(FIGURES), text)
    }

    fn read(&self, hop: wire::Hop, node: &NodeName, instance: &CompactString) -> Hop {
        let kind = match hop.kind() {
            wire::HopKind::Req => HopKind::Req,
            wire::HopKind::In => HopKind::In,
            wire::HopKind::Out => HopKind::Out,
            wire::HopKind::Rep => HopKind::Rep,
        };
        let ends = matches!(kind, HopKind::Out | HopKind::Rep);
        Hop {
            trace: TraceId::of_halves(self.order.tracing.run, hop.trace),
            at: Time(hop.at_ns),
            message: MessageId(hop.message),
            parent: MessageId(hop.parent),
            kind,
            from: hop.from.as_str().into(),
            to: hop.to.as_str().into(),
            path: hop.path.into(),
            host: self.order.host.clone(),
            az: node.az().into(),
            instance: instance.clone(),
            took: ends.then_some(hop.took_ns),
            error: (!hop.error.is_empty()).then_some(hop.error),
        }
    }

    fn answered(&mut self, hop: &Hop, took: Duration) {
        let known = self.endpoints.contains_key(&hop.path) || self.endpoints.len() < ENDPOINTS_MAX;
        let path = if known { hop.path.clone() } else { "(others)".into() };
        let endpoint = self.endpoints.entry(path).or_default();
        endpoint.meter.mark(hop.at);
        endpoint.errors += u64::from(hop.error.is_some());
        record_us(&mut endpoint.took_us, took);
    }

    fn ended(&mut self, hop: &Hop, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slowest = self.slowest.entry(hop.path.clone()).or_insert((took_us, hop.trace));
        if took_us > slowest.0 {
            *slowest = (took_us, hop.trace);
        }
    }

    /// Once the disk fails nothing more is written, and the figures say so.
    fn write(&mut self, work: impl FnOnce(&mut TraceWriter) -> Result<(), HistoryError>) {
        let Some(writer) = &mut self.writer else {
            self.summary.unwritten += 1;
            return;
        };
        if let Err(why) = work(writer) {
            self.summary.note = why.to_string();
            self.writer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{
        hop::{Sampling, Subject},
        op::{Ask, Attempt, Op, OpKind, Outcome},
        traces::read,
    };

    const TRACING: Tracing =
        Tracing { run: 7, sampling: Sampling { pings_one_in: 10, looks_one_in: 1 } };

    fn collector(folder: &std::path::Path) -> Collector {
        let order = Order {
            folder: folder.to_owned(),
            tracing: TRACING,
            host: "here".into(),
            bytes_max: 1 << 20,
            sink: None,
            epoch_ms: 0,
        };
        Collector::create(order).unwrap()
    }

    fn hop(kind: wire::HopKind, at_ms: u64, took_ms: u64, error: &str) -> wire::Hop {
        wire::Hop {
            kind: kind.into(),
            at_ns: at_ms * 1_000_000,
            trace: 513,
            message: 9,
            parent: 513,
            from: "a/api-1".into(),
            to: "b/core-1".into(),
            path: "/core/job/get".into(),
            took_ns: took_ms * 1_000_000,
            error: error.into(),
        }
    }

    fn datagram(incarnation: u32, handed: u64, dropped: u64, hops: Vec<wire::Hop>) -> Vec<u8> {
        let node = "b/core-1".to_owned();
        HopBatch { node, incarnation, handed, dropped, hops }.encode_to_vec()
    }

    fn figures(collector: Collector, folder: &std::path::Path) -> TracesSummary {
        collector.finish().unwrap();
        let text = fs::read(folder.join(FOLDER).join(FIGURES)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn endpoints_are_told_with_times_errors_and_rates() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = collector(folder.path());
        for second in 0..60 {
            let error = if second % 4 == 0 { "Conflict: taken" } else { "" };
            let ends = vec![
                hop(wire::HopKind::In, second * 1_000, 0, ""),
                hop(wire::HopKind::Out, second * 1_000 + 3, 3, error),
            ];
            collector.datagram(&datagram(0, second * 2, 0, ends));
        }
        let told = figures(collector, folder.path());
        assert_eq!((told.recorded, told.lost, told.dropped, told.unwritten), (120, 0, 0, 0));
        assert_eq!(told.endpoints.len(), 1);
        let endpoint = &told.endpoints[0];
        assert_eq!((endpoint.count, endpoint.errors), (60, 15));
        assert!((2_990..3_010).contains(&endpoint.took_us.p50), "{endpoint:?}");
        assert!(endpoint.per_s.iter().all(|rate| (rate - 1.0).abs() < 0.3), "{endpoint:?}");
        let hops = read(folder.path(), |_| true).unwrap();
        assert_eq!(hops.len(), 120);
        assert_eq!((hops[0].instance.as_str(), hops[0].az.as_str()), ("b/core-1#0", "b"));
        assert_eq!((hops[0].took, hops[1].took), (None, Some(3_000_000)));
    }

    #[test]
    fn what_a_node_dropped_and_what_was_lost_on_the_way_is_counted_for_each_of_its_lives() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = collector(folder.path());
        let one = || vec![hop(wire::HopKind::In, 1, 0, "")];
        collector.datagram(&datagram(0, 0, 0, one()));
        // Five hops were handed over between the two, and never came; three were dropped.
        collector.datagram(&datagram(0, 6, 3, one()));
        collector.datagram(&datagram(1, 0, 2, one()));
        collector.datagram(b"what is this");
        collector.dropped(4);
        let told = figures(collector, folder.path());
        assert_eq!((told.recorded, told.lost, told.dropped), (3, 5 + 1, 3 + 2 + 4));
    }

    #[test]
    fn the_slowest_op_of_each_kind_is_known_by_its_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut collector = collector(folder.path());
        for (id, kind, took) in [
            (1, OpKind::PassengerQuote, 20),
            (2, OpKind::PassengerQuote, 50),
            (3, OpKind::DriverAccept, 90),
        ] {
            let (sent, done) = (Time(1_000_000), Time(1_000_000 + took * 1_000_000));
            let attempt = Attempt {
                sent,
                done,
                outcome: Outcome::Info,
                node: Some("a/api-1".into()),
                status: None,
                error: Some("no answer in time".into()),
            };
            let op = Op {
                id,
                robot: crate::base::id::RobotId::driver(4),
                ask: Ask::new(kind),
                planned: sent,
                sent,
                done,
                outcome: Outcome::Info,
                attempts: vec![attempt],
                answer: crate::history::answer::Answer::default(),
            };
            collector.take(&TRACING.hops(&op));
        }
        let told = figures(collector, folder.path());
        let slowest: Vec<_> =
            told.slowest.iter().map(|slow| (slow.trace.subject(), slow.took_us)).collect();
        assert_eq!(slowest, [(Subject::Op(3), 90_000), (Subject::Op(2), 50_000)]);
        let hops = read(folder.path(), |trace| trace.subject() == Subject::Op(3)).unwrap();
        assert_eq!(hops[1].error.as_deref(), Some("no answer in time"));
        assert_eq!(hops[0].from.as_str(), "driver/00004");
    }
}
