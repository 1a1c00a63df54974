//! Latency: everything on a link is held back for a while, in each direction.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{ProviderError, Toxic},
};
use crate::base::{dist::Around, file::FileError, rng::Rng, span::Span, suggest::must_be_one_of};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "latency",
    means: "holds everything on a link back for a while, in each direction; the order is kept",
    bites: "the round trip over the links rose by at least half of `latency`",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[
        KeyEntry { name: "latency", means: "the mean delay of each direction, in whole ms" },
        KeyEntry {
            name: "jitter",
            means: "the width of the delay around `latency`, no more than that; left out: none",
        },
        KeyEntry {
            name: "distribution",
            means: "`uniform`: evenly from `latency` ± `jitter`; `normal`: `jitter` is the standard deviation; `pareto`: mostly near `latency` − `jitter`, now and then far above, with `latency` as the mean; left out: `uniform`",
        },
    ],
    example: "[[fault]]\n\
              kind = \"latency\"\n\
              links = { az = \"a\" }\n\
              latency = \"100ms\"\n\
              jitter = \"50ms\"\n\
              distribution = \"pareto\"\n\
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
    let around = read_around(keys, jitter)?;
    Ok(Arc::new(Latency { mean: latency, jitter, around }))
}

fn read_around(keys: &mut Keys<'_>, jitter: Span) -> Result<Around, FileError> {
    let Some(word) = keys.text("distribution")? else { return Ok(Around::Uniform) };
    let Some((_, around)) = Around::ALL.into_iter().find(|(known, _)| known == word.get_ref())
    else {
        let hint = must_be_one_of(word.get_ref(), Around::ALL.map(|(known, _)| known));
        let what = format!("`{}` is no distribution: {hint}", word.get_ref());
        return Err(keys.wrong(&word.span(), "distribution", what));
    };
    if jitter.0.is_zero() {
        let what = "means nothing without `jitter`: say how far apart the delays lie";
        return Err(keys.wrong(&word.span(), "distribution", what));
    }
    Ok(around)
}

/// At most half of the delay is jitter, so that every exchange is slower for it.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let latency_ms = rng.log_between(20.0, 250.0) as u64;
    let jitter_ms = rng.below(latency_ms as usize / 2 + 1) as u64;
    let (latency, jitter) = (Span::millis(latency_ms), Span::millis(jitter_ms));
    Arc::new(Latency { mean: latency, jitter, around: Around::Uniform })
}

#[derive(Debug)]
struct Latency {
    mean: Span,
    jitter: Span,
    around: Around,
}

impl Fault for Latency {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let texts = [("latency", self.mean), ("jitter", self.jitter)];
        let texts = texts.map(|(key, span)| (key.to_owned(), span.to_string().into()));
        let mut settings = toml::Table::from_iter(texts);
        if !self.around.is_uniform() {
            settings.insert("distribution".to_owned(), self.around.word().into());
        }
        settings
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let toxic = Toxic::Latency {
                latency_ms: self.mean.0.as_millis() as u64,
                jitter_ms: self.jitter.0.as_millis() as u64,
                around: self.around,
            };
            let done = links::impair(stage, &[toxic]).await?;
            Ok(format!("{} ± {} each way {done}", self.mean, self.jitter))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        // Opening a connection may cost round trips of its own, and each one is slow now.
        let limit = links::WELL_LIMIT + (self.mean.0 + self.jitter.0) * 8;
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            let now = links::median(stage, link, 0, limit).await?;
            let text = format!("round trip {} → {}", ms(rtt), ms(now));
            if now >= rtt + self.mean.0 / 2 { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, self.mean.0 / 2, 0))
    }
}
