//! Whatever HTTP calls can break: one for each way of striking, one that heals, one that looks.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use ::http::{Method, Request, header};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;

use super::{
    Done, ProviderEntry, Reach, cannot,
    hands::{Hands, Server},
    written::{Secret, WITHIN, exchange},
};
use crate::{
    base::span::Span,
    chaos::provider::{Health, Strike},
};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry =
    ProviderEntry { name: "http", means: "anything that HTTP calls strike, heal and look at" };

/// Characters of an answer that are shown.
const SHOWN_MAX: usize = 200;

/// One call: `"POST http://host/path"`, with a body or without.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "CallWritten")]
pub struct Call {
    line: String,
    /// Where to.
    pub(super) url: String,
    json: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"METHOD URL\", or a table of `call` and `json`")]
enum CallWritten {
    Line(String),
    More { call: String, json: serde_json::Value },
}

impl From<CallWritten> for Call {
    fn from(written: CallWritten) -> Self {
        let (line, json) = match written {
            CallWritten::Line(line) => (line, None),
            CallWritten::More { call, json } => (call, Some(json)),
        };
        let url = line.split_once(' ').map_or(line.as_str(), |(_, url)| url).trim().to_owned();
        Self { line, url, json }
    }
}

impl Call {
    /// Makes it; the text of a good answer. Anything but 2xx is an error.
    pub(super) async fn make(
        &self,
        hands: &dyn Hands,
        headers: &[(String, String)],
        within: Duration,
    ) -> Result<String, String> {
        let (server, request) = self.request(headers)?;
        let (status, body) = exchange(hands, &server, request, within).await?;
        let text = match body {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let text: String = text.chars().take(SHOWN_MAX).collect();
        if (200..300).contains(&status) {
            return Ok(format!("{status} {text}").trim().to_owned());
        }
        Err(format!("{}: {status} {text}", self.line).trim().to_owned())
    }

    fn request(&self, headers: &[(String, String)]) -> Result<(Server, Request<Bytes>), String> {
        let wrong = |why: &dyn std::fmt::Display| format!("`{}`: {why}", self.line);
        let (method, url) = self
            .line
            .split_once(' ')
            .ok_or_else(|| wrong(&"write it like \"POST http://host/path\""))?;
        let method: Method = method.parse().map_err(|why| wrong(&why))?;
        let uri: ::http::Uri = url.trim().parse().map_err(|why| wrong(&why))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong(&"its URL needs a scheme and a host"));
        };
        let server = Server::Url { url: format!("{scheme}://{authority}"), ca: None };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = match &self.json {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                json.to_string()
            }
            None => String::new(),
        };
        request.body(body.into()).map(|request| (server, request)).map_err(|why| wrong(&why))
    }
}

/// As the file says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    #[serde(default)]
    kill: Option<Call>,
    #[serde(default)]
    terminate: Option<Call>,
    #[serde(default)]
    pause: Option<Call>,
    #[serde(default)]
    disconnect: Option<Call>,
    #[serde(default)]
    inject: Option<Call>,
    /// Puts everything back, whatever was struck; it may be made when nothing was.
    heal: Call,
    /// Answered with 2xx when all is well.
    probe: Call,
    /// Headers of every call.
    #[serde(default)]
    headers: BTreeMap<String, Header>,
    /// How long each may take.
    #[serde(default = "within")]
    within: Span,
}

fn within() -> Span {
    WITHIN
}

/// A header's value: a text, or a secret.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a text, or { env = \"NAME\" } or { file = \"path\" }")]
enum Header {
    Text(String),
    Secret(Secret),
}

impl Calls {
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        let strikes = [&self.kill, &self.terminate, &self.pause, &self.disconnect, &self.inject];
        let all = strikes.into_iter().flatten().chain([&self.heal, &self.probe]);
        all.map(|call| call.url.as_str())
    }

    fn call(&self, how: Strike) -> Option<&Call> {
        let call = match how {
            Strike::Kill => &self.kill,
            Strike::Terminate => &self.terminate,
            Strike::Pause => &self.pause,
            Strike::Disconnect => &self.disconnect,
            Strike::Inject => &self.inject,
        };
        call.as_ref()
    }

    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        Box::new(Reached { calls: self, hands })
    }
}

struct Reached {
    calls: Calls,
    hands: Rc<dyn Hands>,
}

impl Reached {
    async fn make(&self, call: &Call) -> Done<String> {
        let read = |(name, value): (&String, &Header)| {
            let value = match value {
                Header::Text(text) => Ok(text.clone()),
                Header::Secret(secret) => secret.read(),
            };
            value.map(|value| (name.clone(), value)).map_err(|why| format!("headers.{name}: {why}"))
        };
        let headers: Vec<_> = self.calls.headers.iter().map(read).collect::<Result<_, _>>()?;
        let made = call.make(&*self.hands, &headers, self.calls.within.0).await;
        // An answer may repeat what it was sent.
        let hide = |mut text: String| {
            for (name, value) in &headers {
                if matches!(self.calls.headers.get(name), Some(Header::Secret(_))) {
                    text = text.replace(value, "***");
                }
            }
            text
        };
        made.map(hide).map_err(hide)
    }
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        Box::pin(async {
            let probed = self.make(&self.calls.probe).await;
            probed
                .map(drop)
                .map_err(|why| format!("its probe fails before anything is struck: {why}"))
        })
    }

    fn can(&self, how: Strike) -> bool {
        self.calls.call(how).is_some()
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        match self.calls.call(how) {
            Some(call) => Box::pin(self.make(call)),
            None => cannot(how),
        }
    }

    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        Box::pin(self.make(&self.calls.heal))
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        Box::pin(async {
            Ok(self.make(&self.calls.probe).await.map_or_else(Health::Down, |_| Health::Up))
        })
    }
}
