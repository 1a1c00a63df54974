//! What the laws of one history know together, learnt once for all of them: who has which account,
//! which drivers are free, what was heard of lately, and what the read-back showed.

use std::{
    cell::{Ref, RefCell},
    rc::Rc,
    time::Duration,
};

use super::{
    Seen,
    accounts::Accounts,
    readback::ReadBack,
    shelf::{HORIZON, Names, Shelf},
    supply::Cabs,
};
use crate::history::declares::Declares;

/// A copy is another handle to the same.
#[derive(Debug, Clone)]
pub struct Common {
    horizon: Duration,
    jobs: Names,
    accounts: Accounts,
    cabs: Cabs,
    read_back: Rc<RefCell<ReadBack>>,
}

impl Default for Common {
    fn default() -> Self {
        Self::new(&Declares::default(), HORIZON)
    }
}

impl Common {
    /// Nothing is known yet of a target that declares this; jobs are remembered for `horizon` after
    /// the last word about them.
    pub fn new(declares: &Declares, horizon: Duration) -> Self {
        let jobs = Names::default();
        let heard = Shelf::among(jobs.clone(), horizon);
        let read_back = Rc::new(RefCell::new(ReadBack::new(heard)));
        let (accounts, cabs) = (Accounts::default(), Cabs::new(declares));
        Self { horizon, jobs, accounts, cabs, read_back }
    }

    /// Takes one record, before any law does.
    pub fn see(&self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.accounts.see(op);
            self.cabs.see(op);
        }
        self.read_back.borrow_mut().see(seen);
    }

    /// How long a job is remembered after the last word about it.
    pub fn horizon(&self) -> Duration {
        self.horizon
    }

    /// A shelf for what is known of jobs.
    pub fn shelf<T>(&self) -> Shelf<T> {
        Shelf::among(self.jobs.clone(), self.horizon)
    }

    /// Who has which account.
    pub fn accounts(&self) -> Accounts {
        self.accounts.clone()
    }

    /// Which drivers are free, and where.
    pub fn cabs(&self) -> Cabs {
        self.cabs.clone()
    }

    /// What was heard of lately, and how the city was read back. Not to be held on to.
    pub fn read_back(&self) -> Ref<'_, ReadBack> {
        self.read_back.borrow()
    }
}
