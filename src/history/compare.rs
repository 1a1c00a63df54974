//! Two histories, line by line: are they the same, and if not, where do they part? It compares what
//! was written, byte by byte, and knows of the records only what it needs to excuse a difference.

use std::{fmt, path::Path};

use super::{
    manifest::HistoryError,
    op::Outcome,
    reader::Reader,
    record::{Ending, Record},
};
use crate::base::time::Time;

/// Characters of a line that are shown around the place where two lines part.
const SHOWN_BEFORE: usize = 40;
const SHOWN_AFTER: usize = 100;
/// Characters of the head of a line that are always shown: they tell what kind of record it is.
const SHOWN_HEAD: usize = 30;

/// How a new history compares to a recorded one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Records that are the same, from the first on.
    pub same: u64,
    /// The first record that is not; none when there is no such record.
    pub parting: Option<Parting>,
    /// The end of the recorded history was lost: it was compared as far as it goes.
    pub cut: bool,
    /// The recorded run was ended by this signal; from there on the two must differ.
    pub signal: Option<String>,
    /// They part before the recorded run heard of that signal: it explains nothing.
    pub early: bool,
    /// Who recorded the two, where it was not the same tool.
    pub tools: Option<(String, String)>,
}

/// Where two histories part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The number of the record, from 1: the line of `zstd -dc history/*.zst`.
    pub record: u64,
    /// The recorded one, shortened to the place where they part; none where the history is over.
    pub recorded: Option<String>,
    /// The new one, likewise.
    pub new: Option<String>,
}

impl Comparison {
    /// Compares the history of the run in `new` with that of the one in `recorded`.
    pub fn of(recorded: &Path, new: &Path) -> Result<Self, HistoryError> {
        let (mut old, mut young) = (Reader::lines(recorded)?, Reader::lines(new)?);
        let mut found = Self::default();
        let mut rest = Rest::default();
        loop {
            let (line, other) = (old.next().transpose()?, young.next().transpose()?);
            match (line, other) {
                (None, None) => break,
                (Some(line), Some(other)) if line == other || found.excuse(&line, &other) => {
                    found.same += 1;
                }
                (None, Some(_)) if !old.complete() => break,
                (line, other) => {
                    for line in [&line, &other].into_iter().flatten() {
                        rest.see(line);
                    }
                    found.signal = line.as_deref().and_then(ending_of).and_then(|end| end.signal);
                    found.parting =
                        Some(Parting::of(found.same + 1, line.as_deref(), other.as_deref()));
                    break;
                }
            }
        }
        // The last record tells how the run ended; whoever parted may not have come there yet.
        for line in old.by_ref() {
            let line = line?;
            rest.see(&line);
            if let Some(end) = ending_of(&line) {
                found.signal = end.signal;
            }
        }
        found.early = rest.before_the_signal();
        found.cut = !old.complete();
        Ok(found)
    }

    /// True when no record differs.
    pub fn is_same(&self) -> bool {
        self.parting.is_none()
    }

    /// True when they part, and nothing about the recorded run explains it.
    pub fn is_defect(&self) -> bool {
        self.parting.is_some() && (self.signal.is_none() || self.early)
    }

    /// The headers of two builds differ in the word for the build, and may.
    fn excuse(&mut self, line: &str, other: &str) -> bool {
        if self.same > 0 {
            return false;
        }
        let (Ok(Record::Run(mut one)), Ok(Record::Run(two))) =
            (serde_json::from_str(line), serde_json::from_str(other))
        else {
            return false;
        };
        if one.tool == two.tool {
            return false;
        }
        self.tools = Some((one.tool.clone(), two.tool.clone()));
        one.tool.clone_from(&two.tool);
        one == two
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = self.same;
        match &self.parting {
            None if self.cut => write!(
                f,
                "identical: the {same} records that there are; the end of the recorded history \
                 was lost"
            ),
            None => write!(f, "identical: {same} records"),
            Some(parting) => {
                writeln!(f, "differs at record {}; {same} before it are the same", parting.record)?;
                let shown = |line: &Option<String>| match line {
                    Some(text) => text.clone(),
                    None => "nothing: the history is over".to_owned(),
                };
                writeln!(f, "  recorded: {}", shown(&parting.recorded))?;
                write!(f, "  new:      {}", shown(&parting.new))
            }
        }
    }
}

impl Parting {
    fn of(record: u64, recorded: Option<&str>, new: Option<&str>) -> Self {
        let (one, two) = (recorded.unwrap_or(""), new.unwrap_or(""));
        let at = one.chars().zip(two.chars()).take_while(|(a, b)| a == b).count();
        Self {
            record,
            recorded: recorded.map(|line| around(line, at)),
            new: new.map(|line| around(line, at)),
        }
    }
}

/// A line, shortened to its head and what stands around its character number `at`.
fn around(line: &str, at: usize) -> String {
    let from = at.saturating_sub(SHOWN_BEFORE);
    let part = |from: usize, count: usize| line.chars().skip(from).take(count).collect::<String>();
    let mut text = if from <= SHOWN_HEAD {
        part(0, at + SHOWN_AFTER)
    } else {
        format!("{} … {}", part(0, SHOWN_HEAD), part(from, SHOWN_BEFORE + SHOWN_AFTER))
    };
    if line.chars().count() > at + SHOWN_AFTER {
        text.push_str(" …");
    }
    text
}

fn ending_of(line: &str) -> Option<Ending> {
    match serde_json::from_str(line) {
        Ok(Record::End(end)) => Some(end),
        _ => None,
    }
}

/// What is known of the records from the one on at which two histories part.
#[derive(Default)]
struct Rest {
    /// The earliest moment at which one of them was written.
    first: Option<Time>,
    signal: Option<Time>,
}

impl Rest {
    fn see(&mut self, line: &str) {
        let Ok(record) = serde_json::from_str(line) else { return };
        if let Record::End(end) = &record {
            self.signal = self.signal.or(end.signal_at);
        }
        if let Some(at) = written_at(&record) {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
        }
    }

    /// Records are written in the order of time: one from before the signal, behind the parting.
    fn before_the_signal(&self) -> bool {
        matches!((self.first, self.signal), (Some(first), Some(signal)) if first < signal)
    }
}

/// When a record was written, where it tells that. Counts and positions told again are held back;
/// so is an op that was refused, until a fresh token was asked for.
fn written_at(record: &Record) -> Option<Time> {
    match record {
        Record::Op(op) => (op.outcome == Outcome::Ok).then_some(op.done),
        Record::Phase { at, .. } | Record::Skipped { at, .. } => Some(*at),
        Record::Fault(event) => Some(event.at),
        Record::Told(told) => Some(told.at),
        Record::Missed(missed) => Some(missed.at),
        Record::Run(_) | Record::Pings(_) | Record::Recalled(_) | Record::End(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::time::Time,
        history::{
            declares::Declares,
            record::{Ending, Header, Phase, PingCount, SCHEMA},
            writer::Writer,
        },
    };

    fn header(tool: &str) -> Record {
        Record::Run(Box::new(Header {
            schema: SCHEMA,
            tool: tool.into(),
            scenario: "smoke".into(),
            run: "virtual-7".into(),
            seed: "7".into(),
            time: "virtual".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            labels: std::collections::BTreeMap::new(),
            declares: Declares::default(),
            plants: Vec::new(),
            updates_per_s: 20.0,
            time_scale: 1.0,
            plan_sha256: String::new(),
        }))
    }

    fn skipped(number: u64) -> Record {
        let why = format!("{} reason {number}", "a long story and a ".repeat(10));
        Record::Skipped { at: Time(7), count: 1, why }
    }

    fn phase(at: u64) -> Record {
        Record::Phase { phase: Phase::Load, at: Time(at) }
    }

    fn interrupted(at: u64) -> Record {
        let (signal, signal_at) = (Some("INT".to_owned()), Some(Time(at)));
        Record::End(Ending { signal, signal_at, cut_short: true, ..Ending::default() })
    }

    fn end(signal: Option<&str>) -> Record {
        Record::End(Ending { signal: signal.map(str::to_owned), ..Ending::default() })
    }

    /// A run's folder with these records; without an end it is cut off.
    fn run(records: &[Record], whole: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path()).unwrap();
        for record in records {
            writer.append(record).unwrap();
        }
        writer.flush().unwrap();
        if whole {
            writer.finish().unwrap();
        }
        dir
    }

    fn compare(recorded: &tempfile::TempDir, new: &tempfile::TempDir) -> Comparison {
        Comparison::of(recorded.path(), new.path()).unwrap()
    }

    #[test]
    fn the_same_records_are_identical() {
        let records = [header("rc 1"), skipped(1), skipped(2), end(None)];
        let found = compare(&run(&records, true), &run(&records, true));
        assert_eq!(found.to_string(), "identical: 4 records");
        assert!(found.is_same() && !found.is_defect() && !found.cut);
    }

    #[test]
    fn the_first_record_that_differs_is_named_and_shown_short() {
        let recorded = run(&[header("rc 1"), skipped(1), skipped(2), end(None)], true);
        let new = run(&[header("rc 1"), skipped(1), skipped(3), end(None)], true);
        let found = compare(&recorded, &new);
        let parting = found.parting.clone().unwrap();
        assert_eq!((parting.record, found.same), (3, 2));
        let (old, young) = (parting.recorded.unwrap(), parting.new.unwrap());
        assert!(old.ends_with("reason 2\"}") && young.ends_with("reason 3\"}"), "{old} {young}");
        assert!(old.starts_with("{\"type\":\"skipped\"") && old.len() < 120, "{old}");
        assert!(found.is_defect());
        assert!(found.to_string().starts_with("differs at record 3; 2 before it"), "{found}");
    }

    #[test]
    fn a_history_that_goes_on_longer_differs_and_one_that_was_cut_off_does_not() {
        let long = [header("rc 1"), skipped(1), skipped(2), end(None)];
        let found = compare(&run(&long[..2], false), &run(&long, true));
        assert!(found.is_same() && found.cut, "{found:?}");
        assert!(found.to_string().contains("the 2 records that there are"), "{found}");
        for (recorded, new) in [(&long[..2], &long[..]), (&long[..], &long[..2])] {
            let found = compare(&run(recorded, true), &run(new, true));
            let parting = found.parting.clone().unwrap();
            assert_eq!(parting.record, 3);
            assert!(parting.recorded.is_none() != parting.new.is_none());
            assert!(found.to_string().contains("the history is over"), "{found}");
        }
        // The new one must be whole: only the recorded one may have been cut off.
        assert!(!compare(&run(&long, true), &run(&long[..2], false)).is_same());
    }

    #[test]
    fn another_build_is_named_and_a_signal_excuses() {
        let of = |tool, last| run(&[header(tool), skipped(1), last], true);
        let found = compare(&of("rc 1", end(None)), &of("rc 2", end(None)));
        assert!(found.is_same());
        assert_eq!(found.tools, Some(("rc 1".into(), "rc 2".into())));
        let found = compare(&of("rc 1", end(Some("INT"))), &of("rc 1", skipped(2)));
        // The last record is the one that differs, and it tells of the signal.
        assert!(!found.is_same() && !found.is_defect(), "{found:?}");
    }

    #[test]
    fn a_signal_excuses_nothing_that_was_written_before_it_came() {
        let of = |records: &[Record]| run(&[&[header("rc 1")], records].concat(), true);
        // The signal came at 8: the first record at 9 is what it brought about.
        let recorded = of(&[phase(7), phase(9), interrupted(8)]);
        let found = compare(&recorded, &of(&[phase(7), phase(10), end(None)]));
        assert!(!found.is_same() && !found.early && !found.is_defect(), "{found:?}");
        // Where they part already at 7, or at something that is older than what follows it, the
        // signal explains nothing.
        for other in [phase(6), phase(12), skipped(1)] {
            let found = compare(&recorded, &of(&[other, phase(9), interrupted(8)]));
            assert_eq!(found.parting.as_ref().map(|parting| parting.record), Some(2));
            assert!(found.early && found.is_defect(), "{found:?}");
        }
        let held = Record::Pings(Box::new(PingCount::new(Time(0), true)));
        let late = of(&[held, phase(7), interrupted(8)]);
        assert!(compare(&late, &of(&[phase(7), end(None)])).is_defect());
    }
}
