//! A rehearsal: the load that a scenario would send, before anybody touches a target. There is no
//! second model of the robots: a sample of the scenario is played for real in virtual time, and
//! what was measured in it is extended over the run by the scenario's own profiles. A scenario that
//! is hardly longer than the sample is played as a whole, and counted.

mod forecast;
mod notes;
mod profile;
mod sample;
mod shape;
mod supply;
mod tokens;

use std::rc::Rc;

use super::plan::RunPlan;
use crate::{
    history::op::OpKind,
    report::{
        chart,
        rehearsal::{BUCKETS_MAX, Basis, Rehearsal, SCHEMA, Way},
    },
    scenario::Scenario,
};
use profile::Profile;
use sample::{Measured, Span};
use shape::Shape;

/// Ops of a sample, about.
pub const BUDGET: u64 = 200_000;
/// A run of up to so many times the budget is played as a whole.
const WHOLE_UP_TO: f64 = 1.5;
/// Buckets are no narrower: in a shorter one the beat of single robots is all that shows.
const BUCKET_S_MIN: f64 = 1.0;
/// With more than this share of all wishes open at the end, the run is too short for its journeys.
const OPEN_AT_END_MAX: f64 = 0.01;

/// Rehearses a plan; about `budget` ops are played.
pub fn rehearse(plan: &RunPlan, budget: u64) -> anyhow::Result<Rehearsal> {
    let city = Rc::new(plan.city_in_memory()?);
    let profile = Profile::of(&plan.scenario);
    let budget = budget as f64;
    let whole = sample::cost(&profile, &plan.scenario) <= budget * WHOLE_UP_TO;
    let span = if whole { Span::whole(plan) } else { Span::within(plan, &profile, budget) };
    let measured = sample::play(plan, &city, span, bucket_s(sample::longest_s(&plan.scenario)))?;
    let (way, shape) = if whole {
        (Way::Played, measured.shape())
    } else {
        (Way::Sampled, forecast::extend(&plan.scenario, &city, &measured))
    };
    Ok(told(plan, &measured, &shape, way))
}

/// The width of a bucket of a run of that length.
fn bucket_s(length_s: f64) -> f64 {
    (length_s / BUCKETS_MAX as f64).ceil().max(BUCKET_S_MIN)
}

fn told(plan: &RunPlan, measured: &Measured, shape: &Shape, way: Way) -> Rehearsal {
    let weight = measured.weights();
    Rehearsal {
        schema: SCHEMA,
        tool: format!("robot-city {}", env!("CARGO_PKG_VERSION")),
        scenario: plan.name.clone(),
        seed: plan.seed.clone(),
        basis: basis(plan, measured, way),
        starts_at: plan.scenario.time.start.clone(),
        time_scale: plan.scenario.time.time_scale,
        length_s: shape.length_s,
        bucket_s: shape.width_s,
        parts: shape.parts(),
        lines: shape.lines(&weight),
        ops: shape.op_lines(&weight),
        warnings: warnings(&plan.scenario, measured, shape),
    }
}

fn basis(plan: &RunPlan, measured: &Measured, way: Way) -> Basis {
    let updates = measured.notes.count(OpKind::DriverPing);
    let requests = measured.notes.wishes.len();
    let Span { demand_s, start_s, .. } = measured.span;
    let (hour, minute) = ((start_s / 3_600.0) as u32, (start_s / 60.0) as u32 % 60);
    let what = format!(
        "{} drivers, {} updates and {requests} requests",
        chart::number(measured.drivers_most()),
        chart::number(updates),
    );
    let demand = chart::seconds(demand_s);
    let told = match way {
        Way::Played => format!(
            "These figures are counted: the whole run was played in virtual time with the robots \
             and the reference backend themselves ({what}), without its faults. Faults bring \
             repeats and late ops on top."
        ),
        Way::Sampled => format!(
            "These figures rest on a sample: {demand} of the demand were played in virtual time \
             with the robots and the reference backend themselves, at full density from \
             {hour:02}:{minute:02} in {}, without faults ({what}, each followed to its end); what \
             a request, a shift and a second on shift cost there is extended over the run by the \
             scenario's rates. Faults bring repeats and late ops on top.",
            plan.scenario.city,
        ),
    };
    Basis { way, demand_s, updates: updates as u64, requests: requests as u64, told }
}

fn warnings(scenario: &Scenario, measured: &Measured, shape: &Shape) -> Vec<String> {
    let mut warnings = Vec::new();
    let wishes: f64 = shape.wishes.iter().sum();
    if wishes > 0.0 && measured.notes.wishes.is_empty() {
        warnings.push("no request came up in what was played: their ops are missing here".into());
    }
    let end_s = shape.parts.last().map_or(shape.length_s, |(_, from_s)| *from_s);
    let last = ((end_s / shape.width_s).ceil() as usize).clamp(1, shape.len()) - 1;
    let open = shape.open[last];
    if open > OPEN_AT_END_MAX * wishes && open >= 1.0 {
        let life = chart::seconds(measured.mean_life_s());
        let open = chart::number(open.round());
        warnings.push(format!(
            "about {open} jobs would still be open at the end of the settle time: a request takes \
             {life} to come to its end on average (see time.settle, time.time_scale)"
        ));
    }
    let mut demand = (scenario.time.fill.0.as_secs_f64() / shape.width_s).ceil() as usize..last;
    if let Some(n) = demand.find(|n| shape.open[*n] > shape.drivers[*n]) {
        warnings.push(format!(
            "more jobs would be open ({}) than drivers are on shift ({}): expect requests to \
             expire instead, and fewer ops than told here",
            chart::number(shape.open[n]),
            chart::number(shape.drivers[n])
        ));
    }
    warnings
}
