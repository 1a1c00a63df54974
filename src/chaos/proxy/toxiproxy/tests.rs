//! The API's answers, and what its toxics do to a connection.

use std::{future::Future, time::Duration};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::*;

/// Long enough to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(100);

fn on_loopback<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_mins(1), work).await.expect("the test hangs")
    })
}

struct Api {
    proxies: Proxies,
    upstream: TcpListener,
}

impl Api {
    async fn new() -> Self {
        let reach = Reach { allowed: BTreeSet::new() };
        Self {
            proxies: Proxies::new(Rng::from_seed("api"), reach),
            upstream: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let asked = Asked {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            uri: path.parse().unwrap(),
            agent: "",
            body: body.into(),
        };
        let answer = routes::answer(&self.proxies, asked).await;
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status().as_u16(), body)
    }

    fn upstream(&self) -> String {
        self.upstream.local_addr().unwrap().to_string()
    }

    /// A proxy called `p`; where it listens.
    async fn proxy(&self) -> String {
        let body = json!({ "name": "p", "upstream": self.upstream() });
        let (status, made) = self.ask("POST", "/proxies", &body).await;
        assert_eq!(status, 201, "{made}");
        made["listen"].as_str().unwrap().to_owned()
    }

    async fn toxic(&self, body: &Value) -> Value {
        let (status, made) = self.ask("POST", "/proxies/p/toxics", body).await;
        assert_eq!(status, 200, "{made}");
        made
    }

    /// Both ends of a connection.
    async fn connect(&self, listen: &str) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listen).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, self.upstream.accept().await.unwrap().0)
    }
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream, what: &[u8]) {
    from.write_all(what).await.unwrap();
    let mut got = vec![0; what.len()];
    to.read_exact(&mut got).await.unwrap();
    assert_eq!(got, what);
}

#[test]
fn proxies_are_made_shown_changed_and_deleted() {
    on_loopback(async {
        let api = Api::new().await;
        let listen = api.proxy().await;
        let shown = json!({
            "name": "p", "listen": listen, "upstream": api.upstream(), "enabled": true,
            "toxics": [],
        });
        assert_eq!(api.ask("GET", "/proxies/p", &Value::Null).await, (200, shown.clone()));
        let all = json!({ "p": shown });
        assert_eq!(api.ask("GET", "/proxies", &Value::Null).await, (200, all));
        let (mut client, mut server) = api.connect(&listen).await;
        pass(&mut client, &mut server, b"hello").await;

        let (status, off) = api.ask("POST", "/proxies/p", &json!({ "enabled": false })).await;
        assert_eq!((status, &off["enabled"]), (200, &json!(false)));
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)), "it is closed");
        assert!(TcpStream::connect(&listen).await.is_err(), "nobody listens");
        let (status, on) = api.ask("PATCH", "/proxies/p", &json!({ "enabled": true })).await;
        assert_eq!((status, &on["listen"]), (200, &json!(listen)));
        let (mut client, mut server) = api.connect(&listen).await;
        pass(&mut client, &mut server, b"again").await;

        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = json!({ "upstream": other.local_addr().unwrap().to_string() });
        assert_eq!(api.ask("PATCH", "/proxies/p", &to).await.0, 200);
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)), "it is closed");
        let mut client = TcpStream::connect(&listen).await.unwrap();
        pass(&mut client, &mut other.accept().await.unwrap().0, b"there").await;

        assert_eq!(api.ask("DELETE", "/proxies/p", &Value::Null).await, (204, Value::Null));
        assert_eq!(api.ask("GET", "/proxies", &Value::Null).await, (200, json!({})));
    });
}

#[test]
fn toxics_have_the_documented_defaults_and_can_be_changed() {
    on_loopback(async {
        let api = Api::new().await;
        api.proxy().await;
        let made = api.toxic(&json!({ "type": "latency", "attributes": { "latency": 5 } })).await;
        let latency = json!({
            "name": "latency_downstream", "type": "latency", "stream": "downstream",
            "toxicity": 1.0, "attributes": { "latency": 5, "jitter": 0 },
        });
        assert_eq!(made, latency);
        let up = json!({ "name": "up", "type": "slow_close", "stream": "upstream" });
        let up = api.toxic(&up).await;
        let (_, all) = api.ask("GET", "/proxies/p/toxics", &Value::Null).await;
        assert_eq!(all, json!([up, latency]), "upstream first");
        let path = "/proxies/p/toxics/latency_downstream";
        let change = json!({ "toxicity": 0.5, "attributes": { "jitter": 2 } });
        let (status, changed) = api.ask("PATCH", path, &change).await;
        assert_eq!(status, 200);
        assert_eq!(changed["attributes"], json!({ "latency": 5, "jitter": 2 }));
        assert_eq!(api.ask("GET", path, &Value::Null).await, (200, changed));
        assert_eq!(api.ask("DELETE", path, &Value::Null).await, (204, Value::Null));
        assert_eq!(api.ask("GET", path, &Value::Null).await.0, 404);
        assert_eq!(api.ask("POST", "/reset", &Value::Null).await, (204, Value::Null));
        assert_eq!(api.ask("GET", "/proxies/p/toxics", &Value::Null).await, (200, json!([])));
    });
}

#[test]
fn every_type_of_toxic_is_known_with_its_attributes() {
    on_loopback(async {
        let api = Api::new().await;
        api.proxy().await;
        for (kind, attributes) in [
            ("latency", json!({ "latency": 1, "jitter": 1 })),
            ("bandwidth", json!({ "rate": 1 })),
            ("slow_close", json!({ "delay": 1 })),
            ("timeout", json!({ "timeout": 1 })),
            ("reset_peer", json!({ "timeout": 1 })),
            ("slicer", json!({ "average_size": 8, "size_variation": 2, "delay": 1 })),
            ("limit_data", json!({ "bytes": 1 })),
        ] {
            let made = api.toxic(&json!({ "type": kind, "attributes": attributes })).await;
            assert_eq!(made["attributes"], attributes, "{kind}");
        }
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_wrong_is_refused_with_status_and_text() {
    on_loopback(async {
        let api = Api::new().await;
        api.proxy().await;
        let toxics = "/proxies/p/toxics";
        api.toxic(&json!({ "type": "latency" })).await;
        let slicer = json!({ "average_size": 5, "size_variation": 5 });
        let upstream = api.upstream();
        for (method, path, body, status, what) in [
            ("GET", "/proxies/q", Value::Null, 404, "proxy not found"),
            ("DELETE", "/proxies/q", Value::Null, 404, "proxy not found"),
            ("GET", "/proxies/p/toxics/q", Value::Null, 404, "toxic not found"),
            ("POST", "/proxies", json!({ "upstream": "x:1" }), 400, "missing required field: name"),
            ("POST", "/proxies", json!({ "name": "r" }), 400, "missing required field: upstream"),
            (
                "POST",
                "/proxies",
                json!({ "name": "p", "upstream": upstream }),
                409,
                "proxy already exists",
            ),
            ("POST", "/proxies", json!([]), 400, "bad request body: "),
            (
                "POST",
                "/proxies",
                json!({ "name": "r", "upstream": "nowhere" }),
                400,
                "is not host:port",
            ),
            (
                "POST",
                "/proxies",
                json!({ "name": "r", "upstream": "192.0.2.1:80" }),
                403,
                "--allow 192.0.2.1",
            ),
            (
                "POST",
                "/proxies",
                json!({ "name": "r", "upstream": upstream, "listen": "0.0.0.0:0" }),
                403,
                "--allow 0.0.0.0",
            ),
            (
                "POST",
                "/proxies",
                json!({ "name": "r", "upstream": upstream, "listen": upstream }),
                500,
                "listen tcp",
            ),
            ("POST", toxics, json!({ "type": "latency" }), 409, "toxic already exists"),
            (
                "POST",
                toxics,
                json!({ "type": "latancy" }),
                400,
                "invalid toxic type: did you mean `latency`?",
            ),
            (
                "POST",
                toxics,
                json!({ "type": "latency", "stream": "up" }),
                400,
                "stream was invalid",
            ),
            (
                "POST",
                toxics,
                json!({ "name": "x", "type": "latency", "attributes": { "latncy": 1 } }),
                400,
                "did you mean `latency`?",
            ),
            (
                "POST",
                toxics,
                json!({ "name": "x", "type": "latency", "attributes": { "latency": -1 } }),
                400,
                "whole number",
            ),
            (
                "POST",
                toxics,
                json!({ "name": "x", "type": "latency", "toxicity": 1.5 }),
                400,
                "from 0 to 1",
            ),
            (
                "POST",
                toxics,
                json!({ "type": "slicer", "attributes": slicer }),
                400,
                "smaller than average_size",
            ),
            ("PUT", "/proxies", Value::Null, 405, "method not allowed"),
            ("GET", "/metrics", Value::Null, 404, "404 page not found"),
        ] {
            let (got, told) = api.ask(method, path, &body).await;
            assert_eq!((got, &told["status"]), (status, &json!(status)), "{method} {path}: {told}");
            let text = told["error"].as_str().unwrap();
            assert!(text.contains(what), "{method} {path} {body}: {text}");
        }
        let mozilla = Asked {
            method: Method::POST,
            uri: "/reset".parse().unwrap(),
            agent: "Mozilla/5.0 (a browser)",
            body: Bytes::new(),
        };
        assert_eq!(routes::answer(&api.proxies, mozilla).await.status().as_u16(), 403);
    });
}

#[test]
fn populate_makes_what_differs_and_leaves_the_rest_alone() {
    on_loopback(async {
        let api = Api::new().await;
        let listen = api.proxy().await;
        let (mut client, mut server) = api.connect(&listen).await;
        pass(&mut client, &mut server, b"a").await;
        let q = json!({ "name": "q", "upstream": api.upstream(), "enabled": false });
        let p = json!({ "name": "p", "listen": listen, "upstream": api.upstream() });
        let (status, made) = api.ask("POST", "/populate", &json!([p, q])).await;
        assert_eq!(status, 201, "{made}");
        let enabled = |n: usize| made["proxies"][n]["enabled"].clone();
        assert_eq!((enabled(0), enabled(1)), (json!(true), json!(false)));
        pass(&mut client, &mut server, b"still there").await;
        let twice = api.ask("POST", "/populate", &json!([q, q])).await;
        assert_eq!(twice.0, 400, "{}", twice.1);
        assert_eq!(api.ask("POST", "/reset", &Value::Null).await.0, 204);
        let (_, q) = api.ask("GET", "/proxies/q", &Value::Null).await;
        assert_eq!(q["enabled"], json!(true), "reset enables");
    });
}

#[test]
fn a_toxic_hits_its_stream_alone() {
    on_loopback(async {
        let api = Api::new().await;
        let listen = api.proxy().await;
        let (mut client, mut server) = api.connect(&listen).await;
        api.toxic(&json!({ "type": "latency", "attributes": { "latency": 3_600_000 } })).await;
        pass(&mut client, &mut server, b"up").await;
        server.write_all(b"down").await.unwrap();
        assert!(timeout(SILENCE, client.read(&mut [0; 4])).await.is_err(), "it is held");
        api.ask("DELETE", "/proxies/p/toxics/latency_downstream", &Value::Null).await;
        let mut got = [0; 4];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"down");
    });
}

#[test]
fn a_limit_closes_politely_once_it_is_reached() {
    on_loopback(async {
        let api = Api::new().await;
        let listen = api.proxy().await;
        api.toxic(&json!({ "type": "limit_data", "attributes": { "bytes": 5 } })).await;
        let (mut client, mut server) = api.connect(&listen).await;
        server.write_all(b"hello world").await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"hello");
    });
}

#[test]
fn a_timeout_drops_and_closes_after_its_time_and_a_reset_resets() {
    on_loopback(async {
        let api = Api::new().await;
        let listen = api.proxy().await;
        let (mut client, mut server) = api.connect(&listen).await;
        let begun = Instant::now();
        api.toxic(&json!({ "type": "timeout", "attributes": { "timeout": 60 } })).await;
        server.write_all(b"lost").await.unwrap();
        assert_eq!(client.read(&mut [0; 4]).await.unwrap(), 0, "closed, with nothing said");
        assert!(begun.elapsed() >= Duration::from_millis(60));
        api.ask("POST", "/reset", &Value::Null).await;

        let (mut client, mut server) = api.connect(&listen).await;
        let begun = Instant::now();
        api.toxic(&json!({ "type": "reset_peer", "attributes": { "timeout": 60 } })).await;
        pass(&mut client, &mut server, b"it lives until then").await;
        let error = client.read(&mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(begun.elapsed() >= Duration::from_millis(60));
    });
}

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Answers every request on every connection.
async fn answer_all(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        spawn_local(async move {
            let mut request = [0; REQUEST.len()];
            while stream.read_exact(&mut request).await.is_ok() {
                stream.write_all(ANSWER).await.unwrap();
            }
        });
    }
}

/// Requests that are answered on one new connection before it is reset: `most` where it never is.
async fn answered(listen: &str, most: usize) -> usize {
    let mut client = TcpStream::connect(listen).await.unwrap();
    let mut answer = [0; ANSWER.len()];
    for count in 0..most {
        let sent = client.write_all(REQUEST).await;
        if sent.is_err() || client.read_exact(&mut answer).await.is_err() {
            return count;
        }
    }
    most
}

#[test]
fn toxicity_is_drawn_for_each_connection_or_for_each_request_as_asked() {
    on_loopback(async {
        let api = Api::new().await;
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap().to_string();
        spawn_local(answer_all(upstream));
        let body = json!({ "name": "p", "upstream": address });
        let (_, made) = api.ask("POST", "/proxies", &body).await;
        let listen = made["listen"].as_str().unwrap();
        let toxic = |share: f64, per: &str| {
            json!({
                "name": "t", "type": "reset_peer", "stream": "upstream", "toxicity": share,
                "toxicity_per": per,
            })
        };
        api.toxic(&toxic(0.5, "connection")).await;
        let mut lots = Vec::new();
        for _ in 0..40 {
            lots.push(answered(listen, 5).await);
        }
        assert!(lots.iter().all(|lot| [0, 5].contains(lot)), "one draw a connection: {lots:?}");
        let lucky = lots.iter().filter(|lot| **lot == 5).count();
        assert!((8..=32).contains(&lucky), "some connections, and not all: {lucky}");

        api.ask("DELETE", "/proxies/p/toxics/t", &Value::Null).await;
        api.toxic(&toxic(0.25, "request")).await;
        let mut lots = Vec::new();
        for _ in 0..100 {
            lots.push(answered(listen, 1_000).await);
        }
        assert!(lots.iter().filter(|lot| **lot > 0).count() > 50, "within connections: {lots:?}");
        // Each request until the one that is reset: four for each reset, in the mean.
        let requests = lots.iter().sum::<usize>() + lots.len();
        assert!((280..=560).contains(&requests), "a quarter of the requests: {requests} for 100");
    });
}
