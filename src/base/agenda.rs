//! What happens when: events in strict (time, sequence) order. A hierarchical timing wheel, so that
//! putting in and taking back cost the same however much is planned. It knows no clock: whoever
//! pops says how far time may go.
//!
//! Eleven levels of 64 slots cover all 64 bits of a nanosecond. An event lies on the level of the
//! highest group of six bits in which its time differs from `elapsed`; so all events of one moment
//! always share one list, lists are first in first out, and spreading a list over lower levels
//! keeps its order. That is the whole proof of the order among equals.

use super::pool::Key;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11;
const NIL: u32 = u32::MAX;

struct Entry<E> {
    at: u64,
    generation: u32,
    prev: u32,
    next: u32,
    /// Level and slot, as `level * 64 + slot`.
    place: u32,
    event: Option<E>,
}

#[derive(Clone, Copy)]
struct Ends {
    head: u32,
    tail: u32,
}

/// Events by time; equal times in the order in which they were put in.
pub struct Agenda<E> {
    entries: Vec<Entry<E>>,
    free: u32,
    lists: Vec<Ends>,
    occupied: [u64; LEVELS],
    levels: u32,
    elapsed: u64,
    len: usize,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Agenda<E> {
    /// Nothing planned; time begins at zero.
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NIL,
            lists: vec![Ends { head: NIL, tail: NIL }; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            levels: 0,
            elapsed: 0,
            len: 0,
        }
    }

    /// Plans `event` for `at`; what should have happened already happens next.
    pub fn insert(&mut self, at: u64, event: E) -> Key {
        let at = at.max(self.elapsed);
        self.len += 1;
        let slot = self.free;
        let slot = if slot == NIL {
            let fresh =
                Entry { at, generation: 0, prev: NIL, next: NIL, place: 0, event: Some(event) };
            self.entries.push(fresh);
            self.entries.len() as u32 - 1
        } else {
            let entry = &mut self.entries[slot as usize];
            self.free = entry.next;
            entry.at = at;
            entry.event = Some(event);
            slot
        };
        self.link(slot);
        Key { slot, generation: self.entries[slot as usize].generation }
    }

    /// Takes an event back; `None` when it has happened.
    pub fn remove(&mut self, key: Key) -> Option<E> {
        self.get_mut(key)?;
        self.unlink(key.slot);
        self.release(key.slot)
    }

    /// The event while it is still planned.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut E> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation == key.generation { entry.event.as_mut() } else { None }
    }

    /// The next event that happens at `limit` or before, and its time. What is planned
    /// for a time before the last event that came out comes next.
    pub fn pop(&mut self, limit: u64) -> Option<(u64, E)> {
        loop {
            if self.levels == 0 {
                return None;
            }
            let level = self.levels.trailing_zeros();
            let slot = self.occupied[level as usize].trailing_zeros();
            let place = (level << BITS) + slot;
            let Ends { head, tail } = self.lists[place as usize];
            // One event alone needs no spreading: nothing planned is earlier.
            if level == 0 || head == tail {
                let at = self.entries[head as usize].at;
                if at > limit {
                    return None;
                }
                self.elapsed = at;
                self.unlink(head);
                return self.release(head).map(|event| (at, event));
            }
            // Spread from the earliest of them on, not from the start of the slot: what lies close
            // together sinks to the lowest levels at once.
            let earliest = self.earliest(head);
            if earliest > limit {
                return None;
            }
            self.elapsed = earliest;
            self.spread(place, head);
        }
    }

    /// When the next event happens.
    pub fn next(&self) -> Option<u64> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let slot = self.occupied[level as usize].trailing_zeros();
        Some(self.earliest(self.lists[((level << BITS) + slot) as usize].head))
    }

    /// Events planned.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots ever needed at once.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Takes everything out, to be dropped by the caller.
    pub fn clear(&mut self) -> Vec<E> {
        let elapsed = self.elapsed;
        let old = std::mem::take(self);
        self.elapsed = elapsed;
        old.entries.into_iter().filter_map(|entry| entry.event).collect()
    }

    /// The earliest time in the list that begins with `next`.
    fn earliest(&self, mut next: u32) -> u64 {
        let mut earliest = u64::MAX;
        while next != NIL {
            let entry = &self.entries[next as usize];
            earliest = earliest.min(entry.at);
            next = entry.next;
        }
        earliest
    }

    /// Moves the list at `place`, which begins with `next`, to lower levels.
    fn spread(&mut self, place: u32, mut next: u32) {
        self.lists[place as usize] = Ends { head: NIL, tail: NIL };
        self.forget(place);
        while next != NIL {
            let slot = next;
            next = self.entries[slot as usize].next;
            self.link(slot);
        }
    }

    fn link(&mut self, slot: u32) {
        let at = self.entries[slot as usize].at;
        let level = ((at ^ self.elapsed) | 1).ilog2() / BITS;
        let place = (level << BITS) + ((at >> (level * BITS)) as u32 & (SLOTS as u32 - 1));
        let ends = &mut self.lists[place as usize];
        let prev = ends.tail;
        ends.tail = slot;
        if prev == NIL {
            ends.head = slot;
            self.occupied[level as usize] |= 1 << (place & (SLOTS as u32 - 1));
            self.levels |= 1 << level;
        } else {
            self.entries[prev as usize].next = slot;
        }
        let entry = &mut self.entries[slot as usize];
        (entry.prev, entry.next, entry.place) = (prev, NIL, place);
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { prev, next, place, .. } = self.entries[slot as usize];
        let ends = &mut self.lists[place as usize];
        if prev == NIL {
            ends.head = next;
        }
        if next == NIL {
            ends.tail = prev;
        }
        let empty = ends.head == NIL;
        if prev != NIL {
            self.entries[prev as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if empty {
            self.forget(place);
        }
    }

    /// Notes that the list at `place` is empty.
    fn forget(&mut self, place: u32) {
        let level = (place >> BITS) as usize;
        self.occupied[level] &= !(1 << (place & (SLOTS as u32 - 1)));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn release(&mut self, slot: u32) -> Option<E> {
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = slot;
        self.len -= 1;
        entry.event.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn equal_times_come_in_the_order_of_their_planning() {
        let mut agenda = Agenda::new();
        let at = 123_456_789_u64;
        for number in 0..50 {
            agenda.insert(at, number);
            // Time goes on in between, so that later ones are planned from nearer.
            agenda.insert(at - 50_000_000 + number * 1_000_003, 1_000 + number);
            agenda.pop(at - 1);
        }
        let mut last = Vec::new();
        while let Some((when, number)) = agenda.pop(u64::MAX) {
            if when == at {
                last.push(number);
            }
        }
        assert_eq!(last, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn it_agrees_with_a_sorted_map() {
        for seed in 0..30 {
            agree(&mut Rng::from_seed(&format!("agenda/{seed}")));
        }
    }

    /// Random insertions, removals and pops, compared with a map sorted by (time, sequence).
    fn agree(rng: &mut Rng) {
        let (mut agenda, mut model) = (Agenda::new(), BTreeMap::new());
        let mut keys = Vec::new();
        let (mut now, mut sequence) = (0_u64, 0_u64);
        for _ in 0..4_000 {
            match rng.below(8) {
                0..4 => {
                    // All magnitudes, and many ties.
                    let far = rng.u64() >> rng.below(64);
                    let at = match rng.below(3) {
                        0 => now.saturating_add(far % 5),
                        1 => now.saturating_add(far % 100_000),
                        _ => now.saturating_add(far),
                    };
                    let key = agenda.insert(at, sequence);
                    model.insert((at, sequence), key);
                    keys.push((key, at, sequence));
                    sequence += 1;
                }
                4 if !keys.is_empty() => {
                    let (key, at, number) = keys.swap_remove(rng.below(keys.len()));
                    let there = model.remove(&(at, number)).is_some();
                    assert_eq!(agenda.remove(key), there.then_some(number));
                }
                _ => {
                    let limit = now.saturating_add(rng.u64() >> rng.below(64));
                    let expected = model.first_key_value().map(|(&id, _)| id);
                    assert_eq!(agenda.next(), expected.map(|(at, _)| at));
                    let expected = expected.filter(|&(at, _)| at <= limit);
                    assert_eq!(agenda.pop(limit), expected);
                    if let Some(id) = expected {
                        model.remove(&id);
                    }
                    now = expected.map_or(limit, |id| id.0);
                }
            }
            assert_eq!(agenda.len(), model.len());
        }
    }

    #[test]
    fn memory_does_not_grow_with_what_was_taken_back() {
        let mut agenda = Agenda::new();
        for number in 0..1_000_000_u64 {
            let key = agenda.insert(number + 10_000_000_000, number);
            let _ = agenda.insert(number, number);
            assert_eq!(agenda.remove(key), Some(number));
            assert_eq!(agenda.pop(u64::MAX), Some((number, number)));
        }
        assert_eq!((agenda.entries.len(), agenda.len()), (2, 0));
    }
}
