//! What a fault may wait for: something that the robots have seen so often.

use std::{fmt, rc::Rc};

use serde::{Deserialize, Serialize};
use toml::{Spanned, de::DeValue};

use super::keys::Keys;
use crate::base::file::FileError;

/// Something that is counted while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gauge {
    /// Wishes that are not over, now.
    JobsOpen,
    /// Drivers that have a job, now.
    DriversBusy,
    /// Offers that were accepted, so far.
    Accepts,
    /// Jobs that were completed, so far.
    JobsCompleted,
}

/// Each with its word in plans, and what it counts.
pub const GAUGES: &[(&str, Gauge, &str)] = &[
    ("jobs-open", Gauge::JobsOpen, "jobs that passengers want, have or pay at this moment"),
    ("drivers-busy", Gauge::DriversBusy, "drivers that have a job at this moment"),
    ("accepts", Gauge::Accepts, "offers that drivers accepted since time zero"),
    ("jobs-completed", Gauge::JobsCompleted, "jobs that were completed since time zero"),
];

/// Counts what an event waits for.
pub type Gauges = Rc<dyn Fn(Gauge) -> u64>;

/// So much of something: "when 100 jobs are open".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What is counted.
    pub gauge: Gauge,
    /// It has happened once there are so many, at least.
    pub count: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = GAUGES.iter().find(|(_, gauge, _)| *gauge == self.gauge).map(|(word, ..)| word);
        write!(f, "{{ {} = {} }}", word.unwrap_or(&""), self.count)
    }
}

impl Event {
    /// Reads `{ jobs-open = 100 }`.
    pub(super) fn read<'t>(
        keys: &Keys<'t>,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Self, FileError> {
        let mut inner = keys.table("after", value)?;
        let mut found = None;
        for (word, gauge, _) in GAUGES {
            if let Some(count) = inner.number(word)? {
                let number = *count.get_ref();
                if number.fract() != 0.0 || !(1.0..=1e9).contains(&number) {
                    let what = "must be a whole number from 1 to 1000000000";
                    return Err(inner.wrong(&count.span(), word, what));
                }
                if found.is_some() {
                    let what = "is one too many: a fault waits for one thing";
                    return Err(inner.wrong(&count.span(), word, what));
                }
                found = Some(Self { gauge: *gauge, count: number as u64 });
            }
        }
        let lacks = inner.lacks(
            "jobs-open",
            "say what it waits for: after = { jobs-open = 100 }, { drivers-busy = 50 }, \
             { accepts = 1 } or { jobs-completed = 20 }",
        );
        inner.finish()?;
        found.ok_or(lacks)
    }
}
