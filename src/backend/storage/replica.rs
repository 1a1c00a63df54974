//! One replica of storage: a state machine without I/O (`noraft`) and the loop that drives it with
//! our clock, links and disk. A turn takes all that has come in, makes one transaction of what must
//! last, syncs it, and only then tells others; what is committed is applied to the rows.
//!
//! Who leads and what it promises is in `election.rs`, what callers see in `serving.rs`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::select;
use noraft::{Actions, ClusterConfig, LogIndex, LogPosition, Message, NodeId, Role};
use prost::Message as _;
use tokio::sync::{Notify, oneshot};

use super::{
    STORE,
    election::Election,
    flight::Flight,
    journal::{self, Writes},
    notes, rows,
    serving::Rounds,
    snapshot::Snapshots,
    txn_of,
};
use crate::{
    backend::{
        platform::rpc::Rpc,
        wire::{platform, storage as wire},
    },
    base::{name::NodeName, time::Time},
    world::{
        Env,
        store::{Ack, Committed, Store, StoreError, Txn},
    },
};

/// The path of what replicas say to one another; served before a node is ready.
pub const NOTE: &str = "/platform/replica/note";
/// Messages that may wait for a turn; more are dropped, and said again by whoever sent them.
const INBOX_MAX: usize = 4_096;
/// Commits that may wait at the leader; more are refused.
pub(super) const COMMITS_MAX: usize = 4_096;
/// Commands that one transaction applies at most.
const APPLY_MAX: usize = 1_024;
/// Entries that stay in the log after they were applied, for a replica that was away for a moment.
const KEEP: u64 = 1_024;
/// Bytes of applied commands in the log after which the older half of them goes, however few.
pub(super) const KEEP_BYTES: usize = 32 * 1024 * 1024;
/// How long the planted bug keeps what it has acknowledged to itself.
const EARLY_FOR: Duration = Duration::from_secs(2);

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in the log for good, and this came of it.
    Decided(Committed),
    /// It is certainly in nobody's log.
    NotTaken,
    /// It may be committed yet.
    Unknown(String),
}

/// A commit in the log that waits for its fate.
struct Waiter {
    at: LogPosition,
    tell: oneshot::Sender<Fate>,
}

/// A replica; a cheap handle.
#[derive(Clone)]
pub struct Replica(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) env: Env,
    pub(super) rpc: Rpc,
    pub(super) store: Store,
    /// Every replica by its number.
    pub(super) names: BTreeMap<NodeId, NodeName>,
    pub(super) state: RefCell<State>,
    wake: Notify,
}

pub(super) struct State {
    pub(super) raft: noraft::Node,
    /// What the commands of the log say, by index.
    pub(super) commands: BTreeMap<u64, Bytes>,
    /// Up to where the rows hold the log.
    pub(super) applied: LogPosition,
    /// Bytes of the commands that were applied and are still in the log.
    applied_bytes: usize,
    pub(super) election: Election,
    pub(super) rounds: Rounds,
    pub(super) snapshots: Snapshots,
    pub(super) flight: Flight,
    inbox: VecDeque<wire::Note>,
    asks: VecDeque<(Bytes, oneshot::Sender<Fate>)>,
    waiting: BTreeMap<u64, Waiter>,
    /// The first entry that the disk does not have as the log has it.
    unwritten: Option<u64>,
    /// The entry before the first on the disk.
    base_on_disk: u64,
    /// The last entry on the disk.
    on_disk: u64,
    /// A planted bug: the leader acknowledges what only it knows.
    early: bool,
    /// Until when it keeps that to itself.
    held_until: Option<Time>,
    /// The disk failed: this replica does nothing any more.
    pub(super) broken: Option<String>,
    /// The disk is full: this replica leads nobody, and votes for nobody.
    pub(super) full: bool,
}

/// What a turn leaves to be done.
#[derive(Default)]
struct Turn {
    /// What must be on the disk before anything but `at_once` is sent.
    writes: Writes,
    at_once: Vec<(NodeId, wire::Note)>,
    after: Vec<(NodeId, wire::Note)>,
    installs: Vec<NodeId>,
}

impl Replica {
    /// Takes up what the disk of this node remembers. `names` are the nodes that hold replicas, this
    /// one among them, in the same order everywhere; `early` plants a bug.
    pub fn open(
        rpc: &Rpc,
        store: &Store,
        names: &[NodeName],
        early: bool,
    ) -> Result<Self, StoreError> {
        let env = rpc.env().clone();
        let names: BTreeMap<NodeId, NodeName> =
            (1..).map(NodeId::new).zip(names.iter().cloned()).collect();
        let own = names.iter().find(|(_, name)| *name == env.name());
        let id = own.map_or(NodeId::new(0), |(id, _)| *id);
        let mut voters = ClusterConfig::new();
        voters.voters.extend(names.keys().copied());
        let disk = journal::restore(store, voters)?;
        let on_disk = disk.log.last_position().index.get();
        let base_on_disk = disk.log.snapshot_position().index.get();
        let newborn = disk.term.get() == 0 && on_disk == 0;
        let raft = noraft::Node::restart(id, disk.term, disk.voted_for, disk.log);
        let election = Election::new(env.rng("election"), newborn && id.get() == 1);
        let mut state = State {
            raft,
            commands: disk.commands,
            applied: disk.applied,
            applied_bytes: 0,
            election,
            rounds: Rounds::default(),
            snapshots: Snapshots::default(),
            flight: Flight::default(),
            inbox: VecDeque::new(),
            asks: VecDeque::new(),
            waiting: BTreeMap::new(),
            unwritten: None,
            base_on_disk,
            on_disk,
            early,
            held_until: None,
            broken: None,
            full: false,
        };
        state.set_alarm(env.now());
        Ok(Self(Rc::new(Inner {
            env,
            rpc: rpc.clone(),
            store: store.clone(),
            names,
            state: RefCell::new(state),
            wake: Notify::new(),
        })))
    }

    /// Takes part, until the node dies or its disk fails.
    pub async fn run(self) {
        loop {
            let turn = self.turn();
            if let Err(why) = self.finish(turn).await {
                eprintln!("{}: this replica stops: {why}", self.0.env.name());
                return self.stop(&why.to_string());
            }
            let alarm = self.0.state.borrow().election.alarm();
            drop(
                select(self.0.env.sleep_until(alarm), std::pin::pin!(self.0.wake.notified())).await,
            );
        }
    }

    /// Takes one message from another replica; what needs no disk is answered at once.
    pub fn take(&self, note: wire::Note) {
        if self.answer_at_once(&note) {
            return;
        }
        let mut state = self.0.state.borrow_mut();
        if state.inbox.len() < INBOX_MAX && state.broken.is_none() {
            state.inbox.push_back(note);
            self.0.wake.notify_one();
        }
    }

    /// Hands a commit to the leader's log; none when this replica does not lead, or has too much
    /// to do.
    pub(super) fn propose(&self, command: Bytes) -> Option<oneshot::Receiver<Fate>> {
        let mut state = self.0.state.borrow_mut();
        let busy = state.asks.len() + state.waiting.len() >= COMMITS_MAX;
        if busy || !state.leads(self.0.env.now()) {
            return None;
        }
        let (tell, fate) = oneshot::channel();
        state.asks.push_back((command, tell));
        self.0.wake.notify_one();
        Some(fate)
    }

    /// Makes the loop look again.
    pub(super) fn wake(&self) {
        self.0.wake.notify_one();
    }

    pub(super) fn send(&self, to: NodeId, note: &wire::Note) {
        if let Some(name) = self.0.names.get(&to) {
            self.0.rpc.tell(name, NOTE, note);
        }
    }

    /// Sends to every other replica.
    pub(super) fn spread(&self, note: &wire::Note) {
        for (id, name) in &self.0.names {
            if id.get() != note.from {
                self.0.rpc.tell(name, NOTE, note);
            }
        }
    }

    /// Takes all that has come in.
    fn turn(&self) -> Turn {
        let now = self.0.env.now();
        let mut turn = Turn::default();
        let mut state = self.0.state.borrow_mut();
        while let Some(note) = state.inbox.pop_front() {
            if let Err(why) = state.take(&note, now) {
                state.broken = Some(why.to_string());
            }
        }
        if let Some(canvass) = state.ring(now) {
            let others = self.0.names.keys().filter(|id| **id != state.raft.id());
            turn.at_once.extend(others.map(|id| (*id, canvass.clone())));
        }
        state.note_leadership(now);
        state.begin_asked(now);
        state.collect(&mut turn, &self.0.names, now);
        state.settle_leadership();
        let round = state.renew_round(now);
        drop(state);
        if let Some(round) = round {
            self.spread(&round);
        }
        turn
    }

    /// Does what a turn left: what may go at once, the sync, the rest.
    async fn finish(&self, turn: Turn) -> Result<(), StoreError> {
        if let Some(why) = self.0.state.borrow().broken.clone() {
            return Err(StoreError::new(STORE, why));
        }
        turn.at_once.iter().for_each(|(to, note)| self.send(*to, note));
        if !turn.writes.is_empty() {
            self.write(turn.writes, Ack::Synced).await?;
        }
        turn.after.iter().for_each(|(to, note)| self.send(*to, note));
        self.install(&turn.installs);
        self.take_snapshot().await?;
        self.apply().await
    }

    /// Applies what is committed to the rows, and tells those who waited for it. Not synced: the log
    /// is, and what a crash takes from the rows is applied again.
    async fn apply(&self) -> Result<(), StoreError> {
        loop {
            let (writes, fates, upto) = self.decide()?;
            if fates.is_empty() && writes.is_empty() {
                return Ok(());
            }
            self.write(writes, Ack::Early).await?;
            let mut state = self.0.state.borrow_mut();
            state.applied = upto;
            state.shown();
            drop(state);
            for (tell, fate) in fates {
                // Whoever does not wait any more need not be told.
                let _gone = tell.send(fate);
            }
        }
    }

    /// What the next committed entries make of the rows.
    #[expect(clippy::type_complexity, reason = "three things that are only taken apart")]
    fn decide(
        &self,
    ) -> Result<(Writes, Vec<(oneshot::Sender<Fate>, Fate)>, LogPosition), StoreError> {
        let mut state = self.0.state.borrow_mut();
        let (first, last) = (state.applied.index.get() + 1, state.committed());
        let last = last.min(first + APPLY_MAX as u64 - 1);
        let (mut batch, mut fates) = (rows::Batch::over(&self.0.store), Vec::new());
        let mut upto = state.applied;
        for index in first..=last {
            let Some(term) = state.raft.log().entries().get_term(LogIndex::new(index)) else {
                break;
            };
            upto = LogPosition::new(term, LogIndex::new(index));
            let outcome = match state.commands.get(&index).cloned() {
                Some(command) => {
                    state.applied_bytes += command.len();
                    Some(batch.apply(index, decode(&command)?)?)
                }
                None => None,
            };
            let Some(waiter) = state.waiting.remove(&index) else { continue };
            fates.push(match outcome.filter(|_| waiter.at == upto) {
                Some(outcome) => (waiter.tell, Fate::Decided(outcome)),
                // Another leader's entry stands in its place, for good.
                None => (waiter.tell, Fate::NotTaken),
            });
        }
        let mut writes = batch.into_writes();
        if upto != state.applied {
            journal::put_applied(&mut writes, upto);
            state.forget_old(&mut writes, upto);
        }
        Ok((writes, fates, upto))
    }

    fn stop(&self, why: &str) {
        let mut state = self.0.state.borrow_mut();
        state.broken = Some(why.to_owned());
        state.inbox.clear();
        state.rounds = Rounds::default();
        // Dropped: whoever waits learns that nobody knows.
        state.asks.clear();
        state.waiting.clear();
    }
}

impl State {
    /// Handles one message that the disk has a part in.
    fn take(&mut self, note: &wire::Note, now: Time) -> Result<(), noraft::Error> {
        self.hear(note, now);
        if note.word() == wire::Word::Canvassed {
            if self.canvassed(note) {
                self.raft.handle_election_timeout();
            }
        } else if let Some(message) = notes::of_wire(note) {
            self.raft.handle_message(&message)?;
        }
        self.absorb(Some(note));
        self.caught_up(note);
        Ok(())
    }

    /// Notes what the library appended to the log, with the commands that `note` brought.
    pub(super) fn absorb(&mut self, note: Option<&wire::Note>) {
        let Some(entries) = self.raft.actions_mut().append_log_entries.take() else { return };
        let before = entries.prev_position().index.get();
        self.commands.split_off(&(before + 1));
        if let Some(note) = note {
            let brought = (note.position_index + 1..).zip(&note.entries);
            let ours = brought.filter(|(index, entry)| *index > before && entry.term == 0);
            self.commands.extend(ours.map(|(index, entry)| (index, entry.command.clone())));
        }
        self.dirty(before + 1);
    }

    fn dirty(&mut self, first: u64) {
        self.unwritten = Some(self.unwritten.map_or(first, |other| other.min(first)));
    }

    /// Puts the commits that were asked for into the log.
    fn begin_asked(&mut self, now: Time) {
        let leads = self.leads(now);
        for (command, tell) in std::mem::take(&mut self.asks) {
            if !leads {
                let _gone = tell.send(Fate::NotTaken);
                continue;
            }
            let at = self.raft.propose_command();
            let index = at.index.get();
            self.raft.actions_mut().append_log_entries.take();
            self.commands.insert(index, command);
            self.dirty(index);
            self.waiting.insert(index, Waiter { at, tell });
        }
    }

    /// What the library wants done, in the order in which it may be done.
    fn collect(&mut self, turn: &mut Turn, names: &BTreeMap<NodeId, NodeName>, now: Time) {
        let Actions {
            set_election_timeout,
            save_current_term,
            save_voted_for,
            broadcast_message,
            send_messages,
            install_snapshots,
            ..
        } = std::mem::take(self.raft.actions_mut());
        if set_election_timeout {
            self.set_alarm(now);
        }
        let votes = save_current_term || save_voted_for;
        if votes {
            journal::put_vote(&mut turn.writes, self.raft.current_term(), self.raft.voted_for());
        }
        let held = self.holds_back(now);
        if let Some(first) = self.unwritten.take_if(|_| !held) {
            let entries = self.raft.log().entries();
            journal::put_log(&mut turn.writes, entries, &self.commands, first, self.on_disk);
            self.on_disk = entries.last_position().index.get();
        }
        let own = self.raft.id();
        let all = names.keys().filter(|id| **id != own);
        let spread =
            broadcast_message.iter().flat_map(|told| all.clone().map(move |id| (*id, told)));
        for (to, message) in spread.chain(send_messages.iter().map(|(to, told)| (*to, told))) {
            if held
                && matches!(message, Message::AppendEntriesCall { entries, .. } if !entries.is_empty())
            {
                continue;
            }
            let Some(note) = self.note_to(to, message, now) else { continue };
            let note = self.stamped(to, note, now);
            // A leader's entries may travel while its own disk takes them: it counts itself among
            // those who have them only in its next turn, after the sync.
            let early = matches!(message, Message::AppendEntriesCall { .. }) && !votes;
            if early { turn.at_once.push((to, note)) } else { turn.after.push((to, note)) }
        }
        turn.installs.extend(install_snapshots);
    }

    /// The planted bug: true while the leader keeps new entries from its disk and the others.
    fn holds_back(&mut self, now: Time) -> bool {
        let begins = self.early && self.raft.role() == Role::Leader && self.unwritten.is_some();
        self.held_until = match self.held_until {
            None if begins => Some(now + EARLY_FOR),
            Some(until) if begins && now < until => Some(until),
            _ => None,
        };
        self.held_until.is_some()
    }

    /// Whoever led and does not any more cannot say what becomes of what it began.
    fn settle_leadership(&mut self) {
        if self.raft.role() == Role::Leader && self.election.leads_in(self.raft.current_term()) {
            return;
        }
        self.lead_no_more("storage has another leader now");
    }

    /// Whoever waits for what this replica began is told that nobody knows what becomes of it.
    fn lead_no_more(&mut self, why: &str) {
        self.rounds.end();
        for (_, waiter) in std::mem::take(&mut self.waiting) {
            let _gone = waiter.tell.send(Fate::Unknown(why.to_owned()));
        }
    }

    /// The disk has no room: what is not in the log yet is certainly not taken, and what is in it
    /// waits for the disks of others.
    pub(super) fn withdraw(&mut self, why: &str) {
        self.full = true;
        self.lead_no_more(why);
        for (_, tell) in std::mem::take(&mut self.asks) {
            let _gone = tell.send(Fate::NotTaken);
        }
    }

    /// Up to where entries may be applied.
    fn committed(&self) -> u64 {
        if self.early && self.raft.role() == Role::Leader {
            return self.raft.log().last_position().index.get();
        }
        self.raft.commit_index().get()
    }

    /// Lets go of entries that were applied long ago.
    fn forget_old(&mut self, writes: &mut Writes, upto: LogPosition) {
        let base = self.raft.log().snapshot_position().index.get();
        let many = upto.index.get() >= base + 2 * KEEP;
        if !many && self.applied_bytes < KEEP_BYTES {
            return;
        }
        let keep_after = self.last_to_forget(upto.index.get());
        let config = self.raft.log().snapshot_config().clone();
        let Some(term) = self.raft.log().entries().get_term(LogIndex::new(keep_after)) else {
            return;
        };
        let base_now = LogPosition::new(term, LogIndex::new(keep_after));
        if self.raft.handle_snapshot_installed(base_now, config) {
            self.commands = self.commands.split_off(&(keep_after + 1));
            journal::put_base(writes, base_now);
            journal::drop_log(writes, base + 1, keep_after);
            self.base_on_disk = keep_after;
            self.applied_bytes =
                self.commands.range(..=upto.index.get()).map(|(_, command)| command.len()).sum();
        }
    }

    /// The last applied entry that has too many, or too much, after it.
    fn last_to_forget(&self, applied: u64) -> u64 {
        let mut bytes = 0;
        let newest_first = self.commands.range(..=applied).rev().take(KEEP as usize);
        let too_much = newest_first.map(|(index, command)| {
            bytes += command.len();
            (*index, bytes > KEEP_BYTES / 2)
        });
        let heavy = too_much.into_iter().find_map(|(index, heavy)| heavy.then_some(index));
        heavy.unwrap_or_else(|| applied.saturating_sub(KEEP))
    }

    /// The log begins anew after `at`: a snapshot took the place of what was before.
    pub(super) fn begin_after(&mut self, at: LogPosition, writes: &mut Writes) {
        self.commands = self.commands.split_off(&(at.index.get() + 1));
        journal::put_base(writes, at);
        journal::put_applied(writes, at);
        let entries = self.raft.log().entries();
        let last = entries.last_position().index.get();
        journal::drop_log(writes, self.base_on_disk + 1, at.index.get().min(self.on_disk));
        journal::put_log(writes, entries, &self.commands, at.index.get() + 1, self.on_disk);
        (self.base_on_disk, self.on_disk, self.unwritten) = (at.index.get(), last, None);
    }
}

fn decode(command: &Bytes) -> Result<Txn, StoreError> {
    let ask = platform::CommitAsk::decode(command.clone()).map_err(|why| {
        StoreError::new(STORE, format!("a command of the log cannot be read: {why}"))
    })?;
    Ok(txn_of(ask))
}
