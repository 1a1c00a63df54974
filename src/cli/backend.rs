//! `robot-city backend`: the embedded backend alone, and an operator's view of one that runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};

use super::run::Bus;
use crate::{
    base::span::Span,
    run::{
        self,
        operator::{Operator, Whereabouts},
        plan::{RunPlan, Wishes},
    },
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
    /// The health of every instance of one that runs.
    Status {
        #[command(flatten)]
        which: Which,
        /// Everything that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// The running instances whose name fits.
    List {
        /// `*` stands for anything: `a/*`, `*/core-*`.
        #[arg(default_value = "*")]
        pattern: String,
        #[command(flatten)]
        which: Which,
    },
    /// One instance: rates, latencies, health.
    Stats {
        /// Its name, like `a/core-1`.
        instance: String,
        #[command(flatten)]
        which: Which,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Who calls whom, how often, how well.
    Map {
        #[command(flatten)]
        which: Which,
    },
    /// The config: JSON by key. `binding` has the rules of who is asked, `settings` those of nodes.
    Config {
        #[command(subcommand)]
        what: Config,
    },
    /// Move the traffic of a service from one version to another, evenly over a time.
    RollOut {
        /// Like `core/fare`; `*` for every service.
        service: String,
        /// The version that has the traffic now.
        from: u32,
        /// The version that is to have it.
        to: u32,
        /// How long it takes.
        #[arg(long, default_value = "60s")]
        over: String,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Subcommand)]
enum Config {
    /// The document at a key, or all of them.
    Get {
        /// The key.
        key: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Set the document at a key; every node goes by it within a second.
    Set {
        /// The key; `KEY/core`, `KEY/a` and `KEY/a/core-1` go over `KEY` for those nodes.
        key: String,
        /// JSON; left out: the key is deleted.
        json: Option<String>,
        #[command(flatten)]
        which: Which,
    },
}

/// Which backend.
#[derive(Debug, ClapArgs)]
struct Which {
    /// The folder of its run; left out: the newest below `reports` that runs.
    #[arg(long, value_name = "RUN")]
    at: Option<PathBuf>,
}

/// Starts it, prints where it is, and waits; or asks one that runs.
pub fn main(args: Args) -> anyhow::Result<u8> {
    let said = match args.what {
        What::Up { scenario, bus, mut set, out } => {
            set.extend(bus.map(Bus::set));
            let wishes = Wishes { sets: set, chaos: Some("none".into()), ..Wishes::default() };
            let plan = RunPlan::resolve(&scenario, &wishes)?;
            return Ok(run::real::backend_up(&plan, &out)?.code());
        }
        What::Status { which, json } => which.ask(async |it| it.status(json).await),
        What::List { pattern, which } => which.ask(async |it| it.list(&pattern).await),
        What::Stats { instance, which, json } => {
            which.ask(async |it| it.stats(&instance, json).await)
        }
        What::Map { which } => which.ask(async |it| it.map().await),
        What::Config { what: Config::Get { key, which } } => {
            which.ask(async |it| it.config(key.as_deref()).await)
        }
        What::Config { what: Config::Set { key, json, which } } => {
            let document = json
                .map(|text| {
                    serde_json::from_str(&text).with_context(|| format!("`{text}` is no JSON"))
                })
                .transpose()?;
            which.ask(async |it| it.set(&key, document.as_ref()).await)
        }
        What::RollOut { service, from, to, over, which } => {
            let over: Span = over.parse().map_err(|why| anyhow::anyhow!("--over {over}: {why}"))?;
            which.ask(async |it| it.roll_out(&service, (from, to), over.0).await)
        }
    };
    println!("{}", said?);
    Ok(0)
}

impl Which {
    fn ask(
        &self,
        work: impl AsyncFnOnce(Operator) -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let places = Whereabouts::find(self.at.as_deref(), Path::new("reports"))?;
        Operator::run(places, work)
    }
}
