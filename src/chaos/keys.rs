//! Reads the keys of one table of a fault plan, one by one, so that every error names file, line
//! and key, and so that a key that nobody asked for is an error with a suggestion.

use std::{
    ops::{Range, RangeInclusive},
    path::Path,
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::base::{
    file::FileError,
    span::{NotASpan, Span},
    suggest::must_be_one_of,
};

/// Where in a file something stands: bytes.
pub(super) type At = Range<usize>;

/// The file that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'t> {
    pub path: &'t Path,
    /// The text; `None` where it was never written by a person, so that lines mean nothing.
    pub text: Option<&'t str>,
}

impl Source<'_> {
    pub fn line(&self, at: &At) -> Option<usize> {
        let before = self.text?.get(..at.start)?;
        Some(before.matches('\n').count() + 1)
    }

    pub fn error(&self, at: &At, key: &str, what: impl Into<String>) -> FileError {
        let key = (!key.is_empty()).then(|| key.to_owned());
        FileError { path: self.path.to_owned(), line: self.line(at), key, what: what.into() }
    }
}

/// The keys of one table that have not been read yet.
pub(super) struct Keys<'t> {
    pub source: Source<'t>,
    /// Where the table stands, for errors about what it lacks.
    pub at: At,
    within: String,
    rest: Vec<(Spanned<String>, Spanned<DeValue<'t>>)>,
    asked: Vec<&'static str>,
}

impl<'t> Keys<'t> {
    pub fn new(source: Source<'t>, within: &str, at: At, table: DeTable<'t>) -> Self {
        let own = |key: Spanned<std::borrow::Cow<'t, str>>| {
            Spanned::new(key.span(), key.into_inner().into_owned())
        };
        Self {
            source,
            at,
            within: within.to_owned(),
            rest: table.into_iter().map(|(key, value)| (own(key), value)).collect(),
            asked: Vec::new(),
        }
    }

    /// The dotted name of a key of this table.
    pub fn dotted(&self, key: &str) -> String {
        if self.within.is_empty() { key.to_owned() } else { format!("{}.{key}", self.within) }
    }

    /// The value of a key, once.
    pub fn value(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.asked.push(key);
        let place = self.rest.iter().position(|(known, _)| known.get_ref() == key)?;
        Some(self.rest.remove(place).1)
    }

    pub fn text(&mut self, key: &'static str) -> Result<Option<Spanned<String>>, FileError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        self.as_text(key, value).map(Some)
    }

    fn as_text(
        &self,
        key: &str,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Spanned<String>, FileError> {
        let at = value.span();
        match value.into_inner() {
            DeValue::String(text) => Ok(Spanned::new(at, text.into_owned())),
            other => Err(self.wrong_type(&at, key, "a text", &other)),
        }
    }

    /// A span of time, as people write it.
    pub fn span(&mut self, key: &'static str) -> Result<Option<Spanned<Span>>, FileError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span();
        let DeValue::String(text) = value.get_ref() else {
            let wanted = "a span of time in quotes, like \"30s\"";
            return Err(self.wrong_type(&at, key, wanted, value.get_ref()));
        };
        match text.parse() {
            Ok(span) => Ok(Some(Spanned::new(at, span))),
            Err(error) => {
                let error: NotASpan = error;
                Err(self.wrong(&at, key, error.to_string()))
            }
        }
    }

    /// A span of time that must be there; `hint` tells how to write it.
    pub fn needed_span(
        &mut self,
        key: &'static str,
        hint: &str,
    ) -> Result<Spanned<Span>, FileError> {
        self.span(key)?.ok_or_else(|| self.lacks(key, hint))
    }

    pub fn number(&mut self, key: &'static str) -> Result<Option<Spanned<f64>>, FileError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span();
        let read = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => {
                f64::deserialize(ValueDeserializer::from(value.clone())).ok()
            }
            _ => None,
        };
        match read {
            Some(number) => Ok(Some(Spanned::new(at, number))),
            None => Err(self.wrong_type(&at, key, "a number", value.get_ref())),
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, FileError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            other => Err(self.wrong_type(&value.span(), key, "true or false", other)),
        }
    }

    /// A whole number within a range that must be there; `hint` tells how to write it.
    pub fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        hint: &str,
    ) -> Result<u32, FileError> {
        let number = self.number(key)?.ok_or_else(|| self.lacks(key, hint))?;
        let (least, most) = (f64::from(*range.start()), f64::from(*range.end()));
        let value = *number.get_ref();
        if value.fract() == 0.0 && (least..=most).contains(&value) {
            return Ok(value as u32);
        }
        let what = format!("must be a whole number from {least} to {most}");
        Err(self.wrong(&number.span(), key, what))
    }

    /// The table of that key as keys of its own.
    pub fn table(&self, key: &str, value: Spanned<DeValue<'t>>) -> Result<Keys<'t>, FileError> {
        let at = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Keys::new(self.source, &self.dotted(key), at, table)),
            other => Err(self.wrong_type(&at, key, "a table in braces", &other)),
        }
    }

    /// The error for a value, at its place.
    pub fn wrong(&self, at: &At, key: &str, what: impl Into<String>) -> FileError {
        self.source.error(at, &self.dotted(key), what)
    }

    /// The error for a key that must be there.
    pub fn lacks(&self, key: &str, hint: &str) -> FileError {
        self.source.error(&self.at, &self.dotted(key), format!("is missing: {hint}"))
    }

    /// Every key was read; one that is left is an error.
    pub fn finish(self) -> Result<(), FileError> {
        let Some((key, _)) = self.rest.first() else { return Ok(()) };
        let what = must_be_one_of(key.get_ref(), self.asked.iter().copied());
        Err(self.source.error(
            &key.span(),
            &self.dotted(key.get_ref()),
            format!("is not known here: {what}"),
        ))
    }

    fn wrong_type(&self, at: &At, key: &str, wanted: &str, got: &DeValue<'_>) -> FileError {
        let what = format!("must be {wanted}, not {}", a_type(got));
        self.source.error(at, &self.dotted(key), what)
    }
}

fn a_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
