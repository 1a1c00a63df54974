//! The engine below the stores of both worlds: redb, with versions on rows and whole groups of
//! transactions in one sync. It must not know where its bytes lie: a `StorageBackend` is handed in.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageBackend,
    Table, TableDefinition, TableError, WriteTransaction,
};

use super::{Committed, Expect, Row, StoreError, Txn};

/// Bytes of the version before each value.
const VERSION_BYTES: usize = 8;

const ROWS: TableDefinition<&str, &[u8]> = TableDefinition::new("rows");
/// The key of the row whose version is the number of the last commit. It sorts before all others
/// and is nobody's: one table costs a commit less than two.
const LAST_COMMIT: &str = "";
/// The least key that is somebody's.
const FIRST: &str = "\0";

/// An open store, wherever its bytes lie. Shared between threads; one group is applied at a time.
#[derive(Debug)]
pub struct Engine {
    name: String,
    /// What readers see: opened by the first after a commit, for all until the next.
    shown: Mutex<Option<Shown>>,
    db: Database,
}

/// The rows as of one commit.
type Shown = ReadOnlyTable<&'static str, &'static [u8]>;

/// Whether a group waits for the disk.
#[derive(Clone, Copy)]
enum Sync {
    Now,
    Later,
}

impl Engine {
    /// Opens the store in `backend`, or makes one there if it is empty; repairs it after a crash. It keeps
    /// `cache_bytes` of pages in memory at most.
    pub fn open(backend: impl StorageBackend, cache_bytes: usize) -> Result<Self, StoreError> {
        let db = Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(|why| failed("(opening)", &why))?;
        let engine = Self { name: String::from("(unnamed)"), shown: Mutex::default(), db };
        engine.make_table()?;
        Ok(engine)
    }

    /// The same store, called `name` in errors.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Applies a group of transactions in their order, each wholly or not at all, and resolves
    /// after one sync for all of them. A transaction sees what those before it in the group wrote.
    /// On an error nothing of the group was written, or it is unknown whether it was.
    pub fn apply(&self, txns: &[Txn]) -> Result<Vec<Committed>, StoreError> {
        self.apply_group(txns, Sync::Now)
    }

    /// Like [`Engine::apply`], without the sync: readers see the writes, a crash loses them.
    /// [`Engine::sync`] or the next [`Engine::apply`] that writes makes them last.
    pub fn apply_unsynced(&self, txns: &[Txn]) -> Result<Vec<Committed>, StoreError> {
        self.apply_group(txns, Sync::Later)
    }

    /// Makes everything applied so far last.
    pub fn sync(&self) -> Result<(), StoreError> {
        // An empty commit carries all unsynced ones before it to the disk.
        let txn = self.db.begin_write().map_err(|why| self.failed(&why))?;
        txn.commit().map_err(|why| self.failed(&why))
    }

    /// The row at `key`, of what is committed.
    pub fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.read(|rows| {
            let found = rows.get(key).map_err(|why| self.failed(&why))?;
            found.map(|bytes| self.row(key, bytes.value())).transpose()
        })
    }

    /// Up to `limit` committed rows with `from` <= key < `to`, in the order of their keys' bytes.
    pub fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let from = from.max(FIRST);
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|rows| {
            let range = rows.range(from..to).map_err(|why| self.failed(&why))?;
            range
                .take(limit)
                .map(|entry| {
                    let (key, bytes) = entry.map_err(|why| self.failed(&why))?;
                    self.row(key.value(), bytes.value())
                })
                .collect()
        })
    }

    /// Lets `look` see what is committed.
    fn read<T>(&self, look: impl FnOnce(&Shown) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_none() {
            let txn = self.db.begin_read().map_err(|why| self.failed(&why))?;
            *shown = Some(txn.open_table(ROWS).map_err(|why| self.failed(&why))?);
        }
        match &*shown {
            Some(rows) => look(rows),
            None => Err(self.failed(&"nothing can be read")),
        }
    }

    /// The next reader sees what is committed by then. What readers hold on to cannot be used again by
    /// the disk, so this comes after every commit.
    fn show_anew(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The number of the last commit that wrote something.
    pub fn last_commit(&self) -> Result<u64, StoreError> {
        self.read(|rows| last_commit(rows).map_err(|why| self.failed(&why)))
    }

    /// Readers cannot open a table that was never written, so it is made once.
    fn make_table(&self) -> Result<(), StoreError> {
        let txn = self.db.begin_read().map_err(|why| self.failed(&why))?;
        match txn.open_table(ROWS) {
            Ok(_) => return Ok(()),
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(why) => return Err(self.failed(&why)),
        }
        drop(txn);
        let txn = self.db.begin_write().map_err(|why| self.failed(&why))?;
        txn.open_table(ROWS).map_err(|why| self.failed(&why))?;
        txn.commit().map_err(|why| self.failed(&why))
    }

    fn apply_group(&self, txns: &[Txn], sync: Sync) -> Result<Vec<Committed>, StoreError> {
        // What readers see until now stays open while this commits: the pages that it replaces are
        // then freed by the commit after it, instead of by a second pass behind each.
        let done = self.write_group(txns, sync);
        // Whoever is told of the commit from here on reads it.
        self.show_anew();
        done
    }

    fn write_group(&self, txns: &[Txn], sync: Sync) -> Result<Vec<Committed>, StoreError> {
        let mut write = self.db.begin_write().map_err(|why| self.failed(&why))?;
        if matches!(sync, Sync::Later) {
            write.set_durability(Durability::None).map_err(|why| self.failed(&why))?;
        }
        let (outcomes, any_written) = apply_to(&write, txns).map_err(|why| self.failed(&why))?;
        let ended = if any_written {
            write.commit().map_err(|why| self.failed(&why))
        } else {
            // Conflicts alone: nothing to carry to the disk.
            write.abort().map_err(|why| self.failed(&why))
        };
        ended.map(|()| outcomes)
    }

    fn row(&self, key: &str, bytes: &[u8]) -> Result<Row, StoreError> {
        let Some((version, value)) = bytes.split_first_chunk::<VERSION_BYTES>() else {
            return Err(self.failed(&format!("the row at {key:?} has no version")));
        };
        Ok(Row {
            key: key.to_owned(),
            version: u64::from_le_bytes(*version),
            value: Bytes::copy_from_slice(value),
        })
    }

    fn failed(&self, why: &impl ToString) -> StoreError {
        failed(&self.name, why)
    }
}

fn failed(store: &str, why: &impl ToString) -> StoreError {
    StoreError::new(store, why.to_string())
}

/// Applies the group inside one write; tells the outcomes, and whether anything was written.
fn apply_to(write: &WriteTransaction, txns: &[Txn]) -> Result<(Vec<Committed>, bool), redb::Error> {
    let mut rows = write.open_table(ROWS)?;
    let before = last_commit(&rows)?;
    let mut last = before;
    let mut outcomes = Vec::with_capacity(txns.len());
    for txn in txns {
        if let Some(key) = unexpected(&rows, txn)? {
            outcomes.push(Committed::Conflict(key.to_owned()));
            continue;
        }
        if !txn.writes.is_empty() {
            last += 1;
            write_rows(&mut rows, txn, last)?;
        }
        outcomes.push(Committed::Done(last));
    }
    if last > before {
        rows.insert(LAST_COMMIT, &last.to_le_bytes()[..])?;
    }
    Ok((outcomes, last > before))
}

/// The number of the last commit that wrote something; 0 before the first.
fn last_commit(
    rows: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<u64, redb::StorageError> {
    let row = rows.get(LAST_COMMIT)?;
    let number = row.as_ref().and_then(|bytes| bytes.value().first_chunk().copied());
    Ok(number.map_or(0, u64::from_le_bytes))
}

/// The first key that is not as `txn` expects it.
fn unexpected<'a>(rows: &Table<&str, &[u8]>, txn: &'a Txn) -> Result<Option<&'a str>, redb::Error> {
    for (key, expect) in &txn.expects {
        let found = rows.get(key.as_str())?;
        let version = found
            .as_ref()
            .and_then(|bytes| bytes.value().first_chunk::<VERSION_BYTES>().copied())
            .map(u64::from_le_bytes);
        let holds = match expect {
            Expect::Absent => found.is_none(),
            Expect::Version(wanted) => version == Some(*wanted),
        };
        if !holds {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn write_rows(rows: &mut Table<&str, &[u8]>, txn: &Txn, version: u64) -> Result<(), redb::Error> {
    for (key, value) in &txn.writes {
        debug_assert_ne!(key, LAST_COMMIT, "that row is the store's own");
        let Some(value) = value else {
            rows.remove(key.as_str())?;
            continue;
        };
        let mut place = rows.insert_reserve(key.as_str(), VERSION_BYTES + value.len())?;
        let (version_place, value_place) = place.as_mut().split_at_mut(VERSION_BYTES);
        version_place.copy_from_slice(&version.to_le_bytes());
        value_place.copy_from_slice(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    fn engine() -> Engine {
        Engine::open(InMemoryBackend::new(), 1 << 20).unwrap().called("test")
    }

    fn put(key: &str, value: &str) -> Txn {
        Txn {
            expects: vec![],
            writes: vec![(key.into(), Some(Bytes::copy_from_slice(value.as_bytes())))],
        }
    }

    fn put_if(key: &str, expect: Expect, value: &str) -> Txn {
        Txn { expects: vec![(key.into(), expect)], ..put(key, value) }
    }

    fn value(engine: &Engine, key: &str) -> Option<String> {
        let row = engine.get(key).unwrap()?;
        Some(String::from_utf8(row.value.to_vec()).unwrap())
    }

    #[test]
    fn a_group_sees_what_stands_before_it_in_the_group() {
        let engine = engine();
        let done = engine
            .apply(&[
                put_if("job/1", Expect::Absent, "requested"),
                put_if("job/1", Expect::Absent, "twice"),
                put_if("job/1", Expect::Version(1), "offered"),
                put_if("job/1", Expect::Version(1), "stale"),
            ])
            .unwrap();
        let conflict = || Committed::Conflict("job/1".into());
        assert_eq!(done, [Committed::Done(1), conflict(), Committed::Done(2), conflict()]);
        assert_eq!(value(&engine, "job/1").unwrap(), "offered");
        assert_eq!(engine.get("job/1").unwrap().unwrap().version, 2);
    }

    #[test]
    fn a_conflict_writes_nothing_at_all() {
        let engine = engine();
        engine.apply(&[put("taken", "x")]).unwrap();
        let mut txn = put("a", "1");
        txn.writes.push(("taken".into(), None));
        txn.expects.push(("absent".into(), Expect::Absent));
        txn.expects.push(("taken".into(), Expect::Version(7)));
        assert_eq!(engine.apply(&[txn]).unwrap(), [Committed::Conflict("taken".into())]);
        assert_eq!((value(&engine, "a"), value(&engine, "taken")), (None, Some("x".into())));
        assert_eq!(engine.last_commit().unwrap(), 1);
    }

    #[test]
    fn versions_grow_across_deletes() {
        let engine = engine();
        engine.apply(&[put("k", "1")]).unwrap();
        let delete = Txn { expects: vec![], writes: vec![("k".into(), None)] };
        engine.apply(&[delete]).unwrap();
        assert_eq!(value(&engine, "k"), None);
        engine.apply(&[put_if("k", Expect::Absent, "again")]).unwrap();
        assert_eq!(engine.get("k").unwrap().unwrap().version, 3);
    }

    #[test]
    fn one_transaction_gives_one_version_to_all_its_rows() {
        let engine = engine();
        let mut txn = put("a", "1");
        txn.writes.push(("b".into(), Some(Bytes::from_static(b""))));
        assert_eq!(engine.apply(&[txn]).unwrap(), [Committed::Done(1)]);
        let rows = engine.scan("", "z", 10).unwrap();
        assert_eq!(rows.iter().map(|row| row.version).collect::<Vec<_>>(), [1, 1]);
        assert!(rows[1].value.is_empty());
    }

    #[test]
    fn a_scan_keeps_order_range_and_limit() {
        let engine = engine();
        let keys = ["b/2", "a/9", "b/1", "c/1", "b/10"];
        engine.apply(&keys.map(|key| put(key, key))).unwrap();
        let found = |from, to, limit| {
            let rows = engine.scan(from, to, limit).unwrap();
            rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
        };
        assert_eq!(found("b/", "b0", 10), ["b/1", "b/10", "b/2"]);
        assert_eq!(found("b/", "b0", 2), ["b/1", "b/10"]);
        assert_eq!(found("b/1", "b/1", 9), [""; 0]);
        assert_eq!(found("z", "a", 9), [""; 0]);
    }

    #[test]
    fn unsynced_writes_are_visible_and_count() {
        let engine = engine();
        assert_eq!(engine.apply_unsynced(&[put("k", "1")]).unwrap(), [Committed::Done(1)]);
        assert_eq!(value(&engine, "k").unwrap(), "1");
        engine.sync().unwrap();
        assert_eq!(engine.apply(&[put("k", "2")]).unwrap(), [Committed::Done(2)]);
    }
}
