//! The virtual world: no sockets, no threads, no wall clock. One seed, one history.
//!
//! [`Sim`] holds a whole city of nodes on one thread. Tasks run in the order in which they were
//! woken, events happen in strict (time, sequence) order, every delay is drawn from a stream that
//! is named after what it delays, and nothing here asks the machine for anything. What runs above
//! the seam is the same code as in the real world; this room must not know any of it.

pub mod broker;
mod core;
mod datagram;
mod disk;
mod exchange;
mod link;
mod network;
mod node;
mod settings;
mod sparse;
#[cfg(test)]
mod still_tests;
mod store;
mod stream;
mod tasks;
#[cfg(test)]
mod tests;

use std::{
    future::Future, pin::pin, rc::Rc, sync::Arc, task::Context, task::Waker, time::Duration,
};

use tokio::sync::oneshot;

pub use self::{
    core::Stuck,
    disk::Torn,
    network::{Direction, LinkFault, MILLION},
    settings::{DiskSettings, NetworkSettings, Settings, Span},
};
use self::{
    core::{Core, Sleep},
    network::{BACK, Parcel, THERE, met_way_of},
    tasks::{Bell, ROOT},
};
use super::Env;
use crate::base::{name::NodeName, time::Time};

/// A virtual world. A cheap handle: clone it freely; the world ends with the last one, or when
/// [`Sim::close`] is called: a task of the world that holds a handle keeps it from ending by itself.
#[derive(Clone)]
pub struct Sim(Rc<Handle>);

/// Why a round trip cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTrip {
    /// Nobody was ever called that.
    #[error("one of its ends never lived")]
    Unknown,
    /// The route resets what comes over it.
    #[error("connection reset")]
    Reset,
}

struct Handle(Rc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl Sim {
    /// A world with the usual settings. The seed may be a number or any text.
    pub fn new(seed: &str) -> Self {
        Self::with_settings(seed, Settings::default())
    }

    /// A world with other settings.
    pub fn with_settings(seed: &str, settings: Settings) -> Self {
        Self(Rc::new(Handle(Rc::new(Core::new(seed, settings)))))
    }

    fn core(&self) -> &Rc<Core> {
        &self.0.0
    }

    /// The environment of the node of that name, which is booted unless it lives. One that comes back
    /// after a kill has the same name and disk, and no memory.
    pub fn node(&self, name: &NodeName) -> Env {
        self.core().boot(name)
    }

    /// Kills a node at once: its tasks, memory, links and unsynced writes are gone. False when it
    /// does not live.
    pub fn kill(&self, name: &NodeName) -> bool {
        self.core().kill(name)
    }

    /// The same, and the last unsynced write of each of its stores is there by half: which were torn.
    pub fn tear(&self, name: &NodeName) -> Vec<Torn> {
        self.core().tear(name)
    }

    /// True while a sync of a living node is under way: something of it can be torn.
    pub fn is_writing(&self, name: &NodeName) -> bool {
        self.living(name).is_some_and(|node| self.core().nodes.borrow().is_writing(node))
    }

    /// Lets a node stand still: it lives, its connections stay open, and what others send to it
    /// waits until [`Sim::resume`]; its clock goes on. False when it does not live.
    pub fn pause(&self, name: &NodeName) -> bool {
        let living = self.living(name);
        if let Some(node) = living {
            self.core().pause(node);
        }
        living.is_some()
    }

    /// Lets a node go on that stands still; one that does not is left alone. False when it does not
    /// live.
    pub fn resume(&self, name: &NodeName) -> bool {
        let living = self.living(name);
        if let Some(node) = living {
            self.core().resume(node);
        }
        living.is_some()
    }

    fn living(&self, name: &NodeName) -> Option<u32> {
        let nodes = self.core().nodes.borrow();
        nodes.find(name).filter(|&node| nodes.life(node).is_alive())
    }

    /// Whether a node of that name lives.
    pub fn is_alive(&self, name: &NodeName) -> bool {
        self.living(name).is_some()
    }

    /// The names of all nodes that ever lived, in order.
    pub fn names(&self) -> Vec<NodeName> {
        self.core().nodes.borrow().names()
    }

    /// Virtual time since the origin of the run.
    pub fn now(&self) -> Time {
        self.core().now()
    }

    /// Ends at `at`. For whoever conducts the world from outside its nodes.
    pub fn sleep_until(&self, at: Time) -> impl Future<Output = ()> + 'static {
        Sleep::new(Rc::clone(self.core()), at)
    }

    /// Ends after `span`.
    pub fn sleep(&self, span: Duration) -> impl Future<Output = ()> + 'static {
        self.sleep_until(self.now() + span)
    }

    /// Lets everything happen that happens at `until` or before; then it is `until`.
    pub fn run_until(&self, until: Time) -> Result<(), Stuck> {
        let _: Option<()> = self.core().drive(until.0, || None)?;
        self.core().rest_until(until);
        Ok(())
    }

    /// Runs the world until `root` ends; the rest of the world stays where it is then. The root
    /// future belongs to no node: it can kill all of them. It stops being polled when an error is
    /// returned.
    pub fn run<T>(&self, root: impl Future<Output = T>) -> Result<T, Stuck> {
        let mut root = pin!(root);
        let bell = Bell::new(ROOT, Arc::clone(&self.core().ready));
        let waker = Waker::from(Arc::clone(&bell));
        waker.wake_by_ref();
        let outcome = self.core().drive(u64::MAX, || {
            bell.answer();
            match root.as_mut().poll(&mut Context::from_waker(&waker)) {
                std::task::Poll::Ready(outcome) => Some(outcome),
                std::task::Poll::Pending => None,
            }
        })?;
        outcome.ok_or_else(|| Stuck::Idle(self.now()))
    }

    /// Makes everything sick that `from` opens to `to`, in both directions, instead of what was
    /// wrong with it before; [`LinkFault::NONE`] heals it. False when one of the nodes is unknown.
    pub fn impair(&self, from: &NodeName, to: &NodeName, fault: LinkFault) -> bool {
        self.impair_way(from, to, Direction::There, fault)
            && self.impair_way(from, to, Direction::Back, fault)
    }

    /// Like [`Sim::impair`], in one direction.
    pub fn impair_way(
        &self,
        from: &NodeName,
        to: &NodeName,
        direction: Direction,
        fault: LinkFault,
    ) -> bool {
        let Some(route) = self.route(from, to) else { return false };
        let direction = match direction {
            Direction::There => THERE,
            Direction::Back => BACK,
        };
        self.core().impair(route, direction, fault);
        true
    }

    /// Nothing passes between two nodes, whoever dialled. Healed by impairing with
    /// [`LinkFault::NONE`] both ways round.
    pub fn partition(&self, one: &NodeName, other: &NodeName) -> bool {
        self.impair(one, other, LinkFault::BLACK_HOLE)
            && self.impair(other, one, LinkFault::BLACK_HOLE)
    }

    /// The round trip from `from` to `to` right now, through whatever is wrong with the route, as an
    /// exchange would feel it. Waits while the route is stalled.
    pub fn round_trip(
        &self,
        from: &NodeName,
        to: &NodeName,
    ) -> impl Future<Output = Result<Duration, NoTrip>> + 'static {
        self.round_trip_of(from, to, 0)
    }

    /// The same with `load` bytes on the way there.
    pub fn round_trip_of(
        &self,
        from: &NodeName,
        to: &NodeName,
        load: usize,
    ) -> impl Future<Output = Result<Duration, NoTrip>> + 'static {
        let (sim, route) = (Rc::clone(self.core()), self.route(from, to));
        async move {
            let (route, sent) = (route.ok_or(NoTrip::Unknown)?, sim.now());
            let met = sim.network.borrow_mut().get_mut(route).draw_met();
            let (done, back) = oneshot::channel();
            let there: Parcel = Parcel::Call(Box::new(move |core: &Rc<Core>| {
                // Torn down where it arrives: what would tell of the way back is dropped.
                if core.network.borrow_mut().get_mut(route).is_reset(met) {
                    return;
                }
                let arrived: Parcel = Parcel::Call(Box::new(move |core: &Rc<Core>| {
                    // Nobody waits any more: then nobody wants to know.
                    let _ = done.send(core.now() - sent);
                }));
                core.carry(met_way_of(route, BACK, met), arrived);
            }));
            sim.carry_bytes(load, met_way_of(route, THERE, met), there);
            back.await.map_err(|_| NoTrip::Reset)
        }
    }

    /// A running hash of everything that happened: when, what and to whom. Two runs that differ
    /// anywhere differ here.
    pub fn trace_hash(&self) -> u64 {
        self.core().trace_hash()
    }

    /// How many events and polls there were.
    pub fn events(&self) -> u64 {
        self.core().events()
    }

    /// Ends the world: every node is dead and everything of it is dropped.
    pub fn close(&self) {
        self.core().shut_down();
    }

    fn route(&self, from: &NodeName, to: &NodeName) -> Option<u32> {
        let nodes = self.core().nodes.borrow();
        let ends = (nodes.find(from)?, nodes.find(to)?);
        Some(self.core().network.borrow_mut().route((ends.0, from), (ends.1, to)))
    }
}
