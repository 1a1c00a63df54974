//! The target of a run: the built-in adapter, or a mapping file.

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc};

use super::plan::RunPlan;
use crate::{
    city::City,
    engine::target::Target,
    robot::rogue::rogues,
    target::{
        embedded::{Embedded, Settings},
        mapped::Mapped,
    },
    world::Env,
};

/// The target of the run with that id, speaking through `env`.
pub fn of(plan: &RunPlan, env: Env, city: &City, run: &str) -> anyhow::Result<Rc<dyn Target>> {
    through(plan, env, city, run, &BTreeMap::new())
}

/// The same, led to other addresses where the table says so.
pub fn through(
    plan: &RunPlan,
    env: Env,
    city: &City,
    run: &str,
    detours: &BTreeMap<String, SocketAddr>,
) -> anyhow::Result<Rc<dyn Target>> {
    let nodes = plan.nodes(&city.azs);
    let Some(mapping) = &plan.mapping else {
        let settings = Settings::of(&plan.scenario, &plan.seed, &nodes);
        return Ok(Rc::new(Embedded::new(env, settings)));
    };
    let mut compiled = plan.compile(mapping, run)?;
    compiled.lead_through(detours);
    compiled.send_probes(&plan.scenario.robots);
    let attempt_timeout = plan.scenario.robots.attempt_timeout.0;
    let pool = compiled.open_pool()?;
    let mapped = Mapped::new(env, compiled, &nodes, attempt_timeout).map_err(anyhow::Error::msg)?;
    if let Some(mut pool) = pool {
        let (drivers, passengers) = (plan.scenario.load.drivers, plan.scenario.load.passengers);
        let share = plan.scenario.robots.rogue.share;
        let rogues = rogues(share, drivers, passengers, mapped.declares().probed());
        pool.enough(drivers, passengers, rogues)?;
        mapped.lease_from(pool);
    }
    Ok(mapped)
}
