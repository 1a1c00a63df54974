//! What a held WebSocket costs: `cargo bench --bench sockets [-- COUNT [--tls]]`. Opens COUNT (10,000)
//! to a toy server in another process, sends one message on each and gets one, and prints how many
//! are held and what this process holds in memory for them.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench, in the real world")]

use std::{
    cell::Cell,
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt, future::join_all};
use http::HeaderMap;
use robot_city::target::wire::{
    tls::Tls,
    websocket::{Message, OnMessage, Options, Socket},
};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    accept_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

/// Set for the process that is the server; the folder where its certificate goes.
const SERVER: &str = "SOCKETS_SERVER";
/// Sockets that open at once.
const AT_ONCE: usize = 100;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let tls = words.iter().any(|word| word == "--tls");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async move {
        match env::var_os(SERVER) {
            Some(folder) => serve(Path::new(&folder), tls).await,
            None => hold(count, tls).await,
        }
    };
    LocalSet::new().block_on(&runtime, work);
}

async fn hold(count: usize, tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env::current_exe().unwrap())
        .args(tls.then_some("--tls"))
        .env(SERVER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let trusted = tls.then(|| Tls::new(Some(&folder.path().join("ca.pem")), None).unwrap());
    let mut options = Options::new(trusted, Rc::new(|_, _| Ok(())));
    options.connect_within = Duration::from_mins(1);
    let (begin, before) = (Instant::now(), resident_kb());
    let seen = Rc::new(Cell::new(0));
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let batch = AT_ONCE.min(count - sockets.len());
        let opening = (0..batch).map(|n| {
            let (seen, options) = (Rc::clone(&seen), &options);
            let on_message: OnMessage = Rc::new(move |_| seen.set(seen.get() + 1));
            let scheme = if tls { "wss" } else { "ws" };
            let url = format!("{scheme}://127.0.0.1:{}/ride?robot={n}", port.trim());
            async move { Socket::open(&url, HeaderMap::new(), options, on_message).await.unwrap() }
        });
        sockets.extend(join_all(opening).await);
    }
    let message = format!(r#"{{"type":"position","text":"{}"}}"#, "x".repeat(200));
    for socket in &sockets {
        socket.send(Message::text(message.clone())).unwrap();
    }
    while seen.get() < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let held = sockets.iter().filter(|socket| socket.is_open()).count();
    let after = resident_kb();
    println!(
        "{held} connections held{}, each with a message both ways",
        if tls { " over TLS" } else { "" }
    );
    println!("{} MB in memory, {} KB each", after / 1_024, (after - before) / count as u64);
    println!("{:.1} s to open them and to hear from each", begin.elapsed().as_secs_f64());
    server.kill().unwrap();
    server.wait().unwrap();
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn serve(folder: &Path, tls: bool) {
    let acceptor = tls.then(|| acceptor(folder));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        spawn_local(async move {
            match acceptor {
                None => echo(stream).await,
                Some(acceptor) => echo(acceptor.accept(stream).await.unwrap()).await,
            }
        });
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
    let mut socket = accept_async_with_config(stream, Some(config)).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, tungstenite::Message::Text(_)) {
            socket.send(message).await.unwrap();
        }
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
