//! Stores of the virtual world: the same engine as in the real one, over a disk in memory. A sync
//! takes its time; commits that come while one is under way share the next.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::{
    core::{Core, Kind, Sleep},
    disk::Medium,
    node::Life,
};
use crate::{
    base::{
        rng::Rng,
        time::{Time, nanos},
    },
    world::store::{Ack, Committed, Disk, Row, Store, StoreError, Txn, engine::Engine},
};

/// Commits that may wait for a sync; more are refused.
const COMMITS_MAX: usize = 4_096;

type Done = oneshot::Sender<Result<Committed, StoreError>>;

#[derive(Default)]
struct Group {
    txns: Vec<Txn>,
    done: Vec<Done>,
}

/// An open store: ends with its process.
pub(super) struct Shelf {
    core: Rc<Core>,
    node: u32,
    name: String,
    medium: Medium,
    /// Gone after the crash.
    engine: RefCell<Option<Rc<Engine>>>,
    rng: RefCell<Rng>,
    /// Commits for the next sync.
    waiting: RefCell<Group>,
    /// Commits of the sync under way.
    syncing: RefCell<Group>,
    busy: Cell<bool>,
    /// An early acknowledgement has no sync yet.
    owes: Cell<bool>,
}

impl Shelf {
    fn failed(&self, why: &str) -> StoreError {
        StoreError { store: self.name.clone(), why: why.into() }
    }

    fn engine(&self) -> Result<Rc<Engine>, StoreError> {
        self.engine.borrow().clone().ok_or_else(|| self.failed("the node is dead"))
    }

    /// Begins a sync for all that wait.
    fn start(self: &Rc<Self>) {
        self.busy.set(true);
        self.syncing.swap(&self.waiting);
        let sync_ns = self.core.settings.disk.sync.draw(&mut self.rng.borrow_mut());
        let this = Rc::clone(self);
        self.core.later(self.core.now_ns() + sync_ns, move |_| this.finish());
    }

    /// The sync is done: the group is on the disk, readers see it, and it is acknowledged.
    fn finish(self: &Rc<Self>) {
        let Ok(engine) = self.engine() else { return };
        self.core.note(Kind::Disk, self.node);
        let group = self.syncing.take();
        match engine.apply(&group.txns) {
            Ok(outcomes) => {
                // An engine's sync carries everything before it.
                for (done, outcome) in group.done.into_iter().zip(outcomes) {
                    drop(done.send(Ok(outcome)));
                }
            }
            Err(why) => group.done.into_iter().for_each(|done| drop(done.send(Err(why.clone())))),
        }
        self.busy.set(false);
        if !self.waiting.borrow().txns.is_empty() {
            self.start();
        }
    }

    /// Acknowledges before the sync; only a planted bug asks for this.
    fn commit_early(self: &Rc<Self>, txn: Txn) -> Result<Committed, StoreError> {
        let outcomes = self.engine()?.apply_unsynced(&[txn])?;
        if !self.owes.replace(true) {
            let this = Rc::clone(self);
            let at = self.core.now_ns() + nanos(self.core.settings.disk.early_window);
            self.core.later(at, move |_| this.pay());
        }
        outcomes.into_iter().next().ok_or_else(|| self.failed("no outcome"))
    }

    /// The sync that an early acknowledgement promised.
    fn pay(&self) {
        self.owes.set(false);
        if let Ok(engine) = self.engine() {
            self.core.note(Kind::Disk, self.node);
            // Nobody waits for this one: a failure shows at the next commit.
            drop(engine.sync());
        }
    }

    /// The process dies, in the middle of its sync if one is under way.
    pub(super) fn crash(&self, rng: &mut Rng) {
        let engine = self.engine.borrow_mut().take();
        let group = self.syncing.take();
        let waiting = self.waiting.take();
        self.medium.stop_syncing();
        if let Some(engine) = engine {
            // What the engine was about to write reaches the disk in pieces.
            let wrote = group.txns.is_empty() || engine.apply(&group.txns).is_ok();
            let flushed = !self.owes.get() || engine.sync().is_ok();
            self.core.note(Kind::Disk, u32::from(wrote) << 1 | u32::from(flushed));
            self.medium.crash(rng);
            // Dropped after the crash: it would mark the file as closed properly.
            drop(engine);
        }
        drop((group, waiting));
    }
}

impl Core {
    /// Opens a store of a living process; the same one if it is open already.
    pub(super) fn open_store(
        self: &Rc<Self>,
        life: &Rc<Life>,
        name: &str,
    ) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        let (core, life, name) = (Rc::clone(self), Rc::clone(life), name.to_owned());
        Box::pin(async move {
            let stream = format!("disk/{}/{name}/{}", life.name, life.incarnation);
            let mut rng = core.rng.fork(&stream);
            let at = core.now()
                + std::time::Duration::from_nanos(core.settings.disk.open.draw(&mut rng));
            Sleep::new(Rc::clone(&core), at).await;
            if !life.is_alive() {
                return Err(StoreError { store: name, why: "the node is dead".into() });
            }
            let open = core.nodes.borrow().shelf(life.node, &name);
            let open = match open {
                Some(open) => open,
                None => core.place_shelf(&life, &name, rng)?,
            };
            let store: Store = Rc::new(Handle(open));
            Ok(store)
        })
    }

    fn place_shelf(
        self: &Rc<Self>,
        life: &Life,
        name: &str,
        rng: Rng,
    ) -> Result<Rc<Shelf>, StoreError> {
        let medium = self.nodes.borrow_mut().medium(life.node, name);
        let engine = Engine::open(medium.open(self.settings.disk.skip_sync))?.called(name);
        self.note(Kind::Disk, life.node);
        let open = Rc::new(Shelf {
            core: Rc::clone(self),
            node: life.node,
            name: name.to_owned(),
            medium,
            engine: RefCell::new(Some(Rc::new(engine))),
            rng: RefCell::new(rng),
            waiting: RefCell::default(),
            syncing: RefCell::default(),
            busy: Cell::new(false),
            owes: Cell::new(false),
        });
        self.nodes.borrow_mut().put_shelf(life.node, name, Rc::clone(&open));
        Ok(open)
    }
}

/// What a service holds.
struct Handle(Rc<Shelf>);

impl Disk for Handle {
    fn commit(&self, txn: Txn, ack: Ack) -> LocalBoxFuture<'static, Result<Committed, StoreError>> {
        let open = &self.0;
        if let Err(dead) = open.engine() {
            return Box::pin(std::future::ready(Err(dead)));
        }
        if ack == Ack::Early {
            return Box::pin(std::future::ready(open.commit_early(txn)));
        }
        let (done, outcome) = oneshot::channel();
        {
            let mut waiting = open.waiting.borrow_mut();
            if waiting.txns.len() >= COMMITS_MAX {
                let why = open.failed("too many commits wait for the disk");
                return Box::pin(std::future::ready(Err(why)));
            }
            waiting.txns.push(txn);
            waiting.done.push(done);
        }
        if !open.busy.get() {
            open.start();
        }
        let dead = open.failed("the node died");
        Box::pin(async move { outcome.await.unwrap_or(Err(dead)) })
    }

    fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.0.engine()?.get(key)
    }

    fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.0.engine()?.scan(from, to, limit)
    }
}
