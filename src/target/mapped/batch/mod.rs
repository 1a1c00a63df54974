//! Location updates that go out together: gathered by count and by age, sent as one request, and
//! told one by one what became of them. Each of them stays an op of its own.
//!
//! An update waits in the lane of its driver, or in the only lane where one gateway serves all. A lane
//! is let go when it has the most updates of a request, when its oldest is of age, or when somebody
//! who signs off wants it out. Time is the world's.

pub mod compiled;
pub mod grammar;
mod lanes;
mod share;

use std::{cell::RefCell, rc::Rc};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Ended, Judged, Mapped, scope::Scope, step::Step, tried};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        time::{Time, Wall},
    },
    engine::{ceiling::Ceiling, target::Tried},
    history::op::{Ask, OpKind, Outcome},
};
use compiled::Gather;
use grammar::Of;
use lanes::Lanes;

/// Who sends for all: the operator's own account.
const GATEWAY: RobotId = RobotId { kind: RobotKind::Auditor, number: 0 };

/// Updates that wait, or are under way.
#[derive(Default)]
pub struct Batches {
    lanes: RefCell<Lanes>,
    ceiling: RefCell<Option<Rc<Ceiling>>>,
}

/// An update that waits.
pub struct Update {
    /// Whose it is.
    pub robot: RobotId,
    /// What it says.
    pub ask: Ask,
    /// When it was handed over.
    since: Time,
    /// The same by the wall clock.
    pub wall: Wall,
    told: oneshot::Sender<Tried>,
}

/// Updates on their way in one request.
pub struct Parcel {
    /// The list of them, as JSON.
    pub json: String,
    /// The updates, the oldest first.
    pub updates: Vec<Update>,
    /// What became of each, where the answer says so.
    fates: RefCell<Vec<Judged>>,
}

impl Mapped {
    /// The step that gathers, if there is one.
    fn gatherer(&self) -> Option<(&Step, &Gather)> {
        let step = self.file.step(OpKind::DriverPing)?;
        Some((step, step.batch.as_ref()?))
    }

    /// Whether ops of that kind are gathered.
    pub(super) fn is_gathered(&self, op: OpKind) -> bool {
        op == OpKind::DriverPing && self.gatherer().is_some()
    }

    /// Every request with gathered updates passes that.
    pub(super) fn passes(&self, ceiling: Rc<Ceiling>) {
        self.batches.ceiling.replace(Some(ceiling));
    }

    /// One update: waits for company, and ends with its request. `None` where nothing is gathered.
    pub(super) async fn gathered(&self, robot: RobotId, ask: &Ask) -> Option<Tried> {
        let (_, gather) = self.gatherer().filter(|_| self.is_gathered(ask.op))?;
        if self.batches.lanes.borrow().is_full(gather.queue) {
            return Some(unsent(full(gather)));
        }
        let (told, tells) = oneshot::channel();
        let (since, wall) = (self.env.now(), self.env.wall());
        let update = Update { robot, ask: ask.clone(), since, wall, told };
        let lane = (gather.of == Of::Driver).then_some(robot);
        self.batches.lanes.borrow_mut().put(lane, update);
        self.pump(lane);
        let gone = |_| {
            let why = "the run ended before anything was heard of it".to_owned();
            tried(Judged::unknown(why), None, None)
        };
        Some(tells.await.unwrap_or_else(gone))
    }

    /// Lets go of what a lane has ready, and sees to it that the rest is let go when it is of age.
    fn pump(&self, place: Option<RobotId>) {
        let Some((_, gather)) = self.gatherer() else { return };
        let now = self.env.now();
        loop {
            let longest = gather.within + self.attempt_timeout;
            let late = self.batches.lanes.borrow_mut().late(place, now, longest);
            for late in late {
                let waited = now.since(late.since).as_secs_f64();
                let why = format!("not sent: it waited {waited:.1} s behind other requests");
                self.finish(late, unsent(why));
            }
            let updates = self.batches.lanes.borrow_mut().let_go(place, now, gather);
            let Some(updates) = updates else { break };
            let me = self.me.clone();
            self.env.spawn(async move {
                if let Some(mapped) = me.upgrade() {
                    mapped.deliver(place, updates).await;
                }
            });
        }
        let due = self.batches.lanes.borrow_mut().alarm(place, gather);
        if let Some(due) = due {
            let (me, alarm) = (self.me.clone(), self.env.sleep_until(due));
            self.env.spawn(async move {
                alarm.await;
                if let Some(mapped) = me.upgrade() {
                    mapped.batches.lanes.borrow_mut().rang(place, due);
                    mapped.pump(place);
                }
            });
        }
    }

    /// Sends updates as one request, and tells each what became of it.
    async fn deliver(&self, place: Option<RobotId>, updates: Vec<Update>) {
        let sender = place.unwrap_or(GATEWAY);
        if let Some((step, gather)) = self.gatherer()
            && let Some(parcel) = self.wrap(gather, updates)
        {
            let ceiling = self.batches.ceiling.borrow().clone();
            if let Some(ceiling) = ceiling {
                ceiling.pass().await;
            }
            // For the words of one driver's request: its newest update.
            let newest = parcel.updates.last().map(|update| update.ask.clone());
            let ask = newest.filter(|_| place.is_some()).unwrap_or(Ask::new(OpKind::DriverPing));
            let deadline = self.env.now() + self.attempt_timeout;
            self.forget_firsts(sender, &ask);
            let mut ended = self.carry_out(sender, step, &ask, Some(&parcel), deadline).await;
            self.forget_firsts(sender, &ask);
            // The gateway logs in as a part of its step: no driver's token is at fault.
            ended.judged.expired &= place.is_some();
            self.tell_fates(parcel, ended);
        }
        self.batches.lanes.borrow_mut().came_back(place);
        self.pump(place);
    }

    /// The parcel of those updates; one that cannot be written down ends here. `None` when none is
    /// left.
    fn wrap(&self, gather: &Gather, updates: Vec<Update>) -> Option<Parcel> {
        let mut parcel = Parcel { json: "[".into(), updates: vec![], fates: RefCell::default() };
        for update in updates {
            let before = parcel.json.len();
            if before > 1 {
                parcel.json.push(',');
            }
            match self.write(gather, &update, &mut parcel.json) {
                Ok(()) => parcel.updates.push(update),
                Err(why) => {
                    parcel.json.truncate(before);
                    let why = self.hide(update.robot, &format!("`batch.each`: {why}"));
                    self.finish(update, unsent(why));
                }
            }
        }
        parcel.json.push(']');
        (!parcel.updates.is_empty()).then_some(parcel)
    }

    fn write(&self, gather: &Gather, update: &Update, to: &mut String) -> Result<(), String> {
        let me = self.fields(update.robot)?;
        let scope = self.of_update(update, &me);
        if gather.each.render(&scope, to)? { Ok(()) } else { Err("it has no value".to_owned()) }
    }

    /// What an update's own templates speak of.
    fn of_update<'a>(&'a self, update: &'a Update, me: &'a super::session::Fields) -> Scope<'a> {
        Scope { ask: Some(&update.ask), wall: update.wall, ..self.scope(update.robot, me) }
    }

    fn tell_fates(&self, parcel: Parcel, mut ended: Ended) {
        let Parcel { updates, fates, .. } = parcel;
        let mut fates = fates.into_inner().into_iter();
        let (count, answer) = (updates.len(), std::mem::take(&mut ended.judged.answer));
        for (n, update) in updates.into_iter().enumerate() {
            let mut judged = fates.next().unwrap_or_else(|| ended.judged.clone());
            judged.answer.refusal = judged.answer.refusal.or(answer.refusal);
            if n + 1 == count && judged.answer.is_empty() {
                // What the answer tells a driver it is told once, with its newest update.
                judged.answer = answer.clone();
            }
            self.finish(update, tried(judged, ended.node.clone(), ended.status));
        }
    }

    fn finish(&self, update: Update, tried: Tried) {
        let waiters = self.batches.lanes.borrow_mut().done(update.robot);
        let _ = update.told.send(tried);
        for waiter in waiters {
            // Who does not wait any more does not mind.
            let _ = waiter.send(());
        }
    }

    /// Sends what waits, of one robot or of all, and ends when it is known what became of it.
    pub(super) async fn send_waiting(&self, robot: Option<RobotId>) {
        let Some((_, gather)) = self.gatherer() else { return };
        let of_all = gather.of == Of::All;
        let (places, waiting) = self.batches.lanes.borrow_mut().hurry(robot, of_all);
        for place in places {
            self.pump(place);
        }
        // Bounded: each request has a time-out, and what waits too long is let go unsent.
        join_all(waiting).await;
    }
}

/// It certainly did not happen.
fn unsent(why: String) -> Tried {
    tried(Judged::new(Outcome::Fail, Some(why)), None, None)
}

fn full(gather: &Gather) -> String {
    let queue = gather.queue;
    format!("not sent: {queue} location updates wait already (`queue` of [driver.ping.batch])")
}

#[cfg(test)]
mod tests;
