//! The bus over message brokers: calls, replies and news as messages. A node is at one broker at a
//! time, its own AZ's unless that is down, and comes home when it is back. Exchanges are federated,
//! which copies and does not balance: so keys name AZ and instance, replies included, and only news
//! fan out. Does not try a call again and does not choose instances.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashSet},
    hash::{BuildHasherDefault, Hasher as _},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use futures_util::future::{Either, select};
use tokio::sync::{Notify, mpsc};

use super::{
    calls::{Calls, Ended, Waiting},
    directory::Directory,
    envelope::{Envelope, Kind},
    quick::Quick,
    server::Server,
    way::{Failed, of_end},
};
use crate::{
    backend::layout::BROKER,
    base::{name::NodeName, rng::Rng, time::Time},
    world::{
        Env,
        broker::{
            BrokerError, Consumer, Delivery, ExchangeKind, Message, Overflow, Published, QueueSpec,
            Session,
        },
        link::{Outgoing, SendError},
    },
};

/// The exchange of calls and replies.
pub const RPC: &str = "rpc";
/// The exchange of what is said one way, to all who serve it.
const NEWS: &str = "news";
/// The exchanges that are federated: what is published to them at one broker reaches the queues
/// bound to them at the others.
pub const FEDERATED: &[&str] = &[RPC, NEWS];

/// Opening a session at a broker and setting it up takes no longer, or it has failed.
const SETUP_MAX: Duration = Duration::from_secs(2);
/// The pause when no broker takes this node is at first at most this long; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// No pause is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often a node that is at another AZ's broker looks whether its own is back.
const HOME_EVERY: Duration = Duration::from_secs(1);
/// How often a node that would go home asks whether its own broker and the other hear each other.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long they may take to; then it stays away, and tries again.
const HEAR_WITHIN: Duration = Duration::from_secs(15);
/// How long a session that was left stays open for replies that are still to come.
const GRACE: Duration = Duration::from_secs(3);
/// A reply waits no longer for its way: nobody waits longer for it.
const REPLY_TTL: Duration = Duration::from_secs(5);
/// News that are older are no news.
const NEWS_TTL: Duration = Duration::from_secs(5);
/// News that wait for a node; beyond it the oldest are dropped.
const NEWS_WAITING_MAX: u32 = 10_000;
/// Calls that wait for a node; beyond it the newest are refused, of which their callers hear nothing
/// before their deadlines. A node that is asked 500 times a second is behind by two seconds then, and no
/// caller waits longer.
pub const CALLS_WAITING_MAX: u32 = 1_024;
/// How often a node that takes no calls looks whether it does again.
const STUCK_EVERY: Duration = Duration::from_millis(20);
/// Messages that a node is given before it has taken over the ones before.
pub const PREFETCH: u16 = 128;
/// So many messages are settled in one word.
const SETTLE_AT: usize = 64;
/// No message that was taken over is settled later.
const SETTLE_WITHIN: Duration = Duration::from_millis(100);
/// Asks of which it is known that they were taken over; the older half is forgotten when so many
/// came on top.
const SEEN_MAX: usize = 8_192;

/// A node's place on the bus; a cheap handle.
#[derive(Clone)]
pub struct Bus(Rc<Inner>);

struct Inner {
    env: Env,
    directory: Directory,
    /// Where to go, in order: the own AZ's first.
    brokers: Vec<NodeName>,
    life: u32,
    reply_to: CompactString,
    line: RefCell<Option<Line>>,
    /// There is a line.
    opened: Notify,
    lines: Cell<u64>,
    calls: Calls,
    seen: RefCell<Seen>,
    /// The lines over which a word of another broker came, as long as somebody waits for one.
    heard: RefCell<BTreeSet<u64>>,
    rng: RefCell<Rng>,
}

/// A session that is set up.
#[derive(Clone)]
pub(super) struct Line {
    session: Rc<dyn Session>,
    /// Of its queues' names.
    number: u64,
}

/// Asks that were taken over. What is published while a node moves may be copied to two of its
/// queues; it is executed once.
#[derive(Default)]
struct Seen([HashSet<u64, BuildHasherDefault<Quick>>; 2]);

impl Seen {
    /// False when it was seen before.
    fn is_new(&mut self, message: &Message) -> bool {
        let mut hash = Quick::default();
        hash.write(message.reply_to.as_bytes());
        hash.write_u64(message.correlation);
        let ask = hash.finish();
        if self.0.iter().any(|known| known.contains(&ask)) {
            return false;
        }
        if self.0[0].len() >= SEEN_MAX {
            self.0.swap(0, 1);
            self.0[0].clear();
        }
        self.0[0].insert(ask);
        true
    }
}

impl Bus {
    /// The bus of a backend with those nodes; none where it has no brokers. `life` tells this
    /// process of the node from those before it.
    pub fn of(env: &Env, directory: &Directory, nodes: &[NodeName], life: u32) -> Option<Self> {
        let mut brokers: Vec<NodeName> =
            nodes.iter().filter(|node| node.role() == BROKER).cloned().collect();
        if brokers.is_empty() {
            return None;
        }
        brokers.sort();
        let own = brokers.iter().position(|broker| broker.az() == env.name().az());
        brokers.rotate_left(own.unwrap_or(0));
        let calls = Calls::default();
        let (sweeper, clock) = (calls.clone(), env.clone());
        env.spawn(async move { sweeper.sweep(&clock).await });
        Some(Self(Rc::new(Inner {
            env: env.clone(),
            directory: directory.clone(),
            brokers,
            life,
            reply_to: format_compact!("reply.{}.{life}", dotted(env.name())),
            line: RefCell::default(),
            opened: Notify::new(),
            lines: Cell::new(0),
            calls,
            seen: RefCell::default(),
            heard: RefCell::default(),
            rng: RefCell::new(env.rng("bus")),
        })))
    }

    /// Goes to a broker and stays at one for ever; takes in what is asked of the services.
    pub fn serve(&self, server: &Server, services: Vec<String>) {
        let (this, server) = (self.clone(), server.clone());
        self.0.env.spawn(async move { this.keep(&Host { server, services }).await });
    }

    /// The line to a broker, as soon as there is one.
    pub(super) async fn line(&self) -> Line {
        loop {
            let opened = self.0.opened.notified();
            if let Some(line) = &*self.0.line.borrow() {
                return line.clone();
            }
            opened.await;
        }
    }

    /// A place in the table of calls for one that is late at `until`; none when it is full.
    pub(super) fn enter(&self, until: Time) -> Option<Waiting> {
        self.0.calls.enter(until)
    }

    /// Sends the frame of a call and waits for its reply.
    pub(super) async fn exchange(
        &self,
        line: Line,
        node: &NodeName,
        frame: Bytes,
        left: Duration,
        waiting: Waiting,
    ) -> Result<Envelope, Failed> {
        let told = line.session.tell(Message {
            exchange: RPC.into(),
            key: ask_key(node),
            body: frame,
            mandatory: true,
            ttl: Some(left),
            reply_to: self.0.reply_to.clone(),
            correlation: waiting.id,
            from: self.0.env.name().0.clone(),
        });
        drop(line);
        told.map_err(Failed::Certain)?;
        match waiting.await {
            Ended::Nowhere => {
                self.0.directory.suspect(node, self.0.env.now());
                Err(Failed::Certain(format!("{node}: it is at no broker")))
            }
            end => of_end(end),
        }
    }

    /// Says something to all who serve `path`, but to this node itself when `others_only`; false
    /// when it certainly went nowhere. What is for others only is a stream, whose next piece says
    /// anew what was lost; all else is said until the broker has it.
    pub(super) fn tell(&self, path: &str, frame: Bytes, others_only: bool) -> bool {
        let Some(line) = self.0.line.borrow().clone() else { return false };
        let whom = if others_only { OTHERS } else { ALL };
        let news = Message {
            exchange: NEWS.into(),
            key: format_compact!("{}.{whom}", words(path)),
            body: frame,
            ttl: Some(NEWS_TTL),
            from: self.0.env.name().0.clone(),
            ..Message::default()
        };
        if others_only {
            return line.session.tell(news).is_ok();
        }
        self.0.env.spawn(self.clone().insist(line, news));
        true
    }

    /// Says news until the broker has them, here or at the next one, as long as they are news. They
    /// may come twice.
    async fn insist(self, mut line: Line, news: Message) {
        let until = self.0.env.now() + NEWS_TTL;
        loop {
            match line.session.publish(news.clone()).await {
                Published::Confirmed | Published::Unroutable => return,
                Published::Refused | Published::NotSent(_) | Published::Unknown(_) => drop(line),
            }
            self.0.env.sleep(BACKOFF_FIRST).await;
            let left = until.since(self.0.env.now());
            line = match self.0.env.timeout(left, self.line()).await {
                Ok(next) if left > Duration::ZERO => next,
                _ => return,
            };
        }
    }

    async fn keep(&self, host: &Host) {
        let mut pause = BACKOFF_FIRST;
        loop {
            if let Some(broker) = self.find(host).await {
                pause = BACKOFF_FIRST;
                self.stay(broker, host).await;
            } else {
                let span = pause.mul_f64(self.0.rng.borrow_mut().between(0.5, 1.0));
                self.0.env.sleep(span).await;
                pause = (2 * pause).min(BACKOFF_MAX);
            }
        }
    }

    /// Opens a line to the first broker that takes this node; which one.
    async fn find(&self, host: &Host) -> Option<usize> {
        for at in 0..self.0.brokers.len() {
            let open = async {
                let line = self.open(at, host).await?;
                self.move_in(&line, host).await?;
                Ok::<_, BrokerError>(line)
            };
            if let Ok(Ok(line)) = self.0.env.timeout(SETUP_MAX, open).await {
                self.use_line(line);
                return Some(at);
            }
        }
        None
    }

    fn use_line(&self, line: Line) -> Option<Line> {
        let before = self.0.line.borrow_mut().replace(line);
        self.0.opened.notify_waiters();
        before
    }

    /// Stays at the broker `at`, or goes home from it, until the session there is lost.
    async fn stay(&self, mut at: usize, host: &Host) {
        loop {
            let Some(line) = self.0.line.borrow().clone() else { return };
            let closed = line.session.closed();
            drop(line);
            if at == 0 {
                closed.await;
                break;
            }
            match select(closed, self.0.env.sleep(HOME_EVERY)).await {
                Either::Left(_) => break,
                Either::Right(_) => {
                    if self.go_home(host).await {
                        at = 0;
                    }
                }
            }
        }
        let lost = self.0.line.borrow_mut().take();
        drop(lost);
        // Their replies have no way back.
        self.0.calls.broken();
    }

    /// Moves to the own AZ's broker, if that takes this node. Nothing is asked here while nothing
    /// is asked there yet: for that moment asks come back to their callers.
    async fn go_home(&self, host: &Host) -> bool {
        let Some(away) = self.0.line.borrow().clone() else { return false };
        let Ok(Ok(home)) = self.0.env.timeout(SETUP_MAX, self.open(0, host)).await else {
            return false;
        };
        if !self.hear_each_other(&home, &away).await {
            return false;
        }
        let moved = async {
            self.move_out(&away).await;
            self.move_in(&home, host).await
        };
        if !matches!(self.0.env.timeout(SETUP_MAX, moved).await, Ok(Ok(()))) {
            // Both are in doubt: begin again.
            let doubtful = self.0.line.borrow_mut().take();
            drop(doubtful);
            self.0.calls.broken();
            return false;
        }
        let left = self.use_line(home);
        let env = self.0.env.clone();
        self.0.env.spawn(async move {
            env.sleep(GRACE).await;
            drop((left, away));
        });
        true
    }

    /// Whether a word from each broker comes over the other, in time and before either is lost: what is
    /// sent at one reaches who is at the other.
    async fn hear_each_other(&self, home: &Line, away: &Line) -> bool {
        let lost = select(home.session.closed(), away.session.closed());
        let words = pin!(self.say_words(home, away));
        let heard = self.0.env.timeout(HEAR_WITHIN, select(words, lost)).await;
        matches!(heard, Ok(Either::Left(_)))
    }

    /// Says words both ways until one has come over each. A broker that came back takes messages for its
    /// neighbours before they are there to fetch them.
    async fn say_words(&self, home: &Line, away: &Line) {
        self.0.heard.borrow_mut().clear();
        loop {
            for (at, to) in [(home, away), (away, home)] {
                let word = Message {
                    exchange: RPC.into(),
                    key: self.word_key(to.number),
                    ttl: Some(ASK_EVERY),
                    correlation: to.number,
                    ..Message::default()
                };
                // One that did not leave is not heard.
                let _said = at.session.tell(word);
            }
            self.0.env.sleep(ASK_EVERY).await;
            let heard = self.0.heard.borrow();
            if [home, away].iter().all(|line| heard.contains(&line.number)) {
                return;
            }
        }
    }

    /// The key of words to this node at one line alone.
    fn word_key(&self, number: u64) -> CompactString {
        format_compact!("word.{}.{}.{number}", dotted(self.0.env.name()), self.0.life)
    }

    /// Opens a session and makes what this node needs there. Replies come over it already.
    async fn open(&self, at: usize, host: &Host) -> Result<Line, BrokerError> {
        let session = self.0.env.broker(&self.0.brokers[at]).await?;
        let number = self.0.lines.replace(self.0.lines.get() + 1);
        session.declare_exchange(RPC, ExchangeKind::Direct).await?;
        session.declare_exchange(NEWS, ExchangeKind::Topic).await?;
        let (calls, line) = (self.0.calls.clone(), Line { session, number });
        line.session.on_return(Rc::new(move |id| calls.came_back(id)));
        let queue = |what: &str, length_max, overflow| QueueSpec {
            name: self.queue(what, number),
            exclusive: true,
            auto_delete: false,
            length_max,
            overflow,
        };
        for (what, length_max, overflow) in [
            ("reply", None, Overflow::DropOldest),
            ("rpc", Some(CALLS_WAITING_MAX), Overflow::Refuse),
            ("news", Some(NEWS_WAITING_MAX), Overflow::DropOldest),
        ] {
            line.session.declare_queue(&queue(what, length_max, overflow)).await?;
        }
        line.session.bind(&self.queue("reply", number), RPC, &self.0.reply_to).await?;
        line.session.bind(&self.queue("reply", number), RPC, &self.word_key(number)).await?;
        let consume = async |what| line.session.consume(&self.queue(what, number), PREFETCH).await;
        self.take(consume("reply").await?, host, Self::reply);
        self.take(consume("rpc").await?, host, Self::ask);
        self.take(consume("news").await?, host, Self::news);
        Ok(line)
    }

    /// From here on asks and news come over this line.
    async fn move_in(&self, line: &Line, host: &Host) -> Result<(), BrokerError> {
        for service in &host.services {
            let pattern = format_compact!("{}.#", words(service));
            line.session.bind(&self.queue("news", line.number), NEWS, &pattern).await?;
        }
        let key = ask_key(self.0.env.name());
        line.session.bind(&self.queue("rpc", line.number), RPC, &key).await
    }

    async fn move_out(&self, line: &Line) {
        let key = ask_key(self.0.env.name());
        // A session that is lost has moved out already.
        let _lost = line.session.unbind(&self.queue("rpc", line.number), RPC, &key).await;
        let _lost = line.session.delete_queue(&self.queue("news", line.number)).await;
    }

    /// No two sessions of a node have queues of one name: one that lingers is in nobody's way.
    fn queue(&self, what: &str, number: u64) -> CompactString {
        let (own, life) = (dotted(self.0.env.name()), self.0.life);
        format_compact!("{what}.{own}.{life}.{number}")
    }

    fn take(&self, from: Consumer, host: &Host, with: fn(&Self, &Server, Message)) {
        let (this, server) = (self.clone(), host.server.clone());
        self.0.env.spawn(async move {
            let Consumer { mut deliveries, cancel: _held } = from;
            this.work(&mut deliveries, &server, with).await;
        });
    }

    async fn work(
        &self,
        deliveries: &mut mpsc::Receiver<Delivery>,
        server: &Server,
        with: fn(&Self, &Server, Message),
    ) {
        let own = &ask_key(self.0.env.name());
        // Taken over, and not settled yet: up to this one, so many. From here on the node's own limits
        // hold, and a node that dies loses them, as it would lose what came over a link.
        let mut taken: Option<(Delivery, usize)> = None;
        loop {
            let (next, late) = match &taken {
                None => (deliveries.recv().await, false),
                Some(_) => match self.0.env.timeout(SETTLE_WITHIN, deliveries.recv()).await {
                    Ok(next) => (next, false),
                    Err(_) => (None, true),
                },
            };
            if let Some(mut delivery) = next {
                if delivery.message.key == *own {
                    self.takes_calls(server).await;
                }
                with(self, server, std::mem::take(&mut delivery.message));
                let before = taken.map_or(0, |(_, count)| count);
                taken = Some((delivery, before + 1));
            } else if !late {
                return;
            }
            if let Some((last, _)) = taken.take_if(|(_, count)| late || *count >= SETTLE_AT) {
                last.ack_to_here();
            }
        }
    }

    fn reply(&self, _: &Server, message: Message) {
        if message.body.is_empty() {
            self.0.heard.borrow_mut().insert(message.correlation);
            return;
        }
        if let Ok(reply) = Envelope::open(message.body)
            && reply.kind == Kind::Reply
        {
            self.0.calls.reply(reply);
        }
    }

    /// Returns once calls are taken: at once, but where a fault plan has them wait.
    async fn takes_calls(&self, server: &Server) {
        while server.takes_no_calls() {
            self.0.env.sleep(STUCK_EVERY).await;
        }
    }

    fn ask(&self, server: &Server, message: Message) {
        let Message { body, reply_to, correlation, .. } = message;
        let ask = Message { reply_to, correlation, ..Message::default() };
        if !self.0.seen.borrow_mut().is_new(&ask) {
            return;
        }
        let reply: Rc<dyn Outgoing> =
            Rc::new(Reply { bus: self.clone(), key: ask.reply_to, correlation });
        server.take_in(body, &reply);
    }

    fn news(&self, server: &Server, message: Message) {
        let Message { body, key, from, .. } = message;
        let own = from == self.0.env.name().as_str();
        if !(own && key.rsplit_once('.').is_some_and(|(_, whom)| whom == OTHERS)) {
            let nobody: Rc<dyn Outgoing> = Rc::new(Nobody);
            server.take_in(body, &nobody);
        }
    }
}

/// What of a node takes in what comes.
struct Host {
    server: Server,
    services: Vec<String>,
}

/// The end of a news' key: for all who serve it, or for all but its author.
const ALL: &str = "all";
const OTHERS: &str = "others";

/// The way back to the author of an ask.
struct Reply {
    bus: Bus,
    key: CompactString,
    correlation: u64,
}

impl Outgoing for Reply {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        let line = self.bus.0.line.borrow().clone().ok_or(SendError::Closed)?;
        let reply = Message {
            exchange: RPC.into(),
            key: self.key.clone(),
            body: frame,
            ttl: Some(REPLY_TTL),
            correlation: self.correlation,
            from: self.bus.0.env.name().0.clone(),
            ..Message::default()
        };
        // A caller that never gets it has its deadline.
        line.session.tell(reply).map_err(|_| SendError::Closed)
    }
}

/// Who says something one way wants no reply.
struct Nobody;

impl Outgoing for Nobody {
    fn send(&self, _: Bytes) -> Result<(), SendError> {
        Err(SendError::Closed)
    }
}

/// The key of asks to an instance: `rpc.a.core-1`.
pub fn ask_key(node: &NodeName) -> CompactString {
    format_compact!("rpc.{}", dotted(node))
}

/// `a.core-1` of `a/core-1`.
fn dotted(node: &NodeName) -> CompactString {
    words(node.as_str())
}

/// `core.job.accept` of `/core/job/accept`.
fn words(path: &str) -> CompactString {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.chars().map(|c| if c == '/' { '.' } else { c }).collect()
}
