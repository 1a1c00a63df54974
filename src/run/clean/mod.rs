//! Puts a target in order after a run, a dead one too: signs its robots off, ends its open jobs, and
//! reads back that nothing is left. From the run's folder alone. Starts no robot, judges no law.

mod census;
mod hand;
mod proof;
mod sweep;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    RunError,
    folder::Folder,
    lock::{Holder, Lock},
    outside,
    plan::RunPlan,
    targets,
};
use crate::{
    chaos::provider::ROBOTS, report::verdict::Exit, target::mapped::reach, world::real::run_local,
};
use census::Census;
use hand::Hand;
use sweep::Sweep;

/// All of it may take that long.
const WITHIN: Duration = Duration::from_mins(15);
/// Times that everything is gone through, where something is left.
const ROUNDS_MAX: usize = 3;
/// Between two of them: what was asked for may take a while to be seen.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The run stopped its backend itself, and nothing of it is left anywhere.
    pub went_with_the_run: bool,
    /// Robots that were signed off.
    pub signed_off: usize,
    /// Jobs that were ended.
    pub ended: usize,
    /// What is left, in words.
    pub left: Vec<String>,
    /// What cannot be proven, and why.
    pub unproven: Vec<String>,
    /// What was wrong with the history.
    pub damage: Option<String>,
}

impl Cleaned {
    /// The exit code: pass only where it is proven that nothing is left.
    pub fn exit(&self) -> Exit {
        if self.left.is_empty() && self.unproven.is_empty() { Exit::Pass } else { Exit::LeftBehind }
    }
}

/// Cleans up after the run in that folder.
#[expect(clippy::disallowed_methods, reason = "the origin of its time")]
pub fn clean(run: &Path) -> anyhow::Result<Cleaned> {
    let folder = Folder::open(run)?;
    let plan = RunPlan::load(&folder.file("plan.toml"))?;
    let Some(mapping) = plan.mapping.as_ref().filter(|_| !plan.starts_backend()) else {
        return Ok(Cleaned { went_with_the_run: true, ..Cleaned::default() });
    };
    let census = Census::read(folder.path(), &plan.scenario.load);
    // A history without its first record: the folder has the run's name, too.
    let name = || folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = census.run.clone().unwrap_or_else(name);
    let compiled = plan.compile(mapping, &id)?;
    let city = plan.city_in_memory()?;
    let started = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let holder = Holder::this(&format!("clean of {id}"), &folder, &started);
    let _lock = Lock::take(&compiled.place(), &city.name, &holder).map_err(RunError::from)?;
    let origin = Instant::now();
    run_local(async move {
        reach(&compiled).await.map_err(RunError::Unfit)?;
        let env = outside::env(&plan, ROBOTS, origin);
        let target = targets::of(&plan, env.clone(), &city, &id)?;
        let hand = Hand::new(env.clone(), target, compiled.ceiling_per_second);
        let sweep = Sweep::new(hand, census);
        let in_time = env.timeout(WITHIN, go_through(&sweep)).await.is_ok();
        let mut cleaned = sweep.outcome();
        if !in_time {
            cleaned.left.push(format!("not all was looked at within {} s", WITHIN.as_secs()));
        }
        Ok(cleaned)
    })?
}

async fn go_through(sweep: &Sweep) {
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            sweep.hand.rest(BETWEEN_ROUNDS).await;
        }
        sweep.enter().await;
        sweep.end_jobs().await;
        sweep.sign_off().await;
        // Given back by a driver, a job is its passenger's to end.
        sweep.end_jobs().await;
        if sweep.prove().await {
            break;
        }
    }
    sweep.put_to_rest().await;
}

#[cfg(test)]
mod tests;
