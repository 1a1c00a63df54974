//! Targets: how to speak to a backend. The only place that decides whether an answer is ok, fail or
//! info. One file a target; a new one is a file and a line in [`TARGETS`].

pub mod accounts;
mod app;
pub mod embedded;
pub mod mapped;
pub mod spoil;
pub mod wire;

/// An entry of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it speaks to.
    pub means: &'static str,
}

/// Every target.
pub const TARGETS: &[TargetEntry] = &[TargetEntry {
    name: "embedded",
    means: "the reference backend of this binary, started and stopped by the run",
}];
