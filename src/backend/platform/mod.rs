//! What every service stands on: RPC, discovery, tokens, unique ids. Shared by both worlds.

pub mod bus;
#[cfg(test)]
mod bus_tests;
pub mod calls;
pub mod directory;
pub mod discovery;
pub mod envelope;
pub mod ids;
pub mod peer;
pub mod quick;
pub mod rpc;
#[cfg(test)]
mod rpc_tests;
pub mod server;
pub mod token;
mod way;
