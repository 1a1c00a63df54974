//! A history in one file, from whoever wrote it: JSON lines, plain or compressed with zstd. What the
//! lines must be is in `docs/history.md`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::{manifest::HistoryError, record::Record};

/// No record is longer; what is, is no history.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The records of one file, in order.
pub struct Lines {
    path: PathBuf,
    text: Box<dyn BufRead>,
    line: u64,
    over: bool,
    cut: bool,
}

impl Lines {
    /// Opens it; one whose name ends in `.zst` is unpacked.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let failed = |error| HistoryError::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let packed = path.extension().is_some_and(|end| end == "zst");
        let text: Box<dyn BufRead> = if packed {
            Box::new(BufReader::new(zstd::Decoder::new(file).map_err(failed)?))
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Self { path: path.to_owned(), text, line: 0, over: false, cut: false })
    }

    /// After the last record: false when the last line is but a part of one.
    pub fn complete(&self) -> bool {
        self.over && !self.cut
    }

    fn read(&mut self) -> Result<Option<Record>, HistoryError> {
        loop {
            let mut line = Vec::new();
            let mut limited = std::io::Read::take(&mut self.text, LINE_BYTES_MAX as u64);
            let read = limited.read_until(b'\n', &mut line);
            read.map_err(|error| HistoryError::io(&self.path, error))?;
            if line.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match Record::from_line(&line) {
                Ok(record) => return Ok(Some(record)),
                Err(_) if line.last() != Some(&b'\n') && line.len() < LINE_BYTES_MAX => {
                    self.cut = true;
                    return Ok(None);
                }
                Err(why) => {
                    let (path, line, what) = (self.path.clone(), self.line, why.to_string());
                    return Err(HistoryError::Line { path, line, what });
                }
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Record, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.read().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASE: &str = r#"{"type":"phase","phase":"load","at_ns":3}"#;

    fn read(name: &str, bytes: &[u8]) -> (Vec<Result<Record, HistoryError>>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let records = lines.by_ref().collect();
        (records, lines.complete())
    }

    #[test]
    fn lines_are_read_plain_and_packed_and_a_last_part_is_a_cut() {
        let text = format!("{PHASE}\n\n{PHASE}\n");
        for (name, bytes) in [
            ("h.jsonl", text.clone().into_bytes()),
            ("h.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
        ] {
            let (records, complete) = read(name, &bytes);
            assert_eq!((records.len(), complete), (2, true), "{name}");
        }
        let (records, complete) = read("h.jsonl", &text.as_bytes()[..text.len() - 3]);
        assert_eq!((records.len(), complete), (1, false));
        assert!(records[0].is_ok());
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let text = format!("{PHASE}\n{{\"type\":\"tram\"}}\n{PHASE}\n");
        let (mut records, _) = read("h.jsonl", text.as_bytes());
        let error = records.remove(1).unwrap_err().to_string();
        assert!(error.contains("h.jsonl:2: ") && error.contains("tram"), "{error}");
        assert_eq!(records.len(), 1, "nothing is read after it");
    }
}
