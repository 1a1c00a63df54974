//! How faults reach their victims. `run` hands in an implementation for the world and the target.
//!
//! Ctrl-C may come at any moment, so the conductor may drop the future of any call at any moment,
//! and may then make any other call. An implementation leaves nothing half done that a later
//! [`Provider::start`] or [`Provider::impair`] with an empty list does not put right.

use std::{fmt, str::FromStr, time::Duration};

use futures_util::future::{LocalBoxFuture, ready};
use serde::{Deserialize, Serialize};

use crate::base::{dist::Around, name::NodeName, time::Wall};

/// The name of all robots together, as one end of a link.
pub const ROBOTS: &str = "robots";

/// The way from one node to another; `robots` is the name of all robots together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkName {
    /// Who dials.
    pub from: NodeName,
    /// Who is dialled.
    pub to: NodeName,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// A text that is not a link.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a link: write it like a/api-1 -> b/storage-1")]
pub struct NotALink(String);

impl FromStr for LinkName {
    type Err = NotALink;
    fn from_str(text: &str) -> Result<Self, NotALink> {
        match text.split_once("->").map(|(from, to)| (from.trim(), to.trim())) {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => {
                Ok(Self { from: from.into(), to: to.into() })
            }
            _ => Err(NotALink(text.to_owned())),
        }
    }
}

/// What is wrong with a link, in both directions unless it says otherwise; Toxiproxy's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Toxic {
    /// Each chunk is held back, in each direction, for `latency_ms` ± `jitter_ms`; the order is
    /// kept.
    Latency {
        /// Mean in milliseconds.
        latency_ms: u64,
        /// Width of the jitter in milliseconds.
        jitter_ms: u64,
        /// How the delays lie around the mean.
        #[serde(default, skip_serializing_if = "Around::is_uniform")]
        around: Around,
    },
    /// So much passes in each direction.
    Bandwidth {
        /// Bytes a second; with none, nothing passes.
        rate: u64,
        /// Each connection has that much to itself, and does not share it with all others.
        #[serde(default, skip_serializing_if = "is_default")]
        each: bool,
    },
    /// Some packets are lost and sent again: a stream loses nothing, and waits.
    Loss {
        /// The share of packets that is lost, from 0 to 1.
        share: f64,
        /// How long until the first is sent again, in milliseconds; each further time it doubles.
        again_ms: u64,
    },
    /// What is sent goes nowhere. Connections that lost something are reset when this ends; new
    /// ones are accepted and stall until then.
    Timeout {
        /// A connection is closed after so many milliseconds of it; 0: it stays open.
        #[serde(default, skip_serializing_if = "is_default")]
        close_ms: u64,
    },
    /// The end of a connection is held back, in each direction.
    SlowClose {
        /// For so long, in milliseconds.
        delay_ms: u64,
    },
    /// What passes is cut into pieces, in each direction of each connection.
    Slicer {
        /// Bytes of a piece.
        size: u32,
        /// So many bytes more or fewer, drawn for each piece.
        #[serde(default, skip_serializing_if = "is_default")]
        variation: u32,
        /// The pause between two pieces in microseconds.
        delay_us: u64,
    },
    /// A connection is torn after so much in one direction.
    LimitData {
        /// How much.
        bytes: u64,
        /// It is closed as if its sender had ended it, and not reset.
        #[serde(default, skip_serializing_if = "is_default")]
        politely: bool,
    },
    /// Nothing passes; connections stay open. New ones are accepted and stall.
    BlackHole,
    /// Connections are reset, and new ones refused after the accept.
    Reset {
        /// Each connection lives so many milliseconds under it first.
        #[serde(default, skip_serializing_if = "is_default")]
        after_ms: u64,
    },
    /// What is opened from now on fares as if the name at the other end were looked up in vain, or late;
    /// what is open goes on.
    Names {
        /// What becomes of the look-up.
        answer: Answer,
    },
    /// Some toxics that meet only a part of what passes.
    Partly {
        /// One direction; left out: both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// How much of it; left out: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        toxicity: Option<Toxicity>,
        /// What is wrong with it.
        of: Vec<Toxic>,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of a name that is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// There is no such name: a new connection ends at once.
    Gone,
    /// Nobody is at the address that is told: a new connection hangs, and is reset when this ends.
    Wrong,
    /// It is late: a new connection waits, and is made then if its client is still there.
    Slow {
        /// By so many milliseconds.
        delay_ms: u64,
    },
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the one who dials.
    Upstream,
    /// To the one who dials.
    Downstream,
}

/// How many of those that pass a link meet what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Toxicity {
    /// From 0 to 1.
    pub share: f64,
    /// Of what.
    pub per: Per,
}

/// What a toxicity is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each connection, once, for as long as the toxic holds.
    Connection,
    /// Each request anew, whatever connection it comes on; its answer shares its lot.
    Request,
}

impl Per {
    /// Both, by their words.
    pub const ALL: [(&'static str, Self); 2] =
        [("connection", Self::Connection), ("request", Self::Request)];

    /// True for what Toxiproxy draws for, which its API leaves out.
    pub fn is_usual(&self) -> bool {
        *self == Self::Connection
    }
}

/// What happens to messages at a node that serves, of the endpoints that fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Meddling {
    /// A pattern of endpoints: `/core/job/*`.
    pub endpoint: String,
    /// Which messages: requests that reach the node, replies that it sends, news that reach it.
    pub of: Vec<Of>,
    /// What happens to them.
    pub how: Meddle,
    /// To this share of them, each drawn by itself.
    pub toxicity: f64,
    /// It ends by itself after this.
    pub lasts: Duration,
    /// The node says meanwhile that its code is of that version.
    pub as_version: Option<u32>,
}

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Those that ask for something.
    Requests,
    /// Those that answer.
    Replies,
    /// Those that are said one way.
    News,
}

/// What happens to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddle {
    /// They never arrive.
    Lost,
    /// They arrive late, by the mean and the width around it.
    Late(Duration, Duration),
    /// They arrive twice.
    Twice,
    /// They arrive after the next one.
    Overtaken,
    /// They are answered with an error that says that nothing was done.
    Refused,
    /// They are handled that much later, and count as in work meanwhile.
    Slow(Duration, Duration),
    /// Not messages: syncs of the node's disk take that much longer.
    SlowSync(Duration, Duration),
    /// Not messages: the node's disk is full, and writes to it are refused.
    NoRoom,
    /// Not messages: the node's wall clock is ahead by so many ms, or behind where negative.
    Skewed(i64),
    /// Not messages: the node leaves discovery, though it lives.
    Leaves,
    /// Requests stay at the node's broker until it is over.
    Stuck,
    /// Not messages: the node finds the wrong instance for what it calls.
    Misled,
}

/// How many messages a node met and touched since it began to meddle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meddled {
    /// It still does.
    pub on: bool,
    /// Messages that it may happen to.
    pub met: u64,
    /// Messages that it happened to.
    pub touched: u64,
    /// Requests for its services since its birth, whatever happened to them.
    pub asks: u64,
    /// Requests that it works at.
    pub in_flight: u64,
}

/// A victim could not be reached or did not do as told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{victim}: {why}")]
pub struct ProviderError {
    /// Node or link.
    pub victim: String,
    /// What happened, and what to do.
    pub why: String,
}

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strike {
    /// Ended at once.
    Kill,
    /// Asked to end.
    Terminate,
    /// Stopped where it stands.
    Pause,
    /// Taken off its networks.
    Disconnect,
    /// Whatever its target's file has for it.
    Inject,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Pause => "pause",
            Self::Disconnect => "disconnect",
            Self::Inject => "inject",
        })
    }
}

impl Strike {
    /// Whether a node that the run itself starts can be struck so.
    pub fn fits_own(self) -> bool {
        matches!(self, Self::Kill | Self::Terminate | Self::Pause)
    }
}

/// What a look at a node saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It runs and says that it is well.
    Up,
    /// It is gone, refuses, or says that it is not well; the text is what was seen.
    Down(String),
}

/// Reaches the nodes and links of a target.
pub trait Provider {
    /// Every node that a plan may name.
    fn nodes(&self) -> Vec<NodeName>;

    /// Every link that a plan may name (dialler to dialled).
    fn links(&self) -> Vec<LinkName>;

    /// What somebody must know of a node, beside its name, who puts it back when this process is
    /// dead: asked for before the node is touched, and written into the lease. No secrets.
    fn tag(&self, _: &NodeName) -> String {
        String::new()
    }

    /// Takes in the [`Self::tag`] of a node that another process had asked for, who is dead now.
    fn recall(&self, _: &NodeName, _tag: &str) {}

    /// Kills a node at once (SIGKILL): nothing of it runs on, and nothing starts it again but
    /// [`Self::start`]. Resolves when it is gone; the text is what was measured.
    fn kill<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>>;

    /// Kills a node in the middle of a sync, so that the last of what it wrote is there by half.
    /// Resolves when it is gone; the text is what its disk has. Only in a world whose disks do that.
    fn tear<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        let why = "what its disk keeps of a write is not ours to say: --time virtual".to_owned();
        Box::pin(ready(Err(ProviderError { victim: node.to_string(), why })))
    }

    /// Asks a node to end (SIGTERM); nothing starts it again but [`Self::start`]. Resolves when it
    /// is gone, and never where it does not obey; the text is what was measured.
    fn terminate<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>>;

    /// Lets a node stand still where it is (SIGSTOP), its connections open, until [`Self::start`].
    fn pause<'a>(&'a self, node: &'a NodeName)
    -> LocalBoxFuture<'a, Result<String, ProviderError>>;

    /// Takes a node off its networks until [`Self::start`].
    fn disconnect<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(ready(Err(not_here(node))))
    }

    /// Does to a node what its target's file has for it, until [`Self::start`].
    fn inject<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(ready(Err(not_here(node))))
    }

    /// Starts a node again that was killed or has ended; lets one go on that stands still. Resolves
    /// when it is healthy; the text is what was measured. A node that runs is left alone: that is no
    /// error.
    fn start<'a>(&'a self, node: &'a NodeName)
    -> LocalBoxFuture<'a, Result<String, ProviderError>>;

    /// Looks at a node now, once: does it answer its health check? A fault's own word for it does
    /// not count as having bitten; this does.
    fn health<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<Health, ProviderError>>;

    /// What the wall clock of a node shows, by the node's own word.
    fn wall<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<Wall, ProviderError>> {
        let why = "it does not tell its clock".to_owned();
        Box::pin(ready(Err(ProviderError { victim: node.to_string(), why })))
    }

    /// Makes a link sick, instead of what was wrong with it before; an empty list heals it.
    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>>;

    /// Has a node meddle with messages, instead of what it did before.
    fn meddle<'a>(
        &'a self,
        node: &'a NodeName,
        _what: &'a Meddling,
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(ready(Err(no_messages(node))))
    }

    /// What a node has done to messages so far; with `end` it does nothing from now on.
    fn meddled<'a>(
        &'a self,
        node: &'a NodeName,
        _end: bool,
    ) -> LocalBoxFuture<'a, Result<Meddled, ProviderError>> {
        Box::pin(ready(Err(no_messages(node))))
    }

    /// Puts messages into the queue of a node at its broker until that refuses one; they are dropped
    /// there, or by the node, after `lasts`. The text says how many.
    fn fill_queue<'a>(
        &'a self,
        node: &'a NodeName,
        _lasts: Duration,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(ready(Err(no_broker(node))))
    }

    /// Whether the queue of a node at its broker takes one more message, which is put there.
    fn queue_has_room<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<bool, ProviderError>> {
        Box::pin(ready(Err(no_broker(node))))
    }

    /// Has that many percent of the calls that could go to these nodes or to others go to these, as
    /// instances of a version of their own; which one they are to say that they are of.
    fn give_share<'a>(
        &'a self,
        nodes: &'a [NodeName],
        _percent: u32,
    ) -> LocalBoxFuture<'a, Result<u32, ProviderError>> {
        let victim = nodes.first().map(ToString::to_string).unwrap_or_default();
        let why = "nobody can say where calls go there: it is no service of the reference backend";
        Box::pin(ready(Err(ProviderError { victim, why: why.to_owned() })))
    }

    /// Takes back what these nodes were given: calls go where they went before. Where they were given
    /// nothing that is no error.
    fn take_share<'a>(
        &'a self,
        _nodes: &'a [NodeName],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(ready(Ok(())))
    }

    /// The round trip of one small exchange over a link right now, through whatever is wrong with
    /// it, on a connection of its own; the question has `load` bytes beside its own words. Never
    /// tried again on failure, and without a deadline: the conductor sets one.
    fn round_trip<'a>(
        &'a self,
        link: &'a LinkName,
        load: usize,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>>;

    /// How long a connection of its own over a link takes to end right now: from the end of what
    /// we have to say to the end of what the other has. Only where a connection has ends.
    fn closing<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        let why = "a connection has no end of its own here".to_owned();
        Box::pin(ready(Err(ProviderError { victim: link.to_string(), why })))
    }

    /// How long a connection of its own over a link lives right now on which nobody says anything.
    /// Only where a connection has a life.
    fn lifetime<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        let why = "a connection has no life of its own here".to_owned();
        Box::pin(ready(Err(ProviderError { victim: link.to_string(), why })))
    }
}

fn no_messages(node: &NodeName) -> ProviderError {
    let why = "nobody can touch messages there: it is no service of the reference backend";
    ProviderError { victim: node.to_string(), why: why.to_owned() }
}

fn no_broker(node: &NodeName) -> ProviderError {
    let why = "no broker holds a queue for it: --bus rabbitmq";
    ProviderError { victim: node.to_string(), why: why.to_owned() }
}

/// What is said where only other kinds of nodes can be struck so.
fn not_here(node: &NodeName) -> ProviderError {
    let why = "a node that the run itself starts cannot be struck so".to_owned();
    ProviderError { victim: node.to_string(), why }
}
