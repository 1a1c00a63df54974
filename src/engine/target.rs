//! What the engine asks of a target: one attempt at one op.

use futures_util::future::LocalBoxFuture;

use crate::{
    base::{id::RobotId, name::NodeName},
    history::{
        answer::Answer,
        declares::Declares,
        op::{Ask, Outcome},
    },
};

/// How one attempt ended, as the target judged it: the only place that decides between ok, fail
/// and info.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Ok, certainly not, or unknown.
    pub outcome: Outcome,
    /// What was read out of the answer.
    pub answer: Answer,
    /// The node it went to.
    pub node: Option<NodeName>,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The robot's token has expired: log in, and try once more.
    pub expired: bool,
    /// Another attempt may go better (not connected, time-out, 5xx, 429).
    pub retry: bool,
}

/// A backend under test and how to speak to it.
pub trait Target {
    /// What it declares about itself.
    fn declares(&self) -> &Declares;

    /// One attempt at `ask` for `robot`; `attempt` counts from 0 and lets it fail over to another
    /// instance. It ends within the attempt's time-out. Sessions (accounts, tokens) are kept by the
    /// target, by robot.
    fn attempt<'a>(
        &'a self,
        robot: RobotId,
        ask: &'a Ask,
        attempt: u32,
    ) -> LocalBoxFuture<'a, Tried>;
}
