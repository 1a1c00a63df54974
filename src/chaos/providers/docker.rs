//! A Docker container, through the engine's API (version 1.41 and later) at its socket: killed, ended,
//! paused, taken off its networks; started, let go on, put back into the very networks.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc, time::Duration};

use ::http::{Method, Request, header};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Done, ProviderEntry, Reach,
    hands::{Hands, Server},
    written::exchange,
};
use crate::chaos::provider::{Health, Strike};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry = ProviderEntry {
    name: "docker",
    means: "a Docker container: kill, terminate (stop), pause, disconnect (from its networks)",
};

/// The API that is spoken: that of Docker 20.10, which later engines speak too.
const API: &str = "/v1.41";
/// Where the engine is on most machines.
const SOCKET: &str = "/var/run/docker.sock";
/// How long the engine may take for one thing.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a container has to end by itself before the engine kills it.
const STOP_WITHIN_S: u32 = 8;

/// As the file says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Its name or id.
    container: String,
    /// The engine's socket.
    #[serde(default)]
    socket: Option<PathBuf>,
    /// The engine's URL, instead of a socket: `http://host:2375`.
    #[serde(default)]
    pub(super) host: Option<String>,
}

impl Docker {
    pub(super) fn server(&self) -> Result<Server, String> {
        match (&self.socket, &self.host) {
            (Some(_), Some(_)) => Err("`docker` has a `socket` and a `host`: keep one".to_owned()),
            (_, Some(url)) => Ok(Server::Url { url: url.clone(), ca: None }),
            (Some(socket), None) => Ok(Server::Socket(socket.clone())),
            (None, None) => Ok(Server::Socket(SOCKET.into())),
        }
    }

    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        // `check` of the file has refused one that has both.
        let server = self.server().unwrap_or(Server::Socket(SOCKET.into()));
        Box::new(Reached { container: self.container, server, hands, networks: RefCell::default() })
    }
}

struct Reached {
    container: String,
    server: Server,
    hands: Rc<dyn Hands>,
    /// The networks in which it was when it was last seen well: name, and how it was in it.
    networks: RefCell<BTreeMap<String, Value>>,
}

/// What an inspection shows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    running: bool,
    paused: bool,
    #[serde(default)]
    health: Option<HealthCheck>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: BTreeMap<String, Value>,
}

impl Reached {
    /// One request; what was answered, or the engine's own words.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Done<Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{API}{path}"))
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Bytes::new, |body| body.to_string().into()))
            .map_err(|why| why.to_string())?;
        let (status, body) = exchange(&*self.hands, &self.server, request, WITHIN).await?;
        // 304: it is so already.
        if (200..300).contains(&status) || status == 304 {
            return Ok(body);
        }
        let said = body.get("message").and_then(Value::as_str).unwrap_or("no words").to_owned();
        Err(format!("the engine says {status}: {said}"))
    }

    async fn post(&self, what: &str, body: Option<Value>) -> Done<()> {
        self.ask(Method::POST, what, body).await.map(drop)
    }

    fn path(&self, what: &str) -> String {
        format!("/containers/{}/{what}", self.container)
    }

    async fn inspect(&self) -> Done<Inspected> {
        let seen = self.ask(Method::GET, &self.path("json"), None).await?;
        let inspected: Inspected = serde_json::from_value(seen)
            .map_err(|why| format!("the engine's answer is not as expected: {why}"))?;
        let well = inspected.state.running && !inspected.network_settings.networks.is_empty();
        let known = self.networks.borrow().is_empty();
        if well && known {
            let networks = inspected.network_settings.networks.iter();
            let kept = networks.map(|(name, end)| (name.clone(), endpoint(end)));
            *self.networks.borrow_mut() = kept.collect();
        }
        Ok(inspected)
    }

    /// Networks that it was in, and is not any more.
    fn lost(&self, inspected: &Inspected) -> Vec<(String, Value)> {
        let now = &inspected.network_settings.networks;
        let known = self.networks.borrow();
        let lost = known.iter().filter(|(name, _)| !now.contains_key(*name));
        lost.map(|(name, end)| (name.clone(), end.clone())).collect()
    }

    async fn disconnect(&self) -> Done<String> {
        let inspected = self.inspect().await?;
        let networks: Vec<String> = inspected.network_settings.networks.into_keys().collect();
        if networks.is_empty() {
            return Err("it is in no network".to_owned());
        }
        for network in &networks {
            let body = json!({"Container": self.container, "Force": true});
            self.post(&format!("/networks/{network}/disconnect"), Some(body)).await?;
        }
        Ok(format!("container {} is off {}", self.container, networks.join(", ")))
    }

    async fn put_back(&self) -> Done<String> {
        let inspected = self.inspect().await?;
        let mut done = Vec::new();
        for (network, end) in self.lost(&inspected) {
            let body = json!({"Container": self.container, "EndpointConfig": end});
            self.post(&format!("/networks/{network}/connect"), Some(body)).await?;
            done.push(format!("in {network} again"));
        }
        if inspected.state.paused {
            self.post(&self.path("unpause"), None).await?;
            done.push("goes on".to_owned());
        } else if !inspected.state.running {
            self.post(&self.path("start"), None).await?;
            done.push("was started".to_owned());
        }
        let done = if done.is_empty() { "runs".to_owned() } else { done.join(", ") };
        Ok(format!("container {} {done}", self.container))
    }
}

/// How it is in a network, as far as that can be asked for again.
fn endpoint(end: &Value) -> Value {
    let kept = ["IPAMConfig", "Links", "Aliases", "DriverOpts"];
    kept.iter().filter_map(|key| Some(((*key).to_owned(), end.get(key)?.clone()))).collect()
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        Box::pin(async {
            let inspected = self.inspect().await?;
            if inspected.state.running && !inspected.state.paused {
                return Ok(());
            }
            let status = inspected.state.status;
            Err(format!("the container {} is {status} before it is struck", self.container))
        })
    }

    fn can(&self, how: Strike) -> bool {
        how != Strike::Inject
    }

    fn tag(&self) -> String {
        serde_json::to_string(&*self.networks.borrow()).unwrap_or_default()
    }

    fn recall(&self, tag: &str) {
        if let Ok(networks) = serde_json::from_str(tag) {
            *self.networks.borrow_mut() = networks;
        }
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        Box::pin(async move {
            let (what, done) = match how {
                Strike::Kill => ("kill".to_owned(), "was killed"),
                Strike::Terminate => (format!("stop?t={STOP_WITHIN_S}"), "was stopped"),
                Strike::Pause => ("pause".to_owned(), "is paused"),
                Strike::Disconnect => return self.disconnect().await,
                Strike::Inject => return super::cannot(how).await,
            };
            self.post(&self.path(&what), None).await?;
            Ok(format!("container {} {done}", self.container))
        })
    }

    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        Box::pin(self.put_back())
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        Box::pin(async {
            let inspected = self.inspect().await?;
            let lost: Vec<String> =
                self.lost(&inspected).into_iter().map(|(name, _)| name).collect();
            let State { status, running, paused, health } = inspected.state;
            let sick = health.is_some_and(|health| health.status == "unhealthy");
            Ok(match (running && !paused, sick, lost.is_empty()) {
                (true, false, true) => Health::Up,
                (false, ..) => Health::Down(format!("the engine says that it is {status}")),
                (_, true, _) => Health::Down("its own health check fails".to_owned()),
                (.., false) => Health::Down(format!("it is off {}", lost.join(", "))),
            })
        })
    }
}
