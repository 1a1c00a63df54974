//! Rolling restart: nodes end and are started again one after the other, each only when the one before
//! it is well again. What a deployment does, and what nobody should notice.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    nodes,
    provider::{ProviderError, Strike},
};
use crate::base::{file::FileError, rng::Rng, span::Span};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "rolling-restart",
    means: "asks nodes to end (SIGTERM) and starts them again, one after the other, each once the one before is well",
    bites: "each process in its turn was gone, its health check was not answered, and it was well again before the next",
    hits: Hits::Nodes,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "pause",
        means: "between one that is well again and the next; left out: `1s`",
    }],
    example: "[[fault]]\n\
              kind = \"rolling-restart\"\n\
              select = { role = \"core\" }\n\
              mode = \"all\"\n\
              pause = \"500ms\"\n\
              at = \"20s\"\n\
              for = \"30s\"\n",
    read,
    draw,
};

/// The longest pause that a plan may ask for.
const PAUSE_MAX: Duration = Duration::from_mins(10);
const PAUSE_USUAL: Duration = Duration::from_secs(1);
/// What one node needs at least to end, to start, and to be looked at twice.
const NODE_NEEDS: Duration = Duration::from_millis(1_500);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let pause = match keys.span("pause")? {
        Some(pause) if pause.get_ref().0 > PAUSE_MAX => {
            let what = format!("must be {} or less", Span(PAUSE_MAX));
            return Err(keys.wrong(&pause.span(), "pause", what));
        }
        Some(pause) => pause.into_inner(),
        None => Span(PAUSE_USUAL),
    };
    Ok(Arc::new(RollingRestart { pause }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(RollingRestart { pause: Span::millis(rng.log_between(50.0, 1_000.0) as u64) })
}

#[derive(Debug)]
struct RollingRestart {
    pause: Span,
}

impl Fault for RollingRestart {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("pause".to_owned(), self.pause.to_string().into())])
    }

    fn keeps_down(&self) -> bool {
        true
    }

    fn strike(&self) -> Option<Strike> {
        Some(Strike::Terminate)
    }

    fn one_by_one(&self) -> bool {
        true
    }

    fn needs(&self, victims: usize) -> Duration {
        let victims = u32::try_from(victims).unwrap_or(u32::MAX);
        NODE_NEEDS.saturating_mul(victims) + self.pause.0.saturating_mul(victims.saturating_sub(1))
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(nodes::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let Some(first) = stage.nodes.first() else { return Ok("nobody".into()) };
            nodes::strike_one(stage, first, nodes::TERMINATE).await
        })
    }

    /// The first was struck already; the roll goes on for as long as each is well again.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let mut seen = Vec::new();
            for (turn, node) in stage.nodes.iter().enumerate() {
                let one = async {
                    if turn > 0 {
                        stage.env.sleep(self.pause.0).await;
                        let struck = nodes::strike_one(stage, node, nodes::TERMINATE).await;
                        struck.map_err(|error| error.to_string())?;
                    }
                    nodes::is_down(stage, node, before).await?;
                    nodes::start(stage, node).await
                };
                let one = one.await;
                let amiss = one.is_err();
                seen.push(one);
                if amiss {
                    break;
                }
            }
            nodes::sum_up(seen.into_iter())
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(nodes::start_all(stage))
    }
}
