//! What every service stands on: RPC, discovery, tokens, unique ids. Shared by both worlds.

pub mod calls;
pub mod directory;
pub mod envelope;
pub mod peer;
pub mod rpc;
pub mod server;
