//! HTTP/1.1 to one destination: a pool of keep-alive connections over streams of any kind. Each
//! exchange drives its connection itself, so dropping the exchange closes the connection, and an
//! idle one costs no task. Tells apart what the server cannot have seen from what it may have.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::http_body::{Body, say_json, whole};
use crate::world::HttpError;

/// How long a connection may take to open.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The largest head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What a pool is held to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections that are open at once, in use or not.
    pub open_max: usize,
    /// Connections that are kept while nobody uses them.
    pub idle_max: usize,
    /// How long an unused connection is kept: less than servers do, so that they never close first.
    pub idle_within: Duration,
    /// The largest body of an answer.
    pub answer_bytes_max: usize,
}

impl Default for Limits {
    /// Between our own nodes.
    fn default() -> Self {
        Self {
            open_max: 4_096,
            idle_max: 256,
            idle_within: Duration::from_secs(15),
            answer_bytes_max: 16 * 1024 * 1024,
        }
    }
}

type Driver<S> = Pin<Box<http1::Connection<TokioIo<S>, Full<Bytes>>>>;

/// The connections to one destination, over streams of the kind `S`.
pub struct Pool<S: AsyncRead + AsyncWrite + Unpin> {
    address: String,
    host: Option<HeaderValue>,
    limits: Limits,
    open: Rc<Cell<usize>>,
    /// The one used last is at the back and is used next, so that the others may grow old.
    idle: RefCell<VecDeque<(Connection<S>, Instant)>>,
}

/// One open connection.
struct Connection<S: AsyncRead + AsyncWrite + Unpin> {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver<S>>,
    answer_bytes_max: usize,
    _place: Place,
}

/// One connection among those that may be open; given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// An exchange that did not end well.
enum Failure {
    /// Nothing was sent: here is the request again.
    Unsent(Box<Request<Full<Bytes>>>, String),
    /// It may have been sent.
    Broken(String),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pool<S> {
    /// A pool for the server at `address` (`host:port`, and what requests name as their host).
    pub fn new(address: &str, limits: Limits) -> Self {
        Self {
            address: address.to_owned(),
            host: HeaderValue::from_str(address).ok(),
            limits,
            open: Rc::default(),
            idle: RefCell::default(),
        }
    }

    /// Where it leads to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One exchange, on an idle connection or a stream that `dial` opens. A request that an idle
    /// connection gave back unsent, because the server had closed it meanwhile, goes out again on
    /// a fresh one.
    pub async fn exchange(
        &self,
        mut request: Request<Bytes>,
        dial: impl AsyncFnOnce() -> Result<S, String>,
    ) -> Result<Response<Bytes>, HttpError> {
        if let (Some(host), false) = (&self.host, request.headers().contains_key(header::HOST)) {
            request.headers_mut().insert(header::HOST, host.clone());
        }
        say_json(request.headers_mut());
        let mut request = request.map(Full::new);
        while let Some(mut kept) = self.take_idle() {
            match kept.exchange(request).await {
                Ok(response) => return Ok(self.done(kept, response)),
                Err(Failure::Unsent(back, _)) => request = *back,
                Err(Failure::Broken(why)) => return Err(HttpError::Broken(why)),
            }
        }
        let mut fresh = self.connect(dial).await.map_err(HttpError::NotConnected)?;
        match fresh.exchange(request).await {
            Ok(response) => Ok(self.done(fresh, response)),
            Err(Failure::Unsent(_, why)) => Err(HttpError::NotConnected(why)),
            Err(Failure::Broken(why)) => Err(HttpError::Broken(why)),
        }
    }

    async fn connect(
        &self,
        dial: impl AsyncFnOnce() -> Result<S, String>,
    ) -> Result<Connection<S>, String> {
        let open_max = self.limits.open_max;
        if self.open.get() >= open_max {
            return Err(format!("{open_max} connections to {} are open already", self.address));
        }
        self.open.set(self.open.get() + 1);
        let place = Place(Rc::clone(&self.open));
        let stream = dial().await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|why| why.to_string())?;
        Ok(Connection {
            sender,
            driver: Some(Box::pin(driver)),
            answer_bytes_max: self.limits.answer_bytes_max,
            _place: place,
        })
    }

    fn take_idle(&self) -> Option<Connection<S>> {
        let mut idle = self.idle.borrow_mut();
        let (connection, since) = idle.pop_back()?;
        if since.elapsed() < self.limits.idle_within {
            return Some(connection);
        }
        // The one used last is too old, so all are.
        idle.clear();
        None
    }

    /// Keeps the connection for the next exchange if it can have one.
    fn done(&self, connection: Connection<S>, response: Response<Bytes>) -> Response<Bytes> {
        let Limits { idle_max, idle_within, .. } = self.limits;
        if idle_max > 0 && connection.driver.is_some() && connection.sender.is_ready() {
            let mut idle = self.idle.borrow_mut();
            let old = |(_, since): &(_, Instant)| since.elapsed() >= idle_within;
            while idle.len() >= idle_max || idle.front().is_some_and(old) {
                idle.pop_front();
            }
            idle.push_back((connection, Instant::now()));
        }
        response
    }
}

/// Opens a stream within [`CONNECT_WITHIN`]; tells why not in words.
pub async fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => return Err(format!("{address}: {why}")),
        Err(_) => return Err(format!("{address}: no answer within {CONNECT_WITHIN:?}")),
    };
    stream.set_nodelay(true).map_err(|why| format!("{address}: {why}"))?;
    Ok(stream)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Failure> {
        // First what the connection has to say: a server that closed it while it was idle.
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        if self.driver.is_none() {
            let why = "the server closed the connection".to_owned();
            return Err(Failure::Unsent(Box::new(request), why));
        }
        let mut exchange = pin!(talk(self.sender.try_send_request(request), self.answer_bytes_max));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            if let Poll::Ready(done) = exchange.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            drive(driver, cx);
            match exchange.as_mut().poll(cx) {
                Poll::Pending if driver.is_none() => {
                    Poll::Ready(Err(Failure::Broken("the connection ended".to_owned())))
                }
                Poll::Ready(done) => {
                    // Lets the connection see that the exchange is over, or it is never ready.
                    drive(driver, cx);
                    Poll::Ready(done)
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.driver, cx);
    }
}

/// Moves the connection on. One that has ended is dropped at once: this is what gives a request
/// that it had not begun to send back to its sender.
fn drive<S: AsyncRead + AsyncWrite + Unpin>(driver: &mut Option<Driver<S>>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(cx).is_ready()
    {
        *driver = None;
    }
}

type Sent = Result<
    Response<hyper::body::Incoming>,
    hyper::client::conn::TrySendError<Request<Full<Bytes>>>,
>;

/// Awaits the answer and its whole body.
async fn talk(
    sent: impl Future<Output = Sent>,
    answer_bytes_max: usize,
) -> Result<Response<Bytes>, Failure> {
    let response = sent.await.map_err(|mut failed| match failed.take_message() {
        Some(request) => Failure::Unsent(Box::new(request), said(failed.error())),
        None => Failure::Broken(said(failed.error())),
    })?;
    let (head, body) = response.into_parts();
    match whole(body, answer_bytes_max).await {
        Body::Whole(body) => Ok(Response::from_parts(head, body)),
        Body::TooLarge => {
            Err(Failure::Broken(format!("the answer is larger than {answer_bytes_max} bytes")))
        }
        Body::Broken(why) => Err(Failure::Broken(said(&why))),
    }
}

/// The error with what lies below it.
pub fn said(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(below) => format!("{error}: {below}"),
        None => error.to_string(),
    }
}
