//! `robot-city shrink`: the smallest plan and city that still break the law.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use clap::Args as ClapArgs;

use crate::{
    report::verdict::Exit,
    run::{
        self,
        folder::Folder,
        plan::{RunPlan, Time},
        shrink::{
            Search, Stop,
            candidate::Candidate,
            player::{InMemory, InScratch, Player},
            written,
        },
        signals::{self, Stops},
    },
};

/// Options of `shrink`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Leaves out faults, then makes the demand shorter and drivers, passengers and jobs fewer, as long as
the same law is broken (by any violation); ends when no single fault, robot, job or tenth of a second
can go. Writes scenario.toml, chaos.toml and the city to RUN/shrunk: they stand alone.
Exit codes: 0 the files break the law; 130, 143 interrupted, the best so far is written, if any; 2 the run does
not break the law again; 64 it never did; 70 the written files do not break it.")]
pub struct Args {
    /// The run's folder (`reports/latest`). It must have broken a law.
    run: PathBuf,
    /// The law to break, where the run broke several; left out: the first of them.
    #[arg(long, value_name = "LAW")]
    law: Option<String>,
    /// Runs at most; the best found so far is written then.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Runs of one candidate in the real world: it counts where one of them breaks the law.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
}

/// Shrinks, writes, and runs what was written once more.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let folder = Folder::open(&args.run)?;
    let plan = RunPlan::load(&folder.file("plan.toml"))?;
    let law = law_of(args, &folder)?;
    let signals = signals::of_process()?;
    let (mut memory, mut scratch);
    let (player, times): (&mut dyn Player, u32) = match plan.time {
        Time::Virtual => {
            memory = InMemory::new(&plan, Arc::clone(&signals))?;
            (&mut memory, 1)
        }
        Time::Real => {
            scratch = InScratch { scratch: folder.file("shrunk/scratch") };
            (&mut scratch, args.times)
        }
    };
    println!("shrinking {} of {}: it broke {law}", args.run.display(), plan.name);
    let mut search = Search::new(&plan, &law, player, (times, args.limit), Arc::clone(&signals));
    let stopped = match search.begins() {
        Ok(true) => search.run().err(),
        Ok(false) => {
            println!("{}", not_again(&plan, &law, times));
            return Ok(Exit::Inconclusive.code());
        }
        Err(stop) => Some(stop),
    };
    finish(&folder, &plan, &law, &mut search, (stopped, &signals))
}

/// The law that is to be broken: one that the run broke.
fn law_of(args: &Args, folder: &Folder) -> anyhow::Result<String> {
    let broken = run::again::judge(folder.path())?.broken();
    let told = broken.join(", ");
    match (&args.law, broken.first()) {
        (_, None) => bail!(
            "{} broke no law, so there is nothing to shrink: give the folder of a run whose \
             verdict is broken",
            args.run.display()
        ),
        (None, Some(first)) => {
            if broken.len() > 1 {
                println!("the run broke {told}: shrinking to {first}; --law takes another");
            }
            Ok(first.clone())
        }
        (Some(law), _) if broken.contains(law) => Ok(law.clone()),
        (Some(law), _) => bail!("`--law {law}`: the run did not break it; it broke {told}"),
    }
}

fn not_again(plan: &RunPlan, law: &str, times: u32) -> String {
    match plan.time {
        Time::Virtual => format!(
            "the plan does not break {law} any more: this is another build than the one that made \
             the run (`replay` tells where they part)"
        ),
        Time::Real => format!(
            "the plan did not break {law} again in {times} runs: raise --times (`replay --times` \
             tells the odds)"
        ),
    }
}

/// Writes the best, says what it is, and runs it once more unless somebody wants to stop.
fn finish(
    folder: &Folder,
    plan: &RunPlan,
    law: &str,
    search: &mut Search<'_>,
    (stopped, signals): (Option<Stop>, &Stops),
) -> anyhow::Result<u8> {
    if !search.confirmed() {
        return not_confirmed(law, stopped, signals);
    }
    let runs = search.runs();
    let best = search.best().clone();
    let small = best.of(plan);
    let scenario = written::write(folder, &small, law)?;
    println!("\nafter {runs} runs, what still breaks {law}:");
    print!("{}", changes(plan, &best));
    println!("\n{}", small.faults.to_plan(&format!("breaks {law}")));
    let exit = match stopped {
        None => {
            println!("no single fault, robot, job or tenth of a second can go");
            verify((&scenario, &small), law, search, signals)?
        }
        Some(Stop::Limit) => {
            println!("stopped at the limit of runs: more may go (--limit)");
            verify((&scenario, &small), law, search, signals)?
        }
        Some(Stop::Interrupted) => {
            println!("interrupted: more may go, and the files were not run once more");
            interrupted(signals)
        }
        Some(Stop::Failed(error)) => {
            println!("a run failed, and the search ends here: {error:#}");
            Exit::Crash
        }
    };
    let scenario = from_here(&scenario);
    println!("written to {}", scenario.parent().unwrap_or(&scenario).display());
    println!("{}", written::command(&scenario.to_string_lossy(), &small));
    Ok(exit.code())
}

/// The search ended before the recorded plan broke the law again: there is nothing to write.
fn not_confirmed(law: &str, stopped: Option<Stop>, signals: &Stops) -> anyhow::Result<u8> {
    let what = format!("the plan was not seen to break {law} again, and nothing was written");
    let (why, exit) = match stopped {
        Some(Stop::Failed(error)) => return Err(error.context(what)),
        Some(Stop::Interrupted) => ("interrupted", interrupted(signals)),
        Some(Stop::Limit) => ("stopped at the limit of runs", Exit::Inconclusive),
        None => ("the search is over", Exit::Inconclusive),
    };
    println!("not confirmed: {why}; {what}");
    Ok(exit.code())
}

/// Runs the written files, as anybody would who gets them.
fn verify(
    (scenario, small): (&Path, &RunPlan),
    law: &str,
    search: &mut Search<'_>,
    signals: &Stops,
) -> anyhow::Result<Exit> {
    let read = written::read(scenario, small)?;
    if read.faults != small.faults {
        println!("the written files do not give the same faults: please report this");
        return Ok(Exit::Crash);
    }
    match search.odds(&read) {
        Ok((0, runs)) => {
            println!("the written files did not break {law} in {runs} more runs");
            let exact = small.time == Time::Virtual;
            Ok(if exact { Exit::Crash } else { Exit::Inconclusive })
        }
        Ok((broke, runs)) => {
            println!("checked: the written files broke {law} in {broke} of {runs} more runs");
            Ok(Exit::Pass)
        }
        Err(Stop::Failed(error)) => Err(error),
        Err(_) => Ok(interrupted(signals)),
    }
}

/// The exit code of a search that somebody ended.
fn interrupted(signals: &Stops) -> Exit {
    signals.exit().unwrap_or(Exit::Interrupted)
}

/// What was removed, one a line.
fn changes(plan: &RunPlan, best: &Candidate) -> String {
    let whole = Candidate::whole(plan);
    let rows = [
        ("faults", whole.faults.len().to_string(), best.faults.len().to_string()),
        ("duration", whole.duration.to_string(), best.duration.to_string()),
        ("drivers", whole.drivers.to_string(), best.drivers.to_string()),
        ("passengers", whole.passengers.to_string(), best.passengers.to_string()),
        ("jobs an hour", whole.jobs_per_hour.to_string(), best.jobs_per_hour.to_string()),
        ("planted bugs", whole.plants.len().to_string(), best.plants.len().to_string()),
    ];
    let row = |(what, from, to): &(&str, String, String)| {
        if from == to {
            format!("  {what:<13} {to}\n")
        } else {
            format!("  {what:<13} {from} → {to}\n")
        }
    };
    rows.iter().map(row).collect()
}

/// A path as it is called from the folder where this was started.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    here.ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{plan::Wishes, shrink::player::Heard};

    /// Somebody wants to stop before it has played anything, or it cannot play.
    struct Never(bool);

    impl Player for Never {
        fn play(&mut self, _: &RunPlan) -> anyhow::Result<Heard> {
            if self.0 { Ok(Heard::Interrupted) } else { bail!("no room on the disk") }
        }
    }

    #[test]
    fn nothing_is_written_that_was_not_seen_to_break_the_law() {
        let wishes = Wishes { seed: Some("7".into()), time: Time::Virtual, ..Wishes::default() };
        let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let out = tempfile::tempdir().unwrap();
        let folder = Folder::create(out.path(), "smoke", "run").unwrap();
        let stops = Arc::new(Stops::default());
        stops.hear("TERM");
        for (interrupted, limit) in [(true, 10), (false, 10), (true, 0)] {
            let mut player = Never(interrupted);
            let law = "charged-once";
            let mut search = Search::new(&plan, law, &mut player, (1, limit), Arc::clone(&stops));
            let stopped = search.begins().unwrap_err();
            let told = finish(&folder, &plan, law, &mut search, (Some(stopped), &stops));
            match (interrupted, limit) {
                (true, 0) => assert_eq!(told.unwrap(), Exit::Inconclusive.code()),
                (true, _) => assert_eq!(told.unwrap(), Exit::Terminated.code()),
                (false, _) => assert!(format!("{:#}", told.unwrap_err()).contains("no room")),
            }
            assert!(!folder.file("shrunk").exists());
        }
    }
}
