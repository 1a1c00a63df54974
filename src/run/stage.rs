//! What a run needs of the world that it is played in. Implemented by the fleet of processes and by
//! the fleet of virtual nodes.

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc};

use futures_util::future::LocalBoxFuture;

use super::costs::Costs;
use crate::{
    base::name::NodeName, chaos::provider::Provider, history::services::ServiceMap, world::Env,
};

/// A world with the embedded backend in it.
pub trait Stage {
    /// An environment for the run itself: time and timers.
    fn operator(&self) -> Env;

    /// The environment of the robots; asked for once, when the backend is up.
    fn robots(&self) -> Env;

    /// How faults reach their victims.
    fn provider(self: Rc<Self>) -> Rc<dyn Provider>;

    /// Where robots are to go instead of where the target's file says, once the backend is up:
    /// `host:port` to address.
    fn detours(&self) -> BTreeMap<String, SocketAddr> {
        BTreeMap::new()
    }

    /// Starts the backend; resolves when it is healthy. The text says what is wrong.
    fn start(&self) -> LocalBoxFuture<'_, Result<(), String>>;

    /// Stops everything that was started.
    fn stop(&self) -> LocalBoxFuture<'_, ()>;

    /// What was spent so far; `None` in a world where that is not the target's doing.
    fn costs(&self) -> Option<Costs>;

    /// The backend's services as they are now, where somebody watches them.
    fn services(&self) -> LocalBoxFuture<'_, ServiceMap> {
        Box::pin(std::future::ready(ServiceMap::default()))
    }

    /// Starts again what ended by itself, as far as that is allowed. Called once a second.
    fn look_after(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Nodes that ended without having been told to.
    fn lost(&self) -> Vec<NodeName>;

    /// Waits until `count` signals came in all; the last of them, `INT` or `TERM`.
    fn signal(&self, count: usize) -> LocalBoxFuture<'_, &'static str>;

    /// True when a person wants to see another progress line.
    fn wants_line(&self) -> bool;
}
