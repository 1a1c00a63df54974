//! One node of the backend: builds what its role needs, listens, registers, serves. The same in
//! both worlds: all it has is its [`Env`].

use std::{cell::Cell, pin::pin, rc::Rc, time::Duration};

use futures_util::future::{Either, select};

use super::{
    api,
    boot::NodeConfig,
    core, orchestration, plants,
    platform::{
        bus::Bus,
        config::{self, Live},
        directory::{Directory, Instance},
        discovery::{Registrar, Replica},
        ids::Ids,
        meddler::Meddler,
        monitor::Monitor,
        page::with_health,
        phosphor::Phosphor,
        rpc::{Router, Rpc},
        server::Server,
        token::Verifier,
        watch::Watch,
    },
    storage::{self, kv::Kv},
    wire::platform as wire,
};
use crate::{
    base::name::NodeName,
    world::{Env, link::DialError, store::StoreError},
};

/// The path of the health check that every node serves.
pub const HEALTH: &str = "/platform/health/check";
/// How often a node that is not ready looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two tries to get a config that is known to be there.
const RELOAD_EVERY: Duration = Duration::from_millis(250);

/// What the services of a node are handed: a cheap handle.
#[derive(Clone)]
pub struct Node {
    /// Time, timers, tasks and random streams.
    pub env: Env,
    /// What the node was told when it started.
    pub config: Rc<NodeConfig>,
    /// Calls to other nodes.
    pub rpc: Rpc,
    /// Unique ids.
    pub ids: Rc<Ids>,
    /// The rows of all core services.
    pub kv: Kv,
    /// Who serves what.
    pub directory: Directory,
    /// The config as it stands.
    pub live: Live,
    /// What a fault plan may have it do to messages and to its disk.
    pub meddler: Meddler,
    /// Verifies session tokens.
    pub verifier: Rc<Verifier>,
    /// What it talks over, where the backend has brokers.
    bus: Option<Bus>,
    holds: Rc<Cell<u32>>,
    ready: Rc<Cell<bool>>,
}

/// Keeps a node from being ready for as long as it lives: for a service that must load its state
/// before it answers.
pub struct Hold(Rc<Cell<u32>>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its address cannot be taken.
    #[error("{0}: {1}")]
    Listen(NodeName, DialError),
    /// Its store cannot be opened.
    #[error("{0}: {1}")]
    Store(NodeName, StoreError),
    /// No replica of discovery hears it any more.
    #[error("{0}: no replica of discovery answers: ending, to be started again")]
    Unheard(NodeName),
    /// Nothing is known of its role.
    #[error("{0}: no node plays the role `{role}`: it must be one of api, orchestration, core, storage", role = .0.role())]
    Role(NodeName),
}

impl Node {
    fn new(env: Env, config: NodeConfig) -> Self {
        let directory = Directory::new(env.name(), &mut env.rng("directory"));
        let bus = Bus::of(&env, &directory, &config.nodes, config.incarnation);
        let phosphor = match &config {
            NodeConfig { traced: true, nodes, machine, incarnation, .. } => {
                Phosphor::start(&env, nodes, *machine, *incarnation)
            }
            _ => Phosphor::default(),
        };
        let rpc = Rpc::with(&env, &directory, bus.clone(), phosphor);
        rpc.plant(&config.plants);
        let meddler = Meddler::new(&env);
        rpc.misled_by(&meddler);
        let ids = if plants::is_on(&config.plants, plants::ID_REPEATS) {
            Ids::forgetful(config.machine)
        } else {
            Ids::new(config.machine, config.incarnation)
        };
        let config = Rc::new(config);
        Self {
            live: Live::new(&config, &directory),
            meddler,
            bus,
            ids: Rc::new(ids),
            kv: Kv::new(&rpc),
            verifier: Rc::new(
                Verifier::of_seed(&config.seed)
                    .endless(plants::is_on(&config.plants, plants::TOKEN_NEVER_EXPIRES)),
            ),
            config,
            env,
            rpc,
            directory,
            holds: Rc::default(),
            ready: Rc::default(),
        }
    }

    /// A new unique id.
    pub fn next_id(&self) -> u64 {
        self.ids.next(self.env.wall())
    }

    /// True when the planted bug of that name is switched on.
    pub fn planted(&self, bug: &str) -> bool {
        plants::is_on(&self.config.plants, bug)
    }

    /// Keeps the node from being ready until the hold is dropped.
    pub fn hold(&self) -> Hold {
        self.holds.set(self.holds.get() + 1);
        Hold(Rc::clone(&self.holds))
    }

    /// True once the node serves.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    fn health(&self) -> wire::Health {
        let ready = self.ready.get();
        let why = if ready { "" } else { "still starting" };
        let incarnation = self.config.incarnation;
        wire::Health {
            ready,
            why: why.to_owned(),
            incarnation,
            wall_ms: self.env.wall().0,
            name: self.env.name().to_string(),
            version: self.config.version,
        }
    }
}

/// Runs a node until it ends, which it does only when it cannot start; the reason goes to stderr,
/// the node's log.
pub async fn serve(env: Env, config: NodeConfig) {
    if let Err(error) = run(env, config).await {
        eprintln!("{error}");
    }
}

/// Runs a node until its listener ends.
pub async fn run(env: Env, config: NodeConfig) -> Result<(), NodeError> {
    let node = Node::new(env, config);
    let name = node.env.name().clone();
    let mut router = Router::default();
    router.phosphor = node.rpc.phosphor().clone();
    router.meddler = Some(node.meddler.clone());
    let (replica, monitor) = mount(&node, &mut router).await?.unzip();
    let own = Instance {
        incarnation: node.config.incarnation,
        version: node.config.version,
        ..Instance::new(name.clone(), router.services())
    };
    let server = Server::new(&node.env, router, &node.ready, node.rpc.meter());
    if let Some(bus) = &node.bus {
        bus.serve(&server, own.services.clone());
    }
    let listener = node.env.listen().await.map_err(|why| NodeError::Listen(name.clone(), why))?;
    let watch = Watch::new(&node, &server, &own, monitor);
    let inner = (name.role() == "api").then(|| api::handler(&node, &server));
    let listens = node.env.serve_http(with_health(&watch, inner)).await;
    listens.map_err(|why| NodeError::Listen(name.clone(), why))?;
    let live = Some(node.live.clone());
    let meddler = Some(node.meddler.clone());
    let registrar = Registrar::telling(&node.env, &node.rpc, &node.directory, own, live, meddler);
    registrar.start(&replicas(&node.config.nodes), replica.as_ref());
    node.env.spawn(become_ready(node.clone(), registrar.clone()));
    node.env.spawn(keep_config(node.clone()));
    node.env.spawn(watch.run());
    match select(pin!(server.run(listener)), pin!(registrar.unheard())).await {
        Either::Left(_) => Ok(()),
        Either::Right(_) => Err(NodeError::Unheard(name)),
    }
}

/// Adds what the node's role serves; a core node's replica of discovery and its monitor
/// are handed back.
async fn mount(node: &Node, router: &mut Router) -> Result<Option<(Replica, Monitor)>, NodeError> {
    let this = node.clone();
    router.on_sync(HEALTH, move |_: wire::HealthAsk| Ok(this.health()));
    match node.env.name().role() {
        "api" => api::mount(node, router)
            .map_err(|why| NodeError::Listen(node.env.name().clone(), why))?,
        "orchestration" => orchestration::mount(node, router),
        "core" => {
            let replica = Replica::new(node.env.now(), node.config.incarnation);
            let replica = replica.telling(node.live.version());
            replica.mount(&node.env, router);
            let monitor = Monitor::default();
            monitor.mount(&node.env, router);
            core::mount(node, router);
            return Ok(Some((replica, monitor)));
        }
        "storage" => {
            let served = storage::serve(node, router).await;
            served.map_err(|why| NodeError::Store(node.env.name().clone(), why))?;
        }
        _ => return Err(NodeError::Role(node.env.name().clone())),
    }
    Ok(None)
}

/// A node is ready when discovery knows it, nothing holds it, and, in core, storage has answered.
async fn become_ready(node: Node, registrar: Registrar) {
    if node.env.name().role() == "core" {
        // Any answer will do: nothing need have been set.
        while core::config::load(&node).await.is_err() {
            node.env.sleep(LOOK_EVERY).await;
        }
    }
    // The config is kept in the storage, so whoever holds that must not wait for it: after the death of all
    // of them each would wait for the others.
    let configured = || node.env.name().role() == "storage" || node.live.is_current();
    while !registrar.registered() || node.holds.get() > 0 || !configured() {
        node.env.sleep(LOOK_EVERY).await;
    }
    node.ready.set(true);
}

/// Applies every version of the config that discovery tells of, for ever.
async fn keep_config(node: Node) {
    loop {
        node.live.outdated().await;
        let done = if node.env.name().role() == "core" {
            core::config::load(&node).await
        } else {
            config::fetch(&node.env, &node.rpc, &node.live).await
        };
        if done.is_err() || !node.live.is_current() {
            node.env.sleep(RELOAD_EVERY).await;
        }
    }
}

/// The nodes that hold discovery.
fn replicas(nodes: &[NodeName]) -> Vec<NodeName> {
    nodes.iter().filter(|name| name.role() == "core").cloned().collect()
}

/// An operator's way in: can call any of `nodes` by name, and does not register itself.
#[expect(clippy::needless_pass_by_value, reason = "whoever makes a client gives its Env away")]
pub fn client(env: Env, nodes: Vec<NodeName>) -> Rpc {
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    let services = vec!["platform/health".to_owned()];
    directory.replace(nodes.into_iter().map(|name| Instance::new(name, services.clone())));
    Rpc::new(&env, &directory)
}
