//! `[[backend_link]]` of a target's file: a link between two parts of a backend, as people write it. The
//! run's proxy stands on it, and whoever dials is pointed at the proxy.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::Deserialize;

use super::written::is_loopback;
use crate::{
    base::{
        file::{FileError, Source},
        name::NodeName,
    },
    chaos::provider::{LinkName, ROBOTS},
};

/// What is asked over a link that says nothing of it: a request that most servers answer somehow.
const PROBE: &str = "GET / HTTP/1.1\r\nhost: robot-city\r\nconnection: close\r\n\r\n";
/// What is asked before it where it is too few bytes: filled up to at most so many bytes (servers bear twice
/// as much in one header), in few requests (some servers end a connection after a hundred).
const MORE_BYTES_MAX: usize = 4 * 1024;

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendLink {
    /// Who dials.
    pub from: NodeName,
    /// Who is dialled.
    pub to: NodeName,
    /// Where the proxy listens: `from` is to be pointed at it.
    pub listen: SocketAddr,
    /// Where it leads: `host:port` of `to`.
    pub upstream: String,
    /// What is said over it to see whether, and how fast, it answers.
    #[serde(default = "probe")]
    pub probe: String,
}

fn probe() -> String {
    PROBE.to_owned()
}

/// An HTTP request of about so many bytes, as far as one goes, after which the connection stays open.
fn more(bytes: usize) -> String {
    let padding = "x".repeat(bytes.min(MORE_BYTES_MAX));
    format!("GET / HTTP/1.1\r\nhost: robot-city\r\nx-padding: {padding}\r\n\r\n")
}

impl BackendLink {
    /// Its name.
    pub fn name(&self) -> LinkName {
        LinkName { from: self.from.clone(), to: self.to.clone() }
    }

    /// The words of a probe with at least so many bytes. A server that ended the connection before it has
    /// read them all would reset it: the usual probe asks for the end in its last request alone.
    pub fn words(&self, bytes: usize) -> Vec<u8> {
        let mut words = String::new();
        while words.len() + self.probe.len() < bytes {
            if self.probe == PROBE {
                words += &more(bytes - words.len() - self.probe.len());
            } else {
                words += &self.probe;
            }
        }
        (words + &self.probe).into_bytes()
    }

    /// For people: who is to be pointed where.
    pub fn told(&self) -> String {
        let Self { from, to, listen, upstream, .. } = self;
        format!("{from} -> {to}: point {from} at {listen}, which leads to {upstream}")
    }

    /// What is wrong with it alone: its key, and why.
    fn check(&self, fault_hosts: &[String]) -> Result<(), (&'static str, String)> {
        let is_ours = |host: &str| is_loopback(host) || fault_hosts.iter().any(|h| h == host);
        let stranger = |host: &str| {
            format!(
                "`{host}` is not this machine, and faults are not allowed there: add it to \
                 `fault_hosts` if they may be"
            )
        };
        for (key, end) in [("from", &self.from), ("to", &self.to)] {
            if end.as_str().is_empty() || end.as_str() == ROBOTS {
                let what = "must be a part of the backend, like \"a/api-1\": the robots' own links are \
                            those of [link]";
                return Err((key, what.to_owned()));
            }
        }
        if self.from == self.to {
            return Err(("to", "must be another than `from`".to_owned()));
        }
        if self.listen.port() == 0 {
            let what = "must have a port: somebody is pointed at it before the run";
            return Err(("listen", what.to_owned()));
        }
        let host = self.listen.ip().to_string();
        if !is_ours(&host) {
            return Err(("listen", stranger(&host)));
        }
        let Some((host, port)) = self.upstream.rsplit_once(':') else {
            let what = "must be where it leads: \"127.0.0.1:5432\"".to_owned();
            return Err(("upstream", what));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(("upstream", "must be a host and a port: \"127.0.0.1:5432\"".to_owned()));
        }
        if !is_ours(host) {
            return Err(("upstream", stranger(host)));
        }
        if self.upstream.parse() == Ok(self.listen) {
            return Err(("upstream", "leads back to `listen`".to_owned()));
        }
        if self.probe.is_empty() {
            let what = "must say something: left out, it is an HTTP request".to_owned();
            return Err(("probe", what));
        }
        Ok(())
    }
}

/// Refuses links that cannot be, each error at its line.
pub(super) fn check(
    links: &[BackendLink],
    fault_hosts: &[String],
    source: &Source,
) -> Result<(), FileError> {
    let (mut names, mut listens) = (BTreeSet::new(), BTreeSet::new());
    for (number, link) in links.iter().enumerate() {
        let wrong = |key: &str, what: String| {
            Err(source.error(&format!("backend_link[{number}].{key}"), what))
        };
        if let Err((key, what)) = link.check(fault_hosts) {
            return wrong(key, what);
        }
        if !names.insert(link.name()) {
            return wrong("from", format!("{} is there twice", link.name()));
        }
        if !listens.insert(link.listen) {
            return wrong("listen", format!("{} is taken by another link", link.listen));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::chaos::providers::Victims;

    const GOOD: &str = "[[backend_link]]\nfrom = 'a/api-1'\nto = 'a/db-1'\nlisten = \
                        '127.0.0.1:7001'\nupstream = 'localhost:5432'\n";

    fn read(text: &str) -> Result<Vec<BackendLink>, String> {
        let source = Source::new(Path::new("target.toml"), text);
        Victims::read(&source).map(|read| read.backend_link).map_err(|why| why.to_string())
    }

    #[test]
    fn a_link_says_who_is_to_be_pointed_where() {
        let links = read(GOOD).unwrap();
        assert_eq!(
            links[0].told(),
            "a/api-1 -> a/db-1: point a/api-1 at 127.0.0.1:7001, which leads to localhost:5432"
        );
        assert_eq!(links[0].name().to_string(), "a/api-1 -> a/db-1");
        assert_eq!(links[0].words(0), PROBE.as_bytes());
        let some = links[0].words(800).len();
        assert!((800..1_000).contains(&some), "{some}");
        let many = String::from_utf8(links[0].words(65_537)).unwrap();
        assert!(many.len() > 65_536 && many.ends_with(PROBE), "{many}");
        assert_eq!(many.matches("connection: close").count(), 1, "{many}");
        assert!(many.matches("GET / HTTP/1.1").count() < 20, "{many}");
        let ping = read(&[GOOD, "probe = \"PING\\r\\n\"\n"].concat()).unwrap();
        assert_eq!(ping[0].words(7), b"PING\r\nPING\r\n");
    }

    #[test]
    fn what_is_no_link_is_named_with_its_line() {
        for (wrong, instead, says) in [
            ("'a/api-1'", "'robots'", "those of [link]"),
            ("'a/db-1'", "'a/api-1'", "must be another"),
            ("127.0.0.1:7001", "127.0.0.1:0", "must have a port"),
            ("127.0.0.1:7001", "10.0.0.1:7001", "`fault_hosts`"),
            ("localhost:5432", "db.example.org:5432", "`fault_hosts`"),
            ("localhost:5432", "localhost", "\"127.0.0.1:5432\""),
            ("localhost:5432", "localhost:0", "a host and a port"),
            ("localhost:5432", "127.0.0.1:7001", "leads back"),
            ("upstream", "upstrem", "upstrem"),
        ] {
            let why = read(&GOOD.replace(wrong, instead)).unwrap_err();
            assert!(why.starts_with("target.toml:") && why.contains(says), "{instead}: {why}");
        }
        let why = read(&[GOOD, GOOD].concat()).unwrap_err();
        assert!(why.starts_with("target.toml:7") && why.contains("twice"), "{why}");
        let other = GOOD.replace("a/db-1", "b/db-1");
        let why = read(&[GOOD, &other].concat()).unwrap_err();
        assert!(why.starts_with("target.toml:9") && why.contains("taken"), "{why}");
        let allowed = GOOD.replace("localhost:5432", "db.example.org:5432");
        read(&["fault_hosts = ['db.example.org']\n", &allowed].concat()).unwrap();
    }
}
