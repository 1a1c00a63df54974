//! The simulated broker: a program that a virtual node runs, and the session that others open to it,
//! over links of the virtual network. So its delays are the network's, a fault on a link is felt as
//! by any link, and a killed broker loses all it had, as a real one without durable queues does.
//!
//! Each thing that it does is a case of the suite in `tests/bus.rs`, which a real RabbitMQ passes too.

mod client;
mod federation;
mod frames;
mod server;
mod state;

pub(super) use client::open;
pub use server::serve;
