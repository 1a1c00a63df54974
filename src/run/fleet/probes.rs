//! How the fleet measures a link: over a connection of its own, through whatever stands on it.

use std::{collections::BTreeMap, time::Duration};

use http::{Method, Request};

use super::Fleet;
use crate::{
    backend::{layout::BROKER, node::client},
    base::name::NodeName,
    chaos::provider::{Health, LinkName, ProviderError, ROBOTS},
    run::health,
    world::{
        Env,
        real::{
            Boot, RealWorld,
            closing::{closing, lifetime},
        },
    },
};

impl Fleet {
    pub(super) async fn probe(
        &self,
        link: &LinkName,
        load: usize,
    ) -> Result<Duration, ProviderError> {
        let wrong = |why: String| ProviderError { victim: link.to_string(), why };
        // A world of its own for each probe: a fresh connection, through the link's proxy.
        let at = BTreeMap::from([(link.to.clone(), self.dialled(link))]);
        let boot = Boot { dial: at.clone(), dial_http: at, ..Boot::default() };
        let name = NodeName::from("probe");
        let world = RealWorld::new(name.clone(), boot, self.origin);
        let env = Env::new(name, &self.plan.rng(), world);
        let begun = env.now();
        if link.from.as_str() == ROBOTS {
            let request = Request::builder()
                .method(Method::GET)
                .uri("/health")
                .body(bytes::Bytes::from(vec![0; load]))
                .map_err(|why| wrong(why.to_string()))?;
            env.http(&link.to, request).await.map_err(|why| wrong(why.to_string()))?;
        } else if link.to.role() == BROKER {
            env.broker(&link.to).await.map_err(|why| wrong(why.to_string()))?;
        } else {
            let rpc = client(env.clone(), vec![link.to.clone()]);
            if let Health::Down(why) =
                health::look_with(&rpc, &link.to, load, health::THROUGH_FAULTS).await
            {
                return Err(wrong(why));
            }
        }
        Ok(env.now() - begun)
    }

    pub(super) async fn probe_closing(&self, link: &LinkName) -> Result<Duration, ProviderError> {
        let wrong =
            |why: std::io::Error| ProviderError { victim: link.to_string(), why: why.to_string() };
        closing(&self.dialled(link)).await.map_err(wrong)
    }

    pub(super) async fn probe_lifetime(&self, link: &LinkName) -> Result<Duration, ProviderError> {
        let wrong =
            |why: std::io::Error| ProviderError { victim: link.to_string(), why: why.to_string() };
        lifetime(&self.dialled(link)).await.map_err(wrong)
    }

    /// Where whoever opens that link dials.
    fn dialled(&self, link: &LinkName) -> String {
        let proxied = self.proxied.borrow().get(link).cloned();
        proxied.unwrap_or_else(|| self.address_of(link))
    }
}
