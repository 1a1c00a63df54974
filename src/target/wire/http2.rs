//! HTTP/2 to one server: a few connections that all exchanges share, each with a task of its own.
//! A further one is opened when all have as many streams as they may.

use std::{
    cell::{Cell, RefCell},
    error::Error as _,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Mutex, task::spawn_local};

use super::dial::Stream;
use crate::world::{
    HttpError,
    real::{
        http_body::{Body, whole},
        http_client::said,
    },
};

/// Connections to one server.
const CONNECTIONS_MAX: usize = 32;
/// Exchanges at once on one connection, if the server does not set a lower limit.
const STREAMS_MAX: usize = 256;
/// How often a request that a connection gave back unsent goes out on another one.
const UNSENT_MAX: usize = 3;
/// How often a connection in use is asked whether it is alive, and how long it may take to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// What an answer may fill before it is read: of one stream, and of all streams of a connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The largest head of an answer.
const HEAD_BYTES_MAX: u32 = 32 * 1024;

/// The connections to one server.
pub struct Connections {
    answer_bytes_max: usize,
    open: RefCell<Vec<Rc<Connection>>>,
    opening: Turns,
}

/// Work that one does for all who need it. Who waited for one that failed has failed too, or a
/// server that is down would be tried by one after the other.
#[derive(Default)]
pub struct Turns {
    turn: Mutex<()>,
    /// How many failed, and why the last one did.
    failed: RefCell<(u64, String)>,
}

impl Turns {
    /// What is `there` once it is this one's turn, or else the outcome of `work`.
    pub async fn take<T>(
        &self,
        there: impl Fn() -> Option<T>,
        work: impl AsyncFnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let failed_before = self.failed.borrow().0;
        let _turn = self.turn.lock().await;
        if let Some(there) = there() {
            return Ok(there);
        }
        if self.failed.borrow().0 != failed_before {
            return Err(self.failed.borrow().1.clone());
        }
        // On the heap: it is large, and seldom needed.
        Box::pin(work()).await.inspect_err(|why| {
            let mut failed = self.failed.borrow_mut();
            *failed = (failed.0 + 1, why.clone());
        })
    }
}

type Driver = http2::Connection<TokioIo<Stream>, Full<Bytes>, LocalTasks>;

struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    /// Moved on by its task; here it tells how many streams the server takes.
    driver: Rc<RefCell<Driver>>,
    streams: Cell<usize>,
}

/// One stream among those of a connection; given back when dropped.
struct Place(Rc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

impl Connection {
    fn place(self: &Rc<Self>) -> Place {
        self.streams.set(self.streams.get() + 1);
        Place(Rc::clone(self))
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.streams_max()
    }

    /// As the server said, once it has.
    fn streams_max(&self) -> usize {
        self.driver.borrow().current_max_send_streams().min(STREAMS_MAX)
    }
}

/// How an exchange ended, if not with an answer.
enum Failure {
    /// Nothing was sent: here is the request again.
    Unsent(Box<Request<Full<Bytes>>>, String),
    /// The server said that it did not look at it.
    Refused(String),
    /// It may have been seen.
    Broken(String),
}

impl Connections {
    /// None yet.
    pub fn new(answer_bytes_max: usize) -> Self {
        Self { answer_bytes_max, open: RefCell::default(), opening: Turns::default() }
    }

    /// One exchange, on a connection with room or on a stream that `dial` opens.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        dial: impl AsyncFn() -> Result<Stream, String>,
    ) -> Result<Response<Bytes>, HttpError> {
        let mut request = request.map(Full::new);
        let mut unsent = String::new();
        for _ in 0..UNSENT_MAX {
            let place = if let Some(place) = self.place() {
                place
            } else {
                let open = async || self.open(&dial).await;
                let opened = self.opening.take(|| self.place(), open).await;
                opened.map_err(HttpError::NotConnected)?
            };
            match self.exchange_on(&place, request).await {
                Ok(response) => return Ok(response),
                Err(Failure::Unsent(back, why)) => {
                    self.forget(&place.0);
                    (request, unsent) = (*back, why);
                }
                Err(Failure::Refused(why)) => return Err(HttpError::NotConnected(why)),
                Err(Failure::Broken(why)) => return Err(HttpError::Broken(why)),
            }
        }
        Err(HttpError::NotConnected(unsent))
    }

    /// Takes over a stream on which both sides agreed to speak HTTP/2.
    pub async fn adopt(&self, stream: Stream) -> Result<(), String> {
        self.add(stream).await.map(drop)
    }

    /// A stream of the connection that has fewest.
    fn place(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.sender.is_closed());
        let with_room = open.iter().filter(|connection| connection.has_room());
        with_room.min_by_key(|connection| connection.streams.get()).map(Connection::place)
    }

    fn forget(&self, gone: &Rc<Connection>) {
        self.open.borrow_mut().retain(|connection| !Rc::ptr_eq(connection, gone));
    }

    async fn open(
        &self,
        dial: impl AsyncFnOnce() -> Result<Stream, String>,
    ) -> Result<Place, String> {
        let count = self.open.borrow().len();
        if count >= CONNECTIONS_MAX {
            return Err(format!("all streams of {count} HTTP/2 connections are in use"));
        }
        let connection = self.add(dial().await?).await?;
        Ok(connection.place())
    }

    async fn add(&self, stream: Stream) -> Result<Rc<Connection>, String> {
        // Until this connection is told, what another one was told.
        let streams_max = self.open.borrow().first().map(|other| other.streams_max());
        let (sender, driver) = http2::Builder::new(LocalTasks)
            .timer(TokioTimer::new())
            .keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(ALIVE_EVERY)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_max_send_streams(streams_max)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|why| said(&why))?;
        let driver = Rc::new(RefCell::new(driver));
        let own = Rc::clone(&driver);
        // However it ends, the exchanges on it see it.
        spawn_local(poll_fn(move |cx| Pin::new(&mut *own.borrow_mut()).poll(cx)));
        let connection = Rc::new(Connection { sender, driver, streams: Cell::new(0) });
        self.open.borrow_mut().push(Rc::clone(&connection));
        Ok(connection)
    }

    async fn exchange_on(
        &self,
        place: &Place,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Failure> {
        let mut sender = place.0.sender.clone();
        let response = sender.try_send_request(request).await.map_err(|mut failed| {
            let why = said(failed.error());
            match failed.take_message() {
                Some(request) => Failure::Unsent(Box::new(request), why),
                None if unseen(failed.error()) => Failure::Refused(why),
                None => Failure::Broken(why),
            }
        })?;
        let (head, body) = response.into_parts();
        let bytes_max = self.answer_bytes_max;
        match whole(body, bytes_max).await {
            Body::Whole(body) => Ok(Response::from_parts(head, body)),
            Body::TooLarge => {
                Err(Failure::Broken(format!("the answer is larger than {bytes_max} bytes")))
            }
            Body::Broken(why) => Err(Failure::Broken(said(&why))),
        }
    }
}

/// Whether the server said that it did nothing about this stream: by `REFUSED_STREAM`, or by going
/// away with a last stream before it (only those behind the last one are told of it that way).
fn unseen(error: &hyper::Error) -> bool {
    let below = error.source().and_then(|below| below.downcast_ref::<h2::Error>());
    below.is_some_and(|below| {
        below.is_remote()
            && (below.is_go_away() || below.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Runs hyper's tasks on this thread.
#[derive(Clone)]
struct LocalTasks;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
