//! Calls: a message with an answer, found by its correlation id. All calls of a connection share a
//! channel, whose answers one task reads.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::{
    Channel, Confirmation, Consumer, PublisherConfirm,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use super::{
    AmqpError, Broker, Replies,
    link::{Live, refused},
    message::{Message, Received, short},
    publish::{post, returned},
};

/// The pseudo-queue to which answers go without a queue of our own.
const DIRECT: &str = "amq.rabbitmq.reply-to";

/// Where the desk of a connection is, once somebody called; a new one when the last was lost.
#[derive(Default)]
pub(super) struct DeskSlot(RefCell<Rc<OnceCell<Rc<Desk>>>>);

/// Where calls go out and answers come in.
pub(super) struct Desk {
    live: std::rc::Weak<Live>,
    channel: Channel,
    reply_to: ShortString,
    open: RefCell<BTreeMap<String, Open>>,
    unconfirmed: Cell<usize>,
    nameless: Cell<u64>,
}

struct Open {
    answer: oneshot::Sender<Result<Received, AmqpError>>,
    confirmed: bool,
}

impl Broker {
    /// Sends a message and waits for the answer to it, within `within` for all of it. It is
    /// mandatory: when nobody serves the queue's name, it comes back at once. A correlation id and
    /// the address for the answer are set here; a correlation id of the caller's own is kept.
    ///
    /// An answer later than `within` is dropped. A call that is lost with its connection is unknown.
    pub async fn rpc(&self, message: &Message, within: Duration) -> Result<Received, AmqpError> {
        if message.properties.reply_to.is_some() {
            return Err(AmqpError::NotSent("a call sets `reply_to` itself: leave it out".into()));
        }
        let place = Arc::clone(&self.0.calls).try_acquire_owned().map_err(|_| {
            AmqpError::NotSent(format!("{} calls wait for answers, the limit", self.limits().calls))
        })?;
        let live = self.live()?;
        let (sent, desk) = (Cell::new(false), Cell::new(None));
        let called = timeout(within, self.call(&live, message, &sent, &desk)).await;
        drop(place);
        match called {
            Ok(Ok(answer)) if answer.body.len() > self.limits().body_bytes => {
                let (bytes, most) = (answer.body.len(), self.limits().body_bytes);
                let why = format!("the answer has {bytes} bytes; the limit is {most}");
                Err(AmqpError::Unknown(why))
            }
            Ok(outcome) => outcome,
            Err(_) if sent.get() => {
                let hint = desk.take().map(|desk: Rc<Desk>| desk.hint()).unwrap_or_default();
                Err(AmqpError::Unknown(format!("no answer within {within:?}{hint}")))
            }
            Err(_) => Err(AmqpError::NotSent(format!("not possible within {within:?}"))),
        }
    }

    async fn call(
        &self,
        live: &Rc<Live>,
        message: &Message,
        sent: &Cell<bool>,
        at: &Cell<Option<Rc<Desk>>>,
    ) -> Result<Received, AmqpError> {
        let permit = self.permit()?;
        live.exchange_exists(&message.exchange).await?;
        let desk = live.desk.get(live).await?;
        at.set(Some(Rc::clone(&desk)));
        let id = message.properties.correlation_id.clone().unwrap_or_else(|| {
            let number = self.0.next_call.replace(self.0.next_call.get() + 1);
            format!("robot-city-{number}")
        });
        let mut parcel = self.pack(live, message)?;
        parcel.properties = parcel
            .properties
            .with_correlation_id(short("correlation id", &id)?)
            .with_reply_to(desk.reply_to.clone());
        let call = desk.enter(id)?;
        sent.set(true);
        let posted = post(live, &desk.channel, &parcel, true).await;
        if posted.is_err() {
            live.forget_exchange(&message.exchange);
        }
        desk.watch(posted?, call.id.clone(), permit);
        call.answer().await
    }
}

impl DeskSlot {
    async fn get(&self, live: &Rc<Live>) -> Result<Rc<Desk>, AmqpError> {
        let cell = {
            let mut cell = self.0.borrow_mut();
            if cell.get().is_some_and(|desk| !desk.channel.status().connected()) {
                *cell = Rc::default();
            }
            Rc::clone(&cell)
        };
        cell.get_or_try_init(|| Desk::open(live)).await.map(Rc::clone)
    }
}

impl Desk {
    async fn open(live: &Rc<Live>) -> Result<Rc<Self>, AmqpError> {
        let channel = live.channel().await?;
        let failed = |why: lapin::Error| live.not_sent("no queue for answers", &why);
        let queue = match live.setup.limits.replies {
            Replies::Direct => DIRECT.into(),
            Replies::Queue => {
                let own = QueueDeclareOptions::exclusive().auto_delete();
                let declared = channel.queue_declare("".into(), own, FieldTable::default());
                declared.await.map_err(failed)?.name().clone()
            }
        };
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = channel
            .basic_consume(queue.clone(), "".into(), options, FieldTable::default())
            .await
            .map_err(failed)?;
        let desk = Rc::new(Self {
            live: Rc::downgrade(live),
            channel,
            reply_to: queue,
            open: RefCell::default(),
            unconfirmed: Cell::new(0),
            nameless: Cell::new(0),
        });
        tokio::task::spawn_local(Rc::clone(&desk).read(consumer));
        Ok(desk)
    }

    /// Hands answers to their calls until the channel is lost.
    async fn read(self: Rc<Self>, mut consumer: Consumer) {
        let mut end = None;
        while let Some(next) = consumer.next().await {
            match next {
                Ok(delivery) => self.answer(delivery.into()),
                Err(why) => {
                    end = Some(why);
                    break;
                }
            }
        }
        let open = std::mem::take(&mut *self.open.borrow_mut());
        // Refused is the one call on the channel; of several nobody knows which.
        let alone = open.len() == 1 && self.unconfirmed.get() == 1;
        for call in open.into_values() {
            let error = match (&end, self.live.upgrade()) {
                (Some(why), Some(live)) if alone && !call.confirmed && refused(why) => {
                    live.not_sent("refused", why)
                }
                (Some(why), Some(live)) => {
                    AmqpError::Unknown(format!("lost before an answer: {}", live.words(why)))
                }
                _ => AmqpError::Unknown("lost before an answer: the connection was closed".into()),
            };
            // A caller who has gone needs no answer.
            let _ = call.answer.send(Err(error));
        }
    }

    fn answer(&self, answer: Received) {
        let Some(id) = &answer.properties.correlation_id else {
            self.nameless.set(self.nameless.get() + 1);
            return;
        };
        // Answers to calls that nobody waits for any more are dropped.
        if let Some(call) = self.open.borrow_mut().remove(id) {
            let _ = call.answer.send(Ok(answer));
        }
    }

    /// Why an answer may not have been found.
    fn hint(&self) -> String {
        match self.nameless.get() {
            0 => String::new(),
            n => format!("; answers without a correlation id so far: {n} (it must be copied back)"),
        }
    }

    fn enter(self: &Rc<Self>, id: String) -> Result<Call, AmqpError> {
        let mut open = self.open.borrow_mut();
        if open.contains_key(&id) {
            let why = format!("a call with the correlation id `{id}` waits for its answer");
            return Err(AmqpError::NotSent(why));
        }
        let (answer, waiting) = oneshot::channel();
        open.insert(id.clone(), Open { answer, confirmed: false });
        Ok(Call { desk: Rc::clone(self), id, waiting })
    }

    /// Waits for the broker's word on a call. A message that came back may be handed over with the
    /// confirmation of another: it names its call itself.
    fn watch(self: &Rc<Self>, confirm: PublisherConfirm, id: String, permit: OwnedSemaphorePermit) {
        let desk = Rc::clone(self);
        desk.unconfirmed.set(desk.unconfirmed.get() + 1);
        tokio::task::spawn_local(async move {
            let confirmed = confirm.await;
            drop(permit);
            // A lost channel ends the calls where answers are read.
            let Ok(confirmed) = confirmed else { return };
            desk.unconfirmed.set(desk.unconfirmed.get() - 1);
            if let Some(call) = desk.open.borrow_mut().get_mut(&id) {
                call.confirmed = true;
            }
            if let Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back)) = confirmed
                && let Some(id) = back.properties.correlation_id()
                && let Some(call) = desk.open.borrow_mut().remove(id.as_str())
            {
                let _ = call.answer.send(Err(returned(&back)));
            }
        });
    }
}

/// A call that waits for its answer; dropping it gives the wait up.
struct Call {
    desk: Rc<Desk>,
    id: String,
    waiting: oneshot::Receiver<Result<Received, AmqpError>>,
}

impl Call {
    async fn answer(mut self) -> Result<Received, AmqpError> {
        let gone = || Err(AmqpError::Unknown("lost before an answer".into()));
        (&mut self.waiting).await.unwrap_or_else(|_| gone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.desk.open.borrow_mut().remove(&self.id);
    }
}
