//! Sockets with servers of every mood.

use futures_util::{SinkExt, StreamExt, future::join};
use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    accept_async, accept_hdr_async,
    tungstenite::{self, handshake::server},
};

use super::*;
use crate::target::wire::testing::{Authority, anywhere, listener, run};

type Theirs = WebSocketStream<TcpStream>;

/// A socket whose messages come out of a channel, and the server's side of it.
async fn pair(options: Options) -> (Socket, mpsc::UnboundedReceiver<Message>, Theirs) {
    let (listener, base) = listener("http").await;
    let (seen, messages) = mpsc::unbounded_channel();
    let on_message: OnMessage = Rc::new(move |message| drop(seen.send(message)));
    let url = base.to_string();
    let open = Socket::open(&url, HeaderMap::new(), &options, on_message);
    let (socket, theirs) = join(open, accept(&listener)).await;
    (socket.unwrap(), messages, theirs)
}

async fn accept(listener: &TcpListener) -> Theirs {
    accept_async(listener.accept().await.unwrap().0).await.unwrap()
}

fn options() -> Options {
    Options::new(None, anywhere())
}

fn ignore() -> OnMessage {
    Rc::new(|_| {})
}

async fn next(theirs: &mut Theirs) -> tungstenite::Message {
    theirs.next().await.unwrap().unwrap()
}

#[test]
fn messages_go_both_ways_and_close_is_said_to_the_end() {
    run(async {
        let (socket, mut messages, mut theirs) = pair(options()).await;
        socket.send(Message::text("hello")).unwrap();
        socket.send(Message::Binary(Bytes::from_static(b"\x01\x02"))).unwrap();
        assert_eq!(next(&mut theirs).await, tungstenite::Message::text("hello"));
        assert_eq!(next(&mut theirs).await, tungstenite::Message::binary(&b"\x01\x02"[..]));
        let large = "x".repeat(100_000);
        theirs.send(tungstenite::Message::text(large.clone())).await.unwrap();
        theirs.send(tungstenite::Message::binary(&b"\x03"[..])).await.unwrap();
        assert_eq!(messages.recv().await.unwrap(), Message::text(large));
        assert_eq!(messages.recv().await.unwrap(), Message::Binary(Bytes::from_static(b"\x03")));
        let server = async {
            assert!(matches!(next(&mut theirs).await, tungstenite::Message::Close(Some(_))));
            assert!(theirs.next().await.is_none());
        };
        let (closed, ()) = join(socket.close(), server).await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Us, Some(1000)));
        assert!(matches!(socket.send(Message::text("x")), Err(WireError::NotConnected(_))));
        assert!(!socket.is_open());
    });
}

#[test]
fn over_tls_with_headers_and_a_query() {
    run(async {
        let ca = Authority::new("city");
        let (listener, base) = listener("https").await;
        let tls = ca.accepts(ca.signs("localhost"), &["h2", "http/1.1"], false);
        let server = async {
            let stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            let mut seen = None;
            #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
            let look = |request: &server::Request, response: server::Response| {
                let own = request.headers()["x-run"].to_str().unwrap().to_owned();
                seen = Some((request.uri().to_string(), own));
                Ok(response)
            };
            let mut theirs = accept_hdr_async(stream, look).await.unwrap();
            let message = theirs.next().await.unwrap().unwrap();
            assert_eq!(message, tungstenite::Message::text("hello"));
            seen.unwrap()
        };
        let client = async {
            let url = format!("wss://localhost:{}/ride?token=secret", base.port());
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static("x-run"),
                HeaderValue::from_static("7"),
            )]);
            let options = Options { tls: Some(ca.trusted()), ..options() };
            let socket = Socket::open(&url, headers, &options, ignore()).await.unwrap();
            socket.send(Message::text("hello")).unwrap();
            socket.close().await
        };
        let (seen, _) = join(server, client).await;
        assert_eq!(seen, ("/ride?token=secret".to_owned(), "7".to_owned()));
    });
}

#[test]
fn a_refusal_is_told_with_its_status_and_words_and_without_the_token() {
    run(async {
        let (listener, base) = listener("http").await;
        let server = async {
            #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
            let refuse = |_: &server::Request, _: server::Response| {
                Err(Response::builder().status(401).body(Some("who are you?".into())).unwrap())
            };
            let stream = listener.accept().await.unwrap().0;
            assert!(accept_hdr_async(stream, refuse).await.is_err());
        };
        let url = format!("ws://127.0.0.1:{}/?token=hunter2", base.port());
        let options = options();
        let open = Socket::open(&url, HeaderMap::new(), &options, ignore());
        let (socket, ()) = join(open, server).await;
        let why = socket.err().unwrap();
        assert!(matches!(why, WireError::Refused { status: Some(401), .. }), "{why}");
        let why = why.to_string();
        assert!(why.contains("who are you?") && why.contains("with 401"), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    });
}

#[test]
fn what_cannot_be_opened_is_not_connected() {
    run(async {
        let (gone, base) = listener("http").await;
        drop(gone);
        let (silent, quiet) = listener("http").await;
        let (other, plain) = listener("http").await;
        spawn_local(async move {
            let mut stream = other.accept().await.unwrap().0;
            stream.write_all(b"220 mail.example ready\r\n\r\n").await.unwrap();
        });
        let connect_within = Duration::from_millis(50);
        let forbidden = Options { allowed: Rc::new(|_, _| Err("no".to_owned())), ..options() };
        let cases = [
            (base.to_string(), options(), "refused"),
            (quiet.to_string(), Options { connect_within, ..options() }, "did not open within"),
            (plain.to_string(), options(), "did not open"),
            (base.to_string(), forbidden, ": no"),
            ("city.example".to_owned(), options(), "no scheme"),
        ];
        for (url, options, wanted) in cases {
            match Socket::open(&url, HeaderMap::new(), &options, ignore()).await {
                Err(WireError::NotConnected(why)) => assert!(why.contains(wanted), "{why}"),
                other => panic!("{url}: {:?}", other.err()),
            }
        }
        drop(silent);
    });
}

#[test]
fn the_servers_goodbye_is_told_in_its_words() {
    run(async {
        let (socket, _messages, mut theirs) = pair(options()).await;
        let reason = Utf8Bytes::from_static("token expired");
        let frame = CloseFrame { code: CloseCode::from(4001), reason };
        theirs.close(Some(frame)).await.unwrap();
        let (closed, answer) = join(socket.closed(), theirs.next()).await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Server, Some(4001)));
        assert_eq!(closed.to_string(), "closed by the server with 4001: token expired");
        assert!(matches!(answer, Some(Ok(tungstenite::Message::Close(_)))), "{answer:?}");
        let why = socket.send(Message::text("x")).unwrap_err();
        assert!(matches!(&why, WireError::NotConnected(why) if why.contains("token expired")));
    });
}

#[test]
fn a_connection_that_breaks_is_told_as_such() {
    run(async {
        let (socket, _messages, theirs) = pair(options()).await;
        drop(theirs);
        let closed = socket.closed().await;
        assert_eq!((closed.by, closed.code), (ClosedBy::Break, None));
        // Told again to whoever asks later.
        assert_eq!(socket.closed().await, closed);
    });
}

#[test]
fn a_message_beyond_the_limit_ends_the_socket() {
    run(async {
        let options = Options { message_bytes_max: 1_000, ..options() };
        let (socket, mut messages, mut theirs) = pair(options).await;
        theirs.send(tungstenite::Message::text("x".repeat(1_000))).await.unwrap();
        theirs.send(tungstenite::Message::text("x".repeat(1_001))).await.unwrap();
        let closed = socket.closed().await;
        assert!(closed.reason.contains("1001 bytes is larger than the limit of 1000"), "{closed}");
        assert_eq!(messages.recv().await.unwrap(), Message::text("x".repeat(1_000)));
        assert!(messages.recv().await.is_none());
    });
}

#[test]
fn a_full_queue_refuses_and_what_is_in_it_arrives() {
    run(async {
        let options = Options { queue_max: 3, queue_bytes_max: 10, ..options() };
        let (socket, _messages, mut theirs) = pair(options).await;
        for text in ["a", "b", "c"] {
            socket.send(Message::text(text)).unwrap();
        }
        let why = socket.send(Message::text("d")).unwrap_err();
        assert!(matches!(&why, WireError::Full(why) if why.contains("3 messages")), "{why}");
        assert_eq!(socket.handle().waiting(), 3);
        for text in ["a", "b", "c"] {
            assert_eq!(next(&mut theirs).await, tungstenite::Message::text(text));
        }
        socket.send(Message::text("123456")).unwrap();
        let why = socket.send(Message::text("12345")).unwrap_err();
        assert!(matches!(&why, WireError::Full(why) if why.contains("10 bytes")), "{why}");
        socket.send(Message::text("1234")).unwrap();
        assert_eq!(next(&mut theirs).await, tungstenite::Message::text("123456"));
        assert_eq!(next(&mut theirs).await, tungstenite::Message::text("1234"));
    });
}

#[test]
fn a_server_that_does_not_read_fills_the_queue_and_then_gets_all() {
    run(async {
        let (socket, _messages, mut theirs) = pair(options()).await;
        let mut sent = 0;
        // The system's buffers take some; no machine's take all of this.
        let full = loop {
            match socket.send(Message::text(format!("{sent} {}", "x".repeat(60_000)))) {
                Ok(()) => sent += 1,
                Err(why) => break why,
            }
            assert!(sent < 10_000, "nothing is ever refused");
            tokio::task::yield_now().await;
        };
        assert!(matches!(full, WireError::Full(_)), "{full}");
        for n in 0..sent {
            let text = next(&mut theirs).await.into_text().unwrap();
            assert!(text.starts_with(&format!("{n} ")));
        }
        socket.send(Message::text("again")).unwrap();
        assert_eq!(next(&mut theirs).await, tungstenite::Message::text("again"));
    });
}

#[test]
fn pings_are_answered() {
    run(async {
        let (_socket, _messages, mut theirs) = pair(options()).await;
        let ping = Bytes::from_static(b"there?");
        theirs.send(tungstenite::Message::Ping(ping.clone())).await.unwrap();
        assert_eq!(next(&mut theirs).await, tungstenite::Message::Pong(ping));
    });
}

#[test]
fn a_dropped_socket_sends_what_waits_and_delivers_nothing_more() {
    run(async {
        let (socket, mut messages, mut theirs) = pair(options()).await;
        socket.send(Message::text("last words")).unwrap();
        drop(socket);
        assert_eq!(next(&mut theirs).await, tungstenite::Message::text("last words"));
        assert!(matches!(next(&mut theirs).await, tungstenite::Message::Close(_)));
        // The server's answer to it leaves as it reads on.
        let (nothing, end) = join(messages.recv(), theirs.next()).await;
        assert!(nothing.is_none() && end.is_none());
    });
}

#[test]
fn a_server_that_never_answers_a_goodbye_does_not_hold_the_socket() {
    run(async {
        let options = Options { leave_within: Duration::from_millis(20), ..options() };
        let (socket, _messages, theirs) = pair(options).await;
        let closed = socket.close().await;
        assert_eq!(closed.by, ClosedBy::Us);
        drop(theirs);
    });
}

#[test]
fn the_callback_may_send_and_may_drop_the_socket() {
    run(async {
        let (listener, base) = listener("http").await;
        let held: Rc<RefCell<Option<Socket>>> = Rc::default();
        let own = Rc::clone(&held);
        let on_message: OnMessage = Rc::new(move |message| {
            if message == Message::text("end") {
                own.borrow_mut().take();
            } else if let Some(socket) = own.borrow().as_ref() {
                socket.send(message).unwrap();
            }
        });
        let (url, options) = (base.to_string(), options());
        let open = Socket::open(&url, HeaderMap::new(), &options, on_message);
        let (socket, mut theirs) = join(open, accept(&listener)).await;
        held.replace(Some(socket.unwrap()));
        for text in ["one", "two"] {
            theirs.send(tungstenite::Message::text(text)).await.unwrap();
            assert_eq!(next(&mut theirs).await, tungstenite::Message::text(text));
        }
        theirs.send(tungstenite::Message::text("end")).await.unwrap();
        assert!(matches!(next(&mut theirs).await, tungstenite::Message::Close(_)));
        assert!(held.borrow().is_none());
    });
}

#[test]
fn a_broken_frame_ends_the_socket() {
    run(async {
        let (socket, _messages, mut theirs) = pair(options()).await;
        // A reserved kind of frame.
        theirs.get_mut().write_all(&[0x83, 0x00]).await.unwrap();
        let closed = socket.closed().await;
        assert_eq!(closed.by, ClosedBy::Break);
        let mut rest = Vec::new();
        // The connection is gone too.
        let _ = theirs.get_mut().read_to_end(&mut rest).await;
    });
}
