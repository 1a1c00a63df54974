//! What is said between a run and its proxy: one JSON object a line, each way.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::chaos::provider::{LinkName, Toxic};

/// A command with the number under which it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    pub id: u64,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case")]
pub(super) enum Command {
    /// Stand on this link: listen, and pass everything on to `upstream`. A link that is known
    /// keeps its address, its connections and its toxics, and new connections go to the upstream
    /// given last. Without `listen` any free port of loopback is taken.
    Add {
        link: LinkName,
        upstream: SocketAddr,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listen: Option<SocketAddr>,
    },
    /// These toxics instead of those before; none heals.
    Impair { link: LinkName, toxics: Vec<Toxic> },
}

/// The answer to one command: an error, or it is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// The command's number; none where it could not be read.
    pub id: Option<u64>,
    /// Where the link listens now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
