//! What a robot has at hand during one step, and how it numbers its alarms.

use std::time::Duration;

use super::{Act, Alarm, Surroundings};
use crate::{
    base::{rng::Rng, time::Time},
    history::op::{Ask, OpKind},
};

/// The inputs and the output of one step.
pub(super) struct Cue<'a> {
    /// The moment of the event.
    pub now: Time,
    /// The robot's own stream.
    pub rng: &'a mut Rng,
    /// What all robots share.
    pub around: &'a Surroundings,
    /// What it does.
    pub acts: &'a mut Vec<Act>,
}

impl Cue<'_> {
    /// Asks the API.
    pub fn ask(&mut self, ask: Ask) {
        self.acts.push(Act::Ask(ask));
    }

    /// Whether the target has that operation.
    pub fn has(&self, op: OpKind) -> bool {
        self.around.ops.has(op)
    }

    /// Is woken after `span`.
    pub fn wake(&mut self, span: Duration, alarm: Alarm) {
        self.acts.push(Act::Wake(self.now + span, alarm));
    }

    /// Has nothing more to do.
    pub fn rest(&mut self) {
        self.acts.push(Act::Rest);
    }

    /// Whether a mishap of that share happens now. One that never does draws nothing.
    pub fn mishap(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.chance(share)
    }

    /// City seconds as time of the run.
    pub fn city(&self, seconds: f64) -> Duration {
        self.around.clock.run_span(seconds)
    }

    /// A wait that grows with each try, up to ten times `step`, of which a half is drawn.
    pub fn patience(&mut self, step: Duration, tries: u32) -> Duration {
        step.mul_f64(f64::from(tries.clamp(1, 10)) * self.rng.between(0.5, 1.0))
    }
}

/// An alarm of that `kind` (below 16) that means something during that `turn` of the robot only:
/// a robot counts its turns, and an alarm of an earlier turn is stale.
pub(super) fn alarm(kind: u32, turn: u32) -> Alarm {
    Alarm(kind & 0xF | turn << 4)
}

/// The kind and the turn of an alarm.
pub(super) fn kind_and_turn(alarm: Alarm) -> (u32, u32) {
    (alarm.0 & 0xF, alarm.0 >> 4)
}

/// The turn after `turn`, within what an alarm can hold. Turn 0 is never reached again: alarms
/// with turn 0 hold always.
pub(super) fn next_turn(turn: u32) -> u32 {
    if turn >= (1 << 28) - 1 { 1 } else { turn + 1 }
}

/// Seconds as a duration, for habits that are plain numbers: never below a hundredth, so that no
/// habit makes a robot spin.
pub(super) fn seconds(habit: f64) -> Duration {
    Duration::from_secs_f64(habit.clamp(0.01, 1e9))
}
