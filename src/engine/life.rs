//! The life of one op: its attempts, the waits between them, a fresh token when the old one has
//! expired, and its end. A ping, or a look for an offer, is never tried again: the next one is
//! worth more.

use std::{rc::Rc, time::Duration};

use super::{hub::Hub, target::Tried};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        time::Time,
    },
    history::{
        answer::Refusal,
        op::{Ask, Attempt, Op, OpKind, Outcome, outcome_of},
    },
};

/// The longest wait between two attempts, before jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How an op comes to its place among those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has one.
    Now,
    /// It waits for one.
    Waits,
    /// It needs none: the target gathers such ops.
    Gathered,
}

/// One intent that is on its way.
pub(super) struct Intent {
    /// The number of the op.
    pub number: u64,
    /// Who.
    pub robot: RobotId,
    /// What.
    pub ask: Ask,
    /// When it was due.
    pub planned: Time,
}

/// Lives an op from its plan to its end.
pub(super) async fn live(hub: Rc<Hub>, intent: Intent, turn: Turn) {
    if turn == Turn::Waits {
        // The semaphore is never closed, so this is only ever a permit.
        if let Ok(permit) = hub.permits.acquire().await {
            permit.forget();
        }
    }
    let op = attempts(&hub, intent).await;
    if turn != Turn::Gathered {
        hub.permits.add_permits(1);
    }
    hub.ended(op, turn);
}

/// Lives an op that belongs to no robot of the population.
pub(super) async fn apart(hub: Rc<Hub>, intent: Intent) {
    let op = attempts(&hub, intent).await;
    hub.recorded(Rc::new(op));
}

/// Attempts, until one is ok, or another would be in vain or over the limit.
async fn attempts(hub: &Rc<Hub>, intent: Intent) -> Op {
    let Intent { number, robot, ask, planned } = intent;
    // The next ping, and the next look for an offer, come by themselves; what is wrong on purpose
    // is not made right.
    let probe = ask.probe.is_some();
    let once = probe || matches!(ask.op, OpKind::DriverPing | OpKind::DriverNextOffer);
    let mut left = if once { 1 } else { hub.attempts_max() };
    let mut attempts = Vec::with_capacity(1);
    let mut renewed = false;
    loop {
        // What is gathered waits within the target, which has a limit to it.
        if !hub.target.gathers(ask.op) {
            if let Some(pause) = hub.target.held() {
                pause.await;
            }
            if let Some(ceiling) = &hub.ceiling {
                ceiling.pass().await;
            }
        }
        let sent = hub.env.now();
        if attempts.is_empty() {
            hub.sent(robot, &ask, planned, sent);
        }
        hub.target.next_op(number);
        let tried = hub.target.attempt(robot, &ask, attempts.len() as u32).await;
        let Tried { outcome, answer, node, status, error, expired, retry } = tried;
        let done = hub.env.now();
        attempts.push(Attempt { sent, done, outcome, node, status, error });
        left -= 1;
        // One who asks for too much on purpose takes the answer as it is.
        let meant = robot.kind == RobotKind::Rogue && answer.refusal == Some(Refusal::Limited);
        let mut again = outcome != Outcome::Ok && retry && left > 0 && !meant;
        if again {
            hub.env.sleep(backoff(hub, robot, attempts.len())).await;
        } else if expired && !renewed && !probe && login_of(robot) != Some(ask.op) {
            renewed = true;
            again = renew(hub, robot, ask.phone, sent).await;
            left = left.max(1);
        }
        if !again {
            let first = attempts.first().map_or(sent, |attempt: &Attempt| attempt.sent);
            let outcome = outcome_of(&attempts);
            return Op {
                id: number,
                robot,
                ask,
                planned,
                sent: first,
                done,
                outcome,
                attempts,
                answer,
            };
        }
    }
}

/// The wait before another attempt: doubled each time, of which a half is drawn from the robot's
/// own stream, so that those who failed together do not come back together.
fn backoff(hub: &Hub, robot: RobotId, tried: usize) -> Duration {
    let doubled = hub.around.habits.backoff.0.saturating_mul(1 << tried.saturating_sub(1).min(16));
    doubled.min(BACKOFF_MAX).mul_f64(0.5 + 0.5 * hub.unit(robot))
}

/// The op with which a robot logs in anew; none for one that does not.
pub(super) fn login_of(robot: RobotId) -> Option<OpKind> {
    match robot.kind {
        RobotKind::Driver => Some(OpKind::DriverLogin),
        RobotKind::Passenger => Some(OpKind::PassengerLogin),
        RobotKind::Rogue if robot.rides() => Some(OpKind::PassengerLogin),
        // One that plays a driver lets its token expire.
        RobotKind::Rogue | RobotKind::Auditor => None,
    }
}

/// Logs in anew, as an op of its own; true when that phone of the robot has a fresh token. One that
/// another op got since `sent` is fresh enough.
async fn renew(hub: &Rc<Hub>, robot: RobotId, phone: Option<u8>, sent: Time) -> bool {
    // Gathered ops end together: one of them logs in, and the others wait for it.
    let turn = hub.renewing(robot);
    let _alone = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    if hub.renewed(robot, phone) > sent {
        return true;
    }
    let login = login_of(robot).filter(|op| hub.around.ops.has(*op));
    let Some(op) = login else { return false };
    let login = hub.intent(robot, Ask { phone, ..Ask::new(op) }, hub.env.now());
    fresh_token(hub, login).await
}

/// Logs a robot in that has lost its session; what it asks meanwhile waits for that once it was refused.
pub(super) async fn log_in(hub: &Rc<Hub>, login: Intent) {
    // Its place first: who waits for the turn must not keep one from whose turn it is.
    let place = hub.permits.acquire().await;
    let turn = hub.renewing(login.robot);
    let _alone = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    fresh_token(hub, login).await;
    drop(place);
}

/// Lives a login; true when it brought a token.
async fn fresh_token(hub: &Rc<Hub>, login: Intent) -> bool {
    let login = Box::pin(attempts(hub, login)).await;
    let (robot, phone) = (login.robot, login.ask.phone);
    let (ok, done) = (login.outcome == Outcome::Ok, login.done);
    hub.recorded(Rc::new(login));
    if ok {
        hub.renew(robot, phone, done);
    }
    ok
}
