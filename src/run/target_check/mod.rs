//! `target check`: walks one job through a backend that a mapping file describes, step by step, and
//! says of each what went over the wire and what is wrong. Judges no law: it tells which could be.

mod fitness;
mod page;
mod walk;

use std::{path::Path, rc::Rc, time::Duration};

use futures_util::future::{Either, select};

use super::{
    RunError, detours,
    fleet::Fleet,
    folder::Folder,
    plan::{RunPlan, Wishes},
    signals::Signals,
    stage::Stage as _,
};
use crate::{
    base::{
        file::{FileError, Source},
        name::NodeName,
        rng::Rng,
    },
    chaos::{provider::ROBOTS, providers::Victims},
    city::City,
    engine::target::{Ears, Gap, Target as _},
    history::declares::Declares,
    report::verdict::Exit,
    target::{
        embedded::Settings,
        mapped::{Compiled, For, Mapped, reach},
    },
    world::{
        Env,
        real::{Boot, RealWorld, run_local},
    },
};
use page::Page;
use walk::Walk;

/// All of it takes no longer.
const WITHIN: Duration = Duration::from_mins(2);
/// One exchange takes no longer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);
/// Tidying up after it takes no longer.
const TIDY_WITHIN: Duration = Duration::from_secs(10);

/// What the reference backend is set up by, when it is the target.
const SCENARIO: &str = "scenarios/smoke.toml";

/// A mapping without a run: for who wants to know whether its file is sound.
pub fn compile(source: &Source, run: &str) -> Result<Compiled, FileError> {
    let made = For {
        run: run.to_owned(),
        seed: run.to_owned(),
        columns: Vec::new(),
        defaults: Declares { scaled_time: false, ..Declares::default() },
    };
    Compiled::new(source, &made)
}

/// Walks one job through and prints what was seen. The exit code: 0, or that of an unfit target.
#[expect(clippy::disallowed_methods, reason = "the origin of a real walk, and its name")]
pub fn check(file: &Path, city: &Path, sets: &[String]) -> anyhow::Result<Exit> {
    let origin = std::time::Instant::now();
    let run = jiff::Timestamp::now().strftime("check-%Y%m%dT%H%M%S%3f").to_string();
    let source = Source::read(file)?.with_sets(sets);
    let compiled = compile(&source, &run)?;
    println!("{}: {} ({})", file.display(), compiled.name, compiled.environment.word());
    if compiled.is_embedded() {
        return embedded(&source, city, &run, origin);
    }
    detours::announce(&Victims::read(&source)?.backend_link);
    let city = City::load(city)?;
    run_local(async move {
        reach(&compiled).await.map_err(|why| RunError::Unfit(not_there(&why)))?;
        let name = NodeName::from(ROBOTS);
        let world = RealWorld::new(name.clone(), Boot::default(), origin);
        let env = Env::new(name, &Rng::from_seed(&run), world);
        go(env, compiled, &[], &city, &run).await
    })?
}

/// The same with the reference backend, which is started for it and stopped after it.
fn embedded(
    source: &Source,
    city: &Path,
    run: &str,
    origin: std::time::Instant,
) -> anyhow::Result<Exit> {
    let wishes = Wishes {
        city: Some(city.to_string_lossy().into_owned()),
        chaos: Some("none".to_owned()),
        seed: Some(run.to_owned()),
        sets: vec!["time.time_scale=1.0".to_owned()],
        ..Wishes::default()
    };
    let plan = RunPlan::resolve(Path::new(SCENARIO), &wishes)?;
    let made = For {
        run: run.to_owned(),
        seed: plan.seed.clone(),
        columns: Vec::new(),
        defaults: Settings::of(&plan.scenario, &plan.seed, &[]).declares,
    };
    let compiled = Compiled::new(source, &made)?;
    let root = std::env::temp_dir().join(format!("robot-city-{run}-{}", std::process::id()));
    let folder = Folder::create(&root, "target", run)?;
    let city = Rc::new(City::load(city)?);
    let done = run_local(async {
        let fleet = Fleet::new(&plan, &city, &folder, origin)?;
        let done = match fleet.start().await {
            Ok(()) => go(fleet.robots(), compiled, &plan.nodes(&city.azs), &city, run).await,
            Err(why) => Err(RunError::Unfit(why).into()),
        };
        fleet.stop().await;
        done
    })?;
    // Its logs tell more only where it did not come up.
    if done.is_ok() {
        let _ = std::fs::remove_dir_all(&root);
    }
    done
}

fn not_there(why: &str) -> String {
    format!("{why}. Is it up, and is the `url` of that link right?")
}

/// The page sees every exchange.
fn watch(mapped: &Mapped, page: &Rc<Page>) {
    let sees = Rc::clone(page);
    mapped.watched_by(Rc::new(move |exchange| sees.saw(exchange.clone())));
    let hears = Rc::clone(page);
    let misses = Rc::clone(page);
    let miss = move |gap: Gap| misses.note(format!("[link.{}]: {}", gap.link, gap.why));
    mapped.listen(Ears::new(move |told| hears.told(told), miss));
}

async fn go(
    env: Env,
    compiled: Compiled,
    nodes: &[NodeName],
    city: &City,
    run: &str,
) -> anyhow::Result<Exit> {
    let page = Rc::new(Page::default());
    let mapped = Mapped::new(env.clone(), compiled, nodes, ATTEMPT_WITHIN);
    let mapped = mapped.map_err(RunError::Unfit)?;
    watch(&mapped, &page);
    let walk = &Walk::new(env, mapped, page, city, run);
    let signals = Signals::take()?;
    let work = walk.env.timeout(WITHIN, walk.all());
    let stopped = match select(Box::pin(work), Box::pin(signals.wait_for(1))).await {
        Either::Left((Ok(()), _)) => None,
        Either::Left((Err(_), _)) => {
            walk.page.problem(format!("the walk took longer than {} s", WITHIN.as_secs()));
            None
        }
        Either::Right((signal, _)) => Some(signal),
    };
    if stopped.is_some() {
        println!("\nstopped: the driver goes home, and what is open is cancelled");
    }
    let tidied = walk.env.timeout(TIDY_WITHIN, walk.tidy());
    // A second signal ends even that.
    let _ = select(Box::pin(tidied), Box::pin(signals.wait_for(2))).await;
    match stopped {
        Some("TERM") => return Ok(Exit::Terminated),
        Some(_) => return Ok(Exit::Interrupted),
        None => {}
    }
    fitness::tell(walk);
    Ok(if walk.page.sum_up() { Exit::Pass } else { Exit::Unfit })
}
