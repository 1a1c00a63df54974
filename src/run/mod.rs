//! Composition: the only room that sees every layer. A run from plan to verdict, in either world.

pub mod again;
pub mod approval;
mod brokers;
pub mod clean;
pub mod collector;
pub mod costs;
mod crowd;
pub mod detours;
pub mod facts;
pub mod fleet;
pub mod folder;
mod gauges;
pub mod guardian;
mod guests;
pub mod heal;
pub mod health;
pub mod ledger;
pub mod lock;
pub mod meddle;
mod meter;
pub mod node;
pub mod operator;
pub mod otlp;
pub mod outputs;
pub mod outside;
pub mod plan;
pub mod progress;
mod queues;
pub mod real;
pub mod recorder;
pub mod rehearse;
pub mod services;
mod shares;
pub mod show;
pub mod shrink;
pub mod signals;
pub mod stage;
pub mod stop_condition;
pub mod supervisor;
pub mod swarm;
pub mod target_check;
pub mod target_init;
pub mod targets;
pub mod traces;
pub mod victims;
pub mod virtual_;
pub mod virtual_fleet;

use crate::report::verdict::Exit;

/// What to show while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ui {
    /// A line a second.
    Plain,
    /// Only the end.
    None,
}

/// How a run ended, and where it is kept.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code.
    pub exit: Exit,
    /// The laws that it broke, by name.
    pub broken: Vec<String>,
    /// A signal cut it short. The exit code tells that only where nothing worse holds.
    pub interrupted: bool,
    /// Its folder.
    pub folder: folder::Folder,
}

/// Runs a plan in the world that it asks for, to its verdict.
pub fn perform(plan: &plan::RunPlan, out: &std::path::Path, ui: Ui) -> anyhow::Result<Exit> {
    Ok(keep(plan, out, ui)?.exit)
}

/// The same, and hands back what it left.
pub fn keep(plan: &plan::RunPlan, out: &std::path::Path, ui: Ui) -> anyhow::Result<Ended> {
    match plan.time {
        plan::Time::Real => real::run(plan, out, ui),
        plan::Time::Virtual => virtual_::run(plan, out, ui),
    }
}

/// A run that came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target was unfit before the load began.
    #[error("the target is not fit for a run: {0}")]
    Unfit(String),
    /// An earlier run left something that cannot be put back.
    #[error(
        "a dead run left something that could not be put back: {0}. See to it, and let \
         `robot-city heal` look again"
    )]
    LeftBehind(String),
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
            Self::LeftBehind(_) => Exit::LeftBehind,
            Self::Interrupted => Exit::Interrupted,
            Self::Crash(_) => Exit::Crash,
        }
    }

    /// The exit code of an error that ended a command: what the run says, or else that of a wrong
    /// file or option.
    pub fn exit_of(error: &anyhow::Error) -> Exit {
        error.downcast_ref::<Self>().map_or(Exit::Usage, Self::exit)
    }
}
