//! The files that a run writes beside its history. One more output is one more row.

use super::folder::Folder;
use crate::report::{console, figures::Figures, hgrm, html, junit, summary::Summary};

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

/// Writes every output; `summary.json` first.
pub fn write(folder: &Folder, summary: &Summary, figures: &Figures) -> anyhow::Result<()> {
    for output in OUTPUTS {
        folder.write(output.name, (output.render)(summary, figures)?.as_bytes())?;
    }
    Ok(())
}
