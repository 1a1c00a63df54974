//! Words that every layer shares: time, random streams, places, ids, names, files. No clock.

pub mod agenda;
pub mod dist;
pub mod file;
pub mod glob;
pub mod id;
pub mod lock;
pub mod name;
pub mod place;
pub mod pool;
pub mod rng;
pub mod shell;
pub mod span;
pub mod suggest;
pub mod time;
