//! What the engine counts as it goes: for the progress line, and for adequacy.

use hdrhistogram::Histogram;

use super::recent::Recent;
use crate::{
    base::time::Time,
    history::op::{Op, OpKind, Outcome},
};

/// Longer than this counts as this, in microseconds: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// What became of ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Due so far, skipped ones included.
    pub planned: u64,
    /// Sent.
    pub sent: u64,
    /// Ended well.
    pub ok: u64,
    /// Certainly did not happen.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
    /// Due, and never sent, since too much was in flight.
    pub skipped: u64,
}

impl Counts {
    /// Those of both.
    pub fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
        self.skipped += other.skipped;
    }
}

/// A snapshot of the engine.
#[derive(Debug, Clone)]
pub struct Figures {
    /// When it was taken.
    pub at: Time,
    /// Drivers on their way in.
    pub drivers_arriving: u32,
    /// Drivers on shift.
    pub drivers_on_shift: u32,
    /// Drivers with a job.
    pub drivers_busy: u32,
    /// Passengers who are signed on, travelling or not.
    pub passengers: u32,
    /// Wishes that are not over: passengers who want, have or pay a job.
    pub open_jobs: u32,
    /// Wishes that came up.
    pub wishes: u64,
    /// Wishes that no passenger could be found for.
    pub wishes_lost: u64,
    /// Location updates.
    pub pings: Counts,
    /// Everything else.
    pub others: Counts,
    /// By kind, in the order of [`OpKind::ALL`].
    pub by_kind: Vec<Counts>,
    /// Ops in flight.
    pub in_flight: u32,
    /// Attempts after the first.
    pub retries: u64,
    /// Sent − planned of all ops so far, in microseconds.
    pub lag_us: Histogram<u64>,
    /// Done − planned of the ops that ended in the last full second, in microseconds.
    pub response_us: Histogram<u64>,
}

/// The books.
pub(super) struct Tally {
    by_kind: Vec<Counts>,
    pub wishes: u64,
    pub wishes_lost: u64,
    retries: u64,
    lag_us: Histogram<u64>,
    /// What was sent of late.
    pub recent: Recent,
    second: u64,
    this_second: Histogram<u64>,
    last_second: Histogram<u64>,
}

/// A histogram of microseconds of so many digits.
fn microseconds(digits: u8) -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "1 to ten minutes at 2 or 3 digits is always valid")]
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("valid bounds")
}

fn span_us(later: Time, earlier: Time) -> u64 {
    later.since(earlier).as_micros().min(u128::from(LONGEST_US)) as u64
}

impl Tally {
    /// Empty books.
    pub fn new() -> Self {
        Self {
            by_kind: vec![Counts::default(); OpKind::ALL.len()],
            wishes: 0,
            wishes_lost: 0,
            retries: 0,
            lag_us: microseconds(3),
            recent: Recent::default(),
            second: 0,
            this_second: microseconds(2),
            last_second: microseconds(2),
        }
    }

    /// An op is due.
    pub fn planned(&mut self, op: OpKind) {
        self.by_kind[op.index()].planned += 1;
    }

    /// An op is never sent.
    pub fn skipped(&mut self, op: OpKind) {
        self.by_kind[op.index()].skipped += 1;
    }

    /// The first attempt of an op goes out.
    pub fn sent(&mut self, op: OpKind, planned: Time, sent: Time) {
        self.by_kind[op.index()].sent += 1;
        self.recent.count(op, sent);
        self.lag_us.saturating_record(span_us(sent, planned));
    }

    /// An op ended.
    pub fn ended(&mut self, op: &Op) {
        let counts = &mut self.by_kind[op.kind().index()];
        match op.outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Fail => counts.fail += 1,
            Outcome::Info => counts.info += 1,
        }
        self.retries += op.attempts.len().saturating_sub(1) as u64;
        self.turn_to(op.done);
        self.this_second.saturating_record(span_us(op.done, op.planned));
    }

    fn turn_to(&mut self, now: Time) {
        let second = now.0 / 1_000_000_000;
        if second > self.second {
            std::mem::swap(&mut self.this_second, &mut self.last_second);
            self.this_second.reset();
            if second > self.second + 1 {
                self.last_second.reset();
            }
            self.second = second;
        }
    }

    /// The part of a snapshot that the books know; the rest is left at zero.
    pub fn snapshot(&mut self, now: Time) -> Figures {
        self.turn_to(now);
        let ping = OpKind::DriverPing.index();
        let mut others = Counts::default();
        for (kind, counts) in self.by_kind.iter().enumerate() {
            if kind != ping {
                others.add(counts);
            }
        }
        Figures {
            at: now,
            drivers_arriving: 0,
            drivers_on_shift: 0,
            drivers_busy: 0,
            passengers: 0,
            open_jobs: 0,
            wishes: self.wishes,
            wishes_lost: self.wishes_lost,
            pings: self.by_kind[ping],
            others,
            by_kind: self.by_kind.clone(),
            in_flight: 0,
            retries: self.retries,
            lag_us: self.lag_us.clone(),
            response_us: self.last_second.clone(),
        }
    }
}
