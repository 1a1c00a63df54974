//! The table of a history's segments, `history/manifest.json`. A help, not a need: a reader finds
//! every record without it, but only it can say that a history is whole.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::record::SCHEMA;

/// The folder of a run's history, below the run's own.
pub const FOLDER: &str = "history";
const FILE: &str = "manifest.json";

/// What is wrong with a history on disk, and where.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not those that were written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the damaged frame begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A line of a history in one file is no record.
    #[error("{}:{line}: {what}. `robot-city schema history` tells what a line must be", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Unwritable(serde_json::Error),
}

impl HistoryError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The table of segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the records' format.
    pub schema: u32,
    /// True once the last record was written.
    pub complete: bool,
    /// In order.
    pub segments: Vec<Segment>,
}

/// One file of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name in the folder.
    pub file: String,
    /// Records in it, as far as was known when the manifest was written.
    pub records: u64,
    /// Its length, as far as was known when the manifest was written.
    pub bytes: u64,
    /// True once nothing more is added to it.
    pub complete: bool,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { schema: SCHEMA, complete: false, segments: Vec::new() }
    }
}

impl Manifest {
    /// Reads it; none when it is missing or was never finished.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Puts it in place in one step: a reader meets the old one or the new one, never a part.
    pub fn write(&self, folder: &Path) -> Result<(), HistoryError> {
        let (draft, path) = (folder.join("manifest.json.new"), folder.join(FILE));
        let text = serde_json::to_vec_pretty(self).map_err(HistoryError::Unwritable)?;
        let put = || -> std::io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        put().map_err(|error| HistoryError::io(&path, error))
    }
}

/// The name of segment `number`.
pub fn segment_name(number: usize) -> String {
    format!("{number:04}.jsonl.zst")
}
