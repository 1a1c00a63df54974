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
    disk::{Medium, Torn},
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
/// Bytes of pages that an open store keeps in memory beside its disk, which is memory too.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

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
        StoreError::new(&self.name, why)
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

    /// Acknowledges before the sync.
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

    /// A sync that writes something is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.syncing.borrow().txns.iter().any(|txn| !txn.writes.is_empty())
    }

    /// The process dies, in the middle of its sync if one is under way.
    pub(super) fn crash(&self, rng: &mut Rng) {
        self.end(|medium| medium.crash(rng));
    }

    /// The process dies, and the last of what it wrote is there by half.
    pub(super) fn tear(&self) -> Option<Torn> {
        let mut torn = None;
        self.end(|medium| torn = medium.tear());
        torn
    }

    fn end(&self, lose: impl FnOnce(&Medium)) {
        let engine = self.engine.borrow_mut().take();
        let group = self.syncing.take();
        let waiting = self.waiting.take();
        self.medium.stop_syncing();
        if let Some(engine) = engine {
            // What the engine was about to write reaches the disk in pieces: the sync under way, which
            // carries what was acknowledged early, or else the one that was promised to that. Not both:
            // nobody writes on after a sync that has not ended.
            let wrote = match (group.txns.is_empty(), self.owes.get()) {
                (false, _) => engine.apply(&group.txns).is_ok(),
                (true, true) => engine.sync().is_ok(),
                (true, false) => true,
            };
            self.core.note(Kind::Disk, u32::from(wrote));
            lose(&self.medium);
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
            let at = Time(core.now_ns() + core.settings.disk.open.draw(&mut rng));
            Sleep::new(Rc::clone(&core), at).await;
            if !life.is_alive() {
                return Err(StoreError::new(name, "the node is dead"));
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
        let engine =
            Engine::open(medium.open(self.settings.disk.skip_sync), CACHE_BYTES)?.called(name);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::world::{
        store::Expect,
        virtual_::{
            DiskSettings, Settings, Sim,
            tests::{A, name, put},
        },
    };

    fn value(store: &Store, key: &str) -> Option<Bytes> {
        store.get(key).unwrap().map(|row| row.value)
    }

    #[test]
    fn a_commit_takes_a_sync_and_readers_wait_for_it() {
        let sim = Sim::new("commit");
        let a = sim.node(&name(A));
        let store = sim.run(a.store("jobs")).unwrap().unwrap();
        let start = sim.now();
        let commit = store.commit(put("k", "1"), Ack::Synced);
        assert_eq!(value(&store, "k"), None);
        assert_eq!(sim.run(commit).unwrap().unwrap(), Committed::Done(1));
        let took = sim.now() - start;
        assert!((1_000..=4_000).contains(&took.as_micros()), "{took:?}");
        assert_eq!(value(&store, "k").unwrap(), "1");
        let same = sim.run(a.store("jobs")).unwrap().unwrap();
        assert_eq!(value(&same, "k").unwrap(), "1");
        let other = sim.run(a.store("charges")).unwrap().unwrap();
        assert_eq!(value(&other, "k"), None);
    }

    #[test]
    fn commits_that_come_during_a_sync_share_the_next() {
        let sim = Sim::new("group");
        let a = sim.node(&name(A));
        let store = sim.run(a.store("jobs")).unwrap().unwrap();
        let ends = Rc::new(RefCell::new(Vec::new()));
        for number in 0..10 {
            let mut txn = put(&format!("k{number}"), "x");
            txn.expects.push(("k9".into(), Expect::Absent));
            let (commit, env, ends) = (store.commit(txn, Ack::Synced), a.clone(), Rc::clone(&ends));
            a.spawn(async move {
                let outcome = commit.await.unwrap();
                ends.borrow_mut().push((env.now(), outcome));
            });
        }
        sim.run_until(Time::from_secs_f64(1.0)).unwrap();
        let ends = ends.borrow();
        assert!(ends[0].0 < ends[1].0);
        assert!(ends[1..].iter().all(|end| end.0 == ends[1].0));
        let versions: Vec<_> = ends.iter().map(|end| end.1.clone()).collect();
        assert_eq!(versions, (1..=10).map(Committed::Done).collect::<Vec<_>>());
    }

    /// Commits one after the other until the node is killed at `kill_us`; tells how many were
    /// acknowledged, and how many are there when the node is back.
    fn crash(seed: u32, kill_us: u64, ack: Ack) -> (u32, u32, Sim) {
        let sim = Sim::new(&seed.to_string());
        let a = sim.node(&name(A));
        let store = sim.run(a.store("jobs")).unwrap().unwrap();
        let acknowledged = Rc::new(Cell::new(0));
        let (count, disk) = (Rc::clone(&acknowledged), Rc::clone(&store));
        a.spawn(async move {
            for number in 0..200_u32 {
                let value = "v".repeat(1 + number as usize * 97 % 3_000);
                let outcome = disk.commit(put(&format!("k/{number:05}"), &value), ack).await;
                assert_eq!(outcome.unwrap(), Committed::Done(u64::from(number) + 1));
                count.set(number + 1);
            }
        });
        sim.run_until(sim.now() + Duration::from_micros(kill_us)).unwrap();
        assert!(sim.kill(&name(A)));
        assert!(store.get("k/00000").is_err(), "a dead node reads nothing");
        let again = sim.node(&name(A));
        let store = sim.run(again.store("jobs")).unwrap().unwrap();
        let rows = store.scan("k/", "k0", 1_000).unwrap();
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(row.key, format!("k/{number:05}"), "no hole");
            assert_eq!(row.value.len(), 1 + number * 97 % 3_000, "nothing torn");
        }
        assert!(sim.run(store.commit(put("k/after", "1"), Ack::Synced)).unwrap().is_ok());
        (acknowledged.get(), rows.len() as u32, sim)
    }

    #[test]
    fn what_was_acknowledged_survives_and_what_was_torn_is_recovered() {
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..40 {
            let (acknowledged, there, _) =
                crash(seed, 15_000 + u64::from(seed) * 2_531, Ack::Synced);
            assert!(acknowledged > 2, "{acknowledged}");
            match there - acknowledged {
                0 => lost += 1,
                1 => kept += 1,
                more => panic!("{more} commits nobody made"),
            }
        }
        // Both fates of the commit under way are met.
        assert!(lost > 5 && kept > 2, "{lost} lost, {kept} kept");
    }

    #[test]
    fn a_store_whose_last_write_is_torn_comes_back_whole() {
        let mut kept = 0;
        for seed in 0..40_u32 {
            let sim = Sim::new(&seed.to_string());
            let a = sim.node(&name(A));
            let store = sim.run(a.store("jobs")).unwrap().unwrap();
            let acknowledged = Rc::new(Cell::new(0));
            let (count, disk) = (Rc::clone(&acknowledged), store.clone());
            a.spawn(async move {
                for number in 0..200_u32 {
                    let value = "v".repeat(1 + number as usize * 97 % 3_000);
                    let put = put(&format!("k/{number:05}"), &value);
                    disk.commit(put, Ack::Synced).await.unwrap();
                    count.set(number + 1);
                }
            });
            sim.run_until(sim.now() + Duration::from_micros(15_000 + u64::from(seed) * 2_531))
                .unwrap();
            assert!(sim.is_writing(&name(A)));
            let [torn] = sim.tear(&name(A))[..] else { panic!("nothing torn") };
            assert!(torn.kept > 0 && torn.kept < torn.bytes, "{torn:?}");
            let again = sim.node(&name(A));
            let store = sim.run(again.store("jobs")).unwrap().unwrap();
            let rows = store.scan("k/", "k0", 1_000).unwrap();
            for (number, row) in rows.iter().enumerate() {
                assert_eq!(row.key, format!("k/{number:05}"), "no hole");
                assert_eq!(row.value.len(), 1 + number * 97 % 3_000, "nothing torn");
            }
            let more = rows.len() as u32 - acknowledged.get();
            assert!(more <= 1, "{more} commits nobody made");
            kept += more;
            assert!(sim.run(store.commit(put("k/after", "1"), Ack::Synced)).unwrap().is_ok());
        }
        assert!(kept < 40, "a torn commit is mostly none: {kept}");
    }

    #[test]
    fn what_was_acknowledged_early_can_be_lost() {
        let mut lost = 0;
        for seed in 0..10 {
            // All 200 are acknowledged at once; the window is 250 ms.
            let (acknowledged, there, _) = crash(seed, 200_000, Ack::Early);
            assert_eq!(acknowledged, 200);
            lost += u32::from(there < 200);
            let (_, there, _) = crash(seed, 260_000, Ack::Early);
            assert_eq!(there, 200, "synced after the window");
        }
        assert!(lost > 4, "{lost}");
    }

    #[test]
    fn a_store_that_skips_the_sync_is_found_out() {
        // The same crash as above, over an engine that never syncs.
        let (medium, rng) = (Medium::default(), &mut Rng::from_seed("1"));
        let open = |medium: &Medium| Engine::open(medium.open(false), CACHE_BYTES).unwrap();
        let engine = open(&medium);
        engine.apply(&[put("synced", "1")]).unwrap();
        engine.apply_unsynced(&[put("skipped", "1")]).unwrap();
        medium.crash(rng);
        drop(engine);
        let engine = open(&medium);
        assert!(engine.get("synced").unwrap().is_some());
        assert!(engine.get("skipped").unwrap().is_none());
    }

    #[test]
    fn a_disk_that_skips_its_syncs_loses_what_it_acknowledged() {
        let mut lost = 0;
        for seed in 0..10 {
            let disk = DiskSettings { skip_sync: true, ..DiskSettings::default() };
            let sim =
                Sim::with_settings(&seed.to_string(), Settings { disk, ..Settings::default() });
            let a = sim.node(&name(A));
            let store = sim.run(a.store("jobs")).unwrap().unwrap();
            sim.run(store.commit(put("k", "v"), Ack::Synced)).unwrap().unwrap();
            sim.kill(&name(A));
            let again = sim.node(&name(A));
            // Not even the file may be whole.
            let there = sim.run(again.store("jobs")).unwrap().map(|store| value(&store, "k"));
            lost += u32::from(!matches!(there, Ok(Some(_))));
        }
        assert!(lost > 4, "{lost}");
    }

    #[test]
    fn a_crash_is_the_same_twice() {
        for seed in 0..5 {
            let (one, two) = (crash(seed, 7_777, Ack::Synced), crash(seed, 7_777, Ack::Synced));
            assert_eq!((one.0, one.1, one.2.trace_hash()), (two.0, two.1, two.2.trace_hash()));
        }
    }
}
