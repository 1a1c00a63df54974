//! Whole backends of twelve nodes in the virtual world: discovery, health and storage as a service
//! sees them.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{
    boot::{CityFacts, NodeConfig, Settings, Tariff},
    layout::Layout,
    node::{self, HEALTH},
    platform::{
        config::{self, Live},
        directory::{Directory, Instance},
        discovery::Registrar,
        rpc::{Policy, Rpc},
    },
    product::Product,
    storage::{ACK_BEFORE_WRITE, ROWS_MAX, kv::Kv},
    wire::platform as wire,
};
use crate::{
    base::{name::NodeName, rng::Rng, time::Time},
    world::{
        Env,
        real::{Boot, RealWorld, free_ports, run_local},
        store::{Committed, Expect, Txn},
        virtual_::Sim,
    },
};

/// Our own AZ's first, as whoever is in AZ a sees them.
const STORAGE: [&str; 3] = ["a/storage-1", "b/storage-1", "c/storage-1"];

pub(super) const ASK: Policy = Policy {
    deadline: Duration::from_secs(1),
    attempt: Duration::from_millis(300),
    idempotent: true,
};

fn settings() -> Settings {
    let tariff = Tariff {
        base_minor: 0,
        per_km_minor: 0,
        per_minute_minor: 0,
        minimum_minor: 0,
        no_show_fee_minor: 0,
    };
    let city = CityFacts {
        name: "nowhere".to_owned(),
        zones: Vec::new(),
        boundary: Vec::new(),
        detour: 1.3,
        speed_kmh: vec![30.0; 24],
        tariff,
        clock_start_s: 0.0,
        clock_origin: Time::ZERO,
        time_scale: 1.0,
    };
    Settings {
        offer_ttl: Duration::from_secs(10),
        search_ttl: Duration::from_mins(1),
        offers_at_once: 1,
        token_ttl: Duration::from_mins(10),
        ping_ttl: Duration::from_secs(30),
        reach_m: 5_000.0,
        product: Product::default(),
        city,
    }
}

pub(super) fn node_config(
    name: &NodeName,
    all: &[NodeName],
    incarnation: u32,
    plants: &[String],
) -> NodeConfig {
    NodeConfig {
        machine: Layout::machine(all, name),
        incarnation,
        version: if name.as_str().ends_with("-2") { 2 } else { 1 },
        config: BTreeMap::new(),
        seed: "42".to_owned(),
        nodes: all.to_vec(),
        settings: settings(),
        plants: plants.to_vec(),
        traced: false,
        name: name.clone(),
    }
}

fn three_azs() -> Vec<NodeName> {
    let azs = ["a", "b", "c"].map(str::to_owned);
    Layout::of(&azs, 1, 1, 1, Layout::storage(&azs, "b", 3))
}

/// A backend of twelve nodes, and an observer who knows what a service knows.
pub(super) struct Backend {
    pub(super) sim: Sim,
    pub(super) nodes: Vec<NodeName>,
    plants: Vec<String>,
    pub(super) directory: Directory,
    pub(super) observer: Env,
    pub(super) rpc: Rpc,
    kv: Kv,
    /// Nodes that ended by themselves.
    pub(super) ended: Rc<RefCell<Vec<String>>>,
}

impl Backend {
    fn start(seed: &str, plants: &[&str]) -> Self {
        Self::of(three_azs(), seed, plants)
    }

    /// Of those nodes; whose number is 2 runs version 2. Its observer follows the config.
    pub(super) fn of(nodes: Vec<NodeName>, seed: &str, plants: &[&str]) -> Self {
        let sim = Sim::new(seed);
        let observer = sim.node(&"a/core-9".into());
        let directory = Directory::new(observer.name(), &mut observer.rng("directory"));
        let rpc = Rpc::new(&observer, &directory);
        let plants = plants.iter().map(|&plant| plant.to_owned()).collect();
        let kv = Kv::new(&rpc);
        let this = Self { sim, nodes, plants, directory, observer, rpc, kv, ended: Rc::default() };
        for node in &this.nodes {
            this.boot(node.as_str(), 0);
        }
        let services = vec!["test/observer".to_owned()];
        let own = Instance::new(this.observer.name().clone(), services);
        let told = node_config(&own.name, &this.nodes, 0, &[]);
        let live = Live::new(&Rc::new(told), &this.directory);
        let (env, rpc) = (&this.observer, &this.rpc);
        let registrar =
            Registrar::telling(env, rpc, &this.directory, own, Some(live.clone()), None);
        let (env, rpc) = (env.clone(), rpc.clone());
        this.observer.spawn(async move {
            loop {
                live.outdated().await;
                config::fetch(&env, &rpc, &live).await.unwrap();
            }
        });
        registrar.start(&["a/core-1", "b/core-1", "c/core-1"].map(NodeName::from), None);
        this
    }

    pub(super) fn boot(&self, name: &str, incarnation: u32) {
        let name = NodeName::from(name);
        let config = node_config(&name, &self.nodes, incarnation, &self.plants);
        let env = self.sim.node(&name);
        let ended = Rc::clone(&self.ended);
        let serving = node::serve(env.clone(), config);
        env.spawn(async move {
            serving.await;
            ended.borrow_mut().push(name.to_string());
        });
    }

    pub(super) fn kill(&self, name: &str) {
        assert!(self.sim.kill(&name.into()), "{name} lived");
    }

    pub(super) fn pass(&self, seconds: f64) {
        let span = Duration::from_secs_f64(seconds);
        self.sim.run_until(self.sim.now() + span).unwrap();
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.directory.instances().iter().any(|instance| instance.name.as_str() == name)
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.sim.run(work).unwrap()
    }

    async fn put(&self, key: &str, value: &str, expect: Expect) -> Committed {
        let txn = Txn {
            expects: vec![(key.to_owned(), expect)],
            writes: vec![(key.to_owned(), Some(Bytes::from(value.to_owned())))],
        };
        self.kv.commit(txn).await.unwrap()
    }
}

#[test]
fn twelve_nodes_find_one_another_and_become_ready() {
    let backend = Backend::start("ready", &[]);
    backend.pass(2.0);
    assert_eq!(backend.directory.instances().len(), 13);
    assert_eq!(backend.directory.serving("storage/kv"), STORAGE.map(NodeName::from));
    let operator = node::client(backend.sim.node(&"operator".into()), backend.nodes.clone());
    backend.run(async {
        for name in &backend.nodes {
            let health: wire::Health =
                operator.call_at(name, HEALTH, &wire::HealthAsk::default(), ASK).await.unwrap();
            assert!(health.ready, "{name}: {}", health.why);
        }
        let ask = Request::get("/health").body(Bytes::new()).unwrap();
        let answer = backend.observer.http(&"c/api-1".into(), ask).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    });
    assert_eq!(backend.directory.instances().len(), 13, "an operator does not register");
}

#[test]
fn core_is_not_ready_before_storage_has_answered() {
    let backend = Backend::start("unready", &[]);
    for name in STORAGE {
        backend.kill(name);
    }
    backend.pass(2.0);
    let health = |name: &'static str| {
        let rpc = backend.rpc.clone();
        async move {
            let ask = wire::HealthAsk::default();
            rpc.call_at::<_, wire::Health>(&name.into(), HEALTH, &ask, ASK).await.unwrap().ready
        }
    };
    assert!(!backend.run(health("a/core-1")) && backend.run(health("a/api-1")));
    backend.boot("b/storage-1", 1);
    backend.pass(2.0);
    assert!(!backend.run(health("a/core-1")), "one of three is no majority");
    backend.boot("c/storage-1", 1);
    backend.pass(2.0);
    assert!(backend.run(health("a/core-1")));
}

#[test]
fn a_dead_instance_is_removed_within_three_seconds_and_comes_back_by_itself() {
    let backend = Backend::start("removal", &[]);
    backend.pass(5.0);
    for (dead, life) in [("c/core-1", 1), ("a/orchestration-1", 1), ("c/core-1", 2)] {
        assert!(backend.knows(dead));
        backend.kill(dead);
        backend.pass(3.0);
        assert!(!backend.knows(dead), "{dead} is gone");
        assert_eq!(backend.directory.instances().len(), 12, "and nobody else");
        backend.boot(dead, life);
        backend.pass(1.0);
        assert!(backend.knows(dead), "{dead} is back");
    }
}

#[test]
fn without_any_replica_the_last_directory_stays_and_then_heals() {
    let backend = Backend::start("blind", &[]);
    backend.pass(5.0);
    let cores = ["a/core-1", "b/core-1", "c/core-1"];
    for name in cores {
        backend.kill(name);
    }
    backend.pass(10.0);
    assert_eq!(backend.directory.instances().len(), 13, "better than nothing");
    backend.kill("c/api-1");
    for name in cores {
        backend.boot(name, 1);
    }
    backend.pass(0.2);
    assert!(backend.knows("b/orchestration-1"), "young replicas have not heard of everybody yet");
    backend.pass(3.0);
    assert!(!backend.knows("c/api-1"));
    assert_eq!(backend.directory.instances().len(), 12);
    assert!(backend.directory.instances().iter().filter(|i| i.incarnation == 1).count() == 3);
}

#[test]
fn rows_are_committed_compared_and_read_back() {
    let backend = Backend::start("rows", &[]);
    backend.pass(1.0);
    backend.run(async {
        let Committed::Done(version) = backend.put("job/1", "one", Expect::Absent).await else {
            panic!("nothing was there");
        };
        let conflict = Committed::Conflict("job/1".to_owned());
        assert_eq!(backend.put("job/1", "two", Expect::Absent).await, conflict);
        assert_eq!(backend.put("job/1", "two", Expect::Version(version + 1)).await, conflict);
        let done = backend.put("job/1", "two", Expect::Version(version)).await;
        assert!(matches!(done, Committed::Done(_)));
        backend.put("job/3", "", Expect::Absent).await;
        let keys = ["job/3", "job/2", "job/1", "job/1"].map(str::to_owned);
        let rows = backend.kv.get_many(&keys).await.unwrap();
        let values: Vec<_> = rows.iter().map(|row| row.as_ref().map(|r| &r.value[..])).collect();
        assert_eq!(values, [Some(&b""[..]), None, Some(&b"two"[..]), Some(&b"two"[..])]);
        let delete = Txn { expects: Vec::new(), writes: vec![("job/3".to_owned(), None)] };
        backend.kv.commit(delete).await.unwrap();
        assert_eq!(backend.kv.get("job/3").await.unwrap(), None);
    });
}

#[test]
fn a_scan_longer_than_an_answer_is_read_page_by_page() {
    let backend = Backend::start("scan", &[]);
    backend.pass(1.0);
    let rows = ROWS_MAX + 100;
    let writes = (0..rows).map(|n| (format!("row/{n:06}"), Some(Bytes::from_static(b"x"))));
    let txn = Txn { expects: Vec::new(), writes: writes.collect() };
    backend.run(async {
        backend.kv.commit(txn).await.unwrap();
        backend.put("rox", "after", Expect::Absent).await;
        let found = backend.kv.scan_prefix("row/", 1_000_000).await.unwrap();
        assert_eq!(found.len(), rows);
        assert!(found.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert_eq!(backend.kv.scan_prefix("row/", 7).await.unwrap().len(), 7);
        assert_eq!(backend.kv.scan("row/000010", "row/000012", 10).await.unwrap().len(), 2);
    });
}

/// How many of ten acknowledged commits are there after storage was killed in the same moment.
fn survivors(seed: usize, plants: &[&str]) -> usize {
    let backend = Backend::start(&format!("kill {seed}"), plants);
    backend.pass(1.0);
    backend.run(async {
        for n in 0..10 {
            let done = backend.put(&format!("row/{n}"), "x", Expect::Absent).await;
            assert!(matches!(done, Committed::Done(_)));
        }
    });
    backend.kill("b/storage-1");
    backend.pass(1.0);
    backend.boot("b/storage-1", 1);
    backend.pass(1.0);
    backend.run(backend.kv.scan_prefix("row/", 100)).unwrap().len()
}

#[test]
fn what_storage_acknowledged_survives_its_death_unless_the_bug_is_planted() {
    let lost = |plants: &[&str]| (0..5).map(|seed| 10 - survivors(seed, plants)).sum::<usize>();
    assert_eq!(lost(&[]), 0);
    assert!(lost(&[ACK_BEFORE_WRITE]) > 0);
}

#[test]
fn the_same_seed_is_the_same_history() {
    let hash = || {
        let backend = Backend::start("twice", &[]);
        backend.pass(3.0);
        backend.kill("c/core-1");
        backend.pass(3.0);
        (backend.sim.trace_hash(), Rc::new(backend.sim.events()))
    };
    assert_eq!(hash(), hash());
}

/// The worlds of twelve real nodes on loopback, and that of an observer among them.
fn real_envs(nodes: &[NodeName], data: &Path) -> Vec<Env> {
    let ports = free_ports(2 * nodes.len() + 2).unwrap();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let observer = NodeName::from("a/core-9");
    let all: Vec<NodeName> = nodes.iter().cloned().chain([observer]).collect();
    let pairs = || all.iter().cloned().zip(ports.chunks(2));
    let dial: BTreeMap<_, _> = pairs().map(|(name, ports)| (name, at(ports[0]))).collect();
    let dial_http: BTreeMap<_, _> = pairs().map(|(name, ports)| (name, at(ports[1]))).collect();
    #[expect(clippy::disallowed_methods, reason = "the origin of a run in the real world")]
    let origin = std::time::Instant::now();
    let env = |(name, ports): (NodeName, &[u16])| {
        let boot = Boot {
            listen: Some(at(ports[0])),
            http: Some(at(ports[1])),
            dial: dial.clone(),
            dial_http: dial_http.clone(),
            data: data.join(name.as_str()),
            ..Boot::default()
        };
        Env::new(name.clone(), &Rng::from_seed("42"), RealWorld::new(name, boot, origin))
    };
    pairs().map(env).collect()
}

#[test]
fn the_same_nodes_serve_in_the_real_world() {
    let (nodes, data) = (three_azs(), tempfile::tempdir().unwrap());
    let value = run_local(async {
        let envs = real_envs(&nodes, data.path());
        for env in &envs[..nodes.len()] {
            env.spawn(node::serve(env.clone(), node_config(env.name(), &nodes, 0, &[])));
        }
        let observer = &envs[nodes.len()];
        let operator = node::client(observer.clone(), nodes.clone());
        for name in &nodes {
            let ready = async {
                let ask = wire::HealthAsk::default();
                while !operator
                    .call_at::<_, wire::Health>(name, HEALTH, &ask, ASK)
                    .await
                    .is_ok_and(|health| health.ready)
                {
                    observer.sleep(Duration::from_millis(5)).await;
                }
            };
            observer.timeout(Duration::from_secs(30), ready).await.expect("it becomes ready");
        }
        let directory = Directory::new(observer.name(), &mut observer.rng("directory"));
        let services = || vec!["storage/kv".to_owned()];
        directory.replace(STORAGE.map(|name| Instance::new(name.into(), services())));
        let kv = Kv::new(&Rpc::new(observer, &directory));
        let writes = vec![("row".to_owned(), Some(Bytes::from_static(b"kept")))];
        kv.commit(Txn { expects: vec![("row".to_owned(), Expect::Absent)], writes }).await.unwrap();
        kv.get("row").await.unwrap().unwrap().value
    });
    assert_eq!(value.unwrap(), "kept");
}
