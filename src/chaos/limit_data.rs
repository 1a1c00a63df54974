//! Limit data: each connection carries only so many bytes in a direction, and is torn down then, in the
//! middle of whatever was being said.

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
    name: "limit-data",
    means: "resets each connection of a link once that much has passed in one direction; open ones count from the start of the fault",
    bites: "an exchange of more than that fails over links that carried it before",
    hits: Hits::Links,
    roles: &[],
    // There, a connection is not made of bytes.
    worlds: &[World::Real],
    keys: &[KeyEntry { name: "bytes", means: "how much: a whole number from 1 to 65,536" }],
    example: "[[fault]]\n\
              kind = \"limit-data\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              bytes = 4096\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read,
    draw,
};

/// What is measured is one exchange, and no node takes much more in one.
const BYTES_MAX: u32 = 64 * 1024;
/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_secs(1);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let bytes = keys.count("bytes", 1..=BYTES_MAX, "say how much: bytes = 4096")?;
    Ok(Arc::new(LimitData { bytes }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(LimitData { bytes: rng.log_between(256.0, f64::from(BYTES_MAX)) as u32 })
}

#[derive(Debug)]
struct LimitData {
    bytes: u32,
}

impl LimitData {
    /// More than may pass.
    fn load(&self) -> usize {
        self.bytes as usize + 1
    }
}

impl Fault for LimitData {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("bytes".to_owned(), i64::from(self.bytes).into())])
    }

    fn of_requests(&self) -> bool {
        false
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, self.load()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let bytes = u64::from(self.bytes);
            let done = links::impair(stage, &[Toxic::LimitData { bytes, politely: false }]).await?;
            Ok(format!("connections end after {bytes} bytes {done}"))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            match links::round_trip(stage, link, self.load(), SILENCE + rtt * 4).await {
                Ok(now) => Err(format!("{} bytes passed within {}", self.load(), ms(now))),
                Err(why) => Ok(format!("{why} (before, {} bytes: {})", self.load(), ms(rtt))),
            }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, self.load()))
    }
}
