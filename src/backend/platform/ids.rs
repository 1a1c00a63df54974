//! Unique ids without a word to anybody: 41 bits of milliseconds since our own epoch, 10 bits of
//! machine, 12 bits of sequence. Never repeats, whatever the wall clock does.

use std::cell::Cell;

use crate::base::time::Wall;

/// 2026-01-01T00:00:00Z in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

const MACHINE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
/// The upper bits of a sequence tell one life of a machine from the next, so that a clock that was
/// wrong before a restart and is right after it (or the reverse) does not repeat ids.
const LIFE_BITS: u32 = 3;
/// Ids of one millisecond and one life.
const PER_MS: u64 = 1 << (SEQUENCE_BITS - LIFE_BITS);

const MINUTE_MS: u64 = 60_000;

/// Makes the ids of one machine.
#[derive(Debug)]
pub struct Ids {
    machine: u64,
    life: u64,
    /// The millisecond since the epoch of the next id at the earliest, and its sequence.
    next: Cell<(u64, u64)>,
    /// Planted: no more than the minute is read off the clock.
    coarse: bool,
}

impl Ids {
    /// The ids of machine number `machine` (10 bits count), in its life number `incarnation`.
    pub fn new(machine: u16, incarnation: u32) -> Self {
        let machine = u64::from(machine) & ((1 << MACHINE_BITS) - 1);
        let life = u64::from(incarnation) & ((1 << LIFE_BITS) - 1);
        Self { machine, life, next: Cell::new((0, 0)), coarse: false }
    }

    /// Planted: ids that begin anew with each life, and count on from the minute that it is.
    pub fn forgetful(machine: u16) -> Self {
        Self { coarse: true, ..Self::new(machine, 0) }
    }

    /// The next id when the clock on the wall shows `wall`. Ids of one machine and life grow: a
    /// clock that stepped back is ignored until it has caught up, and a millisecond that is full
    /// borrows from the next.
    pub fn next(&self, wall: Wall) -> u64 {
        let now = wall.0.saturating_sub(EPOCH_MS);
        let now = if self.coarse { now - now % MINUTE_MS } else { now };
        let (mut ms, mut sequence) = self.next.get();
        if now > ms {
            (ms, sequence) = (now, 0);
        }
        let after = if sequence + 1 < PER_MS { (ms, sequence + 1) } else { (ms + 1, 0) };
        self.next.set(after);
        let low = self.life << (SEQUENCE_BITS - LIFE_BITS) | sequence;
        ms << (MACHINE_BITS + SEQUENCE_BITS) | self.machine << SEQUENCE_BITS | low
    }
}

/// An account of another tenant has this bit set; ids that are made here never have it.
const OTHER_TENANT: u64 = 1 << 63;

/// The id of an account of that tenant: 0 is ours.
pub fn of_tenant(id: u64, tenant: u32) -> u64 {
    if tenant == 0 { id } else { id | OTHER_TENANT }
}

/// Whose an account is.
pub fn tenant_of(account: u64) -> u32 {
    u32::from(account & OTHER_TENANT != 0)
}

/// The moment that an id carries.
pub fn made_at(id: u64) -> Wall {
    Wall((id >> (MACHINE_BITS + SEQUENCE_BITS)) + EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOON: Wall = Wall(EPOCH_MS + 43_200_000);

    #[test]
    fn an_id_carries_time_machine_and_sequence() {
        let id = Ids::new(37, 0).next(NOON);
        assert_eq!(made_at(id), NOON);
        assert_eq!((id >> 12 & 1023, id & 4095), (37, 0));
        assert!(id < 1 << 63);
    }

    #[test]
    fn a_clock_that_steps_back_repeats_nothing() {
        let ids = Ids::new(1, 0);
        let mut seen = Vec::new();
        for step in [0_i64, 1, 2, -5_000, -4_999, 0, 1, 2, 3, -60_000, 4] {
            for _ in 0..600 {
                seen.push(ids.next(Wall((NOON.0 as i64 + step) as u64)));
            }
        }
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "they grow");
    }

    #[test]
    fn the_planted_bug_repeats_ids_after_a_restart() {
        let lives = [0, 1].map(|_| Ids::forgetful(1));
        assert_eq!(lives[0].next(NOON), lives[1].next(Wall(NOON.0 + 9_000)));
        assert_ne!(lives[0].next(NOON), lives[1].next(Wall(NOON.0 + MINUTE_MS)));
    }

    #[test]
    fn a_full_millisecond_moves_on_to_the_next() {
        let ids = Ids::new(1, 0);
        let all: BTreeSet<u64> = (0..10_000).map(|_| ids.next(NOON)).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(made_at(*all.last().unwrap()).0, NOON.0 + 9_999 / PER_MS);
    }

    #[test]
    fn a_restart_or_another_machine_repeats_nothing_at_the_same_moment() {
        let mut all = BTreeSet::new();
        for (machine, incarnation) in [(1, 0), (1, 1), (1, 2), (2, 0), (1_023, 0)] {
            let ids = Ids::new(machine, incarnation);
            assert!((0..600).all(|_| all.insert(ids.next(NOON))), "{machine}, {incarnation}");
        }
    }
}
