//! Faults: plan, aim, schedule, bite, healing.
//!
//! One file a kind, and one word in [`fault::FAULTS`]; a [`provider::Provider`] knows how to reach
//! a victim. Nothing here knows which world it runs in, but for [`proxy`], which is sockets alone, and
//! [`providers`], whose victims are processes and what engines keep.

pub mod event;
pub mod fault;
pub mod lease;
pub mod load;
pub mod provider;

mod aim;
mod keys;
pub mod limits;
mod shape;
mod toxicity;
mod when;

pub mod draw;

mod group;
mod monkey;
pub mod plan;
mod planned;
pub mod resolved;
mod written;

mod bad_version;
mod bandwidth;
mod crash_loop;
mod disconnect;
mod dns;
mod error_answers;
mod fill_queue;
mod flapping;
mod full_disk;
mod inject;
mod kill;
mod latency;
mod limit_data;
mod limit_time;
mod links;
mod log_in;
mod message_delay;
mod message_drop;
mod message_duplicate;
mod message_reorder;
mod messages;
mod nodes;
mod partition;
mod pause;
mod phone_network;
mod reset;
mod restart;
mod rolling_restart;
mod scale_in;
mod skew;
mod slicer;
mod slow_close;
mod slow_disk;
mod slow_handler;
mod spike;
mod swizzle;
mod terminate;
mod timeout;
mod torn_write;
mod wrong_names;

pub mod conductor;
pub mod providers;
pub mod proxy;

#[cfg(test)]
mod testing;

pub use conductor::Conductor;
pub use plan::Plan;
pub use resolved::Resolved;
