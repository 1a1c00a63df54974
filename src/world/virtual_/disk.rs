//! A disk in memory that remembers which writes were synced. When its process dies, the unsynced
//! ones are lost, but for a seeded few, of which one is torn: as a disk does it when the power goes.
//! Or all of them are there but the last, which is there by half.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

use super::{settings::below, sparse::Sparse};
use crate::base::rng::Rng;

/// The unit that a disk writes wholly or not at all.
const SECTOR_BYTES: u64 = 512;
/// Unsynced writes that are remembered; beyond it the older half counts as written, as a kernel
/// writes back what waits for long. Only a disk that skips its syncs comes here.
const UNSYNCED_MAX: usize = 65_536;
/// How often everything that was unsynced survives a crash after all: a commit that nobody
/// acknowledged and that is there nevertheless.
const ALL_SURVIVE_P: f64 = 0.2;
/// How often one unsynced write survives otherwise.
const ONE_SURVIVES_P: f64 = 0.5;

/// Something unsynced: what it replaced; once it is undone, what it wrote.
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length { old: u64, new: u64, cut: Vec<u8> },
}

#[derive(Default)]
struct Image {
    file: Sparse,
    unsynced: Vec<Change>,
    /// Goes up with each crash: what opened the disk before may not touch it any more.
    crashes: u32,
    /// Syncs do nothing: a planted bug, or the process is about to die.
    deaf: bool,
    /// A planted bug: the bytes never leave the memory of the process, so nothing survives it.
    skips_syncs: bool,
}

/// What lies on the disk of a node under one name. Outlives the processes that open it.
#[derive(Clone, Default)]
pub(super) struct Medium(Arc<Mutex<Image>>);

impl Medium {
    fn lock(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as a database sees it, until the next crash; `skip_sync` plants a bug.
    pub(super) fn open(&self, skip_sync: bool) -> Head {
        let mut image = self.lock();
        (image.deaf, image.skips_syncs) = (skip_sync, skip_sync);
        Head { medium: self.clone(), crashes: image.crashes }
    }

    /// From now on nothing is synced any more, whatever is asked.
    pub(super) fn stop_syncing(&self) {
        self.lock().deaf = true;
    }

    /// The process is gone: what was not synced is lost, mostly.
    pub(super) fn crash(&self, rng: &mut Rng) {
        self.lose(|changes| survivors(changes, rng));
    }

    /// The process is gone, and the last of what was not synced is torn; none where nothing is large
    /// enough to be.
    pub(super) fn tear(&self) -> Option<Torn> {
        let mut torn = None;
        self.lose(|changes| {
            torn = last_to_tear(changes);
            whole_but_the_torn(changes, torn.as_ref())
        });
        torn
    }

    fn lose(&self, survivors: impl FnOnce(&[Change]) -> Vec<u64>) {
        let mut image = self.lock();
        image.crashes += 1;
        let mut changes = std::mem::take(&mut image.unsynced);
        for change in changes.iter_mut().rev() {
            image.undo(change);
        }
        if image.skips_syncs {
            return;
        }
        let survivors = survivors(&changes);
        for (change, kept) in changes.iter().zip(survivors) {
            image.redo(change, kept);
        }
    }

    /// Bytes of unsynced writes.
    #[cfg(test)]
    pub(super) fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }
}

/// How many bytes of each write survive. A file that grew stays long: file systems keep lengths in
/// a journal. One that was cut stays cut only where everything before the cut survived, as the
/// journal commits a cut behind the data.
fn survivors(changes: &[Change], rng: &mut Rng) -> Vec<u64> {
    let all = rng.chance(ALL_SURVIVE_P);
    let torn = below(rng, changes.len() as u64) as usize;
    let survivors = changes.iter().enumerate().map(|(number, change)| {
        let len = match change {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::Length { .. } => return u64::from(all),
        };
        let survives = rng.chance(ONE_SURVIVES_P);
        if all {
            len
        } else if number == torn {
            below(rng, len.div_ceil(SECTOR_BYTES)) * SECTOR_BYTES
        } else if survives {
            len
        } else {
            0
        }
    });
    survivors.collect()
}

/// A write that is there by half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Which of the unsynced changes, from 0.
    number: usize,
    /// How many of those there were.
    pub of: usize,
    /// How long it was.
    pub bytes: u64,
    /// How much of it is there.
    pub kept: u64,
}

/// The last write that is longer than what a disk writes wholly or not at all.
fn last_to_tear(changes: &[Change]) -> Option<Torn> {
    let longer = |change: &Change| match change {
        Change::Write { bytes, .. } => Some(bytes.len() as u64).filter(|len| *len > SECTOR_BYTES),
        Change::Length { .. } => None,
    };
    let mut last = changes.iter().enumerate().rev();
    last.find_map(|(number, change)| {
        let bytes = longer(change)?;
        let kept = (bytes / 2 / SECTOR_BYTES).max(1) * SECTOR_BYTES;
        Some(Torn { number, of: changes.len(), bytes, kept })
    })
}

/// How many bytes of each write are there: all but of the torn one, also of those after it, since a
/// disk keeps no order. A cut stays where everything before it is whole.
fn whole_but_the_torn(changes: &[Change], torn: Option<&Torn>) -> Vec<u64> {
    let survivors = changes.iter().enumerate().map(|(number, change)| match (change, torn) {
        (Change::Write { .. }, Some(torn)) if torn.number == number => torn.kept,
        (Change::Write { bytes, .. }, _) => bytes.len() as u64,
        (Change::Length { .. }, torn) => u64::from(torn.is_none_or(|torn| number < torn.number)),
    });
    survivors.collect()
}

impl Image {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let change = Change::Write { offset, bytes: self.file.bytes(offset, data.len())? };
        self.file.write(offset, data)?;
        if self.unsynced.len() >= UNSYNCED_MAX {
            self.unsynced.drain(..UNSYNCED_MAX / 2);
        }
        self.unsynced.push(change);
        Ok(())
    }

    fn set_len(&mut self, new: u64) -> io::Result<()> {
        let old = self.file.len();
        let cut = if new < old { self.file.bytes(new, (old - new) as usize)? } else { Vec::new() };
        self.file.set_len(new)?;
        self.unsynced.push(Change::Length { old, new, cut });
        Ok(())
    }

    /// Takes the newest change back. What is there is what it wrote: it changes places with what was
    /// there before.
    fn undo(&mut self, change: &mut Change) {
        match change {
            Change::Write { offset, bytes } => {
                if let Ok(wrote) = self.file.bytes(*offset, bytes.len()) {
                    let before = std::mem::replace(bytes, wrote);
                    self.put(*offset, &before);
                }
            }
            Change::Length { old, new, cut } => {
                self.resize(*old);
                self.put(*new, cut);
            }
        }
    }

    fn redo(&mut self, change: &Change, kept: u64) {
        match change {
            Change::Write { offset, bytes } => self.put(*offset, &bytes[..kept as usize]),
            Change::Length { old, new, .. } if new < old && kept == 0 => {}
            Change::Length { new, .. } => {
                let len = if kept > 0 { *new } else { self.file.len().max(*new) };
                self.resize(len);
            }
        }
    }

    fn resize(&mut self, len: u64) {
        // It fails where what was compressed cannot be read any more: never.
        let _ = self.file.set_len(len);
    }

    fn put(&mut self, offset: u64, data: &[u8]) {
        // What lies beyond the end by now has no place any more.
        let _ = self.file.write(offset, data);
    }
}

/// A disk as one opening of it sees it.
pub(super) struct Head {
    medium: Medium,
    crashes: u32,
}

impl Head {
    fn image(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.medium.lock();
        if image.crashes == self.crashes { Ok(image) } else { Err(io::Error::other("crashed")) }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("crashes", &self.crashes).finish_non_exhaustive()
    }
}

impl StorageBackend for Head {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image()?.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.image()?.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.image()?.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.image()?;
        if !image.deaf {
            image.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.image()?.write(offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(medium: &Medium) -> Head {
        let head = medium.open(false);
        head.set_len(8_192).unwrap();
        head.write(0, &[1; 8_192]).unwrap();
        head.sync_data().unwrap();
        head
    }

    fn after_crash(seed: usize) -> Vec<u8> {
        let medium = Medium::default();
        let head = filled(&medium);
        head.write(0, &[2; 4_096]).unwrap();
        head.write(4_096, &[3; 4_096]).unwrap();
        head.set_len(10_000).unwrap();
        medium.crash(&mut Rng::from_seed(&seed.to_string()));
        assert!(head.write(0, &[9]).is_err(), "a dead process writes nothing");
        let mut bytes = vec![0; 10_000];
        medium.open(false).read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn synced_writes_survive_and_unsynced_ones_do_as_the_seed_says() {
        let (mut torn, mut whole, mut lost) = (0, 0, 0);
        for seed in 0..100 {
            let bytes = after_crash(seed);
            assert_eq!(bytes, after_crash(seed));
            for (half, new) in [(&bytes[..4_096], 2), (&bytes[4_096..8_192], 3)] {
                let kept = half.iter().take_while(|&&byte| byte == new).count();
                assert!(half[kept..].iter().all(|&byte| byte == 1));
                assert_eq!(kept as u64 % SECTOR_BYTES, 0);
                match kept {
                    0 => lost += 1,
                    4_096 => whole += 1,
                    _ => torn += 1,
                }
            }
            assert!(bytes[8_192..].iter().all(|&byte| byte == 0));
        }
        assert!(torn > 20 && whole > 20 && lost > 20, "{torn} {whole} {lost}");
    }

    #[test]
    fn a_disk_that_skips_its_syncs_loses_all_since_it_was_opened_and_nothing_else() {
        for seed in 0..20 {
            let medium = Medium::default();
            drop(filled(&medium));
            let head = medium.open(true);
            head.write(100, &[2; 1_000]).unwrap();
            head.set_len(20_000).unwrap();
            head.sync_data().unwrap();
            head.write(5_000, &[3; 100]).unwrap();
            medium.crash(&mut Rng::from_seed(&seed.to_string()));
            let head = medium.open(true);
            let mut bytes = vec![0; 8_192];
            head.read(0, &mut bytes).unwrap();
            assert_eq!(head.len().unwrap(), 8_192);
            assert!(bytes.iter().all(|&byte| byte == 1));
        }
    }

    #[test]
    fn the_last_write_that_can_be_is_torn_and_the_others_are_whole() {
        let medium = Medium::default();
        let head = filled(&medium);
        head.write(0, &[2; 1_024]).unwrap();
        head.write(4_096, &[3; 4_096]).unwrap();
        head.set_len(6_000).unwrap();
        head.write(2_048, &[4; 512]).unwrap();
        let torn = medium.tear().unwrap();
        assert_eq!((torn.of, torn.bytes, torn.kept), (4, 4_096, 2_048));
        let mut bytes = vec![0; 8_192];
        medium.open(false).read(0, &mut bytes).unwrap();
        let all = |range: std::ops::Range<usize>, byte| bytes[range].iter().all(|b| *b == byte);
        assert!(all(0..1_024, 2) && all(1_024..2_048, 1) && all(2_048..2_560, 4));
        assert!(all(4_096..6_144, 3) && all(6_144..8_192, 1), "half, and the cut is undone");
    }

    #[test]
    fn what_a_disk_writes_at_once_is_never_torn() {
        let medium = Medium::default();
        let head = filled(&medium);
        head.write(0, &[2; 512]).unwrap();
        assert_eq!(medium.tear(), None);
        let mut bytes = vec![0; 512];
        medium.open(false).read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_dying_process_syncs_nothing() {
        let medium = Medium::default();
        let head = filled(&medium);
        medium.stop_syncing();
        head.write(0, &[2]).unwrap();
        head.sync_data().unwrap();
        assert_eq!(medium.unsynced(), 1);
    }

    #[test]
    fn a_cut_that_is_undone_brings_the_bytes_back() {
        let mut image = Image::default();
        let whole: Vec<u8> = (0..100).collect();
        image.set_len(100).unwrap();
        image.write(0, &whole).unwrap();
        image.set_len(40).unwrap();
        let mut change = image.unsynced.pop().unwrap();
        image.undo(&mut change);
        assert_eq!(image.file.bytes(0, 100).unwrap(), whole);
    }
}
