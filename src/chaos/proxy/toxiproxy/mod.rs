//! The proxy alone, with Toxiproxy's HTTP API: whoever speaks that can break links with it.
//!
//! All state is in memory; it ends with the process. Nothing beyond loopback is listened on or
//! connected to unless it is allowed by name.

mod proxies;
mod refusal;
mod routes;
mod toxic;

use std::{
    cell::Cell,
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::{LocalSet, spawn_local},
    time::sleep,
};

use self::{proxies::Proxies, refusal::Refusal, routes::Asked};
use crate::{
    base::rng::Rng,
    world::real::http_body::{Body, whole},
};

/// The port that Toxiproxy's clients expect.
pub const PORT: u16 = 8474;
/// The version of Toxiproxy whose API this is, and ours.
const VERSION: &str = concat!("2.12.0+robot-city-", env!("CARGO_PKG_VERSION"));
/// The largest body of a request.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Connections to the API at once; further ones are closed as they come.
const CLIENTS_MAX: usize = 1_024;
/// How long a request's head may take, and a connection be idle.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// How long accepting rests after the system refused a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the API is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of the API: a name or an IP address.
    pub host: String,
    /// Its port; 0: any that is free.
    pub port: u16,
    /// Hosts beyond loopback that may be listened on or connected to.
    pub allowed: BTreeSet<String>,
    /// Of all random draws.
    pub seed: String,
    /// Proxies to begin with, as `POST /populate` takes them.
    pub proxies: Option<Bytes>,
}

/// Serves until SIGINT or SIGTERM; `ready` is told where.
pub fn serve(settings: &Settings, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    super::raise_file_limit();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let reach = Reach { allowed: settings.allowed.clone() };
        let address = reach.find(&settings.host, settings.port).await;
        let listener = TcpListener::bind(address.map_err(|why| anyhow::anyhow!("{why}"))?).await?;
        let proxies = Rc::new(Proxies::new(Rng::from_seed(&settings.seed).fork("proxy"), reach));
        if let Some(config) = &settings.proxies {
            proxies.populate(config).await.map_err(|why| anyhow::anyhow!("{why}"))?;
        }
        let mut stops = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        ready(listener.local_addr()?);
        tokio::select! {
            biased;
            _ = stops.0.recv() => {}
            _ = stops.1.recv() => {}
            () = accept(listener, proxies) => {}
        }
        Ok(())
    })
}

/// Accepts clients of the API for ever.
async fn accept(listener: TcpListener, proxies: Rc<Proxies>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CLIENTS_MAX => {
                open.set(open.get() + 1);
                let (open, http, proxies) = (open.clone(), http.clone(), proxies.clone());
                spawn_local(async move {
                    talk(stream, http, proxies).await;
                    open.set(open.get() - 1);
                });
            }
            Ok(_) => {}
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The life of one connection to the API; there is nobody to tell how it ended.
async fn talk(stream: TcpStream, http: http1::Builder, proxies: Rc<Proxies>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| answer(request, proxies.clone()));
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: http::Request<Incoming>,
    proxies: Rc<Proxies>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let answer = match whole(body, BODY_BYTES_MAX).await {
        Body::Whole(body) => {
            let agent = head.headers.get(http::header::USER_AGENT);
            let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
            routes::answer(&proxies, Asked { method: head.method, uri: head.uri, agent, body })
                .await
        }
        Body::TooLarge => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB").into()
        }
        Body::Broken(_) => Refusal::bad("the body broke off").into(),
    };
    Ok(answer.map(Full::new))
}

/// What may be reached.
#[derive(Debug)]
struct Reach {
    allowed: BTreeSet<String>,
}

impl Reach {
    /// The address behind a host and a port, if it may be reached.
    async fn find(&self, host: &str, port: u16) -> Result<SocketAddr, Refusal> {
        let unknown = |why: io::Error| Refusal::bad(format!("{host}:{port}: {why}"));
        let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(unknown)?.collect();
        // `localhost` may be two addresses, and most servers are on the older one.
        let found = found.iter().find(|one| one.is_ipv4()).or(found.first()).copied();
        let found = found.ok_or_else(|| Refusal::bad(format!("{host} has no address")))?;
        if is_loopback(found.ip()) || self.allowed.contains(host) {
            return Ok(found);
        }
        let what = format!(
            "{host} is not on loopback: start the proxy with --allow {host} if it may be reached"
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, what))
    }

    /// The same for `host:port`, as proxies write it.
    async fn find_text(&self, text: &str) -> Result<SocketAddr, Refusal> {
        let (host, port) = text
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
            .ok_or_else(|| Refusal::bad(format!("`{text}` is not host:port")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Toxiproxy's words for "every address of this machine"; here they mean loopback.
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        self.find(host, port).await
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
