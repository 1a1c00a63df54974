//! Publishing: which channel a message takes, and what became of it. A mandatory message has its
//! channel to itself until it is confirmed: the library hands a message that came back to whichever
//! confirmation it sees next, which is the right one only if there is no other.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

use lapin::{
    Channel, Confirmation, PublisherConfirm, message::BasicReturnMessage,
    options::BasicPublishOptions,
};
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    AmqpError, Broker, Limits,
    link::{Live, refused},
    message::{Message, Parcel},
};

/// A message that the broker has taken over. If it was mandatory, at least one queue has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published;

/// The channels of a connection on which messages go out.
pub(super) struct Lanes {
    shared: RefCell<BTreeMap<String, Rc<Shared>>>,
    shared_max: usize,
    idle: RefCell<Vec<Channel>>,
    seats: Arc<Semaphore>,
}

/// The channel of an exchange, for messages that need not come back.
#[derive(Default)]
struct Shared {
    channel: OnceCell<Channel>,
    started: Cell<u64>,
    open: Cell<u64>,
}

impl Lanes {
    pub fn new(limits: &Limits) -> Self {
        Self {
            shared: RefCell::default(),
            shared_max: limits.exchanges,
            idle: RefCell::default(),
            seats: Arc::new(Semaphore::new(limits.mandatory_at_once.clamp(1, 1_024))),
        }
    }

    /// The channel of an exchange, a new one if the last was lost; none at the limit.
    fn shared(&self, exchange: &str) -> Option<Rc<Shared>> {
        let mut shared = self.shared.borrow_mut();
        let found = shared.get(exchange);
        let lost = |lane: &Rc<Shared>| lane.channel.get().is_some_and(|c| !c.status().connected());
        match found {
            Some(lane) if !lost(lane) => return Some(Rc::clone(lane)),
            None if shared.len() >= self.shared_max => return None,
            _ => {}
        }
        let lane = Rc::new(Shared::default());
        shared.insert(exchange.to_owned(), Rc::clone(&lane));
        Some(lane)
    }
}

/// A message on its way to the broker.
struct Sending {
    live: Rc<Live>,
    parcel: Parcel,
    mandatory: bool,
    /// Whether a byte of it may have left.
    sent: Rc<Cell<bool>>,
}

impl Broker {
    /// Sends a message and waits until the broker has taken it over, within `confirm_within`. A
    /// mandatory message that no queue gets comes back: [`AmqpError::Returned`], at once. One that
    /// is not mandatory counts as published also when no queue got it.
    ///
    /// Dropping the future does not stop a message that is on its way.
    pub async fn publish(
        &self,
        message: &Message,
        mandatory: bool,
    ) -> Result<Published, AmqpError> {
        let live = self.live()?;
        let parcel = self.pack(&live, message)?;
        let permit = self.permit()?;
        let sent = Rc::new(Cell::new(false));
        let sending = Sending { live, parcel, mandatory, sent: Rc::clone(&sent) };
        // A task, so that a channel is free again, and a message counted, when the broker has
        // spoken, not when the caller has lost patience.
        let mut task = tokio::task::spawn_local(async move {
            let outcome = sending.deliver().await;
            drop(permit);
            outcome
        });
        let within = self.limits().confirm_within;
        match timeout(within, &mut task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => Err(AmqpError::Unknown(format!("the sender ended: {why}"))),
            Err(_) if sent.get() => {
                Err(AmqpError::Unknown(format!("the broker did not confirm it within {within:?}")))
            }
            Err(_) => {
                task.abort();
                Err(AmqpError::NotSent(format!("its turn did not come within {within:?}")))
            }
        }
    }

    pub(super) fn pack(&self, live: &Live, message: &Message) -> Result<Parcel, AmqpError> {
        let frame_max = live.connection.configuration().frame_max();
        let frame_max = usize::try_from(frame_max).unwrap_or(usize::MAX);
        message.pack(self.limits().body_bytes, frame_max)
    }

    /// The right to one more message without a confirmation.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, AmqpError> {
        Arc::clone(&self.0.unconfirmed).try_acquire_owned().map_err(|_| {
            let most = self.limits().unconfirmed;
            AmqpError::NotSent(format!("{most} messages wait for the broker's word, the limit"))
        })
    }
}

impl Sending {
    async fn deliver(self) -> Result<Published, AmqpError> {
        let lane = (!self.mandatory)
            .then(|| self.live.lanes.shared(self.parcel.exchange.as_str()))
            .flatten();
        match lane {
            Some(lane) => self.on_shared(&lane).await,
            None => self.on_own().await,
        }
    }

    /// On the channel of its exchange, with others before and behind it.
    async fn on_shared(&self, lane: &Shared) -> Result<Published, AmqpError> {
        let exchange = self.parcel.exchange.as_str();
        let open = async || {
            self.live.exchange_exists(exchange).await?;
            self.live.channel().await
        };
        let channel = lane.channel.get_or_try_init(open).await?;
        let was_alone = lane.open.get() == 0;
        lane.open.set(lane.open.get() + 1);
        lane.started.set(lane.started.get() + 1);
        let mine = lane.started.get();
        let outcome = match self.send(channel).await {
            Ok(confirm) => {
                let confirmed = confirm.await;
                let alone = was_alone && lane.started.get() == mine;
                self.outcome(confirmed, alone)
            }
            Err(why) => Err(why),
        };
        lane.open.set(lane.open.get() - 1);
        if outcome.is_err() {
            // Perhaps the exchange is gone: the next one asks.
            self.live.forget_exchange(exchange);
        }
        outcome
    }

    /// On a channel of its own.
    async fn on_own(&self) -> Result<Published, AmqpError> {
        let lanes = &self.live.lanes;
        let seat = lanes.seats.acquire().await;
        let _seat = seat.map_err(|_| AmqpError::NotSent("the connection was closed".into()))?;
        let idle = loop {
            let idle = lanes.idle.borrow_mut().pop();
            match idle {
                Some(channel) if !channel.status().connected() => {}
                idle => break idle,
            }
        };
        let channel = match idle {
            Some(channel) => channel,
            None => self.live.channel().await?,
        };
        let confirmed = self.send(&channel).await?.await;
        let outcome = self.outcome(confirmed, true);
        if channel.status().connected() {
            lanes.idle.borrow_mut().push(channel);
        }
        outcome
    }

    async fn send(&self, channel: &Channel) -> Result<PublisherConfirm, AmqpError> {
        self.sent.set(true);
        post(&self.live, channel, &self.parcel, self.mandatory).await
    }

    /// What a confirmation means; `alone` when there was no other message on the channel.
    fn outcome(
        &self,
        confirmed: lapin::Result<Confirmation>,
        alone: bool,
    ) -> Result<Published, AmqpError> {
        match confirmed {
            Ok(Confirmation::Ack(None)) => Ok(Published),
            Ok(Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back))) => {
                Err(returned(&back))
            }
            // Where several queues should have got it, those that could have it.
            Ok(Confirmation::Nack(None)) => {
                Err(AmqpError::Unknown("a queue did not take it (basic.nack)".into()))
            }
            Ok(Confirmation::NotRequested) => {
                Err(AmqpError::Unknown("the channel does not confirm messages".into()))
            }
            Err(why) if alone && refused(&why) => Err(self.live.not_sent("refused", &why)),
            Err(why) => {
                let why = self.live.words(&why);
                Err(AmqpError::Unknown(format!("lost before the broker confirmed it: {why}")))
            }
        }
    }
}

/// Writes a message. An error here is certain: the promise within fails only while the last frame is
/// not written as a whole, and the broker does nothing with half a message.
pub(super) async fn post(
    live: &Live,
    channel: &Channel,
    parcel: &Parcel,
    mandatory: bool,
) -> Result<PublisherConfirm, AmqpError> {
    let options = BasicPublishOptions { mandatory, immediate: false };
    let (exchange, key) = (parcel.exchange.clone(), parcel.routing_key.clone());
    let sent = channel
        .basic_publish(exchange, key, options, &parcel.body, parcel.properties.clone())
        .await;
    sent.map_err(|why| live.not_sent("lost before it was written", &why))
}

/// The error of a message that came back.
pub(super) fn returned(back: &BasicReturnMessage) -> AmqpError {
    AmqpError::Returned {
        code: back.reply_code,
        text: back.reply_text.to_string(),
        exchange: back.exchange.to_string(),
        routing_key: back.routing_key.to_string(),
    }
}
