//! How much one account may ask of one node: so many requests a second, and a burst on top. Far more
//! than any app needs; it is there for those that run wild. One number an account, in two generations
//! that are forgotten in turn: bounded, and nothing to tidy up.

use std::{cell::RefCell, time::Duration};

use crate::{backend::platform::quick::QuickMap, base::time::Time};

/// Between two requests of one account, once its burst is used up: 20 a second.
const EVERY: Duration = Duration::from_millis(50);
/// Requests that may come at once.
const BURST: u32 = 64;
/// Accounts that are remembered, at least; at most twice as many.
const ACCOUNTS: usize = 32_768;

/// What the accounts have used up at one node.
#[derive(Debug, Default)]
pub struct Limits(RefCell<Generations>);

/// By account: when its bucket will be empty again.
#[derive(Debug, Default)]
struct Generations {
    young: QuickMap<u64, Time>,
    old: QuickMap<u64, Time>,
}

impl Limits {
    /// One more request of an account at `now`; false when it is one too many. A second later it
    /// is not.
    pub fn take(&self, account: u64, now: Time) -> bool {
        let mut all = self.0.borrow_mut();
        let all = &mut *all;
        if let Some(used) = all.young.get_mut(&account) {
            return one_more(used, now);
        }
        let mut used = all.old.remove(&account).unwrap_or(Time::ZERO);
        let taken = one_more(&mut used, now);
        if all.young.len() >= ACCOUNTS {
            all.old = std::mem::take(&mut all.young);
        }
        all.young.insert(account, used);
        taken
    }
}

fn one_more(used: &mut Time, now: Time) -> bool {
    let after = (*used).max(now) + EVERY;
    let fits = after <= now + EVERY * BURST;
    if fits {
        *used = after;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let limits = Limits::default();
        let asked =
            |account, ms, times: u32| (0..times).filter(|_| limits.take(account, at(ms))).count();
        assert_eq!(asked(7, 1_000, 100), 64);
        assert_eq!(asked(8, 1_000, 10), 10, "each account for itself");
        assert_eq!(asked(7, 2_000, 100), 20, "a second later");
        assert!(limits.take(7, at(2_050)) && !limits.take(7, at(2_050)));
        assert_eq!(asked(7, 60_000, 100), 64, "and all of it after a while");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limits = Limits::default();
        for account in 0..3 * ACCOUNTS as u64 {
            assert!(limits.take(account, at(account / 100)));
        }
        let all = limits.0.borrow();
        assert!(all.young.len() + all.old.len() <= 2 * ACCOUNTS);
    }
}
