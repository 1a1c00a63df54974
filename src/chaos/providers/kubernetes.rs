//! A pod of Kubernetes, through the REST shape of its API: deleted at once, or with its own grace.
//! Its controller makes another; all is well when as many are ready as there were.

use std::{cell::Cell, rc::Rc, time::Duration};

use ::http::{Method, Request, header};
use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Done, ProviderEntry, Reach, cannot,
    hands::{Hands, Server},
    written::{Secret, exchange},
};
use crate::chaos::provider::{Health, Strike};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry = ProviderEntry {
    name: "kubernetes",
    means: "a pod of Kubernetes, of those with a label: kill (deleted at once), terminate (deleted)",
};

/// How long the API may take for one thing.
const WITHIN: Duration = Duration::from_secs(15);

/// As the file says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// `https://host:6443`.
    pub(super) server: String,
    namespace: String,
    /// Which pods: `app=taxi-core`.
    selector: String,
    /// The token of an account that may list and delete pods there.
    #[serde(default)]
    token: Option<Secret>,
    /// The cluster's certificate authority (PEM).
    #[serde(default)]
    ca: Option<String>,
}

impl Kubernetes {
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        };
        if !plain(&self.namespace) {
            return Err(format!("`kubernetes.namespace`: `{}` is none", self.namespace));
        }
        if self.selector.is_empty() {
            return Err("`kubernetes.selector` must say which pods: app=taxi-core".to_owned());
        }
        Ok(())
    }

    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        Box::new(Reached { file: self, hands, wanted: Cell::default() })
    }
}

struct Reached {
    file: Kubernetes,
    hands: Rc<dyn Hands>,
    /// How many were ready when they were first looked at.
    wanted: Cell<usize>,
}

/// A pod, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    name: String,
    uid: String,
    ready: bool,
    leaving: bool,
}

impl Reached {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Done<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        let token = self.file.token.as_ref().map(Secret::read).transpose()?;
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(body.map_or_else(Bytes::new, |body| body.to_string().into()))
            .map_err(|_| "the token cannot be sent in a header".to_owned())?;
        let server = Server::Url { url: self.file.server.clone(), ca: self.file.ca.clone() };
        let (status, body) = exchange(&*self.hands, &server, request, WITHIN).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = body.get("message").and_then(Value::as_str).unwrap_or("no words").to_owned();
        Err(format!("the API says {status}: {said}"))
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.file.namespace)
    }

    /// The pods of the selector, by name.
    async fn pods(&self) -> Done<Vec<Pod>> {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", &self.file.selector)
            .finish();
        let list = self.ask(Method::GET, &format!("{}?{query}", self.path()), None).await?;
        let items = list.get("items").and_then(Value::as_array);
        let items = items.ok_or("the API's answer is no list of pods")?;
        let mut pods: Vec<Pod> = items.iter().filter_map(pod).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pods)
    }

    async fn delete(&self, how: Strike) -> Done<String> {
        let pods = self.pods().await?;
        let there = pods.iter().filter(|pod| pod.ready && !pod.leaving);
        self.wanted.set(self.wanted.get().max(there.clone().count()));
        let Some(pod) = there.into_iter().next() else {
            return Err(format!("no pod of {} is ready", self.file.selector));
        };
        // Only this very pod: another may have its name by now.
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1",
                              "preconditions": {"uid": pod.uid}});
        if how == Strike::Kill {
            body["gracePeriodSeconds"] = json!(0);
        }
        self.ask(Method::DELETE, &format!("{}/{}", self.path(), pod.name), Some(body)).await?;
        Ok(format!("pod {} was deleted", pod.name))
    }

    async fn look_once(&self) -> Done<Health> {
        let pods = self.pods().await?;
        let ready = pods.iter().filter(|pod| pod.ready && !pod.leaving).count();
        let wanted = self.wanted.get().max(1);
        if ready >= wanted {
            return Ok(Health::Up);
        }
        Ok(Health::Down(format!("{ready} of {wanted} pods are ready")))
    }
}

fn pod(item: &Value) -> Option<Pod> {
    let meta = item.get("metadata")?;
    let text = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
    let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|condition| {
        let is = |key: &str, word: &str| condition.get(key).and_then(Value::as_str) == Some(word);
        is("type", "Ready") && is("status", "True")
    });
    let leaving = meta.get("deletionTimestamp").is_some();
    Some(Pod { name: text("name")?, uid: text("uid")?, ready, leaving })
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        Box::pin(async {
            let ready = self.pods().await?.iter().filter(|pod| pod.ready && !pod.leaving).count();
            self.wanted.set(ready);
            match ready {
                0 => Err(format!("no pod of {} is ready", self.file.selector)),
                _ => Ok(()),
            }
        })
    }

    fn can(&self, how: Strike) -> bool {
        matches!(how, Strike::Kill | Strike::Terminate)
    }

    fn tag(&self) -> String {
        self.wanted.get().to_string()
    }

    fn recall(&self, tag: &str) {
        self.wanted.set(tag.parse().unwrap_or_default());
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        if self.can(how) { Box::pin(self.delete(how)) } else { cannot(how) }
    }

    /// Its controller does that.
    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        let selector = &self.file.selector;
        Box::pin(ready(Ok(format!("its controller has made another pod of {selector}"))))
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        Box::pin(self.look_once())
    }
}
