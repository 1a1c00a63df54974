//! A disk whose syncs take longer, or that is full, while a fault plan says so. It does nothing else:
//! what is written is written, and what finds no room leaves no trace.

use futures_util::future::{LocalBoxFuture, ready};

use super::meddler::Meddler;
use crate::world::{
    Env,
    store::{Ack, Committed, Disk, Row, Store, StoreError, Txn},
};

/// A store on a disk that may be sick.
pub struct SickDisk {
    /// Time.
    pub env: Env,
    /// The name of the store below.
    pub name: &'static str,
    /// The store below.
    pub store: Store,
    /// Knows whether it is.
    pub meddler: Meddler,
}

impl Disk for SickDisk {
    fn commit(&self, txn: Txn, ack: Ack) -> LocalBoxFuture<'static, Result<Committed, StoreError>> {
        if self.meddler.disk_is_full() {
            return Box::pin(ready(Err(StoreError::no_room(self.name))));
        }
        // The store has it before anything is awaited: it keeps the order.
        let commit = self.store.commit(txn, ack);
        let longer = if ack == Ack::Synced { self.meddler.sync_takes_longer() } else { None };
        let Some(longer) = longer else { return commit };
        let env = self.env.clone();
        Box::pin(async move {
            let outcome = commit.await;
            env.sleep(longer).await;
            outcome
        })
    }

    fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.store.scan(from, to, limit)
    }
}
