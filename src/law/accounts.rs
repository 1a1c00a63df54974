//! Which robot has which account at the backend, learnt from what registering and logging in said.

use std::collections::HashMap;

use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::op::{Op, OpKind, Outcome},
};

/// The ops that tell accounts; a law that uses [`Accounts`] watches them.
pub const TELL_ACCOUNTS: [OpKind; 4] = [
    OpKind::DriverRegister,
    OpKind::DriverLogin,
    OpKind::PassengerRegister,
    OpKind::PassengerLogin,
];

/// The accounts of the robots.
#[derive(Debug, Default)]
pub struct Accounts {
    // Never iterated.
    of: HashMap<RobotId, Id>,
    drivers: HashMap<Id, RobotId>,
}

impl Accounts {
    /// Takes an op; those that tell no account are passed over.
    pub fn see(&mut self, op: &Op) {
        if let (Outcome::Ok, Some(account)) = (op.outcome, &op.answer.account)
            && TELL_ACCOUNTS.contains(&op.kind())
        {
            self.of.insert(op.robot, account.clone());
            if op.robot.kind == RobotKind::Driver {
                self.drivers.insert(account.clone(), op.robot);
            }
        }
    }

    /// The account of `robot`, where it is known.
    pub fn of(&self, robot: RobotId) -> Option<&Id> {
        self.of.get(&robot)
    }

    /// The driver who has that account, where one of ours has it.
    pub fn driver(&self, account: &Id) -> Option<RobotId> {
        self.drivers.get(account).copied()
    }

    /// True when that account is certainly the robot's; none when it is not known.
    pub fn is(&self, robot: RobotId, account: &Id) -> Option<bool> {
        self.of(robot).map(|own| own == account)
    }
}
