//! Core: leaf services. Each owns its rows under its own prefix of the store (or its own memory)
//! and never calls another service; flows across services belong to `orchestration`.

pub mod charge;
pub mod config;
pub mod eta;
pub mod fare;
pub mod job;
pub mod login;
pub mod profile;
pub mod raziel;
pub mod table;
pub mod tariff;
pub mod zoning;

use std::rc::Rc;

use super::node::Node;
pub use super::platform::rpc::{Code, Policy, Router, Rpc, RpcError, refuse};

/// Serves every core service on this node.
pub fn mount(node: &Rc<Node>, router: &mut Router) {
    charge::mount(node, router);
    config::mount(node, router);
    eta::mount(node, router);
    fare::mount(node, router);
    job::mount(node, router);
    login::mount(node, router);
    profile::mount(node, router);
    raziel::mount(node, router);
    zoning::mount(node, router);
}
