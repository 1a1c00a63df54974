//! Composition: the only room that sees every layer. A run from plan to verdict, in either world.

pub mod again;
pub mod costs;
pub mod facts;
pub mod fleet;
pub mod folder;
pub mod node;
pub mod outputs;
pub mod plan;
pub mod progress;
pub mod real;
pub mod recorder;
pub mod show;
pub mod signals;
pub mod stage;

use crate::report::verdict::Exit;

/// What to show while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ui {
    /// A line a second.
    Plain,
    /// Only the end.
    None,
}

/// A run that came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target was unfit before the load began.
    #[error("the target is not fit for a run: {0}")]
    Unfit(String),
    /// A signal came before there was anything to judge.
    #[error("interrupted before the load began; nothing was left running")]
    Interrupted,
    /// Ours.
    #[error("robot-city failed: {0}. Please report this with the run's folder")]
    Crash(String),
}

impl RunError {
    /// The exit code of the contract.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unfit(_) => Exit::Unfit,
            Self::Interrupted => Exit::Interrupted,
            Self::Crash(_) => Exit::Crash,
        }
    }
}
