//! Limit time: each connection lives only so long, and is torn down then, in the middle of whatever was
//! being said.

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
    name: "limit-time",
    means: "resets each connection of a link once it has lived so long; open ones count from the start of the fault",
    bites: "a connection that nobody used was reset when its time was over, and no sooner",
    hits: Hits::Links,
    roles: &[],
    // There, an HTTP exchange has no connection of its own.
    worlds: &[World::Real],
    keys: &[KeyEntry { name: "life", means: "how long, from `10ms` to `10s`" }],
    example: "[[fault]]\n\
              kind = \"limit-time\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              life = \"500ms\"\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read,
    draw,
};

const LIFE_MIN: Duration = Duration::from_millis(10);
const LIFE_MAX: Duration = Duration::from_secs(10);
/// What the measurement needs beside one life.
const LOOK_NEEDS: Duration = Duration::from_secs(1);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let life = keys.needed_span("life", "say how long: life = \"500ms\"")?;
    if !(LIFE_MIN..=LIFE_MAX).contains(&life.get_ref().0) {
        let what = format!("must be between {} and {}", Span(LIFE_MIN), Span(LIFE_MAX));
        return Err(keys.wrong(&life.span(), "life", what));
    }
    Ok(Arc::new(LimitTime { life: life.into_inner() }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(LimitTime { life: Span::millis(rng.log_between(50.0, 2_000.0) as u64) })
}

#[derive(Debug)]
struct LimitTime {
    life: Span,
}

impl Fault for LimitTime {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("life".to_owned(), self.life.to_string().into())])
    }

    fn needs(&self, _victims: usize) -> Duration {
        self.life.0 + LOOK_NEEDS
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
            let after_ms = self.life.0.as_millis() as u64;
            let done = links::impair(stage, &[Toxic::Reset { after_ms }]).await?;
            Ok(format!("connections live for {} {done}", self.life))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        let limit = links::WELL_LIMIT + self.life.0;
        Box::pin(links::bites(stage, before, move |link, _| async move {
            let lived = links::lifetime(stage, link, limit).await?;
            let text = format!("a connection lived for {}", ms(lived));
            if lived >= self.life.0 { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, 0))
    }
}
