//! Steps that come before others: what was done of them for an op is not done again when the op is
//! tried again, and what goes wrong with them is not taken for the word on the op itself.

use http::Method;

use super::{
    Ended, Judged, Mapped, TOKEN,
    batch::Parcel,
    step::{Step, Way},
};
use crate::{
    base::{id::RobotId, time::Time},
    history::{
        answer::Refusal,
        op::{Ask, OpKind, Outcome},
    },
    target::app::App,
};

/// Ops of a robot of which that is remembered; beyond it the oldest is forgotten.
const BEGUN_MAX: usize = 16;

/// How far an op came that was not tried for the last time.
#[derive(Debug)]
pub struct Begun {
    ask: Ask,
    /// Keys of the steps that are done.
    done: Vec<String>,
    /// One of them may have changed something.
    acted: bool,
}

impl Mapped {
    /// One op: what comes first, then the step itself; all of it by `deadline`.
    pub(super) async fn carry_out(
        &self,
        robot: RobotId,
        step: &Step,
        ask: &Ask,
        batch: Option<&Parcel>,
        deadline: Time,
    ) -> Ended {
        // Batches look alike: each does all that comes first, and is not tried again.
        let once = batch.is_none();
        for first in &step.first {
            if once && self.is_done(robot, ask, first) {
                continue;
            }
            let ended = Box::pin(self.carry_out(robot, first, ask, None, deadline)).await;
            if ended.judged.outcome != Outcome::Ok {
                return self.fell_short(robot, ask, first, ended);
            }
            if once {
                self.note_done(robot, ask, first, &ended);
            }
        }
        match self.send(robot, step, ask, batch, deadline).await {
            Ok(ended) => ended,
            // What cannot be made is not sent.
            Err(why) => {
                let why = self.hide(robot, &format!("`{}`: {why}", step.key));
                Ended::unsent(Judged::refused(Refusal::Other, why))
            }
        }
    }

    fn begun<T>(&self, robot: RobotId, ask: &Ask, look: impl FnOnce(&mut Begun) -> T) -> Option<T> {
        self.session(App::of(robot, ask), |session| {
            session.begun.iter_mut().find(|begun| begun.ask == *ask).map(look)
        })
    }

    fn is_done(&self, robot: RobotId, ask: &Ask, first: &Step) -> bool {
        // Who has lost its token must be let in again.
        let out = first.keeps_token()
            && self.session(App::of(robot, ask), |session| session.fields.get(TOKEN).is_none());
        !out && self.begun(robot, ask, |begun| begun.done.contains(&first.key)).unwrap_or(false)
    }

    fn note_done(&self, robot: RobotId, ask: &Ask, first: &Step, ended: &Ended) {
        // A ticket, or a one-time code, is good for one try.
        if matches!(ask.op, OpKind::DriverLogin | OpKind::PassengerLogin) {
            return;
        }
        // One that was left out has no node, and neither has a command.
        let acted =
            acts(first) && (ended.node.is_some() || matches!(first.way, Way::Command { .. }));
        self.session(App::of(robot, ask), |session| {
            let known = session.begun.iter_mut().find(|begun| begun.ask == *ask);
            if let Some(begun) = known {
                begun.done.push(first.key.clone());
                begun.acted |= acted;
                return;
            }
            if session.begun.len() >= BEGUN_MAX {
                session.begun.remove(0);
            }
            session.begun.push(Begun { ask: ask.clone(), done: vec![first.key.clone()], acted });
        });
    }

    /// Nothing is known of an op any more: it begins, or is over.
    pub(super) fn forget_firsts(&self, robot: RobotId, ask: &Ask) {
        let app = App::of(robot, ask);
        self.session(app, |session| session.begun.retain(|begun| begun.ask != *ask));
    }

    /// A step that comes first went wrong, and the op's own was not sent. "No such thing" is said of
    /// something else than the op asks for.
    fn fell_short(&self, robot: RobotId, ask: &Ask, first: &Step, mut ended: Ended) -> Ended {
        let judged = &mut ended.judged;
        if let Some(why) = &mut judged.error
            && !why.starts_with('`')
        {
            *why = format!("`{}`: {why}", first.key);
        }
        let own = matches!(judged.answer.refusal, Some(Refusal::Limited)) || judged.expired;
        if judged.answer.refusal.is_some() && !own {
            judged.answer.refusal = Some(Refusal::Other);
        }
        let acted = self.begun(robot, ask, |begun| begun.acted).unwrap_or(false);
        if acted && judged.outcome == Outcome::Fail {
            // A part of it was done.
            judged.outcome = Outcome::Info;
            judged.answer.refusal = None;
        }
        ended
    }
}

/// Whether a step may change something beyond letting the robot in.
fn acts(step: &Step) -> bool {
    match &step.way {
        Way::Http { method, .. } => *method != Method::GET && !step.keeps_token(),
        _ => !step.keeps_token(),
    }
}
