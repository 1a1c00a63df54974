//! A backend that a mapping file describes (`targets/*.toml`): any team's own, without a line of
//! Rust. The file is read and checked by `compiled.rs`; here its steps are carried out for robots.
//! Knows nothing of the reference backend.

mod accepted;
pub mod batch;
mod book;
mod broker;
mod compiled;
mod firsts;
pub mod grammar;
mod hosts;
mod judge;
mod line;
pub mod made;
mod pause;
mod phones;
mod pick;
mod probe;
mod read;
mod request;
mod robots;
mod scope;
mod secret;
mod session;
mod sockets;
mod speaks;
mod step;
mod stray;
mod template;
mod watch;

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Response, header};
use serde_json::Value;

use compiled::Push;
pub use compiled::{Compiled, For};
pub use hosts::is_loopback;
pub use line::reach;
pub use watch::Exchange;

use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        name::NodeName,
        time::Time,
    },
    engine::{
        ceiling::Ceiling,
        target::{Ears, Target, Told, Traffic, Tried},
    },
    history::{
        answer::{Answer, JobView, OfferView, Refusal},
        declares::Declares,
        op::{Ask, OpKind, Outcome},
    },
    target::{accounts::Pool, app::App, wire::websocket},
    world::{Env, HttpError},
};
use batch::{Batches, Parcel};
use book::Book;
use broker::Connection;
use grammar::Kind;
use judge::{Meaning, Raw, answered};
use line::Line;
use pause::Pause;
use read::Around;
use request::{Marks, header_value};
use robots::Session;
use scope::Scope;
use session::Fields;
use sockets::Sockets;
use step::{Step, Way};
use watch::Watch;

/// A robot that was driven away from its own instance tries it again after so long.
const HOME_AFTER: Duration = Duration::from_secs(10);
/// An object without anything in it.
const EMPTY: &[u8] = b"{}";
/// The name of a robot's session token.
const TOKEN: &str = "token";
/// The name of a robot's account.
const ACCOUNT: &str = "account";
/// The name of the offer that was relayed last of a job.
const RELAYED: &str = "relayed__";

/// A backend that a mapping file describes, as a target.
pub struct Mapped {
    env: Env,
    /// For what comes unasked.
    me: Weak<Self>,
    file: Compiled,
    lines: Vec<Line>,
    /// How sockets are opened, by the place of their link.
    doors: Vec<Option<websocket::Options>>,
    sockets: Sockets,
    /// By the place of their link.
    brokers: Vec<Connection>,
    ears: RefCell<Option<Ears>>,
    /// By kind of robot.
    sessions: RefCell<[Vec<Option<Box<Session>>>; RobotKind::ALL.len()]>,
    /// Those of second phones, which few robots have.
    seconds: RefCell<BTreeMap<RobotId, Session>>,
    /// Accounts that exist already.
    pool: OnceCell<Pool>,
    /// An account's id may be that of a driver and of a passenger.
    accounts: RefCell<HashMap<(RobotKind, Id), RobotId>>,
    book: Book,
    batches: Batches,
    traffic: Traffic,
    watch: Watch,
    /// While the backend wants it nobody sends anything.
    pause: Pause,
    attempt_timeout: Duration,
    marks: Marks,
}

/// How one exchange ended.
struct Ended {
    judged: Judged,
    node: Option<NodeName>,
    status: Option<u16>,
}

impl Ended {
    /// Before anything was sent.
    fn unsent(judged: Judged) -> Self {
        Self { judged, node: None, status: None }
    }
}

/// What an exchange came to.
#[derive(Clone)]
struct Judged {
    outcome: Outcome,
    answer: Answer,
    error: Option<String>,
    expired: bool,
    retry: bool,
    instance_failed: bool,
}

impl Judged {
    fn new(outcome: Outcome, error: Option<String>) -> Self {
        let answer = Answer::default();
        Self { outcome, answer, error, expired: false, retry: false, instance_failed: false }
    }

    /// Nothing was sent.
    fn not_sent(why: String) -> Self {
        Self { retry: true, instance_failed: true, ..Self::new(Outcome::Fail, Some(why)) }
    }

    /// It may have been seen.
    fn unknown(why: String) -> Self {
        Self { retry: true, instance_failed: true, ..Self::new(Outcome::Info, Some(why)) }
    }

    /// It was handed over, and nobody says what became of it. A location update is done all the
    /// same: the next one takes its place, and one that is lost harms nobody.
    fn unanswered(ask: Option<&Ask>, way: &str) -> Self {
        if ask.is_some_and(|ask| ask.op == OpKind::DriverPing) {
            return Self::new(Outcome::Ok, None);
        }
        let why = format!("nobody knows what became of it: {way}");
        Self { instance_failed: false, retry: false, ..Self::unknown(why) }
    }

    fn refused(refusal: Refusal, why: String) -> Self {
        let refused = Self::new(Outcome::Fail, Some(why));
        Self { answer: Answer { refusal: Some(refusal), ..Answer::default() }, ..refused }
    }
}

impl Mapped {
    /// Speaks through `env` to the reference backend's `nodes` where the mapping says `embedded`,
    /// and through sockets of its own otherwise. The error says what cannot be had.
    pub fn new(
        env: Env,
        file: Compiled,
        nodes: &[NodeName],
        attempt_timeout: Duration,
    ) -> Result<Rc<Self>, String> {
        let lines = file
            .links
            .iter()
            .map(|link| Line::new(&env, &file, link, nodes))
            .collect::<Result<_, _>>()?;
        let pause = Pause::new(env.rng("pause"));
        let doors =
            file.links.iter().map(|link| line::door(&file, link)).collect::<Result<_, _>>()?;
        let brokers = file.links.iter().map(|_| Connection::default()).collect();
        let marks = Marks::new(&file.run.id);
        Ok(Rc::new_cyclic(|me| Self {
            env,
            me: me.clone(),
            file,
            lines,
            doors,
            sockets: Sockets::default(),
            brokers,
            ears: RefCell::default(),
            sessions: RefCell::default(),
            seconds: RefCell::default(),
            pool: OnceCell::new(),
            accounts: RefCell::default(),
            book: Book::default(),
            batches: Batches::default(),
            traffic: Traffic::default(),
            watch: Watch::default(),
            pause,
            attempt_timeout,
            marks,
        }))
    }

    /// The robot of that kind whose account that is.
    pub fn robot_of(&self, kind: RobotKind, account: &Id) -> Option<RobotId> {
        self.accounts.borrow().get(&(kind, account.clone())).copied()
    }

    fn scope<'a>(&'a self, robot: RobotId, me: &'a Fields) -> Scope<'a> {
        Scope::bare(&self.file.run, robot, me)
    }

    async fn send(
        &self,
        robot: RobotId,
        step: &Step,
        ask: &Ask,
        batch: Option<&Parcel>,
        deadline: Time,
    ) -> Result<Ended, String> {
        if let Some(ended) = self.hold_back(deadline).await {
            return Ok(ended);
        }
        let me = self.fields(App::of(robot, ask))?;
        let notes = ask.job.as_ref().and_then(|job| self.book.fields(job));
        let scope = Scope {
            ask: Some(ask),
            job: notes.as_ref(),
            batch,
            wall: self.env.wall(),
            deadline,
            ..self.scope(robot, &me)
        };
        if step.unless.as_ref().is_some_and(|test| test.holds(&scope)) {
            return Ok(Ended::unsent(Judged::new(Outcome::Ok, None)));
        }
        if step.needs_token && me.get(TOKEN).is_none() {
            let why = "not sent: the robot has no token, and logs in first".to_owned();
            let judged = Judged::refused(Refusal::Unauthenticated, why);
            return Ok(Ended::unsent(Judged { expired: true, ..judged }));
        }
        if self.left(&scope).is_zero() {
            let why = "not sent: what comes first took all of the attempt's time".to_owned();
            return Ok(Ended::unsent(Judged::not_sent(why)));
        }
        match &step.way {
            Way::Http { link, .. } => self.request(robot, step, *link, &scope).await,
            // In boxes: a request must not carry the room that these would need.
            Way::Send { .. } | Way::Emit { .. } => {
                Box::pin(self.over_socket(robot, step, &scope)).await
            }
            Way::Publish { .. } => Box::pin(self.over_broker(step, &scope)).await,
            Way::Command { .. } => Box::pin(self.by_command(step, &scope)).await,
        }
    }

    /// What is left of an attempt's time.
    fn left(&self, scope: &Scope<'_>) -> Duration {
        scope.deadline - self.env.now()
    }

    async fn request(
        &self,
        robot: RobotId,
        step: &Step,
        link: usize,
        scope: &Scope<'_>,
    ) -> Result<Ended, String> {
        let (via, op) = (&self.lines[link], scope.ask.map_or(OpKind::AuditJob, |ask| ask.op));
        let (away, instance) = self.instance(scope.app(), via.instances());
        let request = self.to_http(robot, step, link, scope)?;
        let bytes = request.body().len();
        let shown = self.shown(&request);
        let used = scope.me.get(TOKEN);
        let sent = self.env.timeout(self.left(scope), via.exchange(instance, request)).await;
        match &sent {
            Ok(Ok(response)) => self.traffic.count(op, bytes, response.body().len()),
            Ok(Err(HttpError::NotConnected(_))) => {}
            Ok(Err(HttpError::Broken(_))) | Err(_) => self.traffic.count(op, bytes, 0),
        }
        let status = match &sent {
            Ok(Ok(response)) => Some(response.status().as_u16()),
            _ => None,
        };
        let mut came = None;
        let judged = match sent {
            Ok(Ok(response)) => {
                let after = response.headers().get(header::RETRY_AFTER);
                self.judge(step, scope, came.insert(raw(step, &response)), after)
            }
            Ok(Err(HttpError::NotConnected(why))) => Judged::not_sent(why),
            Ok(Err(HttpError::Broken(why))) => Judged::unknown(why),
            Err(_) => Judged::unknown("no answer in time".to_owned()),
        };
        if judged.instance_failed {
            self.move_on(scope.app(), away, via.instances());
        }
        self.remember(scope.app(), used, &judged);
        if let Some(shown) = shown {
            self.saw(step, scope, &shown, came.as_ref(), &judged);
        }
        Ok(Ended { judged, node: Some(via.node(instance)), status })
    }

    /// What an answer came to; keeps what the step wants kept.
    fn judge(
        &self,
        step: &Step,
        scope: &Scope<'_>,
        raw: &Raw,
        retry_after: Option<&HeaderValue>,
    ) -> Judged {
        let words = || self.hide(scope.robot, &step.judge.words(scope, raw));
        match step.judge.meaning(scope, raw, step.open) {
            Meaning::Ok => self.accepted(step, scope, raw),
            Meaning::Nothing => Judged::new(Outcome::Ok, None),
            Meaning::Expired => {
                Judged { expired: true, ..Judged::refused(Refusal::Unauthenticated, words()) }
            }
            Meaning::Refused(Refusal::Limited) => {
                // A rogue runs into the limit of its own account on purpose, and a probe is nobody's load.
                let probes = scope.ask.is_some_and(|ask| ask.probe.is_some());
                if scope.robot.kind != RobotKind::Rogue && !probes {
                    self.pause(retry_after);
                }
                Judged { retry: true, ..Judged::refused(Refusal::Limited, words()) }
            }
            Meaning::Refused(refusal) => Judged::refused(refusal, words()),
            Meaning::Undone => Judged::not_sent(words()),
            Meaning::Unknown => Judged::unknown(format!("{}: {}", raw.status, words())),
        }
    }

    /// The passenger saw whom the backend has in mind: tells that driver, once for each job.
    fn relay(&self, step: &Step, scope: &Scope<'_>, job: &JobView, body: &Value) {
        let Some(pick) = &step.relay else { return };
        let Ok(Some(account)) = pick.id(scope, body) else { return };
        let Some(driver) = self.robot_of(RobotKind::Driver, &account) else { return };
        let offer = Id(compact_str::format_compact!("{}~{account}", job.id));
        let notes = self.book.fields(&job.id);
        let known = notes.as_ref().and_then(|notes| notes.get(RELAYED)) == Some(offer.as_str());
        let Some(pickup) = job.pickup.filter(|_| !known && !job.state.is_held()) else { return };
        if job.state.is_terminal() {
            return;
        }
        self.book.keep(&job.id, RELAYED, offer.as_str());
        let offer = OfferView {
            id: offer,
            job: job.id.clone(),
            pickup,
            dropoff: job.dropoff,
            expires_in_ms: self.file.declares.offer_ttl.0.as_millis() as u64,
            fare_minor: None,
        };
        let answer = Answer { offer: Some(Rc::new(offer)), ..Answer::default() };
        self.tell(Told { robot: driver, answer, synthetic: true });
    }

    fn tell(&self, told: Told) {
        let ears = self.ears.borrow().clone();
        if let Some(ears) = ears {
            ears.tell(told);
        }
    }

    /// Something came that nobody asked for; on a socket it is for its `owner`.
    fn pushed(&self, push: &Push, owner: Option<RobotId>, raw: &Raw) {
        let me = owner.and_then(|robot| self.fields(robot).ok()).unwrap_or_default();
        let robot = owner.unwrap_or(RobotId { kind: RobotKind::Auditor, number: 0 });
        let scope = answered(&self.scope(robot, &me), raw);
        let event = push.event.as_ref().is_none_or(|event| *event == raw.key);
        if !event || push.holds.as_ref().is_some_and(|test| !test.holds(&scope)) {
            return;
        }
        let robot = match &push.account {
            None => owner,
            Some(pick) => {
                let account = pick.id(&scope, &raw.body).ok().flatten();
                let kind = push.to.map(Kind::robots);
                account.zip(kind).and_then(|(account, kind)| self.robot_of(kind, &account))
            }
        };
        if let Some(robot) =
            robot.filter(|robot| push.to.is_none_or(|kind| kind.robots() == robot.plays()))
        {
            self.read_push(push, robot, &scope, raw);
        }
    }

    fn read_push(&self, push: &Push, robot: RobotId, scope: &Scope<'_>, raw: &Raw) {
        let around = self.around(*scope);
        // What cannot be read is no hint.
        let Ok(answer) = push.reader.read(&around, &raw.body) else { return };
        if let Some(job) = &answer.job {
            for (name, pick) in &push.keep_job {
                if let Ok(Some(value)) = pick.text(scope, &raw.body) {
                    self.book.keep(&job.id, name, &value);
                }
            }
            // Told to all drivers, and the job of another.
            let own = self.session(robot, |session| {
                session.fields.get(ACCOUNT).map(crate::base::id::Id::from)
            });
            let of_another = job.driver.is_some() && own.is_some() && job.driver != own;
            if robot.plays() == RobotKind::Driver && of_another {
                return;
            }
        }
        if !answer.is_empty() {
            self.tell(Told { robot, answer, synthetic: false });
        }
    }

    fn around<'a>(&'a self, scope: Scope<'a>) -> Around<'a> {
        Around {
            scope,
            states: &self.file.states,
            book: &self.book,
            offer_ttl: self.file.declares.offer_ttl.0,
            money_digits: u32::from(self.file.declares.money.minor_units),
        }
    }

    /// The instance that this app uses now: how far from home, and which. Two phones of one robot have
    /// neighbours.
    fn instance(&self, app: App, all: usize) -> (usize, usize) {
        let now = self.env.now();
        let away = self.session(app, |session| {
            if session.away != 0 && now.since(session.since) >= HOME_AFTER {
                session.away = 0;
            }
            session.away
        });
        let own = app.robot.number as usize + usize::from(app.second);
        (away, (own + away) % all.max(1))
    }

    /// The instance failed: the next attempt goes to another. Of two attempts that fail at once
    /// only one moves on.
    fn move_on(&self, app: App, from: usize, all: usize) {
        let now = self.env.now();
        self.session(app, |session| {
            if session.away == from {
                session.away = (from + 1) % all.max(1);
                session.since = now;
            }
        });
    }
}

impl Target for Mapped {
    fn declares(&self) -> &Declares {
        &self.file.declares
    }

    fn listen(&self, ears: Ears) {
        self.ears.replace(Some(ears));
        self.tap_brokers();
    }

    fn recall(&self, robot: RobotId, account: &Id) {
        if let Some(pool) = self.pool.get() {
            pool.recall(robot, account.as_str());
        }
        self.kept(robot, ACCOUNT, account.as_str());
    }

    fn forget(&self, robot: RobotId) {
        self.forget_token(robot);
    }

    fn held(&self) -> Option<LocalBoxFuture<'_, ()>> {
        self.is_paused().then(|| Box::pin(self.wait_for_it()) as LocalBoxFuture<'_, ()>)
    }

    fn traffic(&self) -> Option<&Traffic> {
        Some(&self.traffic)
    }

    fn gathers(&self, op: OpKind) -> bool {
        self.is_gathered(op)
    }

    fn under(&self, ceiling: Rc<Ceiling>) {
        self.passes(ceiling);
    }

    fn flush(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.send_waiting(None))
    }

    fn attempt<'a>(
        &'a self,
        robot: RobotId,
        ask: &'a Ask,
        attempt: u32,
    ) -> LocalBoxFuture<'a, Tried> {
        Box::pin(async move {
            if let Some(probe) = ask.probe {
                let deadline = self.env.now() + self.attempt_timeout;
                let ended = Box::pin(self.probe(robot, probe, ask, deadline)).await;
                let tried = tried(ended.judged, ended.node, ended.status);
                return Tried { expired: false, retry: false, ..tried };
            }
            if self.is_gathered(ask.op)
                && let Some(tried) = Box::pin(self.gathered(robot, ask)).await
            {
                return tried;
            }
            let app = App::of(robot, ask);
            let login = matches!(ask.op, OpKind::DriverLogin | OpKind::PassengerLogin);
            if app.second && login && attempt == 0 {
                self.begin_anew(app);
            }
            let Some(step) = self.step(app, ask.op) else {
                let why = format!("`{}` has no step for {}", self.file.name, ask.op);
                return tried(Judged::refused(Refusal::Other, why), None, None);
            };
            if ask.op == OpKind::DriverGoOffline {
                // What it has to say of its shift comes before the end of it.
                let waiting = self.send_waiting(Some(robot));
                let _ = Box::pin(self.env.timeout(self.attempt_timeout, waiting)).await;
            }
            let deadline = self.env.now() + self.attempt_timeout;
            if attempt == 0 && !step.first.is_empty() {
                self.forget_firsts(robot, ask);
            }
            let mut ended = self.carry_out(robot, step, ask, None, deadline).await;
            let refresh =
                self.file.refresh.as_ref().is_some_and(|refresh| std::ptr::eq(refresh, step));
            if refresh && ended.judged.outcome != Outcome::Ok {
                // It cannot be refreshed: a whole login.
                self.session(app, |session| session.was_in = false);
                if let Some(login) = self.file.step(ask.op) {
                    ended = Box::pin(self.carry_out(robot, login, ask, None, deadline)).await;
                }
            }
            let Ended { mut judged, node, status, .. } = ended;
            if robot.kind == RobotKind::Auditor && judged.expired {
                // It logs in as a part of each step.
                (judged.expired, judged.retry) = (false, true);
            }
            // Streams are of first phones.
            if judged.outcome == Outcome::Ok && !app.second {
                self.after(robot, ask.op);
            }
            if !judged.retry && !judged.expired && !step.first.is_empty() {
                self.forget_firsts(robot, ask);
            }
            tried(judged, node, status)
        })
    }
}

impl Mapped {
    /// What follows from an op that went well: ears open with the way in, and closed with the way
    /// out.
    fn after(&self, robot: RobotId, op: OpKind) {
        match op {
            OpKind::DriverLogin | OpKind::PassengerLogin | OpKind::DriverGoOnline => {
                self.listen_in(robot);
            }
            OpKind::DriverGoOffline => self.sockets.close(robot),
            _ => {}
        }
    }

    /// The step of an operation; a refresh instead of a login for who was in before.
    fn step(&self, app: App, op: OpKind) -> Option<&Step> {
        let login = matches!(op, OpKind::DriverLogin | OpKind::PassengerLogin);
        if login && self.file.refresh.is_some() && self.session(app, |session| session.was_in) {
            return self.file.refresh.as_ref();
        }
        self.file.step(op)
    }
}

fn tried(judged: Judged, node: Option<NodeName>, status: Option<u16>) -> Tried {
    let Judged { outcome, answer, error, expired, retry, .. } = judged;
    Tried { outcome, answer, node, status, error, expired, retry }
}

/// An answer, its body read as the step says. One that cannot be read is `null`: the picks will say
/// what they miss.
fn raw(step: &Step, response: &Response<Bytes>) -> Raw {
    let text = response.body().clone();
    let body = match &step.proto_answer {
        Some(message) => message.decode(&text).ok(),
        // Nearly every answer to a ping.
        None if text == EMPTY => Some(Value::Object(serde_json::Map::new())),
        None => serde_json::from_slice(&text).ok(),
    };
    Raw {
        status: response.status().as_u16(),
        body: body.unwrap_or(Value::Null),
        text,
        key: String::new(),
    }
}

#[cfg(test)]
mod outcome_tests;
