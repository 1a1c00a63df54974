//! Which state of a job can follow which, by the target's own declaration.

use crate::history::answer::JobState;

const STATES: usize = JobState::ALL.len();
type Table = [[bool; STATES]; STATES];

/// The declared moves, closed: reading may skip states.
#[derive(Debug, Clone, Copy)]
pub struct Graph {
    any: Table,
    held: Table,
}

impl Graph {
    /// From the moves that a target declares.
    pub fn new(moves: &[(JobState, JobState)]) -> Self {
        use JobState::{Offered, Requested};
        let release =
            |(from, to): (JobState, JobState)| from.is_held() && matches!(to, Requested | Offered);
        let held = moves.iter().copied().filter(|one| !release(*one));
        Self { any: closure(moves.iter().copied()), held: closure(held) }
    }

    /// True when `to` is `from`, or can come after it.
    pub fn reaches(&self, from: JobState, to: JobState) -> bool {
        self.any[from as usize][to as usize]
    }

    /// The same within one assignment: no driver is released on the way.
    pub fn reaches_held(&self, from: JobState, to: JobState) -> bool {
        self.held[from as usize][to as usize]
    }

    /// True when a job in state `from` can lose its driver and look for another.
    pub fn releases(&self, from: JobState) -> bool {
        self.reaches(from, JobState::Requested) || self.reaches(from, JobState::Offered)
    }
}

fn closure(moves: impl Iterator<Item = (JobState, JobState)>) -> Table {
    let mut table = [[false; STATES]; STATES];
    for (at, row) in table.iter_mut().enumerate() {
        row[at] = true;
    }
    for (from, to) in moves {
        table[from as usize][to as usize] = true;
    }
    for via in 0..STATES {
        for from in 0..STATES {
            for to in 0..STATES {
                table[from][to] |= table[from][via] && table[via][to];
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::declares::Declares;

    #[test]
    fn the_declared_graph_is_closed() {
        use JobState::{Accepted, Arrived, Completed, Expired, PickedUp, Requested};
        let graph = Graph::new(&Declares::default().transitions);
        assert!(graph.reaches(Requested, Completed) && graph.reaches(Arrived, Accepted));
        assert!(!graph.reaches(Completed, Requested) && !graph.reaches(PickedUp, Arrived));
        assert!(!graph.reaches_held(Arrived, Accepted) && !graph.reaches_held(Arrived, Expired));
        assert!(graph.releases(Arrived) && !graph.releases(PickedUp));
        for (row, state) in JobState::ALL.iter().enumerate() {
            assert_eq!(*state as usize, row, "tables by state rely on this");
        }
    }
}
