//! `core/raziel`: where the drivers are, in the memory of this node. Fed by pings, by marks of the
//! roster (hints), and by what the indexes of the other nodes learned. No disk: after a restart it
//! asks another index for all it knows and lives on pings.

pub mod columns;
pub mod grid;
mod planted;

use std::{cell::RefCell, rc::Rc, time::Duration};

use grid::{Grid, Query};
use planted::Planted;

use super::{Code, Policy, Router, RpcError, refuse, tariff::from_wire};
use crate::{
    backend::{
        node::Node,
        plants,
        wire::{
            Moved, MovedBatch, Nothing, PingAsk, SearchAnswer, SearchAsk, SnapshotAnswer,
            SnapshotAsk, Standings, Status,
        },
    },
    base::{name::NodeName, place::Place, time::Time},
    world::Env,
};

/// Where positions are told as they come: a stream of values, with what they are. Whoever serves it
/// is told: every other index, and who watches over live jobs.
pub const MOVED: &str = "/platform/pings/moved";
/// How often fresh positions are told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Positions in one message.
const BATCH_MAX: usize = 2_000;
/// Drivers that a search gives at most.
const FOUND_MAX: u32 = 50;
/// How long a new index waits for one page of another.
const SNAPSHOT: Policy = Policy {
    deadline: Duration::from_millis(500),
    attempt: Duration::from_millis(500),
    idempotent: true,
};

/// Serves `core/raziel` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let settings = &node.config.settings;
    let mut grid = Grid::new(middle(&settings.city.boundary), settings.ping_ttl);
    grid.planted = Planted::of(node);
    let grid = Rc::new(RefCell::new(grid));
    mount_reads(node, &grid, router);
    mount_writes(node, &grid, router);
    node.env.spawn(tell(node.clone(), Rc::clone(&grid)));
    // A node that comes back waits a moment for what the others know; a new backend knows nothing.
    let hold = (node.config.incarnation > 0).then(|| node.hold());
    let filling = fetch(node.clone(), grid);
    node.env.spawn(async move {
        filling.await;
        drop(hold);
    });
}

fn mount_reads(node: &Node, grid: &Rc<RefCell<Grid>>, router: &mut Router) {
    let (index, env) = (Rc::clone(grid), node.env.clone());
    let live = node.live.clone();
    let (far, boxed) = (node.planted(plants::OFFER_FAR), node.planted(plants::BOX_FOR_CIRCLE));
    let leaky = node.planted(plants::LEAKY_CITY);
    router.on_sync("/core/raziel/search", move |ask: SearchAsk| {
        let (at, reach_m) = (from_wire(ask.at.as_ref())?, live.settings().reach_m);
        let query = Query {
            at,
            reach_m: if boxed { reach_m * planted::BOX_OVER_CIRCLE } else { reach_m },
            limit: ask.limit.clamp(1, FOUND_MAX) as usize,
            without: &ask.without,
            tenant: (!leaky).then_some(ask.tenant),
        };
        let (index, now, wall_ms) = (index.borrow(), env.now(), env.wall().0);
        let found = if far {
            index.search_anywhere(&query, now, wall_ms)
        } else {
            index.search(&query, now, wall_ms)
        };
        let found = if boxed { planted::in_box(found, at, reach_m) } else { found };
        Ok(SearchAnswer { found })
    });
    let (index, env) = (Rc::clone(grid), node.env.clone());
    router.on_sync("/core/raziel/snapshot", move |ask: SnapshotAsk| {
        let limit = (ask.limit as usize).clamp(1, BATCH_MAX);
        let moved = index.borrow().page(ask.from as usize, limit, env.now());
        let next = if moved.len() < limit { 0 } else { ask.from + moved.len() as u32 };
        Ok(SnapshotAnswer { moved, next })
    });
}

fn mount_writes(node: &Node, grid: &Rc<RefCell<Grid>>, router: &mut Router) {
    let (index, env) = (Rc::clone(grid), node.env.clone());
    router.on_sync("/core/raziel/ping", move |ask: PingAsk| {
        let at = Place { lat_e6: ask.lat_e6, lon_e6: ask.lon_e6 };
        let answer = index.borrow_mut().ping(ask.driver, at, ask.seq, env.now(), env.wall().0);
        answer.ok_or_else(|| RpcError::Unavailable("the index is full".to_owned()))
    });
    let (index, env) = (Rc::clone(grid), node.env.clone());
    let deaf = node.planted(plants::BUSY_LISTED);
    router.on_sync("/core/raziel/mark", move |ask: Standings| {
        if ask.standings.len() > BATCH_MAX {
            return Err(refuse(Code::Invalid, "too many marks"));
        }
        let (mut index, now) = (index.borrow_mut(), env.now());
        for standing in &ask.standings {
            // Planted: who takes a job stays in the index as it was.
            if !(deaf && standing.status() == Status::Busy) {
                index.mark(standing, now);
            }
        }
        Ok(Nothing {})
    });
    let (index, env) = (Rc::clone(grid), node.env.clone());
    router.on_sync(MOVED, move |batch: MovedBatch| {
        if !columns::are_even(&batch) {
            return Err(refuse(Code::Invalid, "columns of different lengths"));
        }
        learn(&index, columns::rows(&batch), &env);
        Ok(Nothing {})
    });
}

fn learn(grid: &RefCell<Grid>, moved: impl Iterator<Item = Moved>, env: &Env) {
    let (mut grid, now): (_, Time) = (grid.borrow_mut(), env.now());
    for moved in moved {
        grid.learn(&moved, now);
    }
}

/// Tells the other indexes what drivers sent here, until the node dies.
async fn tell(node: Node, grid: Rc<RefCell<Grid>>) {
    loop {
        node.env.sleep(TELL_EVERY).await;
        let moved = grid.borrow_mut().take_moved(node.env.now());
        for chunk in moved.chunks(BATCH_MAX) {
            node.rpc.publish(MOVED, &columns::of(chunk), true);
        }
    }
}

/// Fills a new index from the first other one that answers.
async fn fetch(node: Node, grid: Rc<RefCell<Grid>>) {
    let own = &node.config.name;
    let others = node.config.nodes.iter().filter(|name| name.role() == "core" && *name != own);
    for other in others {
        if fetch_from(&node, &grid, other).await.is_ok() {
            return;
        }
    }
}

async fn fetch_from(node: &Node, grid: &RefCell<Grid>, other: &NodeName) -> Result<(), RpcError> {
    let mut from = 0;
    loop {
        let ask = SnapshotAsk { from, limit: BATCH_MAX as u32 };
        let path = "/core/raziel/snapshot";
        let page: SnapshotAnswer = node.rpc.call_at(other, path, &ask, SNAPSHOT).await?;
        learn(grid, page.moved.into_iter(), &node.env);
        if page.next <= from {
            return Ok(());
        }
        from = page.next;
    }
}

/// The middle of the boundary's box: cells are shaped for its latitude.
fn middle(boundary: &[Place]) -> Place {
    let half = |values: &mut dyn Iterator<Item = i32>| {
        let (low, high) = values
            .fold((i32::MAX, i32::MIN), |(low, high), value| (low.min(value), high.max(value)));
        if low > high { 0 } else { i32::midpoint(low, high) }
    };
    Place {
        lat_e6: half(&mut boundary.iter().map(|place| place.lat_e6)),
        lon_e6: half(&mut boundary.iter().map(|place| place.lon_e6)),
    }
}
