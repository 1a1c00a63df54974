//! Streams of robots: a share of them holds one open beside its questions, and is told of offers and
//! of changes to its job as they happen. What is told is a hint. A stream that broke is opened again,
//! later each time; what was told meanwhile is a gap.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, header};

use super::{Settings, answer, sessions::Sessions};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        rng::Rng,
    },
    engine::target::{Ears, Gap, Told},
    history::op::OpKind,
    world::{Env, link::Link, stream::StreamError},
};

/// The first wait before a stream is opened again; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// No wait is longer.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(15);
/// A stream on which nothing came for so long is dead: the backend says that it lives every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(50);

/// The streams of all robots; a cheap handle.
#[derive(Clone)]
pub struct Pushes(Rc<Inner>);

struct Inner {
    env: Env,
    sessions: Sessions,
    attempt_timeout: Duration,
    share: f64,
    draws: Rng,
    ears: RefCell<Option<Ears>>,
    /// Robots that want a stream, and the number of the wish that counts.
    wanted: RefCell<BTreeMap<RobotId, u64>>,
    next: Cell<u64>,
}

impl Pushes {
    /// None yet.
    pub fn new(env: &Env, sessions: &Sessions, settings: &Settings) -> Self {
        Self(Rc::new(Inner {
            env: env.clone(),
            sessions: sessions.clone(),
            attempt_timeout: settings.attempt_timeout,
            share: settings.push,
            draws: env.rng("push"),
            ears: RefCell::default(),
            wanted: RefCell::default(),
            next: Cell::default(),
        }))
    }

    /// Who hears.
    pub fn listen(&self, ears: Ears) {
        self.0.ears.replace(Some(ears));
    }

    /// An op ended ok: it may begin or end the time in which the robot listens.
    pub fn after(&self, robot: RobotId, op: OpKind) {
        match op {
            OpKind::DriverGoOnline | OpKind::PassengerLogin => self.open(robot),
            OpKind::DriverGoOffline => {
                self.0.wanted.borrow_mut().remove(&robot);
            }
            _ => {}
        }
    }

    fn open(&self, robot: RobotId) {
        let inner = &self.0;
        if inner.share <= 0.0 || inner.ears.borrow().is_none() {
            return;
        }
        // Its own draw: whoever else listens changes nothing for it.
        let listens = inner.draws.fork(&robot.to_string()).chance(inner.share);
        if !listens || inner.wanted.borrow().contains_key(&robot) {
            return;
        }
        let number = inner.next.get();
        inner.next.set(number + 1);
        inner.wanted.borrow_mut().insert(robot, number);
        let this = self.clone();
        inner.env.spawn(async move { this.keep_open(robot, number).await });
    }

    fn is_wanted(&self, robot: RobotId, number: u64) -> bool {
        self.0.wanted.borrow().get(&robot) == Some(&number)
    }

    /// Opens the stream, and again whenever it ends, for as long as the robot wants it.
    async fn keep_open(&self, robot: RobotId, number: u64) {
        let mut wait = AGAIN_AFTER;
        // Not all at once, when all broke at once.
        let mut rng = self.0.draws.fork(&format!("{robot}/{number}"));
        while self.is_wanted(robot, number) {
            if let Some(link) = self.dial(robot).await {
                wait = AGAIN_AFTER;
                self.hear(robot, number, link).await;
                if !self.is_wanted(robot, number) {
                    return;
                }
                self.missed(robot);
            }
            self.0.env.sleep(wait.mul_f64(rng.between(0.5, 1.0))).await;
            wait = (wait * 2).min(AGAIN_AFTER_MAX);
        }
    }

    /// One try; without a token, or with one that has expired, the robot has to log in first.
    async fn dial(&self, robot: RobotId) -> Option<Link> {
        let inner = &self.0;
        let token = inner.sessions.of(robot, |session| session.token.clone())?;
        let (away, node) = inner.sessions.instance(robot)?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from_static(match robot.kind {
            RobotKind::Driver => "/v1/driver/stream",
            RobotKind::Passenger | RobotKind::Auditor | RobotKind::Rogue => "/v1/customer/stream",
        });
        request.headers_mut().insert(header::AUTHORIZATION, token);
        let dialled = inner.env.stream(&node, request);
        match inner.env.timeout(inner.attempt_timeout, dialled).await {
            Ok(Ok(link)) => Some(link),
            Ok(Err(StreamError::Refused(_))) => None,
            Ok(Err(StreamError::NotConnected(_))) | Err(_) => {
                inner.sessions.move_on(robot, away);
                None
            }
        }
    }

    /// Hands on what comes, until the stream ends or is as good as dead.
    async fn hear(&self, robot: RobotId, number: u64, mut link: Link) {
        let env = &self.0.env;
        while let Ok(Some(message)) = env.timeout(SILENCE_MAX, link.incoming.recv()).await {
            if !self.is_wanted(robot, number) {
                return;
            }
            let ears = self.0.ears.borrow().clone();
            if let (Some(ears), Some(answer)) = (ears, answer::pushed(&message)) {
                ears.tell(Told { robot, answer, synthetic: false });
            }
        }
    }

    fn missed(&self, robot: RobotId) {
        let ears = self.0.ears.borrow().clone();
        if let Some(ears) = ears {
            ears.missed(Gap {
                link: "stream".to_owned(),
                why: format!("{robot}: the stream ended"),
            });
        }
    }
}
