//! A run in the virtual world: one thread, no sockets, no clock on the wall; the same seed, plan and
//! build give the same history, byte for byte.

use std::{
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use super::{
    RunError, Ui,
    folder::Folder,
    outputs,
    plan::RunPlan,
    show::{Billing, Played, Show},
    signals,
    virtual_fleet::VirtualFleet,
};
use crate::{city::City, report::verdict::Exit};

/// When every virtual run starts.
const EPOCH: &str = "2026-01-01T00:00:00Z";

/// Runs a plan to its verdict, and hands back the folder.
pub fn run(plan: &RunPlan, out: &Path, ui: Ui) -> anyhow::Result<(Exit, Folder)> {
    let signals = Arc::new(AtomicUsize::new(0));
    signals::count_into(&signals)?;
    let folder = Folder::create_numbered(out, &plan.name, &name(plan))?;
    plan.announce(&folder)?;
    let city = Rc::new(plan.city(&folder.file("city"))?);
    let played = play(plan, &city, Some(folder.path()), ui, signals)?;
    Ok((outputs::publish(plan, &folder, &played), folder))
}

/// Plays a plan to its verdict, in the folder `kept` or without keeping anything. `signals` counts
/// the wishes of people to stop.
pub fn play(
    plan: &RunPlan,
    city: &Rc<City>,
    kept: Option<&Path>,
    ui: Ui,
    signals: Arc<AtomicUsize>,
) -> anyhow::Result<Played> {
    play_as(plan, city, kept, ui, signals, |show| show)
}

/// The same, with the show as `dressed` makes it.
pub fn play_as(
    plan: &RunPlan,
    city: &Rc<City>,
    kept: Option<&Path>,
    ui: Ui,
    signals: Arc<AtomicUsize>,
    dressed: impl FnOnce(Show) -> Show,
) -> anyhow::Result<Played> {
    let billing = Billing { run: name(plan), started_at: EPOCH.to_owned() };
    let fleet = Rc::new(VirtualFleet::new(plan, city, signals));
    let sim = fleet.sim();
    let show = dressed(Show::new(plan.clone(), Rc::clone(city), kept, ui, fleet, billing)?);
    let played = sim.run(show.play()).map_err(|stuck| RunError::Crash(stuck.to_string()));
    sim.close();
    played?
}

fn name(plan: &RunPlan) -> String {
    format!("virtual-{}", plan.seed_word())
}
