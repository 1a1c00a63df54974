//! The files that a run writes beside its history. One more output is one more row.

use std::path::Path;

use super::{folder::Folder, plan::RunPlan, show::Played};
use crate::{
    base::shell,
    history::reader::Reader,
    report::{
        console,
        evidence::{self, Bundles},
        figures::Figures,
        hgrm, html, junit,
        summary::Summary,
        verdict::Exit,
    },
};

/// An entry of the registry.
pub struct OutputEntry {
    /// The file's name.
    pub name: &'static str,
    /// What is in it.
    pub means: &'static str,
    render: fn(&Summary, &Figures) -> anyhow::Result<String>,
}

/// Every output.
pub const OUTPUTS: &[OutputEntry] = &[
    OutputEntry {
        name: "summary.json",
        means: "verdict, figures, laws, faults: for tools (schema-versioned)",
        render: |summary, _| Ok(serde_json::to_string_pretty(summary)? + "\n"),
    },
    OutputEntry {
        name: "report.html",
        means: "the same for people, with charts; one file, works offline",
        render: |summary, figures| Ok(html::render(summary, figures)?),
    },
    OutputEntry {
        name: "junit.xml",
        means: "laws, gates and adequacy as test cases: for CI servers",
        render: |summary, _| Ok(junit::render(summary)?),
    },
    OutputEntry {
        name: "latency.hgrm",
        means: "percentile distributions of each op: for HdrHistogram's plotters",
        render: |_, figures| Ok(hgrm::render(figures)),
    },
    OutputEntry {
        name: "summary.txt",
        means: "what the terminal showed at the end",
        render: |summary, _| Ok(console::render(summary)),
    },
];

/// Writes every output, `summary.json` first; then the evidence of each violation.
pub fn write(folder: &Folder, summary: &Summary, figures: &Figures) -> anyhow::Result<()> {
    for output in OUTPUTS {
        folder.write(output.name, (output.render)(summary, figures)?.as_bytes())?;
    }
    write_evidence(folder, summary)
}

/// A file for each violation, from the history. What an earlier judgement wrote goes.
fn write_evidence(folder: &Folder, summary: &Summary) -> anyhow::Result<()> {
    folder.clear(evidence::FOLDER)?;
    let mut bundles = Bundles::of(summary);
    if bundles.is_empty() {
        return Ok(());
    }
    for record in Reader::open(folder.path())? {
        bundles.see(&record?);
    }
    folder.make(evidence::FOLDER)?;
    for (name, bundle) in bundles.files() {
        folder.write(&name, (serde_json::to_string_pretty(&bundle)? + "\n").as_bytes())?;
    }
    Ok(())
}

/// The command that runs the run of that folder again.
pub fn replay_command(folder: &Path) -> String {
    format!("robot-city replay {}", shell::word(&folder.to_string_lossy()))
}

/// Shows how a run came out, writes its files, and tells the exit code: a run whose report cannot
/// be kept does not pass.
pub fn publish(plan: &RunPlan, folder: &Folder, played: &Played) -> Exit {
    let Played { judged, exit, .. } = played;
    let mut exit = *exit;
    print!("{}", console::render(&judged.summary));
    let kept =
        write(folder, &judged.summary, &judged.figures).and_then(|()| Ok(folder.make_latest()?));
    match kept {
        Ok(()) => println!("\n  report: {}", folder.file("report.html").display()),
        Err(why) => {
            println!("\n  the reports could not be written: {why:#}");
            if exit == Exit::Pass {
                exit = Exit::Inconclusive;
            }
        }
    }
    if exit != Exit::Pass {
        println!("  seed {}: run it again with `{}`", plan.seed, replay_command(folder.path()));
    }
    exit
}
