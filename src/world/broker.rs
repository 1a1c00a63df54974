//! What a node may ask of a message broker: exchanges, queues and bindings, messages that are
//! confirmed, deliveries that are settled. AMQP's words, as RabbitMQ means them. Nothing here tries
//! again, finds another broker or knows what a message says.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use compact_str::CompactString;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::link::FRAME_BYTES_MAX;
use crate::base::name::NodeName;

/// The longest body in bytes; a longer one is not sent.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - 4_096;
/// Messages of one session that wait for the broker's word; one more is not sent.
pub const UNCONFIRMED_MAX: usize = 4_096;
/// A broker that says nothing for twice this long counts as lost, and so does a session.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// What an exchange makes of a routing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// To every queue bound with the very key.
    Direct,
    /// To every queue bound with a pattern that fits: words between dots, `*` for one, `#` for any
    /// number of them.
    Topic,
    /// To every queue that is bound.
    Fanout,
}

/// A queue. None outlives its broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSpec {
    /// Its name.
    pub name: CompactString,
    /// Of this session alone, and gone with it.
    pub exclusive: bool,
    /// Gone when the last of its consumers is.
    pub auto_delete: bool,
    /// The most messages that wait in it.
    pub length_max: Option<u32>,
    /// What becomes of more.
    pub overflow: Overflow,
}

/// What becomes of messages beyond what a queue holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest are dropped.
    #[default]
    DropOldest,
    /// The newest are refused: whoever waits for the broker's word is told.
    Refuse,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The exchange that it is sent to.
    pub exchange: CompactString,
    /// Its routing key.
    pub key: CompactString,
    /// What it says.
    pub body: Bytes,
    /// It comes back when no queue gets it.
    pub mandatory: bool,
    /// One that has waited in a queue for so long (whole ms) is dropped.
    pub ttl: Option<Duration>,
    /// The key under which an answer finds its author; empty for none.
    pub reply_to: CompactString,
    /// What an answer to it carries, too; 0 for none.
    pub correlation: u64,
    /// The node that sent it.
    pub from: CompactString,
}

/// What became of a message, as far as its broker tells. Nothing is known of the other brokers of a
/// federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The broker has it. If it was mandatory, at least one queue got it.
    Confirmed,
    /// It was mandatory and no queue got it.
    Unroutable,
    /// A queue was full, and did not take it; others may have.
    Refused,
    /// It certainly did not leave; why.
    NotSent(String),
    /// The broker said no word before the session was lost, or could not tell; why.
    Unknown(String),
}

/// A broker did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No session could be opened.
    #[error("broker {to}: {why}")]
    Unreachable {
        /// The broker.
        to: NodeName,
        /// What was seen.
        why: String,
    },
    /// The broker refused; the session goes on.
    #[error("the broker refused: {0}")]
    Refused(String),
    /// The session was lost.
    #[error("the broker was lost: {0}")]
    Lost(String),
}

/// Hears the correlations of messages that came back.
pub type Hear = Rc<dyn Fn(u64)>;

/// The outcome of a verb.
pub type Asked<T> = LocalBoxFuture<'static, Result<T, BrokerError>>;

/// A connection to a broker. It ends when its last handle is dropped; what was delivered and not
/// settled goes back to its queue then.
pub trait Session {
    /// Makes an exchange unless it is there; refused if it is there and of another kind.
    fn declare_exchange(&self, name: &str, kind: ExchangeKind) -> Asked<()>;

    /// Makes a queue unless it is there; refused if it is there and otherwise made, or another
    /// session's own.
    fn declare_queue(&self, queue: &QueueSpec) -> Asked<()>;

    /// Takes a queue away, with what is in it. Its consumers are cancelled. No error if there is
    /// none.
    fn delete_queue(&self, name: &str) -> Asked<()>;

    /// Binds a queue to an exchange. Refused when either is missing.
    fn bind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()>;

    /// Takes a binding back. No error if there is none.
    fn unbind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()>;

    /// Sends a message, which leaves at the call; the future tells what became of it, and may be
    /// dropped. The exchange must have been declared over this session.
    fn publish(&self, message: Message) -> LocalBoxFuture<'static, Published>;

    /// Sends a message of which the broker is asked for no word: it leaves at the call, or an error
    /// says why it certainly did not. For what its receiver can do without, or is known by its answer.
    /// A mandatory one that no queue gets is told to [`Session::on_return`].
    fn tell(&self, message: Message) -> Result<(), String>;

    /// From here on `hear` is given the correlation of each mandatory message that was told and came
    /// back, soon after it did.
    fn on_return(&self, hear: Hear);

    /// Takes messages from a queue: at most `prefetch` (at least 1) that are not settled yet.
    fn consume(&self, queue: &str, prefetch: u16) -> Asked<Consumer>;

    /// Ends when the session is lost; why.
    fn closed(&self) -> LocalBoxFuture<'static, String>;
}

/// Messages from a queue. Dropping it cancels it, and what it holds unsettled goes back.
pub struct Consumer {
    /// The messages; it ends when the broker cancels the consumer or the session is lost.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Dropped with it: tells the world to cancel.
    pub cancel: Box<dyn std::any::Any>,
}

/// A message from a queue. Unless it is settled it goes back to its queue with its consumer.
pub struct Delivery {
    /// The message. (Its `mandatory` and `ttl` tell nothing here.)
    pub message: Message,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Its number at its consumer.
    pub tag: u64,
    /// Whom to tell what became of it.
    pub settler: Rc<dyn Settler>,
}

/// Takes note of what became of deliveries.
pub trait Settler {
    /// So it is with the message `tag`.
    fn settle(&self, tag: u64, how: Settle);
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It is done.
    Done,
    /// It is done, and so is all that its consumer got before it.
    DoneToHere,
    /// It goes back to the front of its queue.
    Requeue,
}

impl Delivery {
    /// The message is done.
    pub fn ack(&self) {
        self.settler.settle(self.tag, Settle::Done);
    }

    /// The message is done, and so is all that came to its consumer before it.
    pub fn ack_to_here(&self) {
        self.settler.settle(self.tag, Settle::DoneToHere);
    }

    /// The message goes back to where it was in its queue, and is delivered again.
    pub fn requeue(&self) {
        self.settler.settle(self.tag, Settle::Requeue);
    }
}
