//! What the engine asks of a target: one attempt at one op.

use std::{cell::Cell, rc::Rc};

use futures_util::future::LocalBoxFuture;

use super::ceiling::Ceiling;
use crate::{
    base::{
        id::{Id, RobotId},
        name::NodeName,
    },
    history::{
        answer::Answer,
        declares::Declares,
        hop::Tracing,
        op::{Ask, OpKind, Outcome},
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
    /// instance. It ends within the attempt's time-out, all that it takes included: connecting, steps
    /// that come first. Sessions (accounts, tokens) are kept by the target, by robot.
    fn attempt<'a>(
        &'a self,
        robot: RobotId,
        ask: &'a Ask,
        attempt: u32,
    ) -> LocalBoxFuture<'a, Tried>;

    /// Ends when the backend is ready to be asked again, where it asked to be left alone; `None` where
    /// it did not. It is waited for before an attempt begins, whose time is short.
    fn held(&self) -> Option<LocalBoxFuture<'_, ()>> {
        None
    }

    /// Tells `ears` from now on what the backend says unasked. Called once, before the first robot
    /// starts.
    fn listen(&self, _ears: Ears) {}

    /// The robot's account, known from before: of a run that is cleaned up after.
    fn recall(&self, _robot: RobotId, _account: &Id) {}

    /// The robot's session is lost: what it asks next has no token until it has logged in. Where the
    /// target does not know what of a session is its token, it goes on with the old one till then.
    fn forget(&self, _robot: RobotId) {}

    /// Marks the requests from now on as parts of traces. Called once, before the first robot starts.
    fn traced(&self, _tracing: Tracing) {}

    /// The attempt that is asked for next is one at the op of that number.
    fn next_op(&self, _number: u64) {}

    /// Whether ops of that kind wait for company before one request goes out with them all. The
    /// target bounds how many wait and how long; each ends by itself, and only its requests pass the
    /// ceiling of [`Self::under`].
    fn gathers(&self, _op: OpKind) -> bool {
        false
    }

    /// The ceiling on requests that are not attempts: those of gathered ops.
    fn under(&self, _ceiling: Rc<Ceiling>) {}

    /// Sends what was gathered and still waits; ends when it is known what became of it.
    fn flush(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Bytes to and fro so far, where the target counts them.
    fn traffic(&self) -> Option<&Traffic> {
        None
    }
}

/// Something that a robot is told unasked: a hint, never a read.
#[derive(Debug, Clone)]
pub struct Told {
    /// Whom.
    pub robot: RobotId,
    /// What.
    pub answer: Answer,
    /// The simulator tells it, of what another robot has seen.
    pub synthetic: bool,
}

/// Something that robots were to be told may never have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The link, by its name.
    pub link: String,
    /// What happened.
    pub why: String,
}

/// Takes what robots are told unasked. A cheap handle.
#[derive(Clone)]
pub struct Ears {
    hear: Rc<dyn Fn(Told)>,
    miss: Rc<dyn Fn(Gap)>,
}

impl Ears {
    /// Hands all that is told to `hear`, and to `miss` where something of it was lost.
    pub fn new(hear: impl Fn(Told) + 'static, miss: impl Fn(Gap) + 'static) -> Self {
        Self { hear: Rc::new(hear), miss: Rc::new(miss) }
    }

    /// Something may have been lost.
    pub fn missed(&self, gap: Gap) {
        (self.miss)(gap);
    }

    /// Tells. Not from within a step of a robot.
    pub fn tell(&self, told: Told) {
        (self.hear)(told);
    }
}

/// Attempts that went out for one kind of op, and what they weighed as text on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Requests that were sent.
    pub attempts: u64,
    /// Their bytes.
    pub request_bytes: u64,
    /// Bytes of the answers that came.
    pub answer_bytes: u64,
}

/// Bytes to and fro by kind of op. Counting is on the path of every ping: an addition, and no more.
#[derive(Debug)]
pub struct Traffic {
    by_kind: [Cell<Flow>; OpKind::ALL.len()],
}

impl Default for Traffic {
    fn default() -> Self {
        Self { by_kind: [const { Cell::new(Flow::EMPTY) }; OpKind::ALL.len()] }
    }
}

impl Flow {
    const EMPTY: Self = Self { attempts: 0, request_bytes: 0, answer_bytes: 0 };
}

impl Traffic {
    /// One more attempt; `answer_bytes` is zero where no answer came.
    pub fn count(&self, op: OpKind, request_bytes: usize, answer_bytes: usize) {
        let cell = &self.by_kind[op.index()];
        let flow = cell.get();
        cell.set(Flow {
            attempts: flow.attempts + 1,
            request_bytes: flow.request_bytes + request_bytes as u64,
            answer_bytes: flow.answer_bytes + answer_bytes as u64,
        });
    }

    /// So far, in the order of [`OpKind::ALL`].
    pub fn so_far(&self) -> Vec<Flow> {
        self.by_kind.iter().map(Cell::get).collect()
    }
}
