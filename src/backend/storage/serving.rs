//! What callers see of a replica: commits and reads at the leader, reads a little behind anywhere.
//!
//! A linearizable read is answered from the leader's rows once a majority has said, *after* the read
//! was asked for, that it knows of no newer leader, and the rows hold all that was committed by then.
//! Reads that come while such a round is under way share the next.

use std::{collections::BTreeSet, future::Future, time::Duration};

use futures_util::future::{Either, ready};
use prost::Message as _;
use tokio::sync::oneshot;

use super::{
    COMMIT, GET, READS_MAX, ROWS_MAX, SCAN, answer_of, failed,
    notes::COMMAND_BYTES_MAX,
    page,
    replica::{Fate, NOTE, Replica, State},
    row_to_wire, rows,
};
use crate::{
    backend::{
        platform::rpc::{Code, Router, RpcError, refuse},
        wire::{
            platform as wire,
            storage::{Note, Nothing, Word},
        },
    },
    base::time::Time,
};

/// A round unanswered for so long is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Rounds that confirm that this replica leads, and the reads that wait for them.
#[derive(Default)]
pub struct Rounds {
    number: u64,
    under_way: Option<Round>,
    /// Reads for the next round.
    next: Vec<oneshot::Sender<u64>>,
    /// Reads that are confirmed and wait for the rows to hold what they must show.
    confirmed: Vec<(u64, oneshot::Sender<()>)>,
}

struct Round {
    /// What was committed when it began.
    index: u64,
    asked_at: Time,
    agreed: BTreeSet<u64>,
    reads: Vec<oneshot::Sender<u64>>,
}

impl Rounds {
    /// The rows hold the log up to `applied`.
    pub fn shown(&mut self, applied: u64) {
        if self.confirmed.is_empty() {
            return;
        }
        for (index, read) in std::mem::take(&mut self.confirmed) {
            if index <= applied {
                let _gone = read.send(());
            } else {
                self.confirmed.push((index, read));
            }
        }
    }

    /// This replica does not lead any more: nobody who waits gets an answer here.
    pub fn end(&mut self) {
        self.under_way = None;
        self.next.clear();
        self.confirmed.clear();
    }

    fn len(&self) -> usize {
        let under_way = self.under_way.as_ref().map_or(0, |round| round.reads.len());
        under_way + self.next.len() + self.confirmed.len()
    }
}

impl State {
    /// Begins a round for the reads that wait, if there are any.
    fn begin_round(&mut self, now: Time) -> Option<Note> {
        if self.rounds.next.is_empty() || self.rounds.under_way.is_some() {
            return None;
        }
        self.rounds.number += 1;
        self.rounds.under_way = Some(Round {
            index: self.raft.commit_index().get(),
            asked_at: now,
            agreed: BTreeSet::new(),
            reads: std::mem::take(&mut self.rounds.next),
        });
        Some(self.asking(now))
    }

    /// The question of the round under way.
    fn asking(&self, now: Time) -> Note {
        Note { index: self.rounds.number, stamp: now.0, ..self.note(Word::Confirm) }
    }

    /// The question again, if the answers are overdue.
    pub(super) fn renew_round(&mut self, now: Time) -> Option<Note> {
        let round = self.rounds.under_way.as_mut()?;
        if now.since(round.asked_at) < ASK_AGAIN {
            return None;
        }
        round.asked_at = now;
        Some(self.asking(now))
    }

    /// Counts one who agrees that this replica leads; the question of the next round, if this ends
    /// one.
    pub(super) fn confirmed(&mut self, note: &Note, now: Time) -> Option<Note> {
        let current =
            note.term == self.raft.current_term().get() && note.index == self.rounds.number;
        let majority = self.raft.config().voters.len() / 2 + 1;
        let round = self.rounds.under_way.as_mut().filter(|_| current)?;
        round.agreed.insert(note.from);
        if round.agreed.len() + 1 < majority {
            return None;
        }
        let round = self.rounds.under_way.take()?;
        for read in round.reads {
            let _gone = read.send(round.index);
        }
        self.begin_round(now)
    }

    /// True when what earlier leaders committed is known to be in the rows or on the way there.
    pub(super) fn knows_the_past(&self) -> bool {
        let committed = self.raft.log().entries().get_term(self.raft.commit_index());
        committed == Some(self.raft.current_term())
    }
}

/// Why a read is not answered here.
enum NotHere {
    Elsewhere(String),
    Busy,
}

impl Replica {
    /// Serves the rows, and the other replicas.
    pub fn mount(&self, router: &mut Router) {
        let this = self.clone();
        router.on_sync(NOTE, move |note: Note| {
            this.take(note);
            Ok(Nothing {})
        });
        let this = self.clone();
        router.on(COMMIT, move |ask| this.commit(&ask));
        let this = self.clone();
        router.on(GET, move |ask: wire::GetAsk| {
            let this = this.clone();
            async move { this.get(&ask).await }
        });
        let this = self.clone();
        router.on(SCAN, move |ask: wire::ScanAsk| {
            let this = this.clone();
            async move { this.scan(&ask).await }
        });
        self.mount_snapshots(router);
    }

    fn commit(
        &self,
        ask: &wire::CommitAsk,
    ) -> impl Future<Output = Result<wire::CommitAnswer, RpcError>> + use<> {
        let command = ask.encode_to_vec();
        let why = if rows::is_reserved(ask) {
            "that key is the store's own".to_owned()
        } else if command.len() > COMMAND_BYTES_MAX {
            format!("a commit of more than {COMMAND_BYTES_MAX} bytes")
        } else {
            String::new()
        };
        if !why.is_empty() {
            return Either::Left(ready(Err(refuse(Code::Invalid, why))));
        }
        // Nothing is awaited before the commit has its place: it keeps the order of asks.
        let fate = self.propose(command.into());
        let this = self.clone();
        Either::Right(async move {
            let Some(fate) = fate else { return this.not_taken() };
            match fate.await {
                Ok(Fate::Decided(outcome)) => Ok(answer_of(outcome)),
                Ok(Fate::NotTaken) => this.not_taken(),
                Ok(Fate::Unknown(why)) => Err(RpcError::Unknown(why)),
                Err(_) => Err(RpcError::Unknown("storage stopped".to_owned())),
            }
        })
    }

    /// The commit is certainly in nobody's log: whom to ask instead.
    fn not_taken(&self) -> Result<wire::CommitAnswer, RpcError> {
        match self.elsewhere() {
            NotHere::Elsewhere(leader) => {
                Ok(wire::CommitAnswer { leader: Some(leader), ..wire::CommitAnswer::default() })
            }
            NotHere::Busy => Err(RpcError::Unavailable("too many commits wait".to_owned())),
        }
    }

    fn elsewhere(&self) -> NotHere {
        let (state, now) = (self.0.state.borrow(), self.0.env.now());
        if state.leads(now) {
            return NotHere::Busy;
        }
        let leader = state.hint(now).and_then(|id| self.0.names.get(&id));
        NotHere::Elsewhere(leader.map_or_else(String::new, |name| name.as_str().to_owned()))
    }

    async fn get(&self, ask: &wire::GetAsk) -> Result<wire::Rows, RpcError> {
        if ask.keys.len() > ROWS_MAX {
            return Err(refuse(Code::Invalid, format!("more than {ROWS_MAX} keys at once")));
        }
        if let Some(elsewhere) = self.may_read(ask.stale_ms).await? {
            return Ok(elsewhere);
        }
        let mut found = Vec::with_capacity(ask.keys.len());
        for key in &ask.keys {
            found.extend(rows::get(&self.0.store, key).map_err(|error| failed(&error))?);
        }
        let rows = found.into_iter().map(row_to_wire).collect();
        Ok(wire::Rows { rows, ..wire::Rows::default() })
    }

    async fn scan(&self, ask: &wire::ScanAsk) -> Result<wire::Rows, RpcError> {
        if let Some(elsewhere) = self.may_read(ask.stale_ms).await? {
            return Ok(elsewhere);
        }
        let limit = (ask.limit as usize).min(ROWS_MAX);
        let found = rows::scan(&self.0.store, &ask.from, &ask.to, limit);
        Ok(page(found.map_err(|error| failed(&error))?, limit))
    }

    /// Returns as soon as the rows here are as new as the reader wants them; or says who has them.
    async fn may_read(&self, stale_ms: Option<u32>) -> Result<Option<wire::Rows>, RpcError> {
        if let Some(stale_ms) = stale_ms {
            let behind = self.0.state.borrow().behind(self.0.env.now());
            if behind <= Duration::from_millis(stale_ms.into()) {
                return Ok(None);
            }
            // Another replica may be nearer to the leader.
            return Err(RpcError::Unavailable(format!("{behind:?} behind the leader")));
        }
        let confirmed = match self.join_round() {
            Some(round) => match round.await {
                Ok(index) => self.holds(index).await,
                Err(_) => false,
            },
            None => false,
        };
        match self.elsewhere() {
            _ if confirmed => Ok(None),
            NotHere::Elsewhere(leader) => {
                Ok(Some(wire::Rows { leader: Some(leader), ..wire::Rows::default() }))
            }
            NotHere::Busy => Err(RpcError::Unavailable("not ready to be read".to_owned())),
        }
    }

    fn join_round(&self) -> Option<oneshot::Receiver<u64>> {
        let now = self.0.env.now();
        let mut state = self.0.state.borrow_mut();
        let busy = state.rounds.len() >= READS_MAX;
        if busy || !state.leads(now) || !state.knows_the_past() {
            return None;
        }
        let (tell, read) = oneshot::channel();
        state.rounds.next.push(tell);
        let question = state.begin_round(now);
        drop(state);
        if let Some(question) = question {
            self.spread(&question);
        }
        Some(read)
    }

    /// True once the rows hold the log up to `index`; false when that is not to be.
    async fn holds(&self, index: u64) -> bool {
        let shown = {
            let mut state = self.0.state.borrow_mut();
            if state.applied.index.get() >= index {
                return true;
            }
            let (tell, shown) = oneshot::channel();
            state.rounds.confirmed.push((index, tell));
            shown
        };
        shown.await.is_ok()
    }
}
