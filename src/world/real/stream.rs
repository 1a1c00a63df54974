//! Streams over `WebSocket`s: the node's side takes over a connection of its HTTP edge, the client's
//! side opens one. One small task a stream reads and writes; buffers are small, for there are
//! thousands.

use std::{pin::pin, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future::select};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, mpsc},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message, Utf8Bytes,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::http_client::{CONNECT_WITHIN, connect};
use crate::world::{
    link::{Link, Outgoing, SendError},
    stream::{MESSAGE_BYTES_MAX, MESSAGES_MAX, StreamError, StreamHandler},
};

/// What is read at once, and written together.
const BUFFER_BYTES: usize = 4 * 1024;
/// How long a stream that was let go of may take to send what waits and to say goodbye.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// True when a request asks for a stream.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Answers a request for a stream; where the node takes it, the stream begins behind the answer.
pub fn answer(mut request: Request<Incoming>, handler: &StreamHandler) -> Response<Bytes> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return said(StatusCode::BAD_REQUEST);
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return said(StatusCode::BAD_REQUEST);
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let welcome = match handler(&request.map(|_| Bytes::new())) {
        Ok(welcome) => welcome,
        Err(refusal) => return *refusal,
    };
    tokio::task::spawn_local(async move {
        // A client that is gone before the answer has left is nobody's loss.
        let Ok(upgraded) = upgrading.await else { return };
        let io = TokioIo::new(upgraded);
        welcome(over(WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await));
    });
    let mut response = said(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Opens a stream at `address`.
pub async fn open(address: &str, request: Request<Bytes>) -> Result<Link, StreamError> {
    let request = opening(address, request).map_err(StreamError::NotConnected)?;
    let stream = connect(address).await.map_err(StreamError::NotConnected)?;
    let shaking = client_async_with_config(request, stream, Some(config()));
    match tokio::time::timeout(CONNECT_WITHIN, shaking).await {
        Ok(Ok((socket, _))) => Ok(over(socket)),
        Ok(Err(Error::Http(response))) => Err(StreamError::Refused(response.status().as_u16())),
        Ok(Err(why)) => Err(StreamError::NotConnected(format!("{address}: {why}"))),
        Err(_) => {
            let why = format!("{address}: no answer within {CONNECT_WITHIN:?}");
            Err(StreamError::NotConnected(why))
        }
    }
}

fn opening(address: &str, request: Request<Bytes>) -> Result<Request<()>, String> {
    let (mut head, _) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder().scheme("ws").authority(address).path_and_query(path).build();
    head.uri = uri.map_err(|why| format!("{address}: {why}"))?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|why| why.to_string());
    let own = [
        (header::HOST, value(address)?),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, WEBSOCKET),
        (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (header::SEC_WEBSOCKET_KEY, value(&generate_key())?),
    ];
    head.headers.extend(own);
    Ok(Request::from_parts(head, ()))
}

fn said(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * (BUFFER_BYTES + MESSAGE_BYTES_MAX))
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// The sending half.
struct Outbox {
    queue: mpsc::Sender<Bytes>,
    let_go: Rc<Notify>,
}

impl Outgoing for Outbox {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > MESSAGE_BYTES_MAX {
            self.let_go.notify_one();
            return Err(SendError::Closed);
        }
        self.queue.try_send(frame).map_err(|why| match why {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.let_go.notify_one();
    }
}

fn over<S: AsyncRead + AsyncWrite + Unpin + 'static>(socket: WebSocketStream<S>) -> Link {
    let (queue, queued) = mpsc::channel(MESSAGES_MAX);
    let (received, incoming) = mpsc::channel(MESSAGES_MAX);
    let let_go = Rc::new(Notify::new());
    tokio::task::spawn_local(run(socket, queued, received, Rc::clone(&let_go)));
    Link { outgoing: Rc::new(Outbox { queue, let_go }), incoming }
}

/// The life of a stream: ends when either side lets go of it, in either direction.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    mut queued: mpsc::Receiver<Bytes>,
    received: mpsc::Sender<Bytes>,
    let_go: Rc<Notify>,
) {
    let (mut sink, mut stream) = socket.split();
    let write = pin!(async {
        while let Some(message) = queued.recv().await {
            let Ok(text) = Utf8Bytes::try_from(message) else { break };
            if sink.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
        let _gone_already = sink.close().await;
    });
    let read = pin!(async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message
                && received.send(text.into()).await.is_err()
            {
                return;
            }
        }
    });
    let wanted = pin!(async {
        let (dropped, closed) = (pin!(let_go.notified()), pin!(received.closed()));
        select(dropped, closed).await;
        // What was sent before still leaves, unless the peer does not take it.
        tokio::time::sleep(DRAIN_MAX).await;
    });
    select(select(write, read), wanted).await;
}
