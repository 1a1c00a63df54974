//! `robot-city run`: a scenario from file to verdict.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

use crate::{
    base::{shell, span::Span},
    run::{
        self, Ui,
        plan::{Time, Wishes},
        swarm::{self, Order, seeds::Seeds},
    },
    scenario::{EMBEDDED, RABBITMQ},
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
    #[arg(long, value_name = "N|TEXT", allow_hyphen_values = true)]
    seed: Option<String>,
    /// Play every seed from A to B, both included (1..1000 is a thousand), each with sizes and
    /// faults of its own, in virtual time and on all cores; stops at the first failure.
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// With --seeds: go on after a failure.
    #[arg(long, requires = "seeds")]
    keep_going: bool,
    /// With --seeds: worlds played at once; one for each core where it is left out.
    #[arg(long, value_name = "N", requires = "seeds",
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: Option<u16>,
    /// How long the demand runs, instead of the scenario's: 90s, 10m.
    #[arg(long, value_name = "D")]
    duration: Option<Span>,
    /// The world: real processes, or the deterministic virtual one [default: real, with --seeds
    /// virtual].
    #[arg(long, value_enum)]
    time: Option<Time>,
    /// Switch on a planted bug (see `list bugs`): the run must find it.
    #[arg(long, value_name = "BUG")]
    plant: Vec<String>,
    /// Send traces as OpenTelemetry to that address too (OTLP over HTTP, JSON).
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Override a key of the scenario: `--set load.drivers=500`.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Attach a label to the run.
    #[arg(long, value_name = "key=value", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Failures that are known: reported, and not a failure of the run until they expire.
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Leave to inject faults where the target's `environment` is production.
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// What to show while it runs.
    #[arg(long, value_enum, default_value_t = UiArg::Auto)]
    ui: UiArg,
}

/// How the services of the embedded backend talk to each other.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Bus {
    /// Protobuf over TCP, from service to service.
    Embedded,
    /// Protobuf over `RabbitMQ`: brokers of the run's own, one in each AZ, federated.
    Rabbitmq,
}

impl Bus {
    /// The key of the scenario that it stands for.
    pub fn set(self) -> String {
        let bus = match self {
            Self::Embedded => EMBEDDED,
            Self::Rabbitmq => RABBITMQ,
        };
        format!("backend.bus={bus}")
    }
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
        sets.extend(self.bus.map(Bus::set));
        if let Some(target) = &self.target {
            sets.push(format!("target={target}"));
        }
        if let Some(url) = &self.otlp {
            sets.push(format!("traces.otlp={url}"));
        }
        Wishes {
            city: self.city.clone(),
            chaos: self.chaos.clone(),
            // Any will do for a swarm: each of its runs has its own.
            seed: self.seeds.map(|seeds| seeds.first.to_string()).or_else(|| self.seed.clone()),
            duration: self.duration,
            sets,
            labels: self.label.iter().cloned().collect::<BTreeMap<_, _>>(),
            plants: self.plant.clone(),
            known: self.known.clone(),
            approval: self.approval.clone(),
            time: self.time.unwrap_or(if self.seeds.is_some() {
                Time::Virtual
            } else {
                Time::Real
            }),
            swarm: self.seeds.is_some(),
        }
    }
}

/// Runs.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    if args.seeds.is_some() && args.time == Some(Time::Real) {
        anyhow::bail!(
            "--seeds plays many worlds at once, and there is only one real one: leave --time real out"
        );
    }
    let plan = run::plan::RunPlan::resolve(&args.scenario, &args.wishes())?;
    let ui = match args.ui {
        UiArg::Auto | UiArg::Plain => Ui::Plain,
        UiArg::None => Ui::None,
    };
    if let Some(seeds) = args.seeds {
        let order = Order {
            seeds,
            keep_going: args.keep_going,
            threads: args.threads.map(usize::from),
            out: args.out.clone(),
            ui,
            command: command_without_seeds(std::env::args().skip(1)),
        };
        return Ok(swarm::run(plan, &order)?.code());
    }
    Ok(run::perform(&plan, &args.out, ui)?.code())
}

/// This command without what is of a swarm as a whole: with `--seeds 7..7` behind it, it plays that
/// seed as the swarm did.
fn command_without_seeds(mut args: impl Iterator<Item = String>) -> String {
    let mut words = vec!["robot-city".to_owned()];
    while let Some(arg) = args.next() {
        match arg.split('=').next().unwrap_or_default() {
            "--keep-going" => {}
            "--seeds" | "--threads" => {
                if !arg.contains('=') {
                    args.next();
                }
            }
            _ => words.push(shell::word(&arg)),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(text: &str) -> Result<Args, String> {
        let words = std::iter::once("run").chain(text.split_whitespace());
        Alone::try_parse_from(words).map(|alone| alone.args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_swarm_is_virtual_and_has_seeds_of_its_own() {
        assert_eq!(parsed("").unwrap().wishes().time, Time::Real);
        assert_eq!(parsed("--seeds 1..9").unwrap().wishes().time, Time::Virtual);
        assert_eq!(parsed("--seeds 3..9").unwrap().wishes().seed.as_deref(), Some("3"));
        let error = main(&parsed("--seeds 1..9 --time real").unwrap()).unwrap_err();
        assert!(error.to_string().contains("--time real"), "{error}");
        for wrong in ["--seeds 1..9 --seed 4", "--keep-going", "--threads 2", "--seeds 9..1"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_may_begin_with_a_hyphen() {
        for text in ["--seed -5", "--seed=-5"] {
            assert_eq!(parsed(text).unwrap().seed.as_deref(), Some("-5"));
        }
    }

    #[test]
    fn a_seed_of_a_swarm_is_played_by_the_same_command() {
        let args = "run s.toml --seeds 1..9 --plant x --threads=2 --keep-going --set a=b";
        let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        args.push("--label=who=it's me".into());
        let command = command_without_seeds(args.into_iter());
        let wanted = r"robot-city run s.toml --plant x --set a=b '--label=who=it'\''s me'";
        assert_eq!(command, wanted);
    }
}
