//! Swizzle: links stop one by one, and come back one by one, in another order. What depends on who
//! comes back first is found that way.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{LinkName, ProviderError, Toxic},
};
use crate::base::{file::FileError, rng::Rng, span::Span};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "swizzle",
    means: "lets nothing pass one link after the other, until nothing passes any; then lets them pass again, one after the other, in another order",
    bites: "no answer came back over links that answered before, once all had stopped, and then one did over each, once all were back",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry { name: "pause", means: "between two links; left out: `200ms`" }],
    example: "[[fault]]\n\
              kind = \"swizzle\"\n\
              links = { between = [{ role = \"core\" }, { role = \"storage\" }] }\n\
              pause = \"300ms\"\n\
              at = \"30s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

const PAUSE_USUAL: Span = Span::millis(200);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// What the measurements need beside the pauses.
const LOOKS_NEED: Duration = Duration::from_millis(1_200);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let pause = match keys.span("pause")? {
        Some(pause) if !(PAUSE_MIN..=PAUSE_MAX).contains(&pause.get_ref().0) => {
            let what = format!("must be between {} and {}", Span(PAUSE_MIN), Span(PAUSE_MAX));
            return Err(keys.wrong(&pause.span(), "pause", what));
        }
        Some(pause) => pause.into_inner(),
        None => PAUSE_USUAL,
    };
    Ok(Arc::new(Swizzle { pause }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(Swizzle { pause: Span::millis(rng.log_between(10.0, 30.0) as u64) })
}

#[derive(Debug)]
struct Swizzle {
    pause: Span,
}

impl Swizzle {
    /// The links in an order that the seed draws for that part of the play.
    fn order<'a>(stage: &'a Stage<'a>, part: &str) -> Vec<&'a LinkName> {
        let first = stage.links.first().map(ToString::to_string).unwrap_or_default();
        let mut rng = stage.env.rng(&format!("swizzle/{part}/{first}"));
        let mut left: Vec<&LinkName> = stage.links.iter().collect();
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            order.push(left.swap_remove(rng.below(left.len())));
        }
        order
    }
}

impl Fault for Swizzle {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("pause".to_owned(), self.pause.to_string().into())])
    }

    fn cuts(&self) -> bool {
        true
    }

    fn needs(&self, victims: usize) -> Duration {
        let pauses = u32::try_from(victims).unwrap_or(u32::MAX).saturating_mul(2);
        self.pause.0.saturating_mul(pauses) + LOOKS_NEED
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let order = Self::order(stage, "stop");
            let Some(first) = order.first() else { return Ok("no link".into()) };
            links::set(stage, first, &[Toxic::BlackHole]).await?;
            Ok(format!("the first of {} links has stopped, {first}", order.len()))
        })
    }

    /// The first has stopped already.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let wrong = |error: ProviderError| Seen { holds: false, what: error.to_string() };
            for link in Self::order(stage, "stop").into_iter().skip(1) {
                stage.env.sleep(self.pause.0).await;
                if let Err(error) = links::set(stage, link, &[Toxic::BlackHole]).await {
                    return wrong(error);
                }
            }
            let stopped = links::are_silent(stage, before).await;
            if !stopped.holds {
                return stopped;
            }
            for link in Self::order(stage, "back") {
                stage.env.sleep(self.pause.0).await;
                if let Err(error) = links::set(stage, link, &[]).await {
                    return wrong(error);
                }
            }
            let back = links::look_at_each(stage, before, move |link, _| async move {
                let now = links::round_trip(stage, link, 0, links::WELL_LIMIT).await?;
                Ok(format!("answered within {} when all were back", ms(now)))
            })
            .await;
            Seen { holds: back.holds, what: format!("{}; then {}", stopped.what, back.what) }
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, SLACK, 0))
    }
}
