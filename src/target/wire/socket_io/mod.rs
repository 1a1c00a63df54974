//! Socket.IO over one WebSocket, without the detour over polling: the handshake, the namespace with
//! its auth frame, heartbeats, events both ways and acknowledgements. Binary attachments are not
//! read.

pub mod frame;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use futures_util::future::{Either, select};
use http::HeaderMap;
use serde_json::Value;
use tokio::{
    sync::oneshot,
    task::spawn_local,
    time::{Instant, sleep_until, timeout},
};

use super::{
    base::Base,
    websocket::{self, Closed, ClosedBy, Handle, Message, Socket, WireError},
};
use frame::{Frame, Handshake, Kind, Packet, ROOT, encode, parse};

/// Where servers have it unless the URL says otherwise.
const PATH: &str = "/socket.io/";
/// Events of one connection whose acknowledgements are awaited at once.
const AWAITED_MAX: usize = 1_024;

/// How connections behave.
#[derive(Clone)]
pub struct Options {
    /// Of the WebSocket below.
    pub socket: websocket::Options,
    /// The namespace, beginning with a `/`.
    pub namespace: String,
    /// The auth frame: what the server is told to be let into the namespace.
    pub auth: Option<Value>,
    /// How long the server may take to let us in once the WebSocket is open.
    pub answer_within: Duration,
}

impl Options {
    /// Into the root namespace, without an auth frame.
    pub fn new(socket: websocket::Options) -> Self {
        let answer_within = socket.connect_within;
        Self { socket, namespace: ROOT.to_owned(), auth: None, answer_within }
    }
}

/// What is done with each event that comes: its name and what belongs to it. Runs within the
/// connection's task: must not block, may emit and may drop the connection. An event that wants an
/// acknowledgement gets an empty one.
pub type OnEvent = Rc<dyn Fn(&str, Vec<Value>)>;

/// A connection that was let into its namespace. Dropping it leaves and says goodbye.
pub struct SocketIo {
    socket: Socket,
    state: Rc<State>,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The server has not said anything.
    Opening,
    /// The server has not let us in.
    Joining,
    /// We are in.
    In,
}

struct State {
    /// Set as soon as the WebSocket is open, before anything can come on it.
    handle: RefCell<Option<Handle>>,
    phase: Cell<Phase>,
    namespace: String,
    auth: RefCell<Option<Value>>,
    /// Told once whether we are in.
    joined: RefCell<Option<oneshot::Sender<Result<(), WireError>>>>,
    silence_max: Cell<Duration>,
    heard: Cell<Instant>,
    next_id: Cell<u64>,
    // Found by number only: its order reaches nothing.
    awaited: RefCell<HashMap<u64, oneshot::Sender<Vec<Value>>>>,
    on_event: OnEvent,
}

impl SocketIo {
    /// Opens a connection to `url` (its path is `/socket.io/` if it has none) and waits until the
    /// server lets us into the namespace. A server that says no is `Refused`, in its own words.
    pub async fn open(
        url: &str,
        headers: HeaderMap,
        options: &Options,
        on_event: OnEvent,
    ) -> Result<Self, WireError> {
        let url = address(url)?;
        let (told, joined) = oneshot::channel();
        let state = Rc::new(State {
            handle: RefCell::default(),
            phase: Cell::new(Phase::Opening),
            namespace: options.namespace.clone(),
            auth: RefCell::new(options.auth.clone()),
            joined: RefCell::new(Some(told)),
            silence_max: Cell::new(Duration::MAX),
            heard: Cell::new(Instant::now()),
            next_id: Cell::new(0),
            awaited: RefCell::default(),
            on_event,
        });
        let taking = Rc::clone(&state);
        let on_message = Rc::new(move |message| taking.take(message));
        let socket = Socket::open(&url, headers, &options.socket, on_message).await?;
        // The task that calls `on_message` has not run yet: this one has not waited since.
        state.handle.replace(Some(socket.handle()));
        state.await_join(joined, &socket, options.answer_within).await?;
        spawn_local(watch(Rc::clone(&state), socket.handle()));
        Ok(Self { socket, state })
    }

    /// Queues an event. That the server saw it is certain only when it says so.
    pub fn emit(&self, name: &str, payload: Vec<Value>) -> Result<(), WireError> {
        self.state.emit(None, name, payload)
    }

    /// Queues an event and waits for its acknowledgement, without a deadline. Dropping it forgets
    /// the acknowledgement, not the event.
    pub async fn emit_with_ack(
        &self,
        name: &str,
        payload: Vec<Value>,
    ) -> Result<Vec<Value>, WireError> {
        let state = &self.state;
        if state.awaited.borrow().len() >= AWAITED_MAX {
            let why = format!("{AWAITED_MAX} acknowledgements are awaited already");
            return Err(WireError::Full(why));
        }
        let id = state.next_id.get();
        state.next_id.set(id + 1);
        let (told, answer) = oneshot::channel();
        state.awaited.borrow_mut().insert(id, told);
        let _awaited = Awaited { id, state };
        state.emit(Some(id), name, payload)?;
        if let Ok(payload) = answer.await {
            return Ok(payload);
        }
        let closed = self.socket.closed().await;
        Err(WireError::Broken(format!("not acknowledged: {closed}")))
    }

    /// Whether events can be emitted.
    pub fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// A handle that does not keep it open.
    pub fn handle(&self) -> super::websocket::Handle {
        self.socket.handle()
    }

    /// How it ended, once it has.
    pub async fn closed(&self) -> Closed {
        self.socket.closed().await
    }

    /// Leaves the namespace and says goodbye; how it ended.
    pub async fn close(&self) -> Closed {
        self.leave();
        self.socket.close().await
    }

    fn leave(&self) {
        // One that cannot be told any more knows.
        let _ = self.state.send_frame(Kind::Disconnect);
    }
}

impl Drop for SocketIo {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An acknowledgement that is awaited; forgotten when dropped.
struct Awaited<'a> {
    id: u64,
    state: &'a State,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.state.awaited.borrow_mut().remove(&self.id);
    }
}

impl State {
    fn emit(&self, id: Option<u64>, name: &str, payload: Vec<Value>) -> Result<(), WireError> {
        self.send_frame(Kind::Event { id, name: name.to_owned(), payload })
    }

    fn send_frame(&self, kind: Kind) -> Result<(), WireError> {
        self.send(&Packet::Frame(Frame { namespace: self.namespace.clone(), kind }))
    }

    fn send(&self, packet: &Packet) -> Result<(), WireError> {
        match self.handle.borrow().as_ref() {
            Some(handle) => handle.send(Message::text(encode(packet))),
            None => Err(WireError::NotConnected("the WebSocket is not open".to_owned())),
        }
    }

    fn end(&self, by: ClosedBy, reason: String) {
        if let Some(handle) = self.handle.borrow().as_ref() {
            handle.leave(Closed { by, code: None, reason });
        }
    }

    /// What came on the WebSocket.
    fn take(&self, message: Message) {
        self.heard.set(Instant::now());
        // Binary ones are attachments.
        let Message::Text(text) = message else { return };
        match parse(&text) {
            Ok(packet) => self.take_packet(packet),
            Err(why) => self.end(ClosedBy::Break, why.to_string()),
        }
    }

    fn take_packet(&self, packet: Packet) {
        match packet {
            Packet::Open(handshake) => self.join(&handshake),
            // A full queue sends no pong: the server takes us for gone, as we are.
            Packet::Ping(text) => drop(self.send(&Packet::Pong(text))),
            Packet::Close => self.end(ClosedBy::Server, "it ended Engine.IO".to_owned()),
            Packet::Frame(Frame { namespace, kind }) if namespace == self.namespace => {
                self.take_frame(kind);
            }
            Packet::Pong(_) | Packet::Nothing | Packet::Frame(_) => {}
        }
    }

    /// Asks to be let into the namespace.
    fn join(&self, handshake: &Handshake) {
        if self.phase.get() != Phase::Opening {
            return;
        }
        self.phase.set(Phase::Joining);
        self.silence_max.set(handshake.silence_max());
        if let Err(why) = self.send_frame(Kind::Connect(self.auth.take())) {
            self.tell(Err(why));
        }
    }

    fn take_frame(&self, kind: Kind) {
        match kind {
            Kind::Connect(Some(_)) if self.phase.get() == Phase::Joining => {
                self.phase.set(Phase::In);
                self.tell(Ok(()));
            }
            Kind::Connect(None) => {
                let why = "the server speaks Socket.IO 2 or older: version 3 or newer is needed";
                self.end(ClosedBy::Break, why.to_owned());
            }
            Kind::Connect(_) => {}
            Kind::ConnectError(data) => {
                let words = match data.get("message").and_then(Value::as_str) {
                    Some(words) => words.to_owned(),
                    None => data.to_string(),
                };
                self.tell(Err(WireError::Refused { status: None, words }));
            }
            Kind::Disconnect => {
                let why = format!("it put us out of the namespace {}", self.namespace);
                self.end(ClosedBy::Server, why);
            }
            Kind::Event { id, name, payload } => {
                if let Some(id) = id {
                    // One that does not fit is not sent: the server has its own deadline.
                    drop(self.send_frame(Kind::Ack { id, payload: Vec::new() }));
                }
                (self.on_event)(&name, payload);
            }
            Kind::Ack { id, payload } => {
                // Nobody may be waiting any more.
                let told = self.awaited.borrow_mut().remove(&id);
                let _ = told.map(|told| told.send(payload));
            }
        }
    }

    /// Waits until we are in, or the connection has ended, or for too long.
    async fn await_join(
        &self,
        joined: oneshot::Receiver<Result<(), WireError>>,
        socket: &Socket,
        within: Duration,
    ) -> Result<(), WireError> {
        match timeout(within, select(joined, pin!(socket.closed()))).await {
            Ok(Either::Left((Ok(outcome), _))) => outcome,
            Ok(Either::Left((Err(_), closed))) => Err(gone(&closed.await)),
            Ok(Either::Right((closed, _))) => Err(gone(&closed)),
            Err(_) => Err(self.silent(within)),
        }
    }

    fn tell(&self, outcome: Result<(), WireError>) {
        if let Some(joined) = self.joined.borrow_mut().take() {
            // Nobody may be waiting any more.
            let _ = joined.send(outcome);
        }
    }

    fn silent(&self, within: Duration) -> WireError {
        let what = match self.phase.get() {
            Phase::Opening => "the server did not begin with Socket.IO's handshake".to_owned(),
            _ => format!("the server did not let us into the namespace {}", self.namespace),
        };
        WireError::NotConnected(format!("{what} within {within:?}"))
    }
}

/// Ends a connection whose server is silent for longer than it promised, and lets those who await
/// acknowledgements know when it has ended.
async fn watch(state: Rc<State>, handle: Handle) {
    let mut closed = pin!(handle.closed());
    // A promise beyond what a clock can tell is none.
    while let Some(at) = state.heard.get().checked_add(state.silence_max.get()) {
        if at <= Instant::now() {
            let why = format!("the server said nothing for {:?}", state.silence_max.get());
            state.end(ClosedBy::Break, why);
            break;
        }
        if let Either::Left(_) = select(closed.as_mut(), pin!(sleep_until(at))).await {
            state.awaited.take();
            return;
        }
    }
    closed.await;
    state.awaited.take();
}

fn gone(closed: &Closed) -> WireError {
    WireError::NotConnected(format!("Socket.IO did not open: {closed}"))
}

/// The URL with the path and the query that Socket.IO needs.
fn address(url: &str) -> Result<String, WireError> {
    let (base, path) =
        Base::with_path(url).map_err(|why| WireError::NotConnected(why.to_string()))?;
    let place = if path.path() == "/" { PATH } else { path.path() };
    let own = path.query().map(|query| format!("{query}&")).unwrap_or_default();
    Ok(format!("{base}{place}?{own}EIO=4&transport=websocket"))
}

#[cfg(test)]
mod tests;
