//! Who is signed on: a robot has one phone with it, and few have a second one.

use crate::{base::id::RobotId, history::op::Ask};

/// One app that is signed on: on a robot's first phone, or on its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct App {
    /// Whose.
    pub robot: RobotId,
    /// It is on the second phone.
    pub second: bool,
}

impl App {
    /// The one on which the robot asks that.
    pub fn of(robot: RobotId, ask: &Ask) -> Self {
        Self { robot, second: ask.phone.is_some() }
    }
}

impl From<RobotId> for App {
    fn from(robot: RobotId) -> Self {
        Self { robot, second: false }
    }
}
