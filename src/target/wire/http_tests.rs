//! Exchanges with servers of every kind, and how each failure is told.

use std::{net::IpAddr, pin::pin};

use futures_util::future::{Either, join, join_all, select};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_local,
};

use super::*;
use crate::target::wire::{
    testing::{Authority, Echo, Listens, anywhere, listener, run},
    tls::Identity,
};

/// An HTTP/2 frame of settings that changes nothing, as every server sends it first.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// "I go away, and looked at no stream."
const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn client(version: Version, tls: Option<Tls>) -> HttpClient {
    HttpClient::new(Options { version, ..Options::new(tls, anywhere()) })
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::post(path).body(body.into()).unwrap()
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

fn not_connected(outcome: Result<Response<Bytes>, HttpError>) -> String {
    match outcome {
        Err(HttpError::NotConnected(why)) => why,
        other => panic!("the server cannot have seen it: {other:?}"),
    }
}

fn broken(outcome: Result<Response<Bytes>, HttpError>) -> String {
    match outcome {
        Err(HttpError::Broken(why)) => why,
        other => panic!("the server may have seen it: {other:?}"),
    }
}

#[test]
fn plain_http_goes_below_the_prefix_and_keeps_its_connection() {
    run(async {
        let server = Echo::start(Listens::default()).await;
        let client = client(Version::Auto, None);
        let below = Base::parse(&format!("{}/api/v1/", server.base)).unwrap();
        for n in 0..20 {
            let body = format!("body {n}");
            let answer = client.exchange(&below, post("/rides?a=b", body.clone())).await.unwrap();
            assert_eq!(header(&answer, "path"), "/api/v1/rides?a=b");
            assert_eq!(header(&answer, "host"), format!("127.0.0.1:{}", below.port()));
            assert_eq!(header(&answer, "version"), "HTTP/1.1");
            assert_eq!(*answer.body(), body);
        }
        let moved = client.exchange(&server.base, post("/moved", "")).await.unwrap();
        assert_eq!((moved.status(), header(&moved, "path")), (StatusCode::FOUND, "/moved"));
        assert_eq!(server.connections.get(), 1, "both bases are one server");
    });
}

#[test]
fn http2_without_tls_opens_connections_as_streams_run_out() {
    run(async {
        let listens = Listens { http2_streams: Some(50), ..Listens::default() };
        let server = Echo::start(listens).await;
        let client = client(Version::H2, None);
        let below = Base::parse(&format!("{}/api", server.base)).unwrap();
        // The first tells how many streams the server takes.
        client.exchange(&below, post("/", "")).await.unwrap();
        let all = (0..200).map(|n| {
            let (client, below) = (&client, &below);
            async move {
                let body = Bytes::from(format!("{n} ").repeat(n * 40));
                let answer = client.exchange(below, post("/x?y", body.clone())).await.unwrap();
                assert_eq!(header(&answer, "version"), "HTTP/2.0");
                assert_eq!(header(&answer, "path"), "/api/x?y");
                assert_eq!(header(&answer, "host"), format!("127.0.0.1:{}", below.port()));
                assert!(*answer.body() == body);
            }
        });
        join_all(all).await;
        let connections = server.connections.get();
        assert_eq!(connections, 4);
        client.exchange(&below, post("/", "")).await.unwrap();
        assert_eq!(server.connections.get(), connections, "they are kept");
    });
}

#[test]
fn over_tls_the_server_chooses_the_version() {
    run(async {
        let ca = Authority::new("city");
        for (offered, spoken) in
            [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")]
        {
            let tls = Some(ca.accepts(ca.signs("localhost"), offered, false));
            let server = Echo::start(Listens { tls, ..Listens::default() }).await;
            let client = client(Version::Auto, Some(ca.trusted()));
            let all = (0..20).map(|_| async {
                let answer = client.exchange(&server.base, post("/", "hello")).await.unwrap();
                assert_eq!(
                    (header(&answer, "version"), &answer.body()[..]),
                    (spoken, &b"hello"[..])
                );
            });
            join_all(all).await;
            let connections = server.connections.get();
            assert_eq!(connections == 1, spoken == "HTTP/2.0", "{connections} connections");
        }
    });
}

#[test]
fn a_version_that_was_asked_for_is_spoken_or_refused() {
    run(async {
        let ca = Authority::new("city");
        let tls = Some(ca.accepts(ca.signs("localhost"), &["h2", "http/1.1"], false));
        let server = Echo::start(Listens { tls, ..Listens::default() }).await;
        for (version, spoken) in [(Version::H1, "HTTP/1.1"), (Version::H2, "HTTP/2.0")] {
            let client = client(version, Some(ca.trusted()));
            let answer = client.exchange(&server.base, post("/", "")).await.unwrap();
            assert_eq!(header(&answer, "version"), spoken);
        }
        for offered in [&["http/1.1"][..], &[]] {
            let tls = Some(ca.accepts(ca.signs("localhost"), offered, false));
            let old = Echo::start(Listens { tls, ..Listens::default() }).await;
            let client = client(Version::H2, Some(ca.trusted()));
            let why = not_connected(client.exchange(&old.base, post("/", "")).await);
            assert!(why.contains("does not speak"), "{why}");
        }
    });
}

#[test]
fn a_certificate_that_does_not_verify_is_named_with_what_to_do() {
    run(async {
        let (ca, other) = (Authority::new("city"), Authority::new("other"));
        let cases = [
            (ca.signs("localhost"), other.trusted(), "unknown issuer"),
            (ca.signs("elsewhere.example"), ca.trusted(), "not for localhost but for"),
            (ca.signs_until("localhost", 2001), ca.trusted(), "expired at 2001-01-01"),
        ];
        for (signed, tls, wanted) in cases {
            let accepts = Some(ca.accepts(signed, &["h2", "http/1.1"], false));
            let server = Echo::start(Listens { tls: accepts, ..Listens::default() }).await;
            for version in [Version::Auto, Version::H1, Version::H2] {
                let client = client(version, Some(tls.clone()));
                let why = not_connected(client.exchange(&server.base, post("/", "")).await);
                let place = format!("localhost:{}: ", server.base.port());
                assert!(why.starts_with(&place) && why.contains(wanted), "{why}");
                assert!(!why.contains("unknown issuer") || why.contains("[tls] ca = "), "{why}");
            }
        }
    });
}

#[test]
fn a_server_that_wants_to_know_us_is_shown_a_certificate() {
    run(async {
        let ca = Authority::new("city");
        let tls = Some(ca.accepts(ca.signs("localhost"), &["http/1.1"], true));
        let server = Echo::start(Listens { tls, ..Listens::default() }).await;
        let (certificate, key) = ca.files(&ca.signs("robots"));
        let identity = Identity { certificate: &certificate, key: &key };
        let known = Tls::new(Some(&ca.path()), Some(identity)).unwrap();
        let known = client(Version::Auto, Some(known));
        assert!(known.exchange(&server.base, post("/", "")).await.is_ok());
        let unknown = client(Version::Auto, Some(ca.trusted()));
        assert!(unknown.exchange(&server.base, post("/", "")).await.is_err());
    });
}

#[test]
fn what_is_not_tls_and_what_has_none_is_not_connected() {
    run(async {
        let plain = Echo::start(Listens::default()).await;
        let secure = Base::parse(&format!("https://localhost:{}", plain.base.port())).unwrap();
        let ca = Authority::new("city");
        let why = client(Version::Auto, Some(ca.trusted())).exchange(&secure, post("/", "")).await;
        let why = not_connected(why);
        assert!(why.contains("does not answer in TLS"), "{why}");
        let why = client(Version::Auto, None).exchange(&secure, post("/", "")).await;
        assert!(not_connected(why).contains("not set up"));
    });
}

#[test]
fn a_refused_connection_is_not_connected_and_told_to_all_who_wait() {
    run(async {
        let (gone, base) = listener("https").await;
        drop(gone);
        let ca = Authority::new("city");
        for version in [Version::Auto, Version::H1, Version::H2] {
            let client = client(version, Some(ca.trusted()));
            let all = (0..10).map(|_| client.exchange(&base, post("/", "")));
            for outcome in join_all(all).await {
                let why = not_connected(outcome);
                assert!(why.contains("refused"), "{why}");
            }
        }
    });
}

#[test]
fn an_address_that_is_not_allowed_is_not_connected_to() {
    run(async {
        let server = Echo::start(Listens::default()).await;
        let named = Base::parse(&format!("http://localhost:{}", server.base.port())).unwrap();
        let asked = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&asked);
        let allowed: Allowed = Rc::new(move |address: IpAddr, host: &str| {
            noted.borrow_mut().push((address, host.to_owned()));
            Err(format!("{host} ({address}) is not in `hosts`"))
        });
        for base in [&server.base, &named] {
            let client = HttpClient::new(Options::new(None, Rc::clone(&allowed)));
            let why = not_connected(client.exchange(base, post("/", "")).await);
            assert!(why.contains("is not in `hosts`"), "{why}");
        }
        let asked = asked.borrow();
        assert!(asked.iter().all(|(address, _)| address.is_loopback()), "{asked:?}");
        assert_eq!((&asked[0].1[..], &asked[1].1[..]), ("127.0.0.1", "localhost"));
        assert_eq!(server.connections.get(), 0);
    });
}

#[test]
fn a_server_that_is_silent_in_the_handshake_is_given_up() {
    run(async {
        let (silent, base) = listener("https").await;
        let tls = Some(Authority::new("city").trusted());
        let connect_within = Duration::from_millis(30);
        let options = Options { connect_within, ..Options::new(tls, anywhere()) };
        let why = HttpClient::new(options).exchange(&base, post("/", "")).await;
        let why = not_connected(why);
        assert!(why.contains("no TLS handshake within 30ms"), "{why}");
        drop(silent);
    });
}

/// Reads until the head of an HTTP/1.1 request has ended.
async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[test]
fn a_connection_that_breaks_after_the_request_may_have_been_seen() {
    run(async {
        let (server, base) = listener("http").await;
        let halves: [&[u8]; 3] =
            [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"];
        for half in halves {
            let serve = async {
                let (mut stream, _) = server.accept().await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(half).await.unwrap();
            };
            let client = client(Version::Auto, None);
            let (outcome, ()) = join(client.exchange(&base, post("/", "")), serve).await;
            broken(outcome);
        }
    });
}

/// Reads HTTP/2 frames until one of headers has come.
async fn read_headers_frame(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[test]
fn a_stream_that_the_server_went_away_from_was_not_seen() {
    run(async {
        let (server, base) = listener("http").await;
        for (goodbye, seen) in [(&GO_AWAY[..], false), (&[], true)] {
            let serve = async {
                let (mut stream, _) = server.accept().await.unwrap();
                stream.write_all(&SETTINGS).await.unwrap();
                read_headers_frame(&mut stream).await;
                stream.write_all(goodbye).await.unwrap();
            };
            let client = client(Version::H2, None);
            let (outcome, ()) = join(client.exchange(&base, post("/", "")), serve).await;
            if seen {
                broken(outcome)
            } else {
                not_connected(outcome)
            };
        }
    });
}

#[test]
fn a_stream_that_the_server_refused_was_not_seen_and_one_that_it_reset_may_have_been() {
    run(async {
        let (server, base) = listener("http").await;
        let reasons = [h2::Reason::REFUSED_STREAM, h2::Reason::INTERNAL_ERROR];
        let serve = async {
            let (stream, _) = server.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            for reason in reasons {
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                respond.send_reset(reason);
            }
            // Until the client is gone.
            while connection.accept().await.is_some() {}
        };
        spawn_local(async move {
            let client = client(Version::H2, None);
            not_connected(client.exchange(&base, post("/", "x")).await);
            broken(client.exchange(&base, post("/", "x")).await);
        });
        serve.await;
    });
}

#[test]
fn giving_up_an_exchange_cancels_its_stream_and_no_other() {
    run(async {
        let (server, base) = listener("http").await;
        let client = client(Version::H2, None);
        let serve = async {
            let (stream, _) = server.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut given_up) = connection.accept().await.unwrap().unwrap();
            let reset = async {
                let reason = std::future::poll_fn(|cx| given_up.poll_reset(cx)).await.unwrap();
                assert_eq!(reason, h2::Reason::CANCEL);
            };
            // The same connection is asked again.
            let next = async {
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                respond.send_response(Response::new(()), true).unwrap();
                while connection.accept().await.is_some() {}
            };
            join(reset, next).await;
        };
        let ask = async move {
            let given_up = pin!(client.exchange(&base, post("/", "x")));
            let soon = pin!(tokio::time::sleep(Duration::from_millis(20)));
            assert!(matches!(select(given_up, soon).await, Either::Right(_)));
            let answer = client.exchange(&base, post("/", "x")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        };
        join(serve, ask).await;
    });
}

#[test]
fn an_answer_beyond_the_limit_breaks_its_exchange_only() {
    run(async {
        for version in [Version::H1, Version::H2] {
            let http2_streams = (version == Version::H2).then_some(100);
            let server = Echo::start(Listens { http2_streams, ..Listens::default() }).await;
            let options = Options::new(None, anywhere());
            let client = HttpClient::new(Options { version, answer_bytes_max: 1_000, ..options });
            let fits = client.exchange(&server.base, post("/", vec![b'x'; 1_000])).await.unwrap();
            assert_eq!(fits.body().len(), 1_000);
            let why = client.exchange(&server.base, post("/", vec![b'x'; 1_001])).await;
            assert!(broken(why).contains("larger than 1000 bytes"));
            assert!(client.exchange(&server.base, post("/", "x")).await.is_ok());
        }
    });
}

#[test]
fn connections_beyond_the_limit_are_not_opened() {
    run(async {
        let (server, base) = listener("http").await;
        let options = Options { open_max: 1, ..Options::new(None, anywhere()) };
        let client = HttpClient::new(options);
        let first = pin!(client.exchange(&base, post("/", "")));
        let accepted = pin!(server.accept());
        let Either::Right((Ok(_silent), _first)) = select(first, accepted).await else {
            panic!("nobody answered it");
        };
        let why = not_connected(client.exchange(&base, post("/", "")).await);
        assert!(why.contains("1 connections"), "{why}");
    });
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let why = Tls::new(Some(&path), None).unwrap_err().to_string();
    assert!(why.contains("ca.pem: No such file"), "{why}");
    std::fs::write(&path, "hello").unwrap();
    let why = Tls::new(Some(&path), None).unwrap_err().to_string();
    assert!(why.contains("is it PEM?"), "{why}");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let why = Tls::new(Some(&path), None).unwrap_err().to_string();
    assert!(why.contains("certificate 1 in it"), "{why}");
    let ca = Authority::new("city");
    let ((certificate, _), (_, other)) =
        (ca.files(&ca.signs("a")), Authority::new("x").files(&ca.signs("b")));
    // The key of another authority's folder is gone with it; this one is no key at all.
    let identity = Identity { certificate: &certificate, key: &certificate };
    let why = Tls::new(Some(&ca.path()), Some(identity)).unwrap_err().to_string();
    assert!(why.contains("PRIVATE KEY") && !other.exists(), "{why}");
}
