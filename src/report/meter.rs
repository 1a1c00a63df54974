//! What gates measure, as records come in: the worst window, the stretches around each fault. Keeps
//! no more than a window of each gate, and can tell at any moment that the demand is to end.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::{
    figures::Figures,
    gate::{Gate, GateVerdict, When},
    summary::GateSummary,
};
use crate::{
    base::{name::NodeName, time::Time},
    history::{
        op::{Op, OpKind},
        record::{FaultChange, FaultEvent, Phase, PingCount, Record},
    },
};

/// Fewer ops say nothing.
const OPS_MIN: u64 = 20;
/// A window moves on by such a part of itself.
const PARTS: u32 = 10;

/// Some ops.
#[derive(Debug, Clone)]
struct Sample {
    /// Response and service times.
    times: [Histogram<u64>; 2],
    outcomes: [u64; 3],
}

impl Default for Sample {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "three digits are within the library's bounds")]
        let empty = || Histogram::new(3).expect("three significant digits");
        Self { times: [empty(), empty()], outcomes: [0; 3] }
    }
}

impl Sample {
    fn add(&mut self, op: &Op) {
        for (times, span) in self.times.iter_mut().zip([op.done - op.planned, op.done - op.sent]) {
            // A histogram that resizes itself refuses nothing below its 64 bits.
            let _ = times.record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1));
        }
        self.outcomes[op.outcome as usize] += 1;
    }

    fn add_counted(&mut self, count: &PingCount) {
        let _ = self.times[0].add(&count.response_us.0);
        let _ = self.times[1].add(&count.service_us.0);
        self.outcomes[0] += count.count();
    }

    fn add_all(&mut self, other: &Self) {
        for (times, more) in self.times.iter_mut().zip(&other.times) {
            let _ = times.add(more);
        }
        for (outcome, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *outcome += more;
        }
    }

    fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// The last ops, in parts of a window.
#[derive(Debug, Default)]
struct Ring {
    part: Duration,
    parts: VecDeque<(u64, Sample)>,
}

impl Ring {
    fn new(window: Duration) -> Self {
        Self { part: window / PARTS, parts: VecDeque::new() }
    }

    fn number(&self, at: Time) -> u64 {
        at.0 / u64::try_from(self.part.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The part of that moment, and whether it is a new one.
    fn at(&mut self, at: Time) -> &mut Sample {
        let number = self.number(at);
        if self.parts.back().is_none_or(|(last, _)| *last < number) {
            self.parts.push_back((number, Sample::default()));
        }
        while self.parts.front().is_some_and(|(first, _)| first + u64::from(PARTS) <= number) {
            self.parts.pop_front();
        }
        // One that comes late belongs to what is known by now.
        let last = self.parts.len() - 1;
        &mut self.parts[last].1
    }

    /// The ops of the window that ends with the part before that moment.
    fn before(&self, at: Time) -> Sample {
        let end = self.number(at);
        let mut sum = Sample::default();
        for (number, part) in &self.parts {
            if *number < end && *number + u64::from(PARTS) >= end {
                sum.add_all(part);
            }
        }
        sum
    }
}

/// One gate at work.
#[derive(Debug)]
struct Meter {
    gate: Gate,
    ring: Ring,
    /// The moment up to which windows were looked at.
    looked: Time,
    /// All ops of the demand so far, for a gate over the whole run that may end it.
    whole: Sample,
    /// Faults in force, or stretches after them, with their ends.
    open: BTreeMap<u32, (String, Time, Sample)>,
    worst: Option<(f64, String)>,
    /// The miss that ends the demand.
    abort: Option<(f64, String)>,
}

/// All gates of a run.
#[derive(Debug, Default)]
pub struct Meters {
    all: Vec<Meter>,
    load: Option<Time>,
    over: bool,
}

impl Meters {
    /// Of these gates.
    pub fn new(gates: Vec<Gate>) -> Self {
        Self { all: gates.into_iter().map(Meter::new).collect(), load: None, over: false }
    }

    /// Takes one record.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Phase { phase: Phase::Load, at } => {
                self.load = Some(*at);
                for meter in &mut self.all {
                    meter.looked = *at;
                }
            }
            Record::Phase { phase, .. } => self.over |= *phase > Phase::Load,
            Record::Op(op) => {
                let load = self.load.filter(|load| op.done >= *load && op.is_load());
                let Some(load) = load else { return };
                for meter in self.all.iter_mut().filter(|meter| meter.gate.op == op.kind()) {
                    meter.op(op, load, self.over);
                }
            }
            Record::Pings(count) if count.load => {
                let Some(load) = self.load else { return };
                let pings = |meter: &&mut Meter| meter.gate.op == OpKind::DriverPing;
                for meter in self.all.iter_mut().filter(pings) {
                    meter.counted(count, load, self.over);
                }
            }
            Record::Fault(event) => {
                for meter in &mut self.all {
                    meter.fault(event, self.load);
                }
            }
            _ => {}
        }
    }

    /// Why the demand is to end now, if it is.
    pub fn abort(&self) -> Option<String> {
        self.all.iter().find_map(|meter| {
            let (value, when) = meter.abort.as_ref()?;
            Some(format!("{} (measured {value:.3} {when})", meter.gate))
        })
    }

    /// True when some gate may end the demand.
    pub fn may_abort(&self) -> bool {
        self.all.iter().any(|meter| meter.gate.abort_after.is_some())
    }

    /// How each gate came out; unknown are all of them where nothing `counts`.
    pub fn judge(&self, figures: &Figures, counts: bool) -> Vec<GateSummary> {
        let judge = |meter: &Meter| {
            let (value, when) = meter.result(figures);
            let held = value.map(|value| meter.gate.holds(value));
            let verdict = match held.filter(|_| counts) {
                _ if counts && meter.abort.is_some() => GateVerdict::Missed,
                Some(true) => GateVerdict::Ok,
                Some(false) => GateVerdict::Missed,
                None => GateVerdict::Unknown,
            };
            GateSummary { gate: meter.gate.to_string(), value, when, verdict }
        };
        self.all.iter().map(judge).collect()
    }
}

impl Meter {
    fn new(gate: Gate) -> Self {
        let window = match gate.when {
            When::Over(window) | When::Before(window) => window,
            _ => Duration::from_secs(10),
        };
        Self {
            gate,
            ring: Ring::new(window),
            looked: Time::ZERO,
            whole: Sample::default(),
            open: BTreeMap::new(),
            worst: None,
            abort: None,
        }
    }

    fn op(&mut self, op: &Op, load: Time, over: bool) {
        self.go_on(op.done, load, over);
        self.each(op.done, over, |sample| sample.add(op));
    }

    /// Updates that are counted come in lumps of eight seconds, when those are over.
    fn counted(&mut self, count: &PingCount, load: Time, over: bool) {
        let end = count.from + Duration::from_secs(8);
        let end = end.max(self.looked);
        self.go_on(end, load, over);
        self.each(end, over, |sample| sample.add_counted(count));
    }

    fn each(&mut self, at: Time, over: bool, add: impl Fn(&mut Sample)) {
        match self.gate.when {
            When::Whole if self.gate.abort_after.is_some() && !over => add(&mut self.whole),
            When::Over(_) | When::Before(_) if !over => add(self.ring.at(at)),
            When::During | When::After(_) => {
                self.open.values_mut().for_each(|(_, _, sample)| add(sample));
            }
            _ => {}
        }
    }

    /// Time has come to `now`: looks at every window, and every stretch, that ended by then.
    fn go_on(&mut self, now: Time, load: Time, over: bool) {
        if let When::After(_) = self.gate.when {
            let over: Vec<u32> =
                self.open.iter().filter(|(_, (_, end, _))| *end <= now).map(|(n, _)| *n).collect();
            for fault in over {
                if let Some((whose, _, sample)) = self.open.remove(&fault) {
                    self.look(&sample, now, load, format!("after {whose}"));
                }
            }
        }
        let step = self.ring.part.max(Duration::from_millis(100));
        if now < self.looked + step || over {
            return;
        }
        self.looked = now;
        match self.gate.when {
            When::Over(window) if now >= load + window => {
                let sample = self.ring.before(now);
                let end = now.since(load).as_secs_f64();
                self.look(&sample, now, load, format!("in the window that ended at {end:.1} s"));
            }
            When::Whole if self.gate.abort_after.is_some() => {
                let sample = std::mem::take(&mut self.whole);
                self.look(&sample, now, load, "so far".to_owned());
                self.whole = sample;
            }
            _ => {}
        }
    }

    fn fault(&mut self, event: &FaultEvent, load: Option<Time>) {
        let Some(load) = load else { return };
        let whose = || {
            let victims: Vec<_> = event.victims.iter().map(NodeName::as_str).collect();
            format!("{} of {}", event.kind, victims.join(", "))
        };
        match (self.gate.when, event.change) {
            (When::Before(_), FaultChange::Injected) => {
                let sample = self.ring.before(event.at);
                self.look(&sample, event.at, load, format!("before {}", whose()));
            }
            (When::During, FaultChange::Injected) => {
                self.open.insert(event.fault, (whose(), Time::MAX, Sample::default()));
            }
            (When::During, FaultChange::Healed | FaultChange::HealUnverified) => {
                if let Some((whose, _, sample)) = self.open.remove(&event.fault) {
                    self.look(&sample, event.at, load, format!("during {whose}"));
                }
            }
            (When::After(stretch), FaultChange::Healed) => {
                let end = event.at + stretch;
                self.open.insert(event.fault, (whose(), end, Sample::default()));
            }
            _ => {}
        }
    }

    /// Measures some ops, and keeps the worst.
    fn look(&mut self, sample: &Sample, now: Time, load: Time, when: String) {
        let Some(value) = self.measure(sample) else { return };
        let stops = self.gate.abort_after.is_some_and(|after| now >= load + after);
        if stops && !self.gate.holds(value) {
            self.abort.get_or_insert_with(|| (value, when.clone()));
        }
        if self.is_worse(value) {
            self.worst = Some((value, when));
        }
    }

    fn measure(&self, sample: &Sample) -> Option<f64> {
        let [response, service] = &sample.times;
        (sample.count() >= OPS_MIN).then(|| self.gate.value([response, service], sample.outcomes))
    }

    fn is_worse(&self, value: f64) -> bool {
        let worse = |worst: f64| if self.gate.below { value > worst } else { value < worst };
        self.worst.as_ref().is_none_or(|(worst, _)| worse(*worst))
    }

    /// What it came to, and when.
    fn result(&self, figures: &Figures) -> (Option<f64>, Option<String>) {
        if let Some((value, when)) = &self.abort {
            return (Some(*value), Some(format!("{when}: the demand was ended for it")));
        }
        if self.gate.when == When::Whole {
            let op = figures.op(self.gate.op);
            let value =
                op.map(|op| self.gate.value([&op.response_us, &op.service_us], op.outcomes));
            return (value, None);
        }
        // Stretches that the end of the run cut short.
        let open = self.open.values().filter_map(|(whose, _, sample)| {
            Some((self.measure(sample)?, format!("around {whose}, cut short")))
        });
        let mut worst = self.worst.clone();
        for (value, when) in open {
            let beats = |at: f64| if self.gate.below { value > at } else { value < at };
            if worst.as_ref().is_none_or(|(at, _)| beats(*at)) {
                worst = Some((value, when));
            }
        }
        worst.map_or((None, None), |(value, when)| (Some(value), Some(when)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{id::RobotId, place::Place},
        history::op::Outcome,
        law::testkit::Tale,
    };

    /// A minute of demand from 10 s on, twenty updates a second of 5 ms each; from 30 s to 40 s, in
    /// which a fault is in force, they take 80 ms, and one in ten is lost. It is healed at 40 s.
    fn minute() -> Vec<Record> {
        let mut tale = Tale::default();
        tale.phase(Phase::Load, 10.0);
        tale.fault(FaultChange::Injected, 30.0);
        tale.fault(FaultChange::Healed, 40.0);
        for beat in 0..1_200_u32 {
            let sent = 10.0 + f64::from(beat) / 20.0;
            let bad = (30.0..40.0).contains(&sent);
            let done = sent + if bad { 0.08 } else { 0.005 };
            let ping = tale.ping(RobotId::driver(1), (sent, done), Place::default(), None);
            if bad && beat % 10 == 0 {
                ping.outcome = Outcome::Info;
            }
        }
        tale.phase(Phase::Drain, 70.5);
        tale.records()
    }

    fn meters(gates: &[&str]) -> Meters {
        Meters::new(gates.iter().map(|gate| Gate::parse(gate).unwrap()).collect())
    }

    fn judged(gate: &str) -> GateSummary {
        let mut meters = meters(&[gate]);
        let mut figures = Figures::default();
        for record in minute() {
            meters.see(&record);
            figures.see(&record);
        }
        meters.judge(&figures, true).remove(0)
    }

    #[test]
    fn each_part_of_a_run_is_measured_by_itself() {
        let cases = [
            ("driver.ping response p(50) < 50ms", true, ""),
            ("driver.ping response p(50) < 50ms over 5s", false, "in the window that ended at"),
            ("driver.ping response p(50) < 50ms before faults 10s", true, "before kill of "),
            ("driver.ping response p(50) < 50ms during faults", false, "during kill of "),
            ("driver.ping service p(50) < 50ms after faults 10s", true, "after kill of "),
            ("driver.ping rate(info) < 5% over 20s", false, "in the window"),
            ("driver.ping rate(info) < 9% during faults", false, "during"),
            ("driver.ping rate(info) < 11% during faults", true, "during"),
            ("driver.ping rate(ok) > 99% after faults 10s", true, "after"),
        ];
        for (gate, held, when) in cases {
            let said = judged(gate);
            let verdict = if held { GateVerdict::Ok } else { GateVerdict::Missed };
            assert_eq!(said.verdict, verdict, "{gate}: {said:?}");
            assert!(said.when.clone().unwrap_or_default().contains(when), "{gate}: {said:?}");
        }
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let gate = judged("passenger.quote rate(ok) > 95% over 10s");
        assert_eq!((gate.value, gate.verdict), (None, GateVerdict::Unknown));
        let mut few = meters(&["driver.ping rate(ok) > 95% over 1s"]);
        let pings = |record: &&Record| matches!(record, Record::Op(op) if op.id % 2 == 0);
        few.see(&Record::Phase { phase: Phase::Load, at: Time(1) });
        minute().iter().filter(pings).for_each(|record| few.see(record));
        let few = few.judge(&Figures::default(), true).remove(0);
        assert_eq!(few.verdict, GateVerdict::Unknown, "ten ops say nothing: {few:?}");
        let mut idle = meters(&["driver.ping rate(ok) > 95%"]);
        idle.see(&Record::Phase { phase: Phase::Load, at: Time(1) });
        assert_eq!(idle.judge(&Figures::default(), true)[0].verdict, GateVerdict::Unknown);
    }

    #[test]
    fn a_miss_ends_the_demand_once_it_has_run_for_long_enough() {
        let aborted = |gate: &str| {
            let mut meters = meters(&[gate]);
            minute().iter().find_map(|record| {
                meters.see(record);
                let at = match record {
                    Record::Op(op) => op.done.as_secs_f64(),
                    Record::Fault(event) => event.at.as_secs_f64(),
                    _ => return None,
                };
                meters.abort().map(|_| at)
            })
        };
        let soon = aborted("driver.ping response p(50) < 50ms over 5s abort").unwrap();
        assert!((30.0..36.0).contains(&soon), "{soon}");
        let later = aborted("driver.ping response p(50) < 50ms over 5s abort after 27s").unwrap();
        assert!((37.0..39.0).contains(&later), "{later}");
        let never = aborted("driver.ping response p(50) < 50ms over 5s abort after 50s");
        assert_eq!(never, None, "by then it is well again");
        assert_eq!(aborted("driver.ping rate(ok) > 99% over 5s"), None, "nobody asked for it");
        let whole = aborted("driver.ping rate(info) < 1% abort after 10s").unwrap();
        assert!(whole > 30.0, "{whole}");
    }
}
