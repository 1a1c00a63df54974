//! Composition: the only room that sees every layer. A run from plan to verdict, in either world.

pub mod folder;
pub mod plan;
