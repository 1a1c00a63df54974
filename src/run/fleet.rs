//! The supervisor of the embedded backend in the real world: starts its processes, looks after their
//! health, kills and restarts them for the faults, and puts proxies on the links that faults touch.

mod probes;
mod strikes;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;

use super::{
    brokers::Brokers,
    costs::Costs,
    facts,
    folder::Folder,
    health,
    ledger::{Books, By},
    meddle,
    node::{NodeOrder, UNHEARD},
    operator,
    plan::RunPlan,
    queues::Queues,
    services,
    shares::Shares,
    signals::Signals,
    stage::Stage,
    supervisor::Supervisor,
};
use crate::{
    backend::{
        boot::NodeConfig,
        layout::BROKER,
        node::client,
        plants::SKIP_SYNC,
        platform::{directory::machine_of, phosphor::COLLECTOR, rpc::Rpc},
    },
    base::{name::NodeName, time::Wall},
    chaos::{
        provider::{Health, LinkName, Meddled, Meddling, Provider, ProviderError, ROBOTS, Toxic},
        proxy::Controller,
    },
    city::City,
    history::services::ServiceMap,
    world::{
        Env,
        real::{Boot, RealWorld, clock::origin_to_machine, ports::free_ports, process},
    },
};

/// Between two looks at a node that is not healthy yet.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The backend's processes. Made on the runtime that it lives on.
pub struct Fleet {
    plan: RunPlan,
    city: Rc<City>,
    folder: Folder,
    origin: Instant,
    nodes: Vec<NodeName>,
    addresses: BTreeMap<NodeName, Addresses>,
    /// Where a proxied link is dialled.
    proxied: RefCell<BTreeMap<LinkName, String>>,
    members: RefCell<BTreeMap<NodeName, Member>>,
    brokers: Brokers,
    proxy: RefCell<Option<process::Child>>,
    controller: RefCell<Option<Controller>>,
    operator: Env,
    rpc: Rpc,
    shares: Shares,
    queues: Queues,
    signals: Signals,
    supervisor: RefCell<Supervisor>,
    /// Where the collector of traces receives.
    collector: Option<String>,
}

#[derive(Debug, Clone)]
struct Addresses {
    link: String,
    http: String,
}

/// One node over its lives.
#[derive(Default)]
struct Member {
    child: Option<process::Child>,
    starts: u32,
    /// CPU time of the lives that have ended.
    spent: Duration,
    /// It was killed on purpose.
    down: bool,
    /// It ended though nobody killed it, and not because nobody heard it.
    crashed: bool,
}

/// The backend could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A process or a port could not be had.
    #[error("{what}: {why}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// A port that the scenario asks for cannot be had.
    #[error(
        "`backend.base_port`: port {port} of 127.0.0.1: {why}; choose another, or leave the key out \
         for free ones"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        why: String,
    },
    /// A node ended or did not become healthy.
    #[error("{node} {why}{}. Its log: {}", last_line(log), log.display())]
    Unhealthy {
        /// The node.
        node: NodeName,
        /// What was seen.
        why: String,
        /// Where to look.
        log: PathBuf,
    },
    /// The brokers could not be had.
    #[error("{0}")]
    Brokers(String),
    /// The proxy could not be told what to do.
    #[error("the fault proxy: {0}")]
    Proxy(String),
}

impl Fleet {
    /// Chooses addresses; starts nothing yet.
    pub fn new(
        plan: &RunPlan,
        city: &Rc<City>,
        folder: &Folder,
        origin: Instant,
    ) -> Result<Self, FleetError> {
        let nodes = plan.nodes(&city.azs);
        let addresses = addresses(&nodes, plan.scenario.backend.base_port)?;
        let boot = Boot {
            dial: addresses.iter().map(|(n, a)| (n.clone(), a.link.clone())).collect(),
            dial_http: addresses.iter().map(|(n, a)| (n.clone(), a.http.clone())).collect(),
            ..Boot::default()
        };
        let name = NodeName::from("operator");
        let world = RealWorld::new(name.clone(), boot, origin);
        let operator = Env::new(name, &plan.rng(), world);
        let rpc = client(operator.clone(), nodes.clone());
        Ok(Self {
            plan: plan.clone(),
            city: Rc::clone(city),
            folder: folder.clone(),
            origin,
            shares: Shares::new(&rpc, facts::versions(plan, &nodes)),
            rpc,
            queues: Queues::new(operator.clone(), nodes.clone()),
            nodes,
            addresses,
            proxied: RefCell::default(),
            members: RefCell::default(),
            brokers: Brokers::default(),
            proxy: RefCell::default(),
            controller: RefCell::default(),
            operator,
            signals: Signals::take().map_err(system("signals"))?,
            supervisor: RefCell::default(),
            collector: None,
        })
    }

    /// Lets the nodes hand their traces to the collector at that address.
    #[must_use]
    pub fn traced_to(mut self, collector: Option<String>) -> Self {
        self.collector = collector;
        self
    }

    async fn bring_up(&self) -> Result<(), FleetError> {
        self.start_proxy().await?;
        self.tell_where();
        self.start_brokers().await?;
        let services = || self.nodes.iter().filter(|node| node.role() != BROKER);
        for node in services() {
            self.start_process(node).await?;
        }
        let limit = self.plan.scenario.backend.healthy_within.0;
        for node in services() {
            self.await_healthy(node, limit).await?;
        }
        Ok(())
    }

    /// Kills every process that is still there and waits until it is reaped.
    async fn bring_down(&self) {
        let mut children: Vec<process::Child> = Vec::new();
        for member in self.members.borrow_mut().values_mut() {
            member.spent += cpu(member.child.as_ref());
            children.extend(member.child.take());
        }
        children.extend(self.proxy.borrow_mut().take());
        for mut child in children {
            // One that has ended by itself is as good.
            let _ = child.kill().await;
        }
        self.brokers.bring_down().await;
    }

    /// CPU time of all nodes so far, dead ones included, and of the proxy.
    fn spent(&self) -> (Duration, Duration) {
        let members = self.members.borrow();
        let nodes: Duration =
            members.values().map(|member| member.spent + cpu(member.child.as_ref())).sum();
        (nodes + self.brokers.spent(), cpu(self.proxy.borrow().as_ref()))
    }

    /// Writes down where everything runs, for operators. Without it nobody but they miss anything.
    fn tell_where(&self) {
        let nodes = self.addresses.iter().map(|(name, at)| {
            let place = operator::Place {
                link: at.link.clone(),
                http: at.http.clone(),
                version: self.plan.scenario.backend.version_of(name.as_str()),
                machine: machine_of(name),
            };
            (name.clone(), place)
        });
        let told = operator::Whereabouts { pid: std::process::id(), nodes: nodes.collect() };
        let _ = told.keep(&self.folder);
    }

    fn books(&self) -> Books {
        Books::of(&self.folder, By::Run)
    }

    /// Where robots reach each API node.
    pub fn api_addresses(&self) -> impl Iterator<Item = (&NodeName, &str)> {
        self.addresses
            .iter()
            .filter(|(name, _)| name.role() == "api")
            .map(|(name, address)| (name, address.http.as_str()))
    }

    /// Where each broker takes AMQP.
    pub fn broker_addresses(&self) -> impl Iterator<Item = (&NodeName, &str)> {
        self.addresses
            .iter()
            .filter(|(name, _)| name.role() == BROKER)
            .map(|(name, address)| (name, address.link.as_str()))
    }

    async fn start_proxy(&self) -> Result<(), FleetError> {
        let links = self.plan.faults.links_touched();
        if links.is_empty() {
            return Ok(());
        }
        let words = ["links", &self.plan.seed, &std::process::id().to_string()];
        let order = order(&self.folder, &words, "nodes/proxy", String::new())?;
        let (child, replies, commands) =
            process::Child::start_talking(&order).map_err(system("the fault proxy"))?;
        self.books().note_process("the fault proxy", child.pid());
        *self.proxy.borrow_mut() = Some(child);
        let (controller, talk) = Controller::new(replies, commands);
        self.operator.spawn(talk);
        let failed = |why: &dyn std::fmt::Display| FleetError::Proxy(why.to_string());
        for link in links {
            let upstream = self.address_of(&link).parse().map_err(|why| failed(&why))?;
            let listen = controller.add(&link, upstream).await.map_err(|why| failed(&why))?;
            self.proxied.borrow_mut().insert(link, listen.to_string());
        }
        *self.controller.borrow_mut() = Some(controller);
        Ok(())
    }

    async fn start_brokers(&self) -> Result<(), FleetError> {
        let port = |address: &str| address.rsplit_once(':')?.1.parse().ok();
        let ports: BTreeMap<NodeName, u16> = self
            .broker_addresses()
            .filter_map(|(name, address)| Some((name.clone(), port(address)?)))
            .collect();
        let dialled = |from: &NodeName, to: &NodeName| {
            let link = LinkName { from: from.clone(), to: to.clone() };
            self.proxied.borrow().get(&link).cloned().unwrap_or_else(|| self.address_of(&link))
        };
        let books = self.books();
        let up = self.brokers.bring_up(&self.operator, &books, &ports, dialled);
        up.await.map_err(FleetError::Brokers)
    }

    /// The dialled end of a link: HTTP for robots, frames for nodes.
    fn address_of(&self, link: &LinkName) -> String {
        let address = &self.addresses[&link.to];
        if link.from.as_str() == ROBOTS { address.http.clone() } else { address.link.clone() }
    }

    fn boot_of(&self, node: &NodeName) -> Boot {
        let proxied = self.proxied.borrow();
        let through = |to: &NodeName, direct: &String| {
            let link = LinkName { from: node.clone(), to: to.clone() };
            (to.clone(), proxied.get(&link).unwrap_or(direct).clone())
        };
        let own = self.addresses.get(node);
        Boot {
            listen: own.map(|address| address.link.clone()),
            http: own.map(|address| address.http.clone()),
            dial: self.addresses.iter().map(|(to, a)| through(to, &a.link)).collect(),
            dial_http: self.addresses.iter().map(|(to, a)| through(to, &a.http)).collect(),
            datagrams: self.collector.iter().map(|at| (COLLECTOR.into(), at.clone())).collect(),
            data: self.folder.file("data").join(node.as_str().replace('/', "-")),
            skip_sync: self.plan.plants.iter().any(|bug| bug == SKIP_SYNC),
        }
    }

    async fn start_process(&self, node: &NodeName) -> Result<(), FleetError> {
        let starts = self.members.borrow().get(node).map_or(0, |member| member.starts);
        let words = NodeOrder {
            parent: std::process::id(),
            origin: origin_to_machine(self.origin),
            boot: self.boot_of(node),
            config: NodeConfig {
                traced: self.collector.is_some(),
                ..facts::node_config(&self.plan, &self.city, &self.nodes, node, starts)
            },
        };
        let words = serde_json::to_string(&words)
            .map_err(|why| FleetError::System { what: node.to_string(), why: why.into() })?;
        let log = format!("nodes/{}", node.as_str().replace('/', "-"));
        let order = order(&self.folder, &["node"], &log, words)?;
        let child = process::Child::start(&order).await.map_err(system(node.as_str()))?;
        self.books().note_process(node.as_str(), child.pid());
        let mut members = self.members.borrow_mut();
        let member = members.entry(node.clone()).or_default();
        member.child = Some(child);
        member.starts += 1;
        member.down = false;
        Ok(())
    }

    async fn await_healthy(&self, node: &NodeName, limit: Duration) -> Result<(), FleetError> {
        let until = self.operator.now() + limit;
        loop {
            let unhealthy = |why: String| FleetError::Unhealthy {
                node: node.clone(),
                why,
                log: self.folder.file(&format!("nodes/{}.log", node.as_str().replace('/', "-"))),
            };
            if let Some(status) = self.ended(node) {
                return Err(unhealthy(format!("ended at its start ({status})")));
            }
            let within = health::DIRECT.min(until - self.operator.now());
            match health::look(&self.rpc, node, within).await {
                Health::Up => return Ok(()),
                Health::Down(why) if self.operator.now() >= until => {
                    return Err(unhealthy(format!("was not healthy within {limit:?}: {why}")));
                }
                Health::Down(_) => self.operator.sleep(LOOK_EVERY).await,
            }
        }
    }

    fn ended(&self, node: &NodeName) -> Option<std::process::ExitStatus> {
        let mut members = self.members.borrow_mut();
        members.get_mut(node)?.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Starts again the nodes that ended by themselves and are due.
    async fn start_the_ended(&self) {
        let now = self.operator.now();
        for node in &self.nodes {
            let Some(status) = self.ended(node) else { continue };
            {
                let mut members = self.members.borrow_mut();
                let Some(member) = members.get_mut(node).filter(|member| !member.down) else {
                    continue;
                };
                member.crashed |= status.code() != Some(i32::from(UNHEARD));
            }
            if self.supervisor.borrow_mut().is_due(node, now) {
                if let Some(member) = self.members.borrow_mut().get_mut(node) {
                    member.spent += cpu(member.child.as_ref());
                }
                // It stays due, and is tried again after a longer pause.
                let _ = self.start_process(node).await;
            }
        }
    }

    async fn revive(&self, node: &NodeName) -> Result<String, ProviderError> {
        let begun = self.operator.now();
        if node.role() == BROKER {
            let revived = self.brokers.revive(&self.operator, node).await;
            revived.map_err(|why| failed(node, &why))?;
        } else {
            self.revive_process(node).await?;
        }
        let took = (self.operator.now() - begun).as_secs_f64();
        Ok(format!("healthy {took:.2} s after its start"))
    }

    async fn revive_process(&self, node: &NodeName) -> Result<(), ProviderError> {
        self.resume_process(node);
        // One that died by itself in the meantime is started again too.
        let alive = self.ended(node).is_none()
            && self.members.borrow().get(node).is_some_and(|m| m.child.is_some() && !m.down);
        if !alive {
            self.start_process(node).await.map_err(|why| failed(node, &why.to_string()))?;
        }
        let limit = self.plan.scenario.backend.healthy_within.0;
        self.await_healthy(node, limit).await.map_err(|why| failed(node, &why.to_string()))
    }
}

impl Stage for Fleet {
    fn operator(&self) -> Env {
        self.operator.clone()
    }

    /// They dial the API's HTTP, through proxies where faults may strike.
    fn robots(&self) -> Env {
        let name = NodeName::from(ROBOTS);
        let world = RealWorld::new(name.clone(), self.boot_of(&name), self.origin);
        Env::new(name, &self.plan.rng(), world)
    }

    fn provider(self: Rc<Self>) -> Rc<dyn Provider> {
        self
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.bring_up().await.map_err(|why| why.to_string()) })
    }

    fn stop(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.bring_down())
    }

    fn costs(&self) -> Option<Costs> {
        let (backend, proxy) = self.spent();
        Some(Costs::now(backend, proxy))
    }

    fn look_after(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.start_the_ended())
    }

    fn services(&self) -> LocalBoxFuture<'_, ServiceMap> {
        Box::pin(async { services::map(&services::reports(&self.rpc, &self.nodes).await) })
    }

    fn lost(&self) -> Vec<NodeName> {
        let mut members = self.members.borrow_mut();
        let ended = |member: &mut Member| {
            let gone = |c: &mut process::Child| matches!(c.try_wait(), Ok(Some(_)));
            member.crashed || !member.down && member.child.as_mut().is_some_and(gone)
        };
        let lost = members.iter_mut().filter_map(|(name, m)| ended(m).then(|| name.clone()));
        lost.chain(self.brokers.lost()).collect()
    }

    fn signal(&self, count: usize) -> LocalBoxFuture<'_, &'static str> {
        Box::pin(self.signals.wait_for(count))
    }

    fn wants_line(&self) -> bool {
        true
    }
}

impl Provider for Fleet {
    fn nodes(&self) -> Vec<NodeName> {
        self.nodes.clone()
    }

    fn links(&self) -> Vec<LinkName> {
        super::plan::links(&self.nodes)
    }

    fn kill<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        if node.role() == BROKER {
            let killed = self.brokers.kill(node);
            return Box::pin(async move { killed.await.map_err(|why| failed(node, &why)) });
        }
        Box::pin(self.kill_process(node))
    }

    fn terminate<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        if node.role() == BROKER {
            let ended = self.brokers.terminate(&self.operator, node);
            return Box::pin(async move { ended.await.map_err(|why| failed(node, &why)) });
        }
        Box::pin(self.terminate_process(node))
    }

    fn pause<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        if node.role() == BROKER {
            let paused = self.brokers.pause(node);
            return Box::pin(async move { paused.await.map_err(|why| failed(node, &why)) });
        }
        Box::pin(std::future::ready(self.pause_process(node)))
    }

    fn start<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(self.revive(node))
    }

    fn health<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<Health, ProviderError>> {
        Box::pin(async {
            if node.role() == BROKER {
                return Ok(health::look_at_broker(&self.operator, node, health::DIRECT).await);
            }
            Ok(health::look(&self.rpc, node, health::DIRECT).await)
        })
    }

    fn wall<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<Wall, ProviderError>> {
        Box::pin(async {
            let shown = health::wall(&self.rpc, node, health::DIRECT).await;
            shown.map_err(|why| failed(node, &why))
        })
    }

    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let wrong = |why: String| ProviderError { victim: link.to_string(), why };
            let controller = self.controller.borrow().clone();
            let controller = controller.ok_or_else(|| wrong("no proxy is on this link".into()))?;
            controller.impair(link, toxics).await.map_err(|why| wrong(why.to_string()))
        })
    }

    fn meddle<'a>(
        &'a self,
        node: &'a NodeName,
        what: &'a Meddling,
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(meddle::begin(&self.rpc, node, what))
    }

    fn meddled<'a>(
        &'a self,
        node: &'a NodeName,
        end: bool,
    ) -> LocalBoxFuture<'a, Result<Meddled, ProviderError>> {
        Box::pin(meddle::look(&self.rpc, node, end))
    }

    fn fill_queue<'a>(
        &'a self,
        node: &'a NodeName,
        lasts: Duration,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(self.queues.fill(node, lasts))
    }

    fn queue_has_room<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<bool, ProviderError>> {
        Box::pin(self.queues.has_room(node))
    }

    fn give_share<'a>(
        &'a self,
        nodes: &'a [NodeName],
        percent: u32,
    ) -> LocalBoxFuture<'a, Result<u32, ProviderError>> {
        Box::pin(self.shares.give(nodes, percent))
    }

    fn take_share<'a>(
        &'a self,
        nodes: &'a [NodeName],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.shares.take_back(nodes))
    }

    fn round_trip<'a>(
        &'a self,
        link: &'a LinkName,
        load: usize,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(self.probe(link, load))
    }

    fn closing<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(self.probe_closing(link))
    }

    fn lifetime<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(self.probe_lifetime(link))
    }
}

/// What a node said last.
fn last_line(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().map_or(String::new(), |line| format!(": {line}"))
}

fn cpu(child: Option<&process::Child>) -> Duration {
    child.and_then(|child| process::usage(child.pid())).map_or(Duration::ZERO, |usage| usage.cpu)
}

fn failed(node: &NodeName, why: &str) -> ProviderError {
    ProviderError { victim: node.to_string(), why: why.to_owned() }
}

fn system(what: &str) -> impl Fn(std::io::Error) -> FleetError + '_ {
    move |why| FleetError::System { what: what.to_owned(), why }
}

/// `count` ports from `base` on, which the scenario asked for.
#[expect(clippy::disallowed_methods, reason = "a look at whether a port is free")]
fn ports_from(base: u16, count: usize) -> Result<Vec<u16>, FleetError> {
    let ports: Vec<u16> = (base..=u16::MAX).take(count).collect();
    if ports.len() < count {
        return Err(FleetError::Port {
            port: base,
            why: format!("{count} ports do not fit above"),
        });
    }
    for &port in &ports {
        std::net::TcpListener::bind(("127.0.0.1", port))
            .map_err(|why| FleetError::Port { port, why: why.to_string() })?;
    }
    Ok(ports)
}

/// Two ports a node: from `base` on where it is given, free ones otherwise.
fn addresses(
    nodes: &[NodeName],
    base: Option<u16>,
) -> Result<BTreeMap<NodeName, Addresses>, FleetError> {
    let count = nodes.len() * 2;
    let ports = match base {
        Some(base) => ports_from(base, count)?,
        None => free_ports(count).map_err(system("free ports"))?,
    };
    let taken: BTreeSet<u16> = ports.iter().copied().collect();
    debug_assert_eq!(taken.len(), count, "every node has ports of its own");
    let at = |port: &u16| format!("127.0.0.1:{port}");
    let pairs = nodes.iter().zip(ports.chunks(2));
    Ok(pairs
        .filter_map(|(node, pair)| {
            let [link, http] = pair else { return None };
            Some((node.clone(), Addresses { link: at(link), http: at(http) }))
        })
        .collect())
}

fn order(
    folder: &Folder,
    words: &[&str],
    log: &str,
    first_line: String,
) -> Result<process::Order, FleetError> {
    Ok(process::Order {
        program: process::own_program().map_err(system("this program's own path"))?,
        args: words.iter().map(Into::into).collect(),
        env: Vec::new(),
        first_line,
        log: folder.file(&format!("{log}.log")),
    })
}
