//! `robot-city list`: what there is, from the registries.

use std::path::Path;

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use crate::{
    backend::plants::{self, Plant},
    base::file::Source,
    chaos,
    law::{self, LawEntry},
    robot, run, target,
};

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
    /// Ways to reach the victims of a backend that the run does not start.
    Providers,
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

/// Prints name and meaning, one a line; of a bug also where it lives and who catches it, of a law which
/// bugs it catches.
pub fn main(args: &Args) -> anyhow::Result<u8> {
    let rows: Vec<Row> = match args.what {
        What::Faults => chaos::fault::FAULTS.iter().map(|f| row(f.name, f.means)).collect(),
        What::Providers => {
            chaos::providers::PROVIDERS.iter().map(|p| row(p.name, p.means)).collect()
        }
        What::Laws => law::registry::LAWS.iter().map(law_row).collect(),
        What::Robots => robot::ROBOTS.iter().map(|r| row(r.name, r.what)).collect(),
        What::Targets => targets(),
        What::Bugs => plants::ALL.iter().map(bug).collect(),
        What::Outputs => run::outputs::OUTPUTS.iter().map(|o| row(o.name, o.means)).collect(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(0);
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in rows {
        println!("{:width$}  {}{}", row.name, row.means, row.more());
    }
    Ok(0)
}

/// One line.
#[derive(Debug, Default, Serialize)]
struct Row {
    name: String,
    means: String,
    /// Of a bug: who catches it, or that nobody does yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    caught: Option<String>,
    /// Of a bug: what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    /// Of a bug: where it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
    /// Of a bug: the scenario in which it has its chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<&'static str>,
    /// Of a law: the bugs that it ought to catch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    catches: Vec<&'static str>,
}

impl Row {
    /// What stands behind the meaning.
    fn more(&self) -> String {
        let mut more = Vec::new();
        more.extend(self.place.map(|place| format!("at {place}")));
        more.extend(self.caught.clone());
        if !self.catches.is_empty() {
            more.push(format!("catches {}", self.catches.join(", ")));
        }
        if more.is_empty() { String::new() } else { format!(" ({})", more.join("; ")) }
    }
}

fn row(name: &str, means: &str) -> Row {
    Row { name: name.to_owned(), means: means.to_owned(), ..Row::default() }
}

/// A law, with the bugs that name it as the one that catches them.
fn law_row(entry: &LawEntry) -> Row {
    let mine = plants::ALL.iter().filter(|plant| plant.caught_by == entry.name);
    Row { catches: mine.map(|plant| plant.name).collect(), ..row(entry.name, entry.means) }
}

/// Those that are built in, and the mapping files of the folder `targets`.
fn targets() -> Vec<Row> {
    let mut rows: Vec<Row> = target::TARGETS.iter().map(|t| row(t.name, t.means)).collect();
    // Where there is no such folder, there are no files in it.
    let entries = std::fs::read_dir("targets").into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    rows.extend(files.iter().map(|path| row(&path.to_string_lossy(), &about(path))));
    rows
}

/// What a mapping file says that it is.
fn about(path: &Path) -> String {
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(error) => return error.what,
    };
    match source.parse::<toml::Table>() {
        Ok(table) => table.get("about").and_then(toml::Value::as_str).unwrap_or("").to_owned(),
        Err(error) => error.what,
    }
}

fn bug(plant: &Plant) -> Row {
    let by = plant.caught_by;
    let is_law = law::registry::LAWS.iter().any(|law| law.name == by);
    // Laws are called by one word; a command that catches it is told in several.
    let caught = match (is_law, by.contains(' ')) {
        (true, _) => format!("caught by {by}"),
        (false, true) => format!("no law can: found by {by}"),
        (false, false) => format!("not caught yet: there is no law {by}"),
    };
    let (group, place) = (Some(plant.group), Some(plant.place));
    let scenario = Some(plant.scenario());
    Row { caught: Some(caught), group, place, scenario, ..row(plant.name, plant.what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_without_a_law_is_told() {
        let plant =
            |caught_by| bug(&Plant { name: "a", group: "g", what: "b", place: "c", caught_by });
        assert_eq!(plant("charged-once").caught.unwrap(), "caught by charged-once");
        assert_eq!(plant("no-such").caught.unwrap(), "not caught yet: there is no law no-such");
        assert!(plant("replay of a run").caught.unwrap().ends_with("found by replay of a run"));
        assert_eq!(plant("charged-once").more(), " (at c; caught by charged-once)");
    }

    #[test]
    fn a_law_names_the_bugs_that_name_it() {
        let offers = law::registry::entry("offers-in-reach").map(law_row).unwrap();
        assert!(offers.catches.contains(&"offer-far"), "{offers:?}");
        assert!(offers.more().starts_with(" (catches "), "{}", offers.more());
        assert_eq!(row("a", "b").more(), "");
    }
}
