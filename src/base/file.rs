//! Files that people write: TOML to a typed value, with errors that name file, line, key and what
//! to do. Knows nothing of what the files mean: validators raise their own errors through
//! [`Source::error`].

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::suggest;

/// What is wrong with a file, where, and what to do.
#[derive(Debug, thiserror::Error)]
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

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": `{key}`")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl FileError {
    /// Something wrong with the file as a whole.
    pub fn whole(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, key: None, what: what.into() }
    }

    /// Something wrong with the value of a dotted key (`load.drivers`, `zones[3].name`) of a TOML
    /// text; the line is looked up.
    pub fn at(path: &Path, text: &str, key: &str, what: impl Into<String>) -> Self {
        Source::new(path, text).error(key, what)
    }
}

/// Reads and parses a TOML file.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    Source::read(path)?.parse()
}

/// Parses TOML that came from `path`.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    Source::new(path, text).parse()
}

/// A TOML text, where it came from, and what was set over it (`--set load.drivers=100`).
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What is set over it, `key=value`, later ones over earlier ones.
    pub sets: Vec<String>,
}

impl Source {
    /// A text that came from `path`.
    pub fn new(path: &Path, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), sets: Vec::new() }
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| FileError::whole(path, format!("cannot be read: {error}")))?;
        Ok(Self::new(path, &text))
    }

    /// The same with `key=value` pairs set over the text. A value is written as in TOML; what is
    /// not TOML (`90s`, `chaos/none.toml`) is taken as text, and so is a date.
    #[must_use]
    pub fn with_sets(mut self, sets: &[String]) -> Self {
        self.sets.extend_from_slice(sets);
        self
    }

    /// The typed value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        let mut root = DeTable::parse(&self.text).map_err(|error| FileError {
            path: self.path.clone(),
            line: error.span().map(|span| self.line_of(span.start)),
            key: None,
            what: format!("this is not TOML: {}", error.message()),
        })?;
        let padded = self.padded_sets()?;
        for set in &padded {
            self.apply(root.get_mut(), set)?;
        }
        let located = root.clone();
        T::deserialize(toml::Deserializer::from(root))
            .map_err(|error| self.explain(located.get_ref(), &error))
    }

    /// An error about the value of a dotted key. It names the line, or the `--set` that gave the
    /// value.
    pub fn error(&self, key: &str, what: impl Into<String>) -> FileError {
        let mut what = what.into();
        let set = self.sets.iter().rev().find(|set| {
            let name = set.split_once('=').map_or(set.as_str(), |(name, _)| name).trim();
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        let line = if let Some(set) = set {
            what = format!("{what} (from --set {set})");
            None
        } else {
            DeTable::parse(&self.text)
                .ok()
                .and_then(|root| offset_of(root.get_ref(), key))
                .map(|offset| self.line_of(offset))
        };
        FileError { path: self.path.clone(), line, key: Some(key.to_owned()), what }
    }

    fn line_of(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        self.text.bytes().take(end).filter(|byte| *byte == b'\n').count() + 1
    }

    /// The sets, each value padded so that its offset lies beyond the text and beyond the sets
    /// before it: an offset in an error then tells which set was wrong.
    fn padded_sets(&self) -> Result<Vec<PaddedSet>, FileError> {
        let mut offset = self.text.len() + 1;
        let mut padded = Vec::with_capacity(self.sets.len());
        for set in &self.sets {
            let wrong = || {
                let what = format!("`--set {set}` is not key=value, as in load.drivers=100");
                FileError::whole(&self.path, what)
            };
            let (key, value) = set.split_once('=').ok_or_else(wrong)?;
            let keys: Vec<String> = key.split('.').map(|part| part.trim().to_owned()).collect();
            if keys.iter().any(String::is_empty) {
                return Err(wrong());
            }
            let span = offset..offset + set.len() + 2;
            offset = span.end;
            let value = value.trim().to_owned();
            let document = format!("{}v={value}", " ".repeat(span.start));
            padded.push(PaddedSet { keys, value, document, span });
        }
        Ok(padded)
    }

    fn apply<'i>(&self, root: &mut DeTable<'i>, set: &'i PaddedSet) -> Result<(), FileError> {
        let mut table = root;
        let Some((last, way)) = set.keys.split_last() else { return Ok(()) };
        for (depth, key) in way.iter().enumerate() {
            if !table.contains_key(key.as_str()) {
                let empty = Spanned::new(set.span.clone(), DeValue::Table(DeTable::new()));
                table.insert(set.key(key), empty);
            }
            let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut)
            else {
                let key = set.keys[..=depth].join(".");
                let what = format!("is not a table, so `{}` cannot be set", set.keys.join("."));
                return Err(self.error(&key, what));
            };
            table = inner;
        }
        // The old key keeps its place and span in the map, so it goes first.
        table.remove(last.as_str());
        table.insert(set.key(last), set.value());
        Ok(())
    }

    /// Serde's error in our words, with line and key.
    fn explain(&self, root: &DeTable<'_>, error: &toml::de::Error) -> FileError {
        let span = error.span().filter(|span| *span != (0..0));
        let offset = span.map(|span| span.start);
        let mut key = offset.and_then(|offset| key_at(root, offset));
        let message = error.message();
        if let Some(missing) = quoted_after(message, "missing field ") {
            key = Some(key.map_or_else(|| missing.to_owned(), |key| format!("{key}.{missing}")));
        }
        let mut what = reword(message, key.as_deref());
        let from = offset.filter(|offset| *offset > self.text.len()).and_then(|offset| {
            let mut end = self.text.len() + 1;
            self.sets.iter().find(|set| {
                end += set.len() + 2;
                offset < end
            })
        });
        if let Some(set) = from {
            what = format!("{what} (from --set {set})");
        }
        let line = offset.filter(|_| from.is_none()).map(|offset| self.line_of(offset));
        FileError { path: self.path.clone(), line, key, what }
    }
}

/// One `--set`, its value also as a document padded with blanks up to its place.
struct PaddedSet {
    keys: Vec<String>,
    value: String,
    document: String,
    span: Range<usize>,
}

impl PaddedSet {
    fn key<'i>(&self, key: &str) -> Spanned<DeString<'i>> {
        Spanned::new(self.span.clone(), Cow::Owned(key.to_owned()))
    }

    fn value(&self) -> Spanned<DeValue<'_>> {
        let table = DeTable::parse(&self.document).ok().map(Spanned::into_inner);
        let value = table.filter(|table| table.len() == 1).and_then(|mut t| t.remove("v"));
        value.filter(|value| !value.get_ref().is_datetime()).unwrap_or_else(|| {
            let text = DeValue::String(Cow::Borrowed(self.value.as_str()));
            Spanned::new(self.span.clone(), text)
        })
    }
}

/// The dotted key whose name or value stands at `offset`, the innermost one.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().to_string();
        if holds(&key.span(), offset) {
            return Some(name);
        }
        key_in(value, offset).map(|inner| format!("{name}{inner}"))
    })
}

/// What to add to a value's key to name what stands at `offset` in it.
fn key_in(value: &Spanned<DeValue<'_>>, offset: usize) -> Option<String> {
    let deeper = match value.get_ref() {
        DeValue::Table(table) => key_at(table, offset).map(|inner| format!(".{inner}")),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, element)| {
            key_in(element, offset).map(|inner| format!("[{index}]{inner}"))
        }),
        _ => None,
    };
    deeper.or_else(|| holds(&value.span(), offset).then(String::new))
}

fn holds(span: &Range<usize>, offset: usize) -> bool {
    span.contains(&offset) || span.start == offset
}

/// Where the deepest known part of a dotted key stands.
fn offset_of(root: &DeTable<'_>, key: &str) -> Option<usize> {
    let mut found = None;
    let mut table = Some(root);
    for part in key.split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        let Some((key, mut value)) = table.and_then(|table| table.get_key_value(name)) else {
            break;
        };
        found = Some(key.span().start);
        for index in indices.split('[').filter_map(|index| index.trim_end_matches(']').parse().ok())
        {
            let index: usize = index;
            let Some(element) = value.get_ref().get(index) else { break };
            value = element;
            found = Some(value.span().start);
        }
        table = value.get_ref().as_table();
    }
    found
}

/// Serde's message in our words.
fn reword(message: &str, key: Option<&str>) -> String {
    if quoted_after(message, "missing field ").is_some() {
        return "must be given".into();
    }
    if let Some(word) = quoted_after(message, "unknown field ") {
        return format!("unknown key{}", known_words(word, message));
    }
    if let Some(word) = quoted_after(message, "unknown variant ") {
        let is_key = key.is_some_and(|key| key.rsplit('.').next() == Some(word));
        let what = if is_key { "unknown key".into() } else { format!("`{word}` is not known") };
        return format!("{what}{}", known_words(word, message));
    }
    let kinds = [
        (", expected u8", ", expected a whole number from 0 to 255"),
        (", expected u16", ", expected a whole number from 0 to 65535"),
        (", expected u32", ", expected a whole number, zero or more"),
        (", expected u64", ", expected a whole number, zero or more"),
        (", expected usize", ", expected a whole number, zero or more"),
        (", expected i64", ", expected a whole number"),
        (", expected f64", ", expected a number"),
        (", expected a string", ", expected text in quotes"),
        (", expected a boolean", ", expected true or false"),
    ];
    let renamed = kinds.iter().find_map(|(theirs, ours)| {
        message.strip_suffix(theirs).map(|start| format!("{start}{ours}"))
    });
    renamed.unwrap_or_else(|| message.to_owned())
}

/// The end of an error about an unknown word, from the words that serde expected.
fn known_words(word: &str, message: &str) -> String {
    let expected = message.split_once(", expected ").map_or("", |(_, expected)| expected);
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    if known.is_empty() {
        return ": nothing is expected here".into();
    }
    format!(": {}", suggest::must_be_one_of(word, known))
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.strip_prefix('`')?.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        start: String,
        #[serde(default)]
        load: Load,
        #[serde(default)]
        zones: Vec<Zone>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Load {
        drivers: u32,
        rate: f64,
        kind: Option<Kind>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Constant,
        Poisson,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is tested")]
    struct Zone {
        name: String,
    }

    fn wrong(text: &str, sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let source = Source::new(Path::new("x.toml"), text).with_sets(&sets);
        source.parse::<Sample>().unwrap_err().to_string()
    }

    #[test]
    fn errors_name_line_and_key_and_suggest() {
        let cases = [
            (
                "name = 'n'\n[load]\ndrivres = 3\n",
                "x.toml:3: `load.drivres`: unknown key: did you mean `drivers`? \
                 must be one of drivers, rate, kind",
            ),
            ("[load]\ndrivers = 3\n", "x.toml: `name`: must be given"),
            (
                "name = 'n'\n[load]\n\ndrivers = -3\n",
                "x.toml:4: `load.drivers`: invalid value: integer `-3`, \
                 expected a whole number, zero or more",
            ),
            (
                "name = 'n'\nload = { kind = 'poison' }\n",
                "x.toml:2: `load.kind`: `poison` is not known: did you mean `poisson`? \
                 must be one of constant, poisson",
            ),
            (
                "name = 'n'\n[[zones]]\nname = 'a'\n[[zones]]\n",
                "x.toml:4: `zones[1].name`: must be given",
            ),
            (
                "name = 'n'\n[[zones]]\nname = 7\n",
                "x.toml:3: `zones[0].name`: invalid type: integer `7`, expected text in quotes",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(wrong(text, &[]), error, "{text}");
        }
        assert!(wrong("name = \n", &[]).starts_with("x.toml:1: this is not TOML: "));
    }

    #[test]
    fn sets_go_over_the_text_in_order() {
        let sets = [
            "load.drivers=7",
            "load.rate = 1.5",
            "load.kind=poisson",
            "name=a b",
            "name=c",
            "start=2026-06-19T21:30",
            "zones=[{name='z'}]",
        ]
        .map(str::to_owned);
        let source = Source::new(Path::new("x.toml"), "name = 'n'\n[load]\nrate = 9.0\n");
        let sample: Sample = source.with_sets(&sets).parse().unwrap();
        assert_eq!((sample.name.as_str(), sample.start.as_str()), ("c", "2026-06-19T21:30"));
        assert_eq!((sample.load.drivers, sample.load.rate), (7, 1.5));
        assert_eq!(sample.load.kind, Some(Kind::Poisson));
        assert_eq!(sample.zones.len(), 1);
    }

    #[test]
    fn a_wrong_set_is_named() {
        let good = "name = 'n'\n[load]\ndrivers = 3\n";
        assert_eq!(
            wrong(good, &["load.rate=2.0", "load.drivres=4"]),
            "x.toml: `load.drivres`: unknown key: did you mean `drivers`? must be one of drivers, \
             rate, kind (from --set load.drivres=4)"
        );
        assert_eq!(
            wrong(good, &["load.drivers=many"]),
            "x.toml: `load.drivers`: invalid type: string \"many\", \
             expected a whole number, zero or more (from --set load.drivers=many)"
        );
        assert_eq!(
            wrong(good, &["name.first=x"]),
            "x.toml: `name`: is not a table, so `name.first` cannot be set"
                .replace("x.toml:", "x.toml:1:")
        );
        assert!(wrong(good, &["drivers"]).contains("is not key=value"));
        assert!(wrong(good, &[".=3"]).contains("is not key=value"));
    }

    #[test]
    fn validators_name_lines_of_keys() {
        let text = "name = 'n'\n[load]\n\nrate = 0.0\n[[zones]]\nname='a'\n[[zones]]\nname='b'\n";
        let path = Path::new("x.toml");
        let line = |key| FileError::at(path, text, key, "no").line;
        assert_eq!(line("load.rate"), Some(4));
        assert_eq!(line("load.drivers"), Some(2), "a key that is left out: its table");
        assert_eq!(line("zones[1].name"), Some(8));
        assert_eq!(line("nothing"), None);
        let source = Source::new(path, text).with_sets(&["load.rate=0".into()]);
        assert_eq!(
            source.error("load.rate", "must be above zero").to_string(),
            "x.toml: `load.rate`: must be above zero (from --set load.rate=0)"
        );
    }
}
