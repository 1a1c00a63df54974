//! `shrink`: from a run that broke a law to the smallest one that still breaks it. Faults first,
//! then how long, how many robots and how many jobs. It decides what to try; who plays a candidate
//! and in which world is handed in.

pub mod candidate;
mod ddmin;
pub mod player;
mod search;
pub mod written;

pub use search::{Search, Stop};
