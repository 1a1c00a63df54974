//! The seam between our code and the machine: what a node may ask of the world it runs in.
//!
//! A node is handed an [`Env`] and nothing else: time, timers, tasks, random streams, framed links,
//! HTTP, a store and a broker's verbs come from here, so that the same services run on tokio with
//! real sockets and disks ([`real`]), or in a deterministic world without either. Everything above
//! the seam (correlation, deadlines, retries, discovery) is shared code. All futures are local: one
//! thread a node.

pub mod broker;
pub mod link;
pub mod real;
pub mod store;
pub mod stream;
pub mod virtual_;

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{
    future::{LocalBoxFuture, select},
    pin_mut,
};
use http::{Request, Response};

use crate::base::{
    name::NodeName,
    rng::Rng,
    time::{Time, Wall},
};
use broker::{BrokerError, Session};
use link::{DialError, Link, Listener};
use store::{Store, StoreError};
use stream::{StreamError, StreamHandler};

/// Answers HTTP requests of a node: whole bodies in, whole bodies out.
pub type HttpHandler = Rc<dyn Fn(Request<Bytes>) -> LocalBoxFuture<'static, Response<Bytes>>>;

/// What went wrong with an HTTP exchange, told apart by what the server can have seen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    /// No connection was made, so the server certainly saw nothing.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The request may have been seen: the connection broke after it was (partly) sent.
    #[error("broken: {0}")]
    Broken(String),
}

/// What a world gives to one node. Implemented once for each world; used through [`Env`] only.
pub trait World {
    /// Monotonic time since the origin of the run.
    fn now(&self) -> Time;
    /// The node's wall clock.
    fn wall(&self) -> Wall;
    /// Ends at `at`, or at once when that has passed.
    fn sleep_until(&self, at: Time) -> LocalBoxFuture<'static, ()>;
    /// Runs a task on this node until it ends or the node dies.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
    /// Opens a link to the node of that name.
    fn dial(&self, to: &NodeName) -> LocalBoxFuture<'static, Result<Link, DialError>>;
    /// Accepts links to this node's own name. Once a node.
    fn listen(&self) -> LocalBoxFuture<'static, Result<Listener, DialError>>;
    /// Serves HTTP at this node's own name. Once a node.
    fn serve_http(&self, handler: HttpHandler) -> LocalBoxFuture<'static, Result<(), DialError>>;
    /// One HTTP exchange with the node of that name. Has no deadline of its own. Bodies are JSON both
    /// ways unless their headers say otherwise: where text goes over a wire, the world says so.
    fn http(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>>;
    /// Takes streams of clients at the address where HTTP is served. Before that, and once a node.
    fn serve_streams(&self, _handler: StreamHandler) -> Result<(), DialError> {
        let (address, why) = (String::new(), "this world has no streams".to_owned());
        Err(DialError::CannotListen { address, why })
    }
    /// Opens a stream at the node of that name. Has no deadline of its own.
    fn stream(
        &self,
        _to: &NodeName,
        _request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Link, StreamError>> {
        let why = "this world has no streams".to_owned();
        Box::pin(std::future::ready(Err(StreamError::NotConnected(why))))
    }
    /// Opens (or creates) a store on this node's disk.
    fn store(&self, name: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>>;
    /// Opens a session at the broker of that name. Has no deadline of its own. A world need not have
    /// brokers.
    fn broker(
        &self,
        to: &NodeName,
    ) -> LocalBoxFuture<'static, Result<Rc<dyn Session>, BrokerError>> {
        let (to, why) = (to.clone(), "this world has no brokers".to_owned());
        Box::pin(std::future::ready(Err(BrokerError::Unreachable { to, why })))
    }

    /// Sends one datagram to whoever receives under that name: fire and forget, and never waits.
    /// False when it was certainly not sent: nobody is known there, or there is no room for it now.
    fn datagram(&self, _to: &NodeName, _bytes: &[u8]) -> bool {
        false
    }
}

/// The environment of one node: a cheap handle, cloned freely.
#[derive(Clone)]
pub struct Env {
    name: NodeName,
    rng: Rng,
    world: Rc<dyn World>,
    skew: Rc<Cell<Skew>>,
}

/// How far a wall clock is ahead of its machine's (behind where negative), and until when.
#[derive(Debug, Clone, Copy, Default)]
struct Skew {
    ahead_ms: i64,
    until: Time,
}

/// A deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

impl Env {
    /// The environment of the node called `name`; `rng` is the root stream of the *run*.
    pub fn new(name: NodeName, rng: &Rng, world: Rc<dyn World>) -> Self {
        let rng = rng.fork(name.as_str());
        Self { name, rng, world, skew: Rc::default() }
    }

    /// The node's own name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Monotonic time since the origin of the run.
    pub fn now(&self) -> Time {
        self.world.now()
    }

    /// The node's wall clock; what tokens and ids are made from.
    pub fn wall(&self) -> Wall {
        let (wall, Skew { ahead_ms, until }) = (self.world.wall(), self.skew.get());
        if ahead_ms == 0 || self.now() >= until {
            return wall;
        }
        Wall(wall.0.saturating_add_signed(ahead_ms))
    }

    /// Moves this node's wall clock, and nothing else, ahead of its machine's by so many ms (behind
    /// where negative), instead of how far it was moved before. At `until` it goes right by itself.
    pub fn skew(&self, ahead_ms: i64, until: Time) {
        self.skew.set(Skew { ahead_ms, until });
    }

    /// The random stream called `name` of this node.
    pub fn rng(&self, name: &str) -> Rng {
        self.rng.fork(name)
    }

    /// Ends after `span`.
    pub fn sleep(&self, span: Duration) -> LocalBoxFuture<'static, ()> {
        self.world.sleep_until(self.now() + span)
    }

    /// Ends at `at`, or at once when that has passed.
    pub fn sleep_until(&self, at: Time) -> LocalBoxFuture<'static, ()> {
        self.world.sleep_until(at)
    }

    /// The outcome of `work`, or [`TimedOut`] when it takes longer than `span`.
    pub async fn timeout<T>(
        &self,
        span: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, TimedOut> {
        let alarm = self.sleep(span);
        pin_mut!(work);
        // Biased on purpose: an answer that is there counts even at the deadline.
        match select(work, alarm).await {
            futures_util::future::Either::Left((done, _)) => Ok(done),
            futures_util::future::Either::Right(_) => Err(TimedOut),
        }
    }

    /// Runs a task on this node until it ends or the node dies.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(Box::pin(task));
    }

    /// Opens a link to the node of that name.
    pub async fn dial(&self, to: &NodeName) -> Result<Link, DialError> {
        self.world.dial(to).await
    }

    /// Accepts links to this node.
    pub async fn listen(&self) -> Result<Listener, DialError> {
        self.world.listen().await
    }

    /// Serves HTTP at this node.
    pub async fn serve_http(&self, handler: HttpHandler) -> Result<(), DialError> {
        self.world.serve_http(handler).await
    }

    /// One HTTP exchange with the node of that name, without a deadline of its own.
    pub async fn http(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        self.world.http(to, request).await
    }

    /// Takes streams of clients at the address where HTTP is served; before [`Self::serve_http`].
    pub fn serve_streams(&self, handler: StreamHandler) -> Result<(), DialError> {
        self.world.serve_streams(handler)
    }

    /// Opens a stream at the node of that name, without a deadline of its own. The request's path and
    /// headers say who asks for what.
    pub async fn stream(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> Result<Link, StreamError> {
        self.world.stream(to, request).await
    }

    /// Sends one datagram to whoever receives under that name: fire and forget. False when it was
    /// certainly not sent.
    pub fn datagram(&self, to: &NodeName, bytes: &[u8]) -> bool {
        self.world.datagram(to, bytes)
    }

    /// Opens (or creates) the store called `name` on this node's disk.
    pub async fn store(&self, name: &str) -> Result<Store, StoreError> {
        self.world.store(name).await
    }

    /// Opens a session at the broker of that name, without a deadline of its own.
    pub async fn broker(&self, to: &NodeName) -> Result<Rc<dyn Session>, BrokerError> {
        self.world.broker(to).await
    }
}
