//! Phosphor, the tracing of a node: every hop of a traced request becomes a record in a bounded
//! buffer, and a task hands what gathered there to the collector, in datagrams. Whatever does not
//! fit is dropped and counted; nothing here waits, and a request that nobody traces costs one look
//! at a number.
//!
//! What is being handled travels with the task: a future is polled with its mark set, so that the
//! calls that it makes find their parent without a word from the services.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Response};
use prost::Message as _;
use tokio::sync::Notify;

use super::envelope::{Envelope, Head, Status};
use crate::{
    backend::wire::phosphor::{self as wire, HopKind},
    base::{
        name::NodeName,
        time::{Time, nanos},
    },
    world::Env,
};

/// Who receives what the nodes hand over.
pub const COLLECTOR: &str = "collector";
/// Hops that may wait to be handed over; further ones are dropped.
pub const HOPS_MAX: usize = 4_096;
/// How long hops gather before they are handed over.
const HAND_OVER_EVERY: Duration = Duration::from_millis(100);
/// Hops of one datagram: some 10 kB, far below the 64 kB that one may have.
const BATCH: usize = 64;
/// Datagrams in one go: a node has other things to do.
const BATCHES_AT_ONCE: usize = 16;
/// What a hop says of an error at most, in bytes.
const ERROR_BYTES_MAX: usize = 200;
/// The bit of a trace that tells a job's from a request's.
const JOB: u64 = 1 << 63;
/// Bits of a message id below those of its machine: 10 bits of machine fill it up to bit 63, which
/// stays free.
const MACHINE_SHIFT: u32 = 53;
/// Bits of a message id below those of its machine's life.
const LIFE_SHIFT: u32 = 47;

/// The trace and the message that something is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// 0: nobody traces.
    pub trace: u64,
    /// The message that is handled.
    pub message: u64,
}

impl Mark {
    /// What a W3C `traceparent` says; none where there is none, or its sampled flag is off. Of the
    /// trace's 128 bits only the lower half travels between the nodes: the upper half is the run's.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.split('-').skip(1);
        let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        let sampled = number(flags)? & 1 == 1;
        let mark = Self { trace: number(trace.get(16..32)?)?, message: number(parent)? };
        (sampled && mark.trace != 0).then_some(mark)
    }
}

/// What a node has handed over and dropped so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Hops that were given to the network.
    pub handed: u64,
    /// Hops that never got there.
    pub dropped: u64,
}

/// The tracing of a node; a cheap handle. By default it is off.
#[derive(Clone, Default)]
pub struct Phosphor(Option<Rc<Inner>>);

struct Inner {
    env: Env,
    /// All nodes: that of machine number `n` stands at `n - 1`.
    nodes: Vec<NodeName>,
    incarnation: u32,
    current: Cell<Mark>,
    next: Cell<u64>,
    buffer: RefCell<VecDeque<Hop>>,
    filled: Notify,
    counts: Cell<Counts>,
}

/// A record, as it waits.
struct Hop {
    kind: HopKind,
    at: Time,
    mark: Mark,
    parent: u64,
    from: NodeName,
    to: NodeName,
    path: &'static str,
    took: Duration,
    error: String,
}

/// A hop that has begun: its end is recorded by [`Open::end`], or, when nobody waits for that any
/// more, as it is dropped.
pub struct Open {
    inner: Rc<Inner>,
    hop: Hop,
    ended: bool,
}

impl Phosphor {
    /// Begins to trace for a node: number `machine` of `nodes`, from 1, in its life number
    /// `incarnation`.
    pub fn start(env: &Env, nodes: &[NodeName], machine: u16, incarnation: u32) -> Self {
        let life = u64::from(incarnation & 0x3f) << LIFE_SHIFT;
        let inner = Rc::new(Inner {
            env: env.clone(),
            nodes: nodes.to_vec(),
            incarnation,
            current: Cell::default(),
            next: Cell::new(u64::from(machine) << MACHINE_SHIFT | life),
            buffer: RefCell::default(),
            filled: Notify::new(),
            counts: Cell::default(),
        });
        env.spawn(hand_over(Rc::clone(&inner)));
        Self(Some(inner))
    }

    /// What was handed over and dropped so far.
    pub fn counts(&self) -> Counts {
        self.0.as_ref().map_or_else(Counts::default, |inner| inner.counts.get())
    }

    /// A call to `to` begins, if what is handled now is traced.
    pub fn asks(&self, path: &'static str, to: &NodeName) -> Option<Box<Open>> {
        let inner = self.tracing()?;
        let hop = inner.sent(path, to.clone());
        Some(inner.open(hop))
    }

    /// The same of a message that goes to everybody and is not answered; what it must carry.
    pub fn tells(&self, path: &'static str) -> Head<'static> {
        let Some(inner) = self.tracing() else { return Head::default() };
        let hop = inner.sent(path, NodeName::default());
        let head = hop.head();
        inner.put(hop);
        head
    }

    /// A message has come, if it is traced.
    pub fn hears(&self, said: &Envelope, path: &'static str) -> Option<Box<Open>> {
        if said.trace == 0 {
            return None;
        }
        let inner = self.0.as_ref()?;
        let mark = Mark { trace: said.trace, message: said.message };
        Some(inner.open(inner.came(mark, said.parent, path)))
    }

    /// A request from outside has come: `answer` is what makes its answer.
    pub fn answers(
        &self,
        mark: Option<Mark>,
        path: &'static str,
        answer: LocalBoxFuture<'static, Response<Bytes>>,
    ) -> LocalBoxFuture<'static, Response<Bytes>> {
        let (Some(mark), Some(inner)) = (mark, &self.0) else { return answer };
        let open = inner.open(inner.came(mark, 0, path));
        let work = inner.within(mark, answer);
        Box::pin(async move {
            let response = work.await;
            let status = response.status();
            let refused = status.is_client_error() || status.is_server_error();
            open.end(refused.then(|| format!("{}: {}", status.as_u16(), words_of(&response))));
            response
        })
    }

    /// Work that goes on for what is handled now, after that has been answered.
    pub fn carry(&self, work: impl Future<Output = ()> + 'static) -> LocalBoxFuture<'static, ()> {
        match self.tracing() {
            Some(inner) => Box::pin(inner.within(inner.current.get(), Box::pin(work))),
            None => Box::pin(work),
        }
    }

    /// Work that nobody asked for, done for a job: its trace is the job's, whichever node does it.
    pub fn of_job<'a>(
        &self,
        job: u64,
        work: impl Future<Output = ()> + 'a,
    ) -> LocalBoxFuture<'a, ()> {
        let mark = Mark { trace: JOB | job, message: 0 };
        match &self.0 {
            Some(inner) => Box::pin(inner.within(mark, Box::pin(work))),
            None => Box::pin(work),
        }
    }

    /// The inside, when what is handled now is traced.
    fn tracing(&self) -> Option<&Rc<Inner>> {
        self.0.as_ref().filter(|inner| inner.current.get().trace != 0)
    }
}

impl Inner {
    fn open(self: &Rc<Self>, hop: Hop) -> Box<Open> {
        self.put(hop.clone_without_end());
        Box::new(Open { inner: Rc::clone(self), hop, ended: false })
    }

    /// A message of this node's own, sent for what is handled now.
    fn sent(&self, path: &'static str, to: NodeName) -> Hop {
        let Mark { trace, message: parent } = self.current.get();
        let message = self.next.get() + 1;
        self.next.set(message);
        let from = self.env.name().clone();
        self.hop(HopKind::Req, Mark { trace, message }, parent, (from, to), path)
    }

    /// A message from another node, whose id says which.
    fn came(&self, mark: Mark, parent: u64, path: &'static str) -> Hop {
        let machine = (mark.message >> MACHINE_SHIFT) as usize & 0x3ff;
        let from = machine.checked_sub(1).and_then(|at| self.nodes.get(at)).cloned();
        let ends = (from.unwrap_or_else(|| "robots".into()), self.env.name().clone());
        self.hop(HopKind::In, mark, parent, ends, path)
    }

    fn hop(
        &self,
        kind: HopKind,
        mark: Mark,
        parent: u64,
        (from, to): (NodeName, NodeName),
        path: &'static str,
    ) -> Hop {
        let (at, took, error) = (self.env.now(), Duration::ZERO, String::new());
        Hop { kind, at, mark, parent, from, to, path, took, error }
    }

    /// Keeps a hop, or drops and counts it.
    fn put(&self, hop: Hop) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.len() >= HOPS_MAX {
            drop(buffer);
            return self.count(|counts| counts.dropped += 1);
        }
        buffer.push_back(hop);
        if buffer.len() == 1 {
            self.filled.notify_one();
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    fn within<'a, T>(self: &Rc<Self>, mark: Mark, work: LocalBoxFuture<'a, T>) -> Within<'a, T> {
        Within { inner: Rc::clone(self), mark, work }
    }

    /// Hands over what waits, as far as one go takes it; true when more is left.
    fn flush(&self, to: &NodeName) -> bool {
        for _ in 0..BATCHES_AT_ONCE {
            let mut buffer = self.buffer.borrow_mut();
            let many = buffer.len().min(BATCH);
            let hops: Vec<wire::Hop> = buffer.drain(..many).map(Hop::into_wire).collect();
            drop(buffer);
            if hops.is_empty() {
                return false;
            }
            let Counts { handed, dropped } = self.counts.get();
            let batch = wire::HopBatch {
                node: self.env.name().to_string(),
                incarnation: self.incarnation,
                handed,
                dropped,
                hops,
            };
            let gone = self.env.datagram(to, &batch.encode_to_vec());
            self.count(|counts| {
                *(if gone { &mut counts.handed } else { &mut counts.dropped }) += many as u64;
            });
        }
        !self.buffer.borrow().is_empty()
    }
}

async fn hand_over(inner: Rc<Inner>) {
    let collector = NodeName::from(COLLECTOR);
    let mut more = false;
    loop {
        if !more {
            inner.filled.notified().await;
        }
        inner.env.sleep(HAND_OVER_EVERY).await;
        more = inner.flush(&collector);
    }
}

impl Hop {
    fn head(&self) -> Head<'static> {
        let Mark { trace, message } = self.mark;
        Head { trace, message, parent: self.parent, ..Head::default() }
    }

    fn clone_without_end(&self) -> Self {
        let (from, to) = (self.from.clone(), self.to.clone());
        Self { from, to, error: String::new(), ..*self }
    }

    fn into_wire(self) -> wire::Hop {
        wire::Hop {
            kind: self.kind.into(),
            at_ns: self.at.0,
            trace: self.mark.trace,
            message: self.mark.message,
            parent: self.parent,
            from: self.from.to_string(),
            to: self.to.to_string(),
            path: self.path.to_owned(),
            took_ns: nanos(self.took),
            error: self.error,
        }
    }
}

impl Open {
    /// What the message must carry.
    pub fn head(&self) -> Head<'static> {
        self.hop.head()
    }

    /// It has ended, well or not.
    pub fn end(mut self, error: Option<String>) {
        self.close(error);
    }

    /// Makes the reply within it, and ends it with that.
    pub fn at_once(self, work: impl FnOnce() -> Bytes) -> Bytes {
        let before = self.inner.current.replace(self.hop.mark);
        let reply = work();
        self.inner.current.set(before);
        self.end(error_of(&reply));
        reply
    }

    /// The same with a reply that takes its time.
    pub fn later(
        self: Box<Self>,
        work: LocalBoxFuture<'static, Bytes>,
    ) -> LocalBoxFuture<'static, Bytes> {
        let work = self.inner.within(self.hop.mark, work);
        Box::pin(async move {
            let reply = work.await;
            self.end(error_of(&reply));
            reply
        })
    }

    fn close(&mut self, error: Option<String>) {
        self.ended = true;
        let mut end = self.hop.clone_without_end();
        end.kind = if end.kind == HopKind::Req { HopKind::Rep } else { HopKind::Out };
        end.at = self.inner.env.now();
        end.took = end.at.since(self.hop.at);
        end.error = error.map(shortened).unwrap_or_default();
        self.inner.put(end);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Some("nobody waited for the end of it".to_owned()));
        }
    }
}

fn shortened(mut error: String) -> String {
    error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
    error
}

/// What the API says of an error.
fn words_of(response: &Response<Bytes>) -> String {
    let body = serde_json::from_slice::<serde_json::Value>(response.body()).unwrap_or_default();
    body["error"]["message"].as_str().unwrap_or("without words").to_owned()
}

/// What went wrong, as the frame of a reply tells it.
fn error_of(reply: &Bytes) -> Option<String> {
    let reply = Envelope::open(reply.clone()).ok()?;
    (reply.status != Status::OK).then(|| reply.why().to_owned())
}

/// Work that is done for a mark: whatever is polled within it is.
struct Within<'a, T> {
    inner: Rc<Inner>,
    mark: Mark,
    work: LocalBoxFuture<'a, T>,
}

impl<T> Future for Within<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let before = self.inner.current.replace(self.mark);
        let polled = self.work.as_mut().poll(context);
        self.inner.current.set(before);
        polled
    }
}
