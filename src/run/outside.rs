//! A backend that is not ours: the run starts nothing and stops nothing of it, and looks only whether
//! it is there. Faults have no victims in it.

use std::{rc::Rc, time::Instant};

use futures_util::future::{LocalBoxFuture, ready};

use super::{costs::Costs, plan::RunPlan, signals::Signals, stage::Stage};
use crate::{
    base::{name::NodeName, time::Wall},
    chaos::provider::{Health, LinkName, Provider, ProviderError, ROBOTS, Toxic},
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
    origin: Instant,
    operator: Env,
    signals: Signals,
}

impl Outside {
    /// Connects nothing yet.
    pub fn new(plan: &RunPlan, run: &str, origin: Instant) -> anyhow::Result<Self> {
        let mapping = plan.mapping.as_ref();
        let mapping = mapping.ok_or_else(|| anyhow::anyhow!("the plan has no mapping"))?;
        Ok(Self {
            plan: plan.clone(),
            target: plan.compile(mapping, run)?,
            origin,
            operator: env(plan, "operator", origin),
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
        self
    }

    fn start(&self) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(reach(&self.target))
    }

    fn stop(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(ready(()))
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

/// What every fault is told.
fn nobody<'a, T: 'a>(victim: &str) -> LocalBoxFuture<'a, Result<T, ProviderError>> {
    let why = "the run did not start this backend, and cannot reach into it".to_owned();
    Box::pin(ready(Err(ProviderError { victim: victim.to_owned(), why })))
}

impl Provider for Outside {
    fn nodes(&self) -> Vec<NodeName> {
        Vec::new()
    }

    fn links(&self) -> Vec<LinkName> {
        Vec::new()
    }

    fn kill<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        nobody(node.as_str())
    }

    fn terminate<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        nobody(node.as_str())
    }

    fn pause<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        nobody(node.as_str())
    }

    fn start<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        nobody(node.as_str())
    }

    fn health<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<Health, ProviderError>> {
        nobody(node.as_str())
    }

    fn skew<'a>(
        &'a self,
        node: &'a NodeName,
        _ahead_ms: i64,
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        nobody(node.as_str())
    }

    fn wall<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<Wall, ProviderError>> {
        nobody(node.as_str())
    }

    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        _toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        nobody(&link.to_string())
    }

    fn round_trip<'a>(
        &'a self,
        link: &'a LinkName,
        _load: usize,
    ) -> LocalBoxFuture<'a, Result<std::time::Duration, ProviderError>> {
        nobody(&link.to_string())
    }
}
