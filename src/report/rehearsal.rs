//! What a rehearsal says: the load that a scenario would send, over time. The value is the JSON
//! (schema-versioned; `docs/rehearse.md`); the text is a pure function of it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::chart;
use crate::history::op::OpKind;

/// The version of the format.
pub const SCHEMA: u32 = 1;
/// Buckets of a rehearsal at most.
pub const BUCKETS_MAX: usize = 1_440;

/// Columns of the chart in the text.
const CHART: usize = 60;
/// Columns to the left of it.
const LEFT: usize = 18;
/// Columns of the whole text.
const WIDTH: usize = 100;
/// Lines of text that one line of the chart takes.
const ROWS: usize = 2;

/// The load that a scenario would send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version.
    pub tool: String,
    /// The scenario's name.
    pub scenario: String,
    /// The seed, as given.
    pub seed: String,
    /// On what the figures rest.
    pub basis: Basis,
    /// The city's local time when the demand starts, `2026-06-19T21:30`.
    pub starts_at: String,
    /// City seconds in one second of the run.
    pub time_scale: f64,
    /// The whole run, in seconds from the beginning of the fill.
    pub length_s: f64,
    /// One bucket, in seconds. The last one of a run may be cut short.
    pub bucket_s: f64,
    /// The parts of the run, in order.
    pub parts: Vec<Part>,
    /// Figures over time.
    pub lines: Vec<Line>,
    /// Ops by kind, those that occur.
    pub ops: Vec<OpLine>,
    /// What a person should know before the run.
    pub warnings: Vec<String>,
}

/// On what the figures rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// How they were come by.
    pub way: Way,
    /// Seconds of the run, or of the sample, that were played in virtual time, demand only.
    pub demand_s: f64,
    /// Location updates in it.
    pub updates: u64,
    /// Requests in it, each followed to its end.
    pub requests: u64,
    /// All of it for people.
    pub told: String,
}

/// How figures were come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The whole run was played and counted.
    Played,
    /// A sample was played, and extended over the run.
    Sampled,
}

/// A part of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `fill`, `demand`, `settle` or `end`.
    pub name: String,
    /// When it begins.
    pub from_s: f64,
}

/// One figure over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What, in JSON.
    pub name: String,
    /// What, for people.
    pub label: String,
    /// Its numbers are bytes.
    pub bytes: bool,
    /// The largest bucket.
    pub peak: f64,
    /// Of the whole run, where a total means something.
    pub total: Option<f64>,
    /// Bucket by bucket.
    pub values: Vec<f64>,
}

/// Ops of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpLine {
    /// Which.
    pub op: OpKind,
    /// In the whole run.
    pub total: f64,
    /// The largest bucket, a second.
    pub peak_per_s: f64,
    /// Bytes of all requests.
    pub request_bytes: f64,
    /// Bytes of all answers.
    pub answer_bytes: f64,
    /// Ops a second, bucket by bucket.
    pub per_s: Vec<f64>,
}

impl Line {
    /// A line of `values`; the peak is theirs. Three digits are kept.
    pub fn new(name: &str, label: &str, values: Vec<f64>, total: Option<f64>) -> Self {
        let values: Vec<f64> = values.into_iter().map(thousandths).collect();
        Self {
            name: name.into(),
            label: label.into(),
            bytes: name.contains("bytes"),
            peak: peak(&values),
            total: total.map(thousandths),
            values,
        }
    }
}

impl OpLine {
    /// Ops of a kind, with `[request, answer]` bytes.
    pub fn new(op: OpKind, total: f64, bytes: [f64; 2], per_s: Vec<f64>) -> Self {
        let per_s: Vec<f64> = per_s.into_iter().map(thousandths).collect();
        let [request_bytes, answer_bytes] = bytes.map(f64::round);
        let (total, peak_per_s) = (thousandths(total), peak(&per_s));
        Self { op, total, peak_per_s, request_bytes, answer_bytes, per_s }
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn peak(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

impl Rehearsal {
    /// The line of that name.
    pub fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// The text: 100 columns.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        for line in &self.lines {
            draw(&mut text, line);
        }
        self.time_axis(&mut text);
        self.table(&mut text);
        for warning in &self.warnings {
            text.push('\n');
            text.push_str(&chart::wrapped(&format!("! {warning}"), "  ", WIDTH));
        }
        text.push('\n');
        text.push_str(&chart::wrapped(&self.basis.told, "  ", WIDTH));
        text
    }

    fn head(&self, text: &mut String) {
        let Self { scenario, seed, starts_at, time_scale, .. } = self;
        let scale = if (time_scale - 1.0).abs() < 1e-9 {
            String::new()
        } else {
            format!(", {} city seconds in one", chart::number(*time_scale))
        };
        put(text, format_args!("seed {seed}  rehearsal of {scenario}  no target is touched\n\n"));
        let ends = self.parts.iter().skip(1).map(|part| part.from_s).chain([self.length_s]);
        let parts: Vec<String> = self
            .parts
            .iter()
            .zip(ends)
            .map(|(part, end)| format!("{} {}", part.name, chart::seconds(end - part.from_s)))
            .collect();
        put(text, format_args!("  {}: ", chart::seconds(self.length_s)));
        put(text, format_args!("{}\n", parts.join(", ")));
        let column = chart::seconds(self.length_s / CHART as f64);
        put(
            text,
            format_args!(
                "  the demand starts at {starts_at} in the city{scale}; one column is {column}\n\n"
            ),
        );
    }

    /// Where the parts begin, and the time.
    fn time_axis(&self, text: &mut String) {
        let column = |at: f64| ((at / self.length_s * CHART as f64) as usize).min(CHART - 1);
        let mut parts = vec![' '; CHART];
        let ends = self.parts.iter().skip(1).map(|part| column(part.from_s)).chain([CHART]);
        for (part, end) in self.parts.iter().zip(ends) {
            let from = column(part.from_s);
            for (place, letter) in
                parts[from..].iter_mut().zip("│".chars().chain(part.name.chars()))
            {
                *place = letter;
            }
            // A name that does not fit goes; its mark stays.
            if from + part.name.chars().count() >= end {
                parts[from + 1..].fill(' ');
            }
        }
        let parts: String = parts.into_iter().collect();
        put(text, format_args!("{:LEFT$}{}\n", "", parts.trim_end()));
        let marks = [0.0, 0.25, 0.5, 0.75].map(|share| chart::seconds(self.length_s * share));
        let step = CHART / marks.len();
        let mut line = " ".repeat(LEFT);
        for mark in marks {
            put(&mut line, format_args!("{mark:<step$}"));
        }
        put(text, format_args!("{}\n", line.trim_end()));
    }

    fn table(&self, text: &mut String) {
        let row = |text: &mut String, name: &str, figures: [String; 5]| {
            let [total, share, peak, request, answer] = figures;
            put(
                text,
                format_args!(
                    "  {name:<26}{total:>14}{share:>9}{peak:>13}{request:>15}{answer:>15}\n"
                ),
            );
        };
        let all: f64 = self.ops.iter().map(|op| op.total).sum();
        text.push('\n');
        row(text, "op", ["total", "share", "peak/s", "requests", "answers"].map(String::from));
        let of = |total: f64, peak: f64, bytes: [f64; 2]| {
            let share = format!("{:.2} %", total / all.max(1e-9) * 100.0);
            let [request, answer] = bytes.map(chart::bytes);
            [chart::number(total), share, chart::number(peak), request, answer]
        };
        for op in &self.ops {
            let figures = of(op.total, op.peak_per_s, [op.request_bytes, op.answer_bytes]);
            row(text, op.op.word(), figures);
        }
        let sum = |of: fn(&OpLine) -> f64| self.ops.iter().map(of).sum::<f64>();
        let bytes = [sum(|op| op.request_bytes), sum(|op| op.answer_bytes)];
        let peak = self.line("ops_per_s").map_or(0.0, |line| line.peak);
        row(text, "all", of(all, peak, bytes));
    }
}

fn draw(text: &mut String, line: &Line) {
    let told = if line.bytes { chart::bytes } else { chart::number };
    let columns = chart::columns(&line.values, CHART);
    let rows = chart::bars(&columns, line.peak, ROWS);
    let total = line.total.map_or_else(String::new, |total| format!("total {:>14}", told(total)));
    let beside = [format!("peak  {:>14}", told(line.peak)), total];
    let labels = ["", line.label.as_str()];
    for ((row, label), beside) in rows.iter().zip(labels).zip(beside) {
        let row = format!("  {label:<width$}{row}  {beside}", width = LEFT - 2);
        put(text, format_args!("{}\n", row.trim_end()));
    }
}

/// Writing to a string cannot fail.
fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
