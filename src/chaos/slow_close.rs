//! Slow close: whoever ends a connection is heard late, and holds on to it for as long.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{ProviderError, Toxic},
};
use crate::base::{file::FileError, rng::Rng, span::Span};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "slow-close",
    means: "holds the end of each connection of a link back for a while, in each direction",
    bites: "a connection that was ended on one side was ended on the other no sooner than that",
    hits: Hits::Links,
    roles: &[],
    // There, an HTTP connection has no end of its own.
    worlds: &[World::Real],
    keys: &[KeyEntry { name: "delay", means: "how long, in whole ms" }],
    example: "[[fault]]\n\
              kind = \"slow-close\"\n\
              links = { from = \"robots\" }\n\
              delay = \"500ms\"\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read,
    draw,
};

const DELAY_MIN: Duration = Duration::from_millis(10);
const DELAY_MAX: Duration = Duration::from_mins(1);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let delay = keys.needed_span("delay", "say how long: delay = \"500ms\"")?;
    if !(DELAY_MIN..=DELAY_MAX).contains(&delay.get_ref().0) {
        let what = format!("must be between {} and {}", Span(DELAY_MIN), Span(DELAY_MAX));
        return Err(keys.wrong(&delay.span(), "delay", what));
    }
    Ok(Arc::new(SlowClose { delay: delay.into_inner() }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(SlowClose { delay: Span::millis(rng.log_between(50.0, 1_000.0) as u64) })
}

#[derive(Debug)]
struct SlowClose {
    delay: Span,
}

impl Fault for SlowClose {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("delay".to_owned(), self.delay.to_string().into())])
    }

    fn of_requests(&self) -> bool {
        false
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let delay_ms = self.delay.0.as_millis() as u64;
            let done = links::impair(stage, &[Toxic::SlowClose { delay_ms }]).await?;
            Ok(format!("ends are held back for {} {done}", self.delay))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        // Our end goes there, and the other's comes back.
        let limit = links::WELL_LIMIT + self.delay.0 * 2;
        Box::pin(links::bites(stage, before, move |link, _| async move {
            let now = links::closing(stage, link, limit).await?;
            let text = format!("a connection took {} to end", ms(now));
            if now >= self.delay.0 { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, 0))
    }
}
