//! `robot-city node`: one node of the embedded backend. Told everything on the first line of its
//! standard input; ends when its parent does.

use crate::run;

/// Serves until the parent dies or kills it.
pub fn main() -> anyhow::Result<u8> {
    run::node::serve()
}
