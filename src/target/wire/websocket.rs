//! `WebSocket`s to backends. One small task a socket reads, writes and answers pings; what comes is
//! handed to a callback, what goes waits in a bounded queue. Buffers are small: thousands of robots
//! each hold one.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{Instant, timeout, timeout_at},
};
pub use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Error,
        error::{CapacityError, ProtocolError},
        handshake::client::generate_key,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    base::Base,
    dial::{Allowed, Dialer, Stream},
    tls::{Speaks, Tls},
};

/// What is read at once. Allocated for each socket, and again while messages are held on to.
const READ_BYTES: usize = 4 * 1024;
/// Small messages are written together up to this many bytes.
const WRITE_BYTES: usize = 4 * 1024;
/// Room for pongs and a goodbye behind the largest message.
const CONTROL_BYTES: usize = 1024;
/// What is shown of the body of a refusal.
const WORDS_MAX: usize = 400;

/// What went wrong, told apart by what the server can have seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It certainly saw nothing: no connection, or one that is closed.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// It answered no, in its own words.
    #[error("refused{}: {words}", status.map(|status| format!(" with {status}")).unwrap_or_default())]
    Refused {
        /// The status, if the answer was one of HTTP.
        status: Option<u16>,
        /// What it said.
        words: String,
    },
    /// The queue is full: certainly not sent.
    #[error("not sent: {0}")]
    Full(String),
    /// It may have been seen.
    #[error("broken: {0}")]
    Broken(String),
}

/// A message, either way. One that came shares its memory with what was read along with it: take
/// out what is needed and let it go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// A message of this text.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Self::Text(text.into())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// How sockets behave.
#[derive(Clone)]
pub struct Options {
    /// For URLs that are spoken to over TLS.
    pub tls: Option<Tls>,
    /// How long it may take from a name to an open socket.
    pub connect_within: Duration,
    /// The largest message that may come; a larger one ends the socket.
    pub message_bytes_max: usize,
    /// Messages that may wait to be sent; beyond it sending fails.
    pub queue_max: usize,
    /// Bytes that may wait to be sent; beyond it sending fails. Also the largest message.
    pub queue_bytes_max: usize,
    /// How long a socket that was let go of may take to send what waits and to say goodbye.
    pub leave_within: Duration,
    /// Asked for each address before anything is sent there.
    pub allowed: Allowed,
}

impl Options {
    /// With the limits that suit most backends.
    pub fn new(tls: Option<Tls>, allowed: Allowed) -> Self {
        Self {
            tls,
            connect_within: Duration::from_secs(5),
            message_bytes_max: 1024 * 1024,
            queue_max: 256,
            queue_bytes_max: 256 * 1024,
            leave_within: Duration::from_secs(2),
            allowed,
        }
    }
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Who ended it.
    pub by: ClosedBy,
    /// The code of the goodbye, if one was said.
    pub code: Option<u16>,
    /// Why, in words: the server's own, if it said some.
    pub reason: String,
}

/// Who ended a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// We did.
    Us,
    /// The server said goodbye.
    Server,
    /// The connection broke, or what came on it could not be understood.
    Break,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            ClosedBy::Us => write!(f, "closed by us")?,
            ClosedBy::Server => write!(f, "closed by the server")?,
            ClosedBy::Break => write!(f, "broke")?,
        }
        if let Some(code) = self.code {
            write!(f, " with {code}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// An open WebSocket. Dropping it sends what waits, says goodbye and delivers nothing more.
pub struct Socket {
    handle: Handle,
}

/// A handle to a socket that does not keep it open.
#[derive(Clone)]
pub struct Handle {
    shared: Rc<Shared>,
}

/// What a socket and its task share.
struct Shared {
    queue: RefCell<VecDeque<Message>>,
    queued_bytes: Cell<usize>,
    queue_max: usize,
    queue_bytes_max: usize,
    /// Set when we want to leave; the socket ends as this says.
    leaving: RefCell<Option<Closed>>,
    /// Nobody wants messages any more.
    deaf: Cell<bool>,
    closed: RefCell<Option<Closed>>,
    ended: Notify,
    task: RefCell<Option<Waker>>,
}

impl Shared {
    /// Ends it for all who wait for that. The first reason stays.
    fn end(&self, why: Closed) {
        self.closed.borrow_mut().get_or_insert(why);
        self.ended.notify_waiters();
    }
}

/// What is done with each message that comes. Runs within the socket's task: must not block, may
/// send and may drop the socket.
pub type OnMessage = Rc<dyn Fn(Message)>;

impl Socket {
    /// Opens a socket at `url` (`ws://`, `wss://`, `http://` or `https://`, with path and query).
    pub async fn open(
        url: &str,
        headers: HeaderMap,
        options: &Options,
        on_message: OnMessage,
    ) -> Result<Self, WireError> {
        let not_connected = |why: String| WireError::NotConnected(why);
        let (base, path) = Base::with_path(url).map_err(|why| not_connected(why.to_string()))?;
        let Options { tls, connect_within, allowed, .. } = options.clone();
        let until = Instant::now() + connect_within;
        let dialer = Dialer { tls, connect_within, allowed };
        let stream = Box::pin(dialer.dial(&base, Speaks::Http1)).await.map_err(not_connected)?;
        let request = opening(&base, path.as_str(), headers).map_err(not_connected)?;
        let place = format!("{}:{}", base.host(), base.port());
        let handshake = Box::pin(client_async_with_config(request, stream, Some(config(options))));
        let socket = match timeout_at(until, handshake).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(why)) => return Err(not_opened(&place, why)),
            Err(_) => {
                let why = format!("{place}: the WebSocket did not open within {connect_within:?}");
                return Err(WireError::NotConnected(why));
            }
        };
        Ok(Self::start(socket, options, on_message))
    }

    fn start(socket: WebSocketStream<Stream>, options: &Options, on_message: OnMessage) -> Self {
        let shared = Rc::new(Shared {
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            queue_max: options.queue_max,
            queue_bytes_max: options.queue_bytes_max,
            leaving: RefCell::default(),
            deaf: Cell::new(false),
            closed: RefCell::default(),
            ended: Notify::new(),
            task: RefCell::default(),
        });
        let session = Session {
            socket,
            shared: Rc::clone(&shared),
            on_message,
            unflushed: false,
            left: false,
            leave_within: options.leave_within,
        };
        spawn_local(session.run());
        Self { handle: Handle { shared } }
    }

    /// A handle that does not keep it open.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// As [`Handle::send`].
    pub fn send(&self, message: Message) -> Result<(), WireError> {
        self.handle.send(message)
    }

    /// As [`Handle::is_open`].
    pub fn is_open(&self) -> bool {
        self.handle.is_open()
    }

    /// As [`Handle::closed`].
    pub async fn closed(&self) -> Closed {
        self.handle.closed().await
    }

    /// Sends what waits and says goodbye; how it ended.
    pub async fn close(&self) -> Closed {
        self.handle.leave(ours());
        self.closed().await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.handle.shared.deaf.set(true);
        self.handle.leave(ours());
    }
}

impl Handle {
    /// Queues a message. It is sent as soon as the connection takes it; that the server saw it is
    /// certain only when it says so.
    pub fn send(&self, message: Message) -> Result<(), WireError> {
        let shared = &self.shared;
        let ended = shared.closed.borrow().clone().or_else(|| shared.leaving.borrow().clone());
        if let Some(closed) = ended {
            return Err(WireError::NotConnected(format!("the socket is gone, {closed}")));
        }
        let (bytes, mut queue) = (message.bytes(), shared.queue.borrow_mut());
        if queue.len() >= shared.queue_max {
            let max = shared.queue_max;
            return Err(WireError::Full(format!("{max} messages wait for the server to read")));
        }
        if shared.queued_bytes.get() + bytes > shared.queue_bytes_max {
            let max = shared.queue_bytes_max;
            return Err(WireError::Full(format!("more than {max} bytes would wait to be sent")));
        }
        shared.queued_bytes.set(shared.queued_bytes.get() + bytes);
        queue.push_back(message);
        drop(queue);
        self.wake();
        Ok(())
    }

    /// Messages that wait for the connection to take them.
    pub fn waiting(&self) -> usize {
        self.shared.queue.borrow().len()
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        self.shared.closed.borrow().is_none() && self.shared.leaving.borrow().is_none()
    }

    /// How it ended, once it has.
    pub async fn closed(&self) -> Closed {
        loop {
            let ended = self.shared.ended.notified();
            if let Some(closed) = self.shared.closed.borrow().clone() {
                return closed;
            }
            ended.await;
        }
    }

    /// Ends the socket for a reason that is not the server's goodbye.
    pub(super) fn leave(&self, why: Closed) {
        let mut leaving = self.shared.leaving.borrow_mut();
        if leaving.is_none() && self.shared.closed.borrow().is_none() {
            *leaving = Some(why);
            drop(leaving);
            self.wake();
        }
    }

    fn wake(&self) {
        // Taken out first: what a waker does is not known here.
        let task = self.shared.task.borrow_mut().take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn ours() -> Closed {
    Closed { by: ClosedBy::Us, code: Some(1000), reason: String::new() }
}

/// The task of a socket.
struct Session {
    socket: WebSocketStream<Stream>,
    shared: Rc<Shared>,
    on_message: OnMessage,
    /// Something was written that may not have left.
    unflushed: bool,
    /// Our goodbye was written.
    left: bool,
    leave_within: Duration,
}

impl Session {
    async fn run(mut self) {
        let shared = Rc::clone(&self.shared);
        let ended = poll_fn(|cx| self.poll_until_leaving(cx)).await;
        if ended.is_none() {
            let why = shared.leaving.borrow().clone().unwrap_or_else(ours);
            if why.by != ClosedBy::Us {
                // Whoever waits for the end need not wait for the goodbye.
                shared.end(why);
            }
            // What it ends with is known, however the server takes it.
            let _ = timeout(self.leave_within, poll_fn(|cx| self.poll_leave(cx))).await;
        }
        // First the connection and the callback with all that it holds.
        drop(self);
        shared.end(ended.unwrap_or_else(ours));
        shared.queue.take();
        shared.task.take();
    }

    /// Reads and writes until the socket has ended, or until we want to leave (`None`).
    fn poll_until_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Option<Closed>> {
        let mut goodbye = None;
        loop {
            if self.shared.leaving.borrow().is_some() {
                return Poll::Ready(None);
            }
            // Behind the server's goodbye nothing may be said but ours, which is on its way.
            if goodbye.is_none()
                && let Err(why) = self.poll_write(cx)
            {
                return Poll::Ready(Some(ended(why, goodbye)));
            }
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => self.take(message, &mut goodbye),
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Some(ended(why, goodbye))),
                Poll::Ready(None) => {
                    return Poll::Ready(Some(ended(Error::ConnectionClosed, goodbye)));
                }
                Poll::Pending if goodbye.is_some() => {
                    // The answer to it has left as far as it can; the rest is the server's.
                    return Poll::Ready(goodbye);
                }
                Poll::Pending => break,
            }
        }
        let mut task = self.shared.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Sends what waits, says goodbye and waits for the server's.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut goodbye = None;
        loop {
            if goodbye.is_none() && self.poll_write(cx).is_err() {
                return Poll::Ready(());
            }
            if !self.left
                && goodbye.is_none()
                && self.shared.queue.borrow().is_empty()
                && !self.unflushed
            {
                let code = self.shared.leaving.borrow().as_ref().and_then(|closed| closed.code);
                let code = CloseCode::from(code.unwrap_or(1000));
                let frame = CloseFrame { code, reason: Utf8Bytes::default() };
                let goodbye = tungstenite::Message::Close(Some(frame));
                if Pin::new(&mut self.socket).start_send(goodbye).is_err() {
                    return Poll::Ready(());
                }
                (self.left, self.unflushed) = (true, true);
                continue;
            }
            match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => self.take(message, &mut goodbye),
                Poll::Ready(_) => return Poll::Ready(()),
                // Both have said it: what is left to the server is to close the connection.
                Poll::Pending if goodbye.is_some() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes what waits, as far as the connection takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.shared.queue.borrow().is_empty() {
            match socket.as_mut().poll_ready(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending => return Ok(()),
            }
            let Some(message) = self.shared.queue.borrow_mut().pop_front() else { break };
            let left = self.shared.queued_bytes.get() - message.bytes();
            self.shared.queued_bytes.set(left);
            self.unflushed = true;
            socket.as_mut().start_send(match message {
                Message::Text(text) => tungstenite::Message::Text(text),
                Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            })?;
        }
        if self.unflushed && socket.poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    fn take(&self, message: tungstenite::Message, goodbye: &mut Option<Closed>) {
        let message = match message {
            tungstenite::Message::Text(text) => Message::Text(text),
            tungstenite::Message::Binary(bytes) => Message::Binary(bytes),
            tungstenite::Message::Close(frame) => {
                let (code, reason) = frame.map_or((None, String::new()), |frame| {
                    (Some(frame.code.into()), frame.reason.to_string())
                });
                *goodbye = Some(Closed { by: ClosedBy::Server, code, reason });
                return;
            }
            // Pings have been answered.
            _ => return,
        };
        if !self.shared.deaf.get() {
            (self.on_message)(message);
        }
    }
}

/// How the socket ended, from what it said last.
fn ended(why: Error, goodbye: Option<Closed>) -> Closed {
    if let Some(goodbye) = goodbye {
        return goodbye;
    }
    let reason = match why {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the server closed the connection without a goodbye".to_owned()
        }
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("a message of {size} bytes is larger than the limit of {max_size}")
        }
        other => other.to_string(),
    };
    Closed { by: ClosedBy::Break, code: None, reason }
}

fn config(options: &Options) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(WRITE_BYTES + options.queue_bytes_max + CONTROL_BYTES)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max))
}

fn opening(base: &Base, path: &str, headers: HeaderMap) -> Result<Request<()>, String> {
    let scheme = if base.secure() { "wss" } else { "ws" };
    // Not with the error itself: it could quote a token in the query.
    let uri = Uri::builder().scheme(scheme).authority(base.authority().clone());
    let uri = uri.path_and_query(path).build().map_err(|_| "its path cannot be sent".to_owned())?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let key = HeaderValue::from_str(&generate_key()).map_err(|why| why.to_string())?;
    let fixed = [
        (header::HOST, base.host_header().clone()),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (header::SEC_WEBSOCKET_KEY, key),
    ];
    for (name, value) in fixed {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn not_opened(place: &str, why: Error) -> WireError {
    match why {
        Error::Http(response) => {
            let status = response.status();
            let body = response.body().as_deref().unwrap_or_default();
            let words: String = String::from_utf8_lossy(body).chars().take(WORDS_MAX).collect();
            let words = match words.trim() {
                "" => format!("{place} did not open a WebSocket"),
                words => format!("{place} did not open a WebSocket: {words}"),
            };
            WireError::Refused { status: Some(status.as_u16()), words }
        }
        other => WireError::NotConnected(format!("{place}: the WebSocket did not open: {other}")),
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
