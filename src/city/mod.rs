//! The city: boundary, zones, demand, speeds, tariff. File to validated value; no clock, no I/O
//! beyond reading the file.

pub mod clock;

/// A validated city.
#[derive(Debug, Clone)]
pub struct City {}
