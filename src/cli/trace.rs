//! `robot-city trace`: one request through the services.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{report, run};

/// Options of `trace`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run's folder (`reports/latest`).
    run: PathBuf,
    /// The number of an op, a job's id, or a trace's 32 hexadecimal digits.
    id: String,
}

/// Prints every trace of it, in the order of time.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    for hops in run::traces::find(&args.run, &args.id)? {
        println!("{}", report::traces::text(&hops));
    }
    Ok(0)
}
