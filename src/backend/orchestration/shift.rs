//! `orchestration/shift`: a driver goes on and off, pauses and comes back: the roster first, then
//! the indexes. An offer that was open for whoever stops is refused on the driver's behalf.

use super::{
    calls::{ROWS, make, mark},
    dispatch::follow,
    events,
};
use crate::backend::{
    node::Node,
    platform::rpc::{Router, RpcError},
    wire::{MoveAsk, OnlineAsk, Place, ShiftAnswer, ShiftAsk},
};

/// Serves `orchestration/shift` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let own = node.clone();
    router.on("/orchestration/shift/online", move |ask: OnlineAsk| {
        let node = own.clone();
        async move { change(&node, "/core/job/online", ask.driver, ask.at).await }
    });
    for (path, core) in [
        ("/orchestration/shift/offline", "/core/job/offline"),
        ("/orchestration/shift/pause", "/core/job/pause"),
        ("/orchestration/shift/resume", "/core/job/resume"),
    ] {
        let own = node.clone();
        router.on(path, move |ask: ShiftAsk| {
            let node = own.clone();
            async move { change(&node, core, ask.driver, None).await }
        });
    }
}

async fn change(
    node: &Node,
    core: &'static str,
    driver: u64,
    at: Option<Place>,
) -> Result<ShiftAnswer, RpcError> {
    let done: ShiftAnswer = node.rpc.call(core, &ShiftAsk { driver }, ROWS).await?;
    if let Some(mut standing) = done.standing {
        standing.at = at;
        mark(node, vec![standing]);
    }
    if !done.replayed {
        events::driver(node, driver, core.rsplit('/').next().unwrap_or_default());
    }
    if done.offer != 0 {
        let own = node.clone();
        let ask =
            MoveAsk { job: done.offer_job, actor: driver, offer: done.offer, ..MoveAsk::default() };
        node.env.spawn(async move {
            if let Ok(declined) = make(&own, "/core/job/decline", &ask).await
                && let Some(job) = &declined.job
            {
                follow(&own, job);
            }
        });
    }
    Ok(done)
}
