//! Reads a history, frame by frame, in bounded memory. A frame that was cut off by a sudden death
//! ends the reading cleanly; bytes that are wrong in the middle are an error with their place.

use std::{
    collections::VecDeque,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use zstd::zstd_safe;

use super::{
    manifest::{FOLDER, HistoryError, Manifest, segment_name},
    record::Record,
};

/// Read at once from the disk.
const CHUNK_BYTES: usize = 1024 * 1024;
/// No frame that we write comes near this; what claims to be longer is damaged.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's code for "the frame is longer than what you gave me", as `size_t` carries it.
const TOO_SHORT: usize = 0_usize.wrapping_sub(72);

/// The records of a run, in order; or, as a `Reader<String>`, the lines as they were written.
pub struct Reader<T = Record> {
    folder: PathBuf,
    manifest: Option<Manifest>,
    segment: usize,
    open: Option<Open>,
    take: fn(&[u8]) -> Result<T, String>,
    ready: VecDeque<T>,
    cut: bool,
    over: bool,
}

/// The segment that is being read.
struct Open {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the file.
    offset: u64,
    ended: bool,
}

impl Reader {
    /// Opens the history in the folder of a run.
    pub fn open(run_dir: &Path) -> Result<Self, HistoryError> {
        Self::taking(run_dir.join(FOLDER), |line| {
            Record::from_line(line).map_err(|why| why.to_string())
        })
    }
}

impl Reader<String> {
    /// Opens the history in the folder of a run, for whoever compares what was written.
    pub fn lines(run_dir: &Path) -> Result<Self, HistoryError> {
        Self::lines_in(run_dir.join(FOLDER))
    }

    /// The same of what was written into another folder.
    pub(super) fn lines_in(folder: PathBuf) -> Result<Self, HistoryError> {
        Self::taking(folder, |line| {
            str::from_utf8(line).map(str::to_owned).map_err(|why| why.to_string())
        })
    }
}

impl<T> Reader<T> {
    fn taking(folder: PathBuf, take: fn(&[u8]) -> Result<T, String>) -> Result<Self, HistoryError> {
        let manifest = Manifest::read(&folder);
        let open = Some(Open::new(folder.join(segment_name(0)))?);
        let ready = VecDeque::new();
        Ok(Self { folder, manifest, segment: 0, open, take, ready, cut: false, over: false })
    }

    /// After the last record: true when the history is whole, false when its end was lost.
    pub fn complete(&self) -> bool {
        self.over && !self.cut && self.manifest.as_ref().is_some_and(|m| m.complete)
    }

    /// Fills `ready` with the next frame; false at the end.
    fn advance(&mut self) -> Result<bool, HistoryError> {
        while let Some(open) = &mut self.open {
            match open.frame(self.take)? {
                Found::Frame(records) => {
                    self.ready = records;
                    return Ok(true);
                }
                Found::End => self.next_segment(false)?,
                Found::Cut => self.next_segment(true)?,
            }
        }
        Ok(false)
    }

    fn next_segment(&mut self, torn: bool) -> Result<(), HistoryError> {
        let Some(done) = self.open.take() else { return Ok(()) };
        let length = done.offset + done.buffer.len() as u64;
        let known = self.manifest.as_ref().and_then(|m| m.segments.get(self.segment));
        let short = known.is_some_and(|s| s.complete && length != s.bytes);
        self.segment += 1;
        let next = self.folder.join(segment_name(self.segment));
        let more = known.is_some()
            && self.manifest.as_ref().is_some_and(|m| m.segments.len() > self.segment);
        if !next.exists() {
            // A whole segment after this one is gone when the manifest knows of it.
            self.cut = torn || short || more;
            return Ok(());
        }
        if torn || short {
            let what = "it ends here, and more segments follow".to_owned();
            return Err(HistoryError::Corrupt { path: done.path, offset: done.offset, what });
        }
        self.open = Some(Open::new(next)?);
        Ok(())
    }
}

impl<T> Iterator for Reader<T> {
    type Item = Result<T, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(Ok(record));
            }
            if self.over {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => self.over = true,
                Err(error) => {
                    (self.over, self.cut) = (true, true);
                    return Some(Err(error));
                }
            }
        }
    }
}

enum Found<T> {
    Frame(VecDeque<T>),
    /// The file ends where a frame ends.
    End,
    /// The file ends within a frame.
    Cut,
}

impl Open {
    fn new(path: PathBuf) -> Result<Self, HistoryError> {
        let file = File::open(&path).map_err(|error| HistoryError::io(&path, error))?;
        Ok(Self { path, file, buffer: Vec::new(), offset: 0, ended: false })
    }

    fn frame<T>(&mut self, take: fn(&[u8]) -> Result<T, String>) -> Result<Found<T>, HistoryError> {
        loop {
            if self.buffer.is_empty() && self.ended {
                return Ok(Found::End);
            }
            match zstd_safe::find_frame_compressed_size(&self.buffer) {
                Ok(length) => return self.unpack(length, take),
                Err(TOO_SHORT) if !self.ended && self.buffer.len() < FRAME_BYTES_MAX => {
                    self.fill()?;
                }
                // A wrong length in a frame's head also looks like a frame that is cut off; but
                // then whole frames come after it.
                Err(TOO_SHORT) if self.ended && !frame_follows(&self.buffer) => {
                    return Ok(Found::Cut);
                }
                Err(code) => return Err(self.corrupt(zstd_safe::get_error_name(code))),
            }
        }
    }

    fn fill(&mut self) -> Result<(), HistoryError> {
        let before = self.buffer.len();
        let taken = (&mut self.file)
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut self.buffer)
            .map_err(|error| HistoryError::io(&self.path, error))?;
        debug_assert_eq!(before + taken, self.buffer.len());
        self.ended = taken == 0;
        Ok(())
    }

    fn unpack<T>(
        &mut self,
        length: usize,
        take: fn(&[u8]) -> Result<T, String>,
    ) -> Result<Found<T>, HistoryError> {
        let text = zstd::decode_all(&self.buffer[..length])
            .map_err(|error| self.corrupt(error.to_string()))?;
        let mut records = VecDeque::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record = take(line).map_err(|error| {
                self.corrupt(format!("line {} of the frame: {error}", records.len() + 1))
            })?;
            records.push_back(record);
        }
        self.buffer.drain(..length);
        self.offset += length as u64;
        Ok(Found::Frame(records))
    }

    fn corrupt(&self, what: impl Into<String>) -> HistoryError {
        HistoryError::Corrupt { path: self.path.clone(), offset: self.offset, what: what.into() }
    }
}

/// True when a whole, readable frame begins somewhere behind the first byte.
fn frame_follows(bytes: &[u8]) -> bool {
    (1..bytes.len()).filter(|at| bytes[*at..].starts_with(&MAGIC)).any(|at| {
        let rest = &bytes[at..];
        zstd_safe::find_frame_compressed_size(rest)
            .is_ok_and(|length| zstd::decode_all(&rest[..length]).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        base::time::Time,
        history::{
            record::Phase,
            writer::{Limits, Writer},
        },
    };

    fn record(number: u64) -> Record {
        Record::Skipped { at: Time(number), count: number, why: format!("reason {number}") }
    }

    /// Frames of `frames` records each, in one segment or more.
    fn write(dir: &Path, frames: &[u64], limits: Limits) -> u64 {
        let mut writer = Writer::with_limits(dir, limits).unwrap();
        let mut number = 0;
        for size in frames {
            for _ in 0..*size {
                writer.append(&record(number)).unwrap();
                number += 1;
            }
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
        number
    }

    fn read(dir: &Path) -> (Vec<Record>, bool) {
        let mut reader = Reader::open(dir).unwrap();
        let records = reader.by_ref().map(Result::unwrap).collect();
        (records, reader.complete())
    }

    #[test]
    fn what_was_written_is_read_over_all_segments() {
        let dir = tempfile::tempdir().unwrap();
        let total = write(dir.path(), &[5; 20], Limits { bytes: 1 << 20, records: 12 });
        assert!(dir.path().join("history/0009.jsonl.zst").exists());
        let (records, complete) = read(dir.path());
        assert_eq!(records, (0..total).map(record).collect::<Vec<_>>());
        assert!(complete);
        assert!(Writer::create(dir.path()).is_err(), "a history is never written over");
    }

    #[test]
    fn a_long_frame_closes_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path()).unwrap();
        for number in 0..20_000 {
            writer.append(&record(number)).unwrap();
        }
        // Dropped without flush or finish, as by a sudden death.
        drop(writer);
        let (records, complete) = read(dir.path());
        assert!(records.len() > 10_000 && records.len() < 20_000);
        assert!(!complete);
    }

    #[test]
    fn a_history_cut_at_any_byte_is_a_readable_prefix() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[3, 4, 5], Limits::default());
        let path = dir.path().join("history/0000.jsonl.zst");
        let whole = fs::read(&path).unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (records, complete) = read(dir.path());
            assert_eq!(records, (0..records.len() as u64).map(record).collect::<Vec<_>>());
            assert!(!complete, "cut at {cut}");
            lengths.insert(records.len());
        }
        // Frames are there as a whole or not at all.
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 3, 7]);
        fs::write(&path, &whole).unwrap();
        assert!(read(dir.path()).1);
        fs::remove_file(dir.path().join("history/manifest.json")).unwrap();
        assert_eq!(read(dir.path()).0.len(), 12);
    }

    #[test]
    fn damage_in_the_middle_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[30, 40, 50], Limits::default());
        let path = dir.path().join("history/0000.jsonl.zst");
        let whole = fs::read(&path).unwrap();
        let second = zstd_safe::find_frame_compressed_size(&whole).unwrap();
        let third = second + zstd_safe::find_frame_compressed_size(&whole[second..]).unwrap();
        for at in second..third {
            let mut bad = whole.clone();
            bad[at] ^= 0x55;
            fs::write(&path, &bad).unwrap();
            let results: Vec<_> = Reader::open(dir.path()).unwrap().collect();
            match results.iter().find_map(|r| r.as_ref().err()) {
                Some(error) => {
                    let text = error.to_string();
                    assert!(text.contains("0000.jsonl.zst is damaged at byte"), "{text}");
                }
                // A bit of the head that means nothing: then all records must be there.
                None => assert_eq!(results.len(), 120, "byte {at}"),
            }
        }
    }

    #[test]
    fn a_segment_cut_off_before_others_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[5; 4], Limits { bytes: 1 << 20, records: 5 });
        let path = dir.path().join("history/0001.jsonl.zst");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert!(Reader::open(dir.path()).unwrap().any(|r| r.is_err()));
        fs::write(&path, []).unwrap();
        assert!(Reader::open(dir.path()).unwrap().any(|r| r.is_err()));
        fs::remove_file(dir.path().join("history/0003.jsonl.zst")).unwrap();
        fs::write(&path, whole).unwrap();
        assert!(!read(dir.path()).1, "the last segment is gone");
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[2], Limits::default());
        let path = dir.path().join("history/0000.jsonl.zst");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(zstd::encode_all(&b"{\"type\":\"tram\"}\n"[..], 3).unwrap());
        fs::write(&path, bytes).unwrap();
        let error = Reader::open(dir.path()).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("line 1 of the frame"), "{error}");
        let phase = Record::Phase { phase: Phase::ReadBack, at: Time(3) };
        let text = serde_json::to_string(&phase).unwrap();
        assert_eq!(text, r#"{"type":"phase","phase":"read_back","at_ns":3}"#);
    }
}
