//! `robot-city report`: render the reports of a recorded run again.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::run;

/// Options of `report`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run's folder (`reports/latest`).
    run: PathBuf,
}

/// Judges the history, and writes every output anew.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let judged = run::again::judge(&args.run)?;
    let folder = run::folder::Folder::open(&args.run)?;
    run::outputs::write(&folder, &judged.summary, &judged.figures)?;
    for output in run::outputs::OUTPUTS {
        println!("{}", folder.file(output.name).display());
    }
    Ok(0)
}
