//! What a leader has sent to each follower and not yet heard of: the library offers the same entries
//! again with every answer, and this leaves out those that are on their way.

use std::{collections::BTreeMap, time::Duration};

use noraft::{Message, NodeId};

use super::{notes, replica::State};
use crate::{backend::wire::storage::Note, base::time::Time};

/// A follower whose log has not grown for so long has lost what was sent: it is sent again.
const LOST_AFTER: Duration = Duration::from_millis(200);

/// What is on its way to one follower.
#[derive(Default, Clone, Copy)]
struct Way {
    /// The last entry that was sent.
    sent: u64,
    /// The last that the follower is known to have, …
    has: u64,
    /// … and since when nothing was added to it.
    since: Time,
}

/// What is on its way to all of them.
#[derive(Default)]
pub struct Flight(BTreeMap<NodeId, Way>);

impl Flight {
    /// A new leader knows nothing of what others have sent.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl State {
    /// A message as it travels to `to`, without the entries that are on their way there; none when
    /// nothing is left of it.
    pub(super) fn note_to(&mut self, to: NodeId, message: &Message, now: Time) -> Option<Note> {
        let entries = match message {
            Message::AppendEntriesCall { entries, .. } if !entries.is_empty() => entries,
            _ => return Some(notes::to_wire(message, &self.commands)),
        };
        let has = self.raft.follower_match_index(to).map_or(0, noraft::LogIndex::get);
        let way = self.flight.0.entry(to).or_default();
        if way.has != has || way.sent <= has {
            (way.has, way.since) = (has, now);
        } else if now.since(way.since) >= LOST_AFTER {
            (way.sent, way.since) = (has, now);
        }
        let (before, last) =
            (entries.prev_position().index.get(), entries.last_position().index.get());
        let mut rest = message.clone();
        if way.sent > before {
            if way.sent >= last {
                return None;
            }
            rest.strip_append_entries_prefix((way.sent - before) as usize);
        }
        let note = notes::to_wire(&rest, &self.commands);
        way.sent = note.position_index + note.entries.len() as u64;
        Some(note)
    }
}
