//! Traces as OpenTelemetry: each answered message becomes two spans, the caller's and the callee's,
//! sent in batches as JSON over plain HTTP. A thread of its own does it; what it has no room for is
//! dropped and counted, and a sink that is slow or gone holds up nobody.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    history::hop::{Hop, HopKind},
    scenario::traces::Sink,
};

/// Spans of one request.
const BATCH: usize = 256;
/// Requests that may wait.
const BATCHES_MAX: usize = 64;
/// A sink that takes longer has not taken it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long what waits at the end may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The bit of a span's id that tells the callee's from the caller's: no message has it.
const SERVER: u64 = 1 << 63;

/// Sends spans.
pub struct Exporter {
    batch: Vec<Hop>,
    batches: SyncSender<Vec<Hop>>,
    dropped: u64,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// How it went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Spans that the sink took.
    pub sent: u64,
    /// Spans that it was not given, or did not take.
    pub dropped: u64,
    /// What went wrong last.
    pub why: String,
}

impl Exporter {
    /// To `sink`; `epoch_ms` is the origin of the run in milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "a sink must not hold up the collector")]
    pub fn start(sink: Sink, epoch_ms: u64) -> io::Result<Self> {
        let (batches, waiting) = sync_channel(BATCHES_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let thread = thread::Builder::new()
            .name("otlp".into())
            .spawn(move || export(&sink, epoch_ms, &waiting, &closed))?;
        Ok(Self { batch: Vec::new(), batches, dropped: 0, closing, thread })
    }

    /// Takes a hop; only ends are spans. Never waits.
    pub fn take(&mut self, hop: &Hop) {
        if hop.took.is_none() {
            return;
        }
        self.batch.push(hop.clone());
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Sends what gathered, or drops it when too much waits.
    pub fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let many = batch.len() as u64;
        if many > 0 && self.batches.try_send(batch).is_err() {
            self.dropped += many;
        }
    }

    /// Sends the rest, as far as it goes in a few seconds.
    pub fn finish(mut self) -> Sent {
        self.flush();
        self.closing.store(true, Ordering::Relaxed);
        let Self { batches, thread, dropped, .. } = self;
        drop(batches);
        let panicked = |_| Sent { why: "the export panicked".to_owned(), ..Sent::default() };
        let mut sent = thread.join().unwrap_or_else(panicked);
        sent.dropped += dropped;
        sent
    }
}

/// The life of the exporting thread.
#[expect(clippy::disallowed_methods, reason = "a deadline against a sink in the real world")]
fn export(sink: &Sink, epoch_ms: u64, waiting: &Receiver<Vec<Hop>>, closing: &AtomicBool) -> Sent {
    let mut so_far = Sent::default();
    let mut until = None;
    for batch in waiting {
        let many = batch.len() as u64;
        if closing.load(Ordering::Relaxed) {
            let until = *until.get_or_insert_with(|| Instant::now() + LAST_WORDS);
            if Instant::now() >= until {
                so_far.dropped += many;
                continue;
            }
        }
        match post(sink, &body(&batch, epoch_ms)) {
            Ok(()) => so_far.sent += many,
            Err(why) => {
                so_far.dropped += many;
                so_far.why = why.to_string();
            }
        }
    }
    so_far
}

/// One request; an answer but 2xx is an error.
#[expect(clippy::disallowed_methods, reason = "a plain request from a thread of its own")]
fn post(sink: &Sink, body: &str) -> io::Result<()> {
    let Sink { host, port, path } = sink;
    let bare = host.trim_matches(['[', ']']);
    let mut addresses = (bare, *port).to_socket_addrs()?;
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "the sink has no address");
    let address: SocketAddr = addresses.next().ok_or_else(nowhere)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.starts_with(b"HTTP/1.") && status[9] == b'2' {
        return Ok(());
    }
    Err(io::Error::other(format!("the sink said {}", String::from_utf8_lossy(&status))))
}

/// `ExportTraceServiceRequest` as JSON: spans by the node that recorded them.
fn body(hops: &[Hop], epoch_ms: u64) -> String {
    let mut by_node: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for hop in hops {
        let node = hop.instance.split('#').next().unwrap_or_default();
        by_node.entry(node).or_default().push(span(hop, epoch_ms));
    }
    let resource = |(node, spans): (&str, Vec<Value>)| {
        json!({
            "resource": { "attributes": [text("service.name", node)] },
            "scopeSpans": [{ "scope": { "name": "robot-city" }, "spans": spans }],
        })
    };
    let resources: Vec<Value> = by_node.into_iter().map(resource).collect();
    json!({ "resourceSpans": resources }).to_string()
}

fn span(hop: &Hop, epoch_ms: u64) -> Value {
    let server = hop.kind == HopKind::Out;
    // The callee's span lies in the caller's, and the caller's in that of the callee above it.
    let (id, parent) = if server {
        (hop.message.0 | SERVER, hop.message.0)
    } else {
        (hop.message.0, if hop.parent.0 == 0 { 0 } else { hop.parent.0 | SERVER })
    };
    let end = u128::from(epoch_ms) * 1_000_000 + u128::from(hop.at.0);
    let begin = end - u128::from(hop.took.unwrap_or_default());
    let mut span = json!({
        "traceId": hop.trace,
        "spanId": format!("{id:016x}"),
        "name": hop.path,
        "kind": if server { 2 } else { 3 },
        "startTimeUnixNano": begin.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": [
            text("robotcity.from", hop.from.as_str()),
            text("robotcity.to", hop.to.as_str()),
            text("robotcity.instance", &hop.instance),
            text("cloud.availability_zone", &hop.az),
            text("host.name", &hop.host),
        ],
        "status": {},
    });
    if parent != 0 {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(error) = &hop.error {
        span["status"] = json!({ "code": 2, "message": error });
    }
    span
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{
        base::time::Time,
        history::hop::{MessageId, TraceId},
    };

    fn hop(kind: HopKind, message: u64, parent: u64) -> Hop {
        Hop {
            trace: TraceId::of_op(1, 2, 0),
            at: Time(5_000_000),
            message: MessageId(message),
            parent: MessageId(parent),
            kind,
            from: "a/api-1".into(),
            to: "b/core-1".into(),
            path: "/core/job/get".into(),
            host: "127.0.0.1".into(),
            az: "b".into(),
            instance: "b/core-1#0".into(),
            took: Some(2_000_000),
            error: (kind == HopKind::Out).then(|| "NotFound: no job".to_owned()),
        }
    }

    /// A sink that takes one request and answers `status`; hands back what it was sent.
    #[expect(clippy::disallowed_methods, reason = "a sink of the test's own")]
    fn sink(status: &'static str) -> (Sink, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut said, mut buffer) = (Vec::new(), [0; 4_096]);
            loop {
                let count = stream.read(&mut buffer).unwrap();
                said.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&said);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
                    return text.into_owned();
                }
            }
        });
        (Sink { host: "127.0.0.1".into(), port, path: "/v1/traces".into() }, thread)
    }

    #[test]
    fn spans_arrive_with_their_parents_times_and_errors() {
        let (sink, taken) = sink("200 OK");
        let mut exporter = Exporter::start(sink, 1_000).unwrap();
        exporter.take(&Hop { took: None, ..hop(HopKind::Req, 9, 513) });
        exporter.take(&hop(HopKind::Rep, 9, 513));
        exporter.take(&hop(HopKind::Out, 9, 0));
        let sent = exporter.finish();
        assert_eq!((sent.sent, sent.dropped, sent.why.as_str()), (2, 0, ""));
        let text = taken.join().unwrap();
        assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
        let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        let resource = &body["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
        assert_eq!(service, "b/core-1");
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"], "00000000000000010000000000000201");
        assert_eq!(spans[0]["parentSpanId"], "8000000000000201");
        assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(spans[0]["startTimeUnixNano"], "1003000000");
        assert_eq!(spans[0]["endTimeUnixNano"], "1005000000");
        assert_eq!(spans[1]["status"]["message"], "NotFound: no job");
    }

    #[test]
    fn a_sink_that_refuses_or_is_gone_costs_its_spans_alone() {
        let (sink, taken) = sink("503 No");
        let gone = sink.clone();
        for (sink, why) in [(sink, "503"), (gone, "refused")] {
            let mut exporter = Exporter::start(sink, 0).unwrap();
            exporter.take(&hop(HopKind::Rep, 9, 0));
            let sent = exporter.finish();
            assert_eq!((sent.sent, sent.dropped), (0, 1));
            assert!(sent.why.contains(why), "{}", sent.why);
        }
        taken.join().unwrap();
    }

    #[test]
    fn a_sink_that_is_slow_holds_up_nobody() {
        // Bound, and never accepted from: a request waits for its answer.
        #[expect(clippy::disallowed_methods, reason = "a sink of the test's own")]
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Sink { host: "127.0.0.1".into(), port, path: "/".into() };
        let mut exporter = Exporter::start(sink, 0).unwrap();
        let all = (BATCH * (BATCHES_MAX + 10)) as u64;
        for _ in 0..all {
            exporter.take(&hop(HopKind::Rep, 9, 0));
        }
        assert!(exporter.dropped > 0, "what did not fit was dropped at once");
        let sent = exporter.finish();
        assert_eq!((sent.sent, sent.dropped), (0, all));
    }
}
