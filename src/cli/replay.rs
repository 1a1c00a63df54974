//! `robot-city replay`: run a recorded run again.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{
    report::verdict::Exit,
    run::{self, Ui, folder::Folder, plan::RunPlan},
};

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
    let (mut runs, mut broke, mut worst) = (0, 0, Exit::Pass);
    while runs < args.times && !worst.is_signal() {
        let exit = run::perform(plan.clone(), &args.out, Ui::Plain)?;
        runs += 1;
        broke += u32::from(exit == Exit::Broken);
        worst = worst.worse(exit);
    }
    if args.times > 1 {
        println!("broke a law in {broke} of {runs} runs");
    }
    Ok(worst.code())
}
