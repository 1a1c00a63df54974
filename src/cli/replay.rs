//! `robot-city replay`: run a recorded run again.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::run::{self, Ui, folder::Folder, plan::RunPlan};

/// Options of `replay`.
#[derive(Debug, ClapArgs)]
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
    let mut broke = 0;
    let mut worst = 0;
    for _ in 0..args.times {
        let exit = run::perform(plan.clone(), &args.out, Ui::Plain)?;
        broke += u32::from(exit == crate::report::verdict::Exit::Broken);
        worst = if worst == 1 { 1 } else { exit.code() };
    }
    if args.times > 1 {
        println!("broke a law in {broke} of {} runs", args.times);
    }
    Ok(worst)
}
