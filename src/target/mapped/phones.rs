//! Whether the steps of a mapping can be carried out on a second phone of their robot.

use super::step::{Step, Way};
use crate::history::op::OpKind;

/// What a robot does on its second phone.
const ON_SECOND_PHONES: [OpKind; 9] = [
    OpKind::DriverLogin,
    OpKind::DriverCurrentJob,
    OpKind::DriverPing,
    OpKind::DriverAccept,
    OpKind::PassengerLogin,
    OpKind::PassengerCurrentJob,
    OpKind::PassengerJobStatus,
    OpKind::PassengerCancel,
    OpKind::PassengerPay,
];

/// Why robots cannot have a second phone: it has a token of its own, and no socket.
pub fn only_one(steps: &[Option<Step>]) -> Option<String> {
    let mapped = |op: &OpKind| steps[op.index()].as_ref();
    let lets_in = |step: &Step| step.keeps_token() || step.first.iter().any(Step::keeps_token);
    let logins = [OpKind::DriverLogin, OpKind::PassengerLogin];
    let mut logins = logins.iter().filter_map(mapped).peekable();
    if logins.peek().is_none() || !logins.all(lets_in) {
        return Some("needs `keep.token` in [driver.login] and [passenger.login]".to_owned());
    }
    let step = ON_SECOND_PHONES.iter().filter_map(mapped).find(|step| !asks_alone(step))?;
    Some(format!("needs every step to be an HTTP request of its own, and [{}] is not", step.key))
}

/// It, and all that comes before it, are HTTP requests of their own.
fn asks_alone(step: &Step) -> bool {
    let alone = matches!(step.way, Way::Http { .. }) && step.batch.is_none();
    alone && step.first.iter().all(asks_alone)
}
