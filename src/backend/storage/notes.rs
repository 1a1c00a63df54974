//! Messages of the consensus, to and from the wire. The library knows where commands stand in the
//! log; what they say is added here.

use std::collections::BTreeMap;

use bytes::Bytes;
use noraft::{LogEntries, LogEntry, LogIndex, LogPosition, Message, NodeId, Term};

use crate::backend::wire::storage::{Entry, Note, Word};

/// Bytes of commands after which a message takes no more entries; the rest follows when the receiver
/// has answered. No command is larger: with one more a message still fits a frame.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message as it travels.
pub fn to_wire(message: &Message, commands: &BTreeMap<u64, Bytes>) -> Note {
    let mut note =
        Note { from: message.from().get(), term: message.term().get(), ..Note::default() };
    match message {
        Message::RequestVoteCall { last_position, .. } => {
            note.set_word(Word::Vote);
            put_position(&mut note, *last_position);
        }
        Message::RequestVoteReply { vote_granted, .. } => {
            note.set_word(Word::Voted);
            note.yes = *vote_granted;
        }
        Message::AppendEntriesCall { commit_index, entries, .. } => {
            note.set_word(Word::Append);
            note.index = commit_index.get();
            put_position(&mut note, entries.prev_position());
            note.entries = told(entries, commands);
        }
        Message::AppendEntriesReply { last_position, .. } => {
            note.set_word(Word::Appended);
            put_position(&mut note, *last_position);
        }
    }
    note
}

fn told(entries: &LogEntries, commands: &BTreeMap<u64, Bytes>) -> Vec<Entry> {
    let (mut told, mut bytes) = (Vec::with_capacity(entries.len()), 0);
    for (position, entry) in entries.iter_with_positions() {
        let entry = match entry {
            LogEntry::Term(term) => Entry { term: term.get(), command: Bytes::new() },
            _ => match commands.get(&position.index.get()) {
                Some(command) => Entry { term: 0, command: command.clone() },
                // Cannot be: what is in the log has its command. Nothing after it may be sent.
                None => break,
            },
        };
        bytes += entry.command.len();
        if bytes > COMMAND_BYTES_MAX && !told.is_empty() {
            break;
        }
        told.push(entry);
    }
    told
}

/// What a note says to the library; nothing for words that it does not know.
pub fn of_wire(note: &Note) -> Option<Message> {
    let (from, term) = (NodeId::new(note.from), Term::new(note.term));
    Some(match note.word() {
        Word::Vote => Message::RequestVoteCall { from, term, last_position: position(note) },
        Word::Voted => Message::RequestVoteReply { from, term, vote_granted: note.yes },
        Word::Append => {
            let entries = note.entries.iter().map(|entry| match entry.term {
                0 => LogEntry::Command,
                term => LogEntry::Term(Term::new(term)),
            });
            let entries = LogEntries::from_iter(position(note), entries);
            let commit_index = LogIndex::new(note.index);
            Message::AppendEntriesCall { from, term, commit_index, entries }
        }
        Word::Appended => Message::AppendEntriesReply { from, term, last_position: position(note) },
        _ => return None,
    })
}

/// The position that a note carries.
pub fn position(note: &Note) -> LogPosition {
    LogPosition::new(Term::new(note.position_term), LogIndex::new(note.position_index))
}

/// Sets the position that a note carries.
pub fn put_position(note: &mut Note, at: LogPosition) {
    (note.position_term, note.position_index) = (at.term.get(), at.index.get());
}
