//! Things (jobs, mostly) of which something was heard lately. One that nobody speaks of for the length
//! of the horizon is handed out once, to be judged as it stands, and forgotten: a law's memory is
//! bounded by the robots and the jobs that are open, and not by time. All laws look up the same job on the
//! same op: what they keep of it lies at one number, which is looked up once.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    hash::Hash,
    rc::Rc,
    time::Duration,
};

use foldhash::fast::FixedState;

use crate::base::{id::Id, time::Time};

/// How long a job is remembered after the last word about it, unless the scenario says otherwise.
pub const HORIZON: Duration = Duration::from_mins(10);
/// No op lasts longer than this, its attempts included: what nobody has spoken of for so long
/// cannot be changed by an op that is still under way.
pub const OP_LIFE: Duration = Duration::from_mins(1);

/// The numbers of things that some shelf remembers; of one that none does, another gets the number. A
/// copy is another handle to the same.
#[derive(Debug)]
pub struct Names<K = Id>(Rc<RefCell<Known<K>>>);

#[derive(Debug)]
struct Known<K> {
    // Never iterated.
    numbers: HashMap<K, u32, FixedState>,
    /// By number: the shelves that remember it.
    holders: Vec<u32>,
    free: Vec<u32>,
    /// What was found last: mostly it is asked for again at once.
    last: Option<(K, u32)>,
}

impl<K> Clone for Names<K> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        let (numbers, holders, free) = (HashMap::default(), Vec::new(), Vec::new());
        Self(Rc::new(RefCell::new(Known { numbers, holders, free, last: None })))
    }
}

impl<K: Hash + Eq + Clone> Names<K> {
    fn find(&self, thing: &K) -> Option<usize> {
        self.0.borrow_mut().find(thing).map(|number| number as usize)
    }

    /// Its number, for one more shelf.
    fn hold(&self, thing: &K) -> usize {
        let known = &mut *self.0.borrow_mut();
        let number = known.find(thing).unwrap_or_else(|| {
            let number = known.free.pop().unwrap_or_else(|| {
                known.holders.push(0);
                known.holders.len() as u32 - 1
            });
            known.numbers.insert(thing.clone(), number);
            known.last = Some((thing.clone(), number));
            number
        });
        known.holders[number as usize] += 1;
        number as usize
    }

    /// One shelf less remembers it.
    fn release(&self, thing: &K, number: usize) {
        let known = &mut *self.0.borrow_mut();
        known.holders[number] -= 1;
        if known.holders[number] == 0 {
            known.numbers.remove(thing);
            known.free.push(number as u32);
            known.last = None;
        }
    }
}

impl<K: Hash + Eq + Clone> Known<K> {
    fn find(&mut self, thing: &K) -> Option<u32> {
        if let Some((last, number)) = &self.last
            && last == thing
        {
            return Some(*number);
        }
        let number = *self.numbers.get(thing)?;
        self.last = Some((thing.clone(), number));
        Some(number)
    }
}

/// What a law knows of each thing that it still remembers.
#[derive(Debug)]
pub struct Shelf<T, K = Id> {
    horizon: Duration,
    names: Names<K>,
    /// By number.
    kept: Vec<Option<Kept<T, K>>>,
    /// Each thing once, by number, with a moment at which it was spoken of.
    queue: VecDeque<(Time, u32)>,
    forgotten: u64,
}

#[derive(Debug)]
struct Kept<T, K> {
    thing: K,
    touched: Time,
    value: T,
}

impl<T, K> Default for Shelf<T, K> {
    fn default() -> Self {
        Self::new(HORIZON)
    }
}

impl<T, K> Shelf<T, K> {
    /// One that remembers for that long, and has numbers of its own.
    pub fn new(horizon: Duration) -> Self {
        Self::among(Names::default(), horizon)
    }

    /// One of several about the same things.
    pub fn among(names: Names<K>, horizon: Duration) -> Self {
        Self { horizon, names, kept: Vec::new(), queue: VecDeque::new(), forgotten: 0 }
    }
}

impl<T: Default, K: Ord + Hash + Clone> Shelf<T, K> {
    fn place(&self, thing: &K) -> Option<usize> {
        let place = self.names.find(thing)?;
        self.kept.get(place)?.is_some().then_some(place)
    }

    /// What is known of `thing`, of which something is heard at `now`.
    pub fn at(&mut self, thing: &K, now: Time) -> &mut T {
        let place = self.place(thing).unwrap_or_else(|| {
            let place = self.names.hold(thing);
            if self.kept.len() <= place {
                self.kept.resize_with(place + 1, || None);
            }
            self.queue.push_back((now, place as u32));
            place
        });
        let fresh = || Kept { thing: thing.clone(), touched: now, value: T::default() };
        let kept = self.kept[place].get_or_insert_with(fresh);
        kept.touched = kept.touched.max(now);
        &mut kept.value
    }

    /// The same of one that is known already.
    pub fn get(&mut self, thing: &K, now: Time) -> Option<&mut T> {
        let place = self.names.find(thing)?;
        let kept = self.kept.get_mut(place)?.as_mut()?;
        kept.touched = kept.touched.max(now);
        Some(&mut kept.value)
    }

    /// What is known of it, without a word about it.
    pub fn peek(&self, thing: &K) -> Option<&T> {
        let place = self.names.find(thing)?;
        self.kept.get(place)?.as_ref().map(|kept| &kept.value)
    }

    /// The same, to be changed.
    pub fn peek_mut(&mut self, thing: &K) -> Option<&mut T> {
        let place = self.names.find(thing)?;
        self.kept.get_mut(place)?.as_mut().map(|kept| &mut kept.value)
    }

    /// The next one out of which nothing was heard for the horizon.
    pub fn due(&mut self, now: Time) -> Option<&K> {
        while let Some(&(at, number)) = self.queue.front()
            && at + self.horizon < now
        {
            let touched = self.kept[number as usize].as_ref()?.touched;
            if touched + self.horizon < now {
                return self.kept[number as usize].as_ref().map(|kept| &kept.thing);
            }
            self.queue.pop_front();
            self.queue.push_back((touched, number));
        }
        None
    }

    /// Takes it out, and forgets it.
    pub fn expire(&mut self, now: Time) -> Option<(K, T)> {
        self.due(now)?;
        let (_, number) = self.queue.pop_front()?;
        let Kept { thing, value, .. } = self.kept[number as usize].take()?;
        self.names.release(&thing, number as usize);
        self.forgotten += 1;
        Some((thing, value))
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

    /// What is known of everything that is remembered, in no order that matters.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.kept.iter().flatten().map(|kept| &kept.value)
    }

    /// The names of all that is remembered, in no order that matters.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.kept.iter().flatten().map(|kept| &kept.thing)
    }

    /// Everything that is remembered, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.sorted(|_| true)
    }

    fn sorted(&self, wanted: impl Fn(&Kept<T, K>) -> bool) -> impl Iterator<Item = (&K, &T)> {
        let mut all: Vec<_> = self.kept.iter().flatten().filter(|kept| wanted(kept)).collect();
        all.sort_unstable_by_key(|kept| &kept.thing);
        all.into_iter().map(|kept| (&kept.thing, &kept.value))
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Everything, in order, that no op under way at `seen_until` can change any more: all of it,
    /// once the history is complete.
    pub fn settled(&self, seen_until: Time, complete: bool) -> impl Iterator<Item = (&K, &T)> {
        let quiet = seen_until.saturating_sub(OP_LIFE);
        self.sorted(move |kept| complete || kept.touched < quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: u64) -> Time {
        Time::from_secs_f64(s as f64)
    }

    #[test]
    fn what_nobody_speaks_of_is_handed_out_once() {
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

    #[test]
    fn shelves_of_the_same_things_forget_each_for_itself() {
        let names = Names::default();
        let [mut short, mut long] =
            [5, 50].map(|minutes| Shelf::<u32>::among(names.clone(), Duration::from_mins(minutes)));
        let jobs: Vec<Id> = ["J3", "J1", "J2"].map(Id::from).to_vec();
        for (n, job) in (1..).zip(&jobs) {
            (*short.at(job, second(1)), *long.at(job, second(1))) = (n, 10 * n);
        }
        assert_eq!(short.forget(second(400)), 3);
        assert_eq!(short.peek(&jobs[0]), None);
        assert_eq!(long.peek(&jobs[0]), Some(&10));
        // A new job gets no number that anybody still uses.
        *short.at(&"J9".into(), second(401)) = 9;
        assert_eq!(long.peek(&"J9".into()), None);
        let told: Vec<_> = long.iter().map(|(job, value)| (job.as_str(), *value)).collect();
        assert_eq!(told, [("J1", 20), ("J2", 30), ("J3", 10)]);
        assert_eq!((long.forget(second(4_000)), long.len(), short.len()), (3, 0, 1));
        *long.at(&"J1".into(), second(4_001)) = 7;
        assert_eq!((short.peek(&"J9".into()), long.peek(&"J1".into())), (Some(&9), Some(&7)));
        assert_eq!(short.peek(&"J1".into()), None);
    }
}
