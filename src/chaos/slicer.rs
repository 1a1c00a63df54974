//! Slicer: what is sent arrives in small pieces, with a pause before each but the first. Whoever takes
//! one read for one message finds out.

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
    name: "slicer",
    means: "cuts what passes a link into small pieces, with a pause between two, in each direction",
    bites: "an exchange of eight pieces took at least half of the pauses between them",
    hits: Hits::Links,
    roles: &[],
    // There, a message is one thing.
    worlds: &[World::Real],
    keys: &[
        KeyEntry { name: "size", means: "bytes of a piece: a whole number from 1 to 4,096" },
        KeyEntry { name: "delay", means: "the pause, in whole ms; left out: `5ms`" },
    ],
    example: "[[fault]]\n\
              kind = \"slicer\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              size = 100\n\
              delay = \"5ms\"\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read,
    draw,
};

const SIZE_MAX: u32 = 4_096;
const DELAY_MAX: Duration = Duration::from_secs(1);
const DELAY_USUAL: Span = Span::millis(5);
/// Pieces of the exchange that measures it.
const PIECES: u32 = 8;
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let size = keys.count("size", 1..=SIZE_MAX, "say how small: size = 100 (bytes)")?;
    let delay = match keys.span("delay")? {
        Some(delay) if !(1..=DELAY_MAX.as_millis()).contains(&delay.get_ref().0.as_millis()) => {
            let what = format!("must be between 1ms and {}", Span(DELAY_MAX));
            return Err(keys.wrong(&delay.span(), "delay", what));
        }
        Some(delay) => delay.into_inner(),
        None => DELAY_USUAL,
    };
    Ok(Arc::new(Slicer { size, delay }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let size = rng.log_between(32.0, 1_024.0) as u32;
    Arc::new(Slicer { size, delay: Span::millis(rng.log_between(1.0, 10.0) as u64) })
}

#[derive(Debug)]
struct Slicer {
    size: u32,
    delay: Span,
}

impl Slicer {
    fn load(&self) -> usize {
        (self.size * PIECES) as usize
    }
}

impl Fault for Slicer {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([
            ("size".to_owned(), i64::from(self.size).into()),
            ("delay".to_owned(), self.delay.to_string().into()),
        ])
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, self.load()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let delay_us = self.delay.0.as_micros() as u64;
            let toxic = Toxic::Slicer { size: self.size, variation: 0, delay_us };
            let done = links::impair(stage, &[toxic]).await?;
            Ok(format!("pieces of {} bytes, {} between two, {done}", self.size, self.delay))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        let least = self.delay.0 * (PIECES - 1) / 2;
        let limit = links::WELL_LIMIT + self.delay.0 * PIECES * 8;
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            let now = links::median(stage, link, self.load(), limit).await?;
            let text = format!("{} bytes took {} → {}", self.load(), ms(rtt), ms(now));
            if now >= rtt + least { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, self.load()))
    }
}
