//! Robots' sockets: one a robot and link, opened when it is needed first and again after it broke.
//! Answers find the op that waits for them; everything else is told to the robot.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};

use super::{
    Ended, Judged, Mapped, TOKEN,
    compiled::Link,
    grammar::Speaks,
    judge::{Raw, answered},
    scope::Scope,
    step::{Step, Way},
    template::Tree,
};
use crate::{
    base::{id::RobotId, name::NodeName},
    history::op::Ask,
    target::wire::{
        socket_io::{self, SocketIo},
        websocket::{self, Message, Socket, WireError},
    },
};

/// Ops of one socket that may wait for an answer at once.
const WAITING_MAX: usize = 64;

/// A socket that broke is opened again after so long, up to twice that; doubled each time.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(8);

/// Where a socket is, or will be: locked by whoever opens it.
type Slot = Rc<Mutex<Option<Rc<Open>>>>;

/// Sockets by robot and place of the link.
#[derive(Default)]
pub struct Sockets(RefCell<HashMap<(RobotId, usize), Slot>>);

impl Sockets {
    fn slot(&self, robot: RobotId, link: usize) -> Slot {
        Rc::clone(self.0.borrow_mut().entry((robot, link)).or_default())
    }

    /// Whether that one is still wanted.
    fn has(&self, robot: RobotId, link: usize) -> bool {
        self.0.borrow().contains_key(&(robot, link))
    }

    /// Lets a robot's sockets go.
    pub fn close(&self, robot: RobotId) {
        self.0.borrow_mut().retain(|(owner, _), _| *owner != robot);
    }
}

/// A socket of one robot.
struct Open {
    wire: RefCell<Option<Wire>>,
    waiting: RefCell<Vec<Waiting>>,
    welcomed: RefCell<Option<oneshot::Sender<()>>>,
    next: Cell<u64>,
}

enum Wire {
    Raw(Socket),
    Io(Rc<SocketIo>),
}

/// An op that waits for its answer.
struct Waiting {
    number: u64,
    /// The key of its step.
    key: String,
    ask: Ask,
    told: oneshot::Sender<Raw>,
}

impl Open {
    fn is_open(&self) -> bool {
        match &*self.wire.borrow() {
            Some(Wire::Raw(socket)) => socket.is_open(),
            Some(Wire::Io(socket)) => socket.is_open(),
            None => false,
        }
    }

    /// What tells how it ended.
    fn handle(&self) -> Option<websocket::Handle> {
        match &*self.wire.borrow() {
            Some(Wire::Raw(socket)) => Some(socket.handle()),
            Some(Wire::Io(socket)) => Some(socket.handle()),
            None => None,
        }
    }

    fn forget(&self, number: u64) {
        self.waiting.borrow_mut().retain(|waiting| waiting.number != number);
    }
}

impl Mapped {
    /// Opens the sockets of a robot on which it may be told something. Nobody waits for that: it is
    /// no part of the op that let the robot in.
    pub(super) fn listen_in(&self, robot: RobotId) {
        for (place, link) in self.file.links.iter().enumerate() {
            let socket = matches!(link.speaks, Speaks::Websocket | Speaks::SocketIo);
            if !socket || !self.file.pushes.iter().any(|push| push.link == place) {
                continue;
            }
            let me = self.me.clone();
            self.env.spawn(async move {
                if let Some(mapped) = me.upgrade() {
                    // One that cannot be opened now is tried again with the next op.
                    let _ = mapped.socket(robot, place).await;
                }
            });
        }
    }

    /// One op over the robot's socket.
    pub(super) async fn over_socket(
        &self,
        robot: RobotId,
        step: &Step,
        scope: &Scope<'_>,
    ) -> Result<Ended, String> {
        let link = match &step.way {
            Way::Send { link, .. } | Way::Emit { link, .. } => *link,
            _ => return Err("it is no message of a socket".to_owned()),
        };
        let used = scope.me.get(TOKEN).map(str::to_owned);
        let name = self.file.links[link].name.as_str();
        let node = Some(NodeName::from(name));
        let ended = |judged: Judged| Ended { judged, node: node.clone(), status: None };
        // A socket that is not open in time was sent nothing.
        let said = Cell::new(false);
        let work = async {
            let open = match self.socket(robot, link).await {
                Ok(open) => open,
                Err(why) => return Ok(Judged::not_sent(why)),
            };
            match &step.way {
                Way::Send { message, answer, .. } => {
                    said.set(true);
                    let mut text = String::new();
                    message.render(scope, &mut text)?;
                    self.say(&open, step, scope, text, answer.is_some()).await
                }
                Way::Emit { event, payload, acknowledged, .. } => {
                    let payload = payload.as_ref().map(|tree| value(tree, scope)).transpose()?;
                    said.set(true);
                    Ok(self.emit(&open, step, scope, event, payload, *acknowledged).await)
                }
                _ => Err("it is no message of a socket".to_owned()),
            }
        };
        let judged = match self.env.timeout(self.left(scope), work).await {
            Ok(judged) => judged?,
            Err(_) if said.get() => Judged::unknown("no answer in time".to_owned()),
            Err(_) => Judged::not_sent("the socket could not be opened in time".to_owned()),
        };
        self.remember(scope.app(), used.as_deref(), &judged);
        if judged.expired {
            // It was let in with the old token.
            self.sockets.close(scope.robot);
        }
        Ok(ended(judged))
    }

    async fn say(
        &self,
        open: &Rc<Open>,
        step: &Step,
        scope: &Scope<'_>,
        text: String,
        awaits: bool,
    ) -> Result<Judged, String> {
        let ask = scope.ask.ok_or("nobody asks")?;
        let (told, answer) = oneshot::channel();
        let number = open.next.get();
        open.next.set(number + 1);
        if awaits {
            let mut waiting = open.waiting.borrow_mut();
            if waiting.len() >= WAITING_MAX {
                let why = format!("{WAITING_MAX} ops of this socket wait for an answer already");
                return Ok(Judged::not_sent(why));
            }
            let key = step.key.clone();
            waiting.push(Waiting { number, key, ask: ask.clone(), told });
        }
        let shown = self.is_watched().then(|| text.clone());
        let saw = |judged: Judged, raw: Option<&Raw>| {
            if let Some(sent) = shown {
                self.saw(step, scope, &sent, raw, &judged);
            }
            judged
        };
        // Whatever ends the wait, a time-out too: nobody waits any more.
        let _forgotten = Forget { open, number };
        let sent = match &*open.wire.borrow() {
            Some(Wire::Raw(socket)) => socket.send(Message::text(text)),
            _ => Err(WireError::NotConnected("the socket is gone".to_owned())),
        };
        if let Err(why) = sent {
            return Ok(saw(Judged::not_sent(why.to_string()), None));
        }
        if !awaits {
            let why = "the step has no `answer_if`";
            return Ok(saw(Judged::unanswered(scope.ask, why), None));
        }
        let closed = closed(open);
        let closed = std::pin::pin!(closed);
        match select(answer, closed).await {
            Either::Left((Ok(raw), _)) => Ok(saw(self.judge(step, scope, &raw, None), Some(&raw))),
            Either::Left((Err(_), _)) => {
                Ok(saw(Judged::unknown("the socket is gone".to_owned()), None))
            }
            Either::Right((why, _)) => Ok(saw(Judged::unknown(why), None)),
        }
    }

    async fn emit(
        &self,
        open: &Rc<Open>,
        step: &Step,
        scope: &Scope<'_>,
        event: &str,
        payload: Option<Value>,
        acknowledged: bool,
    ) -> Judged {
        let wire = match &*open.wire.borrow() {
            Some(Wire::Io(socket)) => Some(Rc::clone(socket)),
            _ => None,
        };
        let Some(socket) = wire else {
            return Judged::not_sent("the socket is gone".to_owned());
        };
        let payload: Vec<Value> = payload.into_iter().collect();
        let shown = self.is_watched().then(|| format!("{event} {}", Value::from(payload.clone())));
        let mut came = None;
        let judged = if acknowledged {
            match socket.emit_with_ack(event, payload).await {
                Ok(answer) => self.judge(step, scope, came.insert(event_raw(event, answer)), None),
                Err(WireError::Broken(why)) => Judged::unknown(why),
                Err(why) => Judged::not_sent(why.to_string()),
            }
        } else {
            match socket.emit(event, payload) {
                Ok(()) => Judged::unanswered(
                    scope.ask,
                    "the step awaits no acknowledgement (`ok`, `read`)",
                ),
                Err(why) => Judged::not_sent(why.to_string()),
            }
        };
        if let Some(sent) = shown {
            self.saw(step, scope, &sent, came.as_ref(), &judged);
        }
        judged
    }

    /// The robot's socket, open.
    async fn socket(&self, robot: RobotId, link: usize) -> Result<Rc<Open>, String> {
        let slot = self.sockets.slot(robot, link);
        let mut slot = slot.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.is_open()) {
            return Ok(Rc::clone(open));
        }
        let open = self.open(robot, link).await?;
        *slot = Some(Rc::clone(&open));
        if self.file.pushes.iter().any(|push| push.link == link) {
            self.keep_open(robot, link, Rc::downgrade(&open));
        }
        Ok(open)
    }

    /// Opens a socket again that broke, until it is open or not wanted any more: who is told what to
    /// do hears nothing without it, and may have nothing to ask.
    fn keep_open(&self, robot: RobotId, link: usize, open: Weak<Open>) {
        let me = self.me.clone();
        self.env.spawn(async move {
            let Some(ended) = open.upgrade().and_then(|open| open.handle()) else { return };
            ended.closed().await;
            let mut wait = REOPEN_AFTER;
            while let Some(mapped) = me.upgrade() {
                let env = mapped.env.clone();
                // Not all at once, when all broke at once.
                let part = f64::from(robot.number % 16) / 16.0;
                drop(mapped);
                env.sleep(wait.mul_f64(1.0 + part)).await;
                let Some(mapped) = me.upgrade() else { return };
                // Opening it begins another watch.
                if !mapped.sockets.has(robot, link) || mapped.socket(robot, link).await.is_ok() {
                    return;
                }
                wait = (wait * 2).min(REOPEN_AFTER_MAX);
            }
        });
    }

    async fn open(&self, robot: RobotId, place: usize) -> Result<Rc<Open>, String> {
        let link = &self.file.links[place];
        let me = self.fields(robot)?;
        let scope = self.scope(robot, &me);
        let url = link.own_urls[robot.number as usize % link.own_urls.len()].render(&scope)?;
        let headers = self.handshake(link, robot, &scope)?;
        let (welcome, welcomed) = oneshot::channel();
        let open = Rc::new(Open {
            wire: RefCell::default(),
            waiting: RefCell::default(),
            welcomed: RefCell::new(Some(welcome)),
            next: Cell::default(),
        });
        let options = self.doors[place].clone().ok_or("it is no link of sockets")?;
        let said = |why: WireError| self.hide(robot, &why.to_string());
        let (ours, theirs) = (self.me.clone(), Rc::downgrade(&open));
        let take = move |raw: Raw| {
            if let (Some(mapped), Some(open)) = (ours.upgrade(), theirs.upgrade()) {
                mapped.heard(robot, place, &open, raw);
            }
        };
        if link.speaks == Speaks::SocketIo {
            let mut io = socket_io::Options::new(options);
            io.auth = link.auth.as_ref().map(|auth| value(auth, &scope)).transpose()?;
            if let Some(namespace) = &link.namespace {
                io.namespace.clone_from(namespace);
            }
            let take = Rc::new(move |name: &str, payload| take(event_raw(name, payload)));
            let socket = SocketIo::open(&url, headers, &io, take).await.map_err(said)?;
            open.wire.replace(Some(Wire::Io(Rc::new(socket))));
            return Ok(open);
        }
        let take = Rc::new(move |message| take(message_raw(message)));
        let socket = Socket::open(&url, headers, &options, take).await.map_err(said)?;
        if let Some(hello) = &link.hello {
            let mut text = String::new();
            hello.render(&scope, &mut text)?;
            socket.send(Message::text(text)).map_err(said)?;
        }
        open.wire.replace(Some(Wire::Raw(socket)));
        if link.welcome_if.is_some() {
            let welcomed = self.env.timeout(self.attempt_timeout, welcomed).await;
            if !matches!(welcomed, Ok(Ok(()))) {
                return Err(format!(
                    "[link.{}]: nothing came for which `welcome_if` holds",
                    link.name
                ));
            }
        }
        Ok(open)
    }

    fn handshake(
        &self,
        link: &Link,
        robot: RobotId,
        scope: &Scope<'_>,
    ) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        self.identify(robot, &mut headers);
        for (name, text) in &link.headers {
            let value = super::header_value(name, text.render(scope)?)?;
            headers.insert(HeaderName::clone(name), value);
        }
        Ok(headers)
    }

    /// A message came on a robot's socket.
    fn heard(&self, robot: RobotId, place: usize, open: &Open, raw: Raw) {
        let Ok(me) = self.fields(robot) else { return };
        let link = &self.file.links[place];
        if open.welcomed.borrow().is_some()
            && let Some(test) = &link.welcome_if
            && test.holds(&answered(&self.scope(robot, &me), &raw))
        {
            for (name, pick) in &link.keep {
                let scope = answered(&self.scope(robot, &me), &raw);
                if let Ok(Some(value)) = pick.text(&scope, &raw.body) {
                    self.kept(robot, name, &value);
                }
            }
            if let Some(welcome) = open.welcomed.take() {
                let _ = welcome.send(());
            }
            return;
        }
        let answers = |waiting: &Waiting| {
            let notes = waiting.ask.job.as_ref().and_then(|job| self.book.fields(job));
            let scope =
                Scope { ask: Some(&waiting.ask), job: notes.as_ref(), ..self.scope(robot, &me) };
            let step = self.file.all_steps().find(|step| step.key == waiting.key);
            match step.map(|step| &step.way) {
                Some(Way::Send { answer: Some(test), .. }) => test.holds(&answered(&scope, &raw)),
                _ => false,
            }
        };
        let found = open.waiting.borrow().iter().position(answers);
        if let Some(at) = found {
            let waiting = open.waiting.borrow_mut().remove(at);
            // Who does not wait any more does not mind.
            let _ = waiting.told.send(raw);
        } else {
            self.overheard(robot, &raw);
            for push in self.file.pushes.iter().filter(|push| push.link == place) {
                self.pushed(push, Some(robot), &raw);
            }
        }
    }
}

/// Takes an op out of those that wait.
struct Forget<'a> {
    open: &'a Open,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.open.forget(self.number);
    }
}

/// Why a socket ended, once it has.
async fn closed(open: &Open) -> String {
    // The socket's own future cannot be held across an await while it may be replaced.
    match open.handle() {
        Some(handle) => handle.closed().await.to_string(),
        None => "the socket is gone".to_owned(),
    }
}

fn value(tree: &Tree, scope: &Scope<'_>) -> Result<Value, String> {
    let mut json = String::new();
    tree.render(scope, &mut json)?;
    serde_json::from_str(&json).map_err(|why| why.to_string())
}

fn message_raw(message: Message) -> Raw {
    let text = match message {
        Message::Text(text) => bytes::Bytes::copy_from_slice(text.as_bytes()),
        Message::Binary(bytes) => bytes,
    };
    let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
    Raw { status: 0, text, body, key: String::new() }
}

/// An event: its only payload, or the list of all.
fn event_raw(name: &str, mut payload: Vec<Value>) -> Raw {
    let body = if payload.len() == 1 { payload.remove(0) } else { Value::Array(payload) };
    let text = body.to_string().into();
    Raw { status: 0, text, body, key: name.to_owned() }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
