//! An operator's way to a backend that runs: finds it by the file that its supervisor wrote, asks its
//! monitor and its config over its own links, and says in text what came back.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{folder::Folder, health, services, shares};
use crate::{
    backend::{
        core::config::{LIST, SET},
        layout::BROKER,
        node::client,
        platform::{binding, page, rpc::Rpc},
        wire::platform::{ConfigList, ConfigListAsk, ConfigSetAnswer, ConfigSetAsk, Report},
    },
    base::{glob::fits, name::NodeName, rng::Rng},
    chaos::provider::Health,
    history::services::{Instance, Level},
    report::{console::span, service_map},
    world::{
        Env,
        real::{Boot, RealWorld, process, run_local},
    },
};

/// The file in a run's folder that says where everything runs.
pub const FILE: &str = "backend.json";

/// Where one node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where it takes links.
    pub link: String,
    /// Where it serves its health, and the API where it is one.
    pub http: String,
    /// Of its code.
    pub version: u32,
    /// Its machine.
    pub machine: String,
}

/// What runs where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The process that looks after it.
    pub pid: u32,
    /// By name.
    pub nodes: BTreeMap<NodeName, Place>,
}

impl Whereabouts {
    /// Writes it into a run's folder.
    pub fn keep(&self, folder: &Folder) -> anyhow::Result<()> {
        Ok(folder.write(FILE, &serde_json::to_vec_pretty(self)?)?)
    }

    /// Reads the one at `at`, a run's folder; without `at` the newest below `reports` that runs.
    pub fn find(at: Option<&Path>, reports: &Path) -> anyhow::Result<Self> {
        let read = |file: &Path| -> anyhow::Result<Self> {
            let text = std::fs::read(file).with_context(|| file.display().to_string())?;
            serde_json::from_slice(&text).with_context(|| file.display().to_string())
        };
        if let Some(at) = at {
            return read(&at.join(FILE));
        }
        let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
        for scenario in std::fs::read_dir(reports).into_iter().flatten().flatten() {
            for run in std::fs::read_dir(scenario.path()).into_iter().flatten().flatten() {
                let file = run.path().join(FILE);
                found.extend(file.metadata().and_then(|m| m.modified()).ok().map(|at| (at, file)));
            }
        }
        found.sort();
        let alive =
            |(_, file): &(_, PathBuf)| read(file).ok().filter(|found| process::exists(found.pid));
        match found.iter().rev().find_map(alive) {
            Some(found) => Ok(found),
            None => bail!(
                "no backend runs below {}: start one with `robot-city backend up`, or name a run's \
                 folder with --at",
                reports.display()
            ),
        }
    }
}

/// A way to a backend that runs.
pub struct Operator {
    places: Whereabouts,
    env: Env,
    rpc: Rpc,
    nodes: Vec<NodeName>,
}

impl Operator {
    /// Runs `work` with a way to that backend.
    #[expect(clippy::disallowed_methods, reason = "an operator's clock has an origin of its own")]
    pub fn run<T>(
        places: Whereabouts,
        work: impl AsyncFnOnce(Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        run_local(async move {
            let dial = places.nodes.iter().map(|(name, at)| (name.clone(), at.link.clone()));
            let boot = Boot { dial: dial.collect(), ..Boot::default() };
            let name = NodeName::from("operator");
            let world = RealWorld::new(name.clone(), boot, Instant::now());
            let env = Env::new(name, &Rng::from_seed("operator"), world);
            let services = places.nodes.keys().filter(|node| node.role() != BROKER);
            let nodes: Vec<NodeName> = services.cloned().collect();
            let rpc = client(env.clone(), nodes.clone());
            work(Self { places, env, rpc, nodes }).await
        })?
    }

    async fn reports(&self) -> anyhow::Result<Vec<Report>> {
        let reports = services::reports(&self.rpc, &self.nodes).await;
        if reports.is_empty() {
            bail!("no monitor answers: no core node is up, or none has heard of anybody yet");
        }
        Ok(reports)
    }

    /// Every instance and what is wrong with it; nodes that ought to run and are not heard of.
    pub async fn status(&self, as_json: bool) -> anyhow::Result<String> {
        let reports = self.reports().await?;
        if as_json {
            let all: Vec<Value> = reports.iter().map(page::of).collect();
            return Ok(serde_json::to_string_pretty(&all)?);
        }
        let seen: Vec<Instance> = reports.iter().map(services::instance).collect();
        let mut text = table(seen.iter().zip(&reports), true);
        let missing: Vec<_> = self
            .nodes
            .iter()
            .filter(|node| seen.iter().all(|one| one.name != node.as_str()))
            .map(NodeName::as_str)
            .collect();
        let count = |level| seen.iter().filter(|one| one.level == level).count();
        let _ = write!(
            text,
            "{} instances: {} fine, {} warn, {} bad",
            seen.len(),
            count(Level::Fine),
            count(Level::Warn),
            count(Level::Bad)
        );
        if !missing.is_empty() {
            let _ = write!(text, "; not heard of: {}", missing.join(", "));
        }
        // They tell nothing of themselves.
        for broker in self.places.nodes.keys().filter(|node| node.role() == BROKER) {
            let seen = match health::look_at_broker(&self.env, broker, health::DIRECT).await {
                Health::Up => "takes messages".to_owned(),
                Health::Down(why) => why,
            };
            let _ = write!(text, "\n{broker}: {seen}");
        }
        Ok(text)
    }

    /// The instances whose name fits a pattern.
    pub async fn list(&self, pattern: &str) -> anyhow::Result<String> {
        let reports = self.reports().await?;
        let seen: Vec<Instance> = reports.iter().map(services::instance).collect();
        let fitting = seen.iter().zip(&reports).filter(|(one, _)| fits(pattern, &one.name));
        Ok(table(fitting, false).trim_end().to_owned())
    }

    /// Rates, latencies and health of one instance.
    pub async fn stats(&self, name: &str, as_json: bool) -> anyhow::Result<String> {
        let reports = self.reports().await?;
        let wanted = |report: &&Report| {
            report.instance.as_ref().is_some_and(|instance| instance.name == name)
        };
        let Some(report) = reports.iter().find(wanted) else {
            let names: Vec<_> = self.nodes.iter().map(NodeName::as_str).collect();
            bail!("`{name}` is not heard of; there are {}", names.join(", "));
        };
        let told = page::of(report);
        if as_json {
            return Ok(serde_json::to_string_pretty(&told)?);
        }
        let at = self.places.nodes.get(&NodeName::from(name));
        let mut text = stats(&told);
        if let Some(at) = at {
            let _ = write!(text, "page       http://{}/health.html", at.http);
        }
        Ok(text)
    }

    /// Who calls whom.
    pub async fn map(&self) -> anyhow::Result<String> {
        Ok(service_map::text(&services::map(&self.reports().await?)).trim_end().to_owned())
    }

    /// The config's document at `key`, or all of them.
    pub async fn config(&self, key: Option<&str>) -> anyhow::Result<String> {
        let list: ConfigList = self.ask(LIST, &ConfigListAsk {}).await?;
        let all: BTreeMap<String, Value> = serde_json::from_str(&list.json)?;
        let found = match key {
            None => json!(all),
            Some(key) => match all.get(key) {
                Some(document) => document.clone(),
                None => bail!("nothing was set at `{key}`; there are: {:?}", all.keys()),
            },
        };
        Ok(serde_json::to_string_pretty(&found)?)
    }

    /// Sets the document at `key`; none deletes it.
    pub async fn set(&self, key: &str, document: Option<&Value>) -> anyhow::Result<String> {
        let json = document.map(ToString::to_string).unwrap_or_default();
        let ask = ConfigSetAsk { key: key.to_owned(), json };
        let done: ConfigSetAnswer = self.ask(SET, &ask).await?;
        Ok(format!("version {}: {key} = {}", done.version, done.json))
    }

    /// Begins to move the traffic of a service from one version to another.
    pub async fn roll_out(
        &self,
        service: &str,
        (from, to): (u32, u32),
        over: Duration,
    ) -> anyhow::Result<String> {
        let list: ConfigList = self.ask(LIST, &ConfigListAsk {}).await?;
        let all: BTreeMap<String, Value> = serde_json::from_str(&list.json)?;
        let mut rules = all.get(binding::KEY).cloned().unwrap_or_else(|| json!({}));
        let mut rule = rules.get(service).cloned().unwrap_or_else(|| json!({}));
        rule["roll_out"] = json!({"from": from, "to": to, "over_ms": over.as_millis() as u64});
        if let Some(rule) = rule.as_object_mut() {
            rule.remove("versions");
        }
        rules[service] = rule;
        self.set(binding::KEY, Some(&rules)).await
    }

    async fn ask<Q: Message, A: Message + Default>(
        &self,
        path: &'static str,
        ask: &Q,
    ) -> anyhow::Result<A> {
        let asked = shares::ask_core(&self.rpc, &self.nodes, path, ask).await;
        asked.map_err(|why| anyhow::anyhow!(why))
    }
}

fn table<'a>(rows: impl Iterator<Item = (&'a Instance, &'a Report)>, troubles: bool) -> String {
    let mut text = format!(
        "{:<20} {:>7} {:<4} {:<8} {:>4} {:>9} {:>6}  health\n",
        "instance", "version", "az", "machine", "life", "up", "heard"
    );
    for (one, report) in rows {
        let az = NodeName::from(one.name.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<20} {:>7} {:<4} {:<8} {:>4} {:>7.1} s {:>4.1} s  {}",
            one.name,
            one.version,
            az.az(),
            one.host,
            one.incarnation,
            one.up_s,
            report.age_ms as f64 / 1_000.0,
            one.level.word(),
        );
        for trouble in one.trouble.iter().filter(|_| troubles) {
            let _ = writeln!(text, "    {trouble}");
        }
    }
    text
}

fn stats(told: &Value) -> String {
    let word = |key: &str| told[key].as_str().map_or_else(|| told[key].to_string(), str::to_owned);
    let mut text = format!(
        "{}  version {}, machine {}, life {}, up {} s: {}\n",
        word("name"),
        word("version"),
        word("host"),
        word("incarnation"),
        word("up_s"),
        word("level")
    );
    for check in told["checks"].as_array().into_iter().flatten() {
        let of = |key: &str| check[key].as_str().unwrap_or_default();
        let _ = writeln!(text, "  {:<10} {:<5} {}", of("check"), of("level"), of("what"));
    }
    for key in ["served", "calls"] {
        let _ = writeln!(
            text,
            "{key:<52} {:>9} {:>9} {:>7} {:>9} {:>9}",
            "a second", "in all", "failed", "p50", "p99"
        );
        for row in told[key].as_array().into_iter().flatten() {
            let from = row["from"].as_str().filter(|from| !from.is_empty());
            let from = from.map_or(String::new(), |from| format!("{from} → "));
            let number = |key: &str| row[key].as_u64().unwrap_or_default();
            let _ = writeln!(
                text,
                "  {:<50} {:>9.1} {:>9} {:>7} {:>9} {:>9}",
                format!("{from}{}", row["to"].as_str().unwrap_or_default()),
                row["per_s"].as_f64().unwrap_or_default(),
                number("calls") + number("news"),
                number("errors"),
                span(number("p50_us")),
                span(number("p99_us")),
            );
        }
    }
    text
}
