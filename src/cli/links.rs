//! `robot-city links`: the fault proxy of a run. Told what to do on its standard input; ends with it.

use clap::Args as ClapArgs;

use crate::run;

/// Options of `links`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The seed of its random draws.
    seed: String,
    /// The process that started it, and with which it ends.
    parent: u32,
}

/// Serves until its standard input ends.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    run::node::links(&args.seed, args.parent)?;
    Ok(0)
}
