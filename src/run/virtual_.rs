//! A run in the virtual world: one thread, no sockets, no clock on the wall; the same seed, plan and
//! build give the same history, byte for byte.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use super::{
    Ended, RunError, Ui,
    folder::Folder,
    outputs,
    plan::RunPlan,
    show::{Billing, Played, Show},
    signals::{self, Stops},
    traces::Traces,
    virtual_fleet::VirtualFleet,
};
use crate::{city::City, history::op::OpKind, report::figures::OpFigures};

/// When every virtual run starts.
const EPOCH: &str = "2026-01-01T00:00:00Z";

/// Runs a plan to its verdict.
pub fn run(plan: &RunPlan, out: &Path, ui: Ui) -> anyhow::Result<Ended> {
    let signals = signals::of_process()?;
    let (folder, city) = open(plan, out)?;
    plan.announce(&folder);
    let begun = now();
    let played = play(plan, &city, Some(folder.path()), ui, signals)?;
    let took_s = now().duration_since(begun).as_secs_f64();
    let exit = outputs::publish(plan, &folder, &played);
    println!("  {}", pace(&played, took_s));
    Ok(Ended { exit, broken: played.broken(), interrupted: played.interrupted(), folder })
}

/// A folder of its own for a run of that plan, with the plan and the city in it.
pub fn open(plan: &RunPlan, out: &Path) -> anyhow::Result<(Folder, Rc<City>)> {
    let folder = Folder::create_numbered(out, &plan.name, &name(plan))?;
    plan.keep(&folder)?;
    let city = Rc::new(plan.city(&folder.file("city"))?);
    Ok((folder, city))
}

#[expect(clippy::disallowed_methods, reason = "how fast the world was, for a person")]
fn now() -> Instant {
    Instant::now()
}

/// How fast the world was. Of the terminal alone: it differs from run to run.
fn pace(played: &Played, took_s: f64) -> String {
    let figures = &played.judged.figures;
    let ops: u64 = figures.ops.iter().map(OpFigures::count).sum();
    let world_s = figures.end.as_ref().map_or(0.0, |end| end.at.as_secs_f64());
    let updates = figures.op(OpKind::DriverPing).map_or(0, OpFigures::count);
    let ns_each = |count: u64| took_s * 1e9 / count.max(1) as f64;
    format!(
        "played {world_s:.0} s in {took_s:.1} s: {:.0} ns an op ({ops} of them), or {:.0} ns a location \
         update ({updates}) with all that goes on beside them",
        ns_each(ops),
        ns_each(updates),
    )
}

/// Plays a plan to its verdict, in the folder `kept` or without keeping anything. `signals` are
/// the wishes of people to stop.
pub fn play(
    plan: &RunPlan,
    city: &Rc<City>,
    kept: Option<&Path>,
    ui: Ui,
    signals: Arc<Stops>,
) -> anyhow::Result<Played> {
    play_as(plan, city, kept, ui, signals, |show| show)
}

/// The same, with the show as `dressed` makes it.
pub fn play_as(
    plan: &RunPlan,
    city: &Rc<City>,
    kept: Option<&Path>,
    ui: Ui,
    signals: Arc<Stops>,
    dressed: impl FnOnce(Show) -> Show,
) -> anyhow::Result<Played> {
    let billing = Billing { run: name(plan), started_at: EPOCH.to_owned() };
    let fleet = Rc::new(VirtualFleet::new(plan, city, signals));
    let sim = fleet.sim();
    let traces = match kept {
        Some(folder) => Traces::virtual_(plan, &billing.run, folder, &sim)?,
        None => None,
    };
    fleet.set_traced(traces.is_some());
    let show = Show::new(plan.clone(), Rc::clone(city), kept, ui, fleet, billing)?.traced(traces);
    let show = dressed(show);
    let played = catch_unwind(AssertUnwindSafe(|| sim.run(show.play())));
    // However it ended, nothing of the world stays in memory: another may come after it.
    let closed = catch_unwind(AssertUnwindSafe(|| sim.close()));
    match (played, closed) {
        (Ok(played), Ok(())) => played.map_err(|stuck| RunError::Crash(stuck.to_string()))?,
        (Err(why), _) | (_, Err(why)) => Err(RunError::Crash(panic_words(why.as_ref())).into()),
    }
}

/// What a panic said; where it was stands in the lines on stderr.
pub fn panic_words(why: &(dyn std::any::Any + Send)) -> String {
    let text = why.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| why.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("(without words)"))
}

/// The run's id.
pub fn name(plan: &RunPlan) -> String {
    format!("virtual-{}", plan.seed_word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::verdict::Exit,
        run::plan::{Time, Wishes},
    };

    #[test]
    fn a_run_tells_which_signal_ended_it() {
        let wishes = Wishes { seed: Some("7".into()), time: Time::Virtual, ..Wishes::default() };
        let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let city = Rc::new(plan.city_in_memory().unwrap());
        for (word, exit) in [("INT", Exit::Interrupted), ("TERM", Exit::Terminated)] {
            let stops = Arc::new(Stops::default());
            stops.hear(word);
            let played = play(&plan, &city, None, Ui::None, stops).unwrap();
            let told = played.judged.figures.end.as_ref().and_then(|end| end.signal.as_deref());
            assert_eq!((told, played.exit), (Some(word), exit));
        }
    }

    #[test]
    fn a_run_that_was_cut_short_is_judged_again_as_it_was_judged() {
        let wishes = Wishes { seed: Some("7".into()), time: Time::Virtual, ..Wishes::default() };
        let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::create(out.path(), "smoke", "cut").unwrap();
        plan.keep(&folder).unwrap();
        let city = Rc::new(plan.city(&folder.file("city")).unwrap());
        let stops = Arc::new(Stops::default());
        stops.hear("INT");
        let live = play(&plan, &city, Some(folder.path()), Ui::None, stops).unwrap();
        let again = crate::run::again::judge(folder.path()).unwrap();
        let text = |judged: &crate::run::again::Judged| {
            serde_json::to_string_pretty(&judged.summary).unwrap()
        };
        assert!(!live.judged.summary.complete);
        assert_eq!(text(&again), text(&live.judged));
        assert_eq!(again.exit(), live.exit);
    }
}
