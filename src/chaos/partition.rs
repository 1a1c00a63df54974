//! Partition: nothing passes a link, and nobody is told; connections stay open and stall.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{ProviderError, Toxic},
};
use crate::base::file::FileError;

/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(500);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "partition",
    means: "lets nothing pass a link, both ways: connections stay open and stall, new ones too; what was sent arrives after the healing",
    bites: "no answer comes back over links that answered before",
    hits: Hits::Links,
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"partition\"\n\
              links = { between = [{ az = \"a\" }, { az = \"b\" }] }\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read,
    draw: |_| Arc::new(Partition),
};

#[expect(clippy::unnecessary_wraps, reason = "the registry asks for it: other kinds can fail")]
fn read(_: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    Ok(Arc::new(Partition))
}

#[derive(Debug)]
struct Partition;

impl Fault for Partition {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let done = links::impair(stage, &[Toxic::BlackHole]).await?;
            Ok(format!("nothing passes {done}"))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::look_at_each(stage, before, move |link, rtt| async move {
            // A link that was slow before gets the time to be slow again.
            match links::round_trip(stage, link, SILENCE + rtt * 4).await {
                Ok(now) => Err(format!("answered within {}", ms(now))),
                Err(why) => Ok(format!("{why} (before: {})", ms(rtt))),
            }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK))
    }
}
