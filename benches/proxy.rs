//! What the fault proxy costs, direct and proxied side by side: `cargo bench --bench proxy [-- PART…]`
//! with the parts `one`, `many`, `held` and `latency` (left out: all).
//!
//! Client, server and proxy are processes of their own, each with one thread: small HTTP request and
//! response pairs by hyper on both sides, on loopback. Direct and proxied take turns, so that what
//! else happens on the machine meets both.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench, in the real world")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    convert::Infallible,
    env,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{client::conn::http1::SendRequest, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use robot_city::{
    chaos::proxy::{
        raise_file_limit,
        toxiproxy::{self, Settings},
    },
    world::real::process::{self, Usage},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    task::{LocalSet, spawn_local},
};

/// That of the tool.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for the processes that are the server and the proxy: which of them.
const ROLE: &str = "PROXY_BENCH_ROLE";
/// How long each turn of direct or proxied takes, and how many there are of each.
const TURN: Duration = Duration::from_secs(2);
const TURNS: usize = 5;
/// Connections of the busy part, and of the one that holds many.
const BUSY: usize = 64;
const HELD: usize = 10_000;
/// Files that the proxy has open for other things.
const FILES_ELSE: usize = 100;
/// Connections that open at once.
const AT_ONCE: usize = 100;
/// Delays that are asked for, and the connections that feel them.
const DELAYS_MS: [u64; 6] = [10, 20, 50, 100, 200, 500];
const DELAYED: usize = 20;

fn main() {
    raise_file_limit();
    let parts: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    match env::var(ROLE).ok().as_deref() {
        Some("server") => local(serve()),
        Some(_) => proxy(),
        None => local(play(&parts)),
    }
}

fn local(work: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work);
}

async fn play(parts: &[String]) {
    let server = Part::start("server");
    let proxy = Part::start("proxy");
    let (direct, api) = (server.address, proxy.address);
    let made = ask(api, "POST", "/proxies", &format!(r#"{{"name":"p","upstream":"{direct}"}}"#));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let proxied: SocketAddr = made["listen"].as_str().unwrap().parse().unwrap();
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    if wants("one") {
        one(direct, proxied).await;
    }
    if wants("many") {
        many(direct, proxied, &proxy).await;
    }
    if wants("held") {
        held(proxied, &proxy).await;
    }
    if wants("latency") {
        latency(direct, proxied, api).await;
    }
}

/// One connection, one request after the other: what the proxy adds to the median.
async fn one(direct: SocketAddr, proxied: SocketAddr) {
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (place, address) in [direct, proxied].into_iter().enumerate() {
            seen[place].extend(turn(address, 1, Duration::ZERO).await);
        }
    }
    let [mut direct, mut proxied] = seen;
    println!("one connection, request after request (round trip):");
    for (name, all) in [("direct", &mut direct), ("proxied", &mut proxied)] {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| quantile(all, q));
        println!("  {name:<8} p50 {p50:>6.1} µs   p90 {p90:>6.1} µs   p99 {p99:>6.1} µs");
    }
    let added = quantile(&mut proxied, 0.5) - quantile(&mut direct, 0.5);
    println!("  added to the median: {added:.1} µs (asked: 48 or less)");
}

/// Many connections, each with one request after the other: what share of the rate is left.
async fn many(direct: SocketAddr, proxied: SocketAddr, proxy: &Part) {
    let mut rates = [Vec::new(), Vec::new()];
    let mut spent = Duration::ZERO;
    for _ in 0..TURNS {
        for (place, address) in [direct, proxied].into_iter().enumerate() {
            let (begun, cpu) = (Instant::now(), proxy.usage().cpu);
            let count = turn(address, BUSY, Duration::ZERO).await.len() as f64;
            rates[place].push(count / begun.elapsed().as_secs_f64());
            if place == 1 {
                spent += proxy.usage().cpu.saturating_sub(cpu);
            }
        }
    }
    let [direct, proxied] = rates.map(|mut rates| quantile_of(&mut rates, 0.5));
    let requests = proxied * TURN.as_secs_f64() * TURNS as f64;
    println!("{BUSY} connections, as fast as they can:");
    println!("  direct  {direct:>9.0}/s");
    println!(
        "  proxied {proxied:>9.0}/s   {:.1} µs of the proxy's CPU each",
        spent.as_secs_f64() * 1e6 / requests
    );
    println!("  share of the direct rate: {:.1} % (asked: 65 or more)", proxied / direct * 100.0);
}

/// Many connections that are there at once, with an exchange on each when all are open.
async fn held(proxied: SocketAddr, proxy: &Part) {
    let (begun, before) = (Instant::now(), proxy.usage().rss_bytes);
    let all = HELD.min(files().saturating_sub(FILES_ELSE) / 2);
    let mut senders = Vec::new();
    while senders.len() < all {
        let batch = AT_ONCE.min(all - senders.len());
        senders.extend(join_all((0..batch).map(|_| connect(proxied))).await);
    }
    let mut answered = 0;
    for batch in senders.chunks_mut(AT_ONCE) {
        let round = join_all(batch.iter_mut().map(exchange)).await;
        answered += round.into_iter().filter(|answered| *answered).count();
    }
    println!("{answered} of {all} connections held, each with an exchange after the last opened:");
    if all < HELD {
        println!(
            "  (asked: {HELD}; a process may open {} files here, and each takes two)",
            files()
        );
    }
    println!(
        "  {:.1} s in all; the proxy holds {} KB for each",
        begun.elapsed().as_secs_f64(),
        (proxy.usage().rss_bytes - before) / 1_024 / all as u64
    );
}

/// Files that a process may have open.
fn files() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| limit as usize)
}

/// How near the latency is to what was asked for.
async fn latency(direct: SocketAddr, proxied: SocketAddr, api: SocketAddr) {
    let usual_us = quantile(&mut turn(direct, 1, Duration::ZERO).await, 0.5);
    println!("latency of one direction, {DELAYED} connections (late by, less the direct median):");
    for delay_ms in DELAYS_MS {
        let toxic = format!(
            r#"{{"name":"l","type":"latency","stream":"upstream","attributes":{{"latency":{delay_ms}}}}}"#
        );
        ask(api, "POST", "/proxies/p/toxics", &toxic);
        // They begin one after the other: of twenty that are due at one moment most are late because
        // they wait for each other at both ends.
        let spread = Duration::from_millis(delay_ms);
        let mut errors: Vec<f64> = turn(proxied, DELAYED, spread)
            .await
            .iter()
            .map(|took| took.as_secs_f64() * 1e3 - usual_us / 1e3 - delay_ms as f64)
            .collect();
        let [p1, p50, p99] = [0.01, 0.5, 0.99].map(|q| quantile_of(&mut errors, q));
        println!(
            "  {delay_ms:>3} ms: p1 {p1:+.2} ms, p50 {p50:+.2} ms, p99 {p99:+.2} ms of {} \
             (asked: within 2 ms)",
            errors.len()
        );
        ask(api, "DELETE", "/proxies/p/toxics/l", "");
    }
}

/// Every round trip of so many connections within one turn; their beginnings are `spread` over that.
async fn turn(address: SocketAddr, connections: usize, spread: Duration) -> Vec<Duration> {
    let seen = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
    let over = Rc::new(Cell::new(false));
    let senders = join_all((0..connections).map(|_| connect(address))).await;
    let working = (0..).zip(senders).map(|(place, mut sender)| {
        let (seen, over) = (seen.clone(), over.clone());
        async move {
            tokio::time::sleep(spread * place / connections as u32).await;
            while !over.get() {
                let begun = Instant::now();
                assert!(exchange(&mut sender).await, "no answer");
                seen.borrow_mut().push(begun.elapsed());
            }
        }
    });
    let timer = async {
        tokio::time::sleep(TURN).await;
        over.set(true);
    };
    let tasks: Vec<_> = working.map(spawn_local).collect();
    timer.await;
    join_all(tasks).await;
    seen.take()
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    spawn_local(connection);
    sender
}

/// One small request and its answer.
async fn exchange(sender: &mut SendRequest<Full<Bytes>>) -> bool {
    const BODY: &[u8] =
        br#"{"driver":"a-00042","lat_e6":53349800,"lon_e6":-6260300,"seq":4711,"speed":12}"#;
    let request = Request::post("/v1/driver/ping")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(BODY)))
        .unwrap();
    if sender.ready().await.is_err() {
        return false;
    }
    match sender.send_request(request).await {
        Ok(response) => response.into_body().collect().await.is_ok(),
        Err(_) => false,
    }
}

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            request.into_body().collect().await.unwrap();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
        });
        spawn_local(async move {
            // However a connection ends, its client knows.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn proxy() {
    let settings = Settings {
        host: "127.0.0.1".into(),
        port: 0,
        allowed: BTreeSet::new(),
        seed: "bench".into(),
        proxies: None,
    };
    toxiproxy::serve(&settings, |address| println!("{address}")).unwrap();
}

/// One request to the API; the body of the answer.
fn ask(api: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = std::net::TcpStream::connect(api).unwrap();
    let len = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A process of the bench.
struct Part {
    child: Child,
    address: SocketAddr,
}

impl Part {
    fn start(role: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    fn usage(&self) -> Usage {
        process::usage(self.child.id()).unwrap()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In microseconds.
fn quantile(all: &mut [Duration], q: f64) -> f64 {
    all.sort_unstable();
    all[((all.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6
}

fn quantile_of(all: &mut [f64], q: f64) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[((all.len() - 1) as f64 * q) as usize]
}
