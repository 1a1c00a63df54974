//! What the embedded backend is told of the city and the scenario.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plan::RunPlan;
use crate::{
    backend::{
        boot::{CityFacts, NodeConfig, Settings, Tariff},
        layout::Layout,
        platform::config,
        product::Product,
    },
    base::{glob::fits, name::NodeName, time::Time},
    city::City,
    scenario::{BackendSettings, Scenario},
};

/// Settings that all nodes share; `zero` is when the demand starts.
fn settings(scenario: &Scenario, city: &City, zero: Time) -> Settings {
    let backend = &scenario.backend;
    Settings {
        offer_ttl: backend.offer_ttl.0,
        search_ttl: backend.search_ttl.0,
        offers_at_once: backend.offers_at_once,
        token_ttl: backend.token_ttl.0,
        ping_ttl: backend.ping_ttl.0,
        reach_m: backend.reach_m,
        product: product(backend),
        city: CityFacts {
            name: city.name.clone(),
            zones: city
                .zones()
                .iter()
                .map(|zone| (zone.name.clone(), zone.ring().to_vec()))
                .collect(),
            boundary: city.boundary().to_vec(),
            detour: city.detour,
            speed_kmh: city.speed_kmh.to_vec(),
            tariff: tariff(city),
            clock_start_s: scenario.time.start_s(),
            clock_origin: zero,
            time_scale: scenario.time.time_scale,
        },
    }
}

/// What the node is told that starts for the `incarnation`th time, from 0.
pub fn node_config(
    plan: &RunPlan,
    city: &City,
    nodes: &[NodeName],
    node: &NodeName,
    incarnation: u32,
) -> NodeConfig {
    // About when the demand starts: local time need not be exact to the second.
    let zero = Time::ZERO + plan.scenario.time.fill.0;
    NodeConfig {
        name: node.clone(),
        machine: Layout::machine(nodes, node),
        incarnation,
        version: plan.scenario.backend.version_of(node.as_str()),
        seed: plan.seed.clone(),
        nodes: nodes.to_vec(),
        settings: settings(&plan.scenario, city, zero),
        plants: plan.plants.clone(),
        config: documents(&plan.scenario),
        traced: false,
    }
}

/// Of which version each node's code is.
pub fn versions(plan: &RunPlan, nodes: &[NodeName]) -> BTreeMap<NodeName, u32> {
    let of = |node: &NodeName| plan.scenario.backend.version_of(node.as_str());
    nodes.iter().map(|node| (node.clone(), of(node))).collect()
}

/// The config's documents as the scenario has them. A date, which JSON lacks, becomes text.
fn documents(scenario: &Scenario) -> BTreeMap<String, Value> {
    let documents = scenario.backend.config.iter();
    documents
        .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()))
        .collect()
}

/// Checks what is said of versions and config: the key that is wrong, and why.
pub fn check(scenario: &Scenario, nodes: &[NodeName]) -> Result<(), (String, String)> {
    for (pattern, version) in &scenario.backend.versions {
        let key = format!("backend.versions.{pattern:?}");
        if *version == 0 {
            return Err((key, "must be 1 or more".into()));
        }
        if !nodes.iter().any(|node| fits(pattern, node.as_str())) {
            let names: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
            return Err((key, format!("fits no node: there are {}", names.join(", "))));
        }
    }
    for (key, document) in documents(scenario) {
        config::check(&key, document, Time::ZERO)
            .map_err(|why| (format!("backend.config.{key}"), why.to_string()))?;
    }
    Ok(())
}

fn tariff(city: &City) -> Tariff {
    let own = &city.tariff;
    Tariff {
        base_minor: own.base_minor,
        per_km_minor: own.per_km_minor,
        per_minute_minor: own.per_minute_minor,
        minimum_minor: own.minimum_minor,
        no_show_fee_minor: own.no_show_fee_minor,
    }
}

/// What the backend offers unless the scenario says otherwise, with what it says.
fn product(backend: &BackendSettings) -> Product {
    let mut product = Product::default();
    product.flags.extend(backend.flags.clone());
    product.experiments.extend(backend.experiments.clone());
    product.routes.extend(backend.routes.clone());
    product
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::file::Source;

    fn read(backend: &str) -> Scenario {
        let text = format!("city = \"cities/dublin.toml\"\n{backend}");
        Scenario::from_source(&Source::new(Path::new("s.toml"), &text)).unwrap()
    }

    #[test]
    fn versions_and_rules_that_mean_nothing_are_told_with_their_key() {
        let nodes = ["a/core-1", "a/core-2", "a/api-1"].map(NodeName::from);
        let good = read(
            "[backend.versions]\n\"*/core-2\" = 3\n\"a/*\" = 2\n\
             [backend.config.binding.\"core/fare\".versions]\n1 = 90\n2 = 10\n",
        );
        assert_eq!(check(&good, &nodes), Ok(()));
        let version = |node: &str| good.backend.version_of(node);
        assert_eq!([version("a/core-2"), version("a/core-1"), version("b/core-1")], [3, 2, 1]);
        assert_eq!(documents(&good)["binding"]["core/fare"]["versions"]["2"], 10);
        for (odd, key) in [
            ("[backend.versions]\n\"a/core-9\" = 2", "backend.versions.\"a/core-9\""),
            ("[backend.versions]\n\"a/*\" = 0", "backend.versions.\"a/*\""),
            ("[backend.config.binding.x]\nevade = []", "backend.config.binding"),
            ("[backend.config.settings]\n\"offer.ttl\" = 1", "backend.config.settings"),
        ] {
            let (told, why) = check(&read(odd), &nodes).unwrap_err();
            assert_eq!(told, key, "{why}");
        }
    }
}
