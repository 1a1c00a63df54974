//! Victims of a backend that the run did not start: processes, containers, units, pods, whatever a
//! command or an HTTP call can break. A target's file says which there are (`[victims]`); one file
//! here for each way to reach one, and one word in [`PROVIDERS`].

mod backend_link;
mod docker;
mod exec;
mod hands;
mod http;
mod kubernetes;
mod process;
mod systemd;
mod written;

#[cfg(test)]
mod testing;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, ready};

use super::provider::{Health, LinkName, Provider, ProviderError, Strike, Toxic};
use crate::{base::name::NodeName, world::Env};

pub use backend_link::BackendLink;
pub use hands::{Answer, Hands, Server, Ways};
pub use written::{Probe, Secret, Victims};

/// One way to reach a victim, in the list.
#[derive(Debug)]
pub struct ProviderEntry {
    /// Its word in a target's file.
    pub name: &'static str,
    /// Whom it reaches, in a line.
    pub means: &'static str,
}

/// Every way.
pub const PROVIDERS: &[ProviderEntry] =
    &[process::ENTRY, exec::ENTRY, http::ENTRY, docker::ENTRY, systemd::ENTRY, kubernetes::ENTRY];

/// What something came to; the error says why not, and what to do.
type Done<T> = Result<T, String>;

/// One victim. Any of these futures may be dropped at any moment; `heal` puts everything back
/// whatever state it is in, as often as it is called.
trait Reach {
    /// Whether it is there and can be reached. Touches nothing.
    fn check(&self) -> LocalBoxFuture<'_, Done<()>>;

    /// Whether it can be struck in that way.
    fn can(&self, how: Strike) -> bool;

    /// What must be known to heal it, beside what the file says, by a process that comes later.
    fn tag(&self) -> String {
        String::new()
    }

    /// Takes in the tag that another process had asked for.
    fn recall(&self, _tag: &str) {}

    /// Strikes it; resolves when that is done. The text is what was measured.
    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>>;

    /// Puts it back; the text is what was done.
    fn heal(&self) -> LocalBoxFuture<'_, Done<String>>;

    /// Looks at it once.
    fn look(&self) -> LocalBoxFuture<'_, Done<Health>>;
}

/// What is said of a way of striking that the file gives no word for.
fn cannot<'a>(how: Strike) -> LocalBoxFuture<'a, Done<String>> {
    Box::pin(ready(Err(format!("its table in the target's file has no way to {how}"))))
}

struct Victim {
    reach: Box<dyn Reach>,
    probe: Option<Probe>,
}

/// The victims of one target.
pub struct Outsiders {
    hands: Rc<dyn Hands>,
    victims: BTreeMap<NodeName, Victim>,
    ways: Option<(Env, Rc<dyn Ways>)>,
}

impl Outsiders {
    /// Those of a target's file, reached with these hands. Nothing is looked at yet.
    pub fn new(victims: &Victims, hands: &Rc<dyn Hands>) -> Self {
        let made = victims.all().map(|(name, wanted)| {
            let victim = Victim { reach: wanted.reach(hands), probe: wanted.probe.clone() };
            (name.clone(), victim)
        });
        Self { hands: Rc::clone(hands), victims: made.collect(), ways: None }
    }

    /// With links, too, measured on the clock of `env`.
    #[must_use]
    pub fn over(mut self, env: &Env, ways: Rc<dyn Ways>) -> Self {
        self.ways = Some((env.clone(), ways));
        self
    }

    fn way(&self, link: &LinkName) -> Result<&(Env, Rc<dyn Ways>), ProviderError> {
        self.ways.as_ref().ok_or_else(|| lost(link, "nothing of the run stands on it".to_owned()))
    }

    /// Whether that one can be struck so.
    pub fn can(&self, node: &NodeName, how: Strike) -> bool {
        self.victims.get(node).is_some_and(|victim| victim.reach.can(how))
    }

    /// Whether those are there, and well enough to be reached; the text says which is not.
    pub async fn check(&self, nodes: impl IntoIterator<Item = &NodeName>) -> Result<(), String> {
        for node in nodes {
            let victim = self.victim(node).map_err(|error| error.to_string())?;
            victim.reach.check().await.map_err(|why| format!("[victims.\"{node}\"]: {why}"))?;
        }
        Ok(())
    }

    fn victim(&self, node: &NodeName) -> Result<&Victim, ProviderError> {
        let nobody = || wrong(node, "the target's file has no such victim".to_owned());
        self.victims.get(node).ok_or_else(nobody)
    }

    async fn strike(&self, node: &NodeName, how: Strike) -> Result<String, ProviderError> {
        let victim = self.victim(node)?;
        victim.reach.strike(how).await.map_err(|why| wrong(node, why))
    }

    async fn look(&self, node: &NodeName) -> Result<Health, ProviderError> {
        let victim = self.victim(node)?;
        let seen = victim.reach.look().await.map_err(|why| wrong(node, why))?;
        match (&seen, &victim.probe) {
            (Health::Up, Some(probe)) => Ok(probe.look(&*self.hands).await),
            _ => Ok(seen),
        }
    }

    async fn heal(&self, node: &NodeName) -> Result<String, ProviderError> {
        let victim = self.victim(node)?;
        let done = victim.reach.heal().await.map_err(|why| wrong(node, why))?;
        // What was just put back may take a moment to be well; the caller sets the limit.
        while let Health::Down(_) = self.look(node).await? {
            self.hands.rest().await;
        }
        Ok(done)
    }
}

fn wrong(node: &NodeName, why: String) -> ProviderError {
    ProviderError { victim: node.to_string(), why }
}

fn lost(link: &LinkName, why: String) -> ProviderError {
    ProviderError { victim: link.to_string(), why }
}

type Later<'a, T> = LocalBoxFuture<'a, Result<T, ProviderError>>;

impl Provider for Outsiders {
    fn nodes(&self) -> Vec<NodeName> {
        self.victims.keys().cloned().collect()
    }

    fn links(&self) -> Vec<LinkName> {
        self.ways.as_ref().map(|(_, ways)| ways.links()).unwrap_or_default()
    }

    fn tag(&self, node: &NodeName) -> String {
        self.victims.get(node).map(|victim| victim.reach.tag()).unwrap_or_default()
    }

    fn recall(&self, node: &NodeName, tag: &str) {
        if let Some(victim) = self.victims.get(node) {
            victim.reach.recall(tag);
        }
    }

    fn kill<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.strike(node, Strike::Kill))
    }

    fn terminate<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.strike(node, Strike::Terminate))
    }

    fn pause<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.strike(node, Strike::Pause))
    }

    fn disconnect<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.strike(node, Strike::Disconnect))
    }

    fn inject<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.strike(node, Strike::Inject))
    }

    fn start<'a>(&'a self, node: &'a NodeName) -> Later<'a, String> {
        Box::pin(self.heal(node))
    }

    fn health<'a>(&'a self, node: &'a NodeName) -> Later<'a, Health> {
        Box::pin(self.look(node))
    }

    fn impair<'a>(&'a self, link: &'a LinkName, toxics: &'a [Toxic]) -> Later<'a, ()> {
        Box::pin(async move {
            let (_, ways) = self.way(link)?;
            ways.impair(link, toxics).await.map_err(|why| lost(link, why))
        })
    }

    fn round_trip<'a>(&'a self, link: &'a LinkName, load: usize) -> Later<'a, Duration> {
        Box::pin(async move {
            let (env, ways) = self.way(link)?;
            ways.round_trip(env, link, load).await.map_err(|why| lost(link, why))
        })
    }

    fn closing<'a>(&'a self, link: &'a LinkName) -> Later<'a, Duration> {
        Box::pin(async move {
            let (_, ways) = self.way(link)?;
            ways.closing(link).await.map_err(|why| lost(link, why))
        })
    }
}

#[cfg(test)]
mod tests;
