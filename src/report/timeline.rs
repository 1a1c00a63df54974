//! Figures over time, in bounded memory: buckets of one second that are merged in pairs when there
//! are too many, histograms included (percentiles are never averaged).

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

use crate::{
    base::time::{Time, nanos},
    history::op::Outcome,
};

/// Buckets at most; at the limit the width doubles.
const BUCKETS_MAX: usize = 600;

/// What was seen in one stretch of time. Ops count where they were *planned*.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Ops that ended ok, fail, info.
    pub outcomes: [u64; 3],
    /// Response times of them, in microseconds.
    pub response_us: Histogram<u32>,
}

impl Bucket {
    fn new() -> Self {
        Self { outcomes: [0; 3], response_us: micros_histogram() }
    }

    /// Ops in all.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    fn merge(&mut self, other: &Self) {
        for (sum, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += more;
        }
        // Cannot fail: both histograms resize by themselves.
        let _ = self.response_us.add(&other.response_us);
    }
}

fn micros_histogram() -> Histogram<u32> {
    // Two digits are enough for a chart, and keep a bucket to a few KB. The bounds are constants
    // that the library accepts; were they refused, the default is the same for our purpose.
    #[expect(clippy::expect_used, reason = "constants within the library's documented bounds")]
    let mut histogram = Histogram::new_with_bounds(1, 2, 2).expect("constant bounds");
    histogram.auto(true);
    histogram
}

/// Buckets from the origin of the run on.
#[derive(Debug, Clone)]
pub struct Timeline {
    width: Duration,
    buckets: Vec<Bucket>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: Duration::from_secs(1), buckets: Vec::new() }
    }
}

impl Timeline {
    /// Counts one op.
    pub fn record(&mut self, planned: Time, outcome: Outcome, response: Duration) {
        let index = self.place(planned);
        let bucket = &mut self.buckets[index];
        bucket.outcomes[outcome as usize] += 1;
        record_us(&mut bucket.response_us, response);
    }

    /// Counts ops that ended ok, planned within `span` from `planned` on. Buckets are at least so
    /// wide from then on: nobody knows in which part of the span each was.
    pub fn add_ok(&mut self, planned: Time, span: Duration, response_us: &Histogram<u64>) {
        while self.width < span {
            self.halve();
        }
        let index = self.place(planned);
        let bucket = &mut self.buckets[index];
        bucket.outcomes[Outcome::Ok as usize] += response_us.len();
        for step in response_us.iter_recorded() {
            let count = u32::try_from(step.count_at_value()).unwrap_or(u32::MAX);
            // A histogram that resizes itself refuses nothing below its 64 bits.
            let _ = bucket.response_us.record_n(step.value_iterated_to(), count);
        }
    }

    fn place(&mut self, planned: Time) -> usize {
        loop {
            let index = (planned.0 / nanos(self.width).max(1)) as usize;
            if index < BUCKETS_MAX {
                while self.buckets.len() <= index {
                    self.buckets.push(Bucket::new());
                }
                return index;
            }
            self.halve();
        }
    }

    fn halve(&mut self) {
        let pairs = std::mem::take(&mut self.buckets);
        for pair in pairs.chunks(2) {
            let mut merged = pair[0].clone();
            if let Some(second) = pair.get(1) {
                merged.merge(second);
            }
            self.buckets.push(merged);
        }
        self.width *= 2;
    }

    /// The width of a bucket now.
    pub fn width(&self) -> Duration {
        self.width
    }

    /// The buckets in order, each with its start in seconds.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, &Bucket)> {
        let width = self.width.as_secs_f64();
        self.buckets.iter().enumerate().map(move |(n, bucket)| (n as f64 * width, bucket))
    }
}

/// Counts a span in a histogram of microseconds that grows by itself.
pub fn record_us<C: Counter>(times: &mut Histogram<C>, span: Duration) {
    // A histogram that resizes itself refuses nothing below its 64 bits.
    let _ = times.record(micros(span));
}

/// Whole microseconds of a span, at least 1 (a histogram holds no zero).
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_few_buckets_and_every_op() {
        let mut line = Timeline::default();
        for second in 0..5_000_u64 {
            line.record(Time(second * 1_000_000_000), Outcome::Ok, Duration::from_millis(3));
        }
        assert!(line.buckets.len() <= BUCKETS_MAX);
        assert_eq!(line.buckets().map(|(_, b)| b.count()).sum::<u64>(), 5_000);
        let longest = line.buckets().map(|(_, b)| b.response_us.max()).max().unwrap();
        assert!((2_900..3_200).contains(&longest), "{longest}");
    }
}
