//! HTTP, dialling and stores of the real world, on loopback.

use std::{
    cell::Cell,
    io::{Read, Write},
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, join, join_all, select};
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use super::*;
use crate::{
    base::rng::Rng,
    world::{
        Env,
        store::{Ack, Committed, Txn},
    },
};

fn boot() -> Boot {
    let ports = free_ports(2).unwrap();
    let (links, http) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    Boot {
        dial: BTreeMap::from([("me".into(), links.clone())]),
        dial_http: BTreeMap::from([("me".into(), http.clone())]),
        listen: Some(links),
        http: Some(http),
        ..Boot::default()
    }
}

fn env(boot: Boot) -> Env {
    let name = NodeName::from("me");
    let world = RealWorld::new(name.clone(), boot, Instant::now());
    Env::new(name, &Rng::from_seed("test"), world)
}

fn me() -> NodeName {
    "me".into()
}

/// An env that knows one server, at `address`.
fn client_of(address: std::net::SocketAddr) -> Env {
    let dial_http = BTreeMap::from([(me(), address.to_string())]);
    env(Boot { dial_http, ..Boot::default() })
}

fn post(body: impl Into<Bytes>) -> Request<Bytes> {
    Request::builder().method(Method::POST).uri("/echo?a=b").body(body.into()).unwrap()
}

fn echo() -> HttpHandler {
    Rc::new(|request| {
        Box::pin(async move {
            let path = request.uri().to_string();
            Response::builder().header("path", path).body(request.into_body()).unwrap()
        })
    })
}

#[test]
fn sixty_four_exchanges_at_once_each_get_their_own_answer() {
    run_local(async {
        let env = env(boot());
        // Nobody is answered before all are there.
        let (all_here, seen) = (Rc::new(Semaphore::new(0)), Rc::new(Cell::new(0)));
        let handler: HttpHandler = Rc::new(move |request| {
            seen.set(seen.get() + 1);
            if seen.get() == 64 {
                all_here.add_permits(64);
            }
            let all_here = Rc::clone(&all_here);
            Box::pin(async move {
                all_here.acquire().await.unwrap().forget();
                Response::new(request.into_body())
            })
        });
        env.serve_http(handler).await.unwrap();
        let exchanges = (0..64).map(|number| {
            let env = env.clone();
            async move {
                let body = Bytes::from(format!("{number} ").repeat(number * 100));
                let answer = env.http(&me(), post(body.clone())).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                assert!(*answer.body() == body);
            }
        });
        join_all(exchanges).await;
    })
    .unwrap();
}

#[test]
fn a_stream_is_let_in_or_refused_and_ends_with_either_side() {
    run_local(async {
        let env = env(boot());
        let held: Rc<RefCell<Vec<Link>>> = Rc::default();
        let taken = Rc::clone(&held);
        env.serve_streams(Rc::new(move |request| {
            if request.uri().path() != "/stream" || !request.headers().contains_key("word") {
                let mut refusal = Response::new(Bytes::new());
                *refusal.status_mut() = StatusCode::FORBIDDEN;
                return Err(Box::new(refusal));
            }
            let taken = Rc::clone(&taken);
            Ok(Box::new(move |link| taken.borrow_mut().push(link)))
        }))
        .unwrap();
        assert!(env.serve_streams(Rc::new(|_| unreachable!())).is_err(), "once a node");
        env.serve_http(echo()).await.unwrap();
        let ask = |path: &str| Request::get(path).header("word", "x").body(Bytes::new()).unwrap();
        let refused = env.stream(&me(), Request::new(Bytes::new())).await.err().unwrap();
        assert!(matches!(refused, StreamError::Refused(403)), "{refused}");
        let mut link = env.stream(&me(), ask("/stream")).await.unwrap();
        link.outgoing.send(Bytes::from_static(b"up")).unwrap();
        while held.borrow().is_empty() {
            env.sleep(Duration::from_millis(1)).await;
        }
        let mut theirs = held.borrow_mut().pop().unwrap();
        assert_eq!(theirs.incoming.recv().await.unwrap(), "up");
        for n in 0..20 {
            theirs.outgoing.send(Bytes::from(n.to_string())).unwrap();
        }
        // What was sent before it let go still comes.
        drop(theirs);
        for n in 0..20 {
            assert_eq!(link.incoming.recv().await.unwrap(), n.to_string());
        }
        assert!(link.incoming.recv().await.is_none());
        // HTTP goes on beside it.
        assert_eq!(env.http(&me(), post("body")).await.unwrap().body(), "body");
        let link = env.stream(&me(), ask("/stream")).await.unwrap();
        while held.borrow().is_empty() {
            env.sleep(Duration::from_millis(1)).await;
        }
        drop(link);
        let mut theirs = held.borrow_mut().pop().unwrap();
        assert!(theirs.incoming.recv().await.is_none(), "the client let go");
    })
    .unwrap();
}

#[test]
fn path_headers_and_large_bodies_pass_and_larger_ones_get_413() {
    run_local(async {
        let env = env(boot());
        env.serve_http(echo()).await.unwrap();
        let largest = Bytes::from(vec![b'x'; http_server::REQUEST_BYTES_MAX]);
        let answer = env.http(&me(), post(largest.clone())).await.unwrap();
        assert_eq!(answer.headers()["path"], "/echo?a=b");
        assert!(*answer.body() == largest);
        let larger = Bytes::from(vec![b'x'; http_server::REQUEST_BYTES_MAX + 1]);
        // The server does not read it to the end: the refusal arrives, or the way breaks.
        match env.http(&me(), post(larger)).await {
            Ok(answer) => assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE),
            Err(why) => assert!(matches!(why, HttpError::Broken(_)), "{why}"),
        }
        // What comes after is not harmed by it.
        assert_eq!(env.http(&me(), post("a")).await.unwrap().status(), StatusCode::OK);
    })
    .unwrap();
}

#[test]
fn a_body_announced_too_large_gets_413_unread() {
    run_local(async {
        let boot = boot();
        let address = boot.http.clone().unwrap();
        let env = env(boot);
        env.serve_http(echo()).await.unwrap();
        let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n";
        raw.write_all(head).await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    })
    .unwrap();
}

#[test]
fn exchanges_one_after_another_share_a_connection() {
    run_local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let env = client_of(listener.local_addr().unwrap());
        // Serves one connection only: a second one would wait for ever.
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..100 {
                read_request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        };
        let client = async {
            for _ in 0..100 {
                assert_eq!(env.http(&me(), post("x")).await.unwrap().body(), "ok");
            }
        };
        join(server, client).await;
    })
    .unwrap();
}

/// Reads a request with a body of one byte.
async fn read_request(stream: &mut tokio::net::TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.read_u8().await.unwrap();
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_costs_nothing() {
    run_local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let env = client_of(listener.local_addr().unwrap());
        for _ in 0..20 {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                // And closes, without having said so.
            };
            let (answer, ()) = join(env.http(&me(), post("x")), server).await;
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    })
    .unwrap();
}

#[test]
fn a_refused_port_and_an_unknown_name_are_certain_not_to_have_seen_it() {
    run_local(async {
        let env = env(boot());
        let refused = env.http(&me(), post("x")).await.unwrap_err();
        assert!(matches!(&refused, HttpError::NotConnected(why) if why.contains("refused")));
        let unknown = env.http(&"nobody".into(), post("x")).await.unwrap_err();
        assert!(matches!(unknown, HttpError::NotConnected(_)));
        assert!(matches!(env.dial(&me()).await, Err(DialError::Unreachable { .. })));
        assert!(matches!(env.dial(&"nobody".into()).await, Err(DialError::UnknownName(_))));
    })
    .unwrap();
}

#[test]
fn a_server_that_breaks_off_leaves_it_open_whether_it_saw_the_request() {
    run_local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let env = client_of(listener.local_addr().unwrap());
        let halves: [&[u8]; 3] =
            [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"];
        for half in halves {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream.write_all(half).await.unwrap();
            };
            let (answer, ()) = join(env.http(&me(), post("x")), server).await;
            let why = answer.unwrap_err();
            assert!(matches!(why, HttpError::Broken(_)), "{why}");
        }
    })
    .unwrap();
}

#[test]
fn giving_up_an_exchange_closes_its_connection() {
    run_local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let env = client_of(listener.local_addr().unwrap());
        let mut stream = {
            let to = me();
            let exchange = pin!(env.http(&to, post("x")));
            let server = pin!(async {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                stream
            });
            // The request is there and is never answered; the exchange is dropped here.
            match select(exchange, server).await {
                Either::Right((stream, _)) => stream,
                Either::Left(_) => panic!("nobody answered it"),
            }
        };
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn links_are_dialled_by_name() {
    run_local(async {
        let env = env(boot());
        let mut links = env.listen().await.unwrap();
        let dialled = env.dial(&me()).await.unwrap();
        let mut accepted = links.recv().await.unwrap();
        dialled.outgoing.send(Bytes::from_static(b"hello")).unwrap();
        assert_eq!(accepted.incoming.recv().await.unwrap(), "hello");
        // Its own address is taken by now, and tells so at once.
        assert!(matches!(env.listen().await, Err(DialError::CannotListen { .. })));
        // No dial succeeds once the node does not listen any more.
        drop(links);
        while env.dial(&me()).await.is_ok() {}
    })
    .unwrap();
}

#[test]
fn timers_do_not_end_before_their_time() {
    run_local(async {
        let env = env(boot());
        let begin = env.now();
        let timers = [5_u64, 1, 3].map(|ms| {
            let env = env.clone();
            async move {
                let at = begin + Duration::from_millis(ms);
                env.sleep_until(at).await;
                assert!(env.now() >= at);
            }
        });
        join_all(timers).await;
        env.sleep_until(Time::ZERO).await;
        assert!(env.timeout(Duration::ZERO, std::future::pending::<()>()).await.is_err());
    })
    .unwrap();
}

#[test]
fn a_store_is_opened_once_and_kept_across_worlds() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("not/there/yet");
    let boot = Boot { data, ..Boot::default() };
    for round in 1..=3 {
        run_local(async {
            let env = env(boot.clone());
            let (one, same) = (env.store("jobs").await.unwrap(), env.store("jobs").await.unwrap());
            let txn = Txn {
                expects: vec![],
                writes: vec![(format!("k/{round}"), Some(Bytes::from_static(b"v")))],
            };
            assert_eq!(one.commit(txn, Ack::Synced).await.unwrap(), Committed::Done(round));
            assert_eq!(same.scan("k/", "k0", 10).unwrap().len() as u64, round);
        })
        .unwrap();
    }
}

#[test]
fn a_boot_travels_as_json_and_unknown_keys_are_refused() {
    let boot = boot();
    let json = serde_json::to_string(&boot).unwrap();
    assert_eq!(serde_json::from_str::<Boot>(&json).unwrap(), boot);
    let wrong = json.replacen("listen", "lisen", 1);
    assert!(serde_json::from_str::<Boot>(&wrong).unwrap_err().to_string().contains("lisen"));
}

#[test]
fn the_server_speaks_to_plain_clients() {
    // Not our client: a blocking socket of another thread, keep-alive and then close.
    run_local(async {
        let boot = boot();
        let address = boot.http.clone().unwrap();
        let env = env(boot);
        env.serve_http(echo()).await.unwrap();
        let plain = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi\
                POST /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nho";
            stream.write_all(request).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = plain.await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(answer.contains("path: /1") && answer.ends_with("ho"), "{answer}");
    })
    .unwrap();
}
