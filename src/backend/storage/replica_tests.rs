//! Three replicas in the virtual world, under kills, cuts and lost writes: whatever was acknowledged
//! is there, and nobody reads what is older than what was acknowledged before the read.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all, ready};

use super::{kv::Kv, replica::Replica};
use crate::{
    backend::platform::{
        directory::{Directory, Instance},
        rpc::{Router, Rpc, RpcError},
        server::Server,
    },
    base::{name::NodeName, rng::Rng},
    world::{
        Env,
        store::{Ack, Committed, Disk, Expect, Row, Store, StoreError, Txn},
        virtual_::{Direction, DiskSettings, LinkFault, Settings, Sim},
    },
};

/// The first leads at first.
const NAMES: [&str; 3] = ["b/storage-1", "a/storage-1", "c/storage-1"];

fn names() -> Vec<NodeName> {
    NAMES.map(NodeName::from).to_vec()
}

fn knowing(env: &Env) -> Rpc {
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    let services = vec!["storage/kv".to_owned()];
    let instance = |name| Instance::new(name, services.clone());
    directory.replace(names().into_iter().map(instance));
    Rpc::new(env, &directory)
}

/// A disk that has no room while its node is among the full.
struct Tight {
    node: NodeName,
    full: Rc<RefCell<BTreeSet<NodeName>>>,
    store: Store,
}

impl Disk for Tight {
    fn commit(&self, txn: Txn, ack: Ack) -> LocalBoxFuture<'static, Result<Committed, StoreError>> {
        if self.full.borrow().contains(&self.node) {
            return Box::pin(ready(Err(StoreError::no_room("backend"))));
        }
        self.store.commit(txn, ack)
    }

    fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.store.scan(from, to, limit)
    }
}

/// Three replicas and whoever asks them.
struct Trio {
    sim: Sim,
    early: bool,
    full: Rc<RefCell<BTreeSet<NodeName>>>,
    replicas: RefCell<BTreeMap<NodeName, Replica>>,
    asker: Env,
    kv: Kv,
}

impl Trio {
    fn new(seed: &str) -> Rc<Self> {
        Self::with(seed, false, false)
    }

    fn with(seed: &str, early: bool, skip_sync: bool) -> Rc<Self> {
        let disk = DiskSettings { skip_sync, ..DiskSettings::default() };
        let sim = Sim::with_settings(seed, Settings { disk, ..Settings::default() });
        let asker = sim.node(&"a/core-1".into());
        let kv = Kv::new(&knowing(&asker));
        let this = Rc::new(Self {
            sim,
            early,
            full: Rc::default(),
            replicas: RefCell::default(),
            asker,
            kv,
        });
        for name in NAMES {
            this.boot(name);
        }
        this.pass(1.0);
        this
    }

    fn boot(self: &Rc<Self>, name: &str) {
        let (this, env) = (Rc::clone(self), self.sim.node(&name.into()));
        env.clone().spawn(async move {
            let (node, full) = (env.name().clone(), Rc::clone(&this.full));
            let store = env.store("backend").await.unwrap();
            let store: Store = Rc::new(Tight { node, full, store });
            let rpc = knowing(&env);
            let replica = Replica::open(&rpc, &store, &names(), this.early).unwrap();
            let mut router = Router::default();
            replica.mount(&mut router);
            this.replicas.borrow_mut().insert(env.name().clone(), replica.clone());
            drop(this);
            env.spawn(replica.run());
            let listener = env.listen().await.unwrap();
            let ready = Rc::new(Cell::new(true));
            Server::new(&env, router, &ready, rpc.meter()).run(listener).await;
        });
    }

    fn kill(&self, name: &str) {
        assert!(self.sim.kill(&name.into()), "{name} lived");
        self.replicas.borrow_mut().remove(&NodeName::from(name));
    }

    fn pass(&self, seconds: f64) {
        self.sim.run_until(self.sim.now() + Duration::from_secs_f64(seconds)).unwrap();
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.sim.run(work).unwrap()
    }

    /// Whoever leads, as far as the living replicas know.
    fn leader(&self) -> Option<NodeName> {
        let now = self.sim.now();
        let replicas = self.replicas.borrow();
        let leads = |replica: &Replica| replica.0.state.borrow().leads(now);
        replicas.iter().find(|(_, replica)| leads(replica)).map(|(name, _)| name.clone())
    }

    /// Fills the disk of one, or makes room there.
    fn fill(&self, name: &NodeName, full: bool) {
        let mut all = self.full.borrow_mut();
        if full {
            all.insert(name.clone())
        } else {
            all.remove(name)
        };
    }

    /// Cuts one off from everybody.
    fn isolate(&self, name: &NodeName) {
        for other in names().iter().filter(|other| *other != name) {
            self.sim.partition(name, other);
        }
        self.sim.partition(name, self.asker.name());
    }

    fn rejoin(&self, name: &NodeName) {
        let all = names();
        for other in all.iter().chain([self.asker.name()]).filter(|other| *other != name) {
            self.sim.impair(name, other, LinkFault::NONE);
            self.sim.impair(other, name, LinkFault::NONE);
        }
    }

    fn put(&self, key: &str, value: &str) -> Result<Committed, RpcError> {
        self.run(self.kv.commit(put(key, value, None)))
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.run(self.kv.get(key)).unwrap().map(|row| row.value)
    }
}

fn put(key: &str, value: &str, expect: Option<Expect>) -> Txn {
    Txn {
        expects: expect.map(|expect| (key.to_owned(), expect)).into_iter().collect(),
        writes: vec![(key.to_owned(), Some(Bytes::from(value.to_owned())))],
    }
}

#[test]
fn the_first_leads_and_a_commit_reaches_every_replica() {
    let trio = Trio::new("commit");
    assert_eq!(trio.leader(), Some(NAMES[0].into()));
    let Ok(Committed::Done(version)) = trio.put("job/1", "one") else { panic!() };
    let conflict = trio.run(trio.kv.commit(put("job/1", "two", Some(Expect::Absent))));
    assert_eq!(conflict.unwrap(), Committed::Conflict("job/1".to_owned()));
    let done = trio.run(trio.kv.commit(put("job/1", "two", Some(Expect::Version(version)))));
    assert!(matches!(done, Ok(Committed::Done(_))));
    assert_eq!(trio.get("job/1").unwrap(), "two");
    trio.pass(0.5);
    for replica in trio.replicas.borrow().values() {
        let row = super::rows::get(&replica.0.store, "job/1").unwrap().unwrap();
        assert_eq!(row.value, "two");
        assert!(row.version > version);
    }
}

#[test]
fn any_one_may_die_and_come_back() {
    for victim in NAMES {
        let trio = Trio::new(&format!("kill {victim}"));
        for n in 0..10 {
            trio.put(&format!("row/{n}"), "x").unwrap();
        }
        trio.kill(victim);
        trio.pass(1.2);
        trio.put("row/10", "x").unwrap();
        assert_eq!(trio.run(trio.kv.scan_prefix("row/", 100)).unwrap().len(), 11);
        trio.boot(victim);
        trio.pass(1.0);
        for other in NAMES.iter().filter(|name| **name != victim).take(1) {
            trio.kill(other);
        }
        trio.pass(1.5);
        assert_eq!(trio.run(trio.kv.scan_prefix("row/", 100)).unwrap().len(), 11);
    }
}

#[test]
fn a_leader_that_is_cut_off_serves_nobody_and_is_replaced() {
    let trio = Trio::new("cut");
    trio.put("k", "1").unwrap();
    let old = trio.leader().unwrap();
    trio.isolate(&old);
    trio.pass(2.0);
    let new = trio.leader().unwrap();
    assert_ne!(new, old);
    // Whoever asks has not heard of it yet.
    assert!(matches!(trio.put("k", "2"), Err(RpcError::Unknown(_))));
    assert_eq!(trio.get("k").unwrap(), "1");
    trio.put("k", "3").unwrap();
    trio.rejoin(&old);
    trio.pass(1.0);
    assert_eq!(trio.leader(), Some(new), "whoever comes back deposes nobody");
    assert_eq!(trio.get("k").unwrap(), "3", "what the old leader was asked came too late");
}

#[test]
fn commits_that_come_at_once_share_a_sync() {
    let trio = Trio::new("group");
    trio.put("warm", "x").unwrap();
    let begun = trio.sim.now();
    let keys: Vec<String> = (0..200).map(|n| format!("row/{n}")).collect();
    let done = trio.run(join_all(keys.iter().map(|key| trio.kv.commit(put(key, "x", None)))));
    assert!(done.iter().all(|done| matches!(done, Ok(Committed::Done(_)))));
    // Two hundred syncs, one after the other, would take 200 ms at the very least.
    assert!(trio.sim.now().since(begun) < Duration::from_millis(25));
}

#[test]
fn a_replica_that_was_away_for_long_is_brought_up_by_a_snapshot() {
    let trio = Trio::new("snapshot");
    let away = "c/storage-1";
    trio.put("old", "gone soon").unwrap();
    trio.pass(0.5);
    trio.kill(away);
    let delete = Txn { expects: Vec::new(), writes: vec![("old".to_owned(), None)] };
    trio.run(trio.kv.commit(delete)).unwrap();
    for hundred in 0..40 {
        let keys: Vec<String> = (0..100).map(|n| format!("row/{:05}", hundred * 100 + n)).collect();
        let done = trio.run(join_all(keys.iter().map(|key| trio.kv.commit(put(key, "x", None)))));
        assert!(done.iter().all(Result::is_ok));
    }
    trio.boot(away);
    trio.pass(2.0);
    let replicas = trio.replicas.borrow();
    for (name, replica) in &*replicas {
        let store = &replica.0.store;
        let rows = super::rows::scan(store, "row/", "row0", usize::MAX).unwrap();
        assert_eq!(rows.len(), 4_000, "{name}");
        assert_eq!(super::rows::get(store, "old").unwrap(), None, "{name}");
        let logged = store.scan("\u{1}log/", "\u{1}log0", usize::MAX).unwrap().len();
        assert!(logged <= 2 * 1_024 + 200, "{name} keeps {logged} entries");
    }
}

/// How many of ten acknowledged commits are there after these nodes died in the same moment.
#[test]
fn large_commits_leave_the_log_by_their_bytes() {
    let trio = Trio::new("large");
    let value = "x".repeat(2 * 1024 * 1024);
    for n in 0..40 {
        trio.put(&format!("row/{n:02}"), &value).unwrap();
    }
    trio.pass(1.0);
    for (name, replica) in &*trio.replicas.borrow() {
        let logged = replica.0.store.scan("\u{1}log/", "\u{1}log0", usize::MAX).unwrap();
        let bytes: usize = logged.iter().map(|row| row.value.len()).sum();
        assert!(
            bytes <= super::replica::KEEP_BYTES + 2 * value.len(),
            "{name} keeps {bytes} bytes"
        );
        assert!(bytes >= super::replica::KEEP_BYTES / 2 - 2 * value.len(), "{name}: {bytes} bytes");
        let rows = super::rows::scan(&replica.0.store, "row/", "row0", usize::MAX).unwrap();
        assert_eq!(rows.len(), 40, "{name}");
    }
}

fn survivors(seed: usize, early: bool, skip_sync: bool, victims: &[&str]) -> usize {
    let trio = Trio::with(&format!("lost {seed}"), early, skip_sync);
    for n in 0..10 {
        let done = trio.run(trio.kv.commit(put(&format!("row/{n}"), "x", Some(Expect::Absent))));
        assert!(matches!(done, Ok(Committed::Done(_))), "{done:?}");
    }
    for victim in victims {
        trio.kill(victim);
    }
    trio.pass(1.5);
    for victim in victims {
        trio.boot(victim);
    }
    trio.pass(2.0);
    trio.run(trio.kv.scan_prefix("row/", 100)).unwrap().len()
}

#[test]
fn nothing_acknowledged_is_lost_unless_a_bug_is_planted() {
    let lost = |early, skip_sync, victims: &[&str]| {
        (0..5).map(|seed| 10 - survivors(seed, early, skip_sync, victims)).sum::<usize>()
    };
    assert_eq!(lost(false, false, &NAMES[..1]), 0);
    assert_eq!(lost(false, false, &NAMES), 0, "even if all die at once");
    assert!(lost(true, false, &NAMES[..1]) > 0, "acknowledged by the leader alone");
    assert!(lost(false, true, &NAMES) > 0, "no disk has it");
}

#[test]
fn a_read_that_may_be_stale_is_answered_nearby_or_not_at_all_when_too_old() {
    let trio = Trio::new("stale");
    trio.put("k", "1").unwrap();
    trio.pass(1.0);
    let stale = |span| trio.run(trio.kv.get_stale("k", Duration::from_millis(span))).unwrap();
    let begun = trio.sim.now();
    assert_eq!(stale(500).unwrap().value, "1");
    let near = trio.sim.now().since(begun);
    assert!(near < Duration::from_millis(1), "our own AZ's replica answers: {near:?}");
    // Cut off from the others, but not from us.
    let (a, c) = (NodeName::from("a/storage-1"), NodeName::from("c/storage-1"));
    for other in [&NodeName::from(NAMES[0]), &c] {
        trio.sim.partition(&a, other);
    }
    trio.pass(0.1);
    trio.put("k", "2").unwrap();
    assert_eq!(stale(5_000).unwrap().value, "1", "as old as it may be");
    trio.pass(1.0);
    assert_eq!(stale(500).unwrap().value, "2", "too old there: another answers");
}

/// What one asker may rely on, checked as it goes: nobody reads, or writes upon, a version older
/// than one that was seen before it asked.
#[derive(Default)]
struct Seen {
    newest: RefCell<BTreeMap<String, u64>>,
    /// The commits that built upon each version of a key: one at most.
    upon: RefCell<BTreeMap<(String, u64), u64>>,
    /// What was written at each version.
    values: RefCell<BTreeMap<(String, u64), Bytes>>,
    done: Cell<u32>,
    reads: Cell<u32>,
}

impl Seen {
    fn floor(&self, key: &str) -> u64 {
        self.newest.borrow().get(key).copied().unwrap_or_default()
    }

    fn raise(&self, key: &str, version: u64) {
        let mut newest = self.newest.borrow_mut();
        let at = newest.entry(key.to_owned()).or_default();
        *at = version.max(*at);
    }

    async fn look(&self, kv: &Kv, key: &str) -> Option<u64> {
        let floor = self.floor(key);
        let row = kv.get(key).await.ok()?;
        let version = row.as_ref().map_or(0, |row| row.version);
        assert!(version >= floor, "{key}: read version {version} after {floor} was seen");
        if let Some(row) = row {
            let known = self.values.borrow().get(&(key.to_owned(), version)).cloned();
            assert!(known.is_none_or(|value| value == row.value), "{key} {version}: another value");
        }
        self.raise(key, version);
        self.reads.set(self.reads.get() + 1);
        Some(version)
    }

    async fn write(&self, kv: &Kv, key: &str, upon: u64, value: String) {
        let floor = self.floor(key);
        let expect = if upon == 0 { Expect::Absent } else { Expect::Version(upon) };
        let Ok(Committed::Done(version)) = kv.commit(put(key, &value, Some(expect))).await else {
            return;
        };
        assert!(version > floor, "{key}: wrote version {version} after {floor} was seen");
        let before = self.upon.borrow_mut().insert((key.to_owned(), upon), version);
        assert_eq!(before, None, "{key}: two commits upon version {upon}");
        self.values.borrow_mut().insert((key.to_owned(), version), value.into());
        self.raise(key, version);
        self.done.set(self.done.get() + 1);
    }
}

/// Asks until it is told to stop.
async fn ask_on(env: Env, kv: Kv, seen: Rc<Seen>, stop: Rc<Cell<bool>>, asker: u32) {
    let mut rng = env.rng(&format!("asker {asker}"));
    let mut n = 0;
    while !stop.get() {
        env.sleep(Duration::from_millis(rng.below(40) as u64)).await;
        let key = format!("row/{}", rng.below(3));
        if let Some(version) = seen.look(&kv, &key).await {
            n += 1;
            seen.write(&kv, &key, version, format!("{asker}/{n}")).await;
        }
    }
}

/// One thing goes wrong, and is put right again.
fn go_wrong(trio: &Rc<Trio>, rng: &mut Rng) {
    let victim = NAMES[rng.below(3)];
    let span = rng.between(0.05, 1.5);
    match rng.below(5) {
        0 => {
            trio.kill(victim);
            trio.pass(span);
            trio.boot(victim);
        }
        1 => {
            trio.isolate(&victim.into());
            trio.pass(span);
            trio.rejoin(&victim.into());
        }
        2 => {
            // One way only: it hears, and is not heard.
            for other in NAMES.iter().filter(|other| **other != victim) {
                let way = Direction::There;
                trio.sim.impair_way(&victim.into(), &(*other).into(), way, LinkFault::BLACK_HOLE);
            }
            trio.pass(span);
            trio.rejoin(&victim.into());
        }
        3 => {
            trio.fill(&victim.into(), true);
            trio.pass(span);
            trio.fill(&victim.into(), false);
        }
        _ => {
            for name in NAMES {
                trio.kill(name);
            }
            trio.pass(0.2);
            for name in NAMES {
                trio.boot(name);
            }
        }
    }
    trio.pass(rng.between(0.2, 1.5));
}

fn weather(day: u32) -> (u32, u32, u64) {
    let trio = Trio::new(&format!("storm {day}"));
    let (seen, stop) = (Rc::new(Seen::default()), Rc::new(Cell::new(false)));
    for asker in 0..4 {
        let (env, kv) = (trio.asker.clone(), Kv::new(trio.kv.rpc()));
        let work = ask_on(env.clone(), kv, Rc::clone(&seen), Rc::clone(&stop), asker);
        env.spawn(work);
    }
    let mut rng = Rng::from_seed(&format!("what goes wrong {day}"));
    for _ in 0..8 {
        go_wrong(&trio, &mut rng);
    }
    stop.set(true);
    trio.pass(5.0);
    for key in 0..3 {
        let version = trio.run(seen.look(&trio.kv, &format!("row/{key}")));
        assert!(version.is_some(), "it answers when all is well");
    }
    (seen.done.get(), seen.reads.get(), trio.sim.trace_hash())
}

#[test]
fn a_leader_without_room_acknowledges_nothing_and_gives_way_to_one_with_room() {
    let trio = Trio::new("full leader");
    let first = trio.leader().unwrap();
    assert!(matches!(trio.put("job/1", "one"), Ok(Committed::Done(_))));
    trio.fill(&first, true);
    // Taken by the leader before it noticed, or by the one after it: acknowledged or unknown.
    let doubtful = trio.put("job/1", "two");
    trio.pass(2.0);
    let second = trio.leader().unwrap();
    assert_ne!(second, first, "{doubtful:?}");
    let Ok(Committed::Done(version)) = trio.put("job/1", "three") else { panic!() };
    trio.fill(&first, false);
    trio.pass(2.0);
    // It has caught up: with it and one other there is a majority again.
    trio.kill(second.as_str());
    trio.pass(2.0);
    let row = trio.run(trio.kv.get("job/1")).unwrap().unwrap();
    assert_eq!((row.version, &row.value[..]), (version, &b"three"[..]));
    assert!(matches!(trio.put("job/1", "four"), Ok(Committed::Done(_))));
}

#[test]
fn where_no_disk_has_room_nothing_is_acknowledged_until_one_more_than_half_have() {
    let trio = Trio::new("all full");
    let all = names();
    assert!(matches!(trio.put("job/1", "one"), Ok(Committed::Done(_))));
    for name in &all {
        trio.fill(name, true);
    }
    for n in 0..5 {
        assert!(trio.put("job/1", &format!("lost {n}")).is_err());
    }
    assert_eq!(trio.leader(), None);
    all[1..].iter().for_each(|name| trio.fill(name, false));
    trio.pass(3.0);
    assert!(matches!(trio.put("job/1", "two"), Ok(Committed::Done(_))));
    assert_eq!(trio.get("job/1").unwrap(), "two");
}

#[test]
fn in_any_storm_reads_and_writes_stay_linearizable() {
    for seed in 0..20 {
        let (done, reads, _) = weather(seed);
        assert!(done > 50 && reads > 50, "seed {seed}: {done} commits, {reads} reads");
    }
}

#[test]
fn the_same_storm_is_the_same_twice() {
    assert_eq!(weather(7), weather(7));
}
