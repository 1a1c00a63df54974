//! The world itself: what all nodes share, and the loop that makes time pass. Everything that
//! happens comes out of one agenda and one queue of woken tasks, in one order.
//!
//! No borrow of a cell may be held while foreign code runs or is dropped (a future, a handler, a
//! waker that is not ours): that code may come back in here.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    datagram::Receivers,
    exchange::Exchange,
    link::LinkState,
    network::{Network, Parcel},
    node::Nodes,
    settings::Settings,
    tasks::{ROOT, Ready, Rouse, Running, Tasks, Work},
};
use crate::base::{
    agenda::Agenda,
    pool::{Key, Pool},
    rng::Rng,
    time::Time,
};

/// Polls and events in one moment before the world is called stuck.
const MOMENT_MAX: u64 = if cfg!(test) { 200_000 } else { 20_000_000 };

/// The world cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Nothing is planned and nobody is woken, but the root future waits.
    #[error("nothing is left to happen at {0}, and the root task still waits")]
    Idle(Time),
    /// Tasks wake one another for ever without time passing.
    #[error("time stands still at {0}: tasks wake one another for ever")]
    Spinning(Time),
    /// The world was asked to run from inside itself.
    #[error("the world is running already")]
    Nested,
}

/// Something rare that happens later.
pub(super) type Call = Box<dyn FnOnce(&Rc<Core>)>;

/// Something that happens.
pub(super) enum Event {
    /// Somebody's timer.
    Alarm(Rouse),
    /// A parcel reaches the end of its way.
    Arrive(u32, Parcel),
    /// Anything rare.
    Call(Call),
}

/// What the running hash tells apart.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Alarm = 1,
    Frames,
    Exchange,
    Control,
    Poll,
    Kill,
    Boot,
    Disk,
    Fault,
}

pub(super) struct Core {
    pub(super) settings: Settings,
    /// The root stream of the run.
    pub(super) rng: Rng,
    pub(super) agenda: RefCell<Agenda<Event>>,
    pub(super) tasks: RefCell<Tasks>,
    pub(super) nodes: RefCell<Nodes>,
    pub(super) network: RefCell<Network>,
    pub(super) links: RefCell<Pool<LinkState>>,
    pub(super) exchanges: RefCell<Pool<Exchange>>,
    pub(super) ready: Arc<Ready>,
    pub(super) receivers: RefCell<Receivers>,
    batch: RefCell<VecDeque<Key>>,
    /// The task that is polled now, and what its waker points to.
    current: Cell<(Key, *const ())>,
    now_ns: Cell<u64>,
    trace: Cell<u64>,
    events: Cell<u64>,
    running: Cell<bool>,
}

impl Core {
    pub(super) fn new(seed: &str, settings: Settings) -> Self {
        let rng = Rng::from_seed(seed);
        let ready = Arc::new(Ready::default());
        Self {
            network: RefCell::new(Network::new(rng.fork("network"), settings.network)),
            settings,
            rng,
            agenda: RefCell::new(Agenda::new()),
            tasks: RefCell::new(Tasks::new(Arc::clone(&ready))),
            nodes: RefCell::new(Nodes::default()),
            links: RefCell::new(Pool::new()),
            exchanges: RefCell::new(Pool::new()),
            ready,
            receivers: RefCell::default(),
            batch: RefCell::default(),
            current: Cell::new((Key::NOBODY, std::ptr::null())),
            now_ns: Cell::new(0),
            trace: Cell::new(0),
            events: Cell::new(0),
            running: Cell::new(false),
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub(super) fn now(&self) -> Time {
        Time(self.now_ns.get())
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    /// Mixes one event into the running hash.
    pub(super) fn note(&self, kind: Kind, who: u32) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let what = (kind as u64) << 32 | u64::from(who);
        let mixed = (self.trace.get().rotate_left(23) ^ self.now_ns.get()).wrapping_mul(ODD);
        self.trace.set((mixed ^ what ^ mixed >> 29).wrapping_mul(ODD));
        self.events.set(self.events.get() + 1);
    }

    /// Plans an event.
    pub(super) fn plan(&self, at_ns: u64, event: Event) -> Key {
        self.agenda.borrow_mut().insert(at_ns, event)
    }

    /// Plans something rare.
    pub(super) fn later(&self, at_ns: u64, call: impl FnOnce(&Rc<Self>) + 'static) {
        self.plan(at_ns, Event::Call(Box::new(call)));
    }

    /// Puts in a task of a node, which must be alive, and queues it.
    pub(super) fn spawn(&self, node: u32, work: Work) {
        let task = self.tasks.borrow_mut().insert(node, work);
        self.ready.push(task);
    }

    /// How to reach the owner of `waker`.
    pub(super) fn rouse_of(&self, waker: &Waker) -> Rouse {
        let (task, data) = self.current.get();
        if data == waker.data() { Rouse::Task(task) } else { Rouse::Waker(waker.clone()) }
    }

    /// Whether `known` reaches the owner of `waker`.
    pub(super) fn reaches(&self, known: &Rouse, waker: &Waker) -> bool {
        match known {
            Rouse::Task(known) => self.current.get() == (*known, waker.data()),
            Rouse::Waker(known) => known.will_wake(waker),
        }
    }

    /// Queues who waits.
    pub(super) fn rouse(&self, rouse: Rouse) {
        match rouse {
            Rouse::Task(task) => self.ready.push(task),
            Rouse::Waker(waker) => waker.wake(),
        }
    }

    /// Lets a task go on at once, which is its turn: an event happens when nobody is queued.
    pub(super) fn rouse_now(self: &Rc<Self>, rouse: Rouse) {
        match rouse {
            Rouse::Task(task) => self.poll(task),
            Rouse::Waker(waker) => waker.wake(),
        }
    }

    pub(super) fn is_alive(&self, node: u32) -> bool {
        self.nodes.borrow().life(node).is_alive()
    }

    /// Lets the world run until `limit_ns`, or until `poll_root` has an outcome. The clock stays at
    /// the last thing that happened.
    pub(super) fn drive<T>(
        self: &Rc<Self>,
        limit_ns: u64,
        mut poll_root: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>, Stuck> {
        let _entered = Entered::enter(&self.running)?;
        let mut in_moment = 0_u64;
        loop {
            while let Some(task) = self.next_ready() {
                in_moment += 1;
                if task == ROOT {
                    if let Some(outcome) = poll_root() {
                        return Ok(Some(outcome));
                    }
                } else {
                    self.poll(task);
                }
                if in_moment > MOMENT_MAX {
                    return Err(Stuck::Spinning(self.now()));
                }
            }
            let next = self.agenda.borrow_mut().pop(limit_ns);
            let Some((at, event)) = next else { return Ok(None) };
            in_moment += 1;
            if at > self.now_ns.get() {
                self.now_ns.set(at);
                in_moment = 0;
            }
            self.happen(event);
        }
    }

    /// Moves the clock on when nothing more happens before `at`.
    pub(super) fn rest_until(&self, at: Time) {
        self.now_ns.set(self.now_ns.get().max(at.0));
    }

    fn next_ready(&self) -> Option<Key> {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            self.ready.swap(&mut batch);
        }
        batch.pop_front()
    }

    fn happen(self: &Rc<Self>, event: Event) {
        match event {
            Event::Alarm(rouse) => {
                self.note(Kind::Alarm, 0);
                self.rouse_now(rouse);
            }
            Event::Arrive(way, parcel) => self.arrive(way, parcel),
            Event::Call(call) => {
                self.note(Kind::Control, 0);
                call(self);
            }
        }
    }

    pub(super) fn poll(self: &Rc<Self>, task: Key) {
        let taken = self.tasks.borrow_mut().take(task);
        // Woken after its end, or killed after it was woken.
        let Some((_, mut running)) = taken else { return };
        self.note(Kind::Poll, task.slot);
        self.current.set((task, running.waker.data()));
        let polled = poll_work(&mut running);
        self.current.set((Key::NOBODY, std::ptr::null()));
        match polled {
            Poll::Pending => {
                let killed = self.tasks.borrow_mut().give_back(task, running);
                drop(killed);
            }
            Poll::Ready(answer) => {
                let Running { work, waker } = running;
                drop(work);
                self.tasks.borrow_mut().end(task, waker);
                if let Some((exchange, response)) = answer {
                    self.respond(exchange, response);
                }
            }
        }
    }

    /// Ends everything, so that nothing of the world is left in memory.
    pub(super) fn shut_down(&self) {
        let handlers = self.nodes.borrow_mut().shut_down();
        let tasks = self.tasks.borrow_mut().clear();
        drop((handlers, tasks));
        let events = self.agenda.borrow_mut().clear();
        let parcels = self.network.borrow_mut().clear();
        drop((events, parcels));
        let links = std::mem::take(&mut *self.links.borrow_mut());
        let exchanges = std::mem::take(&mut *self.exchanges.borrow_mut());
        drop((links, exchanges));
        self.batch.borrow_mut().clear();
        let receivers = std::mem::take(&mut *self.receivers.borrow_mut());
        drop(receivers);
    }
}

type Answer = Option<(Key, http::Response<bytes::Bytes>)>;

fn poll_work(running: &mut Running) -> Poll<Answer> {
    let context = &mut Context::from_waker(&running.waker);
    match &mut running.work {
        Work::Plain(future) => future.as_mut().poll(context).map(|()| None),
        Work::Answer(future, exchange) => {
            future.as_mut().poll(context).map(|response| Some((*exchange, response)))
        }
    }
}

/// Marks the world as running while it lives.
struct Entered<'a>(&'a Cell<bool>);

impl<'a> Entered<'a> {
    fn enter(running: &'a Cell<bool>) -> Result<Self, Stuck> {
        if running.replace(true) { Err(Stuck::Nested) } else { Ok(Self(running)) }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Ends at a moment. Planned when first polled, taken back when dropped.
pub(super) struct Sleep {
    core: Rc<Core>,
    at: Time,
    planned: Option<Key>,
}

impl Sleep {
    pub(super) const fn new(core: Rc<Core>, at: Time) -> Self {
        Self { core, at, planned: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.now() >= self.at {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let mut agenda = self.core.agenda.borrow_mut();
        if let Some(Event::Alarm(known)) = self.planned.and_then(|key| agenda.get_mut(key)) {
            if !self.core.reaches(known, waker) {
                let old = std::mem::replace(known, self.core.rouse_of(waker));
                drop(agenda);
                drop(old);
            }
            return Poll::Pending;
        }
        let key = agenda.insert(self.at.0, Event::Alarm(self.core.rouse_of(waker)));
        drop(agenda);
        self.planned = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.planned {
            let event = self.core.agenda.borrow_mut().remove(key);
            drop(event);
        }
    }
}
