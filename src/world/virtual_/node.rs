//! Nodes of the virtual world: what lives with a process, what outlives it, and the `World` that is
//! handed to each. A node is marked dead before anything of it is dropped, so that no `Drop` sends.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response};
use tokio::sync::mpsc;

use super::{
    core::{Core, Event, Kind, Sleep},
    disk::{Medium, Torn},
    store::Shelf,
    tasks::Work,
};
use crate::{
    base::{
        name::NodeName,
        time::{Time, Wall},
    },
    world::{
        Env, HttpError, HttpHandler, World,
        broker::{BrokerError, Session},
        link::{DialError, Link, Listener},
        store::{Store, StoreError},
        stream::{StreamError, StreamHandler},
    },
};

/// One process of a node, from its boot to its death.
pub(super) struct Life {
    pub(super) node: u32,
    pub(super) name: NodeName,
    pub(super) incarnation: u32,
    alive: Cell<bool>,
    /// Routes by name, so that the hot path compares one name.
    routes: RefCell<HashMap<NodeName, u32, BuildHasherDefault<Fnv>>>,
}

impl Life {
    pub(super) fn is_alive(&self) -> bool {
        self.alive.get()
    }
}

/// FNV-1a: names are short and nobody attacks a simulation.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Node {
    life: Rc<Life>,
    listener: Option<mpsc::Sender<Link>>,
    handler: Option<HttpHandler>,
    streams: Option<StreamHandler>,
    /// Stores that are open in this life.
    shelves: BTreeMap<String, Rc<Shelf>>,
    /// What outlives the process.
    disk: BTreeMap<String, Medium>,
}

/// All nodes that ever were.
#[derive(Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    by_name: BTreeMap<NodeName, u32>,
}

/// What is left of a dead process, to be dropped once nothing is borrowed.
pub(super) struct Remains {
    shelves: BTreeMap<String, Rc<Shelf>>,
    /// Kept only to be dropped.
    _rest: (Option<mpsc::Sender<Link>>, Option<HttpHandler>, Option<StreamHandler>),
}

impl Nodes {
    pub(super) fn find(&self, name: &NodeName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn life(&self, node: u32) -> &Rc<Life> {
        &self.list[node as usize].life
    }

    pub(super) fn names(&self) -> Vec<NodeName> {
        self.by_name.keys().cloned().collect()
    }

    /// The living process of that name: the one that runs, or a new one.
    fn boot(&mut self, name: &NodeName) -> (Rc<Life>, bool) {
        let fresh = |node, incarnation| {
            let (alive, routes) = (Cell::new(true), RefCell::default());
            Rc::new(Life { node, name: name.clone(), incarnation, alive, routes })
        };
        let Some(node) = self.find(name) else {
            let life = fresh(self.list.len() as u32, 0);
            self.by_name.insert(name.clone(), life.node);
            self.list.push(Node {
                life: Rc::clone(&life),
                listener: None,
                handler: None,
                streams: None,
                shelves: BTreeMap::new(),
                disk: BTreeMap::new(),
            });
            return (life, true);
        };
        let place = &mut self.list[node as usize];
        let again = !place.life.is_alive();
        if again {
            place.life = fresh(node, place.life.incarnation + 1);
        }
        (Rc::clone(&place.life), again)
    }

    /// Takes everything that ends with the process.
    fn bury(&mut self, node: u32) -> Remains {
        let place = &mut self.list[node as usize];
        place.life.alive.set(false);
        place.life.routes.borrow_mut().clear();
        let shelves = std::mem::take(&mut place.shelves);
        let rest = (place.listener.take(), place.handler.take(), place.streams.take());
        Remains { shelves, _rest: rest }
    }

    pub(super) fn shut_down(&mut self) -> Vec<Remains> {
        (0..self.list.len() as u32).map(|node| self.bury(node)).collect()
    }

    /// Who listens there.
    pub(super) fn listener_of(&self, node: u32) -> Option<(Rc<Life>, mpsc::Sender<Link>)> {
        let place = &self.list[node as usize];
        place.listener.clone().map(|listener| (Rc::clone(&place.life), listener))
    }

    /// Who takes streams there.
    pub(super) fn streams_of(&self, node: u32) -> Option<(Rc<Life>, StreamHandler)> {
        let place = &self.list[node as usize];
        // Only who serves HTTP has an address for them.
        let handler = place.streams.clone().filter(|_| place.handler.is_some());
        handler.map(|handler| (Rc::clone(&place.life), handler))
    }

    /// False when it listens already.
    pub(super) fn set_listener(&mut self, node: u32, listener: mpsc::Sender<Link>) -> bool {
        let place = &mut self.list[node as usize].listener;
        let free = place.as_ref().is_none_or(mpsc::Sender::is_closed);
        if free {
            *place = Some(listener);
        }
        free
    }

    /// The incarnation that serves HTTP there.
    pub(super) fn serving(&self, node: u32) -> Option<u32> {
        let place = &self.list[node as usize];
        place.handler.as_ref().map(|_| place.life.incarnation)
    }

    /// The HTTP handler of that incarnation.
    pub(super) fn handler_of(&self, node: u32, incarnation: u32) -> Option<HttpHandler> {
        let place = &self.list[node as usize];
        if place.life.incarnation == incarnation { place.handler.clone() } else { None }
    }

    pub(super) fn medium(&mut self, node: u32, store: &str) -> Medium {
        self.list[node as usize].disk.entry(store.to_owned()).or_default().clone()
    }

    pub(super) fn shelf(&self, node: u32, store: &str) -> Option<Rc<Shelf>> {
        self.list[node as usize].shelves.get(store).cloned()
    }

    /// True while something is on its way to the disk of a node.
    pub(super) fn is_writing(&self, node: u32) -> bool {
        self.list[node as usize].shelves.values().any(|shelf| shelf.is_writing())
    }

    pub(super) fn put_shelf(&mut self, node: u32, store: &str, open: Rc<Shelf>) {
        self.list[node as usize].shelves.insert(store.to_owned(), open);
    }
}

impl Core {
    /// The environment of the living process of that name; boots one if there is none.
    pub(super) fn boot(self: &Rc<Self>, name: &NodeName) -> Env {
        let (life, fresh) = self.nodes.borrow_mut().boot(name);
        if fresh {
            self.note(Kind::Boot, life.node);
        }
        let world = Rc::new(NodeWorld { core: Rc::clone(self), life: Rc::clone(&life) });
        if life.incarnation == 0 {
            return Env::new(name.clone(), &self.rng, world);
        }
        // A process that comes back must not draw what the one before it drew.
        let rng = self.rng.fork(&format!("incarnation/{}", life.incarnation));
        Env::new(name.clone(), &rng, world)
    }

    /// Kills the process of that name; false when there is none.
    pub(super) fn kill(self: &Rc<Self>, name: &NodeName) -> bool {
        self.end(name, |core, store, incarnation, shelf| {
            shelf.crash(&mut core.rng.fork(&format!("crash/{name}/{store}/{incarnation}")));
        })
    }

    /// The same, and the last unsynced write of each of its stores is there by half.
    pub(super) fn tear(self: &Rc<Self>, name: &NodeName) -> Vec<Torn> {
        let mut torn = Vec::new();
        self.end(name, |_, _, _, shelf| torn.extend(shelf.tear()));
        torn
    }

    /// Ends a process as `crash` ends its stores.
    fn end(
        self: &Rc<Self>,
        name: &NodeName,
        mut crash: impl FnMut(&Self, &str, u32, &Shelf),
    ) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.find(name).filter(|&node| nodes.life(node).is_alive()) else {
            return false;
        };
        let incarnation = nodes.life(node).incarnation;
        // First dead, then severed, then dropped.
        let remains = nodes.bury(node);
        drop(nodes);
        self.note(Kind::Kill, node);
        self.sever_links(node);
        self.sever_exchanges(node, incarnation);
        for (store, shelf) in &remains.shelves {
            crash(self, store, incarnation, shelf);
        }
        let tasks = self.tasks.borrow_mut().kill(node);
        drop(tasks);
        drop(remains);
        // What waited for one that stood still finds nobody.
        self.resume(node);
        true
    }

    /// Lets a node stand still: none of its tasks goes on, and what arrives there waits.
    pub(super) fn pause(&self, node: u32) {
        self.note(Kind::Fault, node);
        self.tasks.borrow_mut().pause(node);
        self.network.borrow_mut().pause(node);
    }

    /// Lets a node go on that stands still.
    pub(super) fn resume(&self, node: u32) {
        self.tasks.borrow_mut().resume(node);
        let waiting = self.network.borrow_mut().resume(node);
        for (way, parcel) in waiting {
            self.plan(self.now_ns(), Event::Arrive(way, parcel));
        }
    }

    /// What the wall clock of every machine shows.
    fn wall(&self) -> Wall {
        Wall(self.settings.epoch_ms + self.now_ns() / 1_000_000)
    }

    /// The route from a living process to a name; `None` when nobody was ever called that.
    pub(super) fn route_to(&self, life: &Life, to: &NodeName) -> Option<u32> {
        if let Some(&route) = life.routes.borrow().get(to) {
            return Some(route);
        }
        let node = self.nodes.borrow().find(to)?;
        let ends = ((life.node, &life.name), (node, to));
        let route = self.network.borrow_mut().route(ends.0, ends.1);
        life.routes.borrow_mut().insert(to.clone(), route);
        Some(route)
    }
}

/// The world as one process sees it.
#[derive(Clone)]
struct NodeWorld {
    core: Rc<Core>,
    life: Rc<Life>,
}

impl World for NodeWorld {
    fn now(&self) -> Time {
        self.core.now()
    }

    fn wall(&self) -> Wall {
        self.core.wall()
    }

    fn sleep_until(&self, at: Time) -> LocalBoxFuture<'static, ()> {
        Box::pin(Sleep::new(Rc::clone(&self.core), at))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        if self.life.is_alive() {
            self.core.spawn(self.life.node, Work::Plain(task));
        }
    }

    fn dial(&self, to: &NodeName) -> LocalBoxFuture<'static, Result<Link, DialError>> {
        self.core.dial(&self.life, to)
    }

    fn listen(&self) -> LocalBoxFuture<'static, Result<Listener, DialError>> {
        Box::pin(std::future::ready(self.core.listen(&self.life)))
    }

    fn serve_http(&self, handler: HttpHandler) -> LocalBoxFuture<'static, Result<(), DialError>> {
        let node = self.life.node;
        let refused = |why: &str| {
            let address = self.life.name.to_string();
            Err(DialError::CannotListen { address, why: why.into() })
        };
        let mut nodes = self.core.nodes.borrow_mut();
        let outcome = if !self.life.is_alive() {
            refused("this node is dead")
        } else if nodes.list[node as usize].handler.is_some() {
            refused("this node serves already")
        } else {
            nodes.list[node as usize].handler = Some(handler);
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }

    fn http(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        self.core.http(&self.life, to, request)
    }

    fn serve_streams(&self, handler: StreamHandler) -> Result<(), DialError> {
        let mut nodes = self.core.nodes.borrow_mut();
        let place = &mut nodes.list[self.life.node as usize].streams;
        if self.life.is_alive() && place.is_none() {
            *place = Some(handler);
            return Ok(());
        }
        let (address, why) = (self.life.name.to_string(), "this node serves already".to_owned());
        Err(DialError::CannotListen { address, why })
    }

    fn stream(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Link, StreamError>> {
        self.core.stream(&self.life, to, request)
    }

    fn store(&self, name: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        self.core.open_store(&self.life, name)
    }

    fn broker(
        &self,
        to: &NodeName,
    ) -> LocalBoxFuture<'static, Result<Rc<dyn Session>, BrokerError>> {
        let env = Env::new(self.life.name.clone(), &self.core.rng, Rc::new(self.clone()));
        super::broker::open(env, to)
    }

    fn datagram(&self, to: &NodeName, bytes: &[u8]) -> bool {
        self.life.is_alive() && self.core.datagram(to, bytes)
    }
}
