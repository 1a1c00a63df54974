//! The traces of a run on disk, in `traces/`: hops as JSON lines, in segments like those of the
//! history, up to a limit.

use std::{collections::BTreeSet, path::Path};

use super::{
    hop::{Hop, TraceId},
    manifest::HistoryError,
    reader::Reader,
    writer::{Limits, Writer},
};

/// The folder of a run's traces, below the run's own.
pub const FOLDER: &str = "traces";
/// What a line begins with, before the digits of its trace.
const BEFORE_TRACE: usize = "{\"trace\":\"".len();
/// The digits.
const TRACE_DIGITS: usize = 32;

/// Writes hops until so much is full.
pub struct TraceWriter {
    writer: Writer,
    bytes_max: u64,
    unwritten: u64,
}

impl TraceWriter {
    /// Begins the traces of the run in that folder; `bytes_max` on the disk, and not much more.
    pub fn create(run_dir: &Path, bytes_max: u64) -> Result<Self, HistoryError> {
        let writer = Writer::in_folder(run_dir.join(FOLDER), Limits::default())?;
        Ok(Self { writer, bytes_max, unwritten: 0 })
    }

    /// Adds a hop, or counts it when there is no more room.
    pub fn append(&mut self, hop: &Hop) -> Result<(), HistoryError> {
        if self.writer.bytes() >= self.bytes_max {
            self.unwritten += 1;
            return Ok(());
        }
        self.writer.append_line(hop)
    }

    /// Hops for which there was no room.
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Hands what was added to the system.
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        self.writer.flush()
    }

    /// Closes the traces for good.
    pub fn finish(self) -> Result<(), HistoryError> {
        self.writer.finish()
    }
}

/// The hops of those traces that `wanted` takes, in the order of their time. A run without traces
/// has none.
pub fn read(run_dir: &Path, wanted: impl Fn(TraceId) -> bool) -> Result<Vec<Hop>, HistoryError> {
    let folder = run_dir.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut hops: Vec<Hop> = Vec::new();
    for line in Reader::lines_in(folder)? {
        let line = line?;
        let digits = line.get(BEFORE_TRACE..BEFORE_TRACE + TRACE_DIGITS);
        // A line that is no hop of ours is left alone.
        let trace = digits.and_then(|digits| digits.parse::<TraceId>().ok());
        if trace.is_some_and(&wanted) {
            hops.extend(serde_json::from_str::<Hop>(&line).ok());
        }
    }
    // Stable: what a node recorded at one moment stays in its order.
    hops.sort_by_key(|hop| hop.at);
    Ok(hops)
}

/// The traces among some hops, in the order of their ids.
pub fn ids(hops: &[Hop]) -> BTreeSet<TraceId> {
    hops.iter().map(|hop| hop.trace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::time::Time,
        history::hop::{HopKind, MessageId, Subject},
    };

    fn hop(op: u64, at: u64) -> Hop {
        Hop {
            trace: TraceId::of_op(7, op, 0),
            at: Time(at),
            message: MessageId(at),
            parent: MessageId::NONE,
            kind: HopKind::In,
            from: "robots".into(),
            to: "a/api-1".into(),
            path: "/v1/driver/job".into(),
            host: "virtual".into(),
            az: "a".into(),
            instance: "a/api-1#0".into(),
            took: None,
            error: None,
        }
    }

    #[test]
    fn what_is_over_the_limit_is_counted() {
        let run = tempfile::tempdir().unwrap();
        let mut writer = TraceWriter::create(run.path(), 1).unwrap();
        writer.append(&hop(1, 9)).unwrap();
        writer.flush().unwrap();
        writer.append(&hop(1, 10)).unwrap();
        assert_eq!(writer.unwritten(), 1);
        writer.finish().unwrap();
        assert_eq!(read(run.path(), |_| true).unwrap(), [hop(1, 9)]);
    }

    #[test]
    fn the_wanted_traces_are_read_in_time_order() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(read(run.path(), |_| true).unwrap(), []);
        let mut writer = TraceWriter::create(run.path(), 1 << 20).unwrap();
        for hop in [hop(1, 9), hop(2, 4), hop(1, 3)] {
            writer.append(&hop).unwrap();
        }
        writer.finish().unwrap();
        let found = read(run.path(), |trace| trace.subject() == Subject::Op(1)).unwrap();
        assert_eq!(found, [hop(1, 3), hop(1, 9)]);
        assert_eq!(ids(&found).len(), 1);
    }
}
