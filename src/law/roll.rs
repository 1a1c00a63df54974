//! Something for each robot, looked up by its number: robots are numbered from 0, and most ops are
//! location updates of thousands of them.

use crate::base::id::{RobotId, RobotKind};

const KINDS: usize = RobotKind::ALL.len();

/// What is known of robots.
#[derive(Debug)]
pub struct Roll<T> {
    of_kind: [Vec<Option<T>>; KINDS],
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Self { of_kind: [const { Vec::new() }; KINDS] }
    }
}

impl<T> Roll<T> {
    fn place(&mut self, robot: RobotId) -> &mut Option<T> {
        let all = &mut self.of_kind[robot.kind as usize];
        let number = robot.number as usize;
        if all.len() <= number {
            all.resize_with(number + 1, || None);
        }
        &mut all[number]
    }

    /// What is known of that robot.
    pub fn get(&self, robot: RobotId) -> Option<&T> {
        self.of_kind[robot.kind as usize].get(robot.number as usize)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, robot: RobotId) -> Option<&mut T> {
        self.of_kind[robot.kind as usize].get_mut(robot.number as usize)?.as_mut()
    }

    /// The same; what is usual, where nothing is known.
    pub fn at(&mut self, robot: RobotId) -> &mut T
    where
        T: Default,
    {
        self.place(robot).get_or_insert_default()
    }

    /// Knows that of it, and nothing else.
    pub fn insert(&mut self, robot: RobotId, value: T) {
        *self.place(robot) = Some(value);
    }

    /// Knows nothing of it any more; what it was.
    pub fn remove(&mut self, robot: RobotId) -> Option<T> {
        self.of_kind[robot.kind as usize].get_mut(robot.number as usize)?.take()
    }

    /// All of whom something is known, in order.
    pub fn iter(&self) -> impl Iterator<Item = (RobotId, &T)> {
        RobotKind::ALL.into_iter().flat_map(|kind| {
            let all = (0..).zip(&self.of_kind[kind as usize]);
            all.filter_map(move |(number, value)| Some((RobotId { kind, number }, value.as_ref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_known_of_one_robot() {
        let mut roll = Roll::<u32>::default();
        *roll.at(RobotId::passenger(2)) += 5;
        roll.insert(RobotId::driver(7), 1);
        roll.insert(RobotId::driver(3), 4);
        let all: Vec<_> = roll.iter().map(|(robot, value)| (robot.to_string(), *value)).collect();
        let told = |text: &str, value| (text.to_owned(), value);
        let expected =
            [told("driver/00003", 4), told("driver/00007", 1), told("passenger/00002", 5)];
        assert_eq!(all, expected);
        assert_eq!(roll.remove(RobotId::driver(3)), Some(4));
        assert_eq!(roll.get(RobotId::driver(3)), None);
        assert_eq!(roll.get(RobotId::driver(9)), None);
    }
}
