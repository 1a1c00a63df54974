//! Fill queue: the queue in which calls wait for a node is full, and its broker refuses more. As behind a
//! consumer that hangs, which this one does for as long.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, Seen, Stage, World},
    messages::{self, LOOK_EVERY, SLACK},
    nodes,
    provider::{Meddle, Meddling, ProviderError},
};
use crate::base::name::NodeName;

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "fill-queue",
    means: "lets the calls to a node wait at its broker and fills their queue there, until it refuses more (`--bus rabbitmq`)",
    bites: "the broker refused one more message for it",
    hits: Hits::Nodes,
    roles: &["orchestration", "core"],
    worlds: &[World::Real],
    keys: &[],
    example: "[[fault]]\n\
              kind = \"fill-queue\"\n\
              nodes = [\"b/core-1\"]\n\
              at = \"20s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(FillQueue)),
    draw: |_| Arc::new(FillQueue),
};

/// How long it may take to fill one.
const FILL_MAX: Duration = Duration::from_secs(10);
/// How long a broker may take to say whether there is room: less than there is before a fault.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Looks whether there is room again: a node takes over what waits in some moments.
const LOOKS_MAX: u32 = 30;

#[derive(Debug)]
struct FillQueue;

impl Fault for FillQueue {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    fn on_brokers(&self) -> bool {
        true
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(async move {
            // The way there is open from here on; the message that this leaves there is soon dropped. Whether
            // there is room is known when the queue took something.
            join_all(stage.nodes.iter().map(|node| has_room(stage, node))).await;
            Baseline::default()
        })
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let lasts = stage.lasts + SLACK;
            let (endpoint, of, how) = ("*".to_owned(), Vec::new(), Meddle::Stuck);
            let what = Meddling { endpoint, of, how, toxicity: 1.0, lasts, as_version: None };
            messages::tell(stage, &what).await?;
            let filled = join_all(stage.nodes.iter().map(|node| async move {
                let fill = stage.provider.fill_queue(node, stage.lasts);
                let Ok(filled) = stage.env.timeout(FILL_MAX, fill).await else {
                    let why = format!("its queue was not full after {FILL_MAX:?}");
                    return Err(ProviderError { victim: node.to_string(), why });
                };
                filled.map(|what| format!("{node}: {what}"))
            }));
            let texts: Vec<String> = filled.await.into_iter().collect::<Result<_, _>>()?;
            Ok(texts.join("; "))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let looks = join_all(stage.nodes.iter().map(|node| async move {
                match has_room(stage, node).await {
                    Ok(false) => Ok(format!("{node}: its broker refused one more")),
                    Ok(true) => Err(format!("{node}: its broker took one more")),
                    Err(why) => Err(why),
                }
            }));
            nodes::sum_up(looks.await.into_iter())
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let healed = join_all(stage.nodes.iter().map(|node| empty(stage, node)));
            nodes::sum_up(healed.await.into_iter())
        })
    }
}

/// Has the node take over all that waits for it, and looks whether there is room.
async fn empty(stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..LOOKS_MAX {
        last = match messages::look(stage, node, true).await {
            Ok(seen) if seen.on => format!("{node}: it goes on"),
            Ok(_) => match has_room(stage, node).await {
                Ok(true) => return Ok(format!("{node}: its queue has room")),
                Ok(false) => format!("{node}: its queue is full"),
                Err(why) => why,
            },
            Err(why) => why,
        };
        stage.env.sleep(LOOK_EVERY).await;
    }
    Err(last)
}

async fn has_room(stage: &Stage<'_>, node: &NodeName) -> Result<bool, String> {
    match stage.env.timeout(LOOK_MAX, stage.provider.queue_has_room(node)).await {
        Ok(seen) => seen.map_err(|why| why.to_string()),
        Err(_) => Err(format!("{node}: its broker said nothing within {LOOK_MAX:?}")),
    }
}
