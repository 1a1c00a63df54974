//! What every service stands on: RPC, discovery, tokens, unique ids. Shared by both worlds.

pub mod rpc;
