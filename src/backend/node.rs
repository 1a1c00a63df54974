//! One node of the backend: builds what its role needs, listens, registers, serves. The same in
//! both worlds: all it has is its [`Env`].

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use http::{Method, Request, Response, StatusCode};

use super::{
    api,
    boot::NodeConfig,
    core, orchestration,
    platform::{
        directory::{Directory, Instance},
        discovery::{Registrar, Replica},
        ids::Ids,
        rpc::{Router, Rpc},
        server::Server,
        token::Verifier,
    },
    storage::{self, kv::Kv},
    wire::platform as wire,
};
use crate::{
    base::name::NodeName,
    world::{Env, HttpHandler, link::DialError, store::StoreError},
};

/// The path of the health check that every node serves.
pub const HEALTH: &str = "/platform/health/check";
/// How often a node that is not ready looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    /// Verifies session tokens.
    pub verifier: Rc<Verifier>,
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
    /// Nothing is known of its role.
    #[error("{0}: no node plays the role `{role}`: it must be one of api, orchestration, core, storage", role = .0.role())]
    Role(NodeName),
}

impl Node {
    fn new(env: Env, config: NodeConfig) -> Self {
        let directory = Directory::new(env.name(), &mut env.rng("directory"));
        let rpc = Rpc::new(&env, &directory);
        Self {
            ids: Rc::new(Ids::new(config.machine, config.incarnation)),
            kv: Kv::new(&rpc),
            verifier: Rc::new(Verifier::of_seed(&config.seed)),
            config: Rc::new(config),
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
        self.config.plants.iter().any(|plant| plant == bug)
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
        wire::Health { ready, why: why.to_owned(), incarnation, wall_ms: self.env.wall().0 }
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
    let replica = mount(&node, &mut router).await?;
    let own = Instance {
        name: name.clone(),
        incarnation: node.config.incarnation,
        services: router.services(),
    };
    let server = Server::new(&node.env, router, &node.ready);
    let listener = node.env.listen().await.map_err(|why| NodeError::Listen(name.clone(), why))?;
    if name.role() == "api" {
        let handler = with_health(&node, api::handler(&node));
        node.env.serve_http(handler).await.map_err(|why| NodeError::Listen(name, why))?;
    }
    let registrar = Registrar::new(&node.env, &node.rpc, &node.directory, own);
    registrar.start(&replicas(&node.config.nodes), replica.as_ref());
    node.env.spawn(become_ready(node.clone(), registrar));
    server.run(listener).await;
    Ok(())
}

/// Adds what the node's role serves; a core node's replica of discovery is handed back.
async fn mount(node: &Node, router: &mut Router) -> Result<Option<Replica>, NodeError> {
    let this = node.clone();
    router.on_sync(HEALTH, move |_: wire::HealthAsk| Ok(this.health()));
    match node.env.name().role() {
        "api" => api::mount(node, router),
        "orchestration" => orchestration::mount(node, router),
        "core" => {
            let replica = Replica::new(node.env.now(), node.config.incarnation);
            replica.mount(&node.env, router);
            core::mount(node, router);
            return Ok(Some(replica));
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
        // Any answer will do: the row need not be there.
        while node.kv.get("platform/ready").await.is_err() {
            node.env.sleep(LOOK_EVERY).await;
        }
    }
    while !registrar.registered() || node.holds.get() > 0 {
        node.env.sleep(LOOK_EVERY).await;
    }
    node.ready.set(true);
}

/// The nodes that hold discovery.
fn replicas(nodes: &[NodeName]) -> Vec<NodeName> {
    nodes.iter().filter(|name| name.role() == "core").cloned().collect()
}

/// Answers GET /health itself, and hands everything else on.
fn with_health(node: &Node, inner: HttpHandler) -> HttpHandler {
    let node = node.clone();
    Rc::new(move |request: Request<Bytes>| -> LocalBoxFuture<'static, Response<Bytes>> {
        if request.method() == Method::GET && request.uri().path() == "/health" {
            return Box::pin(ready(health_answer(&node.health())));
        }
        inner(request)
    })
}

fn health_answer(health: &wire::Health) -> Response<Bytes> {
    let body = format!("{{\"ready\":{},\"why\":\"{}\"}}", health.ready, health.why);
    let mut answer = Response::new(Bytes::from(body));
    if !health.ready {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    answer
}

/// An operator's way in: can call any of `nodes` by name, and does not register itself.
#[expect(clippy::needless_pass_by_value, reason = "whoever makes a client gives its Env away")]
pub fn client(env: Env, nodes: Vec<NodeName>) -> Rpc {
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    let services = vec!["platform/health".to_owned()];
    directory.replace(nodes.into_iter().map(|name| Instance {
        name,
        incarnation: 0,
        services: services.clone(),
    }));
    Rpc::new(&env, &directory)
}
