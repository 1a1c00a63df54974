//! `robot-city run`: a scenario from file to verdict.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

use crate::{
    base::span::Span,
    run::{
        self, Ui,
        plan::{Time, Wishes},
    },
};

/// Options of `run`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The scenario's file.
    #[arg(default_value = "scenarios/dublin-evening.toml")]
    scenario: PathBuf,
    /// The target: `embedded` (the reference backend).
    #[arg(long, value_name = "FILE|embedded")]
    target: Option<String>,
    /// A city's file instead of the scenario's.
    #[arg(long, value_name = "FILE")]
    city: Option<String>,
    /// A fault plan's file instead of the scenario's, or `none`.
    #[arg(long, value_name = "FILE|none")]
    chaos: Option<String>,
    /// How the services of the embedded backend talk to each other.
    #[arg(long, value_enum)]
    bus: Option<Bus>,
    /// A number, or any text; drawn and printed where it is left out.
    #[arg(long, value_name = "N|TEXT")]
    seed: Option<String>,
    /// How long the demand runs, instead of the scenario's: 90s, 10m.
    #[arg(long, value_name = "D")]
    duration: Option<Span>,
    /// The world: real processes, or the deterministic virtual one.
    #[arg(long, value_enum, default_value_t = Time::Real)]
    time: Time,
    /// Switch on a planted bug (see `list bugs`): the run must find it.
    #[arg(long, value_name = "BUG")]
    plant: Vec<String>,
    /// Override a key of the scenario: `--set load.drivers=500`.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Attach a label to the run.
    #[arg(long, value_name = "key=value", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to show while it runs.
    #[arg(long, value_enum, default_value_t = UiArg::Auto)]
    ui: UiArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bus {
    /// Protobuf over TCP.
    Embedded,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UiArg {
    /// A line a second.
    Auto,
    /// A line a second.
    Plain,
    /// Only the end.
    None,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is not key=value"))
}

impl Args {
    fn wishes(&self) -> Wishes {
        let mut sets = self.set.clone();
        if let Some(Bus::Embedded) = self.bus {
            sets.push("backend.bus=embedded".into());
        }
        if let Some(target) = &self.target {
            sets.push(format!("target={target}"));
        }
        Wishes {
            city: self.city.clone(),
            chaos: self.chaos.clone(),
            seed: self.seed.clone(),
            duration: self.duration,
            sets,
            labels: self.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            plants: self.plant.clone(),
            time: self.time,
        }
    }
}

/// Runs.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let plan = run::plan::RunPlan::resolve(&args.scenario, &args.wishes())?;
    let ui = match args.ui {
        UiArg::Auto | UiArg::Plain => Ui::Plain,
        UiArg::None => Ui::None,
    };
    Ok(run::perform(&plan, &args.out, ui)?.code())
}
