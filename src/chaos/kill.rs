//! Kill: SIGKILL a node, keep it down, start it again.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, Seen, Stage, World},
    keys::Keys,
    provider::{Health, ProviderError},
};
use crate::base::{file::FileError, name::NodeName};

/// How long a node may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a node may take to be healthy again, in one try.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a look at a node's health may take; a node that takes longer is not well.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);
/// Tries to start a node.
const STARTS_MAX: u32 = 2;

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "kill",
    means: "kills a node at once (SIGKILL), keeps it down, and starts it again",
    bites: "the process is gone and its health check is not answered",
    hits: Hits::Nodes,
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"kill\"\n\
              select = { role = \"core\", az = \"c\" }\n\
              mode = \"one\"\n\
              at = \"45s\"\n\
              for = \"10s\"\n",
    read,
    draw: |_| Arc::new(Kill),
};

#[expect(clippy::unnecessary_wraps, reason = "the registry asks for it: other kinds can fail")]
fn read(_: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    Ok(Arc::new(Kill))
}

#[derive(Debug)]
struct Kill;

impl Fault for Kill {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(async move {
            let mut baseline = Baseline::default();
            for (node, down) in looks(stage).await {
                if let Some(why) = down {
                    baseline.nodes_down.insert(node.clone(), why);
                }
            }
            baseline
        })
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            // All at once: "all of a zone" is not one node after the other.
            let killed = join_all(stage.nodes.iter().map(|node| async move {
                match stage.env.timeout(KILL_LIMIT, stage.provider.kill(node)).await {
                    Ok(done) => done.map(|what| format!("{node}: {what}")),
                    Err(_) => Err(ProviderError {
                        victim: node.to_string(),
                        why: format!("was not gone after {KILL_LIMIT:?}"),
                    }),
                }
            }))
            .await;
            let texts: Vec<String> = killed.into_iter().collect::<Result<_, _>>()?;
            Ok(texts.join("; "))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let mut holds = true;
            let mut texts = Vec::new();
            for (node, down) in looks(stage).await {
                let text = match (before.nodes_down.get(node), down) {
                    (Some(why), _) => Err(format!("{node} was down before: {why}")),
                    (None, Some(why)) => Ok(format!("{node} is down: {why}")),
                    (None, None) => Err(format!("{node} still answers its health check")),
                };
                holds &= text.is_ok();
                texts.push(text.unwrap_or_else(|text| text));
            }
            Seen { holds, what: texts.join("; ") }
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let healed = join_all(stage.nodes.iter().map(|node| start(stage, node))).await;
            let holds = healed.iter().all(|seen| seen.holds);
            let texts: Vec<String> = healed.into_iter().map(|seen| seen.what).collect();
            Seen { holds, what: texts.join("; ") }
        })
    }
}

/// Starts a node and looks at it.
async fn start(stage: &Stage<'_>, node: &NodeName) -> Seen {
    let mut what = String::new();
    for _ in 0..STARTS_MAX {
        let text = match stage.env.timeout(START_LIMIT, stage.provider.start(node)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => {
                what = error.to_string();
                continue;
            }
            Err(_) => {
                what = format!("{node}: was not healthy after {START_LIMIT:?}");
                continue;
            }
        };
        match look(stage, node).await {
            None => return Seen { holds: true, what: format!("{node}: {text}") },
            Some(why) => what = format!("{node}: was started ({text}), and is down: {why}"),
        }
    }
    Seen { holds: false, what }
}

/// What is wrong with each victim, if anything is.
async fn looks<'a>(stage: &'a Stage<'a>) -> Vec<(&'a NodeName, Option<String>)> {
    join_all(stage.nodes.iter().map(|node| async move { (node, look(stage, node).await) })).await
}

async fn look(stage: &Stage<'_>, node: &NodeName) -> Option<String> {
    match stage.env.timeout(HEALTH_LIMIT, stage.provider.health(node)).await {
        Ok(Ok(Health::Up)) => None,
        Ok(Ok(Health::Down(why))) => Some(why),
        Ok(Err(error)) => Some(error.why),
        Err(_) => Some(format!("no answer within {HEALTH_LIMIT:?}")),
    }
}
