//! Log-in: many robots lose their sessions at one moment, and all log in at once.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use toml::Spanned;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    load::Logins,
    provider::{ProviderError, ROBOTS},
};
use crate::base::{file::FileError, rng::Rng};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "log-in",
    means: "lets robots lose their sessions, all at one moment: each logs in at once, and what it asks meanwhile is refused and waits for that; `for` is the time that they have until all must be in",
    bites: "at least nine in ten of them sent their login while it was in force; it says how many were in by then",
    hits: Hits::Load,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "share",
        means: "the share of the robots that are signed on, each drawn by itself: more than 0, and 1 at most; left out: 1",
    }],
    example: "[[fault]]\n\
              kind = \"log-in\"\n\
              share = 0.5\n\
              at = \"20s\"\n\
              for = \"5s\"\n",
    read,
    draw,
};

/// The share of them that must have sent their login.
const SENT_MIN: f64 = 0.9;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// It is measured until so long before its end.
const LOOK_ENDS: Duration = Duration::from_millis(500);
/// Those who are still not in try once more, and have so long.
const IN_WITHIN: Duration = Duration::from_secs(5);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let share = keys.number("share")?;
    if let Some(wrong) = share.as_ref().filter(|s| !(*s.get_ref() > 0.0 && *s.get_ref() <= 1.0)) {
        let what = "must be more than 0, and 1 at most: the share of the robots that log in";
        return Err(keys.wrong(&wrong.span(), "share", what));
    }
    Ok(Arc::new(LogIn { share: share.map_or(1.0, Spanned::into_inner) }))
}

/// A fifth of them to all, in tenths, so that it reads back as it is.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(LogIn { share: f64::from(2 + rng.below(9) as u32) / 10.0 })
}

#[derive(Debug)]
struct LogIn {
    share: f64,
}

impl Fault for LogIn {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let share = (self.share < 1.0).then(|| ("share".to_owned(), self.share.into()));
        share.into_iter().collect()
    }

    fn needs(&self, _: usize) -> Duration {
        LOOK_ENDS * 2
    }

    fn before<'a>(&'a self, _: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        // Logins are counted from nothing.
        Box::pin(std::future::ready(Baseline::default()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        let done = match stage.crowd.log_all_in(self.share) {
            0 => Err(ProviderError {
                victim: ROBOTS.to_owned(),
                why:
                    "no robot is signed on that could log in: the target must map driver.login or \
                      passenger.login"
                        .to_owned(),
            }),
            count => Ok(format!("{count} robots lost their sessions")),
        };
        Box::pin(std::future::ready(done))
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let begun = stage.env.now();
            let until = begun + stage.lasts.saturating_sub(LOOK_ENDS);
            let logins = all_in(stage, until).await;
            let Logins { asked, sent, away } = logins;
            let holds = f64::from(sent) >= SENT_MIN * f64::from(asked);
            let took = (stage.env.now() - begun).as_secs_f64();
            let what = format!(
                "{sent} of {asked} logins were sent within {took:.1} s, and {} were in",
                asked - away
            );
            Seen { holds, what }
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            // One who was refused does not come back by itself until it has something to ask.
            stage.crowd.log_in_again();
            let Logins { asked, away, .. } = all_in(stage, stage.env.now() + IN_WITHIN).await;
            let what = format!("{away} of {asked} robots are not in again");
            Seen { holds: away == 0, what }
        })
    }
}

/// Waits until all are in, or for so long.
async fn all_in(stage: &Stage<'_>, until: crate::base::time::Time) -> Logins {
    loop {
        let logins = stage.crowd.logins();
        if logins.away == 0 || stage.env.now() >= until {
            return logins;
        }
        stage.env.sleep(LOOK_EVERY).await;
    }
}
