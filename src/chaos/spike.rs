//! Spike: for a while more is asked for than usual, jobs and location updates.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use toml::Spanned;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    load::{Extra, Rates},
    provider::ProviderError,
};
use crate::base::{file::FileError, rng::Rng};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "spike",
    means: "multiplies the demand for a while: more jobs are wished for, and drivers tell more often where they are; each is planned as all load is, and passes the target's ceiling",
    bites: "the rate that was sent rose by at least half of what was asked, compared with the minute before; what is too few to tell does not count",
    hits: Hits::Load,
    roles: &[],
    worlds: World::BOTH,
    keys: &[
        KeyEntry {
            name: "factor",
            means: "so many jobs times what is usual: from 1 to 100; left out: 1",
        },
        KeyEntry {
            name: "updates",
            means: "the same of location updates; left out: 1; one of the two must be 1.1 or more",
        },
    ],
    example: "[[fault]]\n\
              kind = \"spike\"\n\
              factor = 3.0\n\
              updates = 2.0\n\
              at = \"20s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

/// More than that is no spike but another scenario.
const FACTOR_MAX: f64 = 100.0;
/// Less cannot be told from chance.
const FACTOR_MIN: f64 = 1.1;
/// It is measured for so long at least, at most, and that long before its end at the latest.
const LOOK_MIN: Duration = Duration::from_secs(2);
const LOOK_MAX: Duration = Duration::from_mins(1);
const LOOK_ENDS: Duration = Duration::from_millis(500);
/// How long it is looked at whether more comes once it is over.
const STILL: Duration = Duration::from_secs(1);
/// Half of what is asked must be so many standard deviations of the usual count.
const SURE: f64 = 3.0;

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let (jobs, updates) = (keys.number("factor")?, keys.number("updates")?);
    for (key, factor) in [("factor", &jobs), ("updates", &updates)] {
        if let Some(wrong) = factor.as_ref().filter(|f| !(1.0..=FACTOR_MAX).contains(f.get_ref())) {
            let what = format!("must be from 1 to {FACTOR_MAX}: so many times what is usual");
            return Err(keys.wrong(&wrong.span(), key, what));
        }
    }
    let value = |factor: Option<Spanned<f64>>| factor.map_or(1.0, Spanned::into_inner);
    let spike = Spike { jobs: value(jobs), updates: value(updates) };
    if spike.jobs < FACTOR_MIN && spike.updates < FACTOR_MIN {
        let hint = format!(
            "say how many jobs (factor = 3.0), or location updates (updates = 2.0), times what is \
             usual: one of the two must be {FACTOR_MIN} or more"
        );
        return Err(keys.lacks("factor", &hint));
    }
    Ok(Arc::new(spike))
}

/// Twice to four times of both, in tenths, so that it reads back as it is.
fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let mut factor = || f64::from(20 + rng.below(21) as u32) / 10.0;
    Arc::new(Spike { jobs: factor(), updates: factor() })
}

#[derive(Debug)]
struct Spike {
    jobs: f64,
    updates: f64,
}

/// What it does to one kind of ops.
struct Raise {
    what: &'static str,
    factor: f64,
    usual: f64,
    /// For how long the usual was measured.
    known_s: f64,
}

impl Raise {
    /// For how long it must be measured until half of what is asked is more than chance.
    fn sure_after_s(&self) -> f64 {
        let half = (self.factor - 1.0) / 2.0;
        (SURE / half).powi(2) / self.usual
    }

    /// Whether it rose; none where it was not measured for long enough to tell, then or before.
    fn rose(&self, sent_per_s: f64, seconds: f64) -> Option<bool> {
        let shorter = seconds.min(self.known_s);
        (shorter > 0.0 && shorter >= self.sure_after_s().floor())
            .then(|| sent_per_s >= self.usual * (1.0 + self.factor) / 2.0)
    }
}

impl Spike {
    /// What of it can be seen at all, given what is usual.
    fn raises(&self, usual: Rates) -> impl Iterator<Item = (Raise, fn(Rates) -> f64)> {
        let requests: fn(Rates) -> f64 = |rates| rates.requests_per_s;
        let updates: fn(Rates) -> f64 = |rates| rates.updates_per_s;
        let both = [
            ("requests of jobs", self.jobs, requests),
            ("location updates", self.updates, updates),
        ];
        both.into_iter().filter(|(_, factor, _)| *factor >= FACTOR_MIN).map(
            move |(what, factor, of)| {
                (Raise { what, factor, usual: of(usual), known_s: usual.seconds }, of)
            },
        )
    }

    /// How long it is looked at.
    fn look(&self, usual: Rates, lasts: Duration) -> Duration {
        let needs = self.raises(usual).map(|(raise, _)| raise.sure_after_s());
        // The seconds that are counted begin up to one later.
        let longest = needs.fold(0.0, f64::max).min(LOOK_MAX.as_secs_f64()).ceil() + 1.0;
        let most = lasts.saturating_sub(LOOK_ENDS).min(LOOK_MAX);
        Duration::from_secs_f64(longest).max(LOOK_MIN).min(most)
    }

    fn judge(&self, usual: Rates, sent: Rates) -> Seen {
        let (mut texts, mut told, mut holds) = (Vec::new(), false, true);
        for (Raise { what, factor, usual, .. }, rose, rate) in
            self.raises(usual).map(|(raise, of)| {
                let rate = of(sent);
                let rose = raise.rose(rate, sent.seconds);
                (raise, rose, rate)
            })
        {
            let few = if rose.is_none() { ", too few to tell" } else { "" };
            texts.push(format!("{what} {usual:.1}/s → {rate:.1}/s (asked × {factor}{few})"));
            told |= rose.is_some();
            holds &= rose.unwrap_or(true);
        }
        let what = format!("{} in {:.0} s", texts.join(", "), sent.seconds);
        let hint = if told { "" } else { ": let it last longer, or raise more" };
        Seen { holds: told && holds, what: format!("{what}{hint}") }
    }
}

impl Fault for Spike {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let both = [("factor", self.jobs), ("updates", self.updates)];
        let raised = both.into_iter().filter(|(_, factor)| *factor > 1.0);
        raised.map(|(key, factor)| (key.to_owned(), factor.into())).collect()
    }

    fn needs(&self, _: usize) -> Duration {
        LOOK_MIN + Duration::from_secs(1)
    }

    fn more_updates_per_s(&self, stage: &Stage<'_>) -> f64 {
        (self.updates - 1.0) * stage.crowd.updates_per_s()
    }

    fn before<'a>(&'a self, _: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        // What is usual is known until the moment at which more is asked for.
        Box::pin(std::future::ready(Baseline::default()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        stage.crowd.surge(self.jobs, self.updates);
        let done = format!("jobs × {}, location updates × {}", self.jobs, self.updates);
        Box::pin(std::future::ready(Ok(done)))
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let (begun, usual) = (stage.env.now(), stage.crowd.usual());
            stage.env.sleep(self.look(usual, stage.lasts)).await;
            self.judge(usual, stage.crowd.sent_since(begun))
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            stage.crowd.end_surge();
            let ended = stage.crowd.extra();
            stage.env.sleep(STILL).await;
            let Extra { wishes, updates } = stage.crowd.extra();
            let what =
                format!("{wishes} jobs and {updates} location updates more than usual so far");
            Seen { holds: stage.crowd.extra() == ended, what }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Rates = Rates { requests_per_s: 1.0, updates_per_s: 20.0, seconds: 20.0 };

    fn sent(requests_per_s: f64, updates_per_s: f64, seconds: f64) -> Rates {
        Rates { requests_per_s, updates_per_s, seconds }
    }

    #[test]
    fn it_is_looked_at_for_as_long_as_chance_could_explain_it() {
        let (long, short) = (Duration::from_secs(30), Duration::from_secs(6));
        let jobs = Spike { jobs: 3.0, updates: 1.0 };
        assert_eq!(jobs.look(USUAL, long), Duration::from_secs(10));
        assert_eq!(jobs.look(USUAL, short), short.saturating_sub(LOOK_ENDS));
        let updates = Spike { jobs: 1.0, updates: 3.0 };
        assert_eq!(updates.look(USUAL, long), LOOK_MIN);
    }

    #[test]
    fn half_of_what_is_asked_is_a_bite_and_less_is_none() {
        let spike = Spike { jobs: 3.0, updates: 2.0 };
        assert!(spike.judge(USUAL, sent(2.9, 39.0, 10.0)).holds);
        assert!(!spike.judge(USUAL, sent(1.1, 39.0, 10.0)).holds);
        assert!(!spike.judge(USUAL, sent(2.9, 21.0, 10.0)).holds);
    }

    #[test]
    fn what_is_too_few_to_tell_does_not_count() {
        let spike = Spike { jobs: 3.0, updates: 2.0 };
        let seen = spike.judge(USUAL, sent(0.5, 39.0, 4.0));
        assert!(seen.holds && seen.what.contains("too few to tell"), "{seen:?}");
        let jobs = Spike { jobs: 3.0, updates: 1.0 };
        let seen = jobs.judge(USUAL, sent(3.0, 20.0, 4.0));
        assert!(!seen.holds && seen.what.contains("let it last longer"), "{seen:?}");
        let lately = Rates { seconds: 3.0, ..USUAL };
        let seen = spike.judge(lately, sent(1.2, 39.0, 10.0));
        assert!(
            seen.holds && seen.what.contains("too few to tell"),
            "three seconds tell little of a request a second: {seen:?}"
        );
        let nothing = jobs.judge(Rates::default(), sent(9.0, 20.0, 60.0));
        assert!(!nothing.holds, "nobody knows what is usual: {nothing:?}");
    }
}
