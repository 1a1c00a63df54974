//! What was sent lately, second by second: what a change of the load is measured with.

use std::collections::VecDeque;

use crate::{base::time::Time, history::op::OpKind};

/// Seconds that are kept.
const KEPT: usize = 120;
const SECOND: u64 = 1_000_000_000;

/// What was sent in some whole seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests of jobs.
    pub requests: u64,
    /// Location updates.
    pub updates: u64,
    /// In so many seconds.
    pub seconds: u64,
}

/// Requests and location updates by the second in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The second of the first that is kept.
    first: u64,
    kept: VecDeque<[u32; 2]>,
}

impl Recent {
    /// An op is sent. Called in the order of time.
    pub fn count(&mut self, op: OpKind, at: Time) {
        let column = match op {
            OpKind::PassengerRequestJob => 0,
            OpKind::DriverPing => 1,
            _ => return,
        };
        let second = at.0 / SECOND;
        if self.kept.is_empty() || second >= self.first + 2 * KEPT as u64 {
            self.kept.clear();
            self.first = second;
        }
        while self.first + (self.kept.len() as u64) <= second {
            self.kept.push_back([0; 2]);
            if self.kept.len() > KEPT {
                self.kept.pop_front();
                self.first += 1;
            }
        }
        if let Some(counts) = second.checked_sub(self.first).map(|n| &mut self.kept[n as usize]) {
            counts[column] += 1;
        }
    }

    /// What was sent in the whole seconds between two moments, as far as they are kept.
    pub fn between(&self, from: Time, to: Time) -> Sent {
        let (begin, end) = (from.0.div_ceil(SECOND).max(self.first), to.0 / SECOND);
        let mut sent = Sent { seconds: end.saturating_sub(begin), ..Sent::default() };
        for (second, [requests, updates]) in (self.first..).zip(&self.kept) {
            if (begin..end).contains(&second) {
                sent.requests += u64::from(*requests);
                sent.updates += u64::from(*updates);
            }
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_seconds_count() {
        let mut recent = Recent::default();
        for tenth in 0..1_000 {
            let at = Time::from_secs_f64(f64::from(tenth) / 10.0 + 0.05);
            recent.count(OpKind::DriverPing, at);
            if tenth % 10 == 0 {
                recent.count(OpKind::PassengerRequestJob, at);
            }
            recent.count(OpKind::DriverLogin, at);
        }
        let between = |from, to| recent.between(Time::from_secs_f64(from), Time::from_secs_f64(to));
        assert_eq!(between(10.0, 20.0), Sent { requests: 10, updates: 100, seconds: 10 });
        assert_eq!(between(10.2, 20.9), Sent { requests: 9, updates: 90, seconds: 9 });
        assert_eq!(between(10.2, 10.9), Sent::default());
        assert_eq!(between(98.0, 102.0), Sent { requests: 2, updates: 20, seconds: 4 });
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut recent = Recent::default();
        for second in 0..500 {
            recent.count(OpKind::DriverPing, Time(second * SECOND));
        }
        let all = recent.between(Time::ZERO, Time(500 * SECOND));
        assert_eq!((all.updates, all.seconds), (120, 120));
        recent.count(OpKind::DriverPing, Time(90_000 * SECOND));
        assert_eq!(recent.between(Time::ZERO, Time(90_001 * SECOND)).updates, 1);
    }
}
