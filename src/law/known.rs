//! Known failures: breaches that somebody already follows up, so that a nightly run stays useful.
//! Reads the file that names them, and tells of a breach whether it is one of them. An entry that has
//! expired excuses nothing.

use std::{borrow::Cow, fmt, path::Path, rc::Rc};

use jiff::civil::Date;
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Violation, registry::LAWS};
use crate::base::{
    file::{FileError, Source},
    suggest::must_be_one_of,
};

/// Entries of one file.
pub const ENTRIES_MAX: usize = 1_000;
/// Violations of one entry that are kept with their evidence; all are counted.
pub const KNOWN_KEPT: usize = 3;

/// A file of known failures as a run keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFile {
    /// The file's name, for errors.
    pub file: String,
    /// The day, in UTC, on which the run was begun: what has expired by then counts as a failure,
    /// whenever the run is judged.
    pub on: Date,
    /// The text.
    pub text: String,
}

impl KnownFile {
    /// Reads and checks the file for a run that begins on that day.
    pub fn read(path: &Path, on: Date) -> Result<Self, FileError> {
        let text = Source::read(path)?.text;
        let file = Self { file: path.to_string_lossy().into_owned(), on, text };
        file.parse().map(|_| file)
    }

    /// What is in it.
    pub fn parse(&self) -> Result<Known, FileError> {
        let entries = entries(&Source::new(Path::new(&self.file), &self.text))?;
        Ok(Known { entries: entries.into(), on: self.on })
    }
}

/// One entry of the file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The law that it breaks.
    pub law: String,
    /// What its words look like, as written.
    pub pattern: String,
    /// Where it is followed up.
    pub issue: String,
    /// The last day on which it is known.
    pub expires: Date,
    fits: Fits,
}

/// How the words of a breach are compared; each run of white space is one blank by then.
#[derive(Debug, Clone)]
enum Fits {
    Part(String),
    Regex(Regex),
}

/// The known failures of a run.
#[derive(Debug, Clone)]
pub struct Known {
    entries: Rc<[Entry]>,
    on: Date,
}

impl Default for Known {
    /// None at all.
    fn default() -> Self {
        Self { entries: Rc::new([]), on: Date::MAX }
    }
}

impl Known {
    /// Every entry, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What catches the known breaches of that law.
    pub fn sieve(&self, law: &str) -> Sieve {
        let own = (0..self.entries.len()).filter(|n| self.entries[*n].law == law);
        Sieve { caught: own.map(Caught::none).collect(), known: self.clone() }
    }

    fn is_expired(&self, entry: usize) -> bool {
        self.entries[entry].expires < self.on
    }
}

/// The known breaches of one law: tells of each breach, and counts.
#[derive(Debug, Clone, Default)]
pub struct Sieve {
    known: Known,
    caught: Vec<Caught>,
}

#[derive(Debug, Clone)]
struct Caught {
    /// Which of the file's.
    entry: usize,
    matched: u64,
    total: u64,
    kept: Vec<Violation>,
}

impl Caught {
    fn none(entry: usize) -> Self {
        Self { entry, matched: 0, total: 0, kept: Vec::new() }
    }
}

impl Sieve {
    /// Counts a breach. Where an entry that has not expired fits its words, the breach is known: then
    /// it belongs to what is handed back, of which so many are kept.
    pub fn catch(&mut self, what: &str) -> Option<(&mut Vec<Violation>, usize)> {
        if self.caught.is_empty() {
            return None;
        }
        let words = one_line(what);
        let (mut live, mut expired) = (None, None);
        for (n, caught) in self.caught.iter_mut().enumerate() {
            if self.known.entries[caught.entry].fits(&words) {
                caught.matched += 1;
                let first =
                    if self.known.is_expired(caught.entry) { &mut expired } else { &mut live };
                first.get_or_insert(n);
            }
        }
        self.caught[live.or(expired)?].total += 1;
        live.map(|n| (&mut self.caught[n].kept, KNOWN_KEPT))
    }

    /// Each entry, and what it caught.
    pub fn told(&self) -> Vec<KnownFailure> {
        let tell = |caught: &Caught| {
            let entry = &self.known.entries[caught.entry];
            KnownFailure {
                pattern: entry.pattern.clone(),
                issue: entry.issue.clone(),
                expires: entry.expires,
                expired: self.known.is_expired(caught.entry),
                matched: caught.matched,
                total: caught.total,
                violations: caught.kept.clone(),
            }
        };
        self.caught.iter().map(tell).collect()
    }
}

/// An entry of the file, and what it caught in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFailure {
    /// What the words of its breaches look like, as written.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Where it is followed up.
    pub issue: String,
    /// The last day on which it is known, in UTC.
    pub expires: Date,
    /// It was over when the run began: its breaches count as failures.
    pub expired: bool,
    /// Breaches whose words it fits.
    pub matched: u64,
    /// Those that no entry before it took; one that has expired takes what no other fits.
    pub total: u64,
    /// The first of them, where it has not expired.
    pub violations: Vec<Violation>,
}

impl KnownFailure {
    /// `3 times: https://… (known until 2026-12-31)`.
    pub fn tell(&self) -> String {
        let Self { issue, expires, total, .. } = self;
        let known = if self.expired { "expired on" } else { "known until" };
        format!("{}: {issue} ({known} {expires})", times(*total))
    }

    /// Whether it is that entry, and a breach fitted it.
    pub fn shows(&self, entry: &Entry) -> bool {
        self.matched > 0 && (&self.pattern, &self.issue) == (&entry.pattern, &entry.issue)
    }

    /// Breaches that break no law because of it.
    pub fn excuses(&self) -> u64 {
        if self.expired { 0 } else { self.total }
    }
}

impl Entry {
    fn fits(&self, words: &str) -> bool {
        match &self.fits {
            Fits::Part(part) => words.contains(part.as_str()),
            Fits::Regex(regex) => regex.is_match(words),
        }
    }
}

/// The file as people write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    known: Vec<WrittenEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    law: String,
    #[serde(rename = "match")]
    pattern: String,
    issue: String,
    #[serde(deserialize_with = "day")]
    expires: Date,
}

fn entries(source: &Source) -> Result<Vec<Entry>, FileError> {
    let written: Written = source.parse()?;
    if written.known.len() > ENTRIES_MAX {
        let what = format!("holds more than {ENTRIES_MAX} entries: fix some, or skip the law");
        return Err(source.error(&format!("known[{ENTRIES_MAX}]"), what));
    }
    let checked = |(n, entry)| check(n, entry, source);
    written.known.into_iter().enumerate().map(checked).collect()
}

fn check(n: usize, entry: WrittenEntry, source: &Source) -> Result<Entry, FileError> {
    let wrong = |key: &str, what: String| source.error(&format!("known[{n}].{key}"), what);
    let WrittenEntry { law, pattern, issue, expires } = entry;
    let laws = LAWS.iter().map(|law| law.name);
    if laws.clone().all(|name| name != law) {
        return Err(wrong("law", format!("no law `{law}`: {}", must_be_one_of(&law, laws))));
    }
    if issue.trim().is_empty() {
        return Err(wrong("issue", "must say where it is followed up, as a link".into()));
    }
    let fits = Fits::parse(&pattern).map_err(|what| wrong("match", what))?;
    Ok(Entry { law, pattern, issue, expires, fits })
}

impl Fits {
    /// A part of the words, or between slashes a regular expression.
    fn parse(pattern: &str) -> Result<Self, String> {
        let inner = pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        if inner.unwrap_or(pattern).trim().is_empty() {
            return Err("would fit every breach of the law: write a part of the words that the \
                        report tells it in, or a regular expression as in /charge .* twice/"
                .into());
        }
        match inner {
            None => Ok(Self::Part(one_line(pattern).into_owned())),
            // Its own account of the place is of several lines: the last one says what is wrong.
            Some(regex) => Regex::new(regex).map(Self::Regex).map_err(|why| {
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("`{regex}` is no regular expression: {why}")
            }),
        }
    }
}

/// `once`, `3 times`.
pub fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// The text with each run of white space as one blank, so that a fragment from a report fits however
/// the report broke its lines.
fn one_line(text: &str) -> Cow<'_, str> {
    let blank = |c: char| c.is_whitespace();
    if !text.contains(|c: char| blank(c) && c != ' ') && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A day, in quotes or as TOML writes dates.
fn day<'de, D: Deserializer<'de>>(from: D) -> Result<Date, D::Error> {
    struct Day;
    impl<'de> de::Visitor<'de> for Day {
        type Value = Date;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a day like \"2026-12-31\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Date, E> {
            // Its parser would take the day out of a whole moment.
            let whole = text.len() == "2026-12-31".len();
            let date = whole.then(|| text.parse().ok()).flatten();
            date.ok_or_else(|| {
                E::custom(format!("`{text}` is no day: write it like \"2026-12-31\""))
            })
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Date, A::Error> {
            let written = de::value::MapAccessDeserializer::new(map);
            let date = toml::value::Datetime::deserialize(written)?;
            self.visit_str(&date.to_string())
        }
    }
    from.deserialize_any(Day)
}
