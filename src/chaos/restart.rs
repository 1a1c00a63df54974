//! Restart: a node ends and is started again at once, as an operator or a deployment does it.

use std::sync::Arc;

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, Seen, Stage, World},
    nodes,
    provider::{ProviderError, Strike},
};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "restart",
    means: "asks a node to end (SIGTERM) and starts it again as soon as it is gone; `for` is the time that it has until it must be well",
    bites: "the process was gone, its health check was not answered, and it was started anew",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"restart\"\n\
              nodes = [\"a/core-1\"]\n\
              at = \"20s\"\n\
              for = \"10s\"\n",
    read: |_| Ok(Arc::new(Restart)),
    draw: |_| Arc::new(Restart),
};

#[derive(Debug)]
struct Restart;

impl Fault for Restart {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn strike(&self) -> Option<Strike> {
        Some(Strike::Terminate)
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(nodes::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(nodes::strike(stage, nodes::TERMINATE))
    }

    /// Each is seen to be gone before it is started; one that still answers is not started anew.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let again = join_all(stage.nodes.iter().map(|node| async move {
                let gone = nodes::is_down(stage, node, before).await?;
                Ok(format!("{gone}; {}", nodes::start(stage, node).await?))
            }))
            .await;
            nodes::sum_up(again.into_iter())
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(nodes::start_all(stage))
    }
}
