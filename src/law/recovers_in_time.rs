//! recovers-in-time: once everything that was broken is put back, the service is as it was, within the
//! bound. Measured on location updates: there are many, and all are alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Judgement, Law, LawEntry, Seen, tally::Tally};
use crate::{
    base::time::{Time, nanos},
    history::{
        declares::Declares,
        op::{Op, OpKind, Outcome},
        record::{FaultChange, FaultEvent},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "recovers-in-time",
    means: "after the last verified heal no three windows of 5 s in a row within `settle_bound` have as \
            many good updates as before the first fault (0.1 points and three standard deviations aside) \
            and a p99 of at most twice that of before, or 1 s",
    needs: &[&[OpKind::DriverPing]],
    cannot: |_| None,
    watches: &[OpKind::DriverPing],
    blind_spot: "fewer than 1,000 updates before the fault or in the three windows; faults that follow \
                 one another within the bound; histories whose location updates are counted",
    rare: true,
    start: |declares, tally| Box::new(RecoversInTime::new(declares, tally)),
};

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(5);
/// Windows that are remembered.
const WINDOWS_MAX: usize = 24;
/// Windows before the first fault that tell how it was.
const BEFORE: u64 = 6;
/// Windows in a row that must be good.
const IN_A_ROW: u64 = 3;
/// Fewer updates prove nothing.
const OPS_MIN: usize = 1_000;
/// What may be missing from the share of good updates.
const POINTS: f64 = 0.001;
/// A p99 below this is good, whatever it was before (µs).
const FLOOR_US: u32 = 1_000_000;
/// An update that was sent in a window is over after so long, or failed.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Clone)]
struct Window {
    took_us: Vec<u32>,
    failed: usize,
}

/// How it was in some windows together.
#[derive(Debug, Clone, Copy)]
struct Level {
    ops: usize,
    failed: usize,
    p99_us: u32,
}

/// Everything was put back, and it is to be seen how it goes on.
#[derive(Debug, Clone, Copy)]
struct Heal {
    at: Time,
    before: Level,
}

struct RecoversInTime {
    bound: Duration,
    windows: BTreeMap<u64, Window>,
    active: BTreeSet<u32>,
    /// How it was before the first of the faults in force.
    before: Option<Level>,
    healing: Option<Heal>,
    /// Updates are counted, and only some are told again: nothing can be said of their share.
    counted: bool,
    seen_until: Time,
    tally: Tally,
    blank: Tally,
}

impl RecoversInTime {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            bound: declares.settle_bound.0 + declares.read_delay.0,
            windows: BTreeMap::new(),
            active: BTreeSet::new(),
            before: None,
            healing: None,
            counted: false,
            seen_until: Time::ZERO,
            blank: tally.clone(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.counted |= is_told_again(op, self.seen_until);
        self.seen_until = self.seen_until.max(op.done);
        let window = self.windows.entry(number(op.sent)).or_default();
        let took = u32::try_from((op.done - op.sent).as_micros()).unwrap_or(u32::MAX);
        window.took_us.push(took);
        // A refusal is an answer.
        let lost = op.outcome == Outcome::Info
            || op.outcome == Outcome::Fail && op.answer.refusal.is_none();
        window.failed += usize::from(lost);
        while self.windows.len() > WINDOWS_MAX {
            self.windows.pop_first();
        }
        if let Some(heal) = self.healing
            && heal.at + self.bound + GRACE < self.seen_until
        {
            self.healing = None;
            let mut tally = self.tally.clone();
            self.weigh(&heal, &mut tally);
            self.tally = tally;
        }
    }

    fn fault(&mut self, event: &FaultEvent) {
        match event.change {
            FaultChange::Healed => {
                let was = self.active.remove(&event.fault);
                if was && self.active.is_empty() {
                    let at = event.at;
                    self.healing = self.before.map(|before| Heal { at, before });
                }
            }
            FaultChange::Failed => {}
            _ => {
                if self.active.is_empty() {
                    // One that comes while it recovers from another has no before of its own.
                    let busy = self.healing.take().is_some();
                    let now = number(event.at);
                    let last = self.level(now.saturating_sub(BEFORE)..now);
                    self.before = if busy { self.before } else { last };
                }
                self.active.insert(event.fault);
            }
        }
    }

    fn level(&self, windows: std::ops::Range<u64>) -> Option<Level> {
        let (mut took_us, mut failed) = (Vec::new(), 0);
        for (_, window) in self.windows.range(windows) {
            took_us.extend_from_slice(&window.took_us);
            failed += window.failed;
        }
        let ops = took_us.len();
        if ops < OPS_MIN {
            return None;
        }
        let (_, p99_us, _) = took_us.select_nth_unstable(ops - 1 - ops / 100);
        Some(Level { ops, failed, p99_us: *p99_us })
    }

    fn weigh(&self, heal: &Heal, tally: &mut Tally) {
        let first = number(heal.at) + 1;
        let end = number(heal.at + self.bound);
        let starts = first..end.saturating_sub(IN_A_ROW - 1);
        let levels: Vec<Level> =
            starts.filter_map(|from| self.level(from..from + IN_A_ROW)).collect();
        if levels.is_empty() {
            return;
        }
        tally.observed += 1;
        tally.opportunities += 1;
        if levels.iter().any(|level| level.is_like(&heal.before)) {
            return;
        }
        let told: Vec<String> = levels.iter().map(Level::tell).collect();
        let what = format!(
            "before the fault {}; after the heal at {}: {}",
            heal.before.tell(),
            heal.at,
            told.join(", then ")
        );
        tally.breach(what, None, &[]);
    }
}

/// Whether an update is one that was counted, and is told again since it mattered later: ops come in
/// the order in which they were done but for those, and for some that failed (a robot that must log in
/// first tells late what its old token was good for). Only what was ok is counted.
pub fn is_told_again(op: &Op, seen_until: Time) -> bool {
    op.outcome == Outcome::Ok && op.done + Duration::from_secs(1) < seen_until
}

/// The window of a moment.
fn number(at: Time) -> u64 {
    at.0 / nanos(WINDOW)
}

impl Level {
    fn is_like(&self, before: &Self) -> bool {
        let share = before.failed as f64 / before.ops as f64 + POINTS;
        let expected = share * self.ops as f64;
        let failed_max = expected + 3.0 * libm::sqrt(expected);
        let slow_max = before.p99_us.saturating_mul(2).max(FLOOR_US);
        self.failed as f64 <= failed_max && self.p99_us <= slow_max
    }

    fn tell(&self) -> String {
        let Self { ops, failed, p99_us } = self;
        format!("{failed} of {ops} updates failed, p99 {} ms", p99_us / 1_000)
    }
}

impl Law for RecoversInTime {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.fault(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        if self.counted {
            return self.blank.clone().judge("location updates are counted");
        }
        if let Some(heal) = self.healing.filter(|_| complete)
            && heal.at + self.bound < self.seen_until
        {
            self.weigh(&heal, &mut tally);
        }
        tally.judge("no fault was healed with a thousand updates before it and after")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::record::Record,
        law::{
            Verdict,
            known::Sieve,
            testkit::{Tale, Tweak, d},
        },
    };

    const LAW: &str = "recovers-in-time";

    /// A hundred updates a second for 100 s, broken from 40 s to 50 s; of those after the heal every
    /// `nth` fails until `well`.
    fn evening(nth: u32, well: f64) -> Tale {
        let mut tale = Tale::default();
        for n in 0..10_000 {
            let at = f64::from(n) / 100.0 + 0.005;
            let bad = (40.0..50.0).contains(&at) || at >= 50.0 && at < well && n % nth == 0;
            let ping = tale.ping(d(n % 10), (at, at + 0.01), Place::default(), None);
            if bad {
                ping.info();
            }
        }
        tale.fault(FaultChange::Injected, 40.0);
        tale.fault(FaultChange::Healed, 50.0);
        tale
    }

    #[test]
    fn who_is_well_again_in_time_has_recovered() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        for tale in [evening(2, 50.0), evening(2, 54.9), evening(1_000, 100.0)] {
            assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        }
    }

    #[test]
    fn who_stays_ill_is_caught() {
        let judgement = evening(10, 80.0).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "before the fault 0 of 2999 updates failed, p99 10 ms; after the heal at 50.000 s: 150 of \
             1500 updates failed, p99 10 ms"
        );
    }

    #[test]
    fn a_heal_that_nobody_verified_or_a_new_fault_says_nothing() {
        let mut tale = evening(10, 80.0);
        tale.fault(FaultChange::HealUnverified, 50.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut again = evening(10, 80.0);
        again.fault(FaultChange::Injected, 60.0);
        assert_eq!(again.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn where_updates_are_counted_nothing_is_said() {
        let mut law = RecoversInTime::new(
            &Declares::default(),
            Tally::new(Sieve::default(), crate::law::common::Common::default()),
        );
        let records = evening(10, 80.0).records();
        for record in &records {
            match record {
                Record::Op(op) => law.see(Seen::Op(op)),
                Record::Fault(event) => law.see(Seen::Fault(event)),
                _ => {}
            }
        }
        assert_eq!(law.judge(true).verdict, Verdict::Broken);
        let Some(Record::Op(first)) = records.first() else { panic!("it begins with an update") };
        // A refusal that is told late was not counted: only what was ok is.
        law.see(Seen::Op(&Op { outcome: Outcome::Fail, ..Op::clone(first) }));
        assert_eq!(law.judge(true).verdict, Verdict::Broken);
        law.see(Seen::Op(first));
        assert_eq!(law.judge(true).verdict, Verdict::Unknown);
    }

    #[test]
    fn few_updates_prove_nothing() {
        let mut tale = Tale::default();
        for n in 0..900 {
            let at = f64::from(n) / 9.0;
            tale.ping(d(1), (at, at + 0.01), Place::default(), None);
        }
        tale.fault(FaultChange::Injected, 40.0);
        tale.fault(FaultChange::Healed, 50.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
