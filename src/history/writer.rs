//! Writes a history: JSON lines in complete zstd frames that end at a newline, in rotated segments.
//! It keeps no time of its own: whoever owns it calls [`Writer::flush`] about once a second.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use zstd::{bulk::Compressor, zstd_safe::CParameter};

use super::{
    manifest::{FOLDER, HistoryError, Manifest, Segment, segment_name},
    record::Record,
};

/// A frame is closed when it holds this much text.
const FRAME_BYTES: usize = 256 * 1024;
/// Level 3 takes about 2 ms a frame; higher ones gain a tenth of the size for twice the time.
const LEVEL: i32 = 3;

/// When a segment is full. At either limit the next frame begins another file.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Compressed bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, records: 1_000_000 }
    }
}

/// The one writer of a run's history.
pub struct Writer {
    folder: PathBuf,
    limits: Limits,
    compressor: Compressor<'static>,
    manifest: Manifest,
    file: File,
    path: PathBuf,
    frame: Vec<u8>,
    frame_records: u64,
    segment: Segment,
    records: u64,
}

impl Writer {
    /// Begins the history of the run in that folder; one that is there already is an error.
    pub fn create(run_dir: &Path) -> Result<Self, HistoryError> {
        Self::with_limits(run_dir, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(run_dir: &Path, limits: Limits) -> Result<Self, HistoryError> {
        Self::in_folder(run_dir.join(FOLDER), limits)
    }

    /// The same in a folder of another name, for lines of another kind.
    pub(super) fn in_folder(folder: PathBuf, limits: Limits) -> Result<Self, HistoryError> {
        fs::create_dir_all(&folder).map_err(|error| HistoryError::io(&folder, error))?;
        let (segment, path, file) = begin(&folder, 0)?;
        let compressor = compressor().map_err(|error| HistoryError::io(&path, error))?;
        let writer = Self {
            folder,
            limits,
            compressor,
            manifest: Manifest::default(),
            file,
            path,
            frame: Vec::with_capacity(FRAME_BYTES + 4096),
            frame_records: 0,
            segment,
            records: 0,
        };
        writer.write_manifest()?;
        Ok(writer)
    }

    /// Adds a record. It is on its way to the disk after the next [`Self::flush`] at the latest.
    pub fn append(&mut self, record: &Record) -> Result<(), HistoryError> {
        self.append_line(record)
    }

    pub(super) fn append_line(&mut self, record: &impl Serialize) -> Result<(), HistoryError> {
        let before = self.frame.len();
        if let Err(error) = serde_json::to_writer(&mut self.frame, record) {
            self.frame.truncate(before);
            return Err(HistoryError::Unwritable(error));
        }
        self.frame.push(b'\n');
        self.frame_records += 1;
        self.records += 1;
        if self.frame.len() >= FRAME_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Closes the open frame and hands it to the system: it survives our own death from here on.
    pub fn flush(&mut self) -> Result<(), HistoryError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let full = self.segment.bytes >= self.limits.bytes
            || self.segment.records + self.frame_records > self.limits.records;
        if full && self.segment.records > 0 {
            self.rotate()?;
        }
        let packed = self
            .compressor
            .compress(&self.frame)
            .map_err(|error| HistoryError::io(&self.path, error))?;
        self.file.write_all(&packed).map_err(|error| HistoryError::io(&self.path, error))?;
        self.segment.bytes += packed.len() as u64;
        self.segment.records += self.frame_records;
        self.frame.clear();
        self.frame_records = 0;
        Ok(())
    }

    /// Bytes on the disk so far.
    pub(super) fn bytes(&self) -> u64 {
        self.segment.bytes + self.manifest.segments.iter().map(|full| full.bytes).sum::<u64>()
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Closes the history for good and says in the manifest that it is whole.
    pub fn finish(mut self) -> Result<(), HistoryError> {
        self.flush()?;
        self.close_segment()?;
        self.manifest.complete = true;
        self.manifest.write(&self.folder)
    }

    fn rotate(&mut self) -> Result<(), HistoryError> {
        self.close_segment()?;
        let next = begin(&self.folder, self.manifest.segments.len())?;
        (self.segment, self.path, self.file) = next;
        self.write_manifest()
    }

    fn close_segment(&mut self) -> Result<(), HistoryError> {
        self.file.sync_all().map_err(|error| HistoryError::io(&self.path, error))?;
        self.segment.complete = true;
        self.manifest.segments.push(self.segment.clone());
        Ok(())
    }

    /// The manifest with the open segment at its end.
    fn write_manifest(&self) -> Result<(), HistoryError> {
        let mut manifest = self.manifest.clone();
        manifest.segments.push(self.segment.clone());
        manifest.write(&self.folder)
    }
}

fn compressor() -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL)?;
    // A frame that was damaged on disk must not be read as if it were whole.
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

fn begin(folder: &Path, number: usize) -> Result<(Segment, PathBuf, File), HistoryError> {
    let name = segment_name(number);
    let path = folder.join(&name);
    let file = File::create_new(&path).map_err(|error| HistoryError::io(&path, error))?;
    Ok((Segment { file: name, records: 0, bytes: 0, complete: false }, path, file))
}
