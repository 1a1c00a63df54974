//! The ways to, and within, a backend that the run did not start: through the run's own fault proxy. The
//! robots are led there by themselves, where a plan strikes their links; the backend's own parts were
//! pointed at it by whoever set them up, and so it stands on their links whatever the plan strikes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, ToSocketAddrs as _},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::Request;

use super::{
    folder::Folder,
    ledger::{Books, By},
    plan::RunPlan,
    victims,
};
use crate::{
    base::file::FileError,
    chaos::{
        provider::{LinkName, ROBOTS, Toxic},
        providers::{BackendLink, Hands, Server, Ways},
        proxy::Controller,
    },
    target::mapped::{Compiled, grammar::Speaks},
    world::{
        Env,
        real::{
            closing::closing,
            first_answer::{first_answer, last_answer},
            process::{self, Order},
        },
    },
};

/// A measurement has no deadline of its own: the conductor sets one.
const MEASURED_WITHIN: Duration = Duration::from_mins(2);

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As its URL says it: `localhost:8080`.
    text: String,
    /// The address.
    at: SocketAddr,
}

/// The links of a mapping that can be struck: those over HTTP without TLS to this machine, by the
/// name that they have in the file. Where each leads.
pub fn links(target: &Compiled) -> BTreeMap<LinkName, Place> {
    let mut links = BTreeMap::new();
    for link in target.links.iter().filter(|link| link.speaks == Speaks::Http) {
        let several = link.urls.len() > 1;
        for (number, url) in link.urls.iter().enumerate() {
            let plain = url.starts_with("http://");
            let text = target.instance_of(url).to_owned();
            let address = text.replacen("localhost", "127.0.0.1", 1).parse::<SocketAddr>();
            let Some(at) = address.ok().filter(|at| at.ip().is_loopback()) else { continue };
            if plain {
                let number = if several { format!("-{}", number + 1) } else { String::new() };
                let to = format!("{}{number}", link.name);
                let name = LinkName { from: ROBOTS.into(), to: to.as_str().into() };
                links.insert(name, Place { text, at });
            }
        }
    }
    links
}

/// Every link of a plan's target that can be struck; none where the run starts its backend itself.
pub fn links_of(plan: &RunPlan) -> Result<Vec<LinkName>, FileError> {
    let Some(mapping) = plan.mapping.as_ref().filter(|_| !plan.starts_backend()) else {
        return Ok(Vec::new());
    };
    let of_robots = links(&plan.compile(mapping, "not yet")?).into_keys();
    let within = victims::read(mapping)?.backend_link;
    Ok(of_robots.chain(within.iter().map(BackendLink::name)).collect())
}

/// Says where the parts of a backend are to be pointed.
pub fn announce(links: &[BackendLink]) {
    if !links.is_empty() {
        println!(
            "the fault proxy stands between parts of the backend, for as long as a run goes on:"
        );
    }
    for link in links {
        println!("  {}", link.told());
    }
}

/// The proxy on those links, once it runs.
pub struct Detours {
    links: BTreeMap<LinkName, Place>,
    /// Those between parts of the backend.
    within: BTreeMap<LinkName, BackendLink>,
    hands: Rc<dyn Hands>,
    running: RefCell<Option<Running>>,
}

struct Running {
    child: process::Child,
    controller: Controller,
    listens: BTreeMap<LinkName, SocketAddr>,
}

impl Detours {
    /// Stands nowhere yet.
    pub fn new(
        links: BTreeMap<LinkName, Place>,
        within: &[BackendLink],
        hands: Rc<dyn Hands>,
    ) -> Self {
        let within = within.iter().map(|link| (link.name(), link.clone())).collect();
        Self { links, within, hands, running: RefCell::default() }
    }

    /// Stands on those links of the robots, and on all between parts of the backend; starts nothing where
    /// there are none.
    pub async fn start(
        &self,
        folder: &Folder,
        seed: &str,
        env: &Env,
        touched: &BTreeSet<LinkName>,
    ) -> Result<(), String> {
        if touched.is_empty() && self.within.is_empty() {
            return Ok(());
        }
        let words = |why: &dyn std::fmt::Display| format!("the fault proxy: {why}");
        let order = Order {
            program: process::own_program().map_err(|why| words(&why))?,
            args: ["links", seed, &std::process::id().to_string()].map(Into::into).to_vec(),
            env: Vec::new(),
            first_line: String::new(),
            log: folder.file("nodes/proxy.log"),
        };
        let started = process::Child::start_talking(&order);
        let (child, replies, commands) = started.map_err(|why| words(&why))?;
        Books::of(folder, By::Run).note_process("the fault proxy", child.pid());
        let (controller, talk) = Controller::new(replies, commands);
        env.spawn(talk);
        let mut listens = BTreeMap::new();
        for (link, upstream) in self.links.iter().filter(|(link, _)| touched.contains(*link)) {
            let listen = controller.add(link, upstream.at).await.map_err(|why| words(&why))?;
            listens.insert(link.clone(), listen);
        }
        for (name, link) in &self.within {
            let upstream = address(&link.upstream)?;
            if self.within.values().any(|other| other.listen == upstream) {
                let to = &link.upstream;
                return Err(format!(
                    "{name}: `{to}` leads to a proxy of the run, and not to a part"
                ));
            }
            let listen = controller.add_at(name, link.listen, upstream).await;
            listens.insert(name.clone(), listen.map_err(|why| words(&why))?);
        }
        *self.running.borrow_mut() = Some(Running { child, controller, listens });
        Ok(())
    }

    /// Where robots are to go instead: `host:port` to address.
    pub fn table(&self) -> BTreeMap<String, SocketAddr> {
        let running = self.running.borrow();
        let listens = running.iter().flat_map(|running| &running.listens);
        let of_robots = listens.filter_map(|(link, at)| Some((self.links.get(link)?, *at)));
        of_robots.map(|(place, at)| (place.text.clone(), at)).collect()
    }

    /// Ends it.
    pub async fn stop(&self) {
        let running = self.running.borrow_mut().take();
        if let Some(mut running) = running {
            // One that has ended by itself is as good.
            let _ = running.child.kill().await;
        }
    }

    fn listen(&self, link: &LinkName) -> Result<SocketAddr, String> {
        let running = self.running.borrow();
        let listen = running.as_ref().and_then(|running| running.listens.get(link).copied());
        listen.ok_or_else(|| "no proxy of the run stands on this link".to_owned())
    }
}

/// An address of `host:port`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|why| format!("{text}: {why}"))?;
    // A server on `localhost` mostly listens on the old address alone.
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|at| at.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("{text} has no address"))
}

/// The time of one exchange with the part of a backend that is dialled; whatever it says is an answer.
async fn asked(at: SocketAddr, link: &BackendLink, load: usize) -> Result<Duration, String> {
    let words = link.words(load);
    let took =
        if load == 0 { first_answer(at, &words).await } else { last_answer(at, &words).await };
    took.map_err(|why| why.to_string())
}

impl Ways for Detours {
    fn links(&self) -> Vec<LinkName> {
        self.links.keys().chain(self.within.keys()).cloned().collect()
    }

    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.listen(link)?;
            let controller = self.running.borrow().as_ref().map(|r| r.controller.clone());
            let controller = controller.ok_or("the fault proxy does not run")?;
            controller.impair(link, toxics).await.map_err(|why| why.to_string())
        })
    }

    /// Any answer to a request will do: it went there and back.
    fn round_trip<'a>(
        &'a self,
        env: &'a Env,
        link: &'a LinkName,
        load: usize,
    ) -> LocalBoxFuture<'a, Result<Duration, String>> {
        Box::pin(async move {
            if let Some(within) = self.within.get(link) {
                return asked(self.listen(link)?, within, load).await;
            }
            let server = Server::Url { url: format!("http://{}", self.listen(link)?), ca: None };
            let request = Request::get("/").body(Bytes::from(vec![b' '; load]));
            let request = request.map_err(|why| why.to_string())?;
            let begun = env.now();
            self.hands.call(&server, request, MEASURED_WITHIN).await?;
            Ok(env.now() - begun)
        })
    }

    fn closing<'a>(&'a self, link: &'a LinkName) -> LocalBoxFuture<'a, Result<Duration, String>> {
        Box::pin(async move {
            let at = self.listen(link)?.to_string();
            closing(&at).await.map_err(|why| why.to_string())
        })
    }
}
