//! The figures of a run: a fold over its history, the same live and from disk.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::{
    jobs::Jobs,
    timeline::{Timeline, record_us},
    traces::ShownTrace,
};
use crate::{
    base::{id::RobotKind, time::Time},
    history::{
        op::{Op, OpKind, Outcome},
        record::{Ending, FaultChange, FaultEvent, Header, Phase, PingCount, Record},
        thinner::WINDOW,
        times::Times,
    },
};

/// Times of one kind of op, in microseconds, and how its ops ended.
#[derive(Debug, Clone)]
pub struct OpFigures {
    /// ok, fail, info.
    pub outcomes: [u64; 3],
    /// done − planned: what a person waited.
    pub response_us: Histogram<u64>,
    /// done − sent: what the backend took.
    pub service_us: Histogram<u64>,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl Default for OpFigures {
    fn default() -> Self {
        Self { outcomes: [0; 3], response_us: histogram(), service_us: histogram(), retries: 0 }
    }
}

impl OpFigures {
    /// Ops in all.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    fn see(&mut self, op: &Op) {
        self.outcomes[op.outcome as usize] += 1;
        record_us(&mut self.response_us, op.done - op.planned);
        record_us(&mut self.service_us, op.done - op.sent);
        self.retries += op.attempts.len().saturating_sub(1) as u64;
    }
}

fn histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "three digits are within the library's bounds")]
    Histogram::new(3).expect("three significant digits")
}

/// One fault from injection to recovery.
#[derive(Debug, Clone)]
pub struct FaultFigures {
    /// Its kind.
    pub kind: String,
    /// Whom it hit.
    pub victims: Vec<String>,
    /// When it was in force, if it ever was.
    pub injected: Option<Time>,
    /// Location updates a second that it asked for beside those of the load.
    pub more_updates_per_s: f64,
    /// Until when it did.
    pub more_until: Option<Time>,
    /// When it was verified to be gone.
    pub healed: Option<Time>,
    /// Its effect was seen.
    pub bit: bool,
    /// It was put back and nobody could confirm it.
    pub unverified: bool,
    /// It could not be injected.
    pub failed: bool,
    /// What was measured.
    pub effect: Vec<String>,
}

/// Updates planned while the demand ran.
#[derive(Debug, Clone, Default)]
pub struct Updates {
    /// Planned and sent.
    pub sent: u64,
    /// Planned and never sent.
    pub skipped: u64,
    /// ok, fail, info.
    pub outcomes: [u64; 3],
}

/// The figures of a run.
#[derive(Debug, Default)]
pub struct Figures {
    /// The first record.
    pub header: Option<Header>,
    /// By kind of op, at its index.
    pub ops: Vec<OpFigures>,
    /// sent − planned of every op of the load, in microseconds.
    pub lag_us: Option<Histogram<u64>>,
    /// Pings over time.
    pub pings: Timeline,
    /// All other ops over time.
    pub flow: Timeline,
    /// Updates of the load.
    pub updates: Updates,
    /// When each part began.
    pub phases: Vec<(Phase, Time)>,
    /// Faults by their number.
    pub faults: BTreeMap<u32, FaultFigures>,
    /// Its jobs.
    pub jobs: Jobs,
    /// The largest numbers of robots seen, drivers and passengers.
    pub robots: [u32; 2],
    /// Offers that the simulator made of what a passenger saw.
    pub relayed: u64,
    /// Gaps in what is told unasked.
    pub missed: u64,
    /// How the run ended.
    pub end: Option<Ending>,
    /// Pings by the second in which they were planned.
    seconds: Vec<Second>,
    /// Traces that the report shows.
    pub traces: Vec<ShownTrace>,
}

/// Pings that were planned in one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    all: u32,
    ok: u32,
}

/// Seconds that are kept, of a run's first eleven days; later ones are not looked at one by one.
const SECONDS_MAX: usize = 1_000_000;
/// After a heal, how long a phone may still be retrying: it belongs to the fault's window.
const AFTERMATH: Duration = Duration::from_secs(3);

impl Figures {
    /// None yet, of a run whose jobs are remembered for `horizon` after the last word about them.
    pub fn within(horizon: Duration) -> Self {
        Self { jobs: Jobs::within(horizon), ..Self::default() }
    }

    /// Takes one record.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Run(header) => self.header = Some((**header).clone()),
            Record::Phase { phase, at } => {
                self.phases.push((*phase, *at));
                self.jobs.enter(*phase);
            }
            Record::Op(op) if op.is_load() => self.see_op(op),
            Record::Pings(count) => self.see_pings(count),
            Record::Fault(event) => self.see_fault(event),
            Record::Skipped { at, count, .. } if self.in_load(*at) => {
                self.updates.skipped += count;
            }
            Record::Told(told) => {
                self.relayed += u64::from(told.synthetic && told.answer.offer.is_some());
            }
            Record::Missed(_) => self.missed += 1,
            Record::Op(_) | Record::Skipped { .. } | Record::Recalled(_) => {}
            Record::End(ending) => self.end = Some(ending.clone()),
        }
    }

    fn of_kind(&mut self, kind: OpKind) -> &mut OpFigures {
        if self.ops.is_empty() {
            self.ops.resize(OpKind::ALL.len(), OpFigures::default());
        }
        &mut self.ops[kind.index()]
    }

    fn see_op(&mut self, op: &Op) {
        let kind = op.kind();
        self.of_kind(kind).see(op);
        let response = op.done - op.planned;
        if kind == OpKind::DriverPing {
            self.pings.record(op.planned, op.outcome, response);
            self.see_ping(op);
        } else {
            self.flow.record(op.planned, op.outcome, response);
        }
        if self.in_load(op.planned) {
            let lag = self.lag_us.get_or_insert_with(histogram);
            record_us(lag, op.sent - op.planned);
        }
        if let Some(robots) = self.robots.get_mut(op.robot.kind as usize) {
            *robots = (*robots).max(op.robot.number + 1);
        }
        self.jobs.see(op);
    }

    fn see_pings(&mut self, pings: &PingCount) {
        let of_kind = self.of_kind(OpKind::DriverPing);
        of_kind.outcomes[Outcome::Ok as usize] += pings.count();
        add(&mut of_kind.response_us, &pings.response_us);
        add(&mut of_kind.service_us, &pings.service_us);
        self.pings.add_ok(pings.from, WINDOW, &pings.response_us.0);
        let drivers = &mut self.robots[RobotKind::Driver as usize];
        *drivers = (*drivers).max(pings.drivers);
        for (second, count) in (0..).zip(&pings.by_second) {
            self.count_at(pings.from + Duration::from_secs(second), *count, *count);
        }
        if !pings.load {
            return;
        }
        add(self.lag_us.get_or_insert_with(histogram), &pings.lag_us);
        self.updates.sent += pings.count();
        self.updates.outcomes[Outcome::Ok as usize] += pings.count();
    }

    /// So many pings were planned in the second of `at`.
    fn count_at(&mut self, at: Time, all: u32, ok: u32) {
        let second = (at.0 / 1_000_000_000) as usize;
        if self.seconds.len() <= second && second < SECONDS_MAX {
            self.seconds.resize(second + 1, Second::default());
        }
        if let Some(sum) = self.seconds.get_mut(second) {
            sum.all += all;
            sum.ok += ok;
        }
    }

    fn see_ping(&mut self, op: &Op) {
        self.count_at(op.planned, 1, u32::from(op.outcome == Outcome::Ok));
        if !self.in_load(op.planned) {
            return;
        }
        self.updates.sent += 1;
        self.updates.outcomes[op.outcome as usize] += 1;
    }

    fn see_fault(&mut self, event: &FaultEvent) {
        let fault = self.faults.entry(event.fault).or_insert_with(|| FaultFigures {
            kind: event.kind.clone(),
            victims: event.victims.iter().map(ToString::to_string).collect(),
            injected: None,
            more_updates_per_s: 0.0,
            more_until: None,
            healed: None,
            bit: false,
            unverified: false,
            failed: false,
            effect: Vec::new(),
        });
        if matches!(event.change, FaultChange::Healed | FaultChange::HealUnverified) {
            // It is over at once; that it was seen to be took longer.
            fault.more_until = fault.more_until.or(Some(event.planned));
        }
        match event.change {
            FaultChange::Injected => {
                fault.injected = Some(event.at);
                fault.more_updates_per_s = event.more_updates_per_s;
            }
            FaultChange::Bit => fault.bit = true,
            FaultChange::Missed => fault.bit = false,
            FaultChange::Healed => fault.healed = Some(event.at),
            FaultChange::HealUnverified => fault.unverified = true,
            FaultChange::Failed => fault.failed = true,
        }
        if !event.effect.is_empty() {
            fault.effect.push(event.effect.clone());
        }
    }

    /// Share of the acknowledged jobs that the read-back showed; `None` without a read-back.
    pub fn read_back(&self) -> Option<f64> {
        self.op(OpKind::AuditJobs).or_else(|| self.op(OpKind::AuditJob))?;
        Some(self.jobs.share_read_back())
    }

    /// When a part began.
    pub fn began(&self, phase: Phase) -> Option<Time> {
        self.phases.iter().find(|(p, _)| *p == phase).map(|(_, at)| *at)
    }

    /// Time zero of the plan: when the demand started.
    pub fn zero(&self) -> Time {
        self.began(Phase::Load).unwrap_or(Time::ZERO)
    }

    /// True for a moment while the demand ran.
    fn in_load(&self, at: Time) -> bool {
        self.began(Phase::Load).is_some_and(|load| at >= load)
            && self.load_ended().is_none_or(|ended| at < ended)
    }

    /// When the demand stopped, or was stopped.
    fn load_ended(&self) -> Option<Time> {
        self.phases.iter().find(|(phase, _)| *phase > Phase::Load).map(|(_, at)| *at)
    }

    /// How long the demand ran, in seconds.
    pub fn load_s(&self) -> f64 {
        let end = self.load_ended().or(self.end.as_ref().map(|end| end.at));
        end.map_or(0.0, |end| (end - self.zero()).as_secs_f64())
    }

    /// Location updates a second that were asked for while the demand ran: those of the load, and
    /// what faults asked for beside them.
    pub fn asked_updates_per_s(&self) -> f64 {
        let usual = self.header.as_ref().map_or(0.0, |header| header.updates_per_s);
        let end = self.zero() + Duration::from_secs_f64(self.load_s());
        let more = self.faults.values().filter_map(|fault| {
            let until = fault.more_until.unwrap_or(end).min(end);
            Some((until - fault.injected?).as_secs_f64() * fault.more_updates_per_s)
        });
        usual + more.sum::<f64>() / self.load_s().max(1e-9)
    }

    /// The figures of one kind of op, if there were any.
    pub fn op(&self, kind: OpKind) -> Option<&OpFigures> {
        self.ops.get(kind.index()).filter(|figures| figures.count() > 0)
    }

    /// True when a fault was in force (or its aftermath lasted) at `at`.
    pub fn in_fault(&self, at: Time) -> bool {
        self.faults.values().any(|fault| {
            fault.injected.is_some_and(|from| at >= from)
                && fault.healed.is_none_or(|healed| at < healed + AFTERMATH)
        })
    }

    /// Share of the load's pings planned outside every fault window that ended ok, with how many
    /// those were. Whole seconds count as inside when any of their moments is.
    pub fn ok_outside_faults(&self) -> Option<(f64, u64)> {
        let quiet = |from, to| !self.in_fault(from) && !self.in_fault(to);
        self.ok_share_where(|from, to| {
            self.in_load(from) && self.load_ended().is_none_or(|end| to <= end) && quiet(from, to)
        })
    }

    /// The same of the pings planned between two moments, of the whole seconds between them.
    pub fn ok_between(&self, begin: Time, end: Time) -> Option<(f64, u64)> {
        self.ok_share_where(|from, to| from >= begin && to <= end)
    }

    fn ok_share_where(&self, counts: impl Fn(Time, Time) -> bool) -> Option<(f64, u64)> {
        let (mut all, mut ok) = (0, 0);
        for (from, to, second) in self.seconds() {
            if second.all > 0 && counts(from, to) {
                all += u64::from(second.all);
                ok += u64::from(second.ok);
            }
        }
        (all > 0).then(|| (ok as f64 / all as f64, all))
    }

    /// The start of the first whole second from `from` on in which at least `share` of the pings
    /// ended ok.
    pub fn recovered(&self, from: Time, share: f64) -> Option<Time> {
        let good = |second: &Second| f64::from(second.ok) >= share * f64::from(second.all);
        self.seconds()
            .find(|(begin, _, second)| *begin >= from && second.all > 0 && good(second))
            .map(|(begin, ..)| begin)
    }

    /// Each second with its begin and its end.
    fn seconds(&self) -> impl Iterator<Item = (Time, Time, &Second)> {
        let at = |second: usize| Time(second as u64 * 1_000_000_000);
        self.seconds.iter().enumerate().map(move |(n, second)| (at(n), at(n + 1), second))
    }
}

fn add(sum: &mut Histogram<u64>, more: &Times) {
    // Cannot fail: the sum resizes by itself.
    let _ = sum.add(&more.0);
}
