//! What a session and a simulated broker say to each other, as frames of a link.

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use prost::{Message as _, Oneof};

use crate::world::broker;

/// The number of what asks for no answer.
pub(super) const WORDLESS: u64 = 0;

/// To the broker. What has a number is answered with the same.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ToBroker {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(oneof = "Verb", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub verb: Option<Verb>,
}

/// What a session asks for.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Verb {
    #[prost(message, tag = "2")]
    DeclareExchange(Exchange),
    #[prost(message, tag = "3")]
    DeclareQueue(Queue),
    #[prost(string, tag = "4")]
    DeleteQueue(String),
    #[prost(message, tag = "5")]
    Bind(Binding),
    #[prost(message, tag = "6")]
    Unbind(Binding),
    #[prost(message, tag = "7")]
    Publish(Message),
    #[prost(message, tag = "8")]
    Consume(Consume),
    #[prost(uint64, tag = "9")]
    Cancel(u64),
    #[prost(message, tag = "10")]
    Settle(Settle),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Exchange {
    #[prost(string, tag = "1")]
    pub name: String,
    /// 0 direct, 1 topic, 2 fanout.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
#[expect(clippy::struct_excessive_bools, reason = "flags of AMQP, each as it stands there")]
pub(super) struct Queue {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(bool, tag = "2")]
    pub exclusive: bool,
    #[prost(bool, tag = "3")]
    pub auto_delete: bool,
    #[prost(uint32, optional, tag = "4")]
    pub length_max: Option<u32>,
    /// A federation's own: messages that came from another broker do not enter it.
    #[prost(bool, tag = "5")]
    pub upstream: bool,
    /// What finds no room is refused; otherwise the oldest are dropped.
    #[prost(bool, tag = "6")]
    pub refuses: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Binding {
    #[prost(string, tag = "1")]
    pub queue: String,
    #[prost(string, tag = "2")]
    pub exchange: String,
    #[prost(string, tag = "3")]
    pub key: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Message {
    #[prost(string, tag = "1")]
    pub exchange: String,
    #[prost(string, tag = "2")]
    pub key: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    #[prost(bool, tag = "4")]
    pub mandatory: bool,
    #[prost(uint64, optional, tag = "5")]
    pub ttl_ms: Option<u64>,
    #[prost(string, tag = "6")]
    pub reply_to: String,
    #[prost(uint64, tag = "7")]
    pub correlation: u64,
    #[prost(string, tag = "8")]
    pub from: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Consume {
    #[prost(string, tag = "1")]
    pub queue: String,
    #[prost(uint64, tag = "2")]
    pub consumer: u64,
    #[prost(uint32, tag = "3")]
    pub prefetch: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Settle {
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    #[prost(uint64, tag = "2")]
    pub tag: u64,
    #[prost(bool, tag = "3")]
    pub requeue: bool,
    /// And all that the consumer got before it.
    #[prost(bool, tag = "4")]
    pub to_here: bool,
}

/// From the broker. Without a word it is a heartbeat.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FromBroker {
    #[prost(oneof = "Word", tags = "1, 2, 3, 4, 5")]
    pub word: Option<Word>,
}

/// What a broker says.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Word {
    #[prost(message, tag = "1")]
    Done(Done),
    #[prost(message, tag = "2")]
    Confirm(Confirm),
    #[prost(message, tag = "3")]
    Deliver(Deliver),
    #[prost(uint64, tag = "4")]
    Cancelled(u64),
    /// The correlation of a message of which no word was asked, but which no queue got.
    #[prost(uint64, tag = "5")]
    Returned(u64),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Done {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Why it was refused; empty when it was done.
    #[prost(string, tag = "2")]
    pub refused: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Confirm {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// It was mandatory and no queue got it.
    #[prost(bool, tag = "2")]
    pub returned: bool,
    /// A queue was full.
    #[prost(bool, tag = "3")]
    pub refused: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Deliver {
    #[prost(uint64, tag = "1")]
    pub consumer: u64,
    #[prost(uint64, tag = "2")]
    pub tag: u64,
    #[prost(bool, tag = "3")]
    pub redelivered: bool,
    #[prost(message, optional, tag = "4")]
    pub message: Option<Message>,
}

impl ToBroker {
    pub fn frame(number: u64, verb: Option<Verb>) -> Bytes {
        Self { number, verb }.encode_to_vec().into()
    }
}

impl FromBroker {
    pub fn frame(word: Option<Word>) -> Bytes {
        Self { word }.encode_to_vec().into()
    }
}

impl From<broker::Message> for Message {
    fn from(message: broker::Message) -> Self {
        let broker::Message { exchange, key, body, mandatory, ttl, reply_to, correlation, from } =
            message;
        Self {
            exchange: exchange.into(),
            key: key.into(),
            body,
            mandatory,
            ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            reply_to: reply_to.into(),
            correlation,
            from: from.into(),
        }
    }
}

impl From<Message> for broker::Message {
    fn from(message: Message) -> Self {
        let Message { exchange, key, body, mandatory, ttl_ms, reply_to, correlation, from } =
            message;
        let text = |text: String| CompactString::from(text);
        Self {
            exchange: text(exchange),
            key: text(key),
            body,
            mandatory,
            ttl: ttl_ms.map(Duration::from_millis),
            reply_to: text(reply_to),
            correlation,
            from: text(from),
        }
    }
}

impl From<&broker::QueueSpec> for Queue {
    fn from(spec: &broker::QueueSpec) -> Self {
        Self {
            name: spec.name.as_str().to_owned(),
            exclusive: spec.exclusive,
            auto_delete: spec.auto_delete,
            length_max: spec.length_max,
            upstream: false,
            refuses: spec.overflow == broker::Overflow::Refuse,
        }
    }
}
