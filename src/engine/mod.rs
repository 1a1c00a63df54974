//! The engine: population of robots, event queue, pacing, the life of an op. Runs in both worlds.

pub mod target;
