//! `summary.json`: the contract with tools outside the project. Schema-versioned.

use std::collections::BTreeMap;

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

use super::{
    figures::{FaultFigures, Figures, OpFigures},
    gate::GateVerdict,
    traces::TracesSummary,
};
use crate::{
    history::{answer::JobState, op::OpKind, record::Header, services::ServiceMap},
    law::{Judgement, Verdict, Violation, known::KnownFailure},
};

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// Everything required was seen to hold.
    Pass,
    /// A law was broken.
    Broken,
    /// The run proves nothing.
    Inconclusive,
    /// A gate was missed.
    GateMissed,
}

/// `summary.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name, version, commit.
    pub tool: String,
    /// The scenario's name.
    pub scenario: String,
    /// The run's id.
    pub run: String,
    /// The seed, as given.
    pub seed: String,
    /// `real` or `virtual`.
    pub time: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// The history reached its end.
    pub complete: bool,
    /// The target.
    pub target: TargetSummary,
    /// SHA-256 of `plan.toml` without its known failures.
    pub plan_sha256: String,
    /// Planted bugs that were switched on: a banner in every output.
    #[serde(default)]
    pub plants: Vec<String>,
    /// The verdict.
    pub verdict: RunVerdict,
    /// Why, for people; for a pass the known failures that it had.
    pub reasons: Vec<String>,
    /// Known failures that matched nothing, and what to do about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_unseen: Vec<String>,
    /// What could not be put back.
    pub left_behind: Vec<String>,
    /// Seconds from the start to the end.
    pub wall_s: f64,
    /// City seconds of the load.
    pub city_s: f64,
    /// The load.
    pub load: LoadSummary,
    /// Each kind of op that was seen.
    pub ops: Vec<OpSummary>,
    /// Each law.
    pub laws: Vec<LawSummary>,
    /// How often things raced: accepts for one job, offers of one job, repeats recognised.
    pub races: BTreeMap<String, u64>,
    /// Each fault.
    pub faults: Vec<FaultSummary>,
    /// What a run must have seen to prove anything.
    pub adequacy: Vec<AdequacySummary>,
    /// Each gate.
    pub gates: Vec<GateSummary>,
    /// The backend's services at the end of the demand, where somebody watches them.
    #[serde(default, skip_serializing_if = "ServiceMap::is_empty")]
    pub services: ServiceMap,
    /// What was traced, where a run has traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<TracesSummary>,
}

/// The target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct TargetSummary {
    pub name: String,
    pub environment: String,
    pub version: String,
}

/// The load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadSummary {
    /// Robots of each kind that took part.
    pub robots: RobotsSummary,
    /// Location updates while the demand ran.
    pub updates: UpdatesSummary,
    /// Jobs of the whole run, by their last known state.
    pub jobs: JobsSummary,
    /// sent − planned of every op of the load.
    pub lag_us: LagSummary,
    /// How long the demand ran, in seconds.
    pub seconds: f64,
    /// CPU seconds of the process with the robots, in that time.
    pub generator_cpu_s: Option<f64>,
    /// Its largest resident size.
    pub generator_rss_mb: Option<f64>,
    /// CPU seconds of all nodes of the embedded backend, in that time.
    pub backend_cpu_s: Option<f64>,
    /// CPU seconds of the fault proxy, in that time.
    pub proxy_cpu_s: Option<f64>,
}

/// Robots.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct RobotsSummary {
    pub drivers: u32,
    pub passengers: u32,
}

/// Location updates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdatesSummary {
    /// Asked for by the scenario.
    pub target_per_s: f64,
    /// Planned by the robots.
    pub planned_per_s: f64,
    /// Sent.
    pub sent_per_s: f64,
    /// Ended ok.
    pub ok_per_s: f64,
    /// Sent in all.
    pub count: u64,
    /// Ended ok.
    pub ok: u64,
    /// Certainly did not happen.
    pub fail: u64,
    /// Unknown.
    pub info: u64,
    /// Share that ended ok of those planned outside every fault window.
    pub ok_outside_faults: Option<f64>,
}

/// Jobs by their last known state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct JobsSummary {
    pub requested: u64,
    pub completed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub open: u64,
    /// Offers that drivers were told by the simulator, of what passengers saw: synthetic.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offers_relayed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Lag, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct LagSummary {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Times in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct TimesSummary {
    pub avg: u64,
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// One kind of op.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct OpSummary {
    pub op: OpKind,
    pub count: u64,
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
    pub retries: u64,
    pub response_us: TimesSummary,
    pub service_us: TimesSummary,
}

/// One law.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct LawSummary {
    pub law: String,
    pub verdict: Verdict,
    pub observed: u64,
    pub opportunities: u64,
    /// Things of which nothing was heard for the horizon, and that were forgotten unjudged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// Those that break it: known ones stand in `known`.
    pub violations_total: u64,
    pub violations: Vec<Violation>,
    /// Its known failures, matched or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownFailure>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// One fault; seconds count from time zero of the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct FaultSummary {
    pub kind: String,
    pub victims: Vec<String>,
    pub injected_s: Option<f64>,
    pub healed_s: Option<f64>,
    pub bit: bool,
    pub effect: String,
    pub recovered_s: Option<f64>,
}

/// One thing that a run must have seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdequacySummary {
    /// What.
    pub what: String,
    /// Without it the run is inconclusive.
    pub required: bool,
    /// How much was asked for, where it is a number.
    #[serde(default)]
    pub needed: Option<f64>,
    /// What was seen.
    pub seen: f64,
    /// It was enough.
    pub enough: bool,
}

/// One gate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it all.
pub struct GateSummary {
    pub gate: String,
    pub value: Option<f64>,
    /// Which window, or around which fault, where it is not the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    pub verdict: GateVerdict,
}

impl GateSummary {
    /// What was measured, and when, in words.
    pub fn measured(&self) -> String {
        let value =
            self.value.map_or("not measured".into(), |value| format!("measured {value:.3}"));
        self.when.as_ref().map_or(value.clone(), |when| format!("{value} {when}"))
    }
}

impl Summary {
    /// What every output says while a planted bug is on.
    pub fn banner(&self) -> Option<String> {
        let on = self.plants.join(", ");
        (!on.is_empty()).then(|| format!("PLANTED BUGS ARE ON: {on}"))
    }
}

impl TimesSummary {
    /// From a histogram of microseconds.
    pub fn of<C: Counter>(times: &Histogram<C>) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        let at = |quantile: f64| times.value_at_quantile(quantile);
        Self {
            avg: times.mean() as u64,
            min: times.min(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: times.max(),
        }
    }
}

impl OpSummary {
    fn of(op: OpKind, figures: &OpFigures) -> Self {
        let [ok, fail, info] = figures.outcomes;
        Self {
            op,
            count: figures.count(),
            ok,
            fail,
            info,
            retries: figures.retries,
            response_us: TimesSummary::of(&figures.response_us),
            service_us: TimesSummary::of(&figures.service_us),
        }
    }

    /// Every kind that was seen, in the order of the contract.
    pub fn all(figures: &Figures) -> Vec<Self> {
        OpKind::ALL
            .iter()
            .filter_map(|op| figures.op(*op).map(|seen| Self::of(*op, seen)))
            .collect()
    }
}

impl LawSummary {
    /// Violations that break nothing, because they are known.
    pub fn excused(&self) -> u64 {
        self.known.iter().map(KnownFailure::excuses).sum()
    }

    /// The known failures that it showed.
    pub fn shown(&self) -> impl Iterator<Item = &KnownFailure> {
        self.known.iter().filter(|known| known.total > 0)
    }

    /// What one law says.
    pub fn of(name: &str, judged: &Judgement) -> Self {
        Self {
            law: name.to_owned(),
            verdict: judged.verdict,
            observed: judged.observed,
            opportunities: judged.opportunities,
            forgotten: judged.forgotten,
            violations_total: judged.violations_total,
            violations: judged.violations.clone(),
            known: judged.known.clone(),
            note: judged.note.clone(),
        }
    }
}

impl FaultSummary {
    /// One fault of the figures.
    pub fn of(fault: &FaultFigures, figures: &Figures) -> Self {
        let zero = figures.zero();
        let offset = |at: crate::base::time::Time| (at - zero).as_secs_f64();
        Self {
            kind: fault.kind.clone(),
            victims: fault.victims.clone(),
            injected_s: fault.injected.map(offset),
            healed_s: fault.healed.map(offset),
            bit: fault.bit,
            effect: fault.effect.join("; "),
            recovered_s: fault
                .healed
                .and_then(|healed| figures.recovered(healed, 0.99))
                .map(offset),
        }
    }
}

impl LoadSummary {
    /// The load of a run.
    pub fn of(figures: &Figures) -> Self {
        let seconds = figures.load_s().max(1e-9);
        let updates = &figures.updates;
        let [ok, fail, info] = updates.outcomes;
        let terminal = [JobState::Completed, JobState::Cancelled, JobState::Expired];
        let [completed, cancelled, expired] = terminal.map(|state| figures.jobs.count_in(state));
        let requested = figures.jobs.count();
        let end = figures.end.clone().unwrap_or_default();
        Self {
            robots: RobotsSummary { drivers: figures.robots[0], passengers: figures.robots[1] },
            updates: UpdatesSummary {
                target_per_s: figures.asked_updates_per_s(),
                planned_per_s: (updates.sent + updates.skipped) as f64 / seconds,
                sent_per_s: updates.sent as f64 / seconds,
                ok_per_s: ok as f64 / seconds,
                count: updates.sent,
                ok,
                fail,
                info,
                ok_outside_faults: figures.ok_outside_faults().map(|(share, _)| share),
            },
            jobs: JobsSummary {
                requested,
                completed,
                cancelled,
                expired,
                open: requested - completed - cancelled - expired,
                offers_relayed: figures.relayed,
            },
            lag_us: figures.lag_us.as_ref().map_or_else(LagSummary::default, |lag| LagSummary {
                p50: lag.value_at_quantile(0.5),
                p99: lag.value_at_quantile(0.99),
                max: lag.max(),
            }),
            seconds: figures.load_s(),
            generator_cpu_s: end.cpu_s,
            generator_rss_mb: end.rss_mb,
            backend_cpu_s: end.backend_cpu_s,
            proxy_cpu_s: end.proxy_cpu_s,
        }
    }
}

impl TargetSummary {
    /// What the header says of the target.
    pub fn of(header: &Header) -> Self {
        Self {
            name: header.declares.name.clone(),
            environment: header.declares.environment.clone(),
            version: header.tool.clone(),
        }
    }
}
