//! `robot-city list`: what there is, from the registries.

use clap::{Args as ClapArgs, ValueEnum};

use crate::{backend, chaos, law, robot, run, target};

/// Options of `list`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// What to list.
    #[arg(value_enum)]
    what: What,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Kinds of faults.
    Faults,
    /// Laws of the city.
    Laws,
    /// Kinds of robots.
    Robots,
    /// Ways to speak to a backend.
    Targets,
    /// Bugs that can be planted in the embedded backend.
    Bugs,
    /// Files that a run writes.
    Outputs,
}

/// Prints name and meaning, one a line.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let rows: Vec<(&str, &str)> = match args.what {
        What::Faults => chaos::fault::FAULTS.iter().map(|f| (f.name, f.means)).collect(),
        What::Laws => law::registry::LAWS.iter().map(|l| (l.name, l.means)).collect(),
        What::Robots => robot::ROBOTS.iter().map(|r| (r.name, r.what)).collect(),
        What::Targets => target::TARGETS.iter().map(|t| (t.name, t.means)).collect(),
        What::Bugs => backend::plants::ALL.iter().map(|b| (b.name, b.what)).collect(),
        What::Outputs => run::outputs::OUTPUTS.iter().map(|o| (o.name, o.means)).collect(),
    };
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, means)| serde_json::json!({ "name": name, "means": means }))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(0);
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, means) in rows {
        println!("{name:width$}  {means}");
    }
    Ok(0)
}
