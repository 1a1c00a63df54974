//! What is known of each robot while a mapping is carried out: its fields, made or leased with an
//! account of the pool, and its session. Sends nothing.

use std::rc::Rc;

use http::HeaderMap;
use serde_json::Value;

use super::{
    ACCOUNT, Judged, Mapped, TOKEN, firsts::Begun, scope::Scope, secret, session::Fields,
    step::Step,
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::op::OpKind,
    target::{
        accounts::{Account, Pool},
        app::App,
    },
};

/// What a robot is to the backend, on one of its phones.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Shared: a ping reads them and copies none.
    pub fields: Rc<Fields>,
    /// Its fields are made.
    met: bool,
    /// It had a token once: a refresh may do.
    pub was_in: bool,
    /// Instances away from home.
    pub away: usize,
    /// Since when.
    pub since: Time,
    /// Requests so far.
    pub requests: u64,
    /// The headers of its pings, as they were last.
    pub prepared: Option<Prepared>,
    /// Ops that are to be tried again, and what was done for them.
    pub begun: Vec<Begun>,
}

/// Headers that stay the same while what is known of a robot does.
#[derive(Debug)]
pub(super) struct Prepared {
    pub of: Rc<Fields>,
    pub headers: HeaderMap,
}

fn login_of(robot: RobotId) -> OpKind {
    if robot.plays() == RobotKind::Driver { OpKind::DriverLogin } else { OpKind::PassengerLogin }
}

impl Mapped {
    pub(super) fn session<T>(
        &self,
        app: impl Into<App>,
        look: impl FnOnce(&mut Session) -> T,
    ) -> T {
        let App { robot, second } = app.into();
        if second {
            return look(self.seconds.borrow_mut().entry(robot).or_default());
        }
        let mut sessions = self.sessions.borrow_mut();
        let of_kind = &mut sessions[robot.kind as usize];
        let number = robot.number as usize;
        if of_kind.len() <= number {
            of_kind.resize_with(number + 1, || None);
        }
        look(of_kind[number].get_or_insert_default())
    }

    /// Lets robots have the accounts of `pool`. Once, before the first of them asks.
    pub fn lease_from(&self, pool: Pool) {
        // A second pool would give robots that are known by now other accounts.
        let _ = self.pool.set(pool);
    }

    /// The fields of the robot on that phone; made when it is met there for the first time. A second phone
    /// begins with what is known on the first, but for what its login brings.
    pub(super) fn fields(&self, app: impl Into<App>) -> Result<Rc<Fields>, String> {
        let app = app.into();
        let robot = app.robot;
        let (known, met) = self.session(app, |session| (Rc::clone(&session.fields), session.met));
        if met {
            return Ok(known);
        }
        let fields = if app.second {
            let mut fields = (*self.fields(robot)?).clone();
            fields.remove(TOKEN);
            for (name, _) in self.file.step(login_of(robot)).iter().flat_map(|step| step.keeps()) {
                fields.remove(name);
            }
            fields
        } else {
            self.made(robot, &known)?
        };
        let fields = Rc::new(fields);
        self.session(app, |session| {
            session.fields = Rc::clone(&fields);
            session.met = true;
        });
        if let Some(account) = fields.get(ACCOUNT) {
            self.is_of(robot, Id::from(account));
        }
        Ok(fields)
    }

    /// The fields of a robot that is met for the first time, beside those that are known already.
    fn made(&self, robot: RobotId, known: &Fields) -> Result<Fields, String> {
        let mut fields = known.clone();
        let leased = self.lease(robot)?;
        for (name, value) in leased.iter().flat_map(|account| account.fields()) {
            fields.set(name, value);
        }
        for (name, text) in &self.file.fields[robot.plays() as usize] {
            // What its account says of a robot is not made up.
            if leased.is_some_and(|account| account.get(name).is_some()) {
                continue;
            }
            let value = text.render(&self.scope(robot, &fields))?;
            fields.set(name, &value);
        }
        Ok(fields)
    }

    /// The robot's account of the pool, where there is a pool. Auditors may do without.
    fn lease(&self, robot: RobotId) -> Result<Option<&Account>, String> {
        match (self.pool.get(), &self.file.pool) {
            (Some(pool), _) => match pool.lease(robot) {
                Ok(account) => Ok(Some(account)),
                Err(_) if robot.kind == RobotKind::Auditor => Ok(None),
                Err(why) => Err(why.to_string()),
            },
            (None, Some(file)) => Err(format!("the pool of accounts {file} was not opened")),
            (None, None) => Ok(None),
        }
    }

    /// The text without what is secret of the run, and of that robot's account.
    pub(super) fn hide(&self, robot: RobotId, text: &str) -> String {
        let text = self.file.run.secrets.hide(text);
        match self.pool.get().map(|pool| pool.lease(robot)) {
            Some(Ok(account)) => secret::hide(text, account.secrets()),
            _ => text,
        }
    }

    /// Keeps what the step wants kept of the robot.
    pub(super) fn keep(&self, step: &Step, scope: &Scope<'_>, body: &Value) -> Result<(), String> {
        for (name, pick) in &step.keep {
            match pick.text(scope, body)? {
                Some(value) => self.kept(scope.app(), name, &value),
                // Nobody gets on without it.
                None if [TOKEN, ACCOUNT].contains(&name.as_str()) => return Err(pick.missing()),
                None => {}
            }
        }
        Ok(())
    }

    pub(super) fn kept(&self, app: impl Into<App>, name: &str, value: &str) {
        let app = app.into();
        self.session(app, |session| Rc::make_mut(&mut session.fields).set(name, value));
        if name == ACCOUNT {
            self.is_of(app.robot, Id::from(value));
        }
    }

    fn is_of(&self, robot: RobotId, account: Id) {
        self.accounts.borrow_mut().insert((robot.plays(), account), robot);
    }

    /// A second phone signs on: what it knew before is of no use.
    pub(super) fn begin_anew(&self, second: App) {
        self.session(second, |session| (session.met, session.was_in) = (false, false));
    }

    /// The robot has no token any more, where the mapping says what its token is.
    pub(super) fn forget_token(&self, robot: RobotId) {
        if self.file.keeps_token {
            self.session(robot, |session| {
                Rc::make_mut(&mut session.fields).remove(TOKEN);
            });
        }
    }

    pub(super) fn remember(&self, app: App, used: Option<&str>, judged: &Judged) {
        self.session(app, |session| {
            // A late refusal of an older token says nothing of the one that took its place.
            if judged.expired && self.file.keeps_token && session.fields.get(TOKEN) == used {
                Rc::make_mut(&mut session.fields).remove(TOKEN);
            }
            session.was_in |= session.fields.get(TOKEN).is_some();
            if let Some(account) = &judged.answer.account {
                Rc::make_mut(&mut session.fields).set(ACCOUNT, account.as_str());
            }
        });
        if let Some(account) = &judged.answer.account {
            self.is_of(app.robot, account.clone());
        }
    }
}
