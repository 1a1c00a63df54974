//! What every fault on nodes shares: doing one thing to all of them, looking at their health, and
//! bringing them back.

use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, Seen, Stage},
    provider::{Health, Provider, ProviderError, Strike},
};
use crate::base::name::NodeName;

/// How long a node may take to be gone, or to stand still.
const STRIKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a node may take to be healthy again, in one try.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a look at a node's health may take; a node that takes longer is not well.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);
/// Tries to start a node.
const STARTS_MAX: u32 = 2;

/// Something that is done to a node.
pub(super) type Verb =
    for<'a> fn(&'a dyn Provider, &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>>;

/// Sends SIGKILL.
pub(super) const KILL: Verb = |provider, node| provider.kill(node);
/// Kills it so that its last write is torn.
pub(super) const TEAR: Verb = |provider, node| provider.tear(node);
/// Sends SIGTERM.
pub(super) const TERMINATE: Verb = |provider, node| provider.terminate(node);
/// Sends SIGSTOP.
pub(super) const PAUSE: Verb = |provider, node| provider.pause(node);
/// Takes it off its networks.
pub(super) const DISCONNECT: Verb = |provider, node| provider.disconnect(node);
/// Does what the target's file has for it.
pub(super) const INJECT: Verb = |provider, node| provider.inject(node);

/// One thing is done to all nodes at once, which keeps them down until they are brought back.
#[derive(Debug)]
pub(super) struct KeptDown {
    pub kind: &'static str,
    pub verb: Verb,
    pub strike: Strike,
}

impl Fault for KeptDown {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn strike(&self) -> Option<Strike> {
        Some(self.strike)
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(strike(stage, self.verb))
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(are_down(stage, before))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(start_all(stage))
    }
}

/// Looks at all of them while they are well.
pub(super) async fn baseline(stage: &Stage<'_>) -> Baseline {
    let mut baseline = Baseline::default();
    for (node, down) in looks(stage).await {
        if let Some(why) = down {
            baseline.nodes_down.insert(node.clone(), why);
        }
    }
    baseline
}

/// Does it to all of them at once: "all of a zone" is not one node after the other.
pub(super) async fn strike(stage: &Stage<'_>, verb: Verb) -> Result<String, ProviderError> {
    let struck = join_all(stage.nodes.iter().map(|node| strike_one(stage, node, verb))).await;
    let texts: Vec<String> = struck.into_iter().collect::<Result<_, _>>()?;
    Ok(texts.join("; "))
}

/// Does it to one of them.
pub(super) async fn strike_one(
    stage: &Stage<'_>,
    node: &NodeName,
    verb: Verb,
) -> Result<String, ProviderError> {
    match stage.env.timeout(STRIKE_LIMIT, verb(stage.provider, node)).await {
        Ok(done) => done.map(|what| format!("{node}: {what}")),
        Err(_) => Err(ProviderError {
            victim: node.to_string(),
            why: format!("was not done after {STRIKE_LIMIT:?}"),
        }),
    }
}

/// Whether every one of them is down, and was not before.
pub(super) async fn are_down(stage: &Stage<'_>, before: &Baseline) -> Seen {
    let looks = looks(stage).await;
    sum_up(looks.into_iter().map(|(node, down)| down_now(node, down, before)))
}

/// Whether that one is down, and was not before.
pub(super) async fn is_down(
    stage: &Stage<'_>,
    node: &NodeName,
    before: &Baseline,
) -> Result<String, String> {
    down_now(node, look(stage, node).await, before)
}

fn down_now(node: &NodeName, down: Option<String>, before: &Baseline) -> Result<String, String> {
    match (before.nodes_down.get(node), down) {
        (Some(why), _) => Err(format!("{node} was down before: {why}")),
        (None, Some(why)) => Ok(format!("{node} is down: {why}")),
        (None, None) => Err(format!("{node} still answers its health check")),
    }
}

/// Brings all of them back, and looks at each.
pub(super) async fn start_all(stage: &Stage<'_>) -> Seen {
    let healed = join_all(stage.nodes.iter().map(|node| start(stage, node))).await;
    sum_up(healed.into_iter())
}

/// Starts a node unless it runs, and looks at it.
pub(super) async fn start(stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
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
            None => return Ok(format!("{node}: {text}")),
            Some(why) => what = format!("{node}: was started ({text}), and is down: {why}"),
        }
    }
    Err(what)
}

/// One text of many; it holds when each does.
pub(super) fn sum_up(seen: impl Iterator<Item = Result<String, String>>) -> Seen {
    let mut holds = true;
    let mut texts = Vec::new();
    for text in seen {
        holds &= text.is_ok();
        texts.push(text.unwrap_or_else(|text| text));
    }
    Seen { holds, what: texts.join("; ") }
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
