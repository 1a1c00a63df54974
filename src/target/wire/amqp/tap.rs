//! Taps: listening to an exchange through a queue of our own, for as long as wanted. Takes nothing
//! away from anybody: the queue is exclusive, and gone with the connection. What a tap did not get
//! is told, so that nobody believes to have seen everything.

use std::{cell::Cell, fmt, rc::Rc};

use futures_util::{FutureExt as _, StreamExt as _, future::Either};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{sync::watch, task::AbortHandle};

use super::{
    AmqpError, Broker, Limits,
    link::{Backoff, Link, Live},
    message::{Received, short},
};

/// Dropped messages that wait in the broker to be counted. Beyond it they are not, and a count is
/// only the least that it can have been.
const DROPPED_QUEUE: u32 = 1_000;

/// Called with each message, in the broker's order.
pub type OnMessage = Rc<dyn Fn(Received)>;

/// Called with each gap.
pub type OnGap = Rc<dyn Fn(Gap)>;

/// What a tap did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// From now on nothing is heard: the connection, the queue or its exchange is lost.
    Lost {
        /// Why.
        why: String,
    },
    /// It is heard again; what was published since [`Gap::Lost`] never comes.
    Back,
    /// The tap was too slow, and its queue full: the broker dropped the oldest messages, at least so
    /// many since this was last told.
    Dropped {
        /// How many, at least.
        at_least: u64,
    },
    /// A message was longer than `body_bytes` and is not handed on.
    TooLong {
        /// Its routing key.
        routing_key: String,
        /// The bytes of its body.
        bytes: usize,
    },
}

/// What a tap has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapCounts {
    /// Messages that were handed on.
    pub seen: u64,
    /// Messages that the broker dropped, at least.
    pub dropped: u64,
    /// Messages that were too long.
    pub too_long: u64,
    /// How often it was lost.
    pub lost: u64,
}

/// A tap; dropping it ends it.
pub struct Tap {
    ear: Rc<Ear>,
    task: AbortHandle,
    // As long as the tap lives, the connection comes back.
    _broker: Broker,
}

struct Ear {
    exchange: ShortString,
    keys: Vec<ShortString>,
    limits: Limits,
    on_message: OnMessage,
    on_gap: OnGap,
    counts: Cell<TapCounts>,
}

/// The two queues of a tap: what it hears, and what the broker had to drop of it.
struct Session {
    heard: (Channel, Consumer),
    dropped: (Channel, Consumer),
}

impl Broker {
    /// Listens to what is published to `exchange` with a routing key that one of `keys` matches
    /// (patterns with `*` and `#` for a topic exchange; `""` for a fanout or headers exchange).
    /// From the return of this on, messages are heard.
    ///
    /// A queue of somebody else is heard at the exchange that feeds it; one that is fed by the
    /// default exchange through `amq.rabbitmq.trace` (`publish.#`, `deliver.QUEUE`), if the broker's
    /// owner has switched tracing on.
    ///
    /// Messages are acknowledged by themselves after `on_message`. Behind a slow listener at most
    /// `tap_queue` messages and `tap_queue_bytes` bytes wait, then the oldest are dropped and told as
    /// [`Gap::Dropped`]; for that the user needs the right to write to the default exchange.
    pub async fn tap(
        &self,
        exchange: &str,
        keys: &[String],
        on_message: OnMessage,
        on_gap: OnGap,
    ) -> Result<Tap, AmqpError> {
        let keys: Result<Vec<_>, _> = keys.iter().map(|key| short("binding key", key)).collect();
        let keys = keys?;
        if exchange.is_empty() || keys.is_empty() {
            let why = "a tap needs the name of an exchange and at least one binding key";
            return Err(AmqpError::NotSent(why.into()));
        }
        let ear = Rc::new(Ear {
            exchange: short("exchange", exchange)?,
            keys,
            limits: self.limits().clone(),
            on_message,
            on_gap,
            counts: Cell::default(),
        });
        let within = self.limits().connect_within;
        let session =
            tokio::time::timeout(within, ear.listen(&*self.live()?)).await.map_err(|_| {
                AmqpError::NotSent(format!("no tap on `{exchange}`: no answer within {within:?}"))
            })??;
        let task = Rc::clone(&ear).stay(self.0.link.subscribe(), session);
        let task = tokio::task::spawn_local(task).abort_handle();
        Ok(Tap { ear, task, _broker: self.clone() })
    }
}

impl Tap {
    /// What it has seen so far.
    pub fn counts(&self) -> TapCounts {
        self.ear.counts.get()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tap({}, {:?})", self.ear.exchange, self.counts())
    }
}

impl Ear {
    /// Listens, and again after each loss, until the tap is dropped.
    async fn stay(self: Rc<Self>, mut link: watch::Receiver<Link>, first: Session) {
        let mut session = first;
        loop {
            let why = self.hear(session).await;
            self.count(|counts| counts.lost += 1);
            (self.on_gap)(Gap::Lost { why });
            let Some(next) = self.again(&mut link).await else { return };
            session = next;
            (self.on_gap)(Gap::Back);
        }
    }

    /// Another session, as soon as there is a connection and the exchange; none when the broker was
    /// closed.
    async fn again(&self, link: &mut watch::Receiver<Link>) -> Option<Session> {
        let mut pause = Backoff::new(&self.limits);
        loop {
            let live = match &*link.borrow_and_update() {
                Link::Up(live) if live.connection.status().connected() => Some(Rc::clone(live)),
                _ => None,
            };
            let Some(live) = live else {
                link.changed().await.ok()?;
                continue;
            };
            let session = tokio::time::timeout(self.limits.connect_within, self.listen(&live));
            if let Ok(Ok(session)) = session.await {
                return Some(session);
            }
            drop(live);
            // A backend makes its exchange when it likes.
            pause.wait().await;
        }
    }

    async fn listen(&self, live: &Live) -> Result<Session, AmqpError> {
        live.exchange_exists(self.exchange.as_str()).await?;
        let dropped = live.channel().await?;
        let heard = live.channel().await?;
        let listen = async {
            let limit = [("x-max-length", DROPPED_QUEUE)];
            let bin = self.queue(&dropped, &limit, None).await?;
            let limits = [
                ("x-max-length", self.limits.tap_queue),
                ("x-max-length-bytes", self.limits.tap_queue_bytes),
            ];
            let dropped = (dropped.clone(), self.consume(&dropped, &bin).await?);
            let queue = self.queue(&heard, &limits, Some(&bin)).await?;
            let consumer = self.consume(&heard, &queue).await?;
            for key in &self.keys {
                let (queue, exchange) = (queue.clone(), self.exchange.clone());
                let (options, none) = (QueueBindOptions::default(), FieldTable::default());
                heard.queue_bind(queue, exchange, key.clone(), options, none).await?;
            }
            Ok(Session { heard: (heard.clone(), consumer), dropped })
        };
        let failed = |why| {
            live.forget_exchange(self.exchange.as_str());
            live.not_sent(&format!("no tap on `{}`", self.exchange), &why)
        };
        listen.await.map_err(failed)
    }

    /// A queue of our own that drops its oldest messages at its limits, into `bin` if there is one.
    async fn queue(
        &self,
        channel: &Channel,
        limits: &[(&str, u32)],
        bin: Option<&ShortString>,
    ) -> lapin::Result<ShortString> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-overflow".into(), text("drop-head"));
        for (name, most) in limits {
            arguments.insert((*name).into(), AMQPValue::LongLongInt((*most).into()));
        }
        if let Some(bin) = bin {
            arguments.insert("x-dead-letter-exchange".into(), text(""));
            arguments.insert("x-dead-letter-routing-key".into(), text(bin.as_str()));
        }
        let options = QueueDeclareOptions::exclusive().auto_delete();
        let queue = channel.queue_declare("".into(), options, arguments).await?;
        Ok(queue.name().clone())
    }

    async fn consume(&self, channel: &Channel, queue: &ShortString) -> lapin::Result<Consumer> {
        // Zero would be no limit at all.
        let prefetch = self.limits.prefetch.max(1);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await
    }

    /// Takes what comes on both queues until one is lost; why.
    async fn hear(&self, session: Session) -> String {
        let (heard, dropped) = (session.heard, session.dropped);
        let heard = self.drain(heard, |delivery| self.message(delivery), |_| {});
        let dropped = self.drain(
            dropped,
            |_| {},
            |at_least| {
                self.count(|counts| counts.dropped += at_least);
                (self.on_gap)(Gap::Dropped { at_least });
            },
        );
        let (heard, dropped) = (std::pin::pin!(heard), std::pin::pin!(dropped));
        match futures_util::future::select(heard, dropped).await {
            Either::Left((why, _)) | Either::Right((why, _)) => why,
        }
    }

    /// Takes the messages of a queue, acknowledged by the half prefetch, or when none is left.
    async fn drain(
        &self,
        (channel, mut consumer): (Channel, Consumer),
        each: impl Fn(Delivery),
        batch: impl Fn(u64),
    ) -> String {
        let half = u64::from(self.limits.prefetch / 2).max(1);
        let (mut open, mut last) = (0, 0);
        loop {
            let ready = if open < half { consumer.next().now_or_never() } else { None };
            let next = if let Some(next) = ready {
                next
            } else {
                if open > 0 {
                    batch(open);
                    let upto = BasicAckOptions { multiple: true };
                    if let Err(why) = channel.basic_ack(last, upto).await {
                        return why.to_string();
                    }
                    open = 0;
                }
                consumer.next().await
            };
            match next {
                Some(Ok(delivery)) => {
                    (open, last) = (open + 1, delivery.delivery_tag);
                    each(delivery);
                }
                Some(Err(why)) => return why.to_string(),
                None => return "the broker cancelled it: its queue is gone".into(),
            }
        }
    }

    fn message(&self, delivery: Delivery) {
        let bytes = delivery.data.len();
        if bytes > self.limits.body_bytes {
            self.count(|counts| counts.too_long += 1);
            let routing_key = delivery.routing_key.to_string();
            (self.on_gap)(Gap::TooLong { routing_key, bytes });
        } else {
            self.count(|counts| counts.seen += 1);
            (self.on_message)(delivery.into());
        }
    }

    fn count(&self, change: impl FnOnce(&mut TapCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}
