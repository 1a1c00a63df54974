//! A small transactional store on the disk of a node: keys are text, rows carry versions, and a
//! commit resolves after the sync. Both worlds put redb below it.

pub mod engine;

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// A row as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: String,
    /// The number of the commit that wrote it: grows with every commit of the store.
    pub version: u64,
    /// What was written.
    pub value: Bytes,
}

/// What a commit expects of a key before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No row is there.
    Absent,
    /// The row has this version.
    Version(u64),
}

/// Writes that are made together, or not at all, if everything expected holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub expects: Vec<(String, Expect)>,
    /// Key and value; `None` deletes.
    pub writes: Vec<(String, Option<Bytes>)>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Written; every row of it carries this version.
    Done(u64),
    /// Nothing was written: this key was not as expected.
    Conflict(String),
}

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// After the sync: what was acknowledged survives a crash.
    Synced,
    /// Before it; the next synced commit makes it last, or a sync soon after. For what can be made
    /// again from what is synced, and for a planted bug.
    Early,
}

/// The store failed; nothing is known of the commit, but where its disk has no room.
#[derive(Debug, Clone, thiserror::Error)]
#[error("store {store}: {why}")]
pub struct StoreError {
    /// Its name.
    pub store: String,
    /// What the disk or the database said.
    pub why: String,
    /// The disk is full: nothing of the commit was written, for certain, and the store is whole.
    pub no_room: bool,
}

impl StoreError {
    /// The store of that name failed.
    pub fn new(store: impl Into<String>, why: impl Into<String>) -> Self {
        Self { store: store.into(), why: why.into(), no_room: false }
    }

    /// The disk of that store is full.
    pub fn no_room(store: impl Into<String>) -> Self {
        Self { no_room: true, ..Self::new(store, "no space left on device") }
    }
}

/// A store as a world implements it.
pub trait Disk {
    /// Commits one transaction; resolves after the sync (group commit joins many in one).
    fn commit(&self, txn: Txn, ack: Ack) -> LocalBoxFuture<'static, Result<Committed, StoreError>>;
    /// The row at `key`, of what is committed.
    fn get(&self, key: &str) -> Result<Option<Row>, StoreError>;
    /// Up to `limit` rows with `from` <= key < `to`, in key order.
    fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// A handle to an open store.
pub type Store = Rc<dyn Disk>;
