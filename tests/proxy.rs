//! `robot-city proxy` as a process: a published client of Toxiproxy works against it, and its document
//! shows what is so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// Where `scripts/test` puts the published client.
const CLIENT: &str = "target/clients/bin/python";

/// A proxy of ours; ended with the test.
struct Proxy {
    child: Child,
    /// What it said when it was ready.
    said: String,
}

impl Proxy {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_robot-city"))
            .args(["proxy", "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Self { child, said }
    }

    /// `127.0.0.1:port`
    fn api(&self) -> &str {
        let rest = self.said.split_once("http://").unwrap().1;
        rest.split([',', '\n']).next().unwrap()
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.api()).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_published_client_of_toxiproxy_works_against_it() {
    assert!(Path::new(CLIENT).exists(), "no {CLIENT}: run scripts/test, which installs it");
    let proxy = Proxy::start(&[]);
    let port = proxy.api().rsplit_once(':').unwrap().1;
    let output = Command::new(CLIENT).args(["tests/proxy/client.py", port]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// An upstream that accepts, and says nothing; its address.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        drop(kept);
    });
    address
}

/// The document's examples: each `$ curl` with the answer below it is tried, in order.
#[test]
fn the_document_shows_what_is_so() {
    let text = fs::read_to_string("docs/proxy.md").unwrap();
    let proxy = Proxy::start(&[]);
    let upstream = upstream();
    let mut listen = String::new();
    let mut tried = 0;
    for example in text.split("$ curl ").skip(1) {
        let example = example.split("```").next().unwrap();
        let (command, answer) = example.split_once('\n').unwrap();
        let words: Vec<&str> = command.split(" -d ").collect();
        let (method, url) = match words[0].split_once(' ') {
            Some((method, url)) => (method.trim_start_matches("-X"), url),
            None => (if words.len() > 1 { "POST" } else { "GET" }, words[0]),
        };
        let path = url.trim_start_matches("localhost:8474");
        let body = words.get(1).map_or("", |body| body.trim_matches('\''));
        let body =
            body.replace("127.0.0.1:8080", &upstream).replace("127.0.0.1:9000", "127.0.0.1:0");
        let (_, got) = proxy.ask(method, path, &body);
        if let Ok(made) = serde_json::from_str::<serde_json::Value>(&got)
            && let Some(address) = made["listen"].as_str()
        {
            listen = address.to_owned();
        }
        let got = got.replace(&upstream, "127.0.0.1:8080").replace(&listen, "127.0.0.1:9000");
        let expected: String = answer.lines().map(str::trim_start).collect();
        assert_eq!(got, expected, "{command}");
        tried += 1;
    }
    assert!(tried >= 6, "{tried} examples were found");
}

#[test]
fn a_config_file_is_taken_and_nothing_beyond_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("proxies.json");
    let upstream = upstream();
    fs::write(&config, format!(r#"[{{"name":"taxi","upstream":"{upstream}"}}]"#)).unwrap();
    let proxy = Proxy::start(&["--config", &config.to_string_lossy()]);
    let (status, body) = proxy.ask("GET", "/proxies/taxi", "");
    assert_eq!(status, "200", "{body}");

    let refused = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_robot-city"))
            .args(["proxy", "--port", "0"])
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&["--host", "0.0.0.0"]).contains("--allow 0.0.0.0"));
    fs::write(&config, r#"[{"name":"far","upstream":"192.0.2.1:80"}]"#).unwrap();
    let far = refused(&["--config", &config.to_string_lossy()]);
    assert!(far.contains("192.0.2.1 is not on loopback"), "{far}");
}
