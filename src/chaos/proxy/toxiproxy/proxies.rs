//! The proxies of the API: what is made, changed, healed and removed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Mutex, task::JoinSet, time::Instant};

use super::{Reach, refusal::Refusal, toxic::Toxic};
use crate::{
    base::rng::Rng,
    chaos::{
        provider::Way,
        proxy::{
            connection::{LinkState, Scratch},
            server::{LINKS_MAX, accept, scratch},
            sickness::Rule,
        },
    },
};

/// Toxics of one proxy at most.
const TOXICS_MAX: usize = 64;

/// All proxies, by name.
pub(super) struct Proxies {
    rng: Rng,
    reach: Reach,
    scratch: Scratch,
    /// Held by whoever asks: one after the other, each sees what those before have done.
    pub turn: Mutex<()>,
    all: RefCell<BTreeMap<String, Proxy>>,
    /// Toxics so far: the draws of each have a name of their own.
    toxics: Cell<u64>,
}

/// A proxy as it is sent and shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Shown {
    name: String,
    listen: String,
    upstream: String,
    enabled: bool,
    toxics: Vec<Toxic>,
}

/// A proxy as it is asked for.
#[derive(Debug, Clone, Deserialize)]
struct Sent {
    #[serde(default)]
    name: String,
    listen: Option<String>,
    upstream: Option<String>,
    enabled: Option<bool>,
}

struct Proxy {
    /// Where it listens, once it has; before, where it is to.
    listen: String,
    upstream: String,
    toxics: Vec<(Toxic, Rule)>,
    /// None while it is disabled.
    running: Option<Running>,
}

/// Dropping it closes the listener and all connections, in a moment.
struct Running {
    link: Rc<LinkState>,
    accepts: JoinSet<()>,
}

impl Running {
    /// Nobody listens any more, and the port is free.
    async fn stop(mut self) {
        self.accepts.shutdown().await;
    }
}

impl Proxy {
    fn shown(&self, name: &str) -> Shown {
        let of = |way: Way| {
            self.toxics.iter().map(|(toxic, _)| toxic).filter(move |toxic| toxic.stream == way)
        };
        Shown {
            name: name.to_owned(),
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            enabled: self.running.is_some(),
            toxics: of(Way::Upstream).chain(of(Way::Downstream)).cloned().collect(),
        }
    }

    /// What is wrong holds from now on.
    fn impair(&self) {
        if let Some(running) = &self.running {
            running.link.impair(self.toxics.iter().map(|(_, rule)| rule.clone()).collect());
        }
    }

    fn place(&self, toxic: &str) -> Result<usize, Refusal> {
        let place = self.toxics.iter().position(|(known, _)| known.name == toxic);
        place.ok_or_else(Refusal::no_toxic)
    }
}

impl Proxies {
    pub fn new(rng: Rng, reach: Reach) -> Self {
        Self {
            rng,
            reach,
            scratch: scratch(),
            turn: Mutex::new(()),
            all: RefCell::default(),
            toxics: Cell::new(0),
        }
    }

    pub fn all(&self) -> BTreeMap<String, Shown> {
        let all = self.all.borrow();
        all.iter().map(|(name, proxy)| (name.clone(), proxy.shown(name))).collect()
    }

    pub fn show(&self, name: &str) -> Result<Shown, Refusal> {
        self.with(name, |proxy| Ok(proxy.shown(name)))
    }

    pub async fn create(&self, body: &[u8]) -> Result<Shown, Refusal> {
        let sent: Sent = serde_json::from_slice(body).map_err(Refusal::bad)?;
        if sent.name.is_empty() {
            return Err(Refusal::missing("name"));
        }
        let upstream = sent.upstream.filter(|text| !text.is_empty());
        let upstream = upstream.ok_or_else(|| Refusal::missing("upstream"))?;
        self.check_free(&sent.name)?;
        let listen = sent.listen.unwrap_or_default();
        let mut proxy = Proxy { listen, upstream, toxics: Vec::new(), running: None };
        if sent.enabled.unwrap_or(true) {
            self.start(&sent.name, &mut proxy).await?;
        }
        let shown = proxy.shown(&sent.name);
        self.all.borrow_mut().insert(sent.name, proxy);
        Ok(shown)
    }

    fn check_free(&self, name: &str) -> Result<(), Refusal> {
        let all = self.all.borrow();
        if all.contains_key(name) {
            return Err(Refusal::new(StatusCode::CONFLICT, "proxy already exists"));
        }
        if all.len() >= LINKS_MAX {
            let what = format!("there are {LINKS_MAX} proxies already");
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, what));
        }
        Ok(())
    }

    pub async fn update(&self, name: &str, body: &[u8]) -> Result<Shown, Refusal> {
        let sent: Sent = serde_json::from_slice(body).map_err(Refusal::bad)?;
        let before = self.show(name)?;
        let differs = |new: &Option<String>, old: &str| new.as_ref().is_some_and(|new| new != old);
        let enabled = sent.enabled.unwrap_or(before.enabled);
        let moved =
            differs(&sent.listen, &before.listen) || differs(&sent.upstream, &before.upstream);
        if enabled == before.enabled && !moved {
            return Ok(before);
        }
        // Out of the table while it is moved: its port is free for itself.
        let mut proxy = self.all.borrow_mut().remove(name).ok_or_else(Refusal::no_proxy)?;
        if let Some(running) = proxy.running.take_if(|_| moved || !enabled) {
            running.stop().await;
        }
        proxy.listen = sent.listen.unwrap_or(proxy.listen);
        proxy.upstream = sent.upstream.unwrap_or(proxy.upstream);
        let starts = enabled && proxy.running.is_none();
        let started = if starts { self.start(name, &mut proxy).await } else { Ok(()) };
        let shown = proxy.shown(name);
        self.all.borrow_mut().insert(name.to_owned(), proxy);
        started.map(|()| shown)
    }

    /// Listens, and connects whoever comes. The listening address is the real one afterwards.
    async fn start(&self, name: &str, proxy: &mut Proxy) -> Result<(), Refusal> {
        let upstream = self.reach.find_text(&proxy.upstream).await?;
        let listen = if proxy.listen.is_empty() { "127.0.0.1:0" } else { &proxy.listen };
        let wrong = |why: std::io::Error| {
            let what = format!("listen tcp {listen}: {why}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, what)
        };
        let listener =
            TcpListener::bind(self.reach.find_text(listen).await?).await.map_err(wrong)?;
        let listens = listener.local_addr().map_err(wrong)?.to_string();
        let link = LinkState::new(upstream, self.rng.fork(name), self.scratch.clone());
        let link = Rc::new(link.map_err(wrong)?);
        let mut accepts = JoinSet::new();
        accepts.spawn_local(accept(listener, link.clone()));
        proxy.listen = listens;
        proxy.running = Some(Running { link, accepts });
        proxy.impair();
        Ok(())
    }

    pub async fn delete(&self, name: &str) -> Result<(), Refusal> {
        let gone = self.all.borrow_mut().remove(name).ok_or_else(Refusal::no_proxy)?;
        if let Some(running) = gone.running {
            running.stop().await;
        }
        Ok(())
    }

    /// Makes these proxies so, and leaves those alone that are so already. Those that were made
    /// before one that cannot be made stay.
    pub async fn populate(&self, body: &[u8]) -> Result<Vec<Shown>, Refusal> {
        let sent: Vec<Sent> = serde_json::from_slice(body).map_err(Refusal::bad)?;
        let mut names = BTreeSet::new();
        for (proxy, number) in sent.iter().zip(1..) {
            if proxy.name.is_empty() {
                return Err(Refusal::missing(&format!("name at proxy {number}")));
            }
            if proxy.upstream.as_deref().unwrap_or_default().is_empty() {
                return Err(Refusal::missing(&format!("upstream at proxy {number}")));
            }
            if !names.insert(&proxy.name) {
                return Err(Refusal::bad(format!("duplicate proxy name `{}`", proxy.name)));
            }
        }
        let mut shown = Vec::new();
        for proxy in &sent {
            shown.push(self.make_so(proxy).await?);
        }
        Ok(shown)
    }

    async fn make_so(&self, sent: &Sent) -> Result<Shown, Refusal> {
        let listen = sent.listen.clone().unwrap_or_default();
        let enabled = sent.enabled.unwrap_or(true);
        if let Ok(known) = self.show(&sent.name) {
            let as_before =
                Some(&known.upstream) == sent.upstream.as_ref() && known.listen == listen;
            if as_before {
                let body = serde_json::json!({ "enabled": enabled }).to_string();
                return self.update(&sent.name, body.as_bytes()).await;
            }
            self.delete(&sent.name).await?;
        }
        let body = serde_json::json!({
            "name": sent.name, "listen": listen, "upstream": sent.upstream, "enabled": enabled,
        });
        self.create(body.to_string().as_bytes()).await
    }

    /// Everything is well: all proxies are enabled, and no toxic is left.
    pub async fn reset(&self) -> Result<(), Refusal> {
        for proxy in self.all.borrow_mut().values_mut() {
            proxy.toxics.clear();
            proxy.impair();
        }
        for name in self.all().into_keys() {
            self.update(&name, br#"{"enabled":true}"#).await?;
        }
        Ok(())
    }

    pub fn toxics(&self, name: &str) -> Result<Vec<Toxic>, Refusal> {
        self.show(name).map(|proxy| proxy.toxics)
    }

    pub fn toxic(&self, name: &str, toxic: &str) -> Result<Toxic, Refusal> {
        self.with(name, |proxy| Ok(proxy.toxics[proxy.place(toxic)?].0.clone()))
    }

    pub fn add_toxic(&self, name: &str, body: &[u8]) -> Result<Toxic, Refusal> {
        self.with(name, |proxy| {
            let toxic = Toxic::read(body)?;
            if proxy.place(&toxic.name).is_ok() {
                return Err(Refusal::new(StatusCode::CONFLICT, "toxic already exists"));
            }
            if proxy.toxics.len() >= TOXICS_MAX {
                let what = format!("the proxy has {TOXICS_MAX} toxics already");
                return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, what));
            }
            proxy.toxics.push((toxic.clone(), self.rule(&toxic)?));
            proxy.impair();
            Ok(toxic)
        })
    }

    pub fn update_toxic(&self, name: &str, toxic: &str, body: &[u8]) -> Result<Toxic, Refusal> {
        self.with(name, |proxy| {
            let place = proxy.place(toxic)?;
            let toxic = proxy.toxics[place].0.updated(body)?;
            proxy.toxics[place] = (toxic.clone(), self.rule(&toxic)?);
            proxy.impair();
            Ok(toxic)
        })
    }

    pub fn remove_toxic(&self, name: &str, toxic: &str) -> Result<(), Refusal> {
        self.with(name, |proxy| {
            proxy.toxics.remove(proxy.place(toxic)?);
            proxy.impair();
            Ok(())
        })
    }

    fn rule(&self, toxic: &Toxic) -> Result<Rule, Refusal> {
        let number = self.toxics.replace(self.toxics.get() + 1);
        let name = format!("{}/{number}", toxic.name);
        Ok(Rule { name, since: Instant::now(), toxic: toxic.harm()? })
    }

    fn with<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Proxy) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut all = self.all.borrow_mut();
        act(all.get_mut(name).ok_or_else(Refusal::no_proxy)?)
    }
}
