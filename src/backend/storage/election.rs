//! Who leads: when a replica stands for election, whom it hears, and for how long a leader may think
//! that it still leads. Draws from the node's own random stream alone, so that elections are the
//! same twice.
//!
//! Two things that the library leaves to us keep a healthy leader in its place: a replica *canvasses*
//! before it stands (would a majority vote for it?), so one that was cut off does not come back with
//! a higher term and depose the leader; and a leader that no majority has answered lately serves
//! nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use noraft::{NodeId, Role, Term};

use super::{
    notes,
    replica::{Replica, State},
};
use crate::{
    backend::wire::storage::{Note, Word},
    base::{rng::Rng, time::Time},
};

/// How often a leader says that it lives.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// A leader that hears no majority speaks up less often than others stand for election.
const LONELY: Duration = Duration::from_millis(1_500);
/// A replica that has heard no leader for so long may stand for election, …
const ELECTION_MIN: Duration = Duration::from_millis(400);
/// … or as late as this. A leader unanswered for so long serves nobody.
const ELECTION_MAX: Duration = Duration::from_millis(800);
/// At the birth of all replicas the first stands at once.
const FIRST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(40));

/// What a replica knows of who leads.
pub struct Election {
    rng: Rng,
    /// When it must act next.
    alarm: Time,
    /// Stands soon, as long as there was no leader yet.
    eager: bool,
    /// When a leader was heard last.
    leader_at: Option<Time>,
    /// The term in which this replica leads, and since when.
    led: Option<(Term, Time)>,
    /// For each other replica: when that was sent which it has answered in this term.
    answered: BTreeMap<NodeId, Time>,
    /// The newest stamp of each other replica.
    stamps: BTreeMap<NodeId, u64>,
    canvass: u64,
    /// Who would vote for this replica, as far as it has asked.
    backers: Option<BTreeSet<NodeId>>,
    /// The rows show at least all that was acknowledged by then.
    fresh: Time,
    /// They will have been as fresh once everything up to this index is applied.
    fresh_soon: Option<(u64, Time)>,
}

impl Election {
    /// Nobody leads yet, as far as this replica knows.
    pub fn new(rng: Rng, eager: bool) -> Self {
        Self {
            rng,
            alarm: Time::ZERO,
            eager,
            leader_at: None,
            led: None,
            answered: BTreeMap::new(),
            stamps: BTreeMap::new(),
            canvass: 0,
            backers: None,
            fresh: Time::ZERO,
            fresh_soon: None,
        }
    }

    /// When the replica must act next.
    pub fn alarm(&self) -> Time {
        self.alarm
    }

    /// True when the replica knows that it leads in `term`.
    pub fn leads_in(&self, term: Term) -> bool {
        self.led.is_some_and(|(led, _)| led == term)
    }

    fn patience(&mut self) -> Duration {
        let (min, max) = if self.eager { FIRST } else { (ELECTION_MIN, ELECTION_MAX) };
        Duration::from_secs_f64(self.rng.between(min.as_secs_f64(), max.as_secs_f64()))
    }
}

impl State {
    fn majority(&self) -> usize {
        self.raft.config().voters.len() / 2 + 1
    }

    /// When the newest word was sent that a majority, this leader included, has answered.
    fn confirmed_at(&self, now: Time) -> Time {
        let mut answered: Vec<Time> = self.election.answered.values().copied().collect();
        answered.sort_unstable_by(|a, b| b.cmp(a));
        match self.majority() {
            1 => now,
            // The others that it takes.
            more => answered.get(more - 2).copied().unwrap_or(Time::ZERO),
        }
    }

    /// True when this replica leads and a majority has said so lately.
    pub(super) fn leads(&self, now: Time) -> bool {
        let Some((term, since)) = self.election.led else { return false };
        self.broken.is_none()
            && !self.full
            && self.raft.role() == Role::Leader
            && term == self.raft.current_term()
            && now.since(since.max(self.confirmed_at(now))) < ELECTION_MAX
    }

    /// Whom callers should ask: nobody when it is this replica, or not known.
    pub(super) fn hint(&self, now: Time) -> Option<NodeId> {
        let heard = self.election.leader_at.is_some_and(|at| now.since(at) < ELECTION_MAX);
        self.raft.voted_for().filter(|id| heard && *id != self.raft.id())
    }

    /// How far behind what was acknowledged the rows may be.
    pub(super) fn behind(&self, now: Time) -> Duration {
        let whole = self.applied.index >= self.raft.commit_index() && self.knows_the_past();
        let fresh = match self.raft.role() {
            Role::Leader if self.leads(now) && whole => self.confirmed_at(now),
            Role::Leader => Time::ZERO,
            _ => self.election.fresh,
        };
        now.since(fresh)
    }

    /// What the alarm is set to when the library asks for it.
    pub(super) fn set_alarm(&mut self, now: Time) {
        let patience = if self.raft.role() == Role::Leader {
            if self.election.leads_in(self.raft.current_term()) && !self.leads(now) {
                LONELY
            } else {
                HEARTBEAT
            }
        } else {
            self.election.patience()
        };
        self.election.alarm = now + patience;
    }

    /// Acts when the alarm has gone off; the question for others that this may be.
    pub(super) fn ring(&mut self, now: Time) -> Option<Note> {
        if self.election.alarm > now {
            return None;
        }
        if self.raft.role() == Role::Leader {
            self.raft.heartbeat();
            return None;
        }
        self.set_alarm(now);
        if self.raft.config().voters.len() == 1 {
            self.raft.handle_election_timeout();
            self.absorb(None);
            return None;
        }
        self.election.canvass += 1;
        self.election.backers = Some(BTreeSet::new());
        let mut note = self.note(Word::Canvass);
        note.index = self.election.canvass;
        notes::put_position(&mut note, self.raft.log().last_position());
        Some(note)
    }

    /// Counts who would vote for this replica; true when that is a majority.
    pub(super) fn canvassed(&mut self, note: &Note) -> bool {
        let majority = self.majority();
        if note.index != self.election.canvass {
            return false;
        }
        let Some(backers) = &mut self.election.backers else { return false };
        backers.insert(NodeId::new(note.from));
        let enough = backers.len() + 1 >= majority && self.raft.role() != Role::Leader;
        if enough {
            self.election.backers = None;
        }
        enough
    }

    /// Whether this replica would vote for whoever asks. The term plays no part: where it is too old
    /// the true election tells so, and the next one has a newer.
    fn would_vote(&self, note: &Note, now: Time) -> bool {
        let content = self.election.leader_at.is_some_and(|at| now.since(at) < ELECTION_MIN);
        !content
            && !self.full
            && !self.leads(now)
            && notes::position(note) >= self.raft.log().last_position()
    }

    /// Notes who was heard, before the library takes the message.
    pub(super) fn hear(&mut self, note: &Note, now: Time) {
        let from = NodeId::new(note.from);
        let stamp = self.election.stamps.entry(from).or_default();
        *stamp = note.stamp.max(*stamp);
        let current = note.term == self.raft.current_term().get();
        if matches!(note.word(), Word::Appended | Word::Confirmed) && current {
            let answered = self.election.answered.entry(from).or_default();
            *answered = Time(note.echo).max(*answered);
        }
        if note.word() == Word::Append && note.term >= self.raft.current_term().get() {
            self.election.leader_at = Some(now);
            self.election.eager = false;
            self.election.backers = None;
        }
    }

    /// Notes how fresh the rows will be once they hold what the leader has just called committed.
    pub(super) fn caught_up(&mut self, note: &Note) {
        let holds = self.raft.commit_index().get() >= note.index;
        if note.word() == Word::Append && note.echo > 0 && holds {
            self.election.fresh_soon = Some((note.index, Time(note.echo)));
            self.freshen();
        }
    }

    fn freshen(&mut self) {
        let applied = self.applied.index.get();
        if let Some((_, at)) = self.election.fresh_soon.filter(|(index, _)| *index <= applied) {
            self.election.fresh = at.max(self.election.fresh);
            self.election.fresh_soon = None;
        }
    }

    /// The rows hold more than they did.
    pub(super) fn shown(&mut self) {
        self.freshen();
        self.rounds.shown(self.applied.index.get());
    }

    /// Notes that this replica leads, from the moment on when it does.
    pub(super) fn note_leadership(&mut self, now: Time) {
        let term = self.raft.current_term();
        if self.raft.role() != Role::Leader {
            self.election.led = None;
        } else if !self.election.leads_in(term) {
            self.election.led = Some((term, now));
            self.election.answered.clear();
            self.flight.clear();
            self.election.eager = false;
        }
    }

    /// A note of this replica with nothing in it yet.
    pub(super) fn note(&self, word: Word) -> Note {
        let (from, term) = (self.raft.id().get(), self.raft.current_term().get());
        let mut note = Note { from, term, ..Note::default() };
        note.set_word(word);
        note
    }

    /// The same note with the times by which both ends know how old their news are.
    pub(super) fn stamped(&self, to: NodeId, mut note: Note, now: Time) -> Note {
        note.stamp = now.0;
        // Whoever has just been elected calls less committed than was acknowledged before.
        if self.raft.role() != Role::Leader || self.knows_the_past() {
            note.echo = self.election.stamps.get(&to).copied().unwrap_or_default();
        }
        note
    }
}

impl Replica {
    /// Returns once there is a leader: another that was heard, or this replica.
    pub(super) async fn settled(&self) {
        loop {
            let alone = {
                let state = self.0.state.borrow();
                state.election.leader_at.is_none() && state.election.led.is_none()
            };
            if !alone {
                return;
            }
            self.0.env.sleep(HEARTBEAT / 5).await;
        }
    }

    /// Answers what needs no disk; false when the note is none of that.
    pub(super) fn answer_at_once(&self, note: &Note) -> bool {
        let now = self.0.env.now();
        let mut state = self.0.state.borrow_mut();
        if state.broken.is_some() {
            return true;
        }
        let (from, current) = (NodeId::new(note.from), state.raft.current_term().get());
        let word = match note.word() {
            Word::Canvass if state.would_vote(note, now) => Word::Canvassed,
            // In a term that nobody has left nobody else can have been elected.
            Word::Confirm if note.term == current => Word::Confirmed,
            Word::Canvass | Word::Confirm | Word::Nothing => return true,
            Word::Confirmed => {
                state.hear(note, now);
                let next = state.confirmed(note, now);
                drop(state);
                if let Some(round) = next {
                    self.spread(&round);
                }
                return true;
            }
            _ => return false,
        };
        state.hear(note, now);
        let answer = Note { index: note.index, ..state.note(word) };
        let answer = state.stamped(from, answer, now);
        drop(state);
        self.send(from, &answer);
        true
    }
}
