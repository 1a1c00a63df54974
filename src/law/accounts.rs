//! Which robot has which account at the backend, learnt for all laws from what registering and logging in
//! said.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::op::{Op, OpKind, Outcome},
};

/// The ops that tell accounts.
const TELL_ACCOUNTS: [OpKind; 4] = [
    OpKind::DriverRegister,
    OpKind::DriverLogin,
    OpKind::PassengerRegister,
    OpKind::PassengerLogin,
];

/// The accounts of the robots. A copy is another handle to the same: what one law learnt all know.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Rc<RefCell<Known>>);

// Neither map is ever iterated.
#[derive(Debug, Default)]
struct Known {
    of: HashMap<RobotId, Id>,
    robots: HashMap<Id, (Option<u32>, Option<u32>)>,
}

impl Accounts {
    /// Takes an op; those that tell no account are passed over.
    pub fn see(&self, op: &Op) {
        if let (Outcome::Ok, Some(account)) = (op.outcome, &op.answer.account)
            && TELL_ACCOUNTS.contains(&op.kind())
        {
            let mut known = self.0.borrow_mut();
            if known.of.get(&op.robot) == Some(account) {
                return;
            }
            known.of.insert(op.robot, account.clone());
            let robots = known.robots.entry(account.clone()).or_default();
            match op.robot.kind {
                RobotKind::Driver => robots.0 = Some(op.robot.number),
                RobotKind::Passenger => robots.1 = Some(op.robot.number),
                RobotKind::Auditor | RobotKind::Rogue => {}
            }
        }
    }

    /// The account of `robot`, where it is known.
    pub fn of(&self, robot: RobotId) -> Option<Id> {
        self.0.borrow().of.get(&robot).cloned()
    }

    /// The driver who has that account, where one of ours has it.
    pub fn driver(&self, account: &Id) -> Option<RobotId> {
        self.0.borrow().robots.get(account)?.0.map(RobotId::driver)
    }

    /// The passenger who has that account, where one of ours has it.
    pub fn passenger(&self, account: &Id) -> Option<RobotId> {
        self.0.borrow().robots.get(account)?.1.map(RobotId::passenger)
    }

    /// True when that account is certainly the robot's; none when it is not known.
    pub fn is(&self, robot: RobotId, account: &Id) -> Option<bool> {
        self.0.borrow().of.get(&robot).map(|own| own == account)
    }
}
