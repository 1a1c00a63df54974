//! What is due when, in strict (planned time, sequence) order; what was put down too late, in the
//! order in which that was done.

use crate::{
    base::{self, id::RobotId, time::Time},
    robot::Alarm,
};

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A robot comes into the city.
    Start(RobotId),
    /// An alarm of a robot.
    Alarm(RobotId, Alarm),
    /// Somebody wishes to travel.
    Arrival,
    /// Somebody does in the surge of that number.
    ExtraWish(u32),
    /// A driver tells where it is in the surge of that number.
    ExtraUpdate(u32),
    /// A robot is told to sign off.
    SignOff(RobotId),
    /// The drivers on shift are counted.
    Census,
}

/// All that is due, the earliest first; of the same moment, what was pushed first.
#[derive(Default)]
pub(super) struct Agenda(base::agenda::Agenda<(Time, Due)>);

impl Agenda {
    /// Puts something down for `at`. What is late already is due next.
    pub fn push(&mut self, at: Time, due: Due) {
        self.0.insert(at.0, (at, due));
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Time> {
        self.0.next().map(Time)
    }

    /// Takes the next that is due by `now`, with the moment for which it was put down.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, Due)> {
        self.0.pop(now.0).map(|(_, due)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_first_and_in_order_of_pushing_within_a_moment() {
        let mut agenda = Agenda::default();
        let start = |number| Due::Start(RobotId::driver(number));
        for (at, number) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            agenda.push(Time(at), start(number));
        }
        assert_eq!(agenda.next(), Some(Time(3)));
        let mut order = vec![];
        while let Some((at, due)) = agenda.pop_due(Time(5)) {
            order.push((at.0, due));
        }
        assert_eq!(order, [(3, start(1)), (3, start(3)), (5, start(0)), (5, start(2))]);
        assert_eq!(agenda.next(), Some(Time(9)));
    }
}
