//! A replica that was away for longer than the log reaches back is brought up with all rows as they
//! stand, in parts; then the log goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use noraft::{LogIndex, LogPosition, NodeId, Role, Term};

use super::{
    journal::{self, Writes},
    replica::{Replica, State},
    rows,
};
use crate::{
    backend::{
        platform::rpc::{Router, RpcError},
        wire::storage::{Held, Part, Taken},
    },
    base::name::NodeName,
    world::store::{Ack, StoreError},
};

/// The path on which a replica takes a snapshot's parts; served before a node is ready.
const PART: &str = "/platform/replica/part";
/// Bytes of rows in a part.
const PART_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of rows that a snapshot holds at most: what a replica keeps in memory while it takes one.
const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A part that is not taken within this ends the snapshot; the leader begins again.
const PART_WITHIN: Duration = Duration::from_secs(5);
/// After everything that a replica may call its own.
const END: &str = "\u{10ffff}\u{10ffff}";

/// Snapshots on their way to others, and the one that comes in.
#[derive(Default)]
pub struct Snapshots {
    leaving: BTreeSet<NodeId>,
    arriving: Option<Arriving>,
    /// Complete: taken over in the next turn.
    arrived: Option<Arriving>,
}

struct Arriving {
    term: u64,
    at: LogPosition,
    parts: u32,
    bytes: usize,
    rows: BTreeMap<String, Bytes>,
}

impl Replica {
    pub(super) fn mount_snapshots(&self, router: &mut Router) {
        let this = self.clone();
        router.on_sync(PART, move |part: Part| -> Result<Taken, RpcError> {
            Ok(Taken { taken: this.take_part(part) })
        });
    }

    /// Sends a snapshot to each of these that is not getting one already.
    pub(super) fn install(&self, to: &[NodeId]) {
        for id in to {
            let Some(name) = self.0.names.get(id) else { continue };
            if self.0.state.borrow_mut().snapshots.leaving.insert(*id) {
                let (this, id, name) = (self.clone(), *id, name.clone());
                self.0.env.spawn(async move {
                    // Whatever went wrong: the leader finds the other as far behind as before.
                    let _failed = this.send_snapshot(&name).await;
                    this.0.state.borrow_mut().snapshots.leaving.remove(&id);
                });
            }
        }
    }

    async fn send_snapshot(&self, to: &NodeName) -> Result<(), RpcError> {
        // One look, so that all rows, and the position that they hold, are of one moment.
        let found = self.0.store.scan("", END, usize::MAX).and_then(journal::split);
        let (at, found) = found.map_err(|why| RpcError::Unavailable(why.to_string()))?;
        let (from, term) = {
            let state = self.0.state.borrow();
            (state.raft.id().get(), state.raft.current_term().get())
        };
        let mut found = found.into_iter().peekable();
        for number in 0.. {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            while bytes < PART_BYTES_MAX
                && let Some(row) = found.next()
            {
                bytes += row.key.len() + row.value.len();
                rows.push(Held { key: row.key, value: row.value });
            }
            let last = found.peek().is_none();
            let (position_term, position_index) = (at.term.get(), at.index.get());
            let part = Part { from, term, position_term, position_index, number, last, rows };
            let taken: Taken = self.0.rpc.once(to, PART, &part, PART_WITHIN).await?;
            if last || !taken.taken {
                break;
            }
        }
        Ok(())
    }

    /// Takes one part; false when it does not fit what is here.
    fn take_part(&self, part: Part) -> bool {
        let mut state = self.0.state.borrow_mut();
        let at =
            LogPosition::new(Term::new(part.position_term), LogIndex::new(part.position_index));
        if part.term != state.raft.current_term().get() || at.index <= state.raft.commit_index() {
            return false;
        }
        if part.number == 0 {
            let (rows, term) = (BTreeMap::new(), part.term);
            state.snapshots.arriving = Some(Arriving { term, at, parts: 0, bytes: 0, rows });
        }
        let Some(arriving) = &mut state.snapshots.arriving else { return false };
        let fits = (arriving.term, arriving.at, arriving.parts) == (part.term, at, part.number);
        if !fits || arriving.bytes > SNAPSHOT_BYTES_MAX {
            state.snapshots.arriving = None;
            return false;
        }
        arriving.parts += 1;
        for row in part.rows {
            arriving.bytes += row.key.len() + row.value.len();
            arriving.rows.insert(row.key, row.value);
        }
        if part.last {
            state.snapshots.arrived = state.snapshots.arriving.take();
            self.wake();
        }
        true
    }

    /// Puts a complete snapshot in the place of the rows and the log, in one transaction.
    pub(super) async fn take_snapshot(&self) -> Result<(), StoreError> {
        let Some((writes, at)) = self.replace_rows()? else { return Ok(()) };
        self.write(writes, Ack::Synced).await?;
        let mut state = self.0.state.borrow_mut();
        state.applied = at;
        state.shown();
        Ok(())
    }

    fn replace_rows(&self) -> Result<Option<(Writes, LogPosition)>, StoreError> {
        let mut state = self.0.state.borrow_mut();
        let Some(arrived) = state.snapshots.arrived.take() else { return Ok(None) };
        if !state.begin_at(arrived.at) {
            return Ok(None);
        }
        let mut writes = Writes::new();
        let old = self.0.store.scan(rows::FIRST, END, usize::MAX)?;
        let gone = old.into_iter().filter(|row| !arrived.rows.contains_key(&row.key));
        writes.extend(gone.map(|row| (row.key, None)));
        writes.extend(arrived.rows.into_iter().map(|(key, value)| (key, Some(value))));
        state.begin_after(arrived.at, &mut writes);
        Ok(Some((writes, arrived.at)))
    }
}

impl State {
    /// Tells the library that everything up to `at` came as a snapshot.
    fn begin_at(&mut self, at: LogPosition) -> bool {
        let config = self.raft.log().snapshot_config().clone();
        self.raft.role() != Role::Leader
            && at.index > self.applied.index
            && self.raft.handle_snapshot_installed(at, config)
    }
}
