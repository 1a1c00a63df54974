//! Flapping: a partition comes and goes. Each time the two ends find one another just long enough to
//! trust it.

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
    name: "flapping",
    means: "lets nothing pass a link for a while, then everything, and so on: a partition on and off",
    bites: "no answer came back over links that answered before, and then one did",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[
        KeyEntry { name: "down", means: "how long nothing passes each time; left out: `1s`" },
        KeyEntry { name: "up", means: "how long everything passes each time; left out: `1s`" },
    ],
    example: "[[fault]]\n\
              kind = \"flapping\"\n\
              links = { between = [{ az = \"a\" }, { az = \"b\" }] }\n\
              down = \"1500ms\"\n\
              up = \"3s\"\n\
              at = \"30s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

/// A shorter one cannot be measured.
const TURN_MIN: Duration = Duration::from_secs(1);
const TURN_MAX: Duration = Duration::from_mins(10);
/// What the measurements need beside.
const LOOKS_NEED: Duration = Duration::from_secs(1);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let mut turn = |key| match keys.span(key)? {
        Some(turn) if !(TURN_MIN..=TURN_MAX).contains(&turn.get_ref().0) => {
            let what = format!("must be between {} and {}", Span(TURN_MIN), Span(TURN_MAX));
            Err(keys.wrong(&turn.span(), key, what))
        }
        Some(turn) => Ok(turn.into_inner()),
        None => Ok(Span(TURN_MIN)),
    };
    let (down, up) = (turn("down")?, turn("up")?);
    Ok(Arc::new(Flapping { down, up }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let [down, up] = [(); 2].map(|()| Span::millis(rng.log_between(1_000.0, 3_000.0) as u64));
    Arc::new(Flapping { down, up })
}

#[derive(Debug)]
struct Flapping {
    down: Span,
    up: Span,
}

impl Fault for Flapping {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let texts = [("down", self.down), ("up", self.up)];
        texts.into_iter().map(|(key, span)| (key.to_owned(), span.to_string().into())).collect()
    }

    fn cuts(&self) -> bool {
        true
    }

    fn needs(&self, _victims: usize) -> Duration {
        self.down.0 + LOOKS_NEED
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let done = links::impair(stage, &[Toxic::BlackHole]).await?;
            Ok(format!("nothing passes for {}, then all for {}, {done}", self.down, self.up))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let up_at = stage.env.now() + self.down.0;
            let down = links::are_silent(stage, before).await;
            if !down.holds {
                return down;
            }
            stage.env.sleep_until(up_at).await;
            let failed = links::cure(stage).await;
            if !failed.is_empty() {
                return Seen { holds: false, what: failed.join("; ") };
            }
            let up = links::look_at_each(stage, before, move |link, _| async move {
                let now = links::round_trip(stage, link, 0, links::WELL_LIMIT).await?;
                Ok(format!("answered within {} when it was up", ms(now)))
            })
            .await;
            Seen { holds: up.holds, what: format!("{}; then {}", down.what, up.what) }
        })
    }

    /// It is up after the measurement; what cannot be set is left to the healing, which says so.
    fn go_on<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            loop {
                stage.env.sleep(self.up.0).await;
                let _ = links::impair(stage, &[Toxic::BlackHole]).await;
                stage.env.sleep(self.down.0).await;
                let _ = links::cure(stage).await;
            }
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, 0))
    }
}
