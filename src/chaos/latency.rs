//! Latency: everything on a link is held back for a while, in each direction.

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
    name: "latency",
    means: "holds everything on a link back for a while, in each direction; the order is kept",
    bites: "the round trip over the links rose by at least half of `latency`",
    hits: Hits::Links,
    worlds: World::BOTH,
    keys: &[
        KeyEntry { name: "latency", means: "the mean delay of each direction, in whole ms" },
        KeyEntry {
            name: "jitter",
            means: "the delay is drawn evenly from `latency` ± this; left out: none",
        },
    ],
    example: "[[fault]]\n\
              kind = \"latency\"\n\
              links = { az = \"a\" }\n\
              latency = \"100ms\"\n\
              jitter = \"50ms\"\n\
              at = \"65s\"\n\
              for = \"15s\"\n",
    read,
    draw,
};

/// The longest delay that a plan may ask for.
const LATENCY_MAX: Duration = Duration::from_mins(1);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let latency = keys.needed_span("latency", "say how long: latency = \"100ms\"")?;
    let at = latency.span();
    let latency = latency.into_inner();
    if latency.0.as_millis() == 0 {
        return Err(keys.wrong(&at, "latency", "must be 1ms or more: no delay is no fault"));
    }
    if latency.0 > LATENCY_MAX {
        return Err(keys.wrong(&at, "latency", format!("must be {LATENCY_MAX:?} or less")));
    }
    let jitter = match keys.span("jitter")? {
        Some(jitter) if *jitter.get_ref() > latency => {
            let what = format!("must not be more than the latency, {latency}");
            return Err(keys.wrong(&jitter.span(), "jitter", what));
        }
        Some(jitter) => jitter.into_inner(),
        None => Span::default(),
    };
    Ok(Arc::new(Latency { latency, jitter }))
}

/// At most half of the delay is jitter, so that every exchange is slower for it.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let latency_ms = rng.log_between(20.0, 250.0) as u64;
    let jitter_ms = rng.below(latency_ms as usize / 2 + 1) as u64;
    Arc::new(Latency { latency: Span::millis(latency_ms), jitter: Span::millis(jitter_ms) })
}

#[derive(Debug)]
struct Latency {
    latency: Span,
    jitter: Span,
}

impl Fault for Latency {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let texts = [("latency", self.latency), ("jitter", self.jitter)];
        texts.into_iter().map(|(key, span)| (key.to_owned(), span.to_string().into())).collect()
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let toxic = Toxic::Latency {
                latency_ms: self.latency.0.as_millis() as u64,
                jitter_ms: self.jitter.0.as_millis() as u64,
            };
            let done = links::impair(stage, &[toxic]).await?;
            Ok(format!("{} ± {} each way {done}", self.latency, self.jitter))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        // Opening a connection may cost round trips of its own, and each one is slow now.
        let limit = links::WELL_LIMIT + (self.latency.0 + self.jitter.0) * 8;
        Box::pin(links::look_at_each(stage, before, move |link, rtt| async move {
            let now = links::median(stage, link, limit).await?;
            let text = format!("round trip {} → {}", ms(rtt), ms(now));
            if now >= rtt + self.latency.0 / 2 { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, self.latency.0 / 2))
    }
}
