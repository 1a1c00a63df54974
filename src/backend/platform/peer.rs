//! The one link that a node keeps open to a peer, shared by every call to it: dialled when first
//! wanted and again after it broke. Does not retry and does not choose peers.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    calls::{Calls, Waiting},
    directory::Directory,
    envelope::{Envelope, Kind},
};
use crate::{
    base::{name::NodeName, time::Time},
    world::{Env, link::Link, link::Outgoing},
};

/// A dial that takes longer has failed.
pub const DIAL_MAX: Duration = Duration::from_secs(1);
/// News that may wait for a link to open; further ones are dropped.
pub const NEWS_WAITING_MAX: usize = 64;

/// A peer and the link to it.
pub struct Peer {
    env: Env,
    name: NodeName,
    directory: Directory,
    state: RefCell<State>,
    dialled: Notify,
    calls: Calls,
    news_waiting: Cell<usize>,
    /// Planted: a link is kept though it is dead.
    keeps: Cell<bool>,
}

enum State {
    /// No link; why the last dial failed, if one did.
    Idle(String),
    Dialling,
    Open(Rc<dyn Outgoing>),
}

impl Peer {
    /// The peer `name`, not yet dialled.
    pub fn new(env: Env, name: NodeName, directory: Directory) -> Rc<Self> {
        let calls = Calls::default();
        let (sweeper, clock) = (calls.clone(), env.clone());
        env.spawn(async move { sweeper.sweep(&clock).await });
        Rc::new(Self {
            env,
            name,
            directory,
            state: RefCell::new(State::Idle(String::new())),
            dialled: Notify::new(),
            calls,
            news_waiting: Cell::new(0),
            keeps: Cell::new(false),
        })
    }

    /// Switches planted bugs on: see [`super::planted::Wires`].
    pub(super) fn plant(&self, cross_talk: bool, dead_link: bool) {
        self.calls.confuse(cross_talk);
        self.keeps.set(dead_link);
    }

    /// The link, if it is open.
    pub fn link(&self) -> Option<Rc<dyn Outgoing>> {
        match &*self.state.borrow() {
            State::Open(link) => Some(Rc::clone(link)),
            State::Idle(_) | State::Dialling => None,
        }
    }

    /// The link, dialled if need be; or why there is none. Callers at once share one dial.
    pub async fn open(self: &Rc<Self>) -> Result<Rc<dyn Outgoing>, String> {
        if let Some(link) = self.link() {
            return Ok(link);
        }
        let dialled = self.dialled.notified();
        if matches!(&*self.state.borrow(), State::Idle(_)) {
            self.start();
        }
        dialled.await;
        match &*self.state.borrow() {
            State::Open(link) => Ok(Rc::clone(link)),
            State::Idle(why) => Err(why.clone()),
            State::Dialling => Err("the link broke at once".to_owned()),
        }
    }

    /// A place in the table of calls for one that is late at `until`; none when it is full.
    pub fn enter(&self, until: Time) -> Option<Waiting> {
        self.calls.enter(until)
    }

    /// Sends one way as soon as the link is open; false when it was dropped.
    pub fn tell(self: &Rc<Self>, news: Bytes) -> bool {
        if let Some(link) = self.link() {
            return link.send(news).is_ok();
        }
        if self.news_waiting.get() >= NEWS_WAITING_MAX {
            return false;
        }
        self.news_waiting.set(self.news_waiting.get() + 1);
        let this = Rc::clone(self);
        self.env.spawn(async move {
            let link = this.open().await;
            this.news_waiting.set(this.news_waiting.get() - 1);
            if let Ok(link) = link {
                // A link that is full or gone already drops it: news are best effort.
                let _dropped = link.send(news);
            }
        });
        true
    }

    fn start(self: &Rc<Self>) {
        // A task of its own: a caller that gives up must not take the dial of others with it.
        self.state.replace(State::Dialling);
        let this = Rc::clone(self);
        self.env.spawn(async move {
            let dialled = this.env.timeout(DIAL_MAX, this.env.dial(&this.name)).await;
            match dialled {
                Ok(Ok(link)) => this.run(link).await,
                Ok(Err(error)) => this.ended(error.to_string()),
                Err(_) => this.ended(format!("cannot reach {}: no answer", this.name)),
            }
        });
    }

    async fn run(&self, link: Link) {
        let Link { outgoing, mut incoming } = link;
        self.state.replace(State::Open(outgoing));
        self.dialled.notify_waiters();
        while let Some(frame) = incoming.recv().await {
            match Envelope::open(frame) {
                Ok(reply) if reply.kind == Kind::Reply => self.calls.reply(reply),
                // A peer that talks nonsense is as good as gone.
                Ok(_) | Err(_) => break,
            }
        }
        self.ended("the link broke".to_owned());
    }

    fn ended(&self, why: String) {
        if self.keeps.get() && self.link().is_some() {
            return self.calls.broken();
        }
        let old = self.state.replace(State::Idle(why));
        drop(old);
        self.directory.suspect(&self.name, self.env.now());
        self.dialled.notify_waiters();
        self.calls.broken();
    }
}
