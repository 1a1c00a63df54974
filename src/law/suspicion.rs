//! Suspicions: what looks like a breach, unless an op that is still under way explains it. No op
//! lasts for ever, so each is settled soon, and none is kept for longer.

use std::collections::VecDeque;

use super::shelf::OP_LIFE;
use crate::base::time::Time;

/// Suspicions in the order in which they came up.
#[derive(Debug)]
pub struct Suspicions<T> {
    open: VecDeque<(Time, T)>,
}

impl<T> Default for Suspicions<T> {
    fn default() -> Self {
        Self { open: VecDeque::new() }
    }
}

impl<T> Suspicions<T> {
    /// One more, of something that was done (or seen) at `at`.
    pub fn push(&mut self, at: Time, one: T) {
        self.open.push_back((at, one));
    }

    /// Drops those that are explained.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        if !self.open.is_empty() {
            self.open.retain(|(_, one)| stays(one));
        }
    }

    /// Takes the next one that no op under way at `seen_until` can explain any more.
    pub fn ripe(&mut self, seen_until: Time) -> Option<T> {
        let (at, _) = self.open.front()?;
        if *at >= seen_until.saturating_sub(OP_LIFE) {
            return None;
        }
        self.open.pop_front().map(|(_, one)| one)
    }

    /// Those that stand when the history is complete; while it goes on, none of them is certain.
    pub fn standing(&self, complete: bool) -> impl Iterator<Item = &T> {
        self.open.iter().filter(move |_| complete).map(|(_, one)| one)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_under_way_can_explain_is_handed_out() {
        let second = |s: u64| Time(s * 1_000_000_000);
        let mut open = Suspicions::default();
        open.push(second(10), 1);
        open.push(second(20), 2);
        open.push(second(21), 3);
        assert_eq!(open.ripe(second(70)), None);
        assert_eq!(open.standing(false).count(), 0);
        assert_eq!(open.ripe(second(71)), Some(1));
        open.retain(|one| *one != 2);
        assert_eq!(open.standing(true).copied().collect::<Vec<_>>(), [3]);
        assert_eq!(open.ripe(second(82)), Some(3));
        assert!(open.is_empty());
    }
}
