//! A job as a register: its state, the number of its newest assignment, and who holds that. Which
//! write may follow which comes from the target's own declaration; so do the moves that the backend
//! makes by itself. Where the declaration leaves a doubt, the move is allowed.

use crate::history::{
    answer::JobState,
    declares::Declares,
    op::{OpKind, OpSet},
};

const STATES: usize = JobState::ALL.len();
type Table = [[bool; STATES]; STATES];

/// What a job can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register {
    /// Its state.
    pub state: JobState,
    /// The number of its newest assignment; 0 before the first.
    pub number: u32,
    /// The driver (by its number among the robots) of that assignment, until it is released.
    pub holder: Option<u32>,
}

impl Register {
    /// How every job begins.
    pub const BORN: Self = Self { state: JobState::Requested, number: 0, holder: None };
}

/// What one op does, or saw. The number of an assignment is 0 where it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A driver takes the job.
    Accept {
        /// Who.
        driver: u32,
        /// The assignment that it was told.
        number: u32,
    },
    /// A driver moves the job on.
    Move {
        /// Who.
        driver: u32,
        /// Of which assignment.
        number: u32,
        /// To what.
        to: JobState,
    },
    /// A driver gives the job back, or reports that nobody came.
    Release {
        /// Who.
        driver: u32,
        /// Of which assignment.
        number: u32,
    },
    /// The passenger gives the job up.
    Cancel {
        /// It was told that the job is cancelled: not merely that it is over.
        told: bool,
    },
    /// Somebody reads it.
    Read {
        /// The state.
        state: JobState,
        /// The newest assignment.
        number: u32,
        /// The driver, where one was named (and the job is in its hands).
        driver: Option<u32>,
    },
}

impl What {
    /// True when it only looks.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

/// What may follow what.
#[derive(Debug, Clone)]
pub struct Model {
    moves: Table,
    /// Moves that the backend makes without anybody asking.
    alone: Table,
    /// The moves within one assignment, closed.
    onward: Table,
}

impl Model {
    /// Of a target that declares this.
    pub fn new(declares: &Declares) -> Self {
        let asked = declares.asked();
        let (mut moves, mut alone, mut onward) = (Table::default(), Table::default(), one());
        let expires = declares.transitions.iter().any(|(_, to)| *to == JobState::Expired);
        for &(from, to) in &declares.transitions {
            let (row, column) = (from as usize, to as usize);
            moves[row][column] = true;
            alone[row][column] = is_alone(from, to, asked, declares.releases_alone, expires);
            onward[row][column] |= !(from.is_held() && is_open(to));
        }
        close(&mut onward);
        Self { moves, alone, onward }
    }

    /// Whether the target knows of that state at all.
    pub fn knows(&self, state: JobState) -> bool {
        let at = state as usize;
        self.moves[at].iter().any(|to| *to) || self.moves.iter().any(|from| from[at])
    }

    /// Adds to `found` every state that the backend can bring the job to by itself, this one first.
    pub fn alone(&self, from: Register, found: &mut Vec<Register>) {
        found.clear();
        found.push(from);
        let mut next = 0;
        while let Some(&now) = found.get(next) {
            next += 1;
            for to in JobState::ALL {
                if self.alone[now.state as usize][to as usize] {
                    let after = Register { state: to, ..released(now, to) };
                    if !found.contains(&after) {
                        found.push(after);
                    }
                }
            }
        }
    }

    /// Adds to `after` every state that the job can be in once `what` took effect on `now`; none when
    /// it cannot take effect there.
    pub fn after(&self, now: Register, what: What, after: &mut Vec<Register>) {
        after.clear();
        match what {
            What::Accept { driver, number } => self.accept(now, driver, number, after),
            What::Move { driver, number, to } => {
                if now.holder != Some(driver) || !agree(number, now.number) {
                    return;
                }
                if self.moves[now.state as usize][to as usize] {
                    after.push(Register { state: to, ..now });
                } else if !is_gone(now.state) && self.onward[to as usize][now.state as usize] {
                    // It was there already: a repetition.
                    after.push(now);
                }
            }
            What::Release { driver, number } => self.release(now, driver, number, after),
            What::Cancel { told } => {
                if self.moves[now.state as usize][JobState::Cancelled as usize] {
                    after.push(Register { state: JobState::Cancelled, ..now });
                }
                if now.state == JobState::Cancelled || (!told && now.state.is_terminal()) {
                    after.push(now);
                }
            }
            What::Read { state, number, driver } => {
                let held = now.state.is_held() && driver.is_some() && now.holder.is_some();
                if now.state == state
                    && agree(number, now.number)
                    && (!held || driver == now.holder)
                {
                    after.push(now);
                }
            }
        }
    }

    fn accept(&self, now: Register, driver: u32, number: u32, after: &mut Vec<Register>) {
        if is_open(now.state) && agree(number, now.number + 1) {
            let held = JobState::ALL.into_iter().filter(|to| to.is_held());
            for to in held.filter(|to| self.moves[now.state as usize][*to as usize]) {
                after.push(Register { state: to, number: now.number + 1, holder: Some(driver) });
            }
        }
        // It had it already: a repetition.
        if !is_open(now.state) && now.holder == Some(driver) && agree(number, now.number) {
            after.push(now);
        }
    }

    fn release(&self, now: Register, driver: u32, number: u32, after: &mut Vec<Register>) {
        if now.state.is_held() && now.holder == Some(driver) && agree(number, now.number) {
            for to in [JobState::Requested, JobState::Offered, JobState::Cancelled] {
                if self.moves[now.state as usize][to as usize] {
                    after.push(Register { state: to, ..released(now, to) });
                }
            }
        }
        // It was rid of it already: a repetition.
        let rid = now.holder != Some(driver) || (number != 0 && number < now.number);
        if rid || now.state == JobState::Cancelled {
            after.push(now);
        }
    }
}

/// A job that looks for a driver again is in nobody's hands.
fn released(now: Register, to: JobState) -> Register {
    let holder = now.holder.filter(|_| !is_open(to));
    Register { holder, ..now }
}

fn is_open(state: JobState) -> bool {
    matches!(state, JobState::Requested | JobState::Offered)
}

fn is_gone(state: JobState) -> bool {
    matches!(state, JobState::Cancelled | JobState::Expired)
}

fn agree(one: u32, other: u32) -> bool {
    one == 0 || one == other
}

/// Whether the backend makes that move by itself: expiry and dispatch always; what robots ask for
/// only where they do not, or where it is declared.
fn is_alone(
    from: JobState,
    to: JobState,
    asked: OpSet,
    releases_alone: bool,
    expires: bool,
) -> bool {
    use JobState::{Accepted, Arrived, Cancelled, Completed, PickedUp};
    let gives_back = asked.has(OpKind::DriverCancel) || asked.has(OpKind::DriverNoShow);
    let gives_up = asked.has(OpKind::PassengerCancel);
    match (is_open(from), to) {
        // That is an accept.
        (true, Accepted | Arrived | PickedUp) => false,
        (true, Cancelled) => !gives_up || !expires,
        (false, Arrived) => !asked.has(OpKind::DriverArrive),
        (false, PickedUp) => !asked.has(OpKind::DriverPickUp),
        (false, Completed) => !asked.has(OpKind::DriverDropOff),
        (false, Cancelled) => releases_alone || !gives_up,
        (false, _) if is_open(to) => releases_alone || !gives_back,
        _ => true,
    }
}

fn one() -> Table {
    let mut table = Table::default();
    for (at, row) in table.iter_mut().enumerate() {
        row[at] = true;
    }
    table
}

fn close(table: &mut Table) {
    for via in 0..STATES {
        for from in 0..STATES {
            for to in 0..STATES {
                table[from][to] |= table[from][via] && table[via][to];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use JobState::{
        Accepted, Arrived, Cancelled, Completed, Expired, Offered, PickedUp, Requested,
    };

    fn held(state: JobState) -> Register {
        Register { state, number: 1, holder: Some(7) }
    }

    fn after(now: Register, what: What) -> Vec<Register> {
        let mut after = Vec::new();
        Model::new(&Declares::default()).after(now, what, &mut after);
        after
    }

    fn alone(declares: &Declares, from: Register) -> Vec<JobState> {
        let mut found = Vec::new();
        Model::new(declares).alone(from, &mut found);
        found.iter().map(|state| state.state).collect()
    }

    #[test]
    fn an_accept_takes_an_open_job_or_finds_it_taken_by_itself() {
        let accept = What::Accept { driver: 7, number: 0 };
        let offered = Register { state: Offered, ..Register::BORN };
        assert_eq!(after(offered, accept), [held(Accepted)]);
        assert!(after(Register::BORN, accept).is_empty(), "it must have been offered");
        assert_eq!(after(held(Completed), accept), [held(Completed)]);
        assert!(after(held(Accepted), What::Accept { driver: 8, number: 0 }).is_empty());
        assert!(after(offered, What::Accept { driver: 7, number: 2 }).is_empty());
    }

    #[test]
    fn a_driver_moves_its_own_assignment_onward() {
        let to = |to| What::Move { driver: 7, number: 1, to };
        assert_eq!(after(held(Accepted), to(Arrived)), [held(Arrived)]);
        assert_eq!(after(held(PickedUp), to(Arrived)), [held(PickedUp)]);
        assert!(after(held(Accepted), to(PickedUp)).is_empty());
        assert!(after(held(Cancelled), to(Arrived)).is_empty());
        assert!(after(Register { holder: Some(8), ..held(Accepted) }, to(Arrived)).is_empty());
    }

    #[test]
    fn what_is_given_back_is_in_nobodys_hands() {
        let back = What::Release { driver: 7, number: 1 };
        let open = Register { state: Requested, number: 1, holder: None };
        assert_eq!(after(held(Arrived), back), [open, held(Cancelled)]);
        assert_eq!(after(open, back), [open], "once more");
        assert!(after(held(PickedUp), back).is_empty());
    }

    #[test]
    fn the_backend_alone_offers_and_expires_and_no_more_than_it_declares() {
        let mut declares = Declares::default();
        assert_eq!(alone(&declares, Register::BORN), [Requested, Offered, Expired]);
        assert_eq!(alone(&declares, held(Arrived)), [Arrived]);
        declares.releases_alone = true;
        assert!(alone(&declares, held(Arrived)).contains(&Requested));
        declares.releases_alone = false;
        declares.automatic = vec![OpKind::DriverDropOff];
        assert_eq!(alone(&declares, held(PickedUp)), [PickedUp, Completed]);
        assert!(Model::new(&declares).knows(Expired));
        declares.transitions.retain(|(_, to)| *to != Expired);
        assert!(!Model::new(&declares).knows(Expired));
    }
}
