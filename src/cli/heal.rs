//! `robot-city heal`: put back what dead runs left.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args as ClapArgs;

use crate::{
    report::verdict::Exit,
    run::{
        RunError,
        folder::Folder,
        heal::{self, Found},
        ledger::By,
    },
};

/// Options of `heal`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run's folder; left out: every run that left something.
    run: Option<PathBuf>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
}

/// Heals, and tells what is left.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let Some(run) = &args.run else { return Ok(all_below(&args.out)?.code()) };
    match one(run)? {
        Found::Busy(who) => {
            let why = format!("{} goes on, or is being healed ({who})", run.display());
            Err(RunError::Unfit(why).into())
        }
        Found::Dead(outcome) => Ok(outcome.exit().code()),
    }
}

fn all_below(out: &Path) -> anyhow::Result<Exit> {
    let mut exit = Exit::Pass;
    let runs = heal::leftovers(out);
    for run in &runs {
        match one(run)? {
            Found::Busy(who) => println!("{}: goes on, or is being healed ({who})", run.display()),
            Found::Dead(outcome) => exit = exit.worse(outcome.exit()),
        }
    }
    if runs.is_empty() {
        println!("no run below {} left anything", out.display());
    }
    Ok(exit)
}

fn one(run: &Path) -> anyhow::Result<Found> {
    let found = heal::put_back(&Folder::open(run)?, By::Heal, Duration::ZERO)?;
    if let Found::Dead(outcome) = &found {
        let name = run.display();
        for text in &outcome.healed {
            println!("{name}: healed: {text}");
        }
        for text in &outcome.left {
            println!("{name}: left: {text}");
        }
        if outcome.left.is_empty() {
            println!("{name}: nothing is left");
        }
    }
    Ok(found)
}
