//! Scale in: instances are retired for a while, as an autoscaler does it. A careful one takes them out
//! of discovery first, waits until nothing is asked of them any more, and only then ends them; one that
//! is wrong just ends them.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    messages::{self, SLACK},
    nodes,
    provider::{Meddle, Meddling, ProviderError, Strike},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "scale-in",
    means: "retires instances and brings them back: each leaves discovery, does what it has begun, and is ended (SIGTERM) once nothing is asked of it any more",
    bites: "it was quiet when it was ended (with `drain`), the process is gone, and its health check is not answered",
    hits: Hits::Nodes,
    roles: &["orchestration", "core"],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "drain",
        means: "`false`: it is ended at once, whatever it works at; left out: `true`",
    }],
    example: "[[fault]]\n\
              kind = \"scale-in\"\n\
              nodes = [\"c/core-1\"]\n\
              drain = true\n\
              at = \"20s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

/// A node to which nothing came for so long has been forgotten by all who call.
const QUIET: Duration = Duration::from_secs(1);
/// It has so long to be quiet; then it is not retired.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// Between two looks at what it has to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What one that is drained needs at least, to be heard of by all, to be quiet and to end.
const DRAIN_NEEDS: Duration = Duration::from_secs(3);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let drain = keys.flag("drain")?.unwrap_or(true);
    Ok(Arc::new(ScaleIn { drain }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(ScaleIn { drain: rng.chance(0.7) })
}

#[derive(Debug)]
struct ScaleIn {
    drain: bool,
}

impl Fault for ScaleIn {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("drain".to_owned(), self.drain.into())])
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn strike(&self) -> Option<Strike> {
        Some(Strike::Terminate)
    }

    fn needs(&self, _: usize) -> Duration {
        if self.drain { DRAIN_NEEDS } else { Duration::ZERO }
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(nodes::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            if self.drain {
                messages::tell(stage, &leaves(stage.lasts)).await?;
            }
            let retired = join_all(stage.nodes.iter().map(|node| async move {
                let had =
                    if self.drain { quiet(stage, node).await } else { busy(stage, node).await };
                let had = had.map_err(|why| ProviderError { victim: node.to_string(), why })?;
                let ended = nodes::strike_one(stage, node, nodes::TERMINATE).await?;
                Ok(format!("{ended}, {had}"))
            }));
            let texts: Vec<String> = retired.await.into_iter().collect::<Result<_, _>>()?;
            Ok(texts.join("; "))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(nodes::are_down(stage, before))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            // One that was not ended yet comes back to where it was; to one that was this is nothing.
            join_all(stage.nodes.iter().map(|node| messages::look(stage, node, true))).await;
            nodes::start_all(stage).await
        })
    }
}

fn leaves(lasts: Duration) -> Meddling {
    let (endpoint, of, how) = ("*".to_owned(), Vec::new(), Meddle::Leaves);
    Meddling { endpoint, of, how, toxicity: 1.0, lasts: lasts + SLACK, as_version: None }
}

/// What it works at when it is ended.
async fn busy(stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
    let seen = messages::look(stage, node, false).await?;
    Ok(format!("{} in flight", seen.in_flight))
}

/// Waits until nothing is in flight there, and nothing has come for a while.
async fn quiet(stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
    let (env, begun) = (stage.env, stage.env.now());
    let first = messages::look(stage, node, false).await?;
    let (mut last, mut still_since) = (first, begun);
    loop {
        env.sleep(LOOK_EVERY).await;
        let (seen, now) = (messages::look(stage, node, false).await?, env.now());
        if seen.asks != last.asks || seen.in_flight > 0 {
            still_since = now;
        }
        last = seen;
        let came = last.asks.saturating_sub(first.asks);
        if now.since(still_since) >= QUIET {
            let busy = still_since.since(begun).as_secs_f64();
            return Ok(format!("{came} requests had still come, within {busy:.1} s, 0 in flight"));
        }
        if now.since(begun) >= DRAIN_MAX {
            let flying = last.in_flight;
            return Err(format!(
                "it was not quiet {DRAIN_MAX:?} after it had left discovery: {came} requests came, \
                 {flying} are in flight"
            ));
        }
    }
}
