//! The faults of a run as a plan that people can read, change and run again: victims by name,
//! offsets as they were. Reading it gives exactly these faults.

use super::resolved::{Resolved, ResolvedFault};

impl Resolved {
    /// The text of a plan's file.
    pub fn to_plan(&self, about: &str) -> String {
        let mut text = format!("about = {}\n", quoted(about));
        if !self.limits.is_none() {
            // A struct of numbers and spans is always TOML.
            let limits = toml::to_string(&self.limits).unwrap_or_default();
            text.extend(["\n[limits]\n", &limits]);
        }
        for fault in &self.faults {
            text.push('\n');
            text.push_str(&to_table(fault));
        }
        text
    }
}

fn to_table(fault: &ResolvedFault) -> String {
    let mut lines = vec!["[[fault]]".to_owned(), format!("kind = {}", quoted(fault.kind()))];
    if !fault.nodes.is_empty() {
        let names: Vec<String> = fault.nodes.iter().map(|node| quoted(node.as_str())).collect();
        lines.push(format!("nodes = [{}]", names.join(", ")));
    }
    if !fault.links.is_empty() {
        lines.push("links = [".to_owned());
        lines.extend(fault.links.iter().map(|link| {
            let (from, to) = (quoted(link.from.as_str()), quoted(link.to.as_str()));
            format!("    {{ from = {from}, to = {to} }},")
        }));
        lines.push("]".to_owned());
    }
    if let Some(toxicity) = fault.toxicity {
        lines.push(format!("toxicity = {}", toml::Value::from(toxicity.share)));
        lines.push(format!("toxicity_per = {}", quoted(toxicity.per.word())));
    }
    for (key, value) in fault.fault().settings() {
        lines.push(format!("{key} = {value}"));
    }
    lines.push(format!("at = {}", quoted(&fault.at.to_string())));
    lines.push(format!("for = {}", quoted(&fault.lasts.to_string())));
    lines.extend(fault.after.map(|event| format!("after = {event}")));
    if fault.until_recovered {
        lines.push("until = \"recovered\"".to_owned());
    }
    lines.join("\n") + "\n"
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use crate::{
        base::{name::NodeName, rng::Rng},
        chaos::{
            Plan,
            fault::{FAULTS, Hits},
            provider::LinkName,
        },
    };

    const LIMITS: &str = "[limits]\nazs = 3\nmajority = true\nabort_above = 50\n";

    #[test]
    fn every_kind_reads_back_as_the_very_same_faults() {
        let nodes = ["a/api-1", "b/api-1", "a/core-1", "b/core-1", "c/core-1", "b/storage-1"]
            .map(NodeName::from);
        let link = |from: &str, to: &str| LinkName { from: from.into(), to: to.into() };
        let mut links = vec![link("robots", "a/api-1"), link("robots", "b/api-1")];
        for core in ["a/core-1", "b/core-1", "c/core-1"] {
            links.push(link(core, "b/storage-1"));
            links.extend(["a/api-1", "b/api-1"].map(|api| link(api, core)));
        }
        let read = |text: &str, seed: &str| {
            let plan = Plan::parse(text, Path::new("plan.toml")).unwrap_or_else(|e| panic!("{e}"));
            let hour = Duration::from_hours(1);
            plan.resolve(&nodes, &links, hour, &Rng::from_seed(seed)).unwrap()
        };
        let limited = FAULTS.iter().map(|entry| [LIMITS, entry.example].concat());
        let examples = FAULTS.iter().map(|entry| entry.example.to_owned()).chain(limited);
        let on_links = FAULTS.iter().filter(|entry| entry.hits == Hits::Links);
        let partly = on_links.map(|entry| {
            format!("{}toxicity = 0.25\ntoxicity_per = \"connection\"\n", entry.example)
        });
        for example in examples.chain(partly) {
            let drawn = read(&example, "42");
            let text = drawn.to_plan("he said \"no\",\nand 'yes'");
            // Another seed: nothing is left to be drawn.
            assert_eq!(read(&text, "another"), drawn, "{text}");
        }
    }
}
