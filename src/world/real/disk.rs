//! A file below redb whose written but unsynced bytes stay in the memory of this process until the
//! sync, so that SIGKILL between a commit and its sync really loses them (the kernel's page cache
//! would keep them). Knows nothing of transactions.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Bytes of a page: the unit in which unsynced writes are kept.
const PAGE_BYTES: usize = 4096;
/// Unsynced pages that are kept at most (512 MiB); writes beyond are refused as on a full disk.
const DIRTY_PAGES_MAX: usize = 131_072;

type Page = Box<[u8; PAGE_BYTES]>;
type Pages = BTreeMap<u64, Page>;

/// Whether a sync does what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Syncing {
    /// Synced bytes are on the disk.
    #[default]
    Honest,
    /// A planted bug: the sync does nothing, so a kill loses everything.
    Skipped,
}

/// A file as redb's storage. A cheap handle: all clones share the one file.
#[derive(Debug, Clone)]
pub struct FileDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: File,
    syncing: Syncing,
    dead: AtomicBool,
    /// Held for the length of a sync, so that the state below is free for readers meanwhile.
    one_sync: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How long the file is for redb.
    len: u64,
    /// The prefix of the file that holds good bytes; beyond it unwritten bytes are zero.
    on_file: u64,
    /// Written since the last sync began.
    dirty: Pages,
    /// On its way to the file in the sync that is running.
    flushing: Arc<Pages>,
}

impl FileDisk {
    /// Opens or makes the file, and locks it against other processes.
    pub fn open(path: &Path, syncing: Syncing) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is open in another process", path.display()),
            ),
            TryLockError::Error(why) => why,
        })?;
        let len = file.metadata()?.len();
        let state = State { len, on_file: len, ..State::default() };
        Ok(Self(Arc::new(Shared {
            file,
            syncing,
            dead: AtomicBool::new(false),
            one_sync: Mutex::default(),
            state: Mutex::new(state),
        })))
    }

    /// What SIGKILL would do: forgets everything unsynced and refuses whatever follows.
    pub fn kill(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
        let mut state = self.0.state();
        state.dirty.clear();
        state.flushing = Arc::default();
        // A kill ends the locks of a process, and its successor opens the file at once.
        let _ = self.0.file.unlock();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Not left to the closing of the file: a child that is being started this moment holds a
        // copy of it, and with it the lock.
        let _ = self.file.unlock();
    }
}

impl Shared {
    /// The state is whole between any two statements that could panic, so poison means nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let _one = self.one_sync.lock().unwrap_or_else(PoisonError::into_inner);
        let (pages, len, on_file) = {
            let mut state = self.state();
            let pages = Arc::new(std::mem::take(&mut state.dirty));
            state.flushing = Arc::clone(&pages);
            (pages, state.len, state.on_file)
        };
        let written = self.write_out(&pages, len, on_file);
        let mut state = self.state();
        if written.is_ok() {
            state.on_file = len;
        } else {
            // Not on the disk: they are unsynced still, but for what was written over since.
            for (number, page) in pages.iter() {
                state.dirty.entry(*number).or_insert_with(|| page.clone());
            }
        }
        state.flushing = Arc::default();
        written
    }

    fn write_out(&self, pages: &Pages, len: u64, on_file: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > on_file {
            // Bytes cut off and grown again are zero, not what they were.
            self.file.set_len(on_file)?;
        }
        self.file.set_len(len)?;
        for (number, page) in pages {
            self.alive()?;
            let start = number * PAGE_BYTES as u64;
            let count = len.saturating_sub(start).min(PAGE_BYTES as u64) as usize;
            self.file.write_all_at(&page[..count], start)?;
        }
        self.alive()?;
        self.file.sync_data()
    }

    /// Reads through the pages in memory to the file; zero where nothing was ever written.
    fn read(&self, state: &State, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let on_file = state.on_file.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_file, beyond) = out.split_at_mut(on_file);
        self.file.read_exact_at(from_file, offset)?;
        beyond.fill(0);
        for pages in [&*state.flushing, &state.dirty] {
            overlay(pages, offset, out);
        }
        Ok(())
    }

    /// The dirty page of that number, read from below if it is not dirty yet.
    fn page<'a>(&self, state: &'a mut State, number: u64) -> io::Result<&'a mut Page> {
        if !state.dirty.contains_key(&number) {
            if state.dirty.len() >= DIRTY_PAGES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "too many unsynced bytes in memory",
                ));
            }
            let mut page = Box::new([0; PAGE_BYTES]);
            self.read(state, number * PAGE_BYTES as u64, &mut *page)?;
            state.dirty.insert(number, page);
        }
        state.dirty.get_mut(&number).ok_or_else(|| io::Error::other("a page was lost"))
    }
}

/// Copies what `pages` hold of the range at `offset` into `out`.
fn overlay(pages: &Pages, offset: u64, out: &mut [u8]) {
    let page_bytes = PAGE_BYTES as u64;
    let end = offset + out.len() as u64;
    for (number, page) in pages.range(offset / page_bytes..end.div_ceil(page_bytes)) {
        let start = number * page_bytes;
        let (low, high) = (start.max(offset), (start + page_bytes).min(end));
        let within = (low - start) as usize..(high - start) as usize;
        out[(low - offset) as usize..(high - offset) as usize].copy_from_slice(&page[within]);
    }
}

impl redb::StorageBackend for FileDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.alive()?;
        Ok(self.0.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.alive()?;
        let state = self.0.state();
        if offset + out.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read(&state, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.alive()?;
        let _no_sync = self.0.one_sync.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.0.state();
        if len < state.len {
            let boundary = len / PAGE_BYTES as u64;
            if let Some(page) = state.dirty.get_mut(&boundary) {
                page[(len % PAGE_BYTES as u64) as usize..].fill(0);
            }
            state.dirty.split_off(&len.div_ceil(PAGE_BYTES as u64));
            state.on_file = state.on_file.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.alive()?;
        match self.0.syncing {
            Syncing::Honest => self.0.flush(),
            Syncing::Skipped => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.alive()?;
        let mut state = self.0.state();
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let within = (at % PAGE_BYTES as u64) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page = self.0.page(&mut state, at / PAGE_BYTES as u64)?;
            page[within..within + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        state.len = state.len.max(at);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.unlock()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use redb::StorageBackend;

    use super::*;
    use crate::world::store::{Txn, engine::Engine};

    fn put(key: &str, value: &str) -> Txn {
        let value = Bytes::copy_from_slice(value.as_bytes());
        Txn { expects: vec![], writes: vec![(key.into(), Some(value))] }
    }

    fn open(path: &Path, syncing: Syncing) -> (FileDisk, Engine) {
        let disk = FileDisk::open(path, syncing).unwrap();
        let engine = Engine::open(disk.clone(), 1 << 20).unwrap().called("test");
        (disk, engine)
    }

    /// Ten synced commits and one unsynced, a kill, and what the next process finds of them.
    fn survivors_of_a_kill(syncing: Syncing) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (disk, engine) = open(&path, syncing);
        for number in 0..10 {
            engine.apply(&[put(&format!("acknowledged/{number}"), "x")]).unwrap();
        }
        engine.apply_unsynced(&[put("unsynced", "x")]).unwrap();
        assert!(engine.get("unsynced").unwrap().is_some());
        disk.kill();
        drop(engine);
        let (_, engine) = open(&path, Syncing::Honest);
        engine.scan("", "z", 100).unwrap().into_iter().map(|row| row.key).collect()
    }

    #[test]
    fn a_kill_loses_the_unsynced_and_nothing_acknowledged() {
        let expected: Vec<_> = (0..10).map(|number| format!("acknowledged/{number}")).collect();
        assert_eq!(survivors_of_a_kill(Syncing::Honest), expected);
    }

    #[test]
    fn a_disk_that_skips_the_sync_is_caught_by_a_kill() {
        let survivors = survivors_of_a_kill(Syncing::Skipped);
        assert!(survivors.is_empty(), "the skipped sync kept {survivors:?}");
    }

    #[test]
    fn a_clean_end_keeps_what_was_unsynced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (_, engine) = open(&path, Syncing::Honest);
        engine.apply_unsynced(&[put("k", "1")]).unwrap();
        drop(engine);
        let (_, engine) = open(&path, Syncing::Honest);
        assert!(engine.get("k").unwrap().is_some());
        assert_eq!(engine.last_commit().unwrap(), 1);
    }

    #[test]
    fn versions_go_on_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        for round in 1..=5 {
            let (disk, engine) = open(&path, Syncing::Honest);
            engine.apply(&[put("k", "x")]).unwrap();
            assert_eq!(engine.get("k").unwrap().unwrap().version, round);
            disk.kill();
        }
    }

    #[test]
    fn a_kill_in_the_middle_of_a_sync_keeps_the_commit_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (disk, engine) = open(&path, Syncing::Honest);
        engine.apply(&[put("before", "x")]).unwrap();
        engine.apply_unsynced(&[put("after", &"y".repeat(100_000))]).unwrap();
        disk.kill();
        drop(engine);
        let file = std::fs::read(&path).unwrap();
        // The pages of the next sync, of which ever fewer reach the file.
        let (disk, engine) = open(&path, Syncing::Skipped);
        engine.apply(&[put("after", &"y".repeat(100_000))]).unwrap();
        let (pages, len) = {
            let state = disk.0.state();
            (state.dirty.clone(), state.len)
        };
        disk.kill();
        drop(engine);
        for reached in 0..pages.len() {
            std::fs::write(&path, &file).unwrap();
            let torn = FileDisk::open(&path, Syncing::Honest).unwrap();
            let some = pages.iter().take(reached).map(|(number, page)| (*number, page.clone()));
            torn.0.write_out(&some.collect(), len, file.len() as u64).unwrap();
            drop(torn);
            let (_, engine) = open(&path, Syncing::Honest);
            assert!(engine.get("before").unwrap().is_some(), "lost with {reached} pages written");
        }
    }

    #[test]
    fn a_store_is_open_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let first = FileDisk::open(&path, Syncing::Honest).unwrap();
        assert_eq!(
            FileDisk::open(&path, Syncing::Honest).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(first);
        FileDisk::open(&path, Syncing::Honest).unwrap();
    }

    #[test]
    fn bytes_cut_off_come_back_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(&folder.path().join("f"), Syncing::Honest).unwrap();
        let read = |from: u64, count: usize| {
            let mut out = vec![9; count];
            disk.read(from, &mut out).unwrap();
            out
        };
        for sync in [false, true] {
            disk.set_len(10_000).unwrap();
            disk.write(4_000, &[7; 200]).unwrap();
            if sync {
                disk.sync_data().unwrap();
            }
            disk.set_len(4_100).unwrap();
            disk.set_len(10_000).unwrap();
            assert_eq!(read(4_000, 100), [7; 100]);
            assert_eq!(read(4_100, 100), [0; 100]);
            disk.sync_data().unwrap();
            assert_eq!(read(4_000, 200), [[7; 100], [0; 100]].concat());
        }
        assert!(disk.read(9_999, &mut [0; 2]).is_err());
    }
}
