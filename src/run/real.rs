//! A run in the real world: processes, sockets, disks, the clock on the wall.

use std::{
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};

use super::{
    Ended, RunError, Ui, detours,
    fleet::Fleet,
    folder::Folder,
    guardian::Guardian,
    heal,
    ledger::{Books, By},
    lock::{Holder, Lock},
    outputs,
    outside::Outside,
    plan::RunPlan,
    show::{Billing, Played, Show},
    stage::Stage,
    traces::Traces,
    victims,
};
use crate::{city::City, report::verdict::Exit, world::real::run_local};

/// Runs a plan to its verdict.
pub fn run(plan: &RunPlan, out: &Path, ui: Ui) -> anyhow::Result<Ended> {
    sweep(plan, out)?;
    let (billing, origin) = now(plan);
    let folder = Folder::create(out, &plan.name, &billing.run)?;
    plan.keep(&folder)?;
    plan.announce(&folder);
    if let Some(mapping) = plan.mapping.as_ref().filter(|_| !plan.starts_backend()) {
        detours::announce(&victims::read(mapping)?.backend_link);
    }
    let played = play(plan, &folder, ui, billing, origin)?;
    let exit = outputs::publish(plan, &folder, &played);
    Ok(Ended { exit, broken: played.broken(), interrupted: played.interrupted(), folder })
}

/// Runs a plan for its verdict alone, without a report: for who plays many. What it leaves is in a
/// folder below `out`.
pub fn trial(plan: &RunPlan, out: &Path) -> anyhow::Result<Played> {
    let (billing, origin) = now(plan);
    let folder = Folder::create(out, &plan.name, &billing.run)?;
    plan.keep(&folder)?;
    play(plan, &folder, Ui::None, billing, origin)
}

fn play(
    plan: &RunPlan,
    folder: &Folder,
    ui: Ui,
    billing: Billing,
    origin: Instant,
) -> anyhow::Result<Played> {
    let city = Rc::new(plan.city(&folder.file("city"))?);
    let target_lock = lock(plan, folder, &city, &billing)?;
    let books = Books::of(folder, By::Run);
    // Held until this process is no more: nobody heals what it may still break.
    let owner = books.own()?;
    let traces = Traces::real(plan, &billing.run, folder.path(), origin)?;
    run_local(async move {
        let stage: Rc<dyn Stage> = if plan.starts_backend() {
            let collector = traces.as_ref().and_then(Traces::address);
            Rc::new(Fleet::new(plan, &city, folder, origin)?.traced_to(collector))
        } else {
            Rc::new(Outside::new(plan, &billing.run, folder, origin)?)
        };
        let guardian = needs_guardian(plan).then(|| Guardian::start(folder)).transpose()?;
        let show = Show::new(plan.clone(), city, Some(folder.path()), ui, stage, billing)?;
        let played = show.traced(traces).written_in(books.clone()).play().await;
        books.close();
        drop((target_lock, owner));
        if let Some(guardian) = guardian {
            guardian.let_go().await;
        }
        played
    })?
}

/// Whether anything may outlive the run that has to be put back.
fn needs_guardian(plan: &RunPlan) -> bool {
    !plan.faults.faults.is_empty() || !plan.starts_backend()
}

/// Puts back what runs left here that are dead, their guardians too. What cannot be put back is
/// told; a run at a backend that is not its own is refused then, since nobody knows what it would
/// measure.
fn sweep(plan: &RunPlan, out: &Path) -> anyhow::Result<()> {
    let mut left = Vec::new();
    for run in heal::leftovers(out) {
        let found = heal::put_back(&Folder::open(&run)?, By::Sweep, Duration::ZERO)?;
        let heal::Found::Dead(outcome) = found else { continue };
        for text in outcome.healed {
            println!("{} is dead; healed: {text}", run.display());
        }
        for text in outcome.left {
            println!("{} is dead; left: {text}", run.display());
            left.push(format!("{}: {text}", run.display()));
        }
    }
    if !left.is_empty() && !plan.starts_backend() {
        return Err(RunError::LeftBehind(left.join("; ")).into());
    }
    Ok(())
}

/// Keeps other runs away from a backend that this run did not start.
fn lock(
    plan: &RunPlan,
    folder: &Folder,
    city: &City,
    billing: &Billing,
) -> anyhow::Result<Option<Lock>> {
    let Some(mapping) = plan.mapping.as_ref().filter(|_| !plan.starts_backend()) else {
        return Ok(None);
    };
    let place = plan.compile(mapping, &billing.run)?.place();
    let holder = Holder::this(&billing.run, folder, &billing.started_at);
    Ok(Some(Lock::take(&place, &city.name, &holder).map_err(RunError::from)?))
}

/// What a run that begins now is called, and the origin of its time.
#[expect(clippy::disallowed_methods, reason = "the origin of a real run")]
fn now(plan: &RunPlan) -> (Billing, Instant) {
    let origin = Instant::now();
    let now = jiff::Timestamp::now();
    let billing = Billing {
        run: run_id(plan, now),
        started_at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    };
    (billing, origin)
}

/// Starts the embedded backend alone, and keeps it up until a signal.
#[expect(clippy::disallowed_methods, reason = "the origin of a real run")]
pub fn backend_up(plan: &RunPlan, out: &Path) -> anyhow::Result<Exit> {
    let origin = Instant::now();
    let folder = Folder::create(out, "backend", &run_id(plan, jiff::Timestamp::now()))?;
    let city = Rc::new(plan.city(&folder.file("city"))?);
    run_local(async move {
        let fleet = Fleet::new(plan, &city, &folder, origin)?;
        let started = select(fleet.start(), fleet.signal(1)).await;
        if let Either::Left((outcome, _)) = started {
            if let Err(why) = outcome {
                fleet.stop().await;
                return Err(RunError::Unfit(why).into());
            }
            for (node, address) in fleet.api_addresses() {
                println!("{node}  http://{address}");
            }
            for (node, address) in fleet.broker_addresses() {
                println!("{node}  amqp://guest:guest@{address}");
            }
            println!("logs and data in {}; Ctrl-C ends it", folder.path().display());
            let looking = async {
                loop {
                    fleet.operator().sleep(Duration::from_secs(1)).await;
                    fleet.look_after().await;
                }
            };
            select(fleet.signal(1), std::pin::pin!(looking)).await;
        }
        fleet.stop().await;
        Ok(Exit::Pass)
    })?
}

/// `20261121T013838-040-42`: start in UTC and seed. Sorts by time.
fn run_id(plan: &RunPlan, now: jiff::Timestamp) -> String {
    let millis = now.subsec_millisecond();
    format!("{}-{millis:03}-{}", now.strftime("%Y%m%dT%H%M%S"), plan.seed_word())
}
