//! Skew: the wall clock of a node is wrong for a while, ahead or behind. Its sense of how time
//! passes is not touched: timers and time-outs go on as they were.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    messages::{self, SLACK},
    provider::{Meddle, Meddling, ProviderError},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "skew",
    means: "moves a node's wall clock ahead or behind; its timers are not touched",
    bites: "the clock, by the node's own word, is off by that much",
    hits: Hits::Nodes,
    roles: &["api", "orchestration", "core", "storage"],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "by",
        means: "how far ahead, in whole ms; behind with a minus: `by = \"-2s\"`",
    }],
    example: "[[fault]]\n\
              kind = \"skew\"\n\
              nodes = [\"a/core-1\"]\n\
              by = \"1500ms\"\n\
              at = \"20s\"\n\
              for = \"30s\"\n",
    read,
    draw,
};

/// The most that a plan may ask for.
const SKEW_MAX: Duration = Duration::from_hours(24);
/// How long it may take to read a clock.
const LIMIT: Duration = Duration::from_secs(2);
/// Looks at a clock that was put back, and the pause between them.
const LOOKS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);
/// How far two clocks may differ for rounding alone.
const ROUNDING_MS: i64 = 1;

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let Some(by) = keys.text("by")? else {
        return Err(keys.lacks("by", "say how far: by = \"1500ms\" ahead, by = \"-2s\" behind"));
    };
    let wrong = |what: String| keys.wrong(&by.span(), "by", what);
    let text = by.get_ref().trim();
    let (behind, size) = text.strip_prefix('-').map_or((false, text), |size| (true, size));
    let size: Span =
        size.parse().map_err(|why: crate::base::span::NotASpan| wrong(why.to_string()))?;
    if size.0.as_millis() == 0 {
        return Err(wrong("must be 1ms or more, ahead or behind: no skew is no fault".into()));
    }
    if size.0 > SKEW_MAX {
        return Err(wrong(format!("must be {} at most, ahead or behind", Span(SKEW_MAX))));
    }
    Ok(Arc::new(Skew { behind, size }))
}

/// A tenth of a second to five, ahead or behind.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let size = Span::millis(rng.log_between(100.0, 5_000.0) as u64);
    Arc::new(Skew { behind: rng.chance(0.5), size })
}

#[derive(Debug)]
struct Skew {
    behind: bool,
    size: Span,
}

impl Skew {
    fn ms(&self) -> i64 {
        // A day of milliseconds fits.
        let ms = i64::try_from(self.size.0.as_millis()).unwrap_or(i64::MAX);
        if self.behind { -ms } else { ms }
    }

    /// As a plan writes it.
    fn text(&self) -> String {
        format!("{}{}", if self.behind { "-" } else { "" }, self.size)
    }
}

impl Fault for Skew {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("by".to_owned(), self.text().into())])
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(async move {
            let mut baseline = Baseline::default();
            for (node, seen) in looks(stage).await {
                if let Ok(Clock { ahead_ms, .. }) = seen {
                    baseline.ahead_ms.insert(node.clone(), ahead_ms);
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
            let what = Meddling {
                endpoint: "*".to_owned(),
                of: Vec::new(),
                how: Meddle::Skewed(self.ms()),
                toxicity: 1.0,
                lasts: stage.lasts + SLACK,
                as_version: None,
            };
            messages::tell(stage, &what).await?;
            let names: Vec<&str> = stage.nodes.iter().map(NodeName::as_str).collect();
            Ok(format!("the clock of {} was moved by {}", names.join(", "), self.text()))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(compare(stage, before, self.ms()))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let mut seen = Seen { holds: false, what: String::new() };
            for _ in 0..LOOKS_MAX {
                let back =
                    join_all(stage.nodes.iter().map(|node| messages::look(stage, node, true)));
                seen = match back.await.into_iter().collect::<Result<Vec<_>, _>>() {
                    Ok(_) => compare(stage, before, 0).await,
                    Err(what) => Seen { holds: false, what },
                };
                if seen.holds {
                    break;
                }
                stage.env.sleep(PAUSE).await;
            }
            seen
        })
    }
}

/// A look at a clock: how far it is ahead of the run's own, give or take.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ahead_ms: i64,
    give_ms: i64,
}

/// Whether every clock of the stage is off by that much, compared with what it was before.
async fn compare(stage: &Stage<'_>, before: &Baseline, by_ms: i64) -> Seen {
    let mut holds = true;
    let mut texts = Vec::new();
    for (node, seen) in looks(stage).await {
        let was = before.ahead_ms.get(node).copied().unwrap_or_default();
        let text = match seen {
            Ok(Clock { ahead_ms, give_ms }) => {
                let off = ahead_ms - was;
                // A skew that is smaller than what can be measured was not seen.
                let told = by_ms == 0 || off.abs() > give_ms;
                holds &= told && (off - by_ms).abs() <= give_ms;
                format!("{node}: its clock is {off} ms off (± {give_ms} ms)")
            }
            Err(why) => {
                holds = false;
                format!("{node}: its clock cannot be read: {why}")
            }
        };
        texts.push(text);
    }
    Seen { holds, what: texts.join("; ") }
}

async fn looks<'a>(stage: &'a Stage<'a>) -> Vec<(&'a NodeName, Result<Clock, String>)> {
    join_all(stage.nodes.iter().map(|node| async move { (node, look(stage, node).await) })).await
}

/// The node read its clock at some moment between the question and the answer.
async fn look(stage: &Stage<'_>, node: &NodeName) -> Result<Clock, String> {
    let asked = stage.env.wall().0;
    let shown = match stage.env.timeout(LIMIT, stage.provider.wall(node)).await {
        Ok(shown) => shown.map_err(|error| error.why)?.0,
        Err(_) => return Err(format!("no answer within {LIMIT:?}")),
    };
    let took = stage.env.wall().0.saturating_sub(asked);
    let ahead = i128::from(shown) - i128::from(asked + took / 2);
    let ahead_ms = i64::try_from(ahead).map_err(|_| "it shows nonsense".to_owned())?;
    let give_ms = i64::try_from(took.div_ceil(2)).unwrap_or(i64::MAX / 2) + ROUNDING_MS;
    Ok(Clock { ahead_ms, give_ms })
}
