//! Storage: the rows behind all core services, as rpc endpoints. Holds rows and versions and knows
//! nothing of what they mean. Core services use [`kv::Kv`], never these paths.
//!
//! Either one node over one store, or several replicas over a log that a majority of them keeps
//! ([`replica`]). `docs/storage.md` says what callers may rely on.

mod election;
mod flight;
mod full;
mod journal;
pub mod kv;
mod notes;
pub mod replica;
#[cfg(test)]
mod replica_tests;
mod rows;
mod serving;
mod snapshot;

use std::rc::Rc;

use bytes::Bytes;

use super::{
    layout::STORAGE,
    node::Node,
    platform::{
        rpc::{Code, Router, RpcError, refuse},
        sick_disk::SickDisk,
    },
    wire::platform as wire,
};
use crate::{
    base::name::NodeName,
    world::store::{Ack, Committed, Expect, Row, Store, StoreError, Txn},
};
use replica::Replica;

/// The planted bug that acknowledges before the sync.
pub const ACK_BEFORE_WRITE: &str = "ack-before-write";

/// Commits a transaction.
pub const COMMIT: &str = "/storage/kv/commit";
/// Reads rows by key.
pub const GET: &str = "/storage/kv/get";
/// Reads rows between two keys.
pub const SCAN: &str = "/storage/kv/scan";

/// The name of the store below.
const STORE: &str = "backend";
/// Rows that one answer carries at most.
pub const ROWS_MAX: usize = 4_096;
/// Reads that may wait at the leader for their confirmation; more are refused.
const READS_MAX: usize = 4_096;
/// Bytes of values after which an answer ends early.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Serves storage on this node: alone, or with the other nodes that hold replicas.
pub async fn serve(node: &Node, router: &mut Router) -> Result<(), StoreError> {
    let store = node.env.store(STORE).await?;
    let (env, meddler) = (node.env.clone(), node.meddler.clone());
    let store: Store = Rc::new(SickDisk { env, name: STORE, store, meddler });
    let early = node.planted(ACK_BEFORE_WRITE);
    let is_storage = |name: &&NodeName| name.role() == STORAGE;
    let all: Vec<NodeName> = node.config.nodes.iter().filter(is_storage).cloned().collect();
    if all.len() > 1 {
        let replica = Replica::open(&node.rpc, &store, &all, early)?;
        replica.mount(router);
        node.env.spawn(replica.clone().run());
        // Not healthy before there is a leader to send callers to.
        let hold = node.hold();
        node.env.spawn(async move {
            replica.settled().await;
            drop(hold);
        });
    } else {
        mount(&store, if early { Ack::Early } else { Ack::Synced }, router);
    }
    Ok(())
}

/// Serves `store`; every commit is acknowledged as `ack` says.
pub fn mount(store: &Store, ack: Ack, router: &mut Router) {
    let db = store.clone();
    router.on(COMMIT, move |ask: wire::CommitAsk| {
        // Nothing is awaited before the store has the transaction: it keeps the order of asks.
        let commit = db.commit(txn_of(ask), ack);
        async move {
            match commit.await {
                Ok(outcome) => Ok(answer_of(outcome)),
                Err(error) if error.no_room => Err(RpcError::Unavailable(error.to_string())),
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

fn answer_of(outcome: Committed) -> wire::CommitAnswer {
    match outcome {
        Committed::Done(version) => wire::CommitAnswer { version, ..Default::default() },
        Committed::Conflict(key) => {
            wire::CommitAnswer { conflict: Some(key), ..Default::default() }
        }
    }
}

fn get(store: &Store, ask: &wire::GetAsk) -> Result<wire::Rows, RpcError> {
    if ask.keys.len() > ROWS_MAX {
        return Err(refuse(Code::Invalid, format!("more than {ROWS_MAX} keys at once")));
    }
    let mut rows = Vec::with_capacity(ask.keys.len());
    for key in &ask.keys {
        rows.extend(store.get(key).map_err(|error| failed(&error))?.map(row_to_wire));
    }
    Ok(wire::Rows { rows, ..wire::Rows::default() })
}

fn scan(store: &Store, ask: &wire::ScanAsk) -> Result<wire::Rows, RpcError> {
    let limit = (ask.limit as usize).min(ROWS_MAX);
    let found = store.scan(&ask.from, &ask.to, limit).map_err(|error| failed(&error))?;
    Ok(page(found, limit))
}

/// These rows as an answer, cut where it would be too long; `limit` of them may not be all.
fn page(found: Vec<Row>, limit: usize) -> wire::Rows {
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
    wire::Rows { rows, more: full || cut, leader: None }
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
