//! Does to messages at a serving node what a bus may do to them: some are lost, late, there twice or
//! overtaken, some asks are refused or take long; and to the node's disk, its clock and its place in
//! discovery what may happen to those. Only where a fault plan says so, and no longer than
//! it says: what was begun ends by itself, whatever becomes of who began it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;

use super::{envelope::Kind, rpc::Router, server::Load};
use crate::{
    backend::wire::platform::{MeddleAnswer, MeddleAsk, Meddling},
    base::{glob, name::NodeName, rng::Rng, time::Time},
    world::{
        Env,
        link::{Outgoing, SendError},
    },
};

/// The path of its one endpoint, which nothing is ever done to.
pub const MEDDLE: &str = "/platform/meddler/meddle";
/// The platform's own messages: meddled with only where the pattern begins so.
const PLATFORM: &str = "/platform/";
/// One that is to be overtaken goes on after this even if nothing comes.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(200);

/// How messages fare, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// They never arrive.
    Lost = 1,
    /// They arrive late.
    Late = 2,
    /// They arrive twice.
    Twice = 3,
    /// They arrive after the next one.
    Overtaken = 4,
    /// Asks are answered with an error that says that nothing was done.
    Refused = 5,
    /// Asks are handled late, and count as in flight meanwhile.
    Slow = 6,
    /// Not messages: syncs of the node's disk take longer.
    SlowSync = 7,
    /// Not messages: the node's disk is full.
    NoRoom = 8,
    /// Not messages: the node's wall clock is wrong.
    Skewed = 9,
    /// Not messages: the node leaves discovery, though it lives.
    Leaves = 10,
    /// Asks stay at the broker until it is over.
    Stuck = 11,
    /// Not messages: the node is led to the wrong instance for what it asks.
    Misled = 12,
}

const HOWS: [How; 12] = [
    How::Lost,
    How::Late,
    How::Twice,
    How::Overtaken,
    How::Refused,
    How::Slow,
    How::SlowSync,
    How::NoRoom,
    How::Skewed,
    How::Leaves,
    How::Stuck,
    How::Misled,
];

/// What happens to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    IsLost,
    IsLate(Duration),
    ComesTwice,
    IsOvertaken,
    IsRefused,
    IsSlow(Duration),
}

/// What waits to be overtaken.
type Held = Box<dyn FnOnce()>;

/// The meddler of a node; a cheap handle.
#[derive(Clone)]
pub struct Meddler(Rc<Inner>);

struct Inner {
    env: Env,
    rng: RefCell<Rng>,
    rule: RefCell<Option<(Meddling, How, Time)>>,
    met: Cell<u64>,
    touched: Cell<u64>,
    held: RefCell<Option<(u64, Held)>>,
}

impl Meddler {
    /// One that does nothing yet.
    pub fn new(env: &Env) -> Self {
        Self(Rc::new(Inner {
            env: env.clone(),
            rng: RefCell::new(env.rng("meddler")),
            rule: RefCell::default(),
            met: Cell::new(0),
            touched: Cell::new(0),
            held: RefCell::default(),
        }))
    }

    /// Serves what tells it to begin and to end, and what the node has to do.
    pub fn mount(&self, router: &mut Router, load: &Rc<Load>) {
        let (this, load) = (self.clone(), Rc::clone(load));
        router.on_sync(MEDDLE, move |ask: MeddleAsk| {
            let (asks, in_flight) = (load.asks.get(), load.in_flight.get() as u64);
            Ok(MeddleAnswer { asks, in_flight, ..this.told(ask) })
        });
    }

    fn told(&self, ask: MeddleAsk) -> MeddleAnswer {
        let env = &self.0.env;
        if ask.end {
            self.0.rule.replace(None);
            env.skew(0, env.now());
        }
        if let Some(begin) = ask.begin
            && let Some(how) = HOWS.into_iter().find(|how| *how as u32 == begin.how)
        {
            let until = env.now() + Duration::from_millis(begin.for_ms);
            env.skew(if how == How::Skewed { begin.ahead_ms } else { 0 }, until);
            self.0.rule.replace(Some((begin, how, until)));
            self.0.met.set(0);
            self.0.touched.set(0);
        }
        let (met, touched) = (self.0.met.get(), self.0.touched.get());
        MeddleAnswer { on: self.is_on(), met, touched, ..MeddleAnswer::default() }
    }

    /// Whether anything may happen to anything.
    pub(super) fn is_on(&self) -> bool {
        let mut rule = self.0.rule.borrow_mut();
        rule.take_if(|(.., until)| *until <= self.0.env.now());
        rule.is_some()
    }

    /// Whether something may happen to messages of that kind, of an endpoint.
    fn concerns(&self, path: &str, kind: Kind) -> bool {
        let rule = self.0.rule.borrow();
        rule.as_ref().is_some_and(|(rule, ..)| {
            let wanted = match kind {
                Kind::Ask => rule.asks,
                Kind::Reply => rule.replies,
                Kind::News => rule.news,
            };
            wanted && covers(rule, path)
        })
    }

    /// What happens to a message.
    pub(super) fn fate(&self, path: &str, kind: Kind) -> Fate {
        if !self.is_on() || !self.concerns(path, kind) {
            return Fate::Passes;
        }
        let Some((how, delay)) = self.draw() else { return Fate::Passes };
        match how {
            How::Lost => Fate::IsLost,
            How::Late => Fate::IsLate(delay),
            How::Twice => Fate::ComesTwice,
            How::Overtaken => Fate::IsOvertaken,
            How::Refused => Fate::IsRefused,
            How::Slow => Fate::IsSlow(delay),
            How::SlowSync | How::NoRoom | How::Skewed | How::Leaves | How::Stuck | How::Misled => {
                Fate::Passes
            }
        }
    }

    /// How much longer the next sync takes.
    pub(super) fn sync_takes_longer(&self) -> Option<Duration> {
        if !self.does(How::SlowSync) {
            return None;
        }
        self.draw().map(|(_, delay)| delay)
    }

    /// Whether the next write finds no room.
    pub(super) fn disk_is_full(&self) -> bool {
        self.does(How::NoRoom) && self.draw().is_some()
    }

    /// Whether what asks is to wait at the broker.
    pub(super) fn takes_no_calls(&self) -> bool {
        self.does(How::Stuck)
    }

    /// The stranger to whom what is asked next, at that path, goes instead.
    pub(super) fn misleads(
        &self,
        path: &str,
        stranger: impl FnOnce() -> Option<NodeName>,
    ) -> Option<NodeName> {
        let concerns = self.does(How::Misled)
            && self.0.rule.borrow().as_ref().is_some_and(|(rule, ..)| covers(rule, path));
        let stranger = concerns.then(stranger)??;
        self.draw().map(|_| stranger)
    }

    /// Whether nobody is to find this node.
    pub(super) fn is_leaving(&self) -> bool {
        self.does(How::Leaves)
    }

    /// The version that this node is to say that it is of.
    pub(super) fn as_version(&self) -> Option<u32> {
        let told = |(rule, ..): &(Meddling, How, Time)| rule.as_version;
        let version = self.is_on().then(|| self.0.rule.borrow().as_ref().map(told))?;
        version.filter(|version| *version > 0)
    }

    fn does(&self, wanted: How) -> bool {
        self.is_on() && self.0.rule.borrow().as_ref().is_some_and(|(_, how, _)| *how == wanted)
    }

    /// Counts one more that was met; how it fares, and a delay for it, where it is one of those that
    /// are touched.
    fn draw(&self) -> Option<(How, Duration)> {
        self.0.met.set(self.0.met.get() + 1);
        let rule = self.0.rule.borrow();
        let (rule, how, _) = rule.as_ref()?;
        let overtakes = *how == How::Overtaken && self.0.held.borrow().is_some();
        let mut rng = self.0.rng.borrow_mut();
        if overtakes || !rng.chance(rule.toxicity) {
            return None;
        }
        self.0.touched.set(self.0.touched.get() + 1);
        let (mean, width) = (rule.delay_ms as f64, rule.jitter_ms as f64);
        let delay = (mean + rng.between(-width, width)).max(0.0);
        Some((*how, Duration::from_millis(delay as u64)))
    }

    /// Does `then` once another message has passed, or after a while.
    pub(super) fn hold(&self, then: Held) {
        let number = self.0.touched.get();
        self.0.held.replace(Some((number, then)));
        let this = self.clone();
        self.0.env.spawn(async move {
            this.0.env.sleep(OVERTAKEN_WITHIN).await;
            let late = this.0.held.borrow_mut().take_if(|(held, _)| *held == number);
            if let Some((_, then)) = late {
                then();
            }
        });
    }

    /// A message has passed: one that it overtook goes on.
    pub(super) fn passed(&self) {
        let overtaken = self.0.held.borrow_mut().take();
        if let Some((_, then)) = overtaken {
            then();
        }
    }

    /// The way back for the replies of an endpoint.
    pub(super) fn way_back(&self, path: &str, to: &Rc<dyn Outgoing>) -> Rc<dyn Outgoing> {
        if !self.concerns(path, Kind::Reply) {
            return Rc::clone(to);
        }
        Rc::new(WayBack { meddler: self.clone(), path: path.to_owned(), to: Rc::clone(to) })
    }
}

/// Whether the pattern of a rule fits that path.
fn covers(rule: &Meddling, path: &str) -> bool {
    glob::fits(&rule.endpoint, path)
        && path != MEDDLE
        && (!path.starts_with(PLATFORM) || rule.endpoint.starts_with(PLATFORM))
}

struct WayBack {
    meddler: Meddler,
    path: String,
    to: Rc<dyn Outgoing>,
}

impl Outgoing for WayBack {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        let (meddler, to) = (&self.meddler, Rc::clone(&self.to));
        match meddler.fate(&self.path, Kind::Reply) {
            Fate::IsLost => Ok(()),
            Fate::IsLate(by) => {
                let env = meddler.0.env.clone();
                meddler.0.env.spawn(async move {
                    env.sleep(by).await;
                    // Who is gone by then wants no reply.
                    let _gone = to.send(frame);
                });
                Ok(())
            }
            Fate::ComesTwice => to.send(frame.clone()).and_then(|()| to.send(frame)),
            Fate::IsOvertaken => {
                meddler.hold(Box::new(move || {
                    // Who is gone by then wants no reply.
                    let _gone = to.send(frame);
                }));
                Ok(())
            }
            Fate::Passes | Fate::IsRefused | Fate::IsSlow(_) => {
                let sent = to.send(frame);
                meddler.passed();
                sent
            }
        }
    }
}

#[cfg(test)]
#[path = "meddler_tests.rs"]
mod tests;
