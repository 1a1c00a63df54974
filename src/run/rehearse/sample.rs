//! Playing a part of a scenario (or all of it) in virtual time, and what was measured in it. The
//! sample is a cohort: robots sign on, requests come up at full rate for a while, then no more do,
//! and those that did are followed to their end, however long a journey takes. Drivers without a
//! job go home once nobody waits for one, so that following the last journeys costs little.

use std::{rc::Rc, sync::Arc, time::Duration};

use anyhow::Context as _;

use super::{
    notes::{Notebook, Notes},
    profile::Profile,
    shape::{KINDS, Shape},
};
use crate::{
    base,
    chaos::resolved::Resolved,
    city::City,
    engine::target::Flow,
    history::{op::OpKind, record::Phase},
    law::registry::LAWS,
    run::{Ui, plan::RunPlan, show, signals::Stops, virtual_},
    scenario::Scenario,
};

/// The ops of one request beside the updates, about: only the length of a sample follows from it.
const OPS_OF_A_WISH: f64 = 40.0;
/// A sample has about so many requests at least, …
const WISHES_MIN: f64 = 100.0;
/// … unless that took longer than this; then the demand is raised instead, …
const DEMAND_S_MAX: f64 = 60.0;
/// … where fewer than these would come up.
const WISHES_FEWEST: f64 = 30.0;
/// The fill of a sample is shortened to this at most: a stampede would measure itself.
const FILL_S_MIN: f64 = 20.0;
/// The share of the budget that the fill may take where it is longer.
const FILL_PART: f64 = 0.2;
/// After the longest search, an offer that was taken at the last moment has been answered for.
const ANSWERED_S: f64 = 5.0;
/// The longest that a request of a sample is followed.
const FOLLOWED_FOR: Duration = Duration::from_hours(6);

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The ramp of the sign-on.
    pub fill_s: f64,
    /// The city's seconds since midnight when the demand starts.
    pub start_s: f64,
    /// How long the demand runs.
    pub demand_s: f64,
    /// Requests an hour beside what the scenario asks for: 1 for exactly that.
    pub demand_share: f64,
    settle: Duration,
    sign_off_within: Duration,
}

/// What was measured.
pub struct Measured {
    /// What was played.
    pub span: Span,
    /// Every op.
    pub notes: Notes,
    width_s: f64,
    flows: Vec<Flow>,
}

/// The longest that a scenario can take, in seconds.
pub fn longest_s(scenario: &Scenario) -> f64 {
    let time = &scenario.time;
    let whole = time.fill.0 + time.duration.0 + time.settle.0 + show::SIGN_OFF_WITHIN;
    whole.as_secs_f64()
}

/// About how many ops a scenario sends.
pub fn cost(profile: &Profile<'_>, scenario: &Scenario) -> f64 {
    const STEPS: u32 = 1_000;
    let time = &scenario.time;
    let cadence_s = cadence_s(scenario);
    let step_s = profile.duration_s() / f64::from(STEPS);
    let around_s = time.fill.0.as_secs_f64() / 2.0 + time.settle.0.as_secs_f64();
    let step = |n: u32| {
        let at_s = (f64::from(n) + 0.5) * step_s;
        profile.drivers(at_s) / cadence_s + profile.requests_per_s(at_s) * OPS_OF_A_WISH
    };
    (0..STEPS).map(step).sum::<f64>() * step_s + profile.drivers(0.0) / cadence_s * around_s
}

/// Seconds between two updates of one driver.
pub fn cadence_s(scenario: &Scenario) -> f64 {
    f64::from(scenario.load.drivers) / scenario.load.updates_per_second
}

impl Span {
    /// All of a run.
    pub fn whole(plan: &RunPlan) -> Self {
        let time = &plan.scenario.time;
        Self {
            fill_s: time.fill.0.as_secs_f64(),
            start_s: time.start_s(),
            demand_s: time.duration.0.as_secs_f64(),
            demand_share: 1.0,
            settle: time.settle.0,
            sign_off_within: show::SIGN_OFF_WITHIN,
        }
    }

    /// As much of the busiest hour as fits into the budget, and enough of it to say anything.
    pub fn within(plan: &RunPlan, profile: &Profile<'_>, budget: f64) -> Self {
        let Scenario { time, backend, .. } = &plan.scenario;
        let busiest_s = profile.busiest_s();
        let updates_per_s = profile.drivers(busiest_s) / cadence_s(&plan.scenario);
        let wishes_per_s = profile.requests_per_s(busiest_s);
        let most_s = (budget * FILL_PART * 2.0 / updates_per_s).max(FILL_S_MIN);
        let fill_s = time.fill.0.as_secs_f64().min(most_s);
        let settle = backend.search_ttl.0 + Duration::from_secs_f64(ANSWERED_S);
        let left = budget - updates_per_s * (fill_s / 2.0 + settle.as_secs_f64());
        let least_s = (WISHES_MIN / wishes_per_s.max(1e-9)).min(DEMAND_S_MAX);
        let cost_per_s = updates_per_s + wishes_per_s * OPS_OF_A_WISH;
        let demand_s = (left / cost_per_s).max(least_s).min(profile.duration_s());
        let expected = wishes_per_s * demand_s;
        let raised = if expected > 0.0 { (WISHES_FEWEST / expected).max(1.0) } else { 1.0 };
        Self {
            fill_s,
            start_s: profile.local_s(busiest_s),
            demand_s,
            demand_share: raised,
            settle,
            sign_off_within: FOLLOWED_FOR,
        }
    }

    /// The plan with this of it, and nothing that only a judged run needs.
    fn of(&self, plan: &RunPlan) -> RunPlan {
        let mut plan = plan.clone();
        plan.time = crate::run::plan::Time::Virtual;
        plan.faults = Resolved::default();
        plan.plants.clear();
        let scenario = &mut plan.scenario;
        scenario.gates.clear();
        scenario.laws.skip = LAWS.iter().map(|law| law.name.to_owned()).collect();
        scenario.load.jobs_per_hour *= self.demand_share;
        let span = |s: f64| base::span::Span(Duration::from_secs_f64(s));
        let time = &mut scenario.time;
        (time.fill, time.duration) = (span(self.fill_s), span(self.demand_s));
        time.settle = base::span::Span(self.settle);
        time.start = at_second(&time.start, self.start_s);
        plan
    }
}

/// The local time with its time of day replaced.
fn at_second(start: &str, second: f64) -> String {
    let Ok(start) = start.parse::<jiff::civil::DateTime>() else { return start.to_owned() };
    let whole = (second as i64).clamp(0, 86_399);
    let (hour, minute, second) = (whole / 3_600, whole / 60 % 60, whole % 60);
    // All three are within a day.
    let at = jiff::civil::time(hour as i8, minute as i8, second as i8, 0);
    start.date().to_datetime(at).to_string()
}

/// Plays it, in buckets of that width.
pub fn play(plan: &RunPlan, city: &Rc<City>, span: Span, width_s: f64) -> anyhow::Result<Measured> {
    let notebook = Rc::new(Notebook::new(width_s));
    let audience = Rc::clone(&notebook);
    // Nobody's signals are heard: whoever interrupts a rehearsal leaves nothing behind.
    let signals = Arc::new(Stops::default());
    let played = virtual_::play_as(&span.of(plan), city, None, Ui::None, signals, move |show| {
        show.watched_by(audience).signing_off_within(span.sign_off_within)
    });
    let played = played.with_context(|| {
        format!("{} cannot be rehearsed: its sample did not play to its end", plan.name)
    })?;
    Ok(Measured { span, notes: notebook.take(), width_s, flows: played.traffic })
}

impl Measured {
    /// `[request, answer]` bytes of one attempt at an op of each kind. (What is exchanged beside
    /// the ops, as the auditor's login is, counts with the ops that it was for.)
    pub fn weights(&self) -> [[f64; 2]; KINDS] {
        let mut weights = [[0.0; 2]; KINDS];
        for (kind, flow) in OpKind::ALL.iter().zip(&self.flows) {
            let attempts = self.notes.attempts_of(*kind).max(1.0);
            weights[kind.index()] =
                [flow.request_bytes, flow.answer_bytes].map(|bytes| bytes as f64 / attempts);
        }
        weights
    }

    /// How long a wish lasts on average, in seconds.
    pub fn mean_life_s(&self) -> f64 {
        let wishes = &self.notes.wishes;
        let all: f64 = wishes.iter().map(|wish| wish.ended_s - wish.began_s).sum();
        all / wishes.len().max(1) as f64
    }

    /// Drivers on shift at most.
    pub fn drivers_most(&self) -> f64 {
        let (mut on, mut most) = (0, 0);
        for (_, step) in &self.notes.shifts {
            on += step;
            most = most.max(on);
        }
        f64::from(most)
    }

    /// What was played, as it was counted.
    pub fn shape(&self) -> Shape {
        let notes = &self.notes;
        let began = |phase: Phase| notes.began(phase);
        let stop_s = began(Phase::Stop).unwrap_or(0.0);
        let last_s = notes.end_s().max(stop_s);
        let mut shape = Shape::empty(self.width_s, last_s);
        let parts = [
            ("fill", Phase::Fill),
            ("demand", Phase::Load),
            ("settle", Phase::Settle),
            ("end", Phase::ReadBack),
        ];
        shape.parts = parts.iter().filter_map(|(n, phase)| Some((*n, began(*phase)?))).collect();
        for (to, counted) in shape.ops.iter_mut().zip(&notes.ops) {
            *to = counted.map(f64::from);
        }
        for (to, counted) in shape.attempts.iter_mut().zip(&notes.attempts) {
            *to = counted.map(f64::from);
        }
        for wish in &notes.wishes {
            add_at(&mut shape.wishes, wish.began_s / self.width_s);
            add_span(&mut shape.open, self.width_s, wish.began_s, wish.ended_s);
        }
        let mut on: Vec<f64> = Vec::new();
        for (at_s, step) in &notes.shifts {
            if *step > 0 {
                on.push(*at_s);
            } else if let Some(from_s) = on.pop() {
                // Whose shift ended does not matter to the sum.
                add_span(&mut shape.drivers, self.width_s, from_s, *at_s);
            }
        }
        for from_s in on {
            add_span(&mut shape.drivers, self.width_s, from_s, last_s);
        }
        for from_s in &notes.passengers {
            add_span(&mut shape.passengers, self.width_s, *from_s, stop_s);
        }
        let came = notes.shifts.iter().filter(|(_, step)| *step > 0).count();
        shape.robots = [came as f64, notes.passengers.len() as f64];
        shape
    }
}

fn add_at(counts: &mut [f64], bucket: f64) {
    if let Some(count) = counts.get_mut(bucket as usize) {
        *count += 1.0;
    }
}

/// Adds one for each bucket between two moments, and a part for those that are touched.
fn add_span(sums: &mut [f64], width_s: f64, from_s: f64, to_s: f64) {
    let (from, to) = (from_s / width_s, to_s / width_s);
    for (n, sum) in sums.iter_mut().enumerate().skip(from as usize) {
        let covered = to.min(n as f64 + 1.0) - from.max(n as f64);
        if covered <= 0.0 {
            break;
        }
        *sum += covered;
    }
}
