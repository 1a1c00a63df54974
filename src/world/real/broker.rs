//! Sessions at a real RabbitMQ, over lapin: the library has a thread for each connection's socket,
//! everything of ours runs on the node's own. It never dials again by itself.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd as _,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use compact_str::CompactString;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{LocalBoxFuture, ready},
};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    ErrorKind, Event,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
        BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    runtime::default_runtime,
    tcp::{AMQPUriTcpExt as _, TLSConfig},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use tokio::{
    sync::{Notify, OnceCell, mpsc, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

use super::http_client;
use crate::{
    base::name::NodeName,
    world::broker::{
        Asked, BODY_BYTES_MAX, BrokerError, Consumer, Delivery, ExchangeKind, HEARTBEAT, Hear,
        Message, Overflow, Published, QueueSpec, Session, Settle, Settler, UNCONFIRMED_MAX,
    },
};

/// How often the library is asked what came back of what was told; it does not say so itself.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What comes back does so within this time, or its sender does not wait for it any more.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The way in from loopback that every RabbitMQ has unless its owner took it away.
const LOGIN: &str = "guest:guest";

/// Opens a session at the broker that listens at `address`.
pub(super) fn open(to: NodeName, address: String) -> Asked<Rc<dyn Session>> {
    Box::pin(async move {
        match connect(&address).await {
            Ok(session) => {
                let session: Rc<dyn Session> = Rc::new(session);
                Ok(session)
            }
            Err(why) => Err(BrokerError::Unreachable { to, why }),
        }
    })
}

async fn connect(address: &str) -> Result<Amqp, String> {
    // Found out here: the library's thread would go on trying after nobody waits any more.
    drop(http_client::connect(address).await?);
    let uri = format!("amqp://{LOGIN}@{address}/%2f?heartbeat={}", HEARTBEAT.as_secs());
    let uri: AMQPUri = uri.parse()?;
    let words = |why: lapin::Error| why.to_string();
    let runtime = default_runtime().map_err(|why| why.to_string())?;
    // The same runtime as the closure is given, of a type that is known here.
    let own = runtime.clone();
    let hang_up = HangUp::default();
    let held = Arc::clone(&hang_up.0);
    let dial = async move |uri: AMQPUri, _| {
        let stream = uri.connect_with_config_async(TLSConfig::default(), &own).await?;
        #[allow(irrefutable_let_patterns, reason = "the library is built without TLS")]
        if let AsyncTcpStream::Plain(plain) = &stream {
            hold(&held, plain.get_ref().as_fd().try_clone_to_owned()?.into())?;
        }
        Ok(stream)
    };
    let options = ConnectionProperties::default().with_connection_name("robot-city".into());
    let connection = Connection::connector(uri, runtime, dial, options).await.map_err(words)?;
    hang_up.never();
    let events = connection.events_listener().boxed_local();
    let wordless = connection.create_channel().await.map_err(words)?;
    let inner = Rc::new(Inner {
        connection,
        control: tokio::sync::Mutex::default(),
        shared: OnceCell::new(),
        wordless,
        leaving: RefCell::default(),
        returns: Returns::default(),
        mandatory: tokio::sync::Mutex::default(),
        unconfirmed: Cell::new(0),
        exchanges: RefCell::default(),
        lost: watch::channel(None).0,
    });
    let tasks = [
        tokio::task::spawn_local(watch(Rc::clone(&inner), events)).abort_handle(),
        tokio::task::spawn_local(hear_returns(Rc::clone(&inner))).abort_handle(),
    ];
    Ok(Amqp { inner, tasks })
}

/// A hold on the socket while the library logs in: it would wait without an end for a broker that
/// says nothing.
#[derive(Default)]
struct HangUp(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    stream: Option<TcpStream>,
    given_up: bool,
}

fn hold(held: &Mutex<Held>, stream: TcpStream) -> io::Result<()> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    if held.given_up {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    held.stream = Some(stream);
    Ok(())
}

impl HangUp {
    /// It is logged in: heartbeats look after the rest.
    fn never(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stream = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.given_up = true;
        if let Some(stream) = held.stream.take() {
            // One that is gone already needs no hanging up.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A session. Dropping it closes the connection.
struct Amqp {
    inner: Rc<Inner>,
    tasks: [AbortHandle; 2],
}

struct Inner {
    connection: Connection,
    /// The channel of all that is asked and not published; a refusal costs it.
    control: tokio::sync::Mutex<Option<Channel>>,
    /// The channel of messages that need not come back.
    shared: OnceCell<Channel>,
    /// The channel of messages of which no word is asked.
    wordless: Channel,
    /// Messages on it that are not written to the socket yet, as far as is known.
    leaving: RefCell<VecDeque<LocalBoxFuture<'static, lapin::Result<()>>>>,
    returns: Returns,
    /// The channel of mandatory messages that are confirmed, one after the other: the library hands a
    /// message that came back to whichever confirmation it sees next.
    mandatory: tokio::sync::Mutex<Option<Channel>>,
    unconfirmed: Cell<usize>,
    /// Those declared over this session.
    exchanges: RefCell<BTreeSet<CompactString>>,
    lost: watch::Sender<Option<String>>,
}

/// What came back of what was told.
#[derive(Default)]
struct Returns {
    /// When the last mandatory message was told.
    last: Cell<Option<Instant>>,
    told: Notify,
    hear: RefCell<Option<Hear>>,
}

impl Returns {
    fn may_come(&self) -> bool {
        self.last.get().is_some_and(|last| last.elapsed() < BACK_WITHIN)
    }
}

/// Tells what came back, as long as something may.
async fn hear_returns(inner: Rc<Inner>) {
    loop {
        inner.returns.told.notified().await;
        while inner.returns.may_come() {
            tokio::time::sleep(LOOK_EVERY).await;
            // Ready at once: nothing on that channel is confirmed.
            let back = inner.wordless.wait_for_confirms().now_or_never();
            let hear = inner.returns.hear.borrow().clone();
            for message in back.and_then(Result::ok).unwrap_or_default() {
                if let Some(hear) = &hear {
                    hear(correlation(&message.properties));
                }
            }
        }
    }
}

fn correlation(properties: &BasicProperties) -> u64 {
    let text = properties.correlation_id().as_ref();
    text.and_then(|text| text.as_str().parse().ok()).unwrap_or(0)
}

/// Notices the loss of the connection.
async fn watch(inner: Rc<Inner>, mut events: futures_util::stream::LocalBoxStream<'static, Event>) {
    let mut why = "the connection was closed".to_owned();
    while inner.connection.status().connected() {
        match events.next().await {
            // A channel's errors come here too: the connection stands.
            Some(Event::Error(error)) => why = error.to_string(),
            Some(_) => {}
            None => break,
        }
    }
    inner.end(why);
}

impl Drop for Amqp {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        // Sent at the first look; nobody waits for the broker's goodbye.
        let _goodbye = self.inner.connection.close(200, "".into()).now_or_never();
        self.inner.end("it was let go".to_owned());
    }
}

impl Inner {
    fn end(&self, why: String) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(why);
            first
        });
    }

    /// Whether a message can leave.
    fn check(&self, message: &Message) -> Result<(), String> {
        if message.body.len() > BODY_BYTES_MAX {
            return Err(format!("its body is longer than {BODY_BYTES_MAX} bytes"));
        }
        if message.key.len() > 255 {
            return Err("its key is longer than 255 bytes".to_owned());
        }
        if !self.exchanges.borrow().contains(&message.exchange) {
            return Err(format!("no exchange `{}` was declared", message.exchange));
        }
        match &*self.lost.borrow() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// What a failure of something asked means.
    fn error(&self, why: &lapin::Error) -> BrokerError {
        match why.kind() {
            ErrorKind::ProtocolError(error) if matches!(error.get_id(), 403..=406) => {
                BrokerError::Refused(error.get_message().to_string())
            }
            _ => BrokerError::Lost(self.lost.borrow().clone().unwrap_or_else(|| why.to_string())),
        }
    }

    /// Asks for something on the control channel.
    async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
    ) -> Result<T, BrokerError> {
        let mut control = self.control.lock().await;
        let channel = match control.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.connection.create_channel().await.map_err(|why| self.error(&why))?,
        };
        let outcome = ask(&channel).await;
        *control = Some(channel);
        outcome.map_err(|why| self.error(&why))
    }

    async fn confirming(&self) -> lapin::Result<Channel> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    async fn send(&self, message: Message) -> Published {
        if !message.mandatory {
            return match self.shared.get_or_try_init(|| self.confirming()).await {
                Ok(channel) => post(channel, message).await,
                Err(why) => Published::NotSent(why.to_string()),
            };
        }
        let mut own = self.mandatory.lock().await;
        let channel = match own.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => match self.confirming().await {
                Ok(channel) => channel,
                Err(why) => return Published::NotSent(why.to_string()),
            },
        };
        let published = post(&channel, message).await;
        *own = Some(channel);
        published
    }
}

/// Sends a message and waits for the broker's word.
async fn post(channel: &Channel, message: Message) -> Published {
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let (exchange, key) = (short(&message.exchange), short(&message.key));
    let properties = properties(&message);
    let sent = channel.basic_publish(exchange, key, options, &message.body, properties).await;
    // Certain: the broker does nothing with half a message.
    let confirm = match sent {
        Ok(confirm) => confirm,
        Err(why) => return Published::NotSent(why.to_string()),
    };
    match confirm.await {
        Ok(Confirmation::Ack(None)) => Published::Confirmed,
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Published::Unroutable,
        Ok(Confirmation::Nack(None)) => Published::Refused,
        Ok(Confirmation::NotRequested) => Published::Unknown("it is not confirmed".to_owned()),
        Err(why) => Published::Unknown(why.to_string()),
    }
}

fn properties(message: &Message) -> BasicProperties {
    let mut packed = BasicProperties::default();
    if let Some(ttl) = message.ttl {
        packed = packed.with_expiration(ttl.as_millis().to_string().into());
    }
    if !message.reply_to.is_empty() {
        packed = packed.with_reply_to(short(&message.reply_to));
    }
    if message.correlation != 0 {
        packed = packed.with_correlation_id(message.correlation.to_string().into());
    }
    if !message.from.is_empty() {
        packed = packed.with_app_id(short(&message.from));
    }
    packed
}

/// A text as AMQP has it for names, cut at 255 bytes; publishing refuses longer ones before.
fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_else(|_| "".into())
}

impl Amqp {
    fn ask(&self, ask: impl AsyncFnOnce(&Channel) -> lapin::Result<()> + 'static) -> Asked<()> {
        let inner = Rc::clone(&self.inner);
        Box::pin(async move { inner.ask(ask).await })
    }
}

impl Session for Amqp {
    fn declare_exchange(&self, name: &str, kind: ExchangeKind) -> Asked<()> {
        let kind = match kind {
            ExchangeKind::Direct => lapin::ExchangeKind::Direct,
            ExchangeKind::Topic => lapin::ExchangeKind::Topic,
            ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        };
        self.inner.exchanges.borrow_mut().insert(name.into());
        let name = short(name);
        self.ask(async move |channel| {
            let options = ExchangeDeclareOptions::default();
            channel.exchange_declare(name, kind, options, FieldTable::default()).await
        })
    }

    fn declare_queue(&self, queue: &QueueSpec) -> Asked<()> {
        let mut arguments = FieldTable::default();
        if let Some(most) = queue.length_max {
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(most.into()));
        }
        if queue.overflow == Overflow::Refuse {
            let refuse = AMQPValue::LongString("reject-publish".into());
            arguments.insert("x-overflow".into(), refuse);
        }
        let QueueSpec { exclusive, auto_delete, .. } = *queue;
        let options = QueueDeclareOptions { exclusive, auto_delete, ..Default::default() };
        let name = short(&queue.name);
        self.ask(async move |channel| {
            channel.queue_declare(name, options, arguments).await.map(drop)
        })
    }

    fn delete_queue(&self, name: &str) -> Asked<()> {
        let name = short(name);
        self.ask(async move |channel| {
            channel.queue_delete(name, QueueDeleteOptions::default()).await.map(drop)
        })
    }

    fn bind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()> {
        let (queue, exchange, key) = (short(queue), short(exchange), short(key));
        self.ask(async move |channel| {
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind(queue, exchange, key, options, none).await
        })
    }

    fn unbind(&self, queue: &str, exchange: &str, key: &str) -> Asked<()> {
        let (queue, exchange, key) = (short(queue), short(exchange), short(key));
        self.ask(async move |channel| {
            channel.queue_unbind(queue, exchange, key, FieldTable::default()).await
        })
    }

    fn tell(&self, message: Message) -> Result<(), String> {
        self.inner.check(&message)?;
        let mut leaving = self.inner.leaving.borrow_mut();
        while leaving.front_mut().is_some_and(|first| first.now_or_never().is_some()) {
            leaving.pop_front();
        }
        if leaving.len() >= UNCONFIRMED_MAX {
            return Err(format!("{UNCONFIRMED_MAX} messages wait to be written"));
        }
        if message.mandatory && !self.inner.returns.may_come() {
            self.inner.returns.told.notify_one();
        }
        if message.mandatory {
            self.inner.returns.last.set(Some(Instant::now()));
        }
        let channel = self.inner.wordless.clone();
        // With the library at the first look; then it is its thread that writes.
        let mut sending: LocalBoxFuture<'static, lapin::Result<()>> = Box::pin(async move {
            let (exchange, key) = (short(&message.exchange), short(&message.key));
            let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
            let properties = properties(&message);
            let sent = channel.basic_publish(exchange, key, options, &message.body, properties);
            sent.await.map(drop)
        });
        if let Some(sent) = (&mut sending).now_or_never() {
            return sent.map_err(|why| why.to_string());
        }
        leaving.push_back(sending);
        Ok(())
    }

    fn on_return(&self, hear: Hear) {
        self.inner.returns.hear.replace(Some(hear));
    }

    fn publish(&self, message: Message) -> LocalBoxFuture<'static, Published> {
        let inner = &self.inner;
        let not_sent = |why: String| Box::pin(ready(Published::NotSent(why)));
        if let Err(why) = inner.check(&message) {
            return not_sent(why);
        }
        if inner.unconfirmed.get() >= UNCONFIRMED_MAX {
            return not_sent(format!("{UNCONFIRMED_MAX} messages wait for the broker's word"));
        }
        inner.unconfirmed.set(inner.unconfirmed.get() + 1);
        let (done, outcome) = oneshot::channel();
        let sender = Rc::clone(inner);
        // A task of its own: it leaves now, and its channel is free again when the broker has
        // spoken, whether or not anybody still waits for that.
        tokio::task::spawn_local(async move {
            let published = sender.send(message).await;
            sender.unconfirmed.set(sender.unconfirmed.get() - 1);
            // Nobody need want to know.
            let _ = done.send(published);
        });
        Box::pin(async move {
            outcome.await.unwrap_or_else(|_| Published::Unknown("the sender ended".to_owned()))
        })
    }

    fn consume(&self, queue: &str, prefetch: u16) -> Asked<Consumer> {
        let (inner, queue, prefetch) = (Rc::clone(&self.inner), short(queue), prefetch.max(1));
        Box::pin(async move {
            let consume = async {
                // A channel of its own: closing it gives back what is not settled.
                let channel = inner.connection.create_channel().await?;
                channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
                let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
                let consumer = channel.basic_consume(queue, "".into(), options, none).await?;
                Ok((channel, consumer))
            };
            let (channel, consumer) = consume.await.map_err(|why| inner.error(&why))?;
            let (sender, deliveries) = mpsc::channel(prefetch.into());
            let reading = read(consumer, channel.clone(), sender);
            let reader = tokio::task::spawn_local(reading).abort_handle();
            Ok(Consumer { deliveries, cancel: Box::new(Cancel { channel, reader }) })
        })
    }

    fn closed(&self) -> LocalBoxFuture<'static, String> {
        let mut lost = self.inner.lost.subscribe();
        Box::pin(async move {
            let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            why.unwrap_or_else(|| "it was let go".to_owned())
        })
    }
}

/// Hands on what a consumer gets, until it is cancelled or the connection is lost.
async fn read(mut consumer: lapin::Consumer, channel: Channel, to: mpsc::Sender<Delivery>) {
    while let Some(Ok(got)) = consumer.next().await {
        let text = |short: &Option<ShortString>| {
            short.as_ref().map_or_else(CompactString::default, |text| text.as_str().into())
        };
        let correlation = correlation(&got.properties);
        let message = Message {
            exchange: got.exchange.as_str().into(),
            key: got.routing_key.as_str().into(),
            body: got.data.into(),
            reply_to: text(got.properties.reply_to()),
            correlation,
            from: text(got.properties.app_id()),
            ..Message::default()
        };
        let (redelivered, tag) = (got.redelivered, got.delivery_tag);
        let settler = Rc::new(Settling(channel.clone()));
        if to.send(Delivery { message, redelivered, tag, settler }).await.is_err() {
            return;
        }
    }
}

/// Over the channel itself, not the library's handle on a delivery: what that sends may be overtaken
/// by the end of the channel.
struct Settling(Channel);

impl Settler for Settling {
    fn settle(&self, tag: u64, how: Settle) {
        // Sent at the first look; what a lost session did not settle goes back by itself.
        if how == Settle::Requeue {
            let options = BasicNackOptions { multiple: false, requeue: true };
            let _sent = self.0.basic_nack(tag, options).now_or_never();
        } else {
            let options = BasicAckOptions { multiple: how == Settle::DoneToHere };
            let _sent = self.0.basic_ack(tag, options).now_or_never();
        }
    }
}

/// Cancels its consumer when dropped.
struct Cancel {
    channel: Channel,
    reader: AbortHandle,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.reader.abort();
        // Sent at the first look, too.
        let _closed = self.channel.close(200, "".into()).now_or_never();
    }
}
