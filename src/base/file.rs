//! Files that people write: TOML to a typed value, with errors that name file, line and key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What is wrong with a file, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {}{what}", path.display(), line.map(|l| format!(":{l}")).unwrap_or_default(),
    key.as_ref().map(|k| format!("`{k}`: ")).unwrap_or_default())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The key, dotted, where it is known.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub what: String,
}

/// Reads and parses a TOML file.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = std::fs::read_to_string(path).map_err(|error| FileError {
        path: path.to_owned(),
        line: None,
        key: None,
        what: format!("cannot be read: {error}"),
    })?;
    parse(&text, path)
}

/// Parses TOML that came from `path`.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| FileError {
        path: path.to_owned(),
        line: error.span().map(|span| text[..span.start].lines().count().max(1)),
        key: None,
        what: error.message().to_owned(),
    })
}
