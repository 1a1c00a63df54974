//! A probe beside the robots: asks now and then what the backend says is wrong with live jobs. It
//! begins with the demand and ends with the run.

use std::{
    rc::{Rc, Weak},
    time::Duration,
};

use super::{hub::Hub, life};
use crate::{
    base::id::{RobotId, RobotKind},
    history::op::{Ask, OpKind},
    world::Env,
};

/// Who asks: none of the population, and not the auditor who reads back.
const WATCHMAN: RobotId = RobotId { kind: RobotKind::Auditor, number: 1 };

/// Begins to ask, where the scenario wants it and the target has an answer.
pub(super) fn start(hub: &Rc<Hub>) {
    let every_s = hub.around.habits.watch_s;
    if every_s > 0.0 && hub.around.ops.has(OpKind::AuditIssues) {
        let every = Duration::from_secs_f64(every_s);
        hub.env.spawn(ask(Rc::downgrade(hub), hub.env.clone(), every));
    }
}

async fn ask(hub: Weak<Hub>, env: Env, every: Duration) {
    loop {
        env.sleep(every).await;
        let Some(hub) = hub.upgrade().filter(|hub| !hub.is_stopped()) else { return };
        // One at a time: a slow backend is not asked more often for it.
        let intent = hub.intent(WATCHMAN, Ask::new(OpKind::AuditIssues), env.now());
        life::apart(hub, intent).await;
    }
}
