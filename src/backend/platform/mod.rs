//! What every service stands on: RPC, discovery, tokens, unique ids. Shared by both worlds.

pub mod binding;
pub mod bus;
#[cfg(test)]
mod bus_tests;
pub mod calls;
pub mod config;
pub mod directory;
pub mod discovery;
pub mod envelope;
pub mod ids;
pub mod meddler;
pub mod meter;
pub mod monitor;
pub mod page;
pub mod peer;
pub mod phosphor;
#[cfg(test)]
mod phosphor_tests;
mod planted;
pub mod quick;
pub mod rpc;
#[cfg(test)]
mod rpc_tests;
pub mod server;
pub mod sick_disk;
pub mod token;
pub mod watch;
mod way;
