//! `robot-city check`: judge a recorded history again.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{report, run};

/// Options of `check`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run's folder (`reports/latest`); or a history from elsewhere: a file of JSON lines, or a
    /// folder with `history/` alone.
    run: PathBuf,
}

/// Judges, prints the summary, and tells the verdict's exit code. Writes nothing.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let judged = run::again::judge(&args.run)?;
    print!("{}", report::console::render(&judged.summary));
    Ok(judged.exit().code())
}
