//! `robot-city replay`: run a recorded run again, and look whether it went the same way.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args as ClapArgs;

use crate::{
    history::compare::Comparison,
    report::verdict::Exit,
    run::{
        self, Ended, RunError, Ui,
        folder::Folder,
        plan::{RunPlan, Time},
    },
};

/// Options of `replay`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A virtual run must go the very same way: each new history is compared with the recorded one, record
by record. Where they differ it is told at which record, and the exit code is 70 unless one that
comes before it in the order of exit codes holds (a broken law is 1 all the same).
A real run has the same seed, faults, victims and offsets, and its own timing: --times tells odds.")]
pub struct Args {
    /// The run's folder (`reports/latest`).
    run: PathBuf,
    /// Run it that often, and tell the odds of a broken law.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    times: u32,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// Runs again; with `--times` the exit code is that of the worst run.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let folder = Folder::open(&args.run)?;
    let plan = RunPlan::load(&folder.file("plan.toml"))?;
    let mut replay = Replay { recorded: folder, plan, args, odds: Odds::default() };
    let ended = replay.all();
    if args.times > 1 {
        println!("{}", replay.odds);
    }
    Ok(ended?.code())
}

struct Replay<'a> {
    recorded: Folder,
    plan: RunPlan,
    args: &'a Args,
    odds: Odds,
}

impl Replay<'_> {
    /// All runs, and the worst that they came to. One of many that comes to no verdict is told and
    /// counted apart; what is wrong with a file, and not with a run, ends it.
    fn all(&mut self) -> anyhow::Result<Exit> {
        let mut worst = Exit::Pass;
        for _ in 0..self.args.times {
            match run::keep(&self.plan, &self.args.out, Ui::Plain) {
                Ok(ended) => {
                    worst = worst.worse(self.judge(&ended)?);
                    if ended.interrupted {
                        break;
                    }
                }
                Err(error) => {
                    let interrupted = self.no_verdict(&error);
                    if self.args.times == 1 || error.downcast_ref::<RunError>().is_none() {
                        return Err(error);
                    }
                    eprintln!("robot-city: {error:#}");
                    worst = worst.worse(RunError::exit_of(&error));
                    if interrupted {
                        break;
                    }
                }
            }
        }
        Ok(worst)
    }

    /// Takes note of a run that came to no verdict; true when a person wants no more of them.
    fn no_verdict(&mut self, error: &anyhow::Error) -> bool {
        let interrupted = matches!(error.downcast_ref(), Some(RunError::Interrupted));
        self.odds.unplayed += u32::from(!interrupted);
        interrupted
    }

    /// What one more run says.
    fn judge(&mut self, ended: &Ended) -> anyhow::Result<Exit> {
        // One that was cut short has nothing to be compared with, and no odds: it may have broken
        // a law later.
        if ended.interrupted {
            return Ok(ended.exit);
        }
        self.odds.count(&ended.broken);
        if self.plan.time == Time::Real {
            return Ok(ended.exit);
        }
        let found = Comparison::of(self.recorded.path(), ended.folder.path())?;
        println!("  replay: {found}");
        if let Some((one, two)) = &found.tools {
            println!("  recorded by {one}, run again by {two}");
        }
        match &found.signal {
            Some(signal) if found.early => {
                println!("  SIG{signal} ended the recorded run later: it does not explain that");
            }
            Some(signal) if !found.is_same() => {
                println!("  SIG{signal} ended the recorded run: from there on they must differ");
            }
            _ => {}
        }
        if !found.is_defect() {
            return Ok(ended.exit);
        }
        println!("  {}", self.reason(ended)?);
        Ok(ended.exit.worse(Exit::Crash))
    }

    /// Why the two differ: once more tells whether this build agrees with itself.
    fn reason(&self, ended: &Ended) -> anyhow::Result<&'static str> {
        println!("  running it once more, to see whether this build agrees with itself");
        let again = run::keep(&self.plan, &self.args.out, Ui::None)?;
        if again.interrupted {
            return Ok("interrupted: whether this build agrees with itself is not known");
        }
        let found = Comparison::of(ended.folder.path(), again.folder.path())?;
        if found.is_same() {
            return Ok("this build agrees with itself, so the recorded run is of another build \
                       (the same version may be built from other sources), or its files were \
                       changed: check that build out to see it again");
        }
        println!("  the two new runs: {found}");
        Ok("this build does not agree with itself: something reads a real clock, the machine's \
            randomness, or the order of a hash map. Look at who made that record")
    }
}

/// How often which law was broken.
#[derive(Debug, Default)]
struct Odds {
    runs: u32,
    broke: u32,
    /// Runs that came to no verdict; not among the others.
    unplayed: u32,
    laws: BTreeMap<String, u32>,
}

impl Odds {
    fn count(&mut self, broken: &[String]) {
        self.runs += 1;
        self.broke += u32::from(!broken.is_empty());
        for law in broken {
            *self.laws.entry(law.clone()).or_default() += 1;
        }
    }
}

impl std::fmt::Display for Odds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.laws.keys().collect::<Vec<_>>()[..], self.broke, self.runs) {
            ([], _, runs) => write!(f, "broke no law in {runs} runs")?,
            ([law], broke, runs) => write!(f, "broke the law in {broke} of {runs} runs: {law}")?,
            (_, broke, runs) => {
                let told: Vec<String> =
                    self.laws.iter().map(|(law, times)| format!("{law} in {times}")).collect();
                write!(f, "broke the law in {broke} of {runs} runs: {}", told.join(", "))?;
            }
        }
        match self.unplayed {
            0 => Ok(()),
            count => write!(f, " ({count} more came to no verdict)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{base::span::Span, run::plan::Wishes};

    #[test]
    fn odds_name_the_laws() {
        let mut odds = Odds::default();
        odds.count(&[]);
        odds.count(&[]);
        assert_eq!(odds.to_string(), "broke no law in 2 runs");
        odds.count(&["charged-once".into()]);
        assert_eq!(odds.to_string(), "broke the law in 1 of 3 runs: charged-once");
        odds.count(&["charged-once".into(), "unique-ids".into()]);
        assert_eq!(
            odds.to_string(),
            "broke the law in 2 of 4 runs: charged-once in 2, unique-ids in 1"
        );
    }
    fn replay<'a>(args: &'a Args, folder: &Path) -> Replay<'a> {
        let wishes = Wishes { seed: Some("7".into()), time: Time::Virtual, ..Wishes::default() };
        let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let recorded = Folder::create(folder, "smoke", "recorded").unwrap();
        Replay { recorded, plan, args, odds: Odds::default() }
    }

    fn args(times: u32, out: &Path) -> Args {
        Args { run: PathBuf::new(), times, out: out.to_owned() }
    }

    #[test]
    fn a_run_that_was_cut_short_is_neither_compared_nor_counted() {
        let dir = tempfile::tempdir().unwrap();
        let args = args(10, dir.path());
        let mut replay = replay(&args, dir.path());
        let folder = Folder::create(dir.path(), "smoke", "new").unwrap();
        let broken = vec!["charged-once".to_owned()];
        let ended = Ended { exit: Exit::Broken, broken, interrupted: true, folder };
        // Neither folder holds a history: whoever compares them fails.
        assert_eq!(replay.judge(&ended).unwrap(), Exit::Broken);
        assert_eq!(replay.odds.to_string(), "broke no law in 0 runs");
    }

    #[test]
    fn a_run_without_a_verdict_is_counted_apart_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (twice, alone) = (args(2, dir.path()), args(1, dir.path()));
        let mut many = replay(&twice, &dir.path().join("many"));
        // Nobody is healthy that soon.
        many.plan.scenario.backend.healthy_within = Span::millis(0);
        assert_eq!(many.all().unwrap(), Exit::Unfit);
        let told = "broke no law in 0 runs (2 more came to no verdict)";
        assert_eq!(many.odds.to_string(), told);
        let mut single = replay(&alone, &dir.path().join("single"));
        single.plan = many.plan.clone();
        assert_eq!(RunError::exit_of(&single.all().unwrap_err()), Exit::Unfit);
    }
}
