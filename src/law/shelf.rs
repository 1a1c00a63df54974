//! Things (jobs, mostly) of which something was heard lately. One that nobody speaks of for the length
//! of the horizon is handed out once, to be judged as it stands, and forgotten: a law's memory is
//! bounded by the robots and the jobs that are open, and not by time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::base::{id::Id, time::Time};

/// How long a job is remembered after the last word about it, unless the scenario says otherwise.
pub const HORIZON: Duration = Duration::from_mins(10);
/// No op lasts longer than this, its attempts included: what nobody has spoken of for so long
/// cannot be changed by an op that is still under way.
pub const OP_LIFE: Duration = Duration::from_mins(1);

/// What a law knows of each thing that it still remembers.
#[derive(Debug)]
pub struct Shelf<T, K = Id> {
    horizon: Duration,
    kept: BTreeMap<K, Kept<T>>,
    /// Each thing once, with a moment at which it was spoken of.
    queue: VecDeque<(Time, K)>,
    forgotten: u64,
}

#[derive(Debug)]
struct Kept<T> {
    touched: Time,
    value: T,
}

impl<T, K> Default for Shelf<T, K> {
    fn default() -> Self {
        Self::new(HORIZON)
    }
}

impl<T, K> Shelf<T, K> {
    /// One that remembers for that long.
    pub fn new(horizon: Duration) -> Self {
        Self { horizon, kept: BTreeMap::new(), queue: VecDeque::new(), forgotten: 0 }
    }
}

impl<T: Default, K: Ord + Clone> Shelf<T, K> {
    /// What is known of `thing`, of which something is heard at `now`.
    pub fn at(&mut self, thing: &K, now: Time) -> &mut T {
        if !self.kept.contains_key(thing) {
            self.queue.push_back((now, thing.clone()));
        }
        let kept = self
            .kept
            .entry(thing.clone())
            .or_insert_with(|| Kept { touched: now, value: T::default() });
        kept.touched = kept.touched.max(now);
        &mut kept.value
    }

    /// The same of one that is known already.
    pub fn get(&mut self, thing: &K, now: Time) -> Option<&mut T> {
        let kept = self.kept.get_mut(thing)?;
        kept.touched = kept.touched.max(now);
        Some(&mut kept.value)
    }

    /// What is known of it, without a word about it.
    pub fn peek(&self, thing: &K) -> Option<&T> {
        self.kept.get(thing).map(|kept| &kept.value)
    }

    /// The same, to be changed.
    pub fn peek_mut(&mut self, thing: &K) -> Option<&mut T> {
        self.kept.get_mut(thing).map(|kept| &mut kept.value)
    }

    /// The next one out of which nothing was heard for the horizon.
    pub fn due(&mut self, now: Time) -> Option<&K> {
        while let Some((at, _)) = self.queue.front()
            && *at + self.horizon < now
        {
            let (_, thing) = self.queue.pop_front()?;
            let touched = self.kept.get(&thing)?.touched;
            if touched + self.horizon < now {
                self.queue.push_front((touched, thing));
                return self.queue.front().map(|(_, thing)| thing);
            }
            self.queue.push_back((touched, thing));
        }
        None
    }

    /// Takes it out, and forgets it.
    pub fn expire(&mut self, now: Time) -> Option<(K, T)> {
        self.due(now)?;
        let (_, thing) = self.queue.pop_front()?;
        self.forgotten += 1;
        self.kept.remove(&thing).map(|kept| (thing, kept.value))
    }

    /// Forgets all of which nothing was heard for the horizon; how many those were.
    pub fn forget(&mut self, now: Time) -> u64 {
        let before = self.forgotten;
        while self.expire(now).is_some() {}
        self.forgotten - before
    }

    /// True when something was forgotten ever: what is not here may have been.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten > 0
    }

    /// Everything that is remembered.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.kept.iter().map(|(thing, kept)| (thing, &kept.value))
    }

    /// The names of all that is remembered.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.kept.keys()
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Everything that no op under way at `seen_until` can change any more: all of it, once the
    /// history is complete.
    pub fn settled(&self, seen_until: Time, complete: bool) -> impl Iterator<Item = (&K, &T)> {
        let quiet = seen_until.saturating_sub(OP_LIFE);
        let all = self.kept.iter().filter(move |(_, kept)| complete || kept.touched < quiet);
        all.map(|(thing, kept)| (thing, &kept.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_speaks_of_is_handed_out_once() {
        let second = |s: u64| Time::from_secs_f64(s as f64);
        let mut shelf = Shelf::<u32>::default();
        *shelf.at(&"J1".into(), second(1)) = 1;
        *shelf.at(&"J2".into(), second(2)) = 2;
        assert!(shelf.get(&"J1".into(), second(500)).is_some());
        assert!(shelf.get(&"J3".into(), second(500)).is_none());
        assert_eq!(shelf.expire(second(602)), None);
        assert_eq!(shelf.expire(second(603)), Some(("J2".into(), 2)));
        assert_eq!(shelf.expire(second(603)), None);
        assert_eq!(shelf.settled(second(550), false).count(), 0);
        assert_eq!(shelf.settled(second(561), false).count(), 1);
        assert_eq!(shelf.expire(second(1_101)), Some(("J1".into(), 1)));
        assert_eq!(shelf.settled(second(1_101), true).count(), 0);
    }
}
