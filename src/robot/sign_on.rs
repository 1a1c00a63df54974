//! Signing on, step by step, with patience: what drivers and passengers have in common.

use std::time::Duration;

use crate::history::{
    answer::Refusal,
    op::{Op, OpKind, OpSet, Outcome},
};

/// Rounds of trying before a robot gives up and goes home.
const TRIES_MAX: u32 = 12;

/// Where a robot is on its way in.
#[derive(Debug)]
pub(super) struct SignOn {
    steps: &'static [OpKind],
    at: usize,
    tries: u32,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The next op.
    Ask(OpKind),
    /// Wait about that long (times the number of tries), then ask `SignOn::step`.
    Wait(Duration, u32),
    /// It is in.
    In,
    /// It will not get in.
    GivenUp,
    /// An answer to something else.
    Stray,
}

impl SignOn {
    /// At the first of `steps`: register, login, and what else it takes.
    pub fn new(steps: &'static [OpKind]) -> Self {
        Self { steps, at: 0, tries: 0 }
    }

    /// The first step that the target has; `None` where it takes none to be in.
    pub fn begin(&mut self, ops: OpSet) -> Option<OpKind> {
        self.at = 0;
        self.skip(ops);
        self.steps.get(self.at).copied()
    }

    /// The op of the present step.
    pub fn step(&self) -> OpKind {
        self.steps[self.at.min(self.steps.len() - 1)]
    }

    /// Back to the last step that the target has, for a robot that was thrown out; `None` where it
    /// has none.
    pub fn again(&mut self, ops: OpSet) -> Option<OpKind> {
        self.tries = 0;
        self.at = self.steps.iter().rposition(|step| ops.has(*step))?;
        Some(self.steps[self.at])
    }

    /// Past the steps that the target does not have.
    fn skip(&mut self, ops: OpSet) {
        while self.steps.get(self.at).is_some_and(|step| !ops.has(*step)) {
            self.at += 1;
        }
    }

    /// Takes the end of an op.
    pub fn done(&mut self, op: &Op, ops: OpSet) -> Progress {
        if op.kind() != self.step() {
            return Progress::Stray;
        }
        // An account that exists already, or may exist, is found out by logging in.
        let registers = matches!(op.kind(), OpKind::DriverRegister | OpKind::PassengerRegister);
        let on = op.outcome == Outcome::Ok || registers && op.outcome == Outcome::Info;
        // So is one that was approved already.
        let once = registers || op.kind() == OpKind::SetupApproveDriver;
        let exists = once && op.answer.refusal == Some(Refusal::Conflict);
        if on || exists {
            self.at += 1;
            self.skip(ops);
            return if self.at < self.steps.len() {
                Progress::Ask(self.steps[self.at])
            } else {
                self.tries = 0;
                Progress::In
            };
        }
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            return Progress::GivenUp;
        }
        // A refused login may mean that the account is not there after all.
        let logs_in = matches!(op.kind(), OpKind::DriverLogin | OpKind::PassengerLogin);
        if logs_in && op.outcome == Outcome::Fail {
            self.at = 0;
            self.skip(ops);
        }
        Progress::Wait(Duration::from_millis(500), self.tries)
    }
}
