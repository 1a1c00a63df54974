//! The core services' way to storage: typed, with the right policy for each verb. Finds out which
//! node leads, and remembers it.

use std::{cell::RefCell, rc::Rc, time::Duration};

use prost::Message;

use super::{COMMIT, GET, ROWS_MAX, SCAN, row_of_wire, txn_to_wire};
use crate::{
    backend::{
        platform::{
            directory::service_of,
            rpc::{Policy, Rpc, RpcError},
        },
        wire::platform as wire,
    },
    base::name::NodeName,
    world::store::{Committed, Row, Txn},
};

/// Reads may be asked twice: soon enough that a caller whose leader has frozen still hears the next.
const READ: Policy = Policy {
    deadline: Duration::from_secs(2),
    attempt: Duration::from_millis(400),
    idempotent: true,
};

/// A commit may not: after an unknown outcome its author reads again and decides. Sent once more it
/// could find its own first writing, and call that a conflict.
const WRITE: Policy =
    Policy { deadline: Duration::from_secs(2), attempt: Duration::from_secs(2), idempotent: false };

/// The pause after nobody was found to lead; it grows.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_millis(80);
/// Hints that are followed at once, one after the other, before a pause.
const HINTS_MAX: u32 = 2;

/// The rows of all core services; a cheap handle.
#[derive(Clone)]
pub struct Kv {
    rpc: Rpc,
    /// Who answered last.
    leader: Rc<RefCell<Option<NodeName>>>,
}

/// An answer that may be no more than the name of whoever to ask instead.
trait Hint {
    /// That name; empty when nobody is known to lead.
    fn elsewhere(&self) -> Option<&str>;
}

impl Hint for wire::CommitAnswer {
    fn elsewhere(&self) -> Option<&str> {
        self.leader.as_deref()
    }
}

impl Hint for wire::Rows {
    fn elsewhere(&self) -> Option<&str> {
        self.leader.as_deref()
    }
}

impl Kv {
    /// The rows at whichever storage nodes discovery knows.
    pub fn new(rpc: &Rpc) -> Self {
        Self { rpc: rpc.clone(), leader: Rc::default() }
    }

    /// The calls that it makes.
    #[cfg(test)]
    pub(super) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The row at `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Row>, RpcError> {
        let ask = wire::GetAsk { keys: vec![key.to_owned()], stale_ms: None };
        let found: wire::Rows = self.lead(GET, &ask, READ).await?;
        Ok(found.rows.into_iter().next().map(row_of_wire))
    }

    /// The row at `key` as some replica holds it, our own AZ's first: it may lack what was written
    /// in the last `stale`, and nothing older.
    pub async fn get_stale(&self, key: &str, stale: Duration) -> Result<Option<Row>, RpcError> {
        let ask = wire::GetAsk { keys: vec![key.to_owned()], stale_ms: Some(millis(stale)) };
        let found: wire::Rows = self.rpc.call(GET, &ask, READ).await?;
        Ok(found.rows.into_iter().next().map(row_of_wire))
    }

    /// The rows at `keys`, in the same order, asked for at once.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Row>>, RpcError> {
        let mut rows = Vec::with_capacity(keys.len());
        for keys in keys.chunks(ROWS_MAX) {
            let ask = wire::GetAsk { keys: keys.to_vec(), stale_ms: None };
            let found: wire::Rows = self.lead(GET, &ask, READ).await?;
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
        self.pages(from, to, limit, None).await
    }

    /// The same as some replica holds them, like [`Kv::get_stale`].
    pub async fn scan_stale(
        &self,
        from: &str,
        to: &str,
        limit: usize,
        stale: Duration,
    ) -> Result<Vec<Row>, RpcError> {
        self.pages(from, to, limit, Some(millis(stale))).await
    }

    async fn pages(
        &self,
        from: &str,
        to: &str,
        limit: usize,
        stale_ms: Option<u32>,
    ) -> Result<Vec<Row>, RpcError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut from = from.to_owned();
        while rows.len() < limit {
            let left = (limit - rows.len()).min(ROWS_MAX);
            let ask = wire::ScanAsk { from, to: to.to_owned(), limit: left as u32, stale_ms };
            let found: wire::Rows = match stale_ms {
                Some(_) => self.rpc.call(SCAN, &ask, READ).await?,
                None => self.lead(SCAN, &ask, READ).await?,
            };
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
        let answer: wire::CommitAnswer = self.lead(COMMIT, &txn_to_wire(txn), WRITE).await?;
        Ok(match answer.conflict {
            Some(key) => Committed::Conflict(key),
            None => Committed::Done(answer.version),
        })
    }

    /// Asks whoever leads: the one who did, then who it says does, then one after the other until
    /// one of them leads or the time is over.
    async fn lead<Q: Message, A: Message + Default + Hint>(
        &self,
        path: &'static str,
        ask: &Q,
        policy: Policy,
    ) -> Result<A, RpcError> {
        let env = self.rpc.env();
        let deadline = env.now() + policy.deadline;
        let (mut tried, mut unknown, mut hints, mut pause) = (Vec::new(), None, 0, PAUSE_FIRST);
        let mut certain = "no instance is known".to_owned();
        loop {
            let left = deadline.since(env.now());
            if let Some(node) = self.whom(path, &mut tried) {
                match self.rpc.once(&node, path, ask, left.min(policy.attempt)).await {
                    Ok(answer) => {
                        let answer: A = answer;
                        let Some(hint) = answer.elsewhere() else {
                            self.leader.replace(Some(node));
                            return Ok(answer);
                        };
                        "no storage node leads".clone_into(&mut certain);
                        if self.follow(hint, &node) && hints < HINTS_MAX {
                            hints += 1;
                            continue;
                        }
                    }
                    Err(RpcError::Unavailable(why)) => certain = why,
                    Err(RpcError::Unknown(why)) if policy.idempotent => unknown = Some(why),
                    // It may have taken effect, and only its author can find out.
                    Err(error) => {
                        self.leader.replace(None);
                        return Err(match (error, unknown) {
                            (RpcError::Refused { why, .. }, Some(before)) => {
                                RpcError::Unknown(format!("{before}, then: {why}"))
                            }
                            (error, _) => error,
                        });
                    }
                }
                self.leader.borrow_mut().take_if(|leader| *leader == node);
                tried.push(node);
            }
            hints = 0;
            if env.now() + pause >= deadline {
                break;
            }
            env.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(unknown.map_or(RpcError::Unavailable(format!("{path}: {certain}")), RpcError::Unknown))
    }

    /// The leader as far as it is known, or the next of those who serve.
    fn whom(&self, path: &'static str, tried: &mut Vec<NodeName>) -> Option<NodeName> {
        if let Some(leader) = &*self.leader.borrow() {
            return Some(leader.clone());
        }
        let (directory, now) = (self.rpc.directory(), self.rpc.env().now());
        let service = service_of(path);
        directory.pick(service, tried, now).or_else(|| {
            tried.clear();
            directory.pick(service, tried, now)
        })
    }

    /// Takes a hint from `told_by`; false when there is nothing in it.
    fn follow(&self, hint: &str, told_by: &NodeName) -> bool {
        let useful = !hint.is_empty() && hint != told_by.as_str();
        self.leader.replace(useful.then(|| NodeName::from(hint)));
        useful
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
