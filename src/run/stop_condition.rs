//! The stop condition of a fault plan: too large a share of the ops does not end well, for too long.
//! Looks at counts, once a second; whoever asks acts on it.

use std::{collections::VecDeque, time::Duration};

use crate::{
    base::{span::Span, time::Time},
    chaos::limits::Limits,
    engine::figures::{Counts, Figures},
};

/// Fewer ops than that tell nothing.
const OPS_MIN: u64 = 20;

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Time,
    ok: u64,
    not_ok: u64,
    planned: u64,
}

/// Watches for it.
#[derive(Debug)]
pub struct StopCondition {
    above: f64,
    after: Span,
    looks: VecDeque<Look>,
}

impl StopCondition {
    /// That of these limits, where they have one.
    pub fn of(limits: &Limits) -> Option<Self> {
        let (above, after) = (limits.abort_above?, limits.abort_after?);
        Some(Self { above, after, looks: VecDeque::new() })
    }

    /// Takes a look; why all is to be called off, where that is so.
    pub fn look(&mut self, figures: &Figures) -> Option<String> {
        let mut all = figures.pings;
        all.add(&figures.others);
        self.take(figures.at, &all)
    }

    fn take(&mut self, at: Time, all: &Counts) -> Option<String> {
        let not_ok = all.fail + all.info + all.skipped;
        self.looks.push_back(Look { at, ok: all.ok, not_ok, planned: all.planned });
        // The oldest that is kept is as old as the window, or a little older.
        while self.looks.get(1).is_some_and(|second| at.since(second.at) >= self.after.0) {
            self.looks.pop_front();
        }
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        if last.at.since(first.at) < self.after.0 {
            return None;
        }
        let (ok, not_ok) = (last.ok - first.ok, last.not_ok - first.not_ok);
        let planned = last.planned - first.planned;
        if planned.max(ok + not_ok) < OPS_MIN {
            return None;
        }
        // What was planned and has not ended at all is no better than what has failed.
        let ended = ok + not_ok;
        let share = if ended == 0 { 100.0 } else { not_ok as f64 * 100.0 / ended as f64 };
        (share > self.above).then(|| {
            format!(
                "{share:.0} % of the {ended} ops that ended within {} did not end well, and no more \
                 than {} % may (`limits.abort_above`)",
                self.after, self.above
            )
        })
    }
}

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn condition() -> StopCondition {
        StopCondition::of(&Limits::OF_OTHERS).unwrap()
    }

    /// The first second at which it stops, of so many ok and not ok in each.
    fn stops(each: impl Fn(u64) -> (u64, u64), planned: u64) -> Option<u64> {
        let mut condition = condition();
        let mut all = Counts::default();
        (0..60).find(|second| {
            let (ok, fail) = each(*second);
            all.planned += planned;
            all.ok += ok;
            all.fail += fail;
            condition.take(Time(second * 1_000_000_000), &all).is_some()
        })
    }

    #[test]
    fn more_than_half_for_ten_seconds_stops_and_less_does_not() {
        assert_eq!(stops(|_| (10, 9), 19), None);
        assert_eq!(stops(|_| (9, 10), 19), Some(10));
        // Nothing but errors from the 20th second on: half of ten seconds is over half of them.
        assert_eq!(stops(|second| if second < 20 { (10, 0) } else { (0, 10) }, 10), Some(25));
        // Five bad seconds within good ones.
        assert_eq!(stops(|s| if (20..25).contains(&s) { (0, 10) } else { (10, 0) }, 10), None);
    }

    #[test]
    fn where_nothing_ends_at_all_it_stops_and_where_nothing_is_asked_it_does_not() {
        assert_eq!(stops(|_| (0, 0), 10), Some(10));
        assert_eq!(stops(|_| (0, 0), 1), None);
        assert_eq!(stops(|_| (0, 1), 1), None);
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert!(StopCondition::of(&Limits::default()).is_none());
    }
}
