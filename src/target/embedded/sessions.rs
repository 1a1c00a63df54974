//! What the adapter remembers of each robot, phone by phone: account, token, and which instance of the
//! API it uses.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use http::HeaderValue;

use super::answer::Judged;
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        name::NodeName,
        time::Time,
    },
    target::app::App,
    world::Env,
};

/// A robot that was driven away from its own instance tries it again after so long.
const HOME_AFTER: Duration = Duration::from_secs(10);

/// The session of one app.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// What goes into the header.
    pub token: Option<HeaderValue>,
    /// How many tokens there were.
    pub token_number: u32,
    /// Its account at the backend.
    pub account: Option<Id>,
    /// Instances away from home.
    away: usize,
    /// Since when.
    since: Time,
}

/// Every app's session; a cheap handle.
#[derive(Clone)]
pub struct Sessions {
    env: Env,
    apis: Rc<[NodeName]>,
    // By kind, then by number: looked up on every ping.
    all: Rc<RefCell<[Vec<Session>; RobotKind::ALL.len()]>>,
    /// Those of second phones, which few robots have.
    seconds: Rc<RefCell<BTreeMap<RobotId, Session>>>,
}

impl Sessions {
    /// Of robots that use these instances.
    pub fn new(env: &Env, apis: &[NodeName]) -> Self {
        Self { env: env.clone(), apis: apis.into(), all: Rc::default(), seconds: Rc::default() }
    }

    /// Looks at a session, or changes it.
    pub fn of<T>(&self, app: impl Into<App>, look: impl FnOnce(&mut Session) -> T) -> T {
        let App { robot, second } = app.into();
        if second {
            return look(self.seconds.borrow_mut().entry(robot).or_default());
        }
        let mut all = self.all.borrow_mut();
        let of_kind = &mut all[robot.kind as usize];
        let number = robot.number as usize;
        if of_kind.len() <= number {
            of_kind.resize(number + 1, Session::default());
        }
        look(&mut of_kind[number])
    }

    /// The instance that this app uses now: its own, or the one that it went to when that failed. Two
    /// phones of one robot have neighbours.
    pub fn instance(&self, app: impl Into<App>) -> Option<(usize, NodeName)> {
        let (now, app) = (self.env.now(), app.into());
        let away = self.of(app, |session| {
            if session.away != 0 && now.since(session.since) >= HOME_AFTER {
                session.away = 0;
            }
            session.away
        });
        let own = (app.robot.number as usize).checked_add(usize::from(app.second))?;
        let index = own.checked_add(away)?.checked_rem(self.apis.len())?;
        Some((away, self.apis.get(index)?.clone()))
    }

    /// The instance failed: the next attempt goes to another. Of two attempts that fail at once
    /// only one moves on.
    pub fn move_on(&self, app: impl Into<App>, from: usize) {
        let (now, all) = (self.env.now(), self.apis.len().max(1));
        self.of(app, |session| {
            if session.away == from {
                session.away = (from + 1) % all;
                session.since = now;
            }
        });
    }

    /// Notes what an answer means for the session; `used` is the number of the token that was sent.
    pub fn remember(&self, app: impl Into<App>, used: u32, judged: &Judged) {
        if judged.token.is_none() && !judged.expired && judged.answer.account.is_none() {
            return;
        }
        self.of(app, |session| {
            if let Some(token) = &judged.token {
                session.token = HeaderValue::try_from(format!("Bearer {token}")).ok();
                session.token_number += 1;
            }
            // A late refusal of an older token says nothing of the one that took its place.
            if judged.expired && session.token_number == used {
                session.token = None;
            }
            if judged.answer.account.is_some() {
                session.account.clone_from(&judged.answer.account);
            }
        });
    }
}
