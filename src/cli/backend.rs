//! `robot-city backend`: the embedded backend alone.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::run::Bus;
use crate::run::{
    self,
    plan::{RunPlan, Wishes},
};

/// Options of `backend`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start it and keep it up until Ctrl-C.
    Up {
        /// The scenario whose settings and city it takes.
        #[arg(default_value = "scenarios/dublin-evening.toml")]
        scenario: PathBuf,
        /// How its services talk to each other.
        #[arg(long, value_enum)]
        bus: Option<Bus>,
        /// Override a key of the scenario.
        #[arg(long, value_name = "key=value")]
        set: Vec<String>,
        /// Where its data and logs go.
        #[arg(long, value_name = "DIR", default_value = "reports")]
        out: PathBuf,
    },
}

/// Starts it, prints where it is, and waits.
pub fn main(args: Args) -> anyhow::Result<u8> {
    let What::Up { scenario, bus, mut set, out } = args.what;
    set.extend(bus.map(Bus::set));
    let wishes = Wishes { sets: set, chaos: Some("none".into()), ..Wishes::default() };
    let plan = RunPlan::resolve(&scenario, &wishes)?;
    Ok(run::real::backend_up(&plan, &out)?.code())
}
