//! Robot City: robot drivers and robot passengers live in a configured city, run the whole job flow
//! through a backend's API at target rates, while faults are injected and the laws of the city are
//! checked; every run ends in one verdict, with evidence.
//!
//! The table of contents, from the ground up; imports go downward only (`tests/tidy.rs`).

pub mod base;
pub mod world;

pub mod city;
pub mod scenario;

pub mod backend;

pub mod history;
pub mod law;
pub mod robot;

pub mod engine;

pub mod chaos;
pub mod target;

pub mod report;

pub mod run;

pub mod cli;
