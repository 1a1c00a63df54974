//! RPC between services: protobuf over links or the bus, found through discovery; correlation,
//! deadlines, retries and backoff live here, above the seam.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;

pub use super::server::Router;
use super::{
    bus::Bus,
    directory::{Directory, service_of},
    envelope::{Envelope, Head, Kind, Status, seal},
    meddler::Meddler,
    meter::Meter,
    peer::Peer,
    phosphor::Phosphor,
    planted::Wires,
    quick::QuickMap,
    way::{Failed, Way},
};
use crate::{
    backend::layout::STORAGE,
    base::{name::NodeName, rng::Rng},
    world::{Env, link::FRAME_BYTES_MAX},
};

/// The pause before the second attempt is at most this long; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// No pause is longer.
const BACKOFF_MAX: Duration = Duration::from_millis(400);
/// No call is tried more often, whatever its deadline.
const ATTEMPTS_MAX: u32 = 64;

/// Why a call gave no answer, told apart by what the callee can have done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The service refused: it certainly did nothing.
    #[error("{code:?}: {why}")]
    Refused {
        /// The kind of refusal.
        code: Code,
        /// In the service's words.
        why: String,
    },
    /// Nobody could be asked: certainly nothing was done.
    #[error("{0}: nobody there")]
    Unavailable(String),
    /// The call may have been executed: no answer in time, or the link broke.
    #[error("{0}: no answer")]
    Unknown(String),
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The input is wrong.
    Invalid,
    /// Token missing, expired or wrong.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The state does not allow it; somebody was first.
    Conflict,
    /// The handler failed.
    Internal,
}

/// Codes by their number on the wire; 0 is ok.
const CODES: [Code; 6] = [
    Code::Invalid,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::Conflict,
    Code::Internal,
];

impl Code {
    pub(super) fn status(self) -> Status {
        Status(self as u32 + 1)
    }

    fn of(status: Status) -> Option<Self> {
        CODES.get(status.0.checked_sub(1)? as usize).copied()
    }
}

/// A refusal by a handler: shorthand.
pub fn refuse(code: Code, why: impl Into<String>) -> RpcError {
    RpcError::Refused { code, why: why.into() }
}

/// How to call an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The whole call, retries included, ends by then.
    pub deadline: Duration,
    /// One attempt ends by then.
    pub attempt: Duration,
    /// May be executed twice without harm: tried again after an unknown outcome, on another
    /// instance. Without it only calls that certainly did nothing are tried again.
    pub idempotent: bool,
}

/// What the client side of a node has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls begun.
    pub calls: u64,
    /// Further attempts at them.
    pub retries: u64,
    /// News that a full link or a missing peer swallowed.
    pub news_dropped: u64,
}

/// The client side: one a node, cheap to clone.
#[derive(Clone)]
pub struct Rpc(Rc<Inner>);

struct Inner {
    env: Env,
    directory: Directory,
    /// What it talks over instead of links, where the backend has brokers.
    bus: Option<Bus>,
    phosphor: Phosphor,
    // Looked up on every call, never walked.
    peers: RefCell<QuickMap<NodeName, Rc<Peer>>>,
    rng: RefCell<Rng>,
    counts: Cell<Counts>,
    meter: Meter,
    wires: Wires,
    /// May lead calls to the wrong instance.
    meddler: OnceCell<Meddler>,
}

impl Failed {
    /// What a trace says of it.
    fn words(&self) -> String {
        match self {
            Self::Refused(code, why) => format!("{code:?}: {why}"),
            Self::Certain(why) => why.clone(),
            Self::Unknown(why) => (*why).to_owned(),
        }
    }
}

impl Rpc {
    /// The client side of a node, over links to what `directory` knows.
    pub fn new(env: &Env, directory: &Directory) -> Self {
        Self::over(env, directory, None)
    }

    /// The client side of a node, over the bus where there is one.
    pub fn over(env: &Env, directory: &Directory, bus: Option<Bus>) -> Self {
        Self::with(env, directory, bus, Phosphor::default())
    }

    /// The client side of a node whose calls are traced, over the bus where there is one.
    pub fn with(env: &Env, directory: &Directory, bus: Option<Bus>, phosphor: Phosphor) -> Self {
        Self(Rc::new(Inner {
            env: env.clone(),
            directory: directory.clone(),
            bus,
            phosphor,
            peers: RefCell::default(),
            rng: RefCell::new(env.rng("rpc")),
            counts: Cell::default(),
            meter: Meter::default(),
            wires: Wires::default(),
            meddler: OnceCell::new(),
        }))
    }

    /// Takes the bugs that are switched on, before the first call.
    pub fn plant(&self, plants: &[String]) {
        self.0.wires.plant(plants);
    }

    /// Lets `meddler` lead calls to the wrong instance. Once.
    pub fn misled_by(&self, meddler: &Meddler) {
        // A node has one.
        let _ = self.0.meddler.set(meddler.clone());
    }

    /// Calls `/{tier}/{service}/{endpoint}` at whichever live instance discovery knows (own AZ
    /// first) and waits for its answer.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &'static str,
        ask: &Q,
        policy: Policy,
    ) -> Result<A, RpcError> {
        self.measured(None, path, ask, policy).await
    }

    /// The same at one instance, by name.
    pub async fn call_at<Q: Message, A: Message + Default>(
        &self,
        node: &NodeName,
        path: &'static str,
        ask: &Q,
        policy: Policy,
    ) -> Result<A, RpcError> {
        self.measured(Some(node), path, ask, policy).await
    }

    /// One way, best effort, to every live instance that serves `path`, except this node itself
    /// when `others_only`: nothing comes back.
    pub fn publish<Q: Message>(&self, path: &'static str, news: &Q, others_only: bool) {
        let traced = self.0.phosphor.tells(path);
        if let Some(bus) = &self.0.bus {
            let frame = seal(&Head { kind: Kind::News, path, ..traced }, news);
            if frame.len() > FRAME_BYTES_MAX || !bus.tell(path, frame, others_only) {
                self.count(|counts| counts.news_dropped += 1);
            }
            self.0.meter.told(path);
            return;
        }
        let mut frame: Option<Bytes> = None;
        for name in self.0.directory.serving(service_of(path)) {
            if others_only && name == *self.0.env.name() {
                continue;
            }
            let head = Head { kind: Kind::News, path, ..traced };
            let frame = frame.get_or_insert_with(|| seal(&head, news)).clone();
            if frame.len() > FRAME_BYTES_MAX || !self.peer(&name).tell(frame) {
                self.count(|counts| counts.news_dropped += 1);
            }
            self.0.meter.told(path);
        }
    }

    /// The tracing of this node.
    pub fn phosphor(&self) -> &Phosphor {
        &self.0.phosphor
    }

    /// One way, best effort, over the link to one instance: nothing comes back.
    pub fn tell<Q: Message>(&self, node: &NodeName, path: &'static str, news: &Q) {
        let frame = seal(&Head { kind: Kind::News, path, ..Head::default() }, news);
        if frame.len() > FRAME_BYTES_MAX || !self.peer(node).tell(frame) {
            self.count(|counts| counts.news_dropped += 1);
        }
    }

    /// One attempt at one instance, within `span`: for callers who choose instances themselves.
    pub async fn once<Q: Message, A: Message + Default>(
        &self,
        node: &NodeName,
        path: &'static str,
        ask: &Q,
        span: Duration,
    ) -> Result<A, RpcError> {
        self.count(|counts| counts.calls += 1);
        let begun = self.0.meter.begin(path, self.0.env.now());
        let outcome = match self.attempt(node, path, ask, span).await {
            Ok(body) => A::decode(body)
                .map_err(|error| RpcError::Unknown(format!("{path}: unreadable answer: {error}"))),
            Err(Failed::Refused(code, why)) => Err(refuse(code, why)),
            Err(Failed::Certain(why)) => Err(RpcError::Unavailable(format!("{path}: {why}"))),
            Err(Failed::Unknown(why)) => Err(RpcError::Unknown(format!("{path}: {why}"))),
        };
        begun.end(&outcome, self.0.env.now());
        outcome
    }

    /// What this node knows of the others.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// The environment of this node.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.0.counts.get()
    }

    /// What is counted of the calls.
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    async fn measured<Q: Message, A: Message + Default>(
        &self,
        at: Option<&NodeName>,
        path: &'static str,
        ask: &Q,
        policy: Policy,
    ) -> Result<A, RpcError> {
        let begun = self.0.meter.begin(path, self.0.env.now());
        let outcome = self.persist(at, path, ask, policy).await;
        begun.end(&outcome, self.0.env.now());
        outcome
    }

    async fn persist<Q: Message, A: Message + Default>(
        &self,
        at: Option<&NodeName>,
        path: &'static str,
        ask: &Q,
        policy: Policy,
    ) -> Result<A, RpcError> {
        let env = &self.0.env;
        let deadline = env.now() + policy.deadline;
        self.count(|counts| counts.calls += 1);
        let mut tried = Vec::new();
        let mut unknown = None;
        let mut certain = String::new();
        for attempt in 1..=ATTEMPTS_MAX {
            let left = deadline.since(env.now());
            let node = at.cloned().or_else(|| self.pick(path, &mut tried));
            match node {
                Some(node) => {
                    match self.attempt(&node, path, ask, left.min(policy.attempt)).await {
                        Ok(body) => {
                            return A::decode(body).map_err(|error| {
                                RpcError::Unknown(format!("{path}: unreadable answer: {error}"))
                            });
                        }
                        Err(Failed::Refused(code, why)) => {
                            return Err(match unknown {
                                // The attempt before may be executed even after this refusal.
                                Some(before) => {
                                    RpcError::Unknown(format!("{path}: {before}, then: {why}"))
                                }
                                None => refuse(code, why),
                            });
                        }
                        Err(Failed::Certain(why)) => certain = why,
                        Err(Failed::Unknown(why)) if policy.idempotent => unknown = Some(why),
                        Err(Failed::Unknown(why)) => {
                            return Err(RpcError::Unknown(format!("{path}: {why}")));
                        }
                    }
                    tried.push(node);
                }
                None => "no instance is known".clone_into(&mut certain),
            }
            let pause = self.backoff(attempt);
            if env.now() + pause >= deadline {
                break;
            }
            env.sleep(pause).await;
            self.count(|counts| counts.retries += 1);
        }
        Err(match unknown {
            Some(why) => RpcError::Unknown(format!("{path}: {why}")),
            None => RpcError::Unavailable(format!("{path}: {certain}")),
        })
    }

    /// Another instance than those tried; when all were tried, they are tried again.
    fn pick(&self, path: &'static str, tried: &mut Vec<NodeName>) -> Option<NodeName> {
        let (directory, now) = (&self.0.directory, self.0.env.now());
        let service = service_of(path);
        let stranger = || directory.stranger(service);
        let misled = self.0.meddler.get().and_then(|meddler| meddler.misleads(path, stranger));
        let first = misled.or_else(|| self.0.wires.first(service, directory));
        first.or_else(|| directory.pick(service, tried, now)).or_else(|| {
            tried.clear();
            directory.pick(service, tried, now)
        })
    }

    async fn attempt<Q: Message>(
        &self,
        node: &NodeName,
        path: &'static str,
        ask: &Q,
        span: Duration,
    ) -> Result<Bytes, Failed> {
        let traced = self.0.phosphor.asks(path, node);
        let head = traced.as_ref().map_or_else(Head::default, |open| open.head());
        let done = self.exchange(node, Head { path, ..head }, ask, span).await;
        if let Some(open) = traced {
            open.end(done.as_ref().err().map(Failed::words));
        }
        done
    }

    async fn exchange<Q: Message>(
        &self,
        node: &NodeName,
        head: Head<'static>,
        ask: &Q,
        span: Duration,
    ) -> Result<Bytes, Failed> {
        let env = &self.0.env;
        let until = env.now() + span;
        let way = self.way(node, span).await?;
        let Some(waiting) = way.enter(until) else {
            return Err(Failed::Certain(format!("{node}: too many calls wait")));
        };
        let left = until.since(env.now());
        let head =
            Head { kind: Kind::Ask, id: waiting.id, left_ms: left.as_millis() as u64 + 1, ..head };
        let frame = seal(&head, ask);
        if frame.len() > FRAME_BYTES_MAX {
            return Err(Failed::Refused(Code::Invalid, "larger than a frame".to_owned()));
        }
        answer(way.exchange(node, frame, left, waiting).await?)
    }

    /// How to reach a node: waits for a link to it, or for the bus.
    async fn way(&self, node: &NodeName, span: Duration) -> Result<Way, Failed> {
        let env = &self.0.env;
        // A database is no service on the bus: it is dialled, brokers or not.
        if let Some(bus) = self.0.bus.as_ref().filter(|_| node.role() != STORAGE) {
            return match env.timeout(span, bus.line()).await {
                Ok(line) => Ok(Way::Bus(bus.clone(), line)),
                Err(_) => Err(Failed::Certain("no broker in time".to_owned())),
            };
        }
        let peer = self.peer(node);
        match peer.link() {
            Some(link) => Ok(Way::Link(peer, link)),
            // Rare, and large: most calls need no room for it.
            None => match Box::pin(env.timeout(span, peer.open())).await {
                Ok(Ok(link)) => Ok(Way::Link(peer, link)),
                Ok(Err(why)) => Err(Failed::Certain(why)),
                Err(_) => Err(Failed::Certain(format!("{node}: no link in time"))),
            },
        }
    }

    fn peer(&self, name: &NodeName) -> Rc<Peer> {
        let mut peers = self.0.peers.borrow_mut();
        if let Some(peer) = peers.get(name) {
            return Rc::clone(peer);
        }
        let peer = Peer::new(self.0.env.clone(), name.clone(), self.0.directory.clone());
        let keeps_link = self.0.wires.dead_link.get() && name.role() == "core";
        peer.plant(self.0.wires.cross_talk.get(), keeps_link);
        peers.insert(name.clone(), Rc::clone(&peer));
        peer
    }

    /// Exponential, with jitter in its upper half.
    fn backoff(&self, attempt: u32) -> Duration {
        let full = BACKOFF_FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(BACKOFF_MAX);
        full.mul_f64(self.0.rng.borrow_mut().between(0.5, 1.0))
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.0.counts.get();
        change(&mut counts);
        self.0.counts.set(counts);
    }
}

fn answer(reply: Envelope) -> Result<Bytes, Failed> {
    match reply.status {
        Status::OK => Ok(reply.into_body()),
        Status::UNKNOWN => Err(Failed::Unknown("the service does not know")),
        status => match Code::of(status) {
            Some(code) => Err(Failed::Refused(code, reply.why().to_owned())),
            None if status.0 <= Status::NO_SUCH_PATH.0 => {
                Err(Failed::Certain(reply.why().to_owned()))
            }
            None => Err(Failed::Unknown("a status that nobody knows")),
        },
    }
}
