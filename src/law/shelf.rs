//! Jobs of which something was heard lately. One that nobody speaks of for the length of the horizon
//! is handed out once, to be judged as it stands, and forgotten: a law's memory is bounded by the
//! jobs that are open, and not by time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::base::{id::Id, time::Time};

/// How long a job is remembered after the last word about it.
pub const HORIZON: Duration = Duration::from_mins(10);
/// No op lasts longer than this, its attempts included: what nobody has spoken of for so long
/// cannot be changed by an op that is still under way.
pub const OP_LIFE: Duration = Duration::from_mins(1);

/// What a law knows of each job that it still remembers.
#[derive(Debug)]
pub struct Shelf<T> {
    jobs: BTreeMap<Id, Kept<T>>,
    /// Each job once, with a moment at which it was spoken of.
    queue: VecDeque<(Time, Id)>,
}

#[derive(Debug)]
struct Kept<T> {
    touched: Time,
    value: T,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), queue: VecDeque::new() }
    }
}

impl<T: Default> Shelf<T> {
    /// What is known of `job`, of which something is heard at `now`.
    pub fn at(&mut self, job: &Id, now: Time) -> &mut T {
        if !self.jobs.contains_key(job) {
            self.queue.push_back((now, job.clone()));
        }
        let kept = self
            .jobs
            .entry(job.clone())
            .or_insert_with(|| Kept { touched: now, value: T::default() });
        kept.touched = kept.touched.max(now);
        &mut kept.value
    }

    /// The same of a job that is known already.
    pub fn get(&mut self, job: &Id, now: Time) -> Option<&mut T> {
        let kept = self.jobs.get_mut(job)?;
        kept.touched = kept.touched.max(now);
        Some(&mut kept.value)
    }

    /// What is known of a job, without a word about it.
    pub fn peek(&self, job: &Id) -> Option<&T> {
        self.jobs.get(job).map(|kept| &kept.value)
    }

    /// Takes the next job out of which nothing was heard for the horizon.
    pub fn expire(&mut self, now: Time) -> Option<(Id, T)> {
        while let Some((at, _)) = self.queue.front()
            && *at + HORIZON < now
        {
            let (_, job) = self.queue.pop_front()?;
            let touched = self.jobs.get(&job)?.touched;
            if touched + HORIZON < now {
                return self.jobs.remove(&job).map(|kept| (job, kept.value));
            }
            self.queue.push_back((touched, job));
        }
        None
    }

    /// Every job that no op under way at `seen_until` can change any more: all of them, once the
    /// history is complete.
    pub fn settled(&self, seen_until: Time, complete: bool) -> impl Iterator<Item = (&Id, &T)> {
        let quiet = seen_until.saturating_sub(OP_LIFE);
        let all = self.jobs.iter().filter(move |(_, kept)| complete || kept.touched < quiet);
        all.map(|(job, kept)| (job, &kept.value))
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
