//! What the embedded backend is told of the city and the scenario.

use super::plan::RunPlan;
use crate::{
    backend::{
        boot::{CityFacts, NodeConfig, Settings, Tariff},
        layout::Layout,
    },
    base::{name::NodeName, time::Time},
    city::City,
    scenario::Scenario,
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
        seed: plan.seed.clone(),
        nodes: nodes.to_vec(),
        settings: settings(&plan.scenario, city, zero),
        plants: plan.plants.clone(),
        traced: false,
    }
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
