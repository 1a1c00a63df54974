//! AMQP 0-9-1 (RabbitMQ): publish with confirms, calls with a reply, taps on an exchange. Says of
//! each failure whether the message certainly did not arrive or may have; never tries again on its
//! own, and never knows what a message means.
//!
//! Everything of ours runs on the caller's thread (a `LocalSet`). The library beneath, lapin, has one
//! thread of its own for a connection's socket, `lapin-io-loop`, and its bookkeeping as tasks on the
//! caller's runtime; while that runtime does not turn, nothing moves.

#![allow(
    clippy::disallowed_methods,
    reason = "a transport to somebody else's broker: the real world"
)]

mod address;
mod call;
mod link;
mod message;
mod publish;
mod relay;
mod tap;
#[cfg(test)]
mod tests;

use std::{cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

pub use address::Allowed;
pub use message::{Message, Properties, Received};
pub use publish::Published;
pub use tap::{Gap, OnGap, OnMessage, Tap, TapCounts};

use address::Address;
use link::{Link, Live, Setup};

use super::tls::Tls;

/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a connection may take. At each limit something is said; nothing waits without an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long connecting and logging in may take, each time.
    pub connect_within: Duration,
    /// How long the broker may take to confirm a message; then it is unknown what became of it.
    pub confirm_within: Duration,
    /// Messages sent and not confirmed, of publishes and calls; one more is refused at once.
    pub unconfirmed: usize,
    /// Mandatory messages on their way at the same time (each has a channel to itself, so that a
    /// message that comes back is never taken for another); more wait for their turn.
    pub mandatory_at_once: usize,
    /// Exchanges with a channel of their own for messages that are not mandatory; more share the
    /// channels of mandatory ones.
    pub exchanges: usize,
    /// Calls without an answer yet; one more is refused at once.
    pub calls: usize,
    /// Bytes of a body: a longer one is not sent, and not handed on when it comes.
    pub body_bytes: usize,
    /// Messages that a tap is given before it has taken the ones before.
    pub prefetch: u16,
    /// Messages that wait in the broker for a tap. Beyond it the oldest are dropped: [`Gap::Dropped`].
    pub tap_queue: u32,
    /// The same in bytes of bodies.
    pub tap_queue_bytes: u32,
    /// After a lost connection, the wait before the first attempt; it doubles with each.
    pub reconnect_first: Duration,
    /// The longest wait between two attempts.
    pub reconnect_most: Duration,
    /// A broker that is silent for twice as long is lost. The URI's `heartbeat` goes before it.
    pub heartbeat_s: u16,
    /// Where answers to calls arrive.
    pub replies: Replies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(10),
            confirm_within: Duration::from_secs(10),
            unconfirmed: 10_000,
            mandatory_at_once: 64,
            exchanges: 64,
            calls: 10_000,
            body_bytes: 1 << 20,
            prefetch: 256,
            tap_queue: 10_000,
            tap_queue_bytes: 64 << 20,
            reconnect_first: Duration::from_millis(100),
            reconnect_most: Duration::from_secs(3),
            heartbeat_s: 10,
            replies: Replies::Direct,
        }
    }
}

/// Where answers to calls arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replies {
    /// The broker's pseudo-queue `amq.rabbitmq.reply-to`: nothing to create, nothing left.
    #[default]
    Direct,
    /// A queue of our own, exclusive and deleted with the connection: for brokers without that.
    Queue,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmqpError {
    /// No connection was made.
    #[error("{0}")]
    Connect(String),
    /// Certainly not delivered to any queue.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Mandatory, and the broker gave it back: certainly not delivered to any queue.
    #[error(
        "returned by the broker: {code} {text} (exchange `{exchange}`, routing key `{routing_key}`)"
    )]
    Returned {
        /// The broker's code; 312 when no queue is bound for the routing key.
        code: u16,
        /// The broker's words.
        text: String,
        /// Where it was sent to.
        exchange: String,
        /// Its routing key.
        routing_key: String,
    },
    /// It may have been delivered, or may still be, or not.
    #[error("unknown whether it arrived: {0}")]
    Unknown(String),
}

impl AmqpError {
    /// Whether the message is certain not to have had, and not to get, any effect.
    pub fn certainly_not(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

/// A connection to a broker, shared by all who clone it. It comes back by itself after a loss, for
/// as long as one of them lives; dropping the last hangs up.
#[derive(Clone)]
pub struct Broker(Rc<Inner>);

struct Inner {
    setup: Rc<Setup>,
    link: Rc<watch::Sender<Link>>,
    unconfirmed: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    next_call: Cell<u64>,
    supervisor: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.supervisor.abort();
        // What still waits for the broker learns that nothing will come.
        self.link.send_replace(Link::Down("it was closed".into()));
    }
}

impl Broker {
    /// Connects and logs in, once: what fails at first is an error, what is lost later comes back.
    /// Without `allowed`, only a broker on loopback may be connected to. Call it in a `LocalSet`.
    pub async fn connect(
        uri: &str,
        limits: Limits,
        allowed: Option<Allowed>,
    ) -> Result<Self, AmqpError> {
        Self::connect_over(uri, limits, allowed, None).await
    }

    /// The same, with `tls` for a broker whose URI begins with `amqps://`.
    pub async fn connect_over(
        uri: &str,
        limits: Limits,
        allowed: Option<Allowed>,
        tls: Option<Tls>,
    ) -> Result<Self, AmqpError> {
        let address = Address::parse(uri, limits.heartbeat_s, allowed)?;
        if address.is_secure() && tls.is_none() {
            let why = format!("{address} is spoken to over TLS, which is not set up");
            return Err(AmqpError::Connect(why));
        }
        let setup = Rc::new(Setup { address, limits, tls });
        let (live, events) = Live::dial(&setup).await.map_err(|why| {
            AmqpError::Connect(format!("cannot connect to {}: {why}", setup.address))
        })?;
        let link = Rc::new(watch::Sender::new(Link::Up(live)));
        let task = link::supervise(Rc::clone(&setup), Rc::clone(&link), events);
        let (unconfirmed, calls) = (setup.limits.unconfirmed, setup.limits.calls);
        Ok(Self(Rc::new(Inner {
            setup,
            link,
            unconfirmed: Arc::new(Semaphore::new(unconfirmed.min(Semaphore::MAX_PERMITS))),
            calls: Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))),
            next_call: Cell::new(0),
            supervisor: tokio::task::spawn_local(task).abort_handle(),
        })))
    }

    /// Whether there is a connection now; if not, why.
    pub fn state(&self) -> Result<(), String> {
        self.up().map(|_| ())
    }

    fn up(&self) -> Result<Rc<Live>, String> {
        match &*self.0.link.borrow() {
            Link::Up(live) if live.connection.status().connected() => Ok(Rc::clone(live)),
            Link::Up(_) => Err("it was lost just now".into()),
            Link::Down(why) => Err(why.clone()),
        }
    }

    /// Says goodbye to the broker, for all who share the connection. It does not come back.
    pub async fn close(&self) {
        self.0.supervisor.abort();
        let was = self.0.link.send_replace(Link::Down("it was closed".into()));
        if let Link::Up(live) = was {
            let bye = live.connection.close(200, "bye".into());
            // A broker that does not answer is hung up on when `live` is dropped.
            let _ = tokio::time::timeout(CLOSE_WITHIN, bye).await;
        }
    }

    /// The connection, ready to take a message.
    fn live(&self) -> Result<Rc<Live>, AmqpError> {
        let live = self.up().map_err(|why| {
            AmqpError::NotSent(format!("no connection to {}: {why}", self.0.setup.address))
        })?;
        if live.connection.status().blocked() {
            let why = "the broker takes no messages now (it is short of memory or disk)";
            return Err(AmqpError::NotSent(why.into()));
        }
        Ok(live)
    }

    fn limits(&self) -> &Limits {
        &self.0.setup.limits
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.0.setup.address)
    }
}
