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
    plan::RunPlan,
    show::{Billing, Show},
    signals,
    virtual_fleet::VirtualFleet,
};
use crate::report::verdict::Exit;

/// When every virtual run starts.
const EPOCH: &str = "2026-01-01T00:00:00Z";

/// Runs a plan to its verdict, and hands back the folder.
pub fn run(plan: RunPlan, out: &Path, ui: Ui) -> anyhow::Result<(Exit, Folder)> {
    let signals = Arc::new(AtomicUsize::new(0));
    signals::count_into(&signals)?;
    let billing =
        Billing { run: format!("virtual-{}", plan.seed_word()), started_at: EPOCH.to_owned() };
    let folder = Folder::create_numbered(out, &plan.name, &billing.run)?;
    plan.announce(&folder)?;
    let city = Rc::new(plan.city(&folder.file("city"))?);
    let fleet = Rc::new(VirtualFleet::new(&plan, &city, signals));
    let sim = fleet.sim();
    let show = Show::new(plan, city, folder.clone(), ui, fleet, billing)?;
    let played = sim.run(show.play()).map_err(|stuck| RunError::Crash(stuck.to_string()));
    sim.close();
    Ok((played??, folder))
}
