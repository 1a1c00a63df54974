//! HTTP to backends: one client for all their URLs, HTTP/1.1 and HTTP/2, plain or over TLS. An
//! answer is an answer: redirects are not followed, nothing is tried twice that the server may have
//! seen. Dropping an exchange cancels it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{
    base::Base,
    dial::{Allowed, Dialer, Stream},
    http2::{Connections, Turns},
    tls::{Speaks, Tls},
};
use crate::world::{
    HttpError,
    real::http_client::{Limits, Pool},
};
use bytes::Bytes;
use http::{
    Request, Response, Uri,
    uri::{self, PathAndQuery},
};

/// How long an unused connection is kept: many servers close theirs after five seconds.
const IDLE_WITHIN: Duration = Duration::from_secs(4);

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// Over TLS what the server likes better, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2; without TLS it is taken for granted that the server speaks it.
    H2,
}

/// How a client behaves.
#[derive(Clone)]
pub struct Options {
    /// For bases that are spoken to over TLS.
    pub tls: Option<Tls>,
    /// Which HTTP is spoken.
    pub version: Version,
    /// How long it may take from a name to an open connection.
    pub connect_within: Duration,
    /// The largest body of an answer; a larger one breaks the exchange.
    pub answer_bytes_max: usize,
    /// HTTP/1.1 connections to one server that are open at once; at the limit an exchange is not
    /// connected.
    pub open_max: usize,
    /// Asked for each address before anything is sent there.
    pub allowed: Allowed,
}

impl Options {
    /// With the limits that suit most backends.
    pub fn new(tls: Option<Tls>, allowed: Allowed) -> Self {
        Self {
            tls,
            version: Version::Auto,
            connect_within: Duration::from_secs(5),
            answer_bytes_max: 16 * 1024 * 1024,
            open_max: 4_096,
            allowed,
        }
    }
}

/// An HTTP client. Lives on one thread, within a `LocalSet`.
pub struct HttpClient {
    dialer: Dialer,
    version: Version,
    limits: Limits,
    servers: RefCell<Vec<Rc<Server>>>,
}

/// All connections to one server.
struct Server {
    base: Base,
    http1: Pool<Stream>,
    http2: Connections,
    /// What it speaks, once that is known.
    speaks: Cell<Option<Spoken>>,
    /// One finds that out for all.
    asking: Turns,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

impl HttpClient {
    /// A client without connections.
    pub fn new(options: Options) -> Self {
        let Options { tls, version, connect_within, answer_bytes_max, open_max, allowed } = options;
        let limits =
            Limits { open_max, idle_max: open_max, idle_within: IDLE_WITHIN, answer_bytes_max };
        let dialer = Dialer { tls, connect_within, allowed };
        Self { dialer, version, limits, servers: RefCell::default() }
    }

    /// One exchange; the request's URI is a path (and query) below `base`. Has no deadline of its
    /// own but for opening a connection.
    pub async fn exchange(
        &self,
        base: &Base,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        let server = self.server(base);
        let (spoken, first) = match server.speaks.get() {
            Some(spoken) => (spoken, None),
            None => self.ask(&server).await.map_err(HttpError::NotConnected)?,
        };
        let path = path(base, request.uri()).map_err(HttpError::NotConnected)?;
        match spoken {
            Spoken::Http1 => {
                if let Some(path) = path {
                    *request.uri_mut() = path.into();
                }
                let dial = async || match first {
                    Some(stream) => Ok(stream),
                    // On the heap: it is large, and seldom needed.
                    None => Box::pin(self.dialer.dial(&server.base, Speaks::Http1)).await,
                };
                server.http1.exchange(request, dial).await
            }
            Spoken::Http2 => {
                let path = path.or_else(|| request.uri().path_and_query().cloned());
                *request.uri_mut() = absolute(base, path).map_err(HttpError::NotConnected)?;
                server.http2.exchange(request, async || self.dial_http2(&server).await).await
            }
        }
    }

    fn server(&self, base: &Base) -> Rc<Server> {
        let mut servers = self.servers.borrow_mut();
        if let Some(known) = servers.iter().find(|server| server.base.same_server(base)) {
            return Rc::clone(known);
        }
        let speaks = match self.version {
            Version::H1 => Some(Spoken::Http1),
            Version::H2 => Some(Spoken::Http2),
            Version::Auto if !base.secure() => Some(Spoken::Http1),
            Version::Auto => None,
        };
        let server = Rc::new(Server {
            base: base.clone(),
            http1: Pool::new(base.authority().as_str(), self.limits.clone()),
            http2: Connections::new(self.limits.answer_bytes_max),
            speaks: Cell::new(speaks),
            asking: Turns::default(),
        });
        servers.push(Rc::clone(&server));
        server
    }

    /// Finds out what the server speaks, from the handshake of a first connection: that one is for
    /// HTTP/1.1 given back, to be used.
    async fn ask(&self, server: &Server) -> Result<(Spoken, Option<Stream>), String> {
        let known = || server.speaks.get().map(|spoken| (spoken, None));
        let asked = server.asking.take(known, async || self.first(server).await).await?;
        server.speaks.set(Some(asked.0));
        Ok(asked)
    }

    async fn first(&self, server: &Server) -> Result<(Spoken, Option<Stream>), String> {
        let stream = self.dialer.dial(&server.base, Speaks::Either).await?;
        if stream.speaks_http2() {
            server.http2.adopt(stream).await?;
            return Ok((Spoken::Http2, None));
        }
        Ok((Spoken::Http1, Some(stream)))
    }

    async fn dial_http2(&self, server: &Server) -> Result<Stream, String> {
        let base = &server.base;
        let stream = self.dialer.dial(base, Speaks::Http2).await?;
        if base.secure() && !stream.speaks_http2() {
            let (host, port) = (base.host(), base.port());
            // Ask again the next time: it may have changed.
            server.speaks.set(if self.version == Version::Auto {
                None
            } else {
                server.speaks.get()
            });
            return Err(format!("{host}:{port}: the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

/// The path below the prefix of `base`; `None` if it is that of the request already.
fn path(base: &Base, uri: &Uri) -> Result<Option<PathAndQuery>, String> {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let whole = match (base.prefix(), uri.scheme()) {
        ("", None) => return Ok(None),
        ("", Some(_)) => path.to_owned(),
        (prefix, _) => format!("{prefix}{path}"),
    };
    whole.parse().map(Some).map_err(|why| format!("the path of the request cannot be sent: {why}"))
}

fn absolute(base: &Base, path: Option<PathAndQuery>) -> Result<Uri, String> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(base.scheme());
    parts.authority = Some(base.authority().clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|why| format!("the path of the request cannot be sent: {why}"))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
