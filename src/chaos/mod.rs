//! Faults: plan, aim, schedule, bite, healing.
//!
//! One file a kind, and one word in [`fault::FAULTS`]; a [`provider::Provider`] knows how to reach
//! a victim. Nothing here knows which world it runs in, but for [`proxy`], which is sockets alone.

pub mod fault;
pub mod provider;

mod aim;
mod keys;
mod shape;
mod toxicity;

pub mod draw;

pub mod plan;
pub mod resolved;
mod written;

mod bandwidth;
mod crash_loop;
mod flapping;
mod kill;
mod latency;
mod limit_data;
mod limit_time;
mod links;
mod nodes;
mod partition;
mod pause;
mod phone_network;
mod reset;
mod restart;
mod rolling_restart;
mod skew;
mod slicer;
mod slow_close;
mod swizzle;
mod terminate;
mod timeout;

pub mod conductor;
pub mod proxy;

#[cfg(test)]
mod testing;

pub use conductor::Conductor;
pub use plan::Plan;
pub use resolved::Resolved;
