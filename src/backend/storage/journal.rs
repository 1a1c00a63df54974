//! What a replica keeps on its disk besides the rows: its vote, its log, where the log begins, and
//! up to where the rows hold it. All in one store, so that one sync carries a whole batch, and what
//! was applied is known by the same transaction that applied it.

use std::collections::BTreeMap;

use bytes::Bytes;
use noraft::{ClusterConfig, Log, LogEntries, LogEntry, LogIndex, LogPosition, NodeId, Term};
use prost::Message;

use super::{STORE, rows};
use crate::{
    backend::wire::storage as wire,
    world::store::{Row, Store, StoreError},
};

const VOTE: &str = "\u{1}vote";
const BASE: &str = "\u{1}base";
const APPLIED: &str = "\u{1}applied";
const LOG: &str = "\u{1}log/";
const LOG_END: &str = "\u{1}log0";
/// Bytes of the term before each command; not 0 where a term begins.
const TERM_BYTES: usize = 8;

/// Writes of a transaction.
pub type Writes = Vec<(String, Option<Bytes>)>;

/// What a disk remembers.
pub struct Restored {
    /// The newest term that was heard of.
    pub term: Term,
    /// Who got this replica's vote in it.
    pub voted_for: Option<NodeId>,
    /// The log, of the configuration `voters`.
    pub log: Log,
    /// The commands in it, by index.
    pub commands: BTreeMap<u64, Bytes>,
    /// Up to where the rows hold the log.
    pub applied: LogPosition,
}

/// Reads all of it; an empty disk is a replica at its birth.
pub fn restore(store: &Store, voters: ClusterConfig) -> Result<Restored, StoreError> {
    let vote: wire::Vote = read(store, VOTE)?;
    let base = position(&read(store, BASE)?);
    let applied = position(&read(store, APPLIED)?);
    let mut commands = BTreeMap::new();
    let mut entries = LogEntries::new(base);
    for row in store.scan(&key(base.index.get() + 1), LOG_END, usize::MAX)? {
        let index = entries.last_position().index.get() + 1;
        let Some(term) = row.value.first_chunk::<TERM_BYTES>().filter(|_| row.key == key(index))
        else {
            return Err(damaged(&row.key, "no entry of the log, or not the next one"));
        };
        match u64::from_le_bytes(*term) {
            0 => {
                commands.insert(index, row.value.slice(TERM_BYTES..));
                entries.push(LogEntry::Command);
            }
            term => entries.push(LogEntry::Term(Term::new(term))),
        }
    }
    Ok(Restored {
        term: Term::new(vote.term),
        voted_for: Some(vote.voted_for).filter(|id| *id != 0).map(NodeId::new),
        log: Log::new(voters, entries),
        commands,
        applied,
    })
}

/// All that a store holds, taken apart: up to where the rows hold the log, and the rows.
pub fn split(mut all: Vec<Row>) -> Result<(LogPosition, Vec<Row>), StoreError> {
    let applied = all.iter().find(|row| row.key == APPLIED);
    let applied = match applied {
        Some(row) => wire::Position::decode(row.value.clone())
            .map_err(|why| damaged(APPLIED, &why.to_string()))?,
        None => wire::Position::default(),
    };
    all.retain(|row| row.key.as_str() >= rows::FIRST);
    Ok((position(&applied), all))
}

/// The row that keeps a vote.
pub fn put_vote(writes: &mut Writes, term: Term, voted_for: Option<NodeId>) {
    let vote = wire::Vote { term: term.get(), voted_for: voted_for.map_or(0, NodeId::get) };
    put(writes, VOTE, &vote);
}

/// The row that says where the log begins: after `at`.
pub fn put_base(writes: &mut Writes, at: LogPosition) {
    put(writes, BASE, &to_wire(at));
}

/// The row that says up to where the rows hold the log.
pub fn put_applied(writes: &mut Writes, at: LogPosition) {
    put(writes, APPLIED, &to_wire(at));
}

/// The rows of the log from `first` to its end; what the disk has after that end goes.
pub fn put_log(
    writes: &mut Writes,
    entries: &LogEntries,
    commands: &BTreeMap<u64, Bytes>,
    first: u64,
    on_disk: u64,
) {
    let last = entries.last_position().index.get();
    for index in first..=last {
        let term = match entries.get_entry(LogIndex::new(index)) {
            Some(LogEntry::Term(term)) => term.get(),
            _ => 0,
        };
        let command = commands.get(&index).filter(|_| term == 0);
        let mut value = Vec::with_capacity(TERM_BYTES + command.map_or(0, Bytes::len));
        value.extend_from_slice(&term.to_le_bytes());
        value.extend_from_slice(command.map_or(&[], |command| command));
        writes.push((key(index), Some(Bytes::from(value))));
    }
    drop_log(writes, last + 1, on_disk);
}

/// Takes the entries from `first` to `last` off the disk.
pub fn drop_log(writes: &mut Writes, first: u64, last: u64) {
    writes.extend((first..=last).map(|index| (key(index), None)));
}

fn key(index: u64) -> String {
    format!("{LOG}{index:016x}")
}

fn put(writes: &mut Writes, key: &str, value: &impl Message) {
    writes.push((key.to_owned(), Some(Bytes::from(value.encode_to_vec()))));
}

fn read<M: Message + Default>(store: &Store, key: &str) -> Result<M, StoreError> {
    let Some(row) = store.get(key)? else { return Ok(M::default()) };
    M::decode(row.value).map_err(|why| damaged(key, &why.to_string()))
}

fn damaged(key: &str, why: &str) -> StoreError {
    StoreError::new(STORE, format!("{key:?} is damaged: {why}"))
}

fn position(at: &wire::Position) -> LogPosition {
    LogPosition::new(Term::new(at.term), LogIndex::new(at.index))
}

fn to_wire(at: LogPosition) -> wire::Position {
    wire::Position { term: at.term.get(), index: at.index.get() }
}
