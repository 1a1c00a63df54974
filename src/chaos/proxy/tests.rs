//! The proxy on loopback, commanded through its controller, in one process.

use std::{future::Future, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, duplex, split},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{JoinHandle, LocalSet, spawn_local, yield_now},
    time::{Instant, timeout},
};

use super::{connection::LinkState, *};
use crate::{
    base::dist::Around,
    chaos::provider::{Answer, LinkName, Toxic},
};

/// Long enough to be sure that nothing comes; nothing ever waits for less.
const SILENCE: Duration = Duration::from_millis(100);

fn on_loopback<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_mins(1), work).await.expect("the test hangs")
    })
}

fn link() -> LinkName {
    LinkName { from: "a/api-1".into(), to: "b/storage-1".into() }
}

fn latency(latency_ms: u64, jitter_ms: u64) -> Toxic {
    Toxic::Latency { latency_ms, jitter_ms, around: Around::Uniform }
}

/// A proxy on one link to a listener of ours.
struct Stand {
    controller: Controller,
    upstream: TcpListener,
    listen: SocketAddr,
    proxy: JoinHandle<io::Result<()>>,
}

impl Stand {
    async fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (controller, proxy) = start_proxy();
        let listen = controller.add(&link(), upstream.local_addr().unwrap()).await.unwrap();
        Self { controller, upstream, listen, proxy }
    }

    /// Both ends of a new connection through the proxy.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.listen).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, self.upstream.accept().await.unwrap().0)
    }

    async fn impair(&self, toxics: &[Toxic]) {
        self.controller.impair(&link(), toxics).await.unwrap();
    }
}

fn start_proxy() -> (Controller, JoinHandle<io::Result<()>>) {
    let (near, far) = duplex(64 * 1024);
    let (commands, replies) = split(far);
    let proxy = spawn_local(serve(BufReader::new(commands), replies, Rng::from_seed("proxy")));
    let (replies, commands) = split(near);
    let (controller, talk) = Controller::new(BufReader::new(replies), commands);
    spawn_local(talk);
    (controller, proxy)
}

async fn send(to: &mut TcpStream, what: &[u8]) {
    to.write_all(what).await.unwrap();
}

async fn expect(from: &mut TcpStream, what: &[u8]) {
    let mut got = vec![0; what.len()];
    from.read_exact(&mut got).await.unwrap();
    assert_eq!(got, what);
}

async fn expect_nothing(from: &mut TcpStream) {
    let mut byte = [0];
    let read = timeout(SILENCE, from.read(&mut byte)).await;
    assert!(read.is_err(), "something came: {read:?}");
}

async fn expect_reset(from: &mut TcpStream) {
    let mut all = Vec::new();
    let error = from.read_to_end(&mut all).await.expect_err("ended politely");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Bytes in which every mistake of order shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn a_link_knows_when_it_was_busy() {
    on_loopback(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let to = upstream.local_addr().unwrap();
        let link = LinkState::new(to, Rng::from_seed("proxy"), server::scratch()).unwrap();
        let link = Rc::new(link);
        spawn_local(server::accept(listener, Rc::clone(&link)));
        let mut client = TcpStream::connect(listen).await.unwrap();
        let mut server = upstream.accept().await.unwrap().0;
        for word in [b"ping", b"pong"] {
            let before = link.spin.last.get();
            send(&mut client, word).await;
            expect(&mut server, word).await;
            assert!(link.spin.last.get() > before);
        }
    });
}

#[test]
fn bytes_pass_both_ways() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"ping").await;
        expect(&mut server, b"ping").await;
        send(&mut server, b"pong").await;
        expect(&mut client, b"pong").await;
    });
}

#[test]
fn much_passes_both_ways_at_once_with_slow_readers() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (client, server) = stand.connect().await;
        // More than the buffers of all sockets on the way hold, so that writes have to wait.
        let all = pattern(24 * 1024 * 1024);
        let (mut client_reads, mut client_writes) = client.into_split();
        let (mut server_reads, mut server_writes) = server.into_split();
        let (mut up, mut down) = (vec![0; all.len()], vec![0; all.len()]);
        let (a, b, c, d) = tokio::join!(
            client_writes.write_all(&all),
            server_writes.write_all(&all),
            server_reads.read_exact(&mut up),
            client_reads.read_exact(&mut down),
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
        assert!(up == all && down == all);
    });
}

#[test]
fn a_half_close_is_passed_on() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"last words").await;
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last words");
        send(&mut server, b"I heard you").await;
        expect(&mut client, b"I heard you").await;
        drop(server);
        assert_eq!(client.read_to_end(&mut all).await.unwrap(), 0);
    });
}

#[test]
fn latency_holds_each_direction_back() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[latency(60, 10)]).await;
        let start = Instant::now();
        send(&mut client, b"ping").await;
        expect(&mut server, b"ping").await;
        assert!(start.elapsed() >= Duration::from_millis(50));
        send(&mut server, b"pong").await;
        expect(&mut client, b"pong").await;
        assert!(start.elapsed() >= Duration::from_millis(100));
    });
}

#[test]
fn jitter_keeps_the_order() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[latency(10, 10)]).await;
        let all = pattern(400);
        let sending = async {
            for byte in &all {
                client.write_all(&[*byte]).await.unwrap();
                // The proxy runs in between, and so sees many chunks.
                yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(sending, server.read_to_end(&mut got));
        assert_eq!(read.unwrap(), all.len(), "the end came after all of it");
        assert_eq!(got, all);
    });
}

#[test]
fn healing_latency_lets_out_what_was_held() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        // Longer than the test may take.
        stand.impair(&[latency(3_600_000, 0)]).await;
        send(&mut client, b"held").await;
        expect_nothing(&mut server).await;
        stand.impair(&[]).await;
        send(&mut client, b" and free").await;
        expect(&mut server, b"held and free").await;
    });
}

#[test]
fn a_black_hole_holds_everything_and_then_delivers() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::BlackHole]).await;
        send(&mut client, b"one ").await;
        send(&mut server, b"answer").await;
        expect_nothing(&mut server).await;
        expect_nothing(&mut client).await;
        send(&mut client, b"two").await;
        client.shutdown().await.unwrap();
        stand.impair(&[]).await;
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"one two");
        expect(&mut client, b"answer").await;
    });
}

#[test]
fn a_new_connection_stalls_in_a_black_hole() {
    on_loopback(async {
        let stand = Stand::new().await;
        stand.impair(&[Toxic::BlackHole]).await;
        let mut client = TcpStream::connect(stand.listen).await.unwrap();
        send(&mut client, b"hello").await;
        assert!(timeout(SILENCE, stand.upstream.accept()).await.is_err());
        stand.impair(&[]).await;
        let (mut server, _) = stand.upstream.accept().await.unwrap();
        expect(&mut server, b"hello").await;
    });
}

#[test]
fn a_name_that_leads_nowhere_is_the_lot_of_new_connections_alone() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::Names { answer: Answer::Gone }]).await;
        expect_reset(&mut TcpStream::connect(stand.listen).await.unwrap()).await;
        stand.impair(&[Toxic::Names { answer: Answer::Wrong }]).await;
        let mut waits = TcpStream::connect(stand.listen).await.unwrap();
        send(&mut waits, b"hallo").await;
        expect_nothing(&mut waits).await;
        let mut goes = TcpStream::connect(stand.listen).await.unwrap();
        goes.shutdown().await.unwrap();
        expect_reset(&mut goes).await;
        send(&mut client, b"ping").await;
        expect(&mut server, b"ping").await;
        stand.impair(&[]).await;
        expect_reset(&mut waits).await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"hallo").await;
        expect(&mut server, b"hallo").await;
    });
}

#[test]
fn a_name_that_is_found_late_holds_a_new_connection_back_and_nothing_after_it() {
    on_loopback(async {
        let stand = Stand::new().await;
        let slow = Toxic::Names { answer: Answer::Slow { delay_ms: 200 } };
        stand.impair(&[slow]).await;
        let begun = Instant::now();
        let (mut client, mut server) = stand.connect().await;
        assert!(begun.elapsed() >= Duration::from_millis(200));
        // Another one opens, and is not waited for.
        let slower = Toxic::Names { answer: Answer::Slow { delay_ms: 3_600_000 } };
        stand.impair(&[slower]).await;
        let _other = TcpStream::connect(stand.listen).await.unwrap();
        send(&mut client, b"ping").await;
        expect(&mut server, b"ping").await;
        assert!(timeout(SILENCE, stand.upstream.accept()).await.is_err());
    });
}

#[test]
fn who_has_gone_before_its_name_was_found_is_not_connected() {
    on_loopback(async {
        let stand = Stand::new().await;
        let slow = Toxic::Names { answer: Answer::Slow { delay_ms: 200 } };
        stand.impair(&[slow]).await;
        let mut gone = TcpStream::connect(stand.listen).await.unwrap();
        send(&mut gone, b"never mind").await;
        drop(gone);
        // Connected before this one, if at all.
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"ping").await;
        expect(&mut server, b"ping").await;
    });
}

#[test]
fn a_black_hole_does_not_show_that_a_peer_is_gone() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, server) = stand.connect().await;
        stand.impair(&[Toxic::BlackHole]).await;
        server.set_zero_linger().unwrap();
        drop(server);
        expect_nothing(&mut client).await;
        stand.impair(&[]).await;
        expect_reset(&mut client).await;
    });
}

#[test]
fn what_is_held_is_bounded_and_the_sender_waits() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::BlackHole]).await;
        // More than all buffers of the system and the proxy hold together.
        let all = pattern(64 * 1024 * 1024);
        let mut sending = std::pin::pin!(client.write_all(&all));
        assert!(timeout(SILENCE * 5, sending.as_mut()).await.is_err(), "it was all taken");
        stand.impair(&[]).await;
        let mut got = vec![0; all.len()];
        let (sent, read) = tokio::join!(sending, server.read_exact(&mut got));
        assert!(sent.is_ok() && read.is_ok());
        assert!(got == all);
    });
}

#[test]
fn reset_is_seen_by_both_ends_and_by_newcomers() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::Reset { after_ms: 0 }]).await;
        expect_reset(&mut client).await;
        expect_reset(&mut server).await;
        let mut late = TcpStream::connect(stand.listen).await.unwrap();
        expect_reset(&mut late).await;
        stand.impair(&[]).await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"well again").await;
        expect(&mut server, b"well again").await;
    });
}

#[test]
fn a_reset_by_one_end_reaches_the_other() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, server) = stand.connect().await;
        server.set_zero_linger().unwrap();
        drop(server);
        expect_reset(&mut client).await;
    });
}

#[test]
fn a_dead_upstream_shows_as_a_reset_and_a_new_one_is_used() {
    on_loopback(async {
        let mut stand = Stand::new().await;
        drop(stand.upstream);
        let mut client = TcpStream::connect(stand.listen).await.unwrap();
        expect_reset(&mut client).await;
        stand.upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = stand.upstream.local_addr().unwrap();
        assert_eq!(stand.controller.add(&link(), upstream).await.unwrap(), stand.listen);
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, b"there").await;
        expect(&mut server, b"there").await;
    });
}

#[test]
fn a_link_that_is_not_there_is_refused() {
    on_loopback(async {
        let stand = Stand::new().await;
        let other = LinkName { from: "a/api-1".into(), to: "c/core-1".into() };
        let error = stand.controller.impair(&other, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "the proxy refused: no proxy stands on a/api-1 -> c/core-1");
    });
}

#[test]
fn the_end_of_the_commands_ends_everything() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::BlackHole]).await;
        drop(stand.controller);
        stand.proxy.await.unwrap().unwrap();
        let mut byte = [0];
        assert!(!matches!(client.read(&mut byte).await, Ok(1)));
        assert!(!matches!(server.read(&mut byte).await, Ok(1)));
        assert!(TcpStream::connect(stand.listen).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_proxy_that_ended_is_told_to_whoever_asks() {
    on_loopback(async {
        let stand = Stand::new().await;
        stand.proxy.abort();
        let error = stand.controller.impair(&link(), &[]).await.unwrap_err();
        assert_eq!(error, ControlError::Ended);
    });
}

#[test]
fn the_commands_are_plain_lines_of_json() {
    on_loopback(async {
        let (near, far) = duplex(64 * 1024);
        let (commands, replies) = split(far);
        spawn_local(serve(BufReader::new(commands), replies, Rng::from_seed("proxy")));
        let (replies, mut commands) = split(near);
        let mut replies = BufReader::new(replies).lines();
        let add = r#"{"id":7,"cmd":"add","link":{"from":"robots","to":"a/api-1"},"upstream":"127.0.0.1:9"}"#;
        let impair = r#"{"id":8,"cmd":"impair","link":{"from":"robots","to":"a/api-1"},"toxics":[{"type":"latency","latency_ms":5,"jitter_ms":1},{"type":"black_hole"},{"type":"reset"}]}"#;
        for line in [add, impair, "nonsense"] {
            commands.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }
        let mut reply = async || replies.next_line().await.unwrap().unwrap();
        assert!(reply().await.starts_with(r#"{"id":7,"listen":"127.0.0.1:"#));
        assert_eq!(reply().await, r#"{"id":8}"#);
        assert!(reply().await.starts_with(r#"{"id":null,"error":"this is no command"#));
    });
}

#[test]
fn a_command_without_end_is_not_collected_for_ever() {
    on_loopback(async {
        let (near, far) = duplex(64 * 1024);
        let (commands, replies) = split(far);
        let rng = Rng::from_seed("proxy");
        let proxy = spawn_local(serve(BufReader::new(commands), replies, rng));
        let (_replies, mut commands) = split(near);
        // The proxy may hang up before it has taken all of it.
        let _ = commands.write_all(&vec![b'x'; 65 * 1024]).await;
        let error = proxy.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    });
}

#[test]
fn a_narrow_line_is_shared_by_all_connections_and_wide_again_when_healed() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut one, mut one_served) = stand.connect().await;
        let (mut other, mut other_served) = stand.connect().await;
        stand.impair(&[Toxic::Bandwidth { rate: 100_000, each: false }]).await;
        let all = pattern(10_000);
        let begun = Instant::now();
        send(&mut one, &all).await;
        send(&mut other, &all).await;
        expect(&mut one_served, &all).await;
        expect(&mut other_served, &all).await;
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
        stand.impair(&[Toxic::Bandwidth { rate: 1_000, each: false }]).await;
        let much = pattern(600_000);
        send(&mut one, &much).await;
        stand.impair(&[]).await;
        // Ten minutes' worth.
        expect(&mut one_served, &much).await;
    });
}

#[test]
fn a_slicer_pauses_between_pieces_and_keeps_every_byte() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::Slicer { size: 10, variation: 0, delay_us: 5_000 }]).await;
        let begun = Instant::now();
        let all = pattern(205);
        send(&mut client, &all).await;
        let mut piece = [0; 205];
        assert_eq!(server.read(&mut piece).await.unwrap(), 10);
        assert_eq!(piece[..10], all[..10]);
        expect(&mut server, &all[10..]).await;
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_timeout_swallows_and_resets_only_those_who_lost_something_when_healed() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut loser, mut loser_served) = stand.connect().await;
        let (mut keeper, mut keeper_served) = stand.connect().await;
        stand.impair(&[Toxic::Timeout { close_ms: 0 }]).await;
        send(&mut loser, b"lost").await;
        expect_nothing(&mut loser_served).await;
        let mut late = TcpStream::connect(stand.listen).await.unwrap();
        send(&mut late, b"late").await;
        expect_nothing(&mut late).await;
        stand.impair(&[]).await;
        expect_reset(&mut loser_served).await;
        expect_reset(&mut loser).await;
        send(&mut keeper, b"kept").await;
        expect(&mut keeper_served, b"kept").await;
        let mut late_served = stand.upstream.accept().await.unwrap().0;
        expect(&mut late_served, b"late").await;
    });
}

#[test]
fn a_limit_tears_a_connection_after_so_many_bytes_from_its_start() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, &pattern(1_000)).await;
        expect(&mut server, &pattern(1_000)).await;
        stand.impair(&[Toxic::LimitData { bytes: 10, politely: false }]).await;
        send(&mut client, b"0123456789").await;
        expect(&mut server, b"0123456789").await;
        send(&mut client, b"x").await;
        expect_reset(&mut server).await;
        expect_reset(&mut client).await;
        stand.impair(&[]).await;
        let (mut client, mut server) = stand.connect().await;
        send(&mut client, &pattern(1_000)).await;
        expect(&mut server, &pattern(1_000)).await;
    });
}

#[test]
fn a_slow_close_holds_the_end_back_and_nothing_before_it() {
    on_loopback(async {
        let stand = Stand::new().await;
        let (mut client, mut server) = stand.connect().await;
        stand.impair(&[Toxic::SlowClose { delay_ms: 3_600_000 }]).await;
        send(&mut client, b"bye").await;
        client.shutdown().await.unwrap();
        expect(&mut server, b"bye").await;
        expect_nothing(&mut server).await;
        stand.impair(&[]).await;
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    });
}
