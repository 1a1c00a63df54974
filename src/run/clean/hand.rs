//! One hand for all robots of a run that is over: asks as they asked, with patience, under the
//! target's ceiling. Knows nothing of what is asked for.

use std::{num::NonZeroU32, rc::Rc, time::Duration};

use crate::{
    base::id::{RobotId, RobotKind},
    engine::{
        ceiling::Ceiling,
        target::{Target, Tried},
    },
    history::op::{Ask, OpKind, OpSet, Outcome},
    world::Env,
};

/// Attempts at one op.
const ATTEMPTS_MAX: u32 = 5;
/// Between two of them at first; doubled each time.
const BACKOFF: Duration = Duration::from_millis(250);

/// Asks a target for robots.
pub struct Hand {
    env: Env,
    target: Rc<dyn Target>,
    ops: OpSet,
    ceiling: Option<Ceiling>,
}

impl Hand {
    /// A hand on `target`.
    pub fn new(env: Env, target: Rc<dyn Target>, ceiling: Option<u32>) -> Self {
        let ops = target.declares().ops.iter().copied().collect();
        let ceiling = ceiling
            .and_then(NonZeroU32::new)
            .map(|per_second| Ceiling::new(env.clone(), per_second));
        Self { env, target, ops, ceiling }
    }

    /// Whether the target has that op.
    pub fn has(&self, op: OpKind) -> bool {
        self.ops.has(op)
    }

    /// The target.
    pub fn target(&self) -> &dyn Target {
        &*self.target
    }

    /// Waits.
    pub async fn rest(&self, span: Duration) {
        self.env.sleep(span).await;
    }

    /// Asks, again where that may help, with a fresh token where the old one has expired.
    pub async fn ask(&self, robot: RobotId, ask: Ask) -> Tried {
        let tried = self.insist(robot, &ask).await;
        let login = match robot.kind {
            RobotKind::Driver => OpKind::DriverLogin,
            RobotKind::Passenger => OpKind::PassengerLogin,
            RobotKind::Auditor | RobotKind::Rogue => return tried,
        };
        if !tried.expired || ask.op == login || !self.has(login) {
            return tried;
        }
        let renewed = self.insist(robot, &Ask::new(login)).await;
        if renewed.outcome == Outcome::Ok { self.insist(robot, &ask).await } else { renewed }
    }

    async fn insist(&self, robot: RobotId, ask: &Ask) -> Tried {
        let mut attempt = 0;
        loop {
            if let Some(pause) = self.target.held() {
                pause.await;
            }
            if let Some(ceiling) = &self.ceiling {
                ceiling.pass().await;
            }
            let tried = self.target.attempt(robot, ask, attempt).await;
            attempt += 1;
            if tried.outcome == Outcome::Ok || !tried.retry || attempt >= ATTEMPTS_MAX {
                return tried;
            }
            self.env.sleep(BACKOFF * (1 << attempt.min(8))).await;
        }
    }
}
