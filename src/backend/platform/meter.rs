//! What a node counts of its calls and of what it serves: a few additions a call, bounded, taken away
//! by whoever reports. Decides nothing and sends nothing.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{
    directory::service_of,
    quick::QuickMap,
    rpc::{Code, RpcError},
};
use crate::{backend::wire::platform as wire, base::time::Time};

/// Pairs of services that are told apart; what comes after them is counted as one.
pub const PAIRS_MAX: usize = 256;
/// In place of the names of what is beyond [`PAIRS_MAX`].
const OTHERS: &str = "others";
/// Buckets of times: four to an octave, up to some two minutes.
const BUCKETS: usize = 104;
/// Of handlers that never wait one in so many is timed: two looks at a clock are much beside a
/// location update.
const TIMED_EVERY: u64 = 64;

/// Times in microseconds by bucket, a quarter of an octave wide: known to within a fifth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times(Box<[u32; BUCKETS]>);

impl Default for Times {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Times {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = if us < 4 {
            us as usize
        } else {
            let octave = us.ilog2();
            (octave as usize - 1) * 4 + (us >> (octave - 2) & 3) as usize
        };
        let count = &mut self.0[at.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &[u32]) {
        for (own, other) in self.0.iter_mut().zip(other) {
            *own = own.saturating_add(*other);
        }
    }

    /// The time below which that share of them lies; zero where there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Duration::from_micros(end_of(at));
            }
        }
        Duration::ZERO
    }

    /// The counts, without the empty ones at the end.
    pub fn to_wire(&self) -> Vec<u32> {
        let used = self.0.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        self.0[..used].to_vec()
    }
}

/// The longest time that goes into a bucket, in microseconds.
fn end_of(at: usize) -> u64 {
    if at < 4 {
        return at as u64;
    }
    let (octave, part) = (at / 4 + 1, (at % 4) as u64);
    ((5 + part) << (octave - 2)) - 1
}

/// Calls from one service to another, or asks at one path.
#[derive(Debug, Clone, Default)]
struct Tally {
    calls: u64,
    errors: u64,
    news: u64,
    times: Times,
}

impl Tally {
    /// What was counted since the last time it was taken, put on top of `total`.
    fn take(&mut self, total: &mut Self, from: &str, to: &str) -> wire::Traffic {
        let recent = std::mem::take(self);
        total.calls += recent.calls;
        total.errors += recent.errors;
        total.news += recent.news;
        total.times.merge(recent.times.0.as_slice());
        wire::Traffic {
            from: from.to_owned(),
            to: to.to_owned(),
            calls: total.calls,
            errors: total.errors,
            news: total.news,
            times: total.times.to_wire(),
            recent_calls: recent.calls,
            recent_errors: recent.errors,
            recent_times: recent.times.to_wire(),
        }
    }
}

/// True for what is no ordinary refusal: nobody there, no answer, a handler that failed.
fn is_error(error: &RpcError) -> bool {
    match error {
        RpcError::Refused { code, .. } => *code == Code::Internal,
        RpcError::Unavailable(_) | RpcError::Unknown(_) => true,
    }
}

/// The calls of one node, by who makes them; a cheap handle.
#[derive(Clone, Default)]
pub struct Meter(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// The service whose handler runs right now.
    speaker: Cell<Option<&'static str>>,
    pairs: RefCell<Pairs>,
}

#[derive(Default)]
struct Pairs {
    // Looked up on every call, never walked.
    places: QuickMap<(&'static str, &'static str), usize>,
    rows: Vec<Pair>,
}

struct Pair {
    from: &'static str,
    to: &'static str,
    recent: Tally,
    total: Tally,
}

/// A call that has begun. Dropped before its end it was given up by who made it, which counts as an
/// error of unknown length.
pub struct Begun {
    meter: Meter,
    place: usize,
    at: Time,
    ended: bool,
}

impl Begun {
    /// It ended.
    pub fn end<T>(mut self, outcome: &Result<T, RpcError>, now: Time) {
        self.ended = true;
        let mut pairs = self.meter.0.pairs.borrow_mut();
        let tally = &mut pairs.rows[self.place].recent;
        tally.calls += 1;
        tally.errors += u64::from(outcome.as_ref().is_err_and(is_error));
        tally.times.add(now.since(self.at));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.ended {
            let tally = &mut self.meter.0.pairs.borrow_mut().rows[self.place].recent;
            tally.calls += 1;
            tally.errors += 1;
        }
    }
}

impl Meter {
    /// Runs a part of a handler of `service`: what it calls is called by that service.
    pub fn speaking<T>(&self, service: &'static str, work: impl FnOnce() -> T) -> T {
        let before = self.0.speaker.replace(Some(service));
        let done = work();
        self.0.speaker.set(before);
        done
    }

    /// A call to `path` begins.
    pub fn begin(&self, path: &'static str, at: Time) -> Begun {
        Begun { meter: self.clone(), place: self.place(path), at, ended: false }
    }

    /// News went to one instance.
    pub fn told(&self, path: &'static str) {
        let place = self.place(path);
        self.0.pairs.borrow_mut().rows[place].recent.news += 1;
    }

    fn place(&self, path: &'static str) -> usize {
        let from = self.0.speaker.get().unwrap_or_default();
        let mut pairs = self.0.pairs.borrow_mut();
        // By path, so that the service need not be cut out of it each time.
        if let Some(place) = pairs.places.get(&(from, path)) {
            return *place;
        }
        let full = pairs.rows.len() >= PAIRS_MAX;
        let (from, to) = if full { (OTHERS, OTHERS) } else { (from, service_of(path)) };
        let known = pairs.rows.iter().position(|pair| (pair.from, pair.to) == (from, to));
        let place = known.unwrap_or(pairs.rows.len());
        if known.is_none() {
            let (recent, total) = Default::default();
            pairs.rows.push(Pair { from, to, recent, total });
        }
        if !full {
            pairs.places.insert((from, path), place);
        }
        place
    }

    /// Every pair so far, by name; `own` is who calls where no handler does.
    pub fn take(&self, own: &str) -> Vec<wire::Traffic> {
        let mut pairs = self.0.pairs.borrow_mut();
        let mut all: Vec<_> = pairs
            .rows
            .iter_mut()
            .map(|Pair { from, to, recent, total }| {
                recent.take(total, if from.is_empty() { own } else { from }, to)
            })
            .collect();
        all.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
        all
    }
}

/// What one path was asked.
pub struct Served {
    path: &'static str,
    platforms: bool,
    asks: Cell<u64>,
    errors: Cell<u64>,
    times: RefCell<Times>,
    total: RefCell<Tally>,
}

impl Served {
    /// Nothing yet.
    pub fn new(path: &'static str) -> Rc<Self> {
        let (asks, errors, times, total) = Default::default();
        let platforms = path.starts_with("/platform/");
        Rc::new(Self { path, platforms, asks, errors, times, total })
    }

    /// The path.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// True for one of the platform's own.
    pub fn is_the_platforms(&self) -> bool {
        self.platforms
    }

    /// One more ask; true when it is to be timed though its handler never waits.
    pub fn ask(&self) -> bool {
        let asks = self.asks.get();
        self.asks.set(asks + 1);
        asks.is_multiple_of(TIMED_EVERY)
    }

    /// How one of them ended.
    pub fn ended<T>(&self, outcome: &Result<T, RpcError>) {
        if outcome.as_ref().is_err_and(is_error) {
            self.errors.set(self.errors.get() + 1);
        }
    }

    /// One of them failed.
    pub fn failed(&self) {
        self.errors.set(self.errors.get() + 1);
    }

    /// One of them took so long.
    pub fn took(&self, span: Duration) {
        self.times.borrow_mut().add(span);
    }

    /// What was counted so far.
    pub fn take(&self) -> wire::Traffic {
        let mut recent = Tally {
            calls: self.asks.take(),
            errors: self.errors.take(),
            news: 0,
            times: self.times.take(),
        };
        recent.take(&mut self.total.borrow_mut(), "", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_known_to_within_a_fifth() {
        for us in [0_u64, 1, 3, 4, 5, 7, 8, 100, 1_000, 33_333, 900_000, 60_000_000] {
            let mut times = Times::default();
            times.add(Duration::from_micros(us));
            let told = times.quantile(0.99).as_micros() as u64;
            assert!(told >= us && told <= us + us / 4, "{us} us: {told}");
        }
        assert_eq!(Times::default().quantile(0.5), Duration::ZERO);
        let mut times = Times::default();
        times.add(Duration::MAX);
        assert_eq!(times.to_wire().len(), BUCKETS);
        let mut twice = times.clone();
        twice.merge(&times.to_wire());
        assert_eq!(twice.0.iter().sum::<u32>(), 2);
    }

    #[test]
    fn calls_are_counted_by_who_makes_them_and_pairs_are_bounded() {
        let meter = Meter::default();
        let call = |path, outcome: Result<(), RpcError>| {
            meter.begin(path, Time::ZERO).end(&outcome, Time(5_000_000));
        };
        call("/core/job/get", Ok(()));
        meter.speaking("orchestration/near", || {
            call("/core/job/get", Err(RpcError::Unknown(String::new())));
            call("/core/job/set", Err(super::super::rpc::refuse(Code::Conflict, "late")));
            meter.told("/core/raziel/mark");
        });
        let seen: Vec<_> =
            meter.take("api").into_iter().map(|t| (t.from, t.to, t.calls, t.errors)).collect();
        let near = || "orchestration/near".to_owned();
        let wanted = [
            ("api".to_owned(), "core/job".to_owned(), 1, 0),
            (near(), "core/job".to_owned(), 2, 1),
            (near(), "core/raziel".to_owned(), 0, 0),
        ];
        assert_eq!(seen, wanted);
        drop(meter.begin("/core/job/get", Time::ZERO));
        assert_eq!(meter.take("api")[0].errors, 1, "its caller gave it up");
        let again = meter.take("api");
        assert_eq!((again[1].calls, again[1].recent_calls, again[2].news), (2, 0, 1));
        for n in 0..2 * PAIRS_MAX {
            let path: &'static str = format!("/core/s{n}/x").leak();
            call(path, Ok(()));
        }
        assert!(meter.take("api").len() <= PAIRS_MAX + 1);
    }
}
