//! `robot-city proxy`: the fault proxy of a run. Told what to do on its standard input; ends with it.

use crate::run;

/// Serves until its standard input ends.
pub fn main() -> anyhow::Result<u8> {
    run::node::proxy()?;
    Ok(0)
}
