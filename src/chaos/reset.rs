//! Reset: connections of a link are torn down, and new ones are refused.

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
    name: "reset",
    means: "resets every connection of a link, and every new one at once",
    bites: "exchanges fail over links that answered before",
    hits: Hits::Links,
    worlds: World::BOTH,
    keys: &[],
    example: "[[fault]]\n\
              kind = \"reset\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read,
    draw: |_| Arc::new(Reset),
};

#[expect(clippy::unnecessary_wraps, reason = "the registry asks for it: other kinds can fail")]
fn read(_: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    Ok(Arc::new(Reset))
}

#[derive(Debug)]
struct Reset;

impl Fault for Reset {
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
            let done = links::impair(stage, &[Toxic::Reset]).await?;
            Ok(format!("connections are reset {done}"))
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
