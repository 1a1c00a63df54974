//! The append-only record of a run: ops, faults, phases. Everything that judges or draws reads this.

pub mod answer;
pub mod compare;
pub mod declares;
pub mod foreign;
pub mod hop;
pub mod manifest;
pub mod op;
pub mod probe;
pub mod reader;
pub mod record;
pub mod schema;
pub mod services;
pub mod thinner;
pub mod times;
pub mod traces;
pub mod writer;
