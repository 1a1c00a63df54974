//! Connections with a peer that follows a script.

use futures_util::{SinkExt, StreamExt, future::join};
use serde_json::json;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{self, handshake::server},
};

use super::*;
use crate::target::wire::testing::{anywhere, listener, run};

/// The server's side: says and expects texts.
struct Peer {
    socket: WebSocketStream<TcpStream>,
    uri: String,
}

impl Peer {
    async fn says(&mut self, text: &str) {
        self.socket.send(tungstenite::Message::text(text)).await.unwrap();
    }

    /// The next text, or `None` at the end.
    async fn hears(&mut self) -> Option<String> {
        match self.socket.next().await {
            Some(Ok(tungstenite::Message::Text(text))) => Some(text.to_string()),
            _ => None,
        }
    }

    async fn opens(&mut self, ping_interval_ms: u64) {
        self.says(&format!(
            r#"0{{"sid":"e","upgrades":[],"pingInterval":{ping_interval_ms},"pingTimeout":10}}"#
        ))
        .await;
    }
}

type Events = mpsc::UnboundedReceiver<(String, Vec<Value>)>;

/// A client that opens, while the peer does what `script` says.
async fn meet<T>(
    options: impl FnOnce(&mut Options),
    script: impl AsyncFnOnce(&mut Peer) -> T,
) -> (Result<SocketIo, WireError>, Events, Peer, T) {
    let (listener, base) = listener("http").await;
    let mut own = Options::new(websocket::Options::new(None, anywhere()));
    options(&mut own);
    let (seen, events) = mpsc::unbounded_channel();
    let on_event: OnEvent = Rc::new(move |name, payload| drop(seen.send((name.into(), payload))));
    let url = format!("{base}/?token=1");
    let client = SocketIo::open(&url, HeaderMap::new(), &own, on_event);
    let server = async {
        let mut uri = String::new();
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let look = |request: &server::Request, response: server::Response| {
            uri = request.uri().to_string();
            Ok(response)
        };
        let socket = accept_hdr_async(listener.accept().await.unwrap().0, look).await.unwrap();
        let mut peer = Peer { socket, uri };
        let done = script(&mut peer).await;
        (peer, done)
    };
    let (client, (peer, done)) = join(client, server).await;
    (client, events, peer, done)
}

/// Lets the client in.
async fn joined() -> (SocketIo, Events, Peer) {
    let script = async |peer: &mut Peer| {
        peer.opens(60_000).await;
        peer.hears().await.unwrap();
        peer.says(r#"40{"sid":"s"}"#).await;
    };
    let (client, events, peer, ()) = meet(|_| {}, script).await;
    (client.unwrap(), events, peer)
}

#[test]
fn the_handshake_carries_the_auth_frame_into_the_namespace() {
    run(async {
        let options = |options: &mut Options| {
            options.namespace = "/taxi".into();
            options.auth = Some(json!({"token": "t"}));
        };
        let script = async |peer: &mut Peer| {
            peer.opens(60_000).await;
            let asked = peer.hears().await.unwrap();
            // Of another namespace: not ours.
            peer.says(r#"40{"sid":"other"}"#).await;
            peer.says(r#"40/taxi,{"sid":"s"}"#).await;
            asked
        };
        let (client, mut events, mut peer, asked) = meet(options, script).await;
        let client = client.unwrap();
        assert_eq!(asked, r#"40/taxi,{"token":"t"}"#);
        assert_eq!(peer.uri, "/socket.io/?token=1&EIO=4&transport=websocket");
        client.emit("gps", vec![json!({"lat": 1.5}), json!(2)]).unwrap();
        assert_eq!(peer.hears().await.unwrap(), r#"42/taxi,["gps",{"lat":1.5},2]"#);
        peer.says(r#"42["offer",0]"#).await;
        peer.says(r#"42/taxi,["offer",1]"#).await;
        assert_eq!(events.recv().await.unwrap(), ("offer".to_owned(), vec![json!(1)]));
        drop(client);
        assert_eq!(peer.hears().await.unwrap(), "41/taxi,");
        assert_eq!(peer.hears().await, None);
    });
}

#[test]
fn pings_are_answered_and_events_that_want_it_acknowledged() {
    run(async {
        let (_client, mut events, mut peer) = joined().await;
        peer.says("2").await;
        assert_eq!(peer.hears().await.unwrap(), "3");
        peer.says(r#"427["offer",{"id":1}]"#).await;
        assert_eq!(peer.hears().await.unwrap(), "437[]");
        assert_eq!(events.recv().await.unwrap(), ("offer".to_owned(), vec![json!({"id": 1})]));
        // Attachments and what comes beside the protocol hurt nobody.
        peer.says(r#"451-["photo",{"_placeholder":true,"num":0}]"#).await;
        peer.socket.send(tungstenite::Message::binary(&b"jpeg"[..])).await.unwrap();
        peer.says("6").await;
        assert_eq!(events.recv().await.unwrap().0, "photo");
        peer.says("2again").await;
        assert_eq!(peer.hears().await.unwrap(), "3again");
    });
}

#[test]
fn acknowledgements_find_their_events_in_any_order() {
    run(async {
        let (client, _events, mut peer) = joined().await;
        let server = async {
            assert_eq!(peer.hears().await.unwrap(), r#"420["a"]"#);
            assert_eq!(peer.hears().await.unwrap(), r#"421["b",true]"#);
            peer.says("439[\"nobody asked\"]").await;
            peer.says(r#"431["for b"]"#).await;
            peer.says(r#"430["for a",1]"#).await;
        };
        let asked =
            join(client.emit_with_ack("a", vec![]), client.emit_with_ack("b", vec![json!(true)]));
        let ((a, b), ()) = join(asked, server).await;
        assert_eq!(a.unwrap(), [json!("for a"), json!(1)]);
        assert_eq!(b.unwrap(), [json!("for b")]);
        assert!(client.state.awaited.borrow().is_empty());
    });
}

#[test]
fn an_event_that_is_not_acknowledged_may_have_been_seen() {
    run(async {
        let (client, _events, mut peer) = joined().await;
        let server = async {
            peer.hears().await.unwrap();
            peer.says("41").await;
            assert_eq!(peer.hears().await, None);
        };
        let (outcome, ()) = join(client.emit_with_ack("a", vec![]), server).await;
        let why = outcome.unwrap_err();
        assert!(matches!(&why, WireError::Broken(why) if why.contains("put us out")), "{why}");
        // What comes after is certainly not seen.
        assert!(matches!(client.emit("b", vec![]), Err(WireError::NotConnected(_))));
        let late = client.emit_with_ack("c", vec![]).await;
        assert!(matches!(late, Err(WireError::NotConnected(_))));
        assert!(client.state.awaited.borrow().is_empty());
    });
}

#[test]
fn acknowledgements_that_nobody_awaits_are_forgotten_and_too_many_refused() {
    run(async {
        let (client, _events, mut peer) = joined().await;
        {
            let given_up = pin!(client.emit_with_ack("a", vec![]));
            let heard = pin!(peer.hears());
            assert!(matches!(select(given_up, heard).await, Either::Right(_)));
            assert_eq!(client.state.awaited.borrow().len(), 1);
        }
        assert!(client.state.awaited.borrow().is_empty());
        for id in 0..AWAITED_MAX as u64 {
            client.state.awaited.borrow_mut().insert(id, oneshot::channel().0);
        }
        let why = client.emit_with_ack("a", vec![]).await.unwrap_err();
        assert!(matches!(why, WireError::Full(_)), "{why}");
    });
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    run(async {
        for (answer, words) in [
            (r#"44{"message":"invalid token","data":{"code":7}}"#, "invalid token"),
            (r#"44{"code":7}"#, r#"{"code":7}"#),
        ] {
            let script = async |peer: &mut Peer| {
                peer.opens(60_000).await;
                peer.hears().await.unwrap();
                peer.says(answer).await;
            };
            let (client, ..) = meet(|_| {}, script).await;
            let refused = WireError::Refused { status: None, words: words.to_owned() };
            assert_eq!(client.err(), Some(refused));
        }
    });
}

#[test]
fn a_server_that_does_not_follow_the_protocol_is_not_connected() {
    run(async {
        let cases = [
            (&["hello"][..], "not a frame"),
            (&[r#"0{"sid":"e"}"#], "opening"),
            (&["0{\"sid\":\"e\",\"pingInterval\":1000,\"pingTimeout\":1000}", "40"], "Socket.IO 2"),
            (&["0{\"sid\":\"e\",\"pingInterval\":1000,\"pingTimeout\":1000}", "41"], "put us out"),
            (&["1"], "ended Engine.IO"),
            (&[], "handshake within"),
            (
                &["0{\"sid\":\"e\",\"pingInterval\":1000,\"pingTimeout\":1000}"],
                "did not let us into",
            ),
        ];
        for (says, wanted) in cases {
            let script = async |peer: &mut Peer| {
                for text in says {
                    peer.says(text).await;
                }
                while peer.hears().await.is_some() {}
            };
            let options = |options: &mut Options| options.answer_within = Duration::from_millis(50);
            let (client, ..) = meet(options, script).await;
            match client.err() {
                Some(WireError::NotConnected(why)) => assert!(why.contains(wanted), "{why}"),
                other => panic!("{wanted}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_server_that_falls_silent_is_gone() {
    run(async {
        let script = async |peer: &mut Peer| {
            peer.opens(20).await;
            peer.hears().await.unwrap();
            peer.says(r#"40{"sid":"s"}"#).await;
        };
        let (client, _events, peer, ()) =
            meet(|options| options.socket.leave_within = Duration::from_millis(20), script).await;
        let client = client.unwrap();
        let (outcome, closed) = join(client.emit_with_ack("a", vec![]), client.closed()).await;
        assert_eq!(closed.by, ClosedBy::Break);
        assert!(closed.reason.contains("said nothing for 30ms"), "{closed}");
        assert!(matches!(outcome, Err(WireError::Broken(_))));
        drop(peer);
    });
}
