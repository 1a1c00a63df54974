//! What the backend says when it wants to be left alone: all robots share one address, and hold back
//! together. They come back one after the other.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use http::HeaderValue;
use jiff::fmt::rfc2822;

use super::{Ended, Judged, Mapped};
use crate::{
    base::{
        rng::Rng,
        time::{Time, Wall},
    },
    history::answer::Refusal,
};

/// The longest that a backend is believed when it says when to come back.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// Those who waited come back within that part of the pause, …
const SPREAD: f64 = 0.25;
/// … but over no less than that, …
const SPREAD_MIN: Duration = Duration::from_millis(200);
/// … and no more.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// Until when nobody sends anything.
pub struct Pause {
    until: Cell<Time>,
    spread: Cell<Duration>,
    rng: RefCell<Rng>,
}

impl Pause {
    /// None so far; `rng` spreads those who come back.
    pub fn new(rng: Rng) -> Self {
        let (until, spread) = (Cell::new(Time::ZERO), Cell::new(Duration::ZERO));
        Self { until, spread, rng: RefCell::new(rng) }
    }

    fn begin(&self, now: Time, span: Duration) {
        let span = span.min(PAUSE_MAX);
        let until = now + span;
        if until > self.until.get() {
            self.until.set(until);
            self.spread.set(span.mul_f64(SPREAD).clamp(SPREAD_MIN, SPREAD_MAX));
        }
    }

    /// When one who waits comes back: a moment of its own after the end.
    fn back(&self) -> Time {
        self.until.get() + self.spread.get().mul_f64(self.rng.borrow_mut().unit())
    }
}

impl Mapped {
    /// The backend wants to be left alone, for as long as it says.
    pub(super) fn pause(&self, retry_after: Option<&HeaderValue>) {
        if let Some(span) = retry_after.and_then(|after| span(after, self.env.wall())) {
            self.pause.begin(self.env.now(), span);
        }
    }

    /// True while the backend wants to be left alone.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.until.get() > self.env.now()
    }

    /// Waits until the backend is ready to be asked again. It may have said meanwhile that it takes
    /// longer.
    pub(super) async fn wait_for_it(&self) {
        while self.is_paused() {
            self.env.sleep_until(self.pause.back()).await;
        }
    }

    /// The same within an attempt; gives up where that takes longer.
    pub(super) async fn hold_back(&self, deadline: Time) -> Option<Ended> {
        if !self.is_paused() {
            return None;
        }
        let left = deadline - self.env.now();
        let in_time = self.pause.until.get() <= deadline
            && self.env.timeout(left, self.wait_for_it()).await.is_ok();
        let why = || "not sent: the backend asked for a pause".to_owned();
        (!in_time).then(|| {
            Ended::unsent(Judged { retry: true, ..Judged::refused(Refusal::Limited, why()) })
        })
    }
}

/// `Retry-After`: seconds, or a moment.
pub(super) fn span(after: &HeaderValue, wall: Wall) -> Option<Duration> {
    let after = after.to_str().ok()?.trim();
    if let Ok(seconds) = after.parse::<f64>() {
        let seconds = Some(seconds).filter(|seconds| seconds.is_finite() && *seconds > 0.0)?;
        return Some(Duration::from_secs_f64(seconds.min(PAUSE_MAX.as_secs_f64())));
    }
    let at = rfc2822::parse(after).ok()?.timestamp().as_millisecond();
    Some(wall.until(Wall(u64::try_from(at).ok()?))).filter(|span| !span.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(after: &str) -> Option<Duration> {
        // 1994-11-06T08:49:30Z.
        span(&HeaderValue::from_str(after).unwrap(), Wall(784_111_770_000))
    }

    #[test]
    fn seconds_and_moments_are_understood() {
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked(" 90 "), Some(Duration::from_secs(90)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        for nothing in ["Sun, 06 Nov 1994 08:49:27 GMT", "0", "-3", "soon", "inf", ""] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn those_who_waited_come_back_one_after_the_other() {
        let pause = Pause::new(Rng::from_seed("pause"));
        pause.begin(Time::ZERO, Duration::from_secs(100));
        // A shorter word does not take back a longer one.
        pause.begin(Time::ZERO, Duration::from_secs(2));
        let end = Time::ZERO + Duration::from_secs(100);
        let back: Vec<Time> = (0..50).map(|_| pause.back()).collect();
        assert!(back.iter().all(|at| *at >= end && *at <= end + SPREAD_MAX));
        let mut moments = back.clone();
        moments.sort_unstable();
        moments.dedup();
        assert_eq!(moments.len(), back.len());
    }
}
