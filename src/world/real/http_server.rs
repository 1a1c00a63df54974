//! The HTTP edge of a node: hyper reads and writes, the handler sees whole bodies only.

use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::{
    http_body::{Body, say_json, whole},
    stream,
};
use crate::world::{HttpHandler, stream::StreamHandler};

/// Open connections; further ones are closed as they come.
const CONNECTIONS_MAX: usize = 20_000;
/// The largest body of a request; a larger one is answered with 413.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long a request's head may take, from the end of the exchange before: it bounds both slow
/// senders and idle connections. Longer than clients keep theirs, so that they let go first.
pub const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// How long accepting rests after the system refused a socket (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the process ends; `streams` takes requests for streams, if there are any.
pub fn serve(listener: TcpListener, handler: HttpHandler, streams: Option<StreamHandler>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES_MAX);
    let open = Rc::new(Cell::new(0));
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(place) = Place::take(&open) {
                        let serves = (Rc::clone(&handler), streams.clone());
                        tokio::task::spawn_local(talk(stream, http.clone(), serves, place));
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
}

/// One open connection among [`CONNECTIONS_MAX`]; given back when dropped.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Option<Self> {
        (open.get() < CONNECTIONS_MAX).then(|| {
            open.set(open.get() + 1);
            Self(Rc::clone(open))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The life of one connection. However it ends, the peer sees it; there is nobody to tell here.
async fn talk(
    stream: TcpStream,
    http: http1::Builder,
    (handler, streams): (HttpHandler, Option<StreamHandler>),
    _place: Place,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let upgrades = streams.is_some();
    let service = service_fn(move |request| answer(request, Rc::clone(&handler), streams.clone()));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let _ = if upgrades { connection.with_upgrades().await } else { connection.await };
}

async fn answer(
    request: Request<Incoming>,
    handler: HttpHandler,
    streams: Option<StreamHandler>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(streams) = streams
        && stream::is_wanted(request.headers())
    {
        return Ok(stream::answer(request, &streams).map(Full::new));
    }
    let (head, body) = request.into_parts();
    let response = match whole(body, REQUEST_BYTES_MAX).await {
        Body::Whole(body) => {
            let mut response = handler(Request::from_parts(head, body)).await;
            say_json(response.headers_mut());
            response
        }
        Body::TooLarge => refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB"),
        Body::Broken(_) => refusal(StatusCode::BAD_REQUEST, "the body broke off"),
    };
    Ok(response.map(Full::new))
}

/// An answer without the handler, after which the connection ends: the rest of the request may
/// still be on its way.
fn refusal(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(why.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
