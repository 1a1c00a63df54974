//! The shape of a load: what happens in each bucket of a run, counted or expected.

use crate::{
    history::op::OpKind,
    report::rehearsal::{Line, OpLine, Part},
};

/// Kinds of ops.
pub const KINDS: usize = OpKind::ALL.len();

/// What happens in each bucket. All vectors are of one length.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The width of a bucket.
    pub width_s: f64,
    /// The whole run, from the beginning of the fill.
    pub length_s: f64,
    /// Where the parts of the run begin.
    pub parts: Vec<(&'static str, f64)>,
    /// Ops by kind.
    pub ops: Vec<[f64; KINDS]>,
    /// Attempts by kind: what bytes are reckoned by.
    pub attempts: Vec<[f64; KINDS]>,
    /// Wishes that come up.
    pub wishes: Vec<f64>,
    /// Drivers on shift, on average.
    pub drivers: Vec<f64>,
    /// Passengers signed on, on average.
    pub passengers: Vec<f64>,
    /// Wishes that are not over, on average.
    pub open: Vec<f64>,
    /// Drivers and passengers that take part in all.
    pub robots: [f64; 2],
}

impl Shape {
    /// Nothing happens, for so long.
    pub fn empty(width_s: f64, length_s: f64) -> Self {
        let count = ((length_s / width_s).ceil() as usize).max(1);
        Self {
            width_s,
            length_s,
            parts: Vec::new(),
            ops: vec![[0.0; KINDS]; count],
            attempts: vec![[0.0; KINDS]; count],
            wishes: vec![0.0; count],
            drivers: vec![0.0; count],
            passengers: vec![0.0; count],
            open: vec![0.0; count],
            robots: [0.0; 2],
        }
    }

    /// Buckets.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// How much of a bucket the run covers: the last one may be cut short.
    pub fn width_of(&self, bucket: usize) -> f64 {
        (self.length_s - bucket as f64 * self.width_s).clamp(1e-9, self.width_s)
    }

    /// Ops of a kind in the whole run.
    pub fn total(&self, kind: OpKind) -> f64 {
        self.ops.iter().map(|bucket| bucket[kind.index()]).sum()
    }

    /// Where the parts begin.
    pub fn parts(&self) -> Vec<Part> {
        let part = |(name, from_s): &(&str, f64)| Part { name: (*name).into(), from_s: *from_s };
        self.parts.iter().map(part).collect()
    }

    /// The figures over time; `weight` is `[request, answer]` bytes of an attempt by kind.
    pub fn lines(&self, weight: &[[f64; 2]; KINDS]) -> Vec<Line> {
        let ping = OpKind::DriverPing.index();
        let updates: Vec<f64> = self.ops.iter().map(|bucket| bucket[ping]).collect();
        let ops: Vec<f64> = self.ops.iter().map(|bucket| bucket.iter().sum()).collect();
        let bytes = |direction: usize| -> Vec<f64> {
            let of = |bucket: &[f64; KINDS]| {
                bucket.iter().zip(weight).map(|(count, bytes)| count * bytes[direction]).sum()
            };
            self.attempts.iter().map(of).collect()
        };
        let rate = |name: &str, label: &str, counts: &[f64], per_s: f64| {
            let rates = counts.iter().enumerate();
            let rates = rates.map(|(n, count)| count / self.width_of(n) * per_s).collect();
            Line::new(name, label, rates, Some(counts.iter().sum()))
        };
        let stock = |name: &str, label: &str, values: &[f64], total: Option<f64>| {
            Line::new(name, label, values.to_vec(), total)
        };
        let [drivers, passengers] = self.robots.map(Some);
        vec![
            rate("updates_per_s", "updates/s", &updates, 1.0),
            rate("requests_per_hour", "job requests/h", &self.wishes, 3_600.0),
            stock("drivers", "drivers", &self.drivers, drivers),
            stock("passengers", "passengers", &self.passengers, passengers),
            stock("open_jobs", "open jobs", &self.open, None),
            rate("ops_per_s", "ops/s", &ops, 1.0),
            rate("request_bytes_per_s", "requests, B/s", &bytes(0), 1.0),
            rate("answer_bytes_per_s", "answers, B/s", &bytes(1), 1.0),
        ]
    }

    /// Every kind of op that occurs.
    pub fn op_lines(&self, weight: &[[f64; 2]; KINDS]) -> Vec<OpLine> {
        let occurs = |kind: &&OpKind| self.total(**kind) >= 0.05;
        let line = |kind: &OpKind| {
            let index = kind.index();
            let buckets = self.ops.iter().enumerate();
            let per_s = buckets.map(|(n, bucket)| bucket[index] / self.width_of(n)).collect();
            let attempts: f64 = self.attempts.iter().map(|bucket| bucket[index]).sum();
            let bytes = weight[index].map(|bytes| bytes * attempts);
            OpLine::new(*kind, self.total(*kind), bytes, per_s)
        };
        OpKind::ALL.iter().filter(occurs).map(line).collect()
    }
}
