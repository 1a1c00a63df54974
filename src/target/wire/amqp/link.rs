//! One connection and its successors: dialling, noticing a loss, dialling again. Knows nothing of
//! what is sent over it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd as _,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::LocalBoxStream};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind, Event, ExchangeKind,
    options::{ConfirmSelectOptions, ExchangeDeclareOptions},
    runtime::default_runtime,
    tcp::{AMQPUriTcpExt as _, TLSConfig},
    types::FieldTable,
    uri::AMQPUri,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    AmqpError, Limits, address::Address, call::DeskSlot, message::short, publish::Lanes,
    relay::Relay,
};
use crate::target::wire::tls::Tls;

/// What stays the same over all connections.
pub(super) struct Setup {
    pub address: Address,
    pub limits: Limits,
    /// For a broker that is spoken to over TLS.
    pub tls: Option<Tls>,
}

/// Whether there is a connection.
pub(super) enum Link {
    Up(Rc<Live>),
    Down(String),
}

/// The news of a connection.
pub(super) type Events = LocalBoxStream<'static, Event>;

/// A connection that is logged in.
pub(super) struct Live {
    pub setup: Rc<Setup>,
    pub connection: Connection,
    pub lanes: Lanes,
    pub desk: DeskSlot,
    exchanges: RefCell<BTreeSet<String>>,
    // Dropped with the connection: whatever its thread still waits for ends then.
    _socket: Socket,
    _relay: Option<Relay>,
}

impl Live {
    /// Connects and logs in, within the limit.
    pub async fn dial(setup: &Rc<Setup>) -> Result<(Rc<Self>, Events), String> {
        let within = setup.limits.connect_within;
        match timeout(within, Self::handshake(setup)).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }

    async fn handshake(setup: &Rc<Setup>) -> Result<(Rc<Self>, Events), String> {
        let mut address = reachable(&setup.address.resolve().await?).await?;
        let (mut relay, mut guest) = (None, None);
        if let Some(tls) = setup.tls.as_ref().filter(|_| setup.address.is_secure()) {
            let (open, expects) = Relay::open(tls, setup.address.host(), address).await?;
            address = open.address;
            (relay, guest) = (Some(open), Some(expects));
        }
        let socket = Socket::default();
        let slot = Arc::clone(&socket.0);
        let runtime = default_runtime().map_err(|why| why.to_string())?;
        // The same runtime as the closure is given, of a type that is known here.
        let own = runtime.clone();
        let connect = async move |uri: AMQPUri, _| {
            let stream = uri.connect_with_config_async(TLSConfig::default(), &own).await?;
            #[allow(irrefutable_let_patterns, reason = "the library is built without TLS")]
            if let AsyncTcpStream::Plain(plain) = &stream {
                let socket: TcpStream = plain.get_ref().as_fd().try_clone_to_owned()?.into();
                if let Some(guest) = &guest {
                    guest.is(socket.local_addr()?);
                }
                Held::hold(&slot, socket)?;
            }
            Ok(stream)
        };
        let options = ConnectionProperties::default().with_connection_name("robot-city".into());
        let words = |why: lapin::Error| {
            let why = setup.address.redact(&why.to_string());
            format!("{why}{}", setup.address.hint())
        };
        let connection =
            Connection::connector(setup.address.at(address), runtime, connect, options)
                .await
                .map_err(words)?;
        let events = connection.events_listener().boxed_local();
        let live = Self {
            setup: Rc::clone(setup),
            connection,
            lanes: Lanes::new(&setup.limits),
            desk: DeskSlot::default(),
            exchanges: RefCell::default(),
            _socket: socket,
            _relay: relay,
        };
        Ok((Rc::new(live), events))
    }

    /// A channel on which each message is confirmed.
    pub async fn channel(&self) -> Result<Channel, AmqpError> {
        let open = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        open.await.map_err(|why| self.not_sent("no channel", &why))
    }

    /// An error if the broker has no such exchange: publishing to it would cost the channel, and
    /// with it the word on every other message there. Asked once a connection.
    pub async fn exchange_exists(&self, name: &str) -> Result<(), AmqpError> {
        if name.is_empty() || self.exchanges.borrow().contains(name) {
            return Ok(());
        }
        let exchange = short("exchange", name)?;
        let ask = async {
            let channel = self.connection.create_channel().await?;
            let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
            let kind = ExchangeKind::Direct;
            channel.exchange_declare(exchange, kind, passive, FieldTable::default()).await
        };
        ask.await.map_err(|why| self.not_sent(&format!("exchange `{name}`"), &why))?;
        let mut known = self.exchanges.borrow_mut();
        if known.len() < self.setup.limits.exchanges {
            known.insert(name.to_owned());
        }
        Ok(())
    }

    /// Forgets that an exchange exists.
    pub fn forget_exchange(&self, name: &str) {
        self.exchanges.borrow_mut().remove(name);
    }

    /// The library's words, without the password.
    pub fn words(&self, why: &lapin::Error) -> String {
        self.setup.address.redact(&why.to_string())
    }

    /// An error of a step before anything was sent.
    pub fn not_sent(&self, what: &str, why: &lapin::Error) -> AmqpError {
        AmqpError::NotSent(format!("{what}: {}", self.words(why)))
    }
}

/// Whether the broker closed a channel because it would not take a message (no such exchange, no
/// right to it, properties that make no sense): it looks at these before any queue gets it.
pub(super) fn refused(why: &lapin::Error) -> bool {
    matches!(why.kind(), ErrorKind::ProtocolError(error) if matches!(error.get_id(), 403 | 404 | 406))
}

/// The first address that takes a connection. Found out here, not by the library: its thread would
/// go on trying an address that swallows packets after nobody waits any more.
async fn reachable(addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
    let mut last = String::new();
    for address in addresses {
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => return Ok(*address),
            Err(why) => last = format!("{address}: {why}"),
        }
    }
    Err(last)
}

/// A hold on a connection's socket, to hang up by: the library waits without an end for a broker
/// that says nothing while it logs in or says goodbye.
#[derive(Default)]
struct Socket(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    stream: Option<TcpStream>,
    hung_up: bool,
}

impl Held {
    fn hold(this: &Mutex<Self>, stream: TcpStream) -> io::Result<()> {
        let mut held = this.lock().unwrap_or_else(PoisonError::into_inner);
        if held.hung_up {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        held.stream = Some(stream);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.hung_up = true;
        if let Some(stream) = held.stream.take() {
            // One that is gone already needs no hanging up.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Notices the loss of a connection and dials until there is one again, for ever.
pub(super) async fn supervise(setup: Rc<Setup>, link: Rc<watch::Sender<Link>>, first: Events) {
    let mut events = first;
    loop {
        let why = lost(&link, &mut events).await;
        link.send_replace(Link::Down(setup.address.redact(&why)));
        let mut pause = Backoff::new(&setup.limits);
        events = loop {
            pause.wait().await;
            match Live::dial(&setup).await {
                Ok((live, events)) => {
                    link.send_replace(Link::Up(live));
                    break events;
                }
                Err(why) => link.send_replace(Link::Down(why)),
            };
        };
    }
}

/// Waits until the connection is lost; why.
async fn lost(link: &watch::Sender<Link>, events: &mut Events) -> String {
    let mut why = "the connection was closed".to_owned();
    loop {
        let up = matches!(&*link.borrow(), Link::Up(live) if live.connection.status().connected());
        if !up {
            return why;
        }
        match events.next().await {
            // A channel's errors come here too: the connection stands.
            Some(Event::Error(error)) => why = error.to_string(),
            Some(_) => {}
            None => return why,
        }
    }
}

/// Longer and longer waits.
pub(super) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub fn new(limits: &Limits) -> Self {
        Self {
            next: limits.reconnect_first.min(limits.reconnect_most),
            most: limits.reconnect_most,
        }
    }

    pub async fn wait(&mut self) {
        sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(self.most);
    }
}
