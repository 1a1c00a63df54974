//! Routes between nodes: how long a parcel is under way, and what is wrong with the way. It does
//! not know what is in a parcel.
//!
//! A route belongs to one dialler and one dialled node and has two ways, there and back; a fault on
//! `a -> b` therefore hits what `a` opened to `b`, in both directions, and nothing that `b` opened.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    core::{Call, Core, Event, Kind},
    settings::{NetworkSettings, below},
};
use crate::base::{name::NodeName, pool::Key, rng::Rng, time::nanos};

/// The way from the dialler to the dialled.
pub(super) const THERE: u32 = 0;
/// The way from the dialled to the dialler.
pub(super) const BACK: u32 = 1;

/// What travels.
pub(super) enum Parcel {
    /// The first frames of one direction of a link are due.
    Frames(Key, u32),
    /// The next step of an HTTP exchange.
    Exchange(Key),
    /// Anything rare.
    Call(Call),
}

/// What is wrong with one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkFault {
    /// Delay on top of the usual one.
    pub latency: Duration,
    /// Half width of a uniform jitter around that.
    pub jitter: Duration,
    /// Nothing passes: what arrives waits until this ends, and keeps its order. Connections stay
    /// open; new ones hang.
    pub stalled: bool,
    /// Whatever is open is cut at once, and whatever is opened is cut as it opens.
    pub reset: bool,
}

impl LinkFault {
    /// Nothing is wrong.
    pub const NONE: Self =
        Self { latency: Duration::ZERO, jitter: Duration::ZERO, stalled: false, reset: false };
    /// Nothing passes.
    pub const BLACK_HOLE: Self = Self { stalled: true, ..Self::NONE };
    /// Connections are cut.
    pub const RESET: Self = Self { reset: true, ..Self::NONE };

    /// Everything takes longer, by `latency` ± `jitter`.
    pub const fn slow(latency: Duration, jitter: Duration) -> Self {
        Self { latency, jitter, ..Self::NONE }
    }
}

/// A direction of a link, seen from its dialler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the dialler to the dialled.
    There,
    /// From the dialled to the dialler.
    Back,
}

/// One direction of a route.
struct Way {
    fixed_ns: u64,
    jitter_ns: u64,
    fault: LinkFault,
    held: Vec<Parcel>,
}

/// The way from one node to another and back.
pub(super) struct Route {
    pub(super) dialled: u32,
    /// The incarnation of the dialled node to which an HTTP connection is open.
    pub(super) warm: Option<u32>,
    ways: [Way; 2],
    rng: Rng,
}

impl Route {
    pub(super) fn is_reset(&self) -> bool {
        self.ways.iter().any(|way| way.fault.reset)
    }

    fn delay_ns(&mut self, direction: u32) -> u64 {
        let way = &self.ways[direction as usize];
        let usual = way.fixed_ns + below(&mut self.rng, way.jitter_ns);
        if way.fault.latency.is_zero() && way.fault.jitter.is_zero() {
            return usual;
        }
        let half = nanos(way.fault.jitter);
        let drawn = below(&mut self.rng, half.saturating_mul(2).saturating_add(1));
        let extra = nanos(way.fault.latency).saturating_add(drawn).saturating_sub(half);
        usual.saturating_add(extra)
    }
}

/// All routes.
pub(super) struct Network {
    settings: NetworkSettings,
    rng: Rng,
    routes: Vec<Route>,
    by_ends: BTreeMap<(u32, u32), u32>,
}

impl Network {
    pub(super) fn new(rng: Rng, settings: NetworkSettings) -> Self {
        Self { settings, rng, routes: Vec::new(), by_ends: BTreeMap::new() }
    }

    /// The route from one node to another, made when first asked for.
    pub(super) fn route(&mut self, from: (u32, &NodeName), to: (u32, &NodeName)) -> u32 {
        if let Some(&route) = self.by_ends.get(&(from.0, to.0)) {
            return route;
        }
        let mut rng = self.rng.fork(&format!("{} -> {}", from.1, to.1));
        let (az_from, az_to) = (from.1.az(), to.1.az());
        let span = if from.0 == to.0 {
            self.settings.local
        } else if az_from.is_empty() || az_to.is_empty() {
            self.settings.outside
        } else if az_from == az_to {
            self.settings.within_az
        } else {
            self.settings.between_az
        };
        let ways = [THERE, BACK].map(|_| {
            let fixed_ns = span.draw(&mut rng);
            let jitter_ns = fixed_ns.saturating_mul(self.settings.jitter_percent) / 100;
            Way { fixed_ns, jitter_ns, fault: LinkFault::NONE, held: Vec::new() }
        });
        let route = self.routes.len() as u32;
        self.routes.push(Route { dialled: to.0, warm: None, ways, rng });
        self.by_ends.insert((from.0, to.0), route);
        route
    }

    pub(super) fn get_mut(&mut self, route: u32) -> &mut Route {
        &mut self.routes[route as usize]
    }

    /// How long the next parcel is under way.
    pub(super) fn delay_ns(&mut self, way: u32) -> u64 {
        self.routes[(way >> 1) as usize].delay_ns(way & 1)
    }

    /// The parcel, unless its way is stalled and keeps it.
    fn pass(&mut self, way: u32, parcel: Parcel) -> Option<Parcel> {
        let way = &mut self.routes[(way >> 1) as usize].ways[(way & 1) as usize];
        if way.fault.stalled {
            way.held.push(parcel);
            return None;
        }
        Some(parcel)
    }

    /// Sets what is wrong with a way; hands back what it held, if that may go on now.
    fn impair(&mut self, way: u32, fault: LinkFault) -> Vec<Parcel> {
        let way = &mut self.routes[(way >> 1) as usize].ways[(way & 1) as usize];
        way.fault = fault;
        if fault.stalled { Vec::new() } else { std::mem::take(&mut way.held) }
    }

    /// Routes to `node` with an open HTTP connection.
    pub(super) fn warm_to(&self, node: u32) -> Vec<u32> {
        let ends = self.by_ends.iter();
        ends.filter(|&(&(_, to), &route)| to == node && self.routes[route as usize].warm.is_some())
            .map(|(_, &route)| route)
            .collect()
    }

    /// Closes the HTTP connections that `node` opened.
    pub(super) fn cool_from(&mut self, node: u32) {
        for (_, &route) in self.by_ends.range((node, 0)..=(node, u32::MAX)) {
            self.routes[route as usize].warm = None;
        }
    }

    /// Takes out everything that is held, to be dropped by the caller.
    pub(super) fn clear(&mut self) -> Vec<Parcel> {
        let ways = self.routes.iter_mut().flat_map(|route| &mut route.ways);
        ways.flat_map(|way| std::mem::take(&mut way.held)).collect()
    }
}

/// The way of a route in one direction.
pub(super) const fn way_of(route: u32, direction: u32) -> u32 {
    route << 1 | direction
}

impl Core {
    /// Sends a parcel on its way; tells when it arrives unless something holds it up.
    pub(super) fn carry(&self, way: u32, parcel: Parcel) -> u64 {
        self.carry_after(0, way, parcel)
    }

    /// Sends a parcel that arrives no sooner than `least_ns`.
    pub(super) fn carry_after(&self, least_ns: u64, way: u32, parcel: Parcel) -> u64 {
        let delay_ns = self.network.borrow_mut().delay_ns(way);
        let at_ns = self.now_ns().saturating_add(delay_ns).max(least_ns);
        self.plan(at_ns, Event::Arrive(way, parcel));
        at_ns
    }

    /// A parcel reaches the end of its way.
    pub(super) fn arrive(self: &Rc<Self>, way: u32, parcel: Parcel) {
        let passed = self.network.borrow_mut().pass(way, parcel);
        match passed {
            None => self.note(Kind::Fault, way),
            Some(Parcel::Frames(link, direction)) => {
                self.note(Kind::Frames, way);
                self.deliver_frames(link, direction);
            }
            Some(Parcel::Exchange(exchange)) => {
                self.note(Kind::Exchange, way);
                self.step_exchange(exchange);
            }
            Some(Parcel::Call(call)) => {
                self.note(Kind::Control, way);
                call(self);
            }
        }
    }

    /// Sets what is wrong with one direction of a route.
    pub(super) fn impair(&self, route: u32, direction: u32, fault: LinkFault) {
        let way = way_of(route, direction);
        self.note(Kind::Fault, way);
        let freed = self.network.borrow_mut().impair(way, fault);
        for parcel in freed {
            self.carry_in_order(way, parcel);
        }
        if fault.reset {
            self.reset_links(route);
            self.reset_exchanges(route);
        }
    }

    /// What was held goes on after one usual delay for all, so that its order is kept.
    fn carry_in_order(&self, way: u32, parcel: Parcel) {
        let fixed_ns =
            self.network.borrow().routes[(way >> 1) as usize].ways[(way & 1) as usize].fixed_ns;
        self.plan(self.now_ns().saturating_add(fixed_ns), Event::Arrive(way, parcel));
    }
}
