//! Orchestration: flows across core services. Owns no rows: a flow that dies with its node is taken
//! up by another from what core has written.

pub mod calls;
pub mod dispatch;
pub mod events;
pub mod issues;
pub mod near;
mod planted;
pub mod search;
pub mod shift;
pub mod sweep;

use super::{node::Node, platform::rpc::Router};

/// Adds this tier's rpc endpoints.
pub fn mount(node: &Node, router: &mut Router) {
    dispatch::mount(node, router);
    issues::mount(node, router);
    near::mount(node, router);
    shift::mount(node, router);
    sweep::start(node);
}
