//! Rows of a core service: typed reads, compare-and-set writes, bounded tries. Nothing here knows
//! what the rows mean.

use std::{collections::BTreeMap, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use prost::Message;

use super::{Code, RpcError, refuse};
use crate::world::store::{Committed, Expect, Row, Txn};

/// A commit that keeps being overtaken is given up after so many tries.
const TRIES_MAX: u32 = 12;

/// Where rows are kept: the storage node, or memory in tests.
pub trait Table {
    /// The rows at these keys, in their order.
    fn get(&self, keys: Vec<String>) -> LocalBoxFuture<'_, Result<Vec<Option<Row>>, RpcError>>;
    /// Up to `limit` rows with `from` <= key < `to`, in key order.
    fn scan(
        &self,
        from: String,
        to: String,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>>;
    /// The same, for readers who can do with rows as they were up to `stale` ago.
    fn scan_stale(
        &self,
        from: String,
        to: String,
        limit: usize,
        _stale: Duration,
    ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>> {
        self.scan(from, to, limit)
    }
    /// Commits; resolves after the sync.
    fn commit(&self, txn: Txn) -> LocalBoxFuture<'_, Result<Committed, RpcError>>;
}

/// What was read for one decision, with the versions on which a write will insist.
#[derive(Debug, Default)]
pub struct Read {
    rows: BTreeMap<String, Option<Row>>,
}

impl Read {
    /// Reads these keys and remembers them.
    pub async fn more(&mut self, table: &dyn Table, keys: Vec<String>) -> Result<(), RpcError> {
        if keys.is_empty() {
            return Ok(());
        }
        let rows = table.get(keys.clone()).await?;
        if rows.len() != keys.len() {
            return Err(RpcError::Unavailable("the store left out rows".to_owned()));
        }
        self.rows.extend(keys.into_iter().zip(rows));
        Ok(())
    }

    /// The row at `key` as a message, if there is one.
    pub fn row<M: Message + Default>(&self, key: &str) -> Result<Option<M>, RpcError> {
        match self.rows.get(key) {
            Some(Some(row)) => decode(row).map(Some),
            _ => Ok(None),
        }
    }

    /// The version of the row at `key`; 0 when there is none.
    pub fn version(&self, key: &str) -> u64 {
        self.rows.get(key).and_then(Option::as_ref).map_or(0, |row| row.version)
    }

    /// A write that insists on what was read.
    pub fn put(&self, txn: &mut Txn, key: String, value: &impl Message) {
        let expect = match self.version(&key) {
            0 => Expect::Absent,
            version => Expect::Version(version),
        };
        txn.expects.push((key.clone(), expect));
        put_blind(txn, key, value);
    }
}

/// A write whatever is there.
pub fn put_blind(txn: &mut Txn, key: String, value: &impl Message) {
    txn.writes.push((key, Some(Bytes::from(value.encode_to_vec()))));
}

/// A row as a message.
pub fn decode<M: Message + Default>(row: &Row) -> Result<M, RpcError> {
    M::decode(row.value.clone())
        .map_err(|error| refuse(Code::Internal, format!("row {} is damaged: {error}", row.key)))
}

/// What one try of a change wants written, and what it answers once that is so.
pub struct Plan<A> {
    /// The transaction; an empty one is not sent.
    pub txn: Txn,
    /// The answer.
    pub answer: A,
}

/// Decides and commits until the commit stands: after a conflict everything is read and decided
/// again. After an unknown outcome too, for the move may have been made: then a repetition is told
/// as such by the rows themselves, but a refusal is no longer certain, since the first commit may
/// still be on its way.
pub async fn change<A, F, Fut>(table: &Rc<dyn Table>, decide: F) -> Result<(A, u64), RpcError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Plan<A>, RpcError>>,
{
    let mut unknown = false;
    for _ in 0..TRIES_MAX {
        let plan = match decide().await {
            Ok(plan) => plan,
            Err(error) if unknown => return Err(RpcError::Unknown(error.to_string())),
            Err(error) => return Err(error),
        };
        if plan.txn.writes.is_empty() {
            return Ok((plan.answer, 0));
        }
        match table.commit(plan.txn).await {
            Ok(Committed::Done(version)) => return Ok((plan.answer, version)),
            Ok(Committed::Conflict(_)) => {}
            Err(RpcError::Unknown(_)) => unknown = true,
            Err(error) if unknown => return Err(RpcError::Unknown(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    let why = "too many others write the same rows".to_owned();
    Err(if unknown { RpcError::Unknown(why) } else { RpcError::Unavailable(why) })
}

/// The first key after all that begin with `prefix` (which ends in an ASCII character).
pub fn after_prefix(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    if let Some(last) = end.pop() {
        end.push(char::from_u32(last as u32 + 1).unwrap_or(char::MAX));
    }
    end
}

#[cfg(test)]
pub mod tests {
    //! A table in memory that conflicts like the real one and can lose answers.

    use std::cell::{Cell, RefCell};

    use super::*;

    /// What happens to the next commits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Mishap {
        /// Nothing.
        #[default]
        None,
        /// Written, but the answer is lost.
        AnswerLost,
        /// Not written, and nobody knows.
        AskLost,
    }

    /// Rows in memory.
    #[derive(Default)]
    pub struct Memory {
        /// Key to version and value.
        pub rows: RefCell<BTreeMap<String, (u64, Bytes)>>,
        commits: Cell<u64>,
        /// What happens to the next commit.
        pub next: Cell<Mishap>,
    }

    impl Memory {
        fn apply(&self, txn: Txn) -> Committed {
            let mut rows = self.rows.borrow_mut();
            for (key, expect) in &txn.expects {
                let there = rows.get(key).map(|(version, _)| *version);
                let holds = match expect {
                    Expect::Absent => there.is_none(),
                    Expect::Version(version) => there == Some(*version),
                };
                if !holds {
                    return Committed::Conflict(key.clone());
                }
            }
            let version = self.commits.get() + 1;
            self.commits.set(version);
            for (key, value) in txn.writes {
                match value {
                    Some(value) => rows.insert(key, (version, value)),
                    None => rows.remove(&key),
                };
            }
            Committed::Done(version)
        }
    }

    impl Table for Memory {
        fn get(&self, keys: Vec<String>) -> LocalBoxFuture<'_, Result<Vec<Option<Row>>, RpcError>> {
            let rows = self.rows.borrow();
            let found = keys
                .into_iter()
                .map(|key| {
                    let (version, value) = rows.get(&key)?.clone();
                    Some(Row { key, version, value })
                })
                .collect();
            Box::pin(std::future::ready(Ok(found)))
        }

        fn scan(
            &self,
            from: String,
            to: String,
            limit: usize,
        ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>> {
            let rows = self.rows.borrow();
            let found = rows
                .range(from..to)
                .take(limit)
                .map(|(key, (version, value))| Row {
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                })
                .collect();
            Box::pin(std::future::ready(Ok(found)))
        }

        fn commit(&self, txn: Txn) -> LocalBoxFuture<'_, Result<Committed, RpcError>> {
            let answer = match self.next.replace(Mishap::None) {
                Mishap::None => Ok(self.apply(txn)),
                Mishap::AnswerLost => {
                    self.apply(txn);
                    Err(RpcError::Unknown("lost".into()))
                }
                Mishap::AskLost => Err(RpcError::Unknown("lost".into())),
            };
            Box::pin(std::future::ready(answer))
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_after_its_rows() {
        assert_eq!(after_prefix("job/"), "job0");
        assert!("job/99999" < after_prefix("job/").as_str());
    }
}
