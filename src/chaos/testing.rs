//! For tests of faults: a clock that jumps to the next alarm, and a provider that records what it
//! is told and fails where it is told to.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{self, LocalBoxFuture};
use http::{Request, Response};

use super::{
    event::Gauges,
    load::{Crowd, Extra, Logins, Rates},
    provider::{
        Answer, Health, LinkName, Meddle, Meddled, Meddling, Provider, ProviderError, Toxic,
        Toxicity,
    },
};
use crate::{
    base::{
        name::NodeName,
        rng::Rng,
        time::{Time, Wall},
    },
    world::{
        Env, HttpError, HttpHandler, World,
        link::{DialError, Link, Listener},
        store::{Store, StoreError},
    },
};

/// Time that passes only when everybody waits for it.
#[derive(Default)]
pub(super) struct Clock {
    now: Cell<u64>,
    alarms: RefCell<BTreeMap<(u64, u64), Waker>>,
    next: Cell<u64>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clock {
    pub fn env(self: &Rc<Self>) -> Env {
        Env::new("run".into(), &Rng::from_seed("chaos"), Rc::new(Hands(self.clone())))
    }

    /// Runs until `main` is done; time jumps whenever nothing else can happen.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        loop {
            while woken.0.swap(false, Ordering::Relaxed) {
                if let Poll::Ready(done) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return done;
                }
            }
            let first = self.alarms.borrow_mut().pop_first();
            let ((at, _), alarm) = first.expect("everybody waits, and nobody for time");
            self.now.set(self.now.get().max(at));
            alarm.wake();
        }
    }
}

/// The clock as a node of the world sees it.
struct Hands(Rc<Clock>);

impl World for Hands {
    fn now(&self) -> Time {
        Time(self.0.now.get())
    }
    fn wall(&self) -> Wall {
        Wall(EPOCH_MS + self.0.now.get() / 1_000_000)
    }
    fn sleep_until(&self, at: Time) -> LocalBoxFuture<'static, ()> {
        let clock = self.0.clone();
        let number = clock.next.replace(clock.next.get() + 1);
        // One alarm for each sleep, however often it is polled.
        Box::pin(future::poll_fn(move |cx| {
            if clock.now.get() >= at.0 {
                return Poll::Ready(());
            }
            clock.alarms.borrow_mut().insert((at.0, number), cx.waker().clone());
            Poll::Pending
        }))
    }
    fn spawn(&self, _: LocalBoxFuture<'static, ()>) {
        unreachable!("faults run in the task of their caller")
    }
    fn dial(&self, to: &NodeName) -> LocalBoxFuture<'static, Result<Link, DialError>> {
        Box::pin(future::ready(Err(DialError::UnknownName(to.clone()))))
    }
    fn listen(&self) -> LocalBoxFuture<'static, Result<Listener, DialError>> {
        unreachable!("faults do not listen")
    }
    fn serve_http(&self, _: HttpHandler) -> LocalBoxFuture<'static, Result<(), DialError>> {
        unreachable!("faults do not serve")
    }
    fn http(
        &self,
        _: &NodeName,
        _: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        unreachable!("faults do not ask")
    }
    fn store(&self, _: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        unreachable!("faults do not store")
    }
}

/// What the fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Kill says that it killed, and kills nothing.
    KillsNothing,
    /// Kill fails.
    KillFails,
    /// Kill never comes back, though the node is dead at once.
    KillHangs,
    /// The first start fails.
    StartFailsOnce,
    /// Every start fails.
    StartFails,
    /// Impair is acknowledged and does nothing.
    ImpairIsLost,
    /// The second link cannot be made sick.
    SecondLinkFails,
    /// A clock is said to be moved, and is not.
    SkewIsLost,
    /// What a node works at never ends.
    NeverQuiet,
    /// The robots do nothing of what they are told.
    RobotsAreDeaf,
    /// Robots that lost their sessions are let in only when they try once more.
    FirstLoginFails,
}

/// A target that is not there.
pub(super) struct Fake {
    env: Env,
    pub nodes: Vec<NodeName>,
    pub links: Vec<LinkName>,
    pub troubles: RefCell<BTreeSet<Trouble>>,
    pub dead: RefCell<BTreeSet<NodeName>>,
    /// Nodes that stand still.
    pub still: RefCell<BTreeSet<NodeName>>,
    pub sick: RefCell<BTreeMap<LinkName, Vec<Toxic>>>,
    /// Nodes that meddle with messages, or with their clock.
    pub meddling: RefCell<BTreeMap<NodeName, Meddling>>,
    /// Nodes that were given a share of the calls.
    pub given: RefCell<BTreeSet<NodeName>>,
    /// Times what is usual: jobs and location updates.
    pub raised: Cell<(f64, f64)>,
    /// Robots that lost their sessions, and how many of them are not in again.
    pub logins: Cell<Logins>,
    /// Round trips so far.
    pub trips: Cell<u32>,
    /// Everything that it was told to change, with the second.
    pub calls: RefCell<Vec<String>>,
}

/// What every clock shows at the start: early enough for one to be moved back.
const EPOCH_MS: u64 = 1_000_000_000;
const RTT: Duration = Duration::from_micros(400);
const KILL_TAKES: Duration = Duration::from_millis(20);
const START_TAKES: Duration = Duration::from_millis(500);

impl Fake {
    pub fn new(env: &Env, troubles: &[Trouble]) -> Rc<Self> {
        let nodes: Vec<NodeName> =
            ["a/api-1", "a/core-1", "b/core-1", "b/storage-1", "c/core-1", "c/core-2"]
                .map(NodeName::from)
                .to_vec();
        let link = |from: &str, to: &NodeName| LinkName { from: from.into(), to: to.clone() };
        let cores = nodes.iter().filter(|node| node.role() == "core");
        let mut links: Vec<LinkName> = cores.clone().map(|core| link("a/api-1", core)).collect();
        links.extend(cores.map(|core| link(core.as_str(), &nodes[3])));
        links.push(link("robots", &nodes[0]));
        Rc::new(Self {
            env: env.clone(),
            nodes,
            links,
            troubles: RefCell::new(troubles.iter().copied().collect()),
            dead: RefCell::default(),
            still: RefCell::default(),
            sick: RefCell::default(),
            meddling: RefCell::default(),
            given: RefCell::default(),
            raised: Cell::new((1.0, 1.0)),
            logins: Cell::default(),
            trips: Cell::new(0),
            calls: RefCell::default(),
        })
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles.borrow().contains(&trouble)
    }

    fn note(&self, what: &str) {
        self.calls.borrow_mut().push(format!("{:.2} {what}", self.env.now().as_secs_f64()));
    }

    async fn end(&self, how: &str, node: &NodeName) -> Result<String, ProviderError> {
        self.note(&format!("{how} {node}"));
        if self.has(Trouble::KillFails) {
            return fails(node, "no such process");
        }
        if !self.has(Trouble::KillsNothing) {
            self.dead.borrow_mut().insert(node.clone());
        }
        if self.has(Trouble::KillHangs) {
            future::pending::<()>().await;
        }
        self.env.sleep(KILL_TAKES).await;
        Ok("gone after 20 ms".into())
    }

    /// Requests come all the time, but to one that has left, and end at once, but where they do not.
    fn load_of(&self, node: &NodeName) -> Meddled {
        let left = self.meddling.borrow().get(node).is_some_and(|what| what.how == Meddle::Leaves);
        let asks = if left { 5 } else { self.env.now().0 / 1_000_000 };
        let in_flight = if self.has(Trouble::NeverQuiet) { 3 } else { 0 };
        Meddled { asks, in_flight, ..Meddled::default() }
    }

    /// How often something was told to change is counted as what faults wait for.
    pub fn gauges(self: &Rc<Self>) -> Gauges {
        let this = Rc::clone(self);
        Rc::new(move |_| this.calls.borrow().len() as u64)
    }

    /// What is wrong with a link for this round trip: of ten that may meet a toxic, it is those at
    /// the end that do.
    fn wrong_with(&self, link: &LinkName) -> Vec<Toxic> {
        let turn = f64::from(self.trips.replace(self.trips.get() + 1) % 10);
        let mut open = self.sick.borrow().get(link).cloned().unwrap_or_default();
        let mut found = Vec::new();
        while let Some(toxic) = open.pop() {
            match toxic {
                Toxic::Partly { toxicity, of, .. } => {
                    let share = toxicity.map_or(1.0, |Toxicity { share, .. }| share);
                    open.extend(of.into_iter().filter(|_| turn >= 10.0 * (1.0 - share)));
                }
                toxic => found.push(toxic),
            }
        }
        found
    }

    pub fn is_well(&self) -> bool {
        self.dead.borrow().is_empty()
            && self.still.borrow().is_empty()
            && self.sick.borrow().is_empty()
            && self.meddling.borrow().is_empty()
            && self.given.borrow().is_empty()
            && self.raised.get() == (1.0, 1.0)
            && self.logins.get().away == 0
    }
}

fn fails<T>(victim: &impl ToString, why: &str) -> Result<T, ProviderError> {
    Err(ProviderError { victim: victim.to_string(), why: why.into() })
}

impl Provider for Fake {
    fn nodes(&self) -> Vec<NodeName> {
        self.nodes.clone()
    }

    fn links(&self) -> Vec<LinkName> {
        self.links.clone()
    }

    fn kill<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(self.end("kill", node))
    }

    fn tear<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(self.end("tear", node))
    }

    fn terminate<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(self.end("terminate", node))
    }

    fn pause<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        self.note(&format!("pause {node}"));
        if !self.has(Trouble::KillsNothing) {
            self.still.borrow_mut().insert(node.clone());
        }
        Box::pin(future::ready(Ok("it stands still".into())))
    }

    fn start<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            self.note(&format!("start {node}"));
            if self.has(Trouble::StartFails)
                || self.troubles.borrow_mut().remove(&Trouble::StartFailsOnce)
            {
                return fails(node, "port in use");
            }
            if self.dead.borrow().contains(node) {
                self.env.sleep(START_TAKES).await;
            }
            self.dead.borrow_mut().remove(node);
            self.still.borrow_mut().remove(node);
            Ok("healthy after 500 ms".into())
        })
    }

    fn health<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<Health, ProviderError>> {
        let seen = if self.dead.borrow().contains(node) {
            Health::Down("connection refused".into())
        } else if self.still.borrow().contains(node) {
            Health::Down("no answer".into())
        } else {
            Health::Up
        };
        Box::pin(future::ready(Ok(seen)))
    }

    fn wall<'a>(&'a self, node: &'a NodeName) -> LocalBoxFuture<'a, Result<Wall, ProviderError>> {
        Box::pin(async move {
            if self.dead.borrow().contains(node) {
                return fails(node, "connection refused");
            }
            self.env.sleep(RTT).await;
            let ahead_ms = match self.meddling.borrow().get(node).map(|what| what.how) {
                Some(Meddle::Skewed(ahead_ms)) if !self.has(Trouble::SkewIsLost) => ahead_ms,
                _ => 0,
            };
            Ok(Wall(self.env.wall().0.saturating_add_signed(ahead_ms)))
        })
    }

    fn meddle<'a>(
        &'a self,
        node: &'a NodeName,
        what: &'a Meddling,
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        self.note(&format!("meddle {node}"));
        self.meddling.borrow_mut().insert(node.clone(), what.clone());
        Box::pin(future::ready(Ok(())))
    }

    fn meddled<'a>(
        &'a self,
        node: &'a NodeName,
        end: bool,
    ) -> LocalBoxFuture<'a, Result<Meddled, ProviderError>> {
        if end {
            self.note(&format!("end {node}"));
            self.meddling.borrow_mut().remove(node);
        }
        let on = self.meddling.borrow().contains_key(node);
        // Messages come all the time, but where nobody calls.
        let more = self.meddling.borrow().get(node).and_then(|what| what.as_version).is_some();
        let met = match self.env.now().0 / 10_000_000 {
            _ if self.has(Trouble::ImpairIsLost) => 0,
            since if more => since,
            _ => 7,
        };
        Box::pin(future::ready(Ok(Meddled { on, met, touched: met, ..self.load_of(node) })))
    }

    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        let second = self.links.get(1) == Some(link);
        if second && !toxics.is_empty() && self.has(Trouble::SecondLinkFails) {
            return Box::pin(future::ready(fails(link, "no proxy")));
        }
        if toxics.is_empty() {
            self.note(&format!("cure {link}"));
            self.sick.borrow_mut().remove(link);
        } else if !self.has(Trouble::ImpairIsLost) {
            self.note(&format!("impair {link}"));
            self.sick.borrow_mut().insert(link.clone(), toxics.to_vec());
        }
        Box::pin(future::ready(Ok(())))
    }

    fn fill_queue<'a>(
        &'a self,
        node: &'a NodeName,
        _: Duration,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        self.note(&format!("fill {node}"));
        Box::pin(future::ready(Ok("its queue was full after 5 messages".into())))
    }

    fn queue_has_room<'a>(
        &'a self,
        node: &'a NodeName,
    ) -> LocalBoxFuture<'a, Result<bool, ProviderError>> {
        let takes_all = !self.meddling.borrow().contains_key(node);
        Box::pin(future::ready(Ok(takes_all || self.has(Trouble::ImpairIsLost))))
    }

    fn give_share<'a>(
        &'a self,
        nodes: &'a [NodeName],
        percent: u32,
    ) -> LocalBoxFuture<'a, Result<u32, ProviderError>> {
        self.note(&format!("give {} {percent} %", nodes[0]));
        self.given.borrow_mut().insert(nodes[0].clone());
        Box::pin(future::ready(Ok(2)))
    }

    fn take_share<'a>(
        &'a self,
        nodes: &'a [NodeName],
    ) -> LocalBoxFuture<'a, Result<(), ProviderError>> {
        self.given.borrow_mut().remove(&nodes[0]);
        Box::pin(future::ready(Ok(())))
    }

    fn round_trip<'a>(
        &'a self,
        link: &'a LinkName,
        load: usize,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(async move {
            if self.dead.borrow().contains(&link.to) {
                return fails(link, "connection refused");
            }
            let mut takes = RTT;
            for toxic in &self.wrong_with(link) {
                match toxic {
                    Toxic::Latency { latency_ms, .. } => {
                        takes += Duration::from_millis(latency_ms * 2);
                    }
                    Toxic::Bandwidth { rate, .. } => {
                        takes += Duration::from_secs_f64(load as f64 / *rate as f64);
                    }
                    Toxic::Slicer { size, delay_us, .. } => {
                        takes += Duration::from_micros(delay_us * load as u64 / u64::from(*size));
                    }
                    Toxic::BlackHole
                    | Toxic::Timeout { .. }
                    | Toxic::Names { answer: Answer::Wrong } => takes = Duration::from_hours(1),
                    Toxic::Names { answer: Answer::Slow { delay_ms } } => {
                        takes += Duration::from_millis(*delay_ms);
                    }
                    Toxic::Names { answer: Answer::Gone } => return fails(link, "no such name"),
                    Toxic::Reset { after_ms } if *after_ms > 0 => {}
                    Toxic::Reset { .. } => return fails(link, "connection reset"),
                    Toxic::LimitData { bytes, .. } if load as u64 > *bytes => {
                        return fails(link, "connection reset");
                    }
                    Toxic::LimitData { .. }
                    | Toxic::SlowClose { .. }
                    | Toxic::Loss { .. }
                    | Toxic::Partly { .. } => {}
                }
            }
            self.env.sleep(takes).await;
            Ok(takes)
        })
    }

    fn closing<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(async move {
            let mut takes = RTT;
            for toxic in &self.wrong_with(link) {
                if let Toxic::SlowClose { delay_ms } = toxic {
                    takes += Duration::from_millis(delay_ms * 2);
                }
            }
            self.env.sleep(takes).await;
            Ok(takes)
        })
    }

    fn lifetime<'a>(
        &'a self,
        link: &'a LinkName,
    ) -> LocalBoxFuture<'a, Result<Duration, ProviderError>> {
        Box::pin(async move {
            let mut lives = Duration::from_hours(1);
            for toxic in &self.wrong_with(link) {
                if let Toxic::Reset { after_ms } = toxic {
                    lives = Duration::from_millis(*after_ms);
                }
            }
            self.env.sleep(lives).await;
            Ok(lives)
        })
    }
}

/// What the robots of a fake send in a second.
const USUAL: Rates = Rates { requests_per_s: 1.0, updates_per_s: 20.0, seconds: 20.0 };
/// How many of them are signed on.
const ROBOTS_HERE: f64 = 10.0;

impl Crowd for Fake {
    fn surge(&self, jobs: f64, updates: f64) {
        self.note("surge");
        if !self.has(Trouble::RobotsAreDeaf) {
            self.raised.set((jobs, updates));
        }
    }

    fn end_surge(&self) {
        self.note("end surge");
        self.raised.set((1.0, 1.0));
    }

    fn extra(&self) -> Extra {
        // While more is asked for, more comes with each moment.
        let more = self.raised.get() != (1.0, 1.0);
        Extra { wishes: if more { self.env.now().0 } else { 7 }, updates: 0 }
    }

    fn usual(&self) -> Rates {
        USUAL
    }

    fn sent_since(&self, from: Time) -> Rates {
        let (jobs, updates) = self.raised.get();
        Rates {
            requests_per_s: USUAL.requests_per_s * jobs,
            updates_per_s: USUAL.updates_per_s * updates,
            seconds: (self.env.now() - from).as_secs_f64().floor(),
        }
    }

    fn updates_per_s(&self) -> f64 {
        USUAL.updates_per_s
    }

    fn log_all_in(&self, share: f64) -> u32 {
        self.note("log all in");
        let asked = (ROBOTS_HERE * share) as u32;
        let sent = if self.has(Trouble::RobotsAreDeaf) { 0 } else { asked };
        let fails = sent < asked || self.has(Trouble::FirstLoginFails);
        self.logins.set(Logins { asked, sent, away: if fails { asked } else { 0 } });
        asked
    }

    fn log_in_again(&self) {
        let logins = self.logins.get();
        if logins.away > 0 {
            self.note("log in again");
            let away = if self.has(Trouble::RobotsAreDeaf) { logins.away } else { 0 };
            self.logins.set(Logins { away, ..logins });
        }
    }

    fn logins(&self) -> Logins {
        self.logins.get()
    }
}
