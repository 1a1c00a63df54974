//! A link at work: where requests really go.

use bytes::Bytes;
use http::{Request, Response};

use super::compiled::{EMBEDDED, Link};
use crate::{
    base::name::NodeName,
    world::{Env, HttpError},
};

/// A link at work.
pub enum Line {
    /// The reference backend's API instances, in whichever world.
    Nodes {
        /// The robots' environment.
        env: Env,
        /// The instances.
        nodes: Vec<NodeName>,
    },
}

impl Line {
    /// Connects nothing yet.
    pub fn new(env: &Env, link: &Link, nodes: &[NodeName]) -> Result<Self, String> {
        if link.urls.iter().any(|url| url == EMBEDDED) {
            let nodes = nodes.iter().filter(|node| node.role() == "api").cloned().collect();
            return Ok(Self::Nodes { env: env.clone(), nodes });
        }
        Err(format!("[link.{}] cannot be used yet", link.name))
    }

    /// Instances.
    pub fn instances(&self) -> usize {
        match self {
            Self::Nodes { nodes, .. } => nodes.len(),
        }
    }

    /// The name of an instance, for the history.
    pub fn node(&self, instance: usize) -> NodeName {
        match self {
            Self::Nodes { nodes, .. } => nodes.get(instance).cloned().unwrap_or_default(),
        }
    }

    /// One exchange; has no deadline of its own.
    pub async fn exchange(
        &self,
        instance: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        match self {
            Self::Nodes { env, nodes } => match nodes.get(instance) {
                Some(node) => env.http(node, request).await,
                None => Err(HttpError::NotConnected("the target has no API instance".into())),
            },
        }
    }
}
