//! `robot-city guard`: the guardian of a run. Told which on the first line of its standard input;
//! acts when that ends.

use crate::run;

/// Watches until the run is gone, and puts back what it left.
pub fn main() -> anyhow::Result<u8> {
    run::guardian::guard()
}
