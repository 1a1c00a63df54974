//! The rows of a replica: what the commands of the log, applied in its order, have made of them.
//! A row's version is the place in the log of the commit that wrote it, so that all replicas agree
//! on it; the store's own versions mean nothing here.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::STORE;
use crate::{
    backend::wire::platform as wire,
    world::store::{Committed, Expect, Row, Store, StoreError, Txn},
};

/// The least key that is somebody's: those before it are the replica's own.
pub const FIRST: &str = "\u{2}";
/// Bytes of the version before each value.
const VERSION_BYTES: usize = 8;

/// Commands that were decided one after the other and are not yet written.
pub struct Batch<'a> {
    store: &'a Store,
    /// Version and value of what was written; `None` deletes.
    written: BTreeMap<String, Option<(u64, Bytes)>>,
}

impl<'a> Batch<'a> {
    /// An empty batch over what `store` holds.
    pub fn over(store: &'a Store) -> Self {
        Self { store, written: BTreeMap::new() }
    }

    /// Decides the command at `index` after all those before it.
    pub fn apply(&mut self, index: u64, txn: Txn) -> Result<Committed, StoreError> {
        for (key, expect) in txn.expects {
            let wanted = match expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if self.version(&key)? != wanted {
                return Ok(Committed::Conflict(key));
            }
        }
        for (key, value) in txn.writes {
            self.written.insert(key, value.map(|value| (index, value)));
        }
        Ok(Committed::Done(index))
    }

    fn version(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.written.get(key) {
            Some(row) => Ok(row.as_ref().map(|(version, _)| *version)),
            None => Ok(get(self.store, key)?.map(|row| row.version)),
        }
    }

    /// What is to be written.
    pub fn into_writes(self) -> Vec<(String, Option<Bytes>)> {
        let held = |(version, value): (u64, Bytes)| {
            let mut bytes = Vec::with_capacity(VERSION_BYTES + value.len());
            bytes.extend_from_slice(&version.to_le_bytes());
            bytes.extend_from_slice(&value);
            Bytes::from(bytes)
        };
        self.written.into_iter().map(|(key, row)| (key, row.map(held))).collect()
    }
}

/// The row at `key`.
pub fn get(store: &Store, key: &str) -> Result<Option<Row>, StoreError> {
    store.get(key)?.map(told).transpose()
}

/// Up to `limit` rows with `from` <= key < `to`, in key order.
pub fn scan(store: &Store, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
    store.scan(from.max(FIRST), to, limit)?.into_iter().map(told).collect()
}

/// True when nobody but the replica itself may write one of these keys.
pub fn is_reserved(ask: &wire::CommitAsk) -> bool {
    ask.writes.iter().any(|write| write.key.as_str() < FIRST)
}

fn told(mut row: Row) -> Result<Row, StoreError> {
    let Some(version) = row.value.first_chunk::<VERSION_BYTES>() else {
        let why = format!("the row at {:?} has no version", row.key);
        return Err(StoreError::new(STORE, why));
    };
    row.version = u64::from_le_bytes(*version);
    row.value = row.value.slice(VERSION_BYTES..);
    Ok(row)
}
