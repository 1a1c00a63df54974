//! A backend that is not ours: the run starts nothing and stops nothing of it, and looks only whether
//! it is there. Faults hit the victims that its file names.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
    time::Instant,
};

use futures_util::future::LocalBoxFuture;

use super::{
    costs::Costs,
    detours::{self, Detours},
    folder::Folder,
    plan::RunPlan,
    signals::Signals,
    stage::Stage,
    victims,
};
use crate::{
    base::name::NodeName,
    chaos::{
        provider::{Provider, ROBOTS},
        providers::Outsiders,
    },
    target::mapped::{Compiled, reach},
    world::{
        Env,
        real::{Boot, RealWorld},
    },
};

/// Somebody else's backend.
pub struct Outside {
    plan: RunPlan,
    target: Compiled,
    victims: Rc<Outsiders>,
    detours: Rc<Detours>,
    folder: Folder,
    origin: Instant,
    operator: Env,
    signals: Signals,
}

impl Outside {
    /// Connects nothing yet.
    pub fn new(
        plan: &RunPlan,
        run: &str,
        folder: &Folder,
        origin: Instant,
    ) -> anyhow::Result<Self> {
        let mapping = plan.mapping.as_ref();
        let mapping = mapping.ok_or_else(|| anyhow::anyhow!("the plan has no mapping"))?;
        let target = plan.compile(mapping, run)?;
        let operator = env(plan, "operator", origin);
        let named = victims::read(mapping)?;
        let hands = victims::hands(mapping, &named);
        let detours =
            Rc::new(Detours::new(detours::links(&target), &named.backend_link, Rc::clone(&hands)));
        let victims = Outsiders::new(&named, &hands).over(&operator, detours.clone());
        Ok(Self {
            plan: plan.clone(),
            target,
            victims: Rc::new(victims),
            detours,
            folder: folder.clone(),
            origin,
            operator,
            signals: Signals::take()?,
        })
    }
}

/// A node without links: all it has is time.
pub fn env(plan: &RunPlan, name: &str, origin: Instant) -> Env {
    let name = NodeName::from(name);
    let world = RealWorld::new(name.clone(), Boot::default(), origin);
    Env::new(name, &plan.rng(), world)
}

impl Stage for Outside {
    fn operator(&self) -> Env {
        self.operator.clone()
    }

    fn robots(&self) -> Env {
        env(&self.plan, ROBOTS, self.origin)
    }

    fn provider(self: Rc<Self>) -> Rc<dyn Provider> {
        self.victims.clone()
    }

    /// Looks also whether those are there whom the plan is about to hit.
    fn start(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            reach(&self.target).await?;
            let faults = self.plan.faults.faults.iter();
            let hit: BTreeSet<&NodeName> = faults.flat_map(|fault| &fault.nodes).collect();
            self.victims.check(hit).await?;
            let touched = self.plan.faults.links_touched();
            let (seed, env) = (&self.plan.seed, &self.operator);
            self.detours.start(&self.folder, seed, env, &touched).await
        })
    }

    fn detours(&self) -> BTreeMap<String, SocketAddr> {
        self.detours.table()
    }

    fn stop(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.detours.stop())
    }

    fn costs(&self) -> Option<Costs> {
        Some(Costs::now(std::time::Duration::ZERO, std::time::Duration::ZERO))
    }

    fn lost(&self) -> Vec<NodeName> {
        Vec::new()
    }

    fn signal(&self, count: usize) -> LocalBoxFuture<'_, &'static str> {
        Box::pin(self.signals.wait_for(count))
    }

    fn wants_line(&self) -> bool {
        true
    }
}
