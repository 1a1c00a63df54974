//! The way from robots to a backend that the run did not start, where a plan strikes it: through the
//! run's own fault proxy. The robots are led there by themselves; nobody has to be pointed at it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
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
};
use crate::{
    base::file::FileError,
    chaos::{
        provider::{LinkName, ROBOTS, Toxic},
        providers::{Hands, Server, Ways},
        proxy::Controller,
    },
    target::mapped::{Compiled, grammar::Speaks},
    world::{
        Env,
        real::{
            closing::closing,
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

/// The same of a plan's target; none where the run starts its backend itself.
pub fn links_of(plan: &RunPlan) -> Result<BTreeMap<LinkName, Place>, FileError> {
    match plan.mapping.as_ref().filter(|_| !plan.starts_backend()) {
        Some(mapping) => Ok(links(&plan.compile(mapping, "not yet")?)),
        None => Ok(BTreeMap::new()),
    }
}

/// The proxy on those links, once it runs.
pub struct Detours {
    links: BTreeMap<LinkName, Place>,
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
    pub fn new(links: BTreeMap<LinkName, Place>, hands: Rc<dyn Hands>) -> Self {
        Self { links, hands, running: RefCell::default() }
    }

    /// Stands on those links, and on no others; starts nothing where there are none.
    pub async fn start(
        &self,
        folder: &Folder,
        seed: &str,
        env: &Env,
        touched: &BTreeSet<LinkName>,
    ) -> Result<(), String> {
        if touched.is_empty() {
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
        *self.running.borrow_mut() = Some(Running { child, controller, listens });
        Ok(())
    }

    /// Where robots are to go instead: `host:port` to address.
    pub fn table(&self) -> BTreeMap<String, SocketAddr> {
        let running = self.running.borrow();
        let listens = running.iter().flat_map(|running| &running.listens);
        listens.map(|(link, at)| (self.links[link].text.clone(), *at)).collect()
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

impl Ways for Detours {
    fn links(&self) -> Vec<LinkName> {
        self.links.keys().cloned().collect()
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
