//! The serving side of RPC: endpoints by path, links that others opened, a limit on what is in
//! flight. Knows no retries: what a client makes of a status is the client's matter.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::{Future, poll_fn},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, ready},
};
use prost::Message;

use super::{
    directory::service_of,
    envelope::{Envelope, Head, Kind, Status, seal},
    meddler::{Fate, Meddler},
    meter::{Meter, Served},
    phosphor::Phosphor,
    quick::QuickMap,
    rpc::{Code, RpcError},
};
use crate::{
    backend::wire::platform as wire,
    world::{
        Env,
        link::{FRAME_BYTES_MAX, Link, Listener, Outgoing},
    },
};

/// Asks that may be in flight at one node; beyond it they are refused as overloaded.
pub const IN_FLIGHT_MAX: usize = 10_000;
/// Links that others may have open to one node; beyond it they are closed at once.
pub const LINKS_MAX: usize = 1_024;

/// Turns an ask into the frame of its reply.
enum Endpoint {
    Later(Box<dyn Fn(Envelope) -> LocalBoxFuture<'static, Bytes>>),
    AtOnce(Box<dyn Fn(Envelope) -> Bytes>),
}

/// The server side: endpoints by path, filled by the services of a node before it listens.
#[derive(Default)]
pub struct Router {
    // Looked up only, never walked: the order of a hash map must not reach behaviour.
    endpoints: QuickMap<&'static [u8], (Endpoint, Rc<Served>)>,
    services: BTreeSet<&'static str>,
    served: Vec<Rc<Served>>,
    /// Traces what is served.
    pub(in crate::backend) phosphor: Phosphor,
    /// Meddles with what is served; left out: one that nobody else has.
    pub(in crate::backend) meddler: Option<Meddler>,
}

impl Router {
    /// Serves `path` with `handler`.
    pub fn on<Q, A, F, Fut>(&mut self, path: &'static str, handler: F)
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Q) -> Fut + 'static,
        Fut: Future<Output = Result<A, RpcError>> + 'static,
    {
        let served = self.served(path);
        let endpoint = move |ask: Envelope| -> LocalBoxFuture<'static, Bytes> {
            let (id, served) = (ask.id, Rc::clone(&served));
            match Q::decode(ask.into_body()) {
                Ok(ask) => {
                    let work = handler(ask);
                    Box::pin(async move {
                        let outcome = work.await;
                        served.ended(&outcome);
                        seal_outcome(id, &outcome)
                    })
                }
                Err(error) => Box::pin(ready(unreadable(id, &error))),
            }
        };
        self.put(path, Endpoint::Later(Box::new(endpoint)));
    }

    /// Serves `path` with a handler that never waits: no future, no task, no allocation for them.
    pub fn on_sync<Q, A, F>(&mut self, path: &'static str, handler: F)
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Q) -> Result<A, RpcError> + 'static,
    {
        let served = self.served(path);
        let endpoint = move |ask: Envelope| -> Bytes {
            let id = ask.id;
            match Q::decode(ask.into_body()) {
                Ok(ask) => {
                    let outcome = handler(ask);
                    served.ended(&outcome);
                    seal_outcome(id, &outcome)
                }
                Err(error) => unreadable(id, &error),
            }
        };
        self.put(path, Endpoint::AtOnce(Box::new(endpoint)));
    }

    /// What is counted of the asks at `path`.
    fn served(&mut self, path: &'static str) -> Rc<Served> {
        let served = Served::new(path);
        self.served.retain(|known| known.path() != path);
        self.served.push(Rc::clone(&served));
        served
    }

    fn put(&mut self, path: &'static str, endpoint: Endpoint) {
        self.services.insert(service_of(path));
        if let Some(served) = self.served.iter().find(|served| served.path() == path) {
            self.endpoints.insert(path.as_bytes(), (endpoint, Rc::clone(served)));
        }
    }

    /// The services that have an endpoint here, like `core/job`, in order.
    pub fn services(&self) -> Vec<String> {
        self.services.iter().map(|&service| service.to_owned()).collect()
    }
}

fn seal_outcome<A: Message>(id: u64, outcome: &Result<A, RpcError>) -> Bytes {
    let error = match outcome {
        Ok(answer) => {
            let frame = seal(&Head { kind: Kind::Reply, id, ..Head::default() }, answer);
            if frame.len() <= FRAME_BYTES_MAX {
                return frame;
            }
            // The work is done, but its answer cannot travel.
            return seal_status(id, Status::UNKNOWN, "the answer is larger than a frame");
        }
        Err(error) => error,
    };
    match error {
        RpcError::Refused { code, why } => seal_status(id, code.status(), why),
        RpcError::Unavailable(why) => seal_status(id, Status::UNAVAILABLE, why),
        RpcError::Unknown(why) => seal_status(id, Status::UNKNOWN, why),
    }
}

fn seal_status(id: u64, status: Status, why: &str) -> Bytes {
    seal(&Head { kind: Kind::Reply, id, status, why, ..Head::default() }, &())
}

fn unreadable(id: u64, error: &prost::DecodeError) -> Bytes {
    seal_status(id, Code::Invalid.status(), &format!("unreadable ask: {error}"))
}

/// What a node serves, over the links that others open to it; a cheap handle.
#[derive(Clone)]
pub struct Server(Rc<Inner>);

struct Inner {
    env: Env,
    router: Router,
    ready: Rc<Cell<bool>>,
    load: Rc<Load>,
    in_flight_max: usize,
    links: Cell<usize>,
    refused: Cell<u64>,
    /// The most in flight since somebody looked.
    peak: Cell<usize>,
    /// What is served by other means than rpc.
    elsewhere: RefCell<Vec<Rc<Served>>>,
    meter: Meter,
    meddler: Meddler,
}

/// What a node has to do.
#[derive(Default)]
pub struct Load {
    /// Asks that it works at.
    pub in_flight: Cell<usize>,
    /// Asks for its services that it has taken so far; the platform's own do not count.
    pub asks: Cell<u64>,
}

/// Counts one ask in flight for as long as it lives: also when its caller goes away.
pub struct InFlight(Rc<Inner>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let in_flight = &self.0.load.in_flight;
        in_flight.set(in_flight.get() - 1);
    }
}

impl Server {
    /// Serves `router`; until `ready` is set, only the platform's own paths.
    /// What handlers call is counted by `meter` as theirs.
    pub fn new(env: &Env, router: Router, ready: &Rc<Cell<bool>>, meter: &Meter) -> Self {
        Self::with(env, router, ready, IN_FLIGHT_MAX, meter)
    }

    #[cfg(test)]
    pub(super) fn with_limit(
        env: &Env,
        router: Router,
        ready: &Rc<Cell<bool>>,
        in_flight_max: usize,
    ) -> Self {
        Self::with(env, router, ready, in_flight_max, &Meter::default())
    }

    fn with(
        env: &Env,
        mut router: Router,
        ready: &Rc<Cell<bool>>,
        in_flight_max: usize,
        meter: &Meter,
    ) -> Self {
        let meddler = router.meddler.take().unwrap_or_else(|| Meddler::new(env));
        let load = Rc::default();
        meddler.mount(&mut router, &load);
        Self(Rc::new(Inner {
            env: env.clone(),
            router,
            ready: Rc::clone(ready),
            load,
            in_flight_max,
            links: Cell::new(0),
            refused: Cell::new(0),
            peak: Cell::new(0),
            elsewhere: RefCell::default(),
            meter: meter.clone(),
            meddler,
        }))
    }

    /// What was counted of each path, and the most asks in flight, since this was asked last; and
    /// how many may be.
    pub fn counted(&self) -> (Vec<wire::Traffic>, usize, usize) {
        let Inner { router, elsewhere, peak, load, in_flight_max, .. } = &*self.0;
        let elsewhere = elsewhere.borrow();
        let served = router.served.iter().chain(&*elsewhere).map(|served| served.take()).collect();
        (served, peak.replace(load.in_flight.get()), *in_flight_max)
    }

    /// What is counted of a path that is served by other means than rpc: HTTP.
    pub fn counting(&self, path: &'static str) -> Rc<Served> {
        let served = Served::new(path);
        self.0.elsewhere.borrow_mut().push(Rc::clone(&served));
        served
    }

    /// One more in flight; none when there are too many.
    pub fn enter(&self) -> Option<InFlight> {
        let inner = &self.0;
        let in_flight = inner.load.in_flight.get() + 1;
        if in_flight > inner.in_flight_max {
            return None;
        }
        inner.load.in_flight.set(in_flight);
        inner.peak.set(inner.peak.get().max(in_flight));
        Some(InFlight(Rc::clone(inner)))
    }

    /// True while a fault plan has what asks wait at the broker.
    pub(super) fn takes_no_calls(&self) -> bool {
        self.0.meddler.takes_no_calls()
    }

    /// Asks that were refused: overloaded, not ready, or no such path.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Serves until the listener ends.
    pub async fn run(self, mut listener: Listener) {
        while let Some(link) = listener.recv().await {
            let links = &self.0.links;
            if links.get() >= LINKS_MAX {
                continue;
            }
            links.set(links.get() + 1);
            let this = self.clone();
            self.0.env.spawn(async move {
                this.link(link).await;
                this.0.links.set(this.0.links.get() - 1);
            });
        }
    }

    async fn link(&self, link: Link) {
        let Link { outgoing, mut incoming } = link;
        while let Some(frame) = incoming.recv().await {
            // A peer that talks nonsense: close.
            if !self.take_in(frame, &outgoing) {
                break;
            }
        }
    }

    /// Takes in a frame whose reply goes to `to`; false when it is neither ask nor news.
    pub(super) fn take_in(&self, frame: Bytes, to: &Rc<dyn Outgoing>) -> bool {
        match Envelope::open(frame) {
            Ok(ask) if ask.kind != Kind::Reply => {
                if self.0.meddler.is_on() {
                    self.take_meddled(ask, to);
                } else {
                    self.take(ask, to);
                }
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The same for a message that something may happen to, here or on the way back.
    fn take_meddled(&self, ask: Envelope, to: &Rc<dyn Outgoing>) {
        let meddler = &self.0.meddler;
        let to = meddler.way_back(ask.path(), to);
        let this = self.clone();
        let late = |by: Duration, guard: Option<InFlight>, ask: Envelope, to: Rc<dyn Outgoing>| {
            self.0.env.spawn(async move {
                this.0.env.sleep(by).await;
                drop(guard);
                this.take(ask, &to);
            });
        };
        match meddler.fate(ask.path(), ask.kind) {
            Fate::Passes => {
                self.take(ask, &to);
                meddler.passed();
            }
            Fate::IsLost => {}
            Fate::IsLate(by) => late(by, None, ask, to),
            Fate::IsSlow(by) => late(by, self.enter(), ask, to),
            Fate::ComesTwice => {
                self.take(ask.clone(), &to);
                self.take(ask, &to);
            }
            Fate::IsOvertaken => {
                let this = self.clone();
                meddler.hold(Box::new(move || this.take(ask, &to)));
            }
            Fate::IsRefused => {
                give(&to, seal_status(ask.id, Status::UNAVAILABLE, "told to refuse"));
            }
        }
    }

    fn take(&self, ask: Envelope, to: &Rc<dyn Outgoing>) {
        let inner = &self.0;
        let (id, wants_reply) = (ask.id, ask.kind == Kind::Ask);
        let refuse = |status, why: &str| {
            inner.refused.set(inner.refused.get() + 1);
            if wants_reply {
                give(to, seal_status(id, status, why));
            }
        };
        if !inner.ready.get() && !ask.path().starts_with("/platform/") {
            return refuse(Status::NOT_READY, "the node is still starting");
        }
        let Some((endpoint, served)) = inner.router.endpoints.get(ask.path_bytes()) else {
            let why = format!("nothing serves {} here", ask.path());
            return refuse(Status::NO_SUCH_PATH, &why);
        };
        if inner.load.in_flight.get() >= inner.in_flight_max {
            return refuse(Status::OVERLOADED, "too much is in flight here");
        }
        if wants_reply && !served.is_the_platforms() {
            inner.load.asks.set(inner.load.asks.get() + 1);
        }
        let traced = inner.router.phosphor.hears(&ask, served.path());
        match endpoint {
            Endpoint::AtOnce(handler) => {
                let begun = served.ask().then(|| inner.env.now());
                let reply = match traced {
                    None => handler(ask),
                    Some(open) => open.at_once(|| handler(ask)),
                };
                if let Some(begun) = begun {
                    served.took(inner.env.now().since(begun));
                }
                if wants_reply {
                    give(to, reply);
                }
            }
            Endpoint::Later(handler) => {
                let Some(guard) = self.enter() else {
                    return refuse(Status::OVERLOADED, "too much is in flight here");
                };
                let to = wants_reply.then(|| Rc::clone(to));
                served.ask();
                let service = service_of(served.path());
                let handling = inner.meter.speaking(service, || handler(ask));
                let handling = match traced {
                    None => handling,
                    Some(open) => open.later(handling),
                };
                self.work(handling, guard, to, Rc::clone(served));
            }
        }
    }

    /// Handlers that are ready at the first poll need no task.
    fn work(
        &self,
        mut handling: LocalBoxFuture<'static, Bytes>,
        guard: InFlight,
        to: Option<Rc<dyn Outgoing>>,
        served: Rc<Served>,
    ) {
        let (env, begun) = (self.0.env.clone(), self.0.env.now());
        let service = service_of(served.path());
        let finish = move |reply: Bytes| {
            served.took(env.now().since(begun));
            if let Some(to) = to {
                give(&to, reply);
            }
        };
        let meter = self.0.meter.clone();
        if let Some(reply) = meter.speaking(service, || (&mut handling).now_or_never()) {
            drop(guard);
            return finish(reply);
        }
        self.0.env.spawn(async move {
            let reply = poll_fn(|cx| meter.speaking(service, || handling.poll_unpin(cx))).await;
            drop(guard);
            finish(reply);
        });
    }
}

/// A link that is full or gone drops the reply: the caller's deadline tells it.
fn give(to: &Rc<dyn Outgoing>, reply: Bytes) {
    let _dropped = to.send(reply);
}
