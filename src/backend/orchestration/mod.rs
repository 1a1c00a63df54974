//! The orchestration tier.

use super::{node::Node, platform::rpc::Router};

/// Adds this tier's rpc endpoints.
pub fn mount(_node: &Node, _router: &mut Router) {}
