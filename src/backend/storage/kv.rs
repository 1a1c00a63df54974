//! The core services' way to the storage node: typed, with the right policy for each verb.

use std::time::Duration;

use super::{COMMIT, GET, ROWS_MAX, SCAN, row_of_wire, txn_to_wire};
use crate::{
    backend::{
        platform::rpc::{Policy, Rpc, RpcError},
        wire::platform as wire,
    },
    world::store::{Committed, Row, Txn},
};

/// Reads may be asked twice.
const READ: Policy = Policy {
    deadline: Duration::from_secs(2),
    attempt: Duration::from_millis(700),
    idempotent: true,
};

/// A commit may not: after an unknown outcome its author reads again and decides.
const WRITE: Policy =
    Policy { deadline: Duration::from_secs(2), attempt: Duration::from_secs(2), idempotent: false };

/// The rows of all core services; a cheap handle.
#[derive(Clone)]
pub struct Kv {
    rpc: Rpc,
}

impl Kv {
    /// The rows at whichever storage node discovery knows.
    pub fn new(rpc: &Rpc) -> Self {
        Self { rpc: rpc.clone() }
    }

    /// The row at `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Row>, RpcError> {
        let ask = wire::GetAsk { keys: vec![key.to_owned()] };
        let found: wire::Rows = self.rpc.call(GET, &ask, READ).await?;
        Ok(found.rows.into_iter().next().map(row_of_wire))
    }

    /// The rows at `keys`, in the same order, asked for at once.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Row>>, RpcError> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(ROWS_MAX) {
            let ask = wire::GetAsk { keys: keys.to_vec() };
            let found: wire::Rows = self.rpc.call(GET, &ask, READ).await?;
            let mut found = found.rows.into_iter().peekable();
            // The answer keeps the order of the keys and leaves out those without a row.
            rows.extend(
                keys.iter().map(|key| found.next_if(|row| row.key == *key).map(row_of_wire)),
            );
        }
        Ok(rows)
    }

    /// Up to `limit` rows with `from` <= key < `to`, in key order. More than one answer's worth is
    /// read page by page, so rows may change in between.
    pub async fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, RpcError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut from = from.to_owned();
        while rows.len() < limit {
            let left = (limit - rows.len()).min(ROWS_MAX);
            let ask = wire::ScanAsk { from, to: to.to_owned(), limit: left as u32 };
            let found: wire::Rows = self.rpc.call(SCAN, &ask, READ).await?;
            rows.extend(found.rows.into_iter().map(row_of_wire));
            match rows.last() {
                // The least key after that one.
                Some(last) if found.more => from = format!("{}\0", last.key),
                _ => break,
            }
        }
        Ok(rows)
    }

    /// Up to `limit` rows whose keys begin with `prefix`.
    pub async fn scan_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<Row>, RpcError> {
        self.scan(prefix, &format!("{prefix}\u{10ffff}"), limit).await
    }

    /// Commits; [`Committed::Conflict`] is an outcome, not an error. After [`RpcError::Unknown`]
    /// the commit may have happened, or may still happen: read again and decide.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, RpcError> {
        let answer: wire::CommitAnswer = self.rpc.call(COMMIT, &txn_to_wire(txn), WRITE).await?;
        Ok(match answer.conflict {
            Some(key) => Committed::Conflict(key),
            None => Committed::Done(answer.version),
        })
    }
}
