//! A swarm: one scenario with thousands of seeds, each with sizes and faults of its own, on all
//! cores, looking for the one that breaks a law. It plays what any virtual run plays, and judges
//! nothing itself.

pub mod crew;
pub mod keep;
pub mod seeds;
pub mod tally;
pub mod told;
pub mod trial;
pub mod vary;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use self::{
    crew::{Crew, News},
    keep::{Kept, keep},
    seeds::Seeds,
    tally::Tally,
    told::{Failure, Told},
    trial::Trial,
    vary::Base,
};
use super::{
    Ui,
    folder::Folder,
    plan::RunPlan,
    signals::{self, Stops},
};
use crate::report::verdict::Exit;

/// Failures whose folder is kept, those with the shortest history.
const KEPT_MAX: usize = 10;
/// The same when somebody wants it to end.
const KEPT_IN_A_HURRY: usize = 1;
/// A progress line no more often than that, on the clock of the person who watches.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// The file that says what the swarm came to.
const FILE: &str = "swarm.json";

/// What to play, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which seeds.
    pub seeds: Seeds,
    /// Goes on after a failure.
    pub keep_going: bool,
    /// Threads; one for each core where it is left out.
    pub threads: Option<usize>,
    /// Where runs are kept.
    pub out: PathBuf,
    /// What to show.
    pub ui: Ui,
    /// The command of this swarm without its seeds.
    pub command: String,
}

/// Plays a swarm over a plan, shows what it came to, and keeps it.
pub fn run(plan: RunPlan, order: &Order) -> anyhow::Result<Exit> {
    let threads = order.threads.unwrap_or_else(cores).max(1);
    // A folder that cannot be used shows before anything is played.
    let name = format!("swarm-{}-{}", order.seeds.first, order.seeds.last);
    let folder = Folder::create(&order.out, &plan.name, &name)?;
    println!("seeds {}  scenario {}  {threads} threads", order.seeds, plan.name);
    if !plan.plants.is_empty() {
        println!("!! PLANTED BUGS ARE ON: {} !!", plan.plants.join(", "));
    }
    let base = Base::new(plan)?;
    let signals = signals::of_process()?;
    let (tally, seconds) = play(&base, order, threads, &signals)?;
    let interrupted = signals.exit();
    let failures = keep_shortest(&base, order, &tally, interrupted.is_some());
    let told = Told::new(&base, order, threads, seconds, interrupted, tally, failures);
    folder.write(FILE, told.to_json()?.as_bytes())?;
    print!("{told}");
    println!("\n  tally: {}", folder.file(FILE).display());
    Ok(told.exit)
}

/// Plays all seeds; the tally, and how long it took in seconds.
#[expect(clippy::disallowed_methods, reason = "progress lines are for a person's clock")]
fn play(
    base: &Base,
    order: &Order,
    threads: usize,
    signals: &Stops,
) -> anyhow::Result<(Tally, f64)> {
    let (began, mut shown, mut stopping) = (Instant::now(), Instant::now(), false);
    let mut tally = Tally::default();
    let crew = Crew::new(base, order.seeds, threads, order.keep_going, signals);
    crew.play(|news| match news {
        News::Played(trial) => {
            if trial.is_failure() && order.ui != Ui::None {
                println!("{}", told::found(&trial, order));
            }
            tally.add(trial);
        }
        News::Tick => {
            if signals.count() > 0 && !std::mem::replace(&mut stopping, true) {
                println!("stopping after the seeds in work; twice more ends at once");
            }
            if order.ui != Ui::None && shown.elapsed() >= LINE_EVERY {
                shown = Instant::now();
                println!("{}", told::line(&tally, order.seeds, began.elapsed()));
            }
        }
    })?;
    Ok((tally, began.elapsed().as_secs_f64()))
}

/// Every failure that is remembered; those with the shortest history are played once more, and
/// their folders kept. The last one kept is the shortest, so that `latest` points at it.
fn keep_shortest(base: &Base, order: &Order, tally: &Tally, interrupted: bool) -> Vec<Failure> {
    let most = if interrupted { KEPT_IN_A_HURRY } else { KEPT_MAX };
    let shortest: Vec<&Trial> = tally.failures().take(most).collect();
    let mut kept: Vec<Result<Kept, String>> = shortest
        .iter()
        .rev()
        .map(|trial| keep(base, trial, &order.out).map_err(|why| format!("{why:#}")))
        .collect();
    tally.failures().map(|trial| Failure::new(trial, kept.pop(), order)).collect()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
