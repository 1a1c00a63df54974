//! What is traced, and where traces go.

use serde::{Deserialize, Serialize};

use crate::base::file::{FileError, Source};

/// Megabytes beyond which nobody wants traces of one run.
const MB_LIMIT: u32 = 65_536;

/// Tracing of the embedded backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Whether ops are traced at all.
    pub on: bool,
    /// One location update in so many is traced; 0 for none. All others count in the figures only.
    pub pings_one_in: u32,
    /// One in so many of the looks that robots take again and again (at an offer, at a live job);
    /// 0 for none. Everything else of the job flow is traced in full.
    pub looks_one_in: u32,
    /// Megabytes of the run's folder that traces may fill; beyond it they are counted.
    pub mb_max: u32,
    /// Where traces are sent to as OpenTelemetry too: an `http://host:port` that takes OTLP over
    /// HTTP as JSON. Empty for nowhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub otlp: String,
    /// It may be another machine than this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub otlp_elsewhere: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            on: true,
            pings_one_in: 1_000,
            looks_one_in: 1,
            mb_max: 64,
            otlp: String::new(),
            otlp_elsewhere: false,
        }
    }
}

impl Traces {
    /// As it is where a scenario says nothing of it.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, source: &Source) -> Result<(), FileError> {
        if !(1..=MB_LIMIT).contains(&self.mb_max) {
            let what = format!("must be between 1 and {MB_LIMIT}, and is {}", self.mb_max);
            return Err(source.error("traces.mb_max", what));
        }
        if self.otlp.is_empty() {
            return Ok(());
        }
        let sink = Sink::parse(&self.otlp).map_err(|why| source.error("traces.otlp", why))?;
        if !sink.is_here() && !self.otlp_elsewhere {
            let why = "it is another machine: say `traces.otlp_elsewhere = true` if that is meant";
            return Err(source.error("traces.otlp", why));
        }
        Ok(())
    }

    /// Where traces are sent to as OpenTelemetry too.
    pub fn sink(&self) -> Option<Sink> {
        Sink::parse(&self.otlp).ok()
    }
}

/// An address that takes OpenTelemetry's traces over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// A name or an address, as it stands in the URL.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Where it takes traces.
    pub path: String,
}

/// Where OTLP over HTTP is taken, unless the URL says otherwise.
const OTLP_PORT: u16 = 4_318;
const OTLP_PATH: &str = "/v1/traces";

impl Sink {
    /// Reads `http://127.0.0.1:4318`, with or without a path.
    fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}: write it like http://127.0.0.1:{OTLP_PORT}");
        let uri: http::Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("only plain http is spoken here"));
        }
        let host = uri.host().ok_or_else(|| wrong("it has no host"))?.to_owned();
        let path = if uri.path().len() > 1 { uri.path() } else { OTLP_PATH }.to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(OTLP_PORT), path })
    }

    /// Whether it is on this machine, as far as its name tells.
    fn is_here(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Scenario;

    fn scenario(text: &str) -> Result<Scenario, String> {
        let source = Source::new(Path::new("s.toml"), &format!("city = 'c.toml'\n{text}"));
        Scenario::from_source(&source).map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_is_left_out_of_a_resolved_scenario() {
        assert!(!toml::to_string(&scenario("").unwrap()).unwrap().contains("traces"));
        let other = scenario("traces.pings_one_in = 50").unwrap();
        assert!(toml::to_string(&other).unwrap().contains("pings_one_in = 50"));
    }

    #[test]
    fn another_machine_must_be_meant() {
        for here in ["http://127.0.0.1:4318", "http://localhost", "http://[::1]:9/x"] {
            assert!(scenario(&format!("traces.otlp = '{here}'")).is_ok(), "{here}");
        }
        let there = "traces.otlp = 'http://10.0.0.1:4318'";
        let error = scenario(there).unwrap_err();
        assert!(error.starts_with("s.toml:2: `traces.otlp`: it is another machine"), "{error}");
        assert!(scenario(&format!("{there}\ntraces.otlp_elsewhere = true")).is_ok());
        for wrong in ["traces.otlp = 'https://127.0.0.1'", "traces.otlp = '!'", "traces.mb_max = 0"]
        {
            assert!(scenario(wrong).is_err(), "{wrong}");
        }
        let sink = scenario("traces.otlp = 'http://[::1]:9/x'").unwrap().traces.sink().unwrap();
        assert_eq!((sink.host.as_str(), sink.port, sink.path.as_str()), ("[::1]", 9, "/x"));
    }
}
