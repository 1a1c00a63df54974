//! Transports to backends that nobody here wrote: bytes and frames, no meaning. Nothing here knows
//! of mappings, robots or ops; every transport tells apart what the server certainly did not see
//! from what it may have. Sockets and tasks are allowed here, threads are not.

// What clippy.toml forbids elsewhere is this room's purpose.
#![allow(clippy::disallowed_methods)]

pub mod amqp;
pub mod base;
pub mod command;
pub mod dial;
pub mod http;
mod http2;
pub mod protobuf;
pub mod socket_io;
#[cfg(test)]
pub(in crate::target) mod testing;
pub mod tls;
pub mod websocket;
