//! `robot-city rehearse`: the load that a scenario would send, before anybody touches a target.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args as ClapArgs;

use crate::{
    base::span::Span,
    report::rehearsal::Rehearsal,
    run::{
        plan::{RunPlan, Time, Wishes},
        rehearse,
    },
};

/// Options of `rehearse`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The scenario's file.
    scenario: PathBuf,
    /// A city's file instead of the scenario's.
    #[arg(long, value_name = "FILE")]
    city: Option<String>,
    /// A number, or any text; drawn and printed where it is left out.
    #[arg(long, value_name = "N|TEXT", allow_hyphen_values = true)]
    seed: Option<String>,
    /// How long the demand would run, instead of the scenario's: 90s, 24h.
    #[arg(long, value_name = "D")]
    duration: Option<Span>,
    /// Override a key of the scenario: `--set load.drivers=500`.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Write the figures as JSON to a file, or with `-` to standard output instead of the chart.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// About how many ops are played to measure what the rest is reckoned from; a scenario that
    /// is hardly longer than that is played as a whole.
    #[arg(long, value_name = "OPS", default_value_t = rehearse::BUDGET,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    budget: u64,
}

impl Args {
    fn wishes(&self) -> Wishes {
        Wishes {
            city: self.city.clone(),
            // Faults are left out; a shorter duration must not trip over them.
            chaos: Some("none".into()),
            seed: self.seed.clone(),
            duration: self.duration,
            sets: self.set.clone(),
            time: Time::Virtual,
            ..Wishes::default()
        }
    }
}

/// Rehearses.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let plan = RunPlan::resolve(&args.scenario, &args.wishes())?;
    let rehearsal = rehearse::rehearse(&plan, args.budget)?;
    match args.json.as_deref() {
        Some(file) if file == Path::new("-") => print!("{}", json(&rehearsal)?),
        Some(file) => {
            std::fs::write(file, json(&rehearsal)?)
                .with_context(|| format!("{} cannot be written", file.display()))?;
            print!("{}", rehearsal.render());
            println!("\n  figures: {}", file.display());
        }
        None => print!("{}", rehearsal.render()),
    }
    Ok(0)
}

fn json(rehearsal: &Rehearsal) -> anyhow::Result<String> {
    Ok(serde_json::to_string(rehearsal)? + "\n")
}
