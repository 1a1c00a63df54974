//! When a fault strikes: once, again and again, at random moments, or after something has happened.

use std::time::Duration;

use toml::Spanned;

use super::{
    event::Event,
    keys::{At, Keys, Source},
};
use crate::base::{file::FileError, rng::Rng, span::Span};

/// Moments of one fault at most.
const MOMENTS_MAX: usize = 1_000;

/// When a fault, or a group of them, strikes.
#[derive(Debug, Clone)]
pub(super) struct When {
    place: At,
    key: String,
    how: How,
    /// It strikes no more often.
    times: usize,
    /// Its moments count from this on, and not from time zero.
    pub after: Option<Event>,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// At that offset.
    Once(Span),
    /// With that gap from start to start, the first time at `first`.
    Every { gap: Span, first: Span },
    /// With that gap in the mean from start to start: a Poisson process that begins at `from`.
    Poisson { gap: Span, from: Span },
}

impl When {
    /// Reads `at`, `every`, `poisson`, `times` and `after`. Without any of them it is `default`.
    pub fn read(keys: &mut Keys<'_>, default: Option<Span>) -> Result<Self, FileError> {
        let at = keys.span("at")?;
        let (every, poisson) = (keys.span("every")?, keys.span("poisson")?);
        let times = keys.number("times")?;
        let after = keys.value("after").map(|value| Event::read(keys, value)).transpose()?;
        let first = at.as_ref().map(|at| *at.get_ref());
        let (place, key, how) = match (every, poisson) {
            (Some(_), Some(poisson)) => {
                let what = "cannot stand beside `every`: keep one of them";
                return Err(keys.wrong(&poisson.span(), "poisson", what));
            }
            (Some(every), None) => {
                let gap = a_gap(keys, "every", &every)?;
                (every.span(), "every", How::Every { gap, first: first.unwrap_or(gap) })
            }
            (None, Some(poisson)) => {
                let gap = a_gap(keys, "poisson", &poisson)?;
                let from = first.unwrap_or_default();
                (poisson.span(), "poisson", How::Poisson { gap, from })
            }
            (None, None) => {
                let first = first.or(after.map(|_| Span::default())).or(default);
                let Some(first) = first else {
                    let hint = "say when, after time zero: at = \"30s\"; or again and again: every = \
                                \"60s\"; or at random: poisson = \"60s\"";
                    return Err(keys.lacks("at", hint));
                };
                let place = at.map_or_else(|| keys.at.clone(), |at| at.span());
                (place, "at", How::Once(first))
            }
        };
        let repeats = !matches!(how, How::Once(_));
        if let (Some(times), false) = (&times, repeats) {
            let what = "has a meaning only beside `every` or `poisson`";
            return Err(keys.wrong(&times.span(), "times", what));
        }
        if after.is_some() && repeats {
            let what = "cannot stand beside `after`: what has happened has happened once";
            return Err(keys.wrong(&place, key, what));
        }
        let times = times.map(|times| a_count(keys, &times)).transpose()?.unwrap_or(MOMENTS_MAX);
        let key = keys.dotted(key);
        Ok(Self { place, key, how, times, after })
    }

    /// Whether it may strike more than once, or not at all.
    pub fn repeats(&self) -> bool {
        !matches!(self.how, How::Once(_))
    }

    /// Its moments in a demand of `duration`, for something that takes `length`: for one that repeats,
    /// those that leave room for that.
    pub fn moments(&self, duration: Duration, length: Duration, rng: &mut Rng) -> Vec<Span> {
        let last = duration.saturating_sub(length);
        let next: Box<dyn FnMut(Span) -> Span> = match self.how {
            How::Once(at) => return vec![at],
            How::Every { gap, .. } => Box::new(move |before| Span(before.0 + gap.0)),
            How::Poisson { gap, .. } => Box::new(move |before| Span(before.0 + wait(gap, rng))),
        };
        self.walk(next, last)
    }

    fn walk(&self, mut next: impl FnMut(Span) -> Span, last: Duration) -> Vec<Span> {
        let mut moments = Vec::new();
        let mut at = match self.how {
            How::Once(first) | How::Every { first, .. } => first,
            How::Poisson { from, .. } => next(from),
        };
        while at.0 <= last && moments.len() < self.times {
            moments.push(at);
            at = next(at);
        }
        moments
    }

    /// Where it is written.
    pub fn place(&self) -> &At {
        &self.place
    }

    /// The error for something about when it strikes, at its place.
    pub fn wrong(&self, source: Source<'_>, what: impl Into<String>) -> FileError {
        source.error(&self.place, &self.key, what)
    }
}

/// A wait of a Poisson process, in whole milliseconds and at least one.
fn wait(mean: Span, rng: &mut Rng) -> Duration {
    let ms = -libm::log(1.0 - rng.unit()) * mean.0.as_secs_f64() * 1_000.0;
    Duration::from_millis((ms as u64).max(1))
}

fn a_gap(keys: &Keys<'_>, key: &str, gap: &Spanned<Span>) -> Result<Span, FileError> {
    if gap.get_ref().0 < Duration::from_secs(1) {
        let what = "must be a second or more: a victim must be well before it is hit again";
        return Err(keys.wrong(&gap.span(), key, what));
    }
    Ok(*gap.get_ref())
}

fn a_count(keys: &Keys<'_>, times: &Spanned<f64>) -> Result<usize, FileError> {
    let count = *times.get_ref();
    if count.fract() == 0.0 && (1.0..=MOMENTS_MAX as f64).contains(&count) {
        return Ok(count as usize);
    }
    let what = format!("must be a whole number from 1 to {MOMENTS_MAX}");
    Err(keys.wrong(&times.span(), "times", what))
}
