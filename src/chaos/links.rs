//! What every fault on links shares: making them sick, and measuring them.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};

use super::{
    fault::{Baseline, Fault, Seen, Stage},
    provider::{LinkName, ProviderError, Toxic, Way},
    toxicity,
};

/// How long it may take to make one link sick or well.
const IMPAIR_LIMIT: Duration = Duration::from_secs(5);
/// Tries to make a link well.
const HEALS_MAX: u32 = 3;
/// Links of one fault that are measured; they lie evenly among those that are hit.
const SAMPLE_MAX: usize = 8;
/// Round trips of one measurement of a link: the median counts.
const ROUND_TRIPS: usize = 3;
/// How long a round trip may take on a link that is well.
pub(super) const WELL_LIMIT: Duration = Duration::from_secs(2);
/// Measurements until a healed link must be well, and the pause between them.
const WELL_TRIES: u32 = 20;
const WELL_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(500);
/// How much slower than before a link may be that was silent.
const SLACK: Duration = Duration::from_millis(200);

/// Links over which no answer comes, whatever the reason.
#[derive(Debug)]
pub(super) struct Silent {
    pub kind: &'static str,
    pub toxics: &'static [Toxic],
    /// The direction that is hit, where it is one alone.
    pub only: Option<Way>,
    /// What was done to them, for people.
    pub did: &'static str,
}

impl Fault for Silent {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn settings(&self) -> toml::Table {
        let word = self.only.map(|way| match way {
            Way::Upstream => "there",
            Way::Downstream => "back",
        });
        word.map(|word| ("direction".to_owned(), word.into())).into_iter().collect()
    }

    fn cuts(&self) -> bool {
        true
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let Some(way) = self.only else {
                let done = impair(stage, self.toxics).await?;
                return Ok(format!("{} {done}", self.did));
            };
            let of = self.toxics.to_vec();
            let toxic = Toxic::Partly { way: Some(way), toxicity: None, of };
            let done = impair(stage, &[toxic]).await?;
            let to = if way == Way::Upstream { "from" } else { "to" };
            Ok(format!("{} {to} the one who dials {done}", self.did))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(are_silent(stage, before))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(heal(stage, before, SLACK, 0))
    }
}

/// Whether no answer comes over any link that answered before.
pub(super) async fn are_silent(stage: &Stage<'_>, before: &Baseline) -> Seen {
    bites(stage, before, move |link, rtt| async move {
        // A link that was slow before gets the time to be slow again.
        match round_trip(stage, link, 0, SILENCE + rtt * 4).await {
            Ok(now) => Err(format!("answered within {}", ms(now))),
            Err(why) => Ok(format!("{why} (before: {})", ms(rtt))),
        }
    })
    .await
}

/// Makes every link of the stage sick, all at once.
pub(super) async fn impair(stage: &Stage<'_>, toxics: &[Toxic]) -> Result<String, ProviderError> {
    let done = join_all(stage.links.iter().map(|link| set(stage, link, toxics))).await;
    done.into_iter().collect::<Result<(), _>>()?;
    let part = stage
        .toxicity
        .map(|toxicity| format!(", {} % of {}s", toxicity.share * 100.0, toxicity.per.word()));
    Ok(format!("on {}{}", count(stage.links.len(), "link"), part.unwrap_or_default()))
}

/// Makes every link of the stage well; the errors of those where it cannot be said.
pub(super) async fn cure(stage: &Stage<'_>) -> Vec<String> {
    let done = join_all(stage.links.iter().map(|link| async move {
        let mut last = Ok(());
        for _ in 0..HEALS_MAX {
            last = set(stage, link, &[]).await;
            if last.is_ok() {
                break;
            }
            stage.env.sleep(WELL_PAUSE).await;
        }
        last
    }))
    .await;
    done.into_iter().filter_map(|done| done.err().map(|error| error.to_string())).collect()
}

/// Makes one link sick, for as much of what passes it as is asked for; without toxics, well.
pub(super) async fn set(
    stage: &Stage<'_>,
    link: &LinkName,
    toxics: &[Toxic],
) -> Result<(), ProviderError> {
    let partly = stage.toxicity.filter(|_| !toxics.is_empty()).map(|toxicity| {
        [Toxic::Partly { way: None, toxicity: Some(toxicity), of: toxics.to_vec() }]
    });
    let toxics = partly.as_ref().map_or(toxics, |partly| partly.as_slice());
    match stage.env.timeout(IMPAIR_LIMIT, stage.provider.impair(link, toxics)).await {
        Ok(done) => done,
        Err(_) => Err(ProviderError {
            victim: link.to_string(),
            why: format!("no reply within {IMPAIR_LIMIT:?}"),
        }),
    }
}

/// The links that are measured: evenly spread, and both ends up as far as the faults know.
fn sample<'a>(stage: &Stage<'a>) -> Vec<&'a LinkName> {
    let alive: Vec<&LinkName> = stage
        .links
        .iter()
        .filter(|link| !(stage.is_down)(&link.from) && !(stage.is_down)(&link.to))
        .collect();
    let taken = alive.len().min(SAMPLE_MAX);
    (0..taken).map(|i| alive[i * alive.len() / taken]).collect()
}

/// The round trip of a link with so many bytes more than it needs, if it comes back within `limit`.
pub(super) async fn round_trip(
    stage: &Stage<'_>,
    link: &LinkName,
    load: usize,
    limit: Duration,
) -> Result<Duration, String> {
    match stage.env.timeout(limit, stage.provider.round_trip(link, load)).await {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(error)) => Err(error.why),
        Err(_) => Err(format!("no answer within {}", ms(limit))),
    }
}

/// How long a connection over a link takes to end, if it ends within `limit`.
pub(super) async fn closing(
    stage: &Stage<'_>,
    link: &LinkName,
    limit: Duration,
) -> Result<Duration, String> {
    match stage.env.timeout(limit, stage.provider.closing(link)).await {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(error)) => Err(error.why),
        Err(_) => Err(format!("no end within {}", ms(limit))),
    }
}

/// How long an idle connection over a link lives, if it ends within `limit`.
pub(super) async fn lifetime(
    stage: &Stage<'_>,
    link: &LinkName,
    limit: Duration,
) -> Result<Duration, String> {
    match stage.env.timeout(limit, stage.provider.lifetime(link)).await {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(error)) => Err(error.why),
        Err(_) => Err(format!("it lives after {}", ms(limit))),
    }
}

/// The median of a few round trips, one after the other; one alone where each may fare otherwise.
pub(super) async fn median(
    stage: &Stage<'_>,
    link: &LinkName,
    load: usize,
    limit: Duration,
) -> Result<Duration, String> {
    let trips = if stage.toxicity.is_some() { 1 } else { ROUND_TRIPS };
    let mut measured = Vec::with_capacity(trips);
    for _ in 0..trips {
        measured.push(round_trip(stage, link, load, limit).await?);
    }
    measured.sort_unstable();
    Ok(measured[trips / 2])
}

/// Measures a sample of the links while they are well.
pub(super) async fn baseline(stage: &Stage<'_>, load: usize) -> Baseline {
    let measured = join_all(
        sample(stage)
            .into_iter()
            .map(|link| async move { (link, first_look(stage, link, load).await) }),
    )
    .await;
    let well = measured.into_iter().filter_map(|(link, rtt)| Some((link.clone(), rtt.ok()?)));
    Baseline { round_trips: well.collect(), ..Baseline::default() }
}

/// All of it within [`WELL_LIMIT`]: the fault must not be late for it.
async fn first_look(stage: &Stage<'_>, link: &LinkName, load: usize) -> Result<Duration, String> {
    let limit = stage.env.timeout(WELL_LIMIT, median(stage, link, load, WELL_LIMIT)).await;
    limit.unwrap_or_else(|late| Err(late.to_string()))
}

/// What one measured link showed: in order or not, and what was seen.
pub(super) type Look = Result<String, String>;

/// Looks whether a fault bites on each link that was measured before. Where it meets only a part of
/// what passes, each link is looked at until one look meets it.
pub(super) async fn bites<'a, F>(
    stage: &'a Stage<'a>,
    before: &'a Baseline,
    look: impl Fn(&'a LinkName, Duration) -> F,
) -> Seen
where
    F: Future<Output = Look>,
{
    let (most, look) = (toxicity::looks(stage.toxicity), &look);
    look_at_each(stage, before, move |link, rtt| async move {
        let mut last = Err("it was not looked at".to_owned());
        for turn in 1..=most {
            last = look(link, rtt).await;
            match &last {
                Ok(what) if most > 1 => return Ok(format!("{what}, on try {turn}")),
                Ok(_) => return last,
                Err(_) => {}
            }
        }
        last
    })
    .await
}

/// Looks at each link that was measured before, and is not dead by another fault, all at once.
pub(super) async fn look_at_each<'a, F>(
    stage: &'a Stage<'a>,
    before: &'a Baseline,
    look: impl Fn(&'a LinkName, Duration) -> F,
) -> Seen
where
    F: Future<Output = Look>,
{
    let measurable: BTreeMap<&LinkName, Duration> = before
        .round_trips
        .iter()
        .filter(|(link, _)| !(stage.is_down)(&link.from) && !(stage.is_down)(&link.to))
        .map(|(link, rtt)| (link, *rtt))
        .collect();
    let looks = measurable.into_iter().map(|(link, rtt)| {
        let look = look(link, rtt);
        async move { (link, look.await) }
    });
    sum_up(stage.links.len(), &join_all(looks).await)
}

/// One text of many looks: the first that is amiss, or the first of all.
fn sum_up(of: usize, looks: &[(&LinkName, Look)]) -> Seen {
    let right = looks.iter().filter(|(_, look)| look.is_ok()).count();
    let tally = format!("{right} of {} measured ({} hit)", count(looks.len(), "link"), of);
    let amiss = looks.iter().find_map(|(link, look)| Some((link, look.as_ref().err()?)));
    let first = looks.iter().find_map(|(link, look)| Some((link, look.as_ref().ok()?)));
    match (amiss, first) {
        (Some((link, what)), _) => {
            Seen { holds: false, what: format!("{tally}; not on {link}: {what}") }
        }
        (None, Some((link, what))) => {
            Seen { holds: true, what: format!("{tally}; {link}: {what}") }
        }
        (None, None) => {
            Seen { holds: false, what: format!("none of {} could be measured", count(of, "link")) }
        }
    }
}

/// Makes every link well, and measures until each is: within `slack` of what it was before.
pub(super) async fn heal(
    stage: &Stage<'_>,
    before: &Baseline,
    slack: Duration,
    load: usize,
) -> Seen {
    let failed = cure(stage).await;
    if !failed.is_empty() {
        return Seen { holds: false, what: failed.join("; ") };
    }
    let seen =
        look_at_each(stage, before, |link, rtt| well_again(stage, link, (rtt, slack), load)).await;
    let nothing_to_measure = !before
        .round_trips
        .keys()
        .any(|link| !(stage.is_down)(&link.from) && !(stage.is_down)(&link.to));
    if nothing_to_measure {
        // Each rule was taken back, and was acknowledged; there is nothing that could answer.
        let what =
            format!("taken off {}; none could be measured", count(stage.links.len(), "link"));
        return Seen { holds: true, what };
    }
    seen
}

async fn well_again(
    stage: &Stage<'_>,
    link: &LinkName,
    (before, slack): (Duration, Duration),
    load: usize,
) -> Look {
    let mut last = String::new();
    for attempt in 0..WELL_TRIES {
        if attempt > 0 {
            stage.env.sleep(WELL_PAUSE).await;
        }
        last = match median(stage, link, load, WELL_LIMIT).await {
            Ok(now) if now <= before + slack => {
                return Ok(format!("round trip {} again (before: {})", ms(now), ms(before)));
            }
            Ok(now) => format!("round trip still {} (before: {})", ms(now), ms(before)),
            Err(why) => why,
        };
    }
    Err(last)
}

/// Milliseconds for people.
pub(super) fn ms(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
