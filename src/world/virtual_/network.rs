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
use crate::base::{dist::Around, name::NodeName, pool::Key, rng::Rng, time::nanos};

/// The way from the dialler to the dialled.
pub(super) const THERE: u32 = 0;
/// The way from the dialled to the dialler.
pub(super) const BACK: u32 = 1;

/// What a parcel has that says nothing of its size: a head, mostly.
const USUAL_BYTES: usize = 200;
/// What waits for a narrow way fills a buffer of that length; senders slow down before it is longer.
const QUEUE_MAX_NS: u64 = 10_000_000_000;

/// What travels.
pub(super) enum Parcel {
    /// The first frames of one direction of a link are due.
    Frames(Key, u32),
    /// The next step of an HTTP exchange.
    Exchange(Key),
    /// Anything rare.
    Call(Call),
}

/// Marks a way for what travels on it and meets a fault that only a share meets.
const MET: u32 = 1 << 31;
/// Parts in a million: how shares are counted here.
pub const MILLION: u32 = 1_000_000;
/// Bytes of a packet, for what loses packets.
const PACKET_BYTES: usize = 1_460;
/// Times that one packet is lost one after the other, at most.
const LOSSES_MAX: u32 = 6;

/// What is wrong with one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkFault {
    /// Delay on top of the usual one.
    pub latency: Duration,
    /// Width of the jitter around that.
    pub jitter: Duration,
    /// How the delays lie around the mean.
    pub around: Around,
    /// Bytes that pass in a second; 0 where they take no time.
    pub rate: u64,
    /// The same for each connection or exchange alone.
    pub rate_each: u64,
    /// Packets of a million that are lost and sent again.
    pub lost: u32,
    /// How long until the first is sent again; each further time it doubles.
    pub again: Duration,
    /// Connections or exchanges of a million that meet all this; 0: all of them.
    pub share: u32,
    /// Nothing passes: what arrives waits until this ends, and keeps its order. Connections stay
    /// open; new ones hang.
    pub stalled: bool,
    /// What is stalled goes nowhere: whatever is open is cut when this ends.
    pub swallows: bool,
    /// Whatever is open is cut at once, and whatever is opened is cut as it opens.
    pub reset: bool,
}

impl LinkFault {
    /// Nothing is wrong.
    pub const NONE: Self = Self {
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        around: Around::Uniform,
        rate: 0,
        rate_each: 0,
        lost: 0,
        again: Duration::ZERO,
        share: 0,
        stalled: false,
        swallows: false,
        reset: false,
    };
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
    /// When a narrow way is free again.
    free_ns: u64,
}

impl Way {
    /// Whether what travels there, marked or not, meets what is wrong.
    fn hits(&self, met: bool) -> bool {
        self.fault.share == 0 || met
    }

    /// How long so many bytes wait for a narrow way and take on it.
    fn queue_ns(&mut self, bytes: usize, now_ns: u64) -> u64 {
        if self.fault.rate == 0 {
            return 0;
        }
        let takes_ns = takes_ns(bytes, self.fault.rate);
        let free_ns = self.free_ns.clamp(now_ns, now_ns.saturating_add(QUEUE_MAX_NS));
        self.free_ns = free_ns.saturating_add(takes_ns);
        self.free_ns - now_ns
    }
}

/// The way from one node to another and back.
pub(super) struct Route {
    dialler: u32,
    pub(super) dialled: u32,
    /// The incarnation of the dialled node to which an HTTP connection is open.
    pub(super) warm: Option<u32>,
    ways: [Way; 2],
    rng: Rng,
}

impl Route {
    /// Whether what is marked like this is cut.
    pub(super) fn is_reset(&self, met: bool) -> bool {
        self.ways.iter().any(|way| way.fault.reset && way.hits(met))
    }

    /// Draws whether a new connection or exchange meets what only a share meets.
    pub(super) fn draw_met(&mut self) -> bool {
        let share = self.ways.iter().map(|way| way.fault.share).max().unwrap_or_default();
        share > 0 && below(&mut self.rng, u64::from(MILLION)) < u64::from(share)
    }

    fn delay_ns(&mut self, direction: u32, bytes: usize, now_ns: u64, met: bool) -> u64 {
        let way = &mut self.ways[direction as usize];
        let usual = way.fixed_ns + below(&mut self.rng, way.jitter_ns);
        if !way.hits(met) {
            return usual;
        }
        let usual = usual
            .saturating_add(resent_ns(&way.fault, bytes, &mut self.rng))
            .saturating_add(takes_ns(bytes, way.fault.rate_each));
        let usual = usual.saturating_add(way.queue_ns(bytes, now_ns));
        if way.fault.latency.is_zero() && way.fault.jitter.is_zero() {
            return usual;
        }
        let (mean, width) = (nanos(way.fault.latency), nanos(way.fault.jitter));
        let extra = if way.fault.around.is_uniform() {
            let drawn = below(&mut self.rng, width.saturating_mul(2).saturating_add(1));
            mean.saturating_add(drawn).saturating_sub(width)
        } else {
            way.fault.around.draw(&mut self.rng, mean as f64, width as f64) as u64
        };
        usual.saturating_add(extra)
    }
}

/// How long so many bytes take at a rate; 0 takes no time.
fn takes_ns(bytes: usize, rate: u64) -> u64 {
    let takes_ns = (u128::from(bytes as u64) * 1_000_000_000).checked_div(u128::from(rate));
    u64::try_from(takes_ns.unwrap_or_default()).unwrap_or(u64::MAX)
}

/// How long the last of so many bytes is late because packets are lost: they travel beside one
/// another, so the one that is lost most often counts.
fn resent_ns(fault: &LinkFault, bytes: usize, rng: &mut Rng) -> u64 {
    if fault.lost == 0 {
        return 0;
    }
    let mut is_lost = || below(rng, u64::from(MILLION)) < u64::from(fault.lost);
    let packets = bytes.div_ceil(PACKET_BYTES).max(1);
    let losses = (0..packets).map(|_| (0..LOSSES_MAX).take_while(|_| is_lost()).count());
    // Sent again after so long, then twice as long, and so on.
    let most = losses.max().unwrap_or_default();
    nanos(fault.again).saturating_mul((1 << most) - 1)
}

/// All routes.
pub(super) struct Network {
    settings: NetworkSettings,
    rng: Rng,
    routes: Vec<Route>,
    by_ends: BTreeMap<(u32, u32), u32>,
    /// Nodes that stand still, and what has arrived there meanwhile, in order.
    still: BTreeMap<u32, Vec<(u32, Parcel)>>,
}

impl Network {
    pub(super) fn new(rng: Rng, settings: NetworkSettings) -> Self {
        Self { settings, rng, routes: Vec::new(), by_ends: BTreeMap::new(), still: BTreeMap::new() }
    }

    /// From now on what arrives at that node waits.
    pub(super) fn pause(&mut self, node: u32) {
        self.still.entry(node).or_default();
    }

    /// What has waited at that node, which waits no longer.
    pub(super) fn resume(&mut self, node: u32) -> Vec<(u32, Parcel)> {
        self.still.remove(&node).unwrap_or_default()
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
            Way { fixed_ns, jitter_ns, fault: LinkFault::NONE, held: Vec::new(), free_ns: 0 }
        });
        let route = self.routes.len() as u32;
        self.routes.push(Route { dialler: from.0, dialled: to.0, warm: None, ways, rng });
        self.by_ends.insert((from.0, to.0), route);
        route
    }

    pub(super) fn get_mut(&mut self, route: u32) -> &mut Route {
        &mut self.routes[route as usize]
    }

    /// How long the next parcel, of so many bytes, is under way.
    pub(super) fn delay_ns(&mut self, way: u32, bytes: usize, now_ns: u64) -> u64 {
        let (place, direction, met) = parts(way);
        self.routes[place].delay_ns(direction, bytes, now_ns, met)
    }

    /// The parcel, unless its way is stalled and keeps it, or the node at its end stands still.
    fn pass(&mut self, way: u32, parcel: Parcel) -> Option<Parcel> {
        let (place, direction, met) = parts(way);
        let route = &mut self.routes[place];
        let end = if direction == THERE { route.dialled } else { route.dialler };
        let fault = &mut route.ways[direction as usize];
        if fault.fault.stalled && fault.hits(met) {
            fault.held.push(parcel);
            return None;
        }
        if let Some(waiting) = self.still.get_mut(&end) {
            waiting.push((way, parcel));
            return None;
        }
        Some(parcel)
    }

    /// Sets what is wrong with a way; hands back what was, and what it held, if that may go on now.
    fn impair(&mut self, way: u32, fault: LinkFault) -> (LinkFault, Vec<Parcel>) {
        let (place, direction, _) = parts(way);
        let way = &mut self.routes[place].ways[direction as usize];
        let before = std::mem::replace(&mut way.fault, fault);
        way.free_ns = 0;
        (before, if fault.stalled { Vec::new() } else { std::mem::take(&mut way.held) })
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
        let held = ways.flat_map(|way| std::mem::take(&mut way.held));
        let still = std::mem::take(&mut self.still).into_values().flatten();
        held.chain(still.map(|(_, parcel)| parcel)).collect()
    }
}

/// The way of a route in one direction.
pub(super) const fn way_of(route: u32, direction: u32) -> u32 {
    route << 1 | direction
}

/// The same for what meets a fault that only a share meets, or does not.
pub(super) const fn met_way_of(route: u32, direction: u32, met: bool) -> u32 {
    way_of(route, direction) | if met { MET } else { 0 }
}

/// The place of its route, its direction, and whether it is marked.
fn parts(way: u32) -> (usize, u32, bool) {
    (((way & !MET) >> 1) as usize, way & 1, way & MET != 0)
}

impl Core {
    /// Sends a parcel on its way; tells when it arrives unless something holds it up.
    pub(super) fn carry(&self, way: u32, parcel: Parcel) -> u64 {
        self.carry_bytes(0, way, parcel)
    }

    /// Sends a parcel with so many bytes beside the usual.
    pub(super) fn carry_bytes(&self, bytes: usize, way: u32, parcel: Parcel) -> u64 {
        let at_ns = self.arrival_ns(way, bytes);
        self.plan(at_ns, Event::Arrive(way, parcel));
        at_ns
    }

    /// Sends a parcel that arrives no sooner than `least_ns`.
    pub(super) fn carry_after(&self, least_ns: u64, way: u32, parcel: Parcel) -> u64 {
        let at_ns = self.arrival_ns(way, 0).max(least_ns);
        self.plan(at_ns, Event::Arrive(way, parcel));
        at_ns
    }

    /// When what sets out now arrives.
    fn arrival_ns(&self, way: u32, bytes: usize) -> u64 {
        let now_ns = self.now_ns();
        let bytes = bytes.saturating_add(USUAL_BYTES);
        now_ns.saturating_add(self.network.borrow_mut().delay_ns(way, bytes, now_ns))
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
        let (before, freed) = self.network.borrow_mut().impair(way, fault);
        // What was swallowed arrives nowhere: its connections are gone before it is let go.
        let lost = before.swallows && !fault.swallows;
        if lost {
            self.reset_links(route, before.share > 0);
            self.reset_exchanges(route, before.share > 0);
        }
        // Once for both directions; and what is under way as an exchange has had its draw.
        if fault.share > 0 && direction == THERE {
            self.draw_links(route);
        }
        if fault.reset {
            self.reset_links(route, fault.share > 0);
            self.reset_exchanges(route, fault.share > 0);
        }
        for parcel in freed {
            self.carry_in_order(way, parcel);
        }
    }

    /// What was held goes on after one usual delay for all, so that its order is kept.
    fn carry_in_order(&self, way: u32, parcel: Parcel) {
        let (place, direction, _) = parts(way);
        let fixed_ns = self.network.borrow().routes[place].ways[direction as usize].fixed_ns;
        self.plan(self.now_ns().saturating_add(fixed_ns), Event::Arrive(way, parcel));
    }
}
