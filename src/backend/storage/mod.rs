//! The storage node: the one store behind all core services, as rpc endpoints. Holds rows and
//! versions and knows nothing of what they mean. Core services use [`kv::Kv`], never these paths.

pub mod kv;

use bytes::Bytes;

use super::{
    platform::rpc::{Code, Router, RpcError, refuse},
    wire::platform as wire,
};
use crate::world::store::{Ack, Committed, Expect, Row, Store, StoreError, Txn};

/// The planted bug that acknowledges before the sync.
pub const ACK_BEFORE_WRITE: &str = "ack-before-write";

/// Commits a transaction.
pub const COMMIT: &str = "/storage/kv/commit";
/// Reads rows by key.
pub const GET: &str = "/storage/kv/get";
/// Reads rows between two keys.
pub const SCAN: &str = "/storage/kv/scan";

/// Rows that one answer carries at most.
pub const ROWS_MAX: usize = 4_096;
/// Bytes of values after which an answer ends early.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Serves `store`; every commit is acknowledged as `ack` says.
pub fn mount(store: &Store, ack: Ack, router: &mut Router) {
    let db = store.clone();
    router.on(COMMIT, move |ask: wire::CommitAsk| {
        // Nothing is awaited before the store has the transaction: it keeps the order of asks.
        let commit = db.commit(txn_of(ask), ack);
        async move {
            match commit.await {
                Ok(Committed::Done(version)) => Ok(wire::CommitAnswer { version, conflict: None }),
                Ok(Committed::Conflict(key)) => {
                    Ok(wire::CommitAnswer { version: 0, conflict: Some(key) })
                }
                // Nothing is known of a commit that failed.
                Err(error) => Err(RpcError::Unknown(error.to_string())),
            }
        }
    });
    let db = store.clone();
    router.on_sync(GET, move |ask: wire::GetAsk| get(&db, &ask));
    let db = store.clone();
    router.on_sync(SCAN, move |ask: wire::ScanAsk| scan(&db, &ask));
}

fn get(store: &Store, ask: &wire::GetAsk) -> Result<wire::Rows, RpcError> {
    if ask.keys.len() > ROWS_MAX {
        return Err(refuse(Code::Invalid, format!("more than {ROWS_MAX} keys at once")));
    }
    let mut rows = Vec::with_capacity(ask.keys.len());
    for key in &ask.keys {
        rows.extend(store.get(key).map_err(|error| failed(&error))?.map(row_to_wire));
    }
    Ok(wire::Rows { rows, more: false })
}

fn scan(store: &Store, ask: &wire::ScanAsk) -> Result<wire::Rows, RpcError> {
    let limit = (ask.limit as usize).min(ROWS_MAX);
    let found = store.scan(&ask.from, &ask.to, limit).map_err(|error| failed(&error))?;
    let full = found.len() == limit;
    let (mut rows, mut bytes, mut cut) = (Vec::with_capacity(found.len()), 0, false);
    for row in found {
        bytes += row.value.len();
        if bytes > ANSWER_BYTES_MAX && !rows.is_empty() {
            cut = true;
            break;
        }
        rows.push(row_to_wire(row));
    }
    Ok(wire::Rows { rows, more: full || cut })
}

fn failed(error: &StoreError) -> RpcError {
    refuse(Code::Internal, error.to_string())
}

fn row_to_wire(row: Row) -> wire::Row {
    wire::Row { key: row.key, version: row.version, value: row.value }
}

fn row_of_wire(row: wire::Row) -> Row {
    Row { key: row.key, version: row.version, value: row.value }
}

fn txn_of(ask: wire::CommitAsk) -> Txn {
    let expect = |e: wire::Expectation| {
        let what = if e.version == 0 { Expect::Absent } else { Expect::Version(e.version) };
        (e.key, what)
    };
    Txn {
        expects: ask.expects.into_iter().map(expect).collect(),
        writes: ask.writes.into_iter().map(|write| (write.key, write.value)).collect(),
    }
}

fn txn_to_wire(txn: Txn) -> wire::CommitAsk {
    let expect = |(key, what): (String, Expect)| {
        let version = match what {
            Expect::Absent => 0,
            Expect::Version(version) => version,
        };
        wire::Expectation { key, version }
    };
    let write = |(key, value): (String, Option<Bytes>)| wire::Write { key, value };
    wire::CommitAsk {
        expects: txn.expects.into_iter().map(expect).collect(),
        writes: txn.writes.into_iter().map(write).collect(),
    }
}
