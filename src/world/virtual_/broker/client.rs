//! A session at a simulated broker, over a link.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};

use super::frames::{
    self, Binding, Confirm, Consume, Deliver, Done, Exchange, FromBroker, Queue, ToBroker, Verb,
    WORDLESS, Word,
};
use crate::{
    base::name::NodeName,
    world::{
        Env,
        broker::{
            Asked, BODY_BYTES_MAX, BrokerError, Consumer, Delivery, ExchangeKind, HEARTBEAT, Hear,
            Message, Published, QueueSpec, Session, Settle, Settler, UNCONFIRMED_MAX,
        },
        link::{Link, Outgoing, SendError},
    },
};

/// Opens a session.
pub(in crate::world::virtual_) fn open(env: Env, to: &NodeName) -> Asked<Rc<dyn Session>> {
    let to = to.clone();
    Box::pin(async move {
        let session: Rc<dyn Session> = Rc::new(connect(&env, &to).await?);
        Ok(session)
    })
}

/// Opens a session; one that a federation can use.
pub(super) async fn connect(env: &Env, to: &NodeName) -> Result<Simulated, BrokerError> {
    let link = env
        .dial(to)
        .await
        .map_err(|why| BrokerError::Unreachable { to: to.clone(), why: why.to_string() })?;
    let Link { outgoing, incoming } = link;
    let inner = Rc::new(Inner {
        outgoing: RefCell::new(Some(outgoing)),
        waits: RefCell::default(),
        lost: watch::channel(None).0,
        next: Cell::new(1),
        exchanges: RefCell::default(),
        on_return: RefCell::default(),
    });
    env.spawn(read(env.clone(), Rc::clone(&inner), incoming));
    env.spawn(beat(env.clone(), Rc::downgrade(&inner)));
    Ok(Simulated(inner))
}

/// A session.
pub(super) struct Simulated(Rc<Inner>);

struct Inner {
    /// Gone once the session has ended.
    outgoing: RefCell<Option<Rc<dyn Outgoing>>>,
    waits: RefCell<Waits>,
    lost: watch::Sender<Option<String>>,
    next: Cell<u64>,
    /// Those declared over this session.
    exchanges: RefCell<BTreeSet<String>>,
    on_return: RefCell<Option<Hear>>,
}

/// Who waits for the broker's word.
#[derive(Default)]
struct Waits {
    done: BTreeMap<u64, oneshot::Sender<Result<(), BrokerError>>>,
    confirmed: BTreeMap<u64, oneshot::Sender<Published>>,
    consumers: BTreeMap<u64, mpsc::Sender<Delivery>>,
}

async fn read(env: Env, inner: Rc<Inner>, mut incoming: mpsc::Receiver<Bytes>) {
    let why = loop {
        let frame = match env.timeout(2 * HEARTBEAT, incoming.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break "the connection was closed",
            Err(_) => break "it said nothing for two heartbeats",
        };
        match FromBroker::decode(frame) {
            Ok(said) => {
                if let Some(word) = said.word {
                    inner.hear(word);
                }
            }
            Err(_) => break "it is no broker",
        }
    };
    inner.end(why);
}

async fn beat(env: Env, inner: Weak<Inner>) {
    loop {
        env.sleep(HEARTBEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.send(WORDLESS, None).is_err() {
            return;
        }
    }
}

impl Inner {
    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    fn send(&self, number: u64, verb: Option<Verb>) -> Result<(), SendError> {
        match &*self.outgoing.borrow() {
            Some(link) => link.send(ToBroker::frame(number, verb)),
            None => Err(SendError::Closed),
        }
    }

    fn hear(self: &Rc<Self>, word: Word) {
        let mut waits = self.waits.borrow_mut();
        match word {
            Word::Done(Done { number, refused }) => {
                if let Some(waiting) = waits.done.remove(&number) {
                    let refused = (!refused.is_empty()).then_some(BrokerError::Refused(refused));
                    let _gone = waiting.send(refused.map_or(Ok(()), Err));
                }
            }
            Word::Confirm(Confirm { number, returned, refused }) => {
                if let Some(waiting) = waits.confirmed.remove(&number) {
                    let how = match (returned, refused) {
                        (true, _) => Published::Unroutable,
                        (_, true) => Published::Refused,
                        _ => Published::Confirmed,
                    };
                    let _gone = waiting.send(how);
                }
            }
            Word::Deliver(Deliver { consumer, tag, redelivered, message }) => {
                if let Some(to) = waits.consumers.get(&consumer) {
                    let settler = Rc::new(Settling { inner: Rc::downgrade(self), consumer });
                    let message = message.unwrap_or_default().into();
                    // The prefetch keeps to the room that there is; a consumer that is gone tells
                    // the broker itself.
                    let _gone = to.try_send(Delivery { message, redelivered, tag, settler });
                }
            }
            Word::Cancelled(consumer) => drop(waits.consumers.remove(&consumer)),
            Word::Returned(correlation) => {
                drop(waits);
                let hear = self.on_return.borrow().clone();
                if let Some(hear) = hear {
                    hear(correlation);
                }
            }
        }
    }

    /// Ends the session: nobody waits any more.
    fn end(&self, why: &str) {
        let link = self.outgoing.borrow_mut().take();
        let waits = std::mem::take(&mut *self.waits.borrow_mut());
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| why.to_owned());
            first
        });
        drop((link, waits));
    }

    fn why(&self) -> String {
        self.lost.borrow().clone().unwrap_or_else(|| "the session ended".to_owned())
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.0.end("it was let go");
    }
}

impl Simulated {
    /// Asks for something that the broker does or refuses.
    fn ask(&self, verb: Verb) -> Asked<()> {
        let (inner, number) = (Rc::clone(&self.0), self.0.number());
        let (done, outcome) = oneshot::channel();
        if inner.send(number, Some(verb)).is_err() {
            let why = inner.why();
            return Box::pin(ready(Err(BrokerError::Lost(why))));
        }
        inner.waits.borrow_mut().done.insert(number, done);
        Box::pin(
            async move { outcome.await.unwrap_or_else(|_| Err(BrokerError::Lost(inner.why()))) },
        )
    }

    /// Whether a message can leave.
    fn check(&self, message: &Message) -> Result<(), String> {
        if message.body.len() > BODY_BYTES_MAX {
            return Err(format!("its body is longer than {BODY_BYTES_MAX} bytes"));
        }
        if !self.0.exchanges.borrow().contains(message.exchange.as_str()) {
            return Err(format!("no exchange `{}` was declared", message.exchange));
        }
        Ok(())
    }

    pub fn declare(&self, exchange: Exchange) -> Asked<()> {
        self.0.exchanges.borrow_mut().insert(exchange.name.clone());
        self.ask(Verb::DeclareExchange(exchange))
    }

    pub fn declare_raw(&self, queue: Queue) -> Asked<()> {
        self.ask(Verb::DeclareQueue(queue))
    }
}

fn binding(queue: &str, exchange: &str, key: &str) -> Binding {
    Binding { queue: queue.to_owned(), exchange: exchange.to_owned(), key: key.to_owned() }
}

impl Session for Simulated {
    fn declare_exchange(&self, name: &str, kind: ExchangeKind) -> Asked<()> {
        let kind = match kind {
            ExchangeKind::Direct => 0,
            ExchangeKind::Topic => 1,
            ExchangeKind::Fanout => 2,
        };
        self.declare(Exchange { name: name.to_owned(), kind })
    }

    fn declare_queue(&self, queue: &QueueSpec) -> Asked<()> {
        self.declare_raw(queue.into())
    }

    fn delete_queue(&self, name: &str) -> Asked<()> {
        self.ask(Verb::DeleteQueue(name.to_owned()))
    }

    fn bind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()> {
        self.ask(Verb::Bind(binding(queue, exchange, key)))
    }

    fn unbind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()> {
        self.ask(Verb::Unbind(binding(queue, exchange, key)))
    }

    fn tell(&self, message: Message) -> Result<(), String> {
        self.check(&message)?;
        self.0.send(WORDLESS, Some(Verb::Publish(message.into()))).map_err(|why| why.to_string())
    }

    fn on_return(&self, hear: Hear) {
        self.0.on_return.replace(Some(hear));
    }

    fn publish(&self, message: Message) -> LocalBoxFuture<'static, Published> {
        let not_sent = |why: String| Box::pin(ready(Published::NotSent(why)));
        if let Err(why) = self.check(&message) {
            return not_sent(why);
        }
        if self.0.waits.borrow().confirmed.len() >= UNCONFIRMED_MAX {
            return not_sent(format!("{UNCONFIRMED_MAX} messages wait for the broker's word"));
        }
        let number = self.0.number();
        if let Err(why) = self.0.send(number, Some(Verb::Publish(message.into()))) {
            return not_sent(why.to_string());
        }
        let (done, outcome) = oneshot::channel();
        self.0.waits.borrow_mut().confirmed.insert(number, done);
        let inner = Rc::clone(&self.0);
        Box::pin(async move { outcome.await.unwrap_or_else(|_| Published::Unknown(inner.why())) })
    }

    fn consume(&self, queue: &str, prefetch: u16) -> Asked<Consumer> {
        let (consumer, prefetch) = (self.0.number(), prefetch.max(1));
        let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
        self.0.waits.borrow_mut().consumers.insert(consumer, sender);
        let cancel = Cancel { inner: Rc::downgrade(&self.0), consumer };
        let prefetch = u32::from(prefetch);
        let asked =
            self.ask(Verb::Consume(Consume { queue: queue.to_owned(), consumer, prefetch }));
        Box::pin(async move {
            let consumer = Consumer { deliveries, cancel: Box::new(cancel) };
            asked.await.map(|()| consumer)
        })
    }

    fn closed(&self) -> LocalBoxFuture<'static, String> {
        let mut lost = self.0.lost.subscribe();
        Box::pin(async move {
            let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            why.unwrap_or_else(|| "it was let go".to_owned())
        })
    }
}

/// Cancels its consumer when dropped.
struct Cancel {
    inner: Weak<Inner>,
    consumer: u64,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let gone = inner.waits.borrow_mut().consumers.remove(&self.consumer);
            drop(gone);
            // A session that has ended has no consumers.
            let _ended = inner.send(inner.number(), Some(Verb::Cancel(self.consumer)));
        }
    }
}

struct Settling {
    inner: Weak<Inner>,
    consumer: u64,
}

impl Settler for Settling {
    fn settle(&self, tag: u64, how: Settle) {
        if let Some(inner) = self.inner.upgrade() {
            let (requeue, to_here) = (how == Settle::Requeue, how == Settle::DoneToHere);
            let settle = frames::Settle { consumer: self.consumer, tag, requeue, to_here };
            // What a lost session did not settle goes back by itself.
            let _ended = inner.send(inner.number(), Some(Verb::Settle(settle)));
        }
    }
}
