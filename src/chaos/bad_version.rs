//! Bad version: for a while some nodes are a version that is bad, and a share of the calls goes to it, as
//! in a roll-out that went wrong.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    messages::{self, JITTER, LOOK_EVERY, MEET_WITHIN, SLACK, TOXICITY},
    provider::{Meddle, Meddled, Meddling, Of, ProviderError},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span, suggest::must_be_one_of};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "bad-version",
    means: "makes nodes a version of their own that is bad, and gives it a share of the calls (by the binding in the backend's config)",
    bites: "they counted calls that they got, of all that their role got meanwhile, and those that they answered badly",
    hits: Hits::Nodes,
    roles: &["orchestration", "core"],
    worlds: World::BOTH,
    keys: &[
        KeyEntry {
            name: "share",
            means: "percent of the calls that the bad version gets: a whole number from 1 to 90",
        },
        KeyEntry {
            name: "bad",
            means: "`errors`: it answers that it can do nothing; `slow`: it takes its time; left out: `errors`",
        },
        KeyEntry {
            name: "delay",
            means: "with `bad = \"slow\"`: how long it takes in the mean, in whole ms",
        },
        JITTER,
        TOXICITY,
    ],
    example: "[[fault]]\n\
              kind = \"bad-version\"\n\
              nodes = [\"c/core-1\"]\n\
              share = 20\n\
              bad = \"slow\"\n\
              delay = \"300ms\"\n\
              jitter = \"100ms\"\n\
              toxicity = 1.0\n\
              at = \"20s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

const ERRORS: &str = "errors";
const SLOW: &str = "slow";
/// How long until every caller knows of the version and of its share.
const SETTLES: Duration = Duration::from_millis(1_500);
/// For so long calls are counted, or longer until one was answered badly.
const COUNTED: Duration = Duration::from_secs(1);
/// Calls that tell a share, and by which factor that may be off: what was refused is asked again.
const TOLD_FROM: u64 = 200;
const OFF_MAX: f64 = 2.5;
/// What it needs at least to be known and measured.
const NEEDS: Duration = Duration::from_secs(3);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let share = keys.count("share", 1..=90, "say how much it gets: share = 10")?;
    let bad = keys.text("bad")?;
    let how = match bad.as_ref().map_or(ERRORS, |bad| bad.get_ref()) {
        ERRORS => Meddle::Refused,
        SLOW => {
            let (delay, jitter) = messages::delay(keys)?;
            Meddle::Slow(delay, jitter)
        }
        other => {
            let what = must_be_one_of(other, [ERRORS, SLOW]);
            let at = bad.as_ref().map_or(keys.at.clone(), toml::Spanned::span);
            return Err(keys.wrong(&at, "bad", what));
        }
    };
    let toxicity = messages::toxicity(keys)?;
    Ok(Arc::new(BadVersion { share, how, toxicity }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let share = rng.log_between(10.0, 60.0) as u32;
    let delay = Duration::from_millis(rng.log_between(20.0, 800.0) as u64);
    let how = if rng.chance(0.5) { Meddle::Refused } else { Meddle::Slow(delay, Duration::ZERO) };
    Arc::new(BadVersion { share, how, toxicity: 1.0 })
}

#[derive(Debug)]
struct BadVersion {
    share: u32,
    how: Meddle,
    toxicity: f64,
}

impl BadVersion {
    fn meddling(&self, version: u32, lasts: Duration) -> Meddling {
        Meddling {
            endpoint: "*".to_owned(),
            of: vec![Of::Requests],
            how: self.how,
            toxicity: self.toxicity,
            lasts: lasts + SLACK,
            as_version: Some(version),
        }
    }
}

impl Fault for BadVersion {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("share".to_owned(), i64::from(self.share).into());
        let bad = if let Meddle::Slow(delay, jitter) = self.how {
            table.insert("delay".to_owned(), Span(delay).to_string().into());
            if !jitter.is_zero() {
                table.insert("jitter".to_owned(), Span(jitter).to_string().into());
            }
            SLOW
        } else {
            ERRORS
        };
        table.insert("bad".to_owned(), bad.into());
        if self.toxicity < 1.0 {
            table.insert("toxicity".to_owned(), self.toxicity.into());
        }
        table
    }

    fn needs(&self, _: usize) -> Duration {
        NEEDS
    }

    fn before<'a>(&'a self, _: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        // Calls are counted from nothing.
        Box::pin(std::future::ready(Baseline::default()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let names: Vec<&str> = stage.nodes.iter().map(NodeName::as_str).collect();
            if others(stage).is_empty() {
                let why = "there are no others of its role, that could be the good version";
                return Err(ProviderError { victim: names.join(", "), why: why.to_owned() });
            }
            let version = stage.provider.give_share(stage.nodes, self.share).await?;
            messages::tell(stage, &self.meddling(version, stage.lasts)).await?;
            let (names, share) = (names.join(", "), self.share);
            Ok(format!("{names}: version {version}, bad, is to get {share} % of the calls"))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let counted = self.count(stage).await;
            counted.unwrap_or_else(|what| Seen { holds: false, what })
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let ended = join_all(stage.nodes.iter().map(|node| messages::look(stage, node, true)));
            let ended: Result<Vec<Meddled>, String> = ended.await.into_iter().collect();
            let taken = stage.provider.take_share(stage.nodes).await;
            match (ended, taken) {
                (Ok(seen), Ok(())) if seen.iter().all(|seen| !seen.on) => {
                    let badly: u64 = seen.iter().map(|seen| seen.touched).sum();
                    let what = format!("good again, and calls go as before; {badly} went badly");
                    Seen { holds: true, what }
                }
                (Ok(_), Ok(())) => Seen { holds: false, what: "it is bad still".to_owned() },
                (Err(what), _) => Seen { holds: false, what },
                (_, Err(why)) => Seen { holds: false, what: why.to_string() },
            }
        })
    }
}

impl BadVersion {
    /// Counts which share of the calls it gets once it is known, and how many it answers badly.
    async fn count(&self, stage: &Stage<'_>) -> Result<Seen, String> {
        let env = stage.env;
        env.sleep(SETTLES).await;
        let others = others(stage);
        let (own_before, theirs_before) = (own(stage).await?, theirs(stage, &others).await);
        let begun = env.now();
        loop {
            env.sleep(LOOK_EVERY).await;
            let lasted = env.now().since(begun);
            if lasted < COUNTED {
                continue;
            }
            let (met, badly) = own(stage).await?;
            let (met, badly) = (met - own_before.0.min(met), badly - own_before.1.min(badly));
            if badly == 0 && lasted < MEET_WITHIN {
                continue;
            }
            let now = theirs(stage, &others).await;
            // One that was started anew meanwhile counts from nothing.
            let good =
                now.iter().zip(&theirs_before).map(|(now, before)| now.saturating_sub(*before));
            let all = met + good.sum::<u64>();
            let percent = met as f64 * 100.0 / (all as f64).max(1.0);
            let (share, seconds) = (self.share, lasted.as_secs_f64());
            let what = format!(
                "the bad version got {met} of {all} calls within {seconds:.1} s ({percent:.1} %, \
                 wanted were {share} %), and {badly} went badly"
            );
            let near = f64::from(share) / OFF_MAX..=f64::from(share) * OFF_MAX;
            let holds = badly > 0 && (all < TOLD_FROM || near.contains(&percent));
            return Ok(Seen { holds, what });
        }
    }
}

/// The other nodes of the victims' roles that are not kept down.
fn others(stage: &Stage<'_>) -> Vec<NodeName> {
    let all = stage.provider.nodes().into_iter();
    let of_role = all.filter(|node| stage.nodes.iter().any(|victim| victim.role() == node.role()));
    of_role.filter(|node| !stage.nodes.contains(node) && !(stage.is_down)(node)).collect()
}

/// The calls that the bad version got, and those that it answered badly.
async fn own(stage: &Stage<'_>) -> Result<(u64, u64), String> {
    let seen = join_all(stage.nodes.iter().map(|node| messages::look(stage, node, false))).await;
    seen.into_iter().try_fold((0, 0), |(met, badly), seen| {
        let seen = seen?;
        Ok((met + seen.met, badly + seen.touched))
    })
}

/// The calls that each other node got; 0 of one that does not answer.
async fn theirs(stage: &Stage<'_>, others: &[NodeName]) -> Vec<u64> {
    let seen = join_all(others.iter().map(|node| messages::look(stage, node, false))).await;
    seen.into_iter().map(|seen| seen.map_or(0, |seen| seen.asks)).collect()
}
