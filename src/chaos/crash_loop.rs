//! Crash loop: a node dies, comes back, lives for a while, dies again. Whoever relies on it finds it
//! well just often enough to rely on it.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    nodes,
    provider::{ProviderError, Strike},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "crash-loop",
    means: "kills a node (SIGKILL), starts it, and kills it again each time it has been well for a while",
    bites: "the process was gone and its health check not answered, twice, with a life between",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "lives",
        means: "how long it is well between two deaths; left out: `2s`",
    }],
    example: "[[fault]]\n\
              kind = \"crash-loop\"\n\
              nodes = [\"c/core-1\"]\n\
              lives = \"3s\"\n\
              at = \"20s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

const LIVES_MIN: Duration = Duration::from_millis(100);
const LIVES_MAX: Duration = Duration::from_mins(10);
const LIVES_USUAL: Duration = Duration::from_secs(2);
/// What two deaths and a start between them need at least, beside the life.
const DEATHS_NEED: Duration = Duration::from_secs(2);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let lives = match keys.span("lives")? {
        Some(lives) if !(LIVES_MIN..=LIVES_MAX).contains(&lives.get_ref().0) => {
            let what = format!("must be between {} and {}", Span(LIVES_MIN), Span(LIVES_MAX));
            return Err(keys.wrong(&lives.span(), "lives", what));
        }
        Some(lives) => lives.into_inner(),
        None => Span(LIVES_USUAL),
    };
    Ok(Arc::new(CrashLoop { lives }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(CrashLoop { lives: Span::millis(rng.log_between(200.0, 2_000.0) as u64) })
}

#[derive(Debug)]
struct CrashLoop {
    lives: Span,
}

impl CrashLoop {
    /// One more life, and its end.
    async fn live_and_die(&self, stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
        let started = nodes::start(stage, node).await?;
        stage.env.sleep(self.lives.0).await;
        let killed = nodes::strike_one(stage, node, nodes::KILL).await;
        killed.map_err(|error| error.to_string())?;
        Ok(started)
    }
}

impl Fault for CrashLoop {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("lives".to_owned(), self.lives.to_string().into())])
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn strike(&self) -> Option<Strike> {
        Some(Strike::Kill)
    }

    fn needs(&self, _victims: usize) -> Duration {
        DEATHS_NEED + self.lives.0
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(nodes::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(nodes::strike(stage, nodes::KILL))
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let twice = join_all(stage.nodes.iter().map(|node| async move {
                nodes::is_down(stage, node, before).await?;
                let lived = self.live_and_die(stage, node).await?;
                let down = nodes::is_down(stage, node, before).await?;
                Ok(format!("{lived}; killed {} later; {down}", self.lives))
            }))
            .await;
            nodes::sum_up(twice.into_iter())
        })
    }

    /// One that cannot be started or killed any more is left to the healing, which says so.
    fn go_on<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            join_all(
                stage.nodes.iter().map(|node| async move {
                    while self.live_and_die(stage, node).await.is_ok() {}
                }),
            )
            .await;
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(nodes::start_all(stage))
    }
}
