//! Bandwidth: a link carries only so much a second, whoever shares it.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{ProviderError, Toxic},
};
use crate::base::{file::FileError, rng::Rng};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "bandwidth",
    means: "lets only so much a second pass a link, in each direction, all its connections together",
    bites: "an exchange of a few kilobytes took at least half of the time that they need at that rate",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "rate",
        means: "kilobytes (of 1,000 bytes) a second: a whole number from 1 to 1,000",
    }],
    example: "[[fault]]\n\
              kind = \"bandwidth\"\n\
              links = { to = { role = \"storage\" } }\n\
              rate = 64\n\
              at = \"30s\"\n\
              for = \"15s\"\n",
    read,
    draw,
};

/// A faster link can hardly be told from one that is well.
const RATE_MAX: u32 = 1_000;
/// How long the exchange that measures it takes at that rate, about.
const MEASURE: Duration = Duration::from_millis(250);
/// The bytes of that exchange: more than its own words, and no more than any node takes.
const LOAD_MIN: usize = 512;
const LOAD_MAX: usize = 32 * 1024;
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let rate = keys.count("rate", 1..=RATE_MAX, "say how much: rate = 64 (kilobytes a second)")?;
    Ok(Arc::new(Bandwidth { rate }))
}

/// From what a bad phone has to what a busy line has.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(Bandwidth { rate: rng.log_between(16.0, 256.0) as u32 })
}

#[derive(Debug)]
struct Bandwidth {
    /// Kilobytes a second.
    rate: u32,
}

impl Bandwidth {
    fn load(&self) -> usize {
        let bytes = f64::from(self.rate) * 1e3 * MEASURE.as_secs_f64();
        (bytes as usize).clamp(LOAD_MIN, LOAD_MAX)
    }

    /// What the load needs at that rate.
    fn takes(&self) -> Duration {
        Duration::from_secs_f64(self.load() as f64 / (f64::from(self.rate) * 1e3))
    }
}

impl Fault for Bandwidth {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("rate".to_owned(), i64::from(self.rate).into())])
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, self.load()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let done = links::impair(
                stage,
                &[Toxic::Bandwidth { rate: u64::from(self.rate) * 1_000, each: false }],
            )
            .await?;
            Ok(format!("{} kB/s each way {done}", self.rate))
        })
    }

    /// A link that has more to carry than it can makes everybody wait for longer than that.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        let least = self.takes() / 2;
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            let limit = links::WELL_LIMIT + rtt;
            match links::round_trip(stage, link, self.load(), limit).await {
                Ok(now) if now < rtt + least => Err(format!("{} → {}", ms(rtt), ms(now))),
                Ok(now) => Ok(format!("{} bytes took {} → {}", self.load(), ms(rtt), ms(now))),
                Err(why) => Ok(format!("{why} (before: {})", ms(rtt))),
            }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, self.load()))
    }
}
