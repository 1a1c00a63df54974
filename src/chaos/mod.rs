//! Faults: plan, schedule, bite, healing. One file a kind; providers know how to reach a victim.

pub mod provider;
