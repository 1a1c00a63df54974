//! The embedded backend in the virtual world: nodes without processes, on links without sockets. The
//! nodes run the very code of the real ones.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;

use super::{
    costs::Costs, facts, health, meddle, plan::RunPlan, services, shares::Shares, signals::Stops,
    stage::Stage, supervisor::Supervisor,
};
use crate::{
    backend::{
        boot::NodeConfig,
        layout::BROKER,
        node::{client, serve},
        plants::SKIP_SYNC,
        platform::{bus::FEDERATED, rpc::Rpc},
    },
    base::{name::NodeName, time::Wall},
    chaos::provider::{
        Health, LinkName, Meddled, Meddling, Provider, ProviderError, ROBOTS, Toxic, Way,
    },
    city::City,
    history::services::ServiceMap,
    world::{
        Env,
        virtual_::{Direction, LinkFault, MILLION, Settings, Sim, Torn, broker},
    },
};

/// Between two looks at a node that is not healthy yet, and at the signals.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Between two looks whether a node writes: a sync takes longer.
const LOOK_FOR_SYNC_EVERY: Duration = Duration::from_micros(250);
/// A progress line no more often than that, on the clock of the person who watches.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The backend's virtual nodes.
pub struct VirtualFleet {
    plan: RunPlan,
    city: Rc<City>,
    nodes: Vec<NodeName>,
    sim: Sim,
    operator: Env,
    rpc: Rpc,
    shares: Shares,
    starts: RefCell<BTreeMap<NodeName, u32>>,
    /// Nodes that are down because a fault wants it.
    killed: RefCell<BTreeSet<NodeName>>,
    /// Nodes that ended by themselves; what remains of them is cleared away before the next start.
    ended: Rc<RefCell<BTreeSet<NodeName>>>,
    supervisor: RefCell<Supervisor>,
    /// Signals of people, heard by a thread outside of the world.
    signals: Arc<Stops>,
    last_line: Cell<Instant>,
    traced: Cell<bool>,
}

impl VirtualFleet {
    /// A world of the plan's seed; nothing lives in it yet.
    #[expect(clippy::disallowed_methods, reason = "progress lines are for a person's clock")]
    pub fn new(plan: &RunPlan, city: &Rc<City>, signals: Arc<Stops>) -> Self {
        let mut settings = Settings::default();
        settings.disk.skip_sync = plan.plants.iter().any(|bug| bug == SKIP_SYNC);
        let sim = Sim::with_settings(&plan.seed, settings);
        let operator = sim.node(&NodeName::from("operator"));
        let nodes = plan.nodes(&city.azs);
        let rpc = client(operator.clone(), nodes.clone());
        Self {
            plan: plan.clone(),
            city: Rc::clone(city),
            shares: Shares::new(&rpc, facts::versions(plan, &nodes)),
            rpc,
            nodes,
            sim,
            operator,
            starts: RefCell::default(),
            killed: RefCell::default(),
            ended: Rc::default(),
            supervisor: RefCell::default(),
            signals,
            last_line: Cell::new(Instant::now()),
            traced: Cell::default(),
        }
    }

    /// Somebody collects what the nodes trace, or nobody does.
    pub fn set_traced(&self, traced: bool) {
        self.traced.set(traced);
    }

    /// The world itself, for whoever drives it.
    pub fn sim(&self) -> Sim {
        self.sim.clone()
    }

    fn boot(&self, node: &NodeName) {
        let incarnation = {
            let mut starts = self.starts.borrow_mut();
            let count = starts.entry(node.clone()).or_default();
            *count += 1;
            *count - 1
        };
        self.killed.borrow_mut().remove(node);
        self.ended.borrow_mut().remove(node);
        if node.role() == BROKER {
            let others = self.nodes.iter().filter(|other| other.role() == BROKER && *other != node);
            let env = self.sim.node(node);
            env.spawn(broker::serve(env.clone(), others.cloned().collect(), FEDERATED));
            return;
        }
        let config = NodeConfig {
            traced: self.traced.get(),
            ..facts::node_config(&self.plan, &self.city, &self.nodes, node, incarnation)
        };
        let env = self.sim.node(node);
        let (ended, name) = (Rc::clone(&self.ended), node.clone());
        let serving = serve(env.clone(), config);
        env.spawn(async move {
            serving.await;
            ended.borrow_mut().insert(name);
        });
    }

    async fn look(&self, node: &NodeName) -> Health {
        if node.role() == BROKER {
            return health::look_at_broker(&self.operator, node, health::DIRECT).await;
        }
        health::look(&self.rpc, node, health::DIRECT).await
    }

    async fn await_healthy(&self, node: &NodeName) -> Result<(), String> {
        let until = self.operator.now() + self.plan.scenario.backend.healthy_within.0;
        loop {
            match self.look(node).await {
                Health::Up => return Ok(()),
                Health::Down(why) if self.operator.now() >= until => {
                    return Err(format!("{node} is not healthy: {why}"));
                }
                Health::Down(_) => self.operator.sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn revive(&self, node: &NodeName) -> Result<String, ProviderError> {
        let begun = self.operator.now();
        if self.ended.borrow().contains(node) {
            self.sim.kill(node);
        }
        if !self.sim.resume(node) {
            self.boot(node);
        }
        self.await_healthy(node)
            .await
            .map_err(|why| ProviderError { victim: node.to_string(), why })?;
        let took = (self.operator.now() - begun).as_secs_f64();
        Ok(format!("healthy {took:.2} s after its start"))
    }
}

impl Stage for VirtualFleet {
    fn operator(&self) -> Env {
        self.operator.clone()
    }

    fn robots(&self) -> Env {
        self.sim.node(&NodeName::from(ROBOTS))
    }

    fn provider(self: Rc<Self>) -> Rc<dyn Provider> {
        self
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            for node in &self.nodes {
                self.boot(node);
            }
            for node in &self.nodes {
                self.await_healthy(node).await?;
            }
            Ok(())
        })
    }

    fn stop(&self) -> LocalBoxFuture<'_, ()> {
        for node in &self.nodes {
            self.sim.kill(node);
        }
        Box::pin(std::future::ready(()))
    }

    /// A virtual world's costs are the machine's, not the run's: they would differ on every run.
    fn costs(&self) -> Option<Costs> {
        None
    }

    fn look_after(&self) -> LocalBoxFuture<'_, ()> {
        let now = self.operator.now();
        let ended: Vec<NodeName> = self.ended.borrow().iter().cloned().collect();
        for node in ended {
            let killed = self.killed.borrow().contains(&node);
            if !killed && self.supervisor.borrow_mut().is_due(&node, now) {
                self.sim.kill(&node);
                self.boot(&node);
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn services(&self) -> LocalBoxFuture<'_, ServiceMap> {
        Box::pin(async { services::map(&services::reports(&self.rpc, &self.nodes).await) })
    }

    fn lost(&self) -> Vec<NodeName> {
        let killed = self.killed.borrow();
        let ended = self.ended.borrow();
        let gone = |node: &&NodeName| {
            ended.contains(*node) || !self.sim.is_alive(node) && !killed.contains(*node)
        };
        self.nodes.iter().filter(gone).cloned().collect()
    }

    fn signal(&self, count: usize) -> LocalBoxFuture<'_, &'static str> {
        Box::pin(async move {
            loop {
                match self.signals.word() {
                    Some(word) if self.signals.count() >= count => return word,
                    _ => self.operator.sleep(Duration::from_secs(1)).await,
                }
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "progress lines are for a person's clock")]
    fn wants_line(&self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(self.last_line.get()) >= LINE_EVERY;
        if due {
            self.last_line.set(now);
        }
        due
    }
}

impl Provider for VirtualFleet {
    fn nodes(&self) -> Vec<NodeName> {
        self.nodes.clone()
    }

    fn links(&self) -> Vec<LinkName> {
        super::plan::links(&self.nodes)
    }

    fn kill<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        let killed = self.sim.kill(node);
        self.killed.borrow_mut().insert(node.clone());
        self.ended.borrow_mut().remove(node);
        Box::pin(async move {
            if killed {
                return Ok("its tasks and memory are gone".to_owned());
            }
            Err(ProviderError { victim: node.to_string(), why: "it does not live".into() })
        })
    }

    fn tear<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let wrong = |why: &str| ProviderError { victim: node.to_string(), why: why.to_owned() };
            if !self.sim.is_alive(node) {
                return Err(wrong("it does not live"));
            }
            while !self.sim.is_writing(node) {
                self.operator.sleep(LOOK_FOR_SYNC_EVERY).await;
            }
            let torn = self.sim.tear(node);
            self.killed.borrow_mut().insert(node.clone());
            self.ended.borrow_mut().remove(node);
            let tell = |torn: &Torn| {
                let Torn { of, bytes, kept, .. } = torn;
                format!("{kept} bytes of one of {bytes} are on the disk, of {of} unsynced writes")
            };
            let nothing = "none of its unsynced writes was large enough to be torn";
            torn.first().map(tell).ok_or_else(|| wrong(nothing))
        })
    }

    /// A node of the backend has no last words in either world.
    fn terminate<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        self.kill(node)
    }

    fn pause<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        let paused = self.sim.pause(node);
        Box::pin(async move {
            if paused {
                return Ok("its tasks stand still".to_owned());
            }
            Err(ProviderError { victim: node.to_string(), why: "it does not live".into() })
        })
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
        Box::pin(async { Ok(self.look(node).await) })
    }

    fn wall<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<Wall, ProviderError>> {
        Box::pin(async {
            let shown = health::wall(&self.rpc, node, health::DIRECT).await;
            shown.map_err(|why| ProviderError { victim: node.to_string(), why })
        })
    }

    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        let [there, back] = faults_of(toxics);
        let set = |way, fault| self.sim.impair_way(&link.from, &link.to, way, fault);
        let known = set(Direction::There, there) && set(Direction::Back, back);
        Box::pin(async move {
            let why = "one of its ends never lived".to_owned();
            if known { Ok(()) } else { Err(ProviderError { victim: link.to_string(), why }) }
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
        let trip = self.sim.round_trip_of(&link.from, &link.to, load);
        Box::pin(async move {
            trip.await
                .map_err(|why| ProviderError { victim: link.to_string(), why: why.to_string() })
        })
    }
}

/// All that is wrong with a link, in the virtual network's words: there, and back.
fn faults_of(toxics: &[Toxic]) -> [LinkFault; 2] {
    let mut faults = [LinkFault::NONE; 2];
    for toxic in toxics {
        match toxic {
            Toxic::Partly { way, toxicity, of } => {
                // What is drawn for is one thing here: a link is a connection, an exchange a request.
                let share = toxicity.map_or(0.0, |toxicity| toxicity.share * f64::from(MILLION));
                let only = way.map(|way| usize::from(way == Way::Downstream));
                for (place, fault) in faults_of(of).into_iter().enumerate() {
                    if only.is_none_or(|only| only == place) {
                        faults[place] = LinkFault { share: share as u32, ..fault };
                    }
                }
            }
            whole => {
                for fault in &mut faults {
                    add(fault, whole);
                }
            }
        }
    }
    faults
}

fn add(fault: &mut LinkFault, toxic: &Toxic) {
    match *toxic {
        Toxic::Latency { latency_ms, jitter_ms, around } => {
            fault.latency += Duration::from_millis(latency_ms);
            fault.jitter += Duration::from_millis(jitter_ms);
            fault.around = around;
        }
        Toxic::Bandwidth { rate, each: false } => fault.rate = rate,
        Toxic::Bandwidth { rate, each: true } => fault.rate_each = rate,
        Toxic::Loss { share, again_ms } => {
            fault.lost = (share * f64::from(MILLION)) as u32;
            fault.again = Duration::from_millis(again_ms);
        }
        Toxic::BlackHole => fault.stalled = true,
        Toxic::Timeout { .. } => (fault.stalled, fault.swallows) = (true, true),
        Toxic::Reset { .. } => fault.reset = true,
        // They have no meaning here, and a plan with them is refused; parts were taken apart.
        Toxic::SlowClose { .. }
        | Toxic::Slicer { .. }
        | Toxic::LimitData { .. }
        | Toxic::Names { .. }
        | Toxic::Partly { .. } => {}
    }
}
