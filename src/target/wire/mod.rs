//! The wires of mapped targets: how bytes reach a backend and come back, one file a transport. Knows
//! nothing of operations, robots or mappings, and never decides what an answer means.

pub mod amqp;
pub mod command;
pub mod protobuf;
