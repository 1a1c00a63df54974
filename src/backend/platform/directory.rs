//! Who serves what, as this node knows it: fed by discovery and by the binding's rules, read by every
//! call. Holds no links and calls nobody.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use super::{
    binding::{Rules, Shares},
    quick::QuickMap,
};
use crate::base::{name::NodeName, rng::Rng, time::Time};

/// How long an instance is passed over after a dial to it failed or its link broke.
pub const SUSPECT_FOR: Duration = Duration::from_secs(1);

/// A running instance, as discovery tells of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Its node.
    pub name: NodeName,
    /// How often the node was started before.
    pub incarnation: u32,
    /// Of the code that it runs; from 1.
    pub version: u32,
    /// The machine that it runs on, like `a-1`.
    pub host: String,
    /// What it serves, like `core/job`; sorted.
    pub services: Vec<String>,
}

impl Instance {
    /// An instance of the first version, in its first life.
    pub fn new(name: NodeName, services: Vec<String>) -> Self {
        let host = machine_of(&name);
        Self { name, incarnation: 0, version: 1, host, services }
    }
}

/// The machine that a node runs on: all nodes of one AZ with one number share one, so that
/// `a/core-1` and `a/api-1` both run on `a-1`.
pub fn machine_of(name: &NodeName) -> String {
    let number = name.as_str().rsplit_once('-').map_or("", |(_, number)| number);
    format!("{}-{number}", name.az())
}

/// The service of a path: `core/job` of `/core/job/accept`.
pub fn service_of(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.rsplit_once('/').map_or(path, |(service, _)| service)
}

/// The known instances; a cheap handle.
#[derive(Clone)]
pub struct Directory(Rc<Inner>);

struct Inner {
    own: NodeName,
    book: RefCell<Book>,
    /// Where the next rotation starts; seeded, so that nodes do not all begin with the same one.
    turn: Cell<usize>,
}

#[derive(Default)]
struct Book {
    instances: BTreeMap<NodeName, Instance>,
    // Looked up on every call, never walked.
    routes: QuickMap<String, Route>,
    suspects: BTreeMap<NodeName, Time>,
    rules: Rules,
}

/// Who serves one service: those in our own AZ first.
#[derive(Default)]
struct Route {
    near: Vec<NodeName>,
    far: Vec<NodeName>,
    /// What the rules make of that, where they say anything.
    bound: Option<Box<Bound>>,
}

/// Whom the rules let us ask.
struct Bound {
    near: Vec<NodeName>,
    far: Vec<NodeName>,
    shares: Option<Shares>,
}

impl Book {
    /// Lists anew who serves what, and whom of them we ask.
    fn rebuild(&mut self, own: &NodeName, turn: usize) {
        let Self { instances, routes, rules, .. } = self;
        routes.clear();
        let near = |instance: &Instance| instance.name.az() == own.az();
        for instance in instances.values() {
            for service in &instance.services {
                let route = routes.entry(service.clone()).or_default();
                let side = if near(instance) { &mut route.near } else { &mut route.far };
                side.push(instance.name.clone());
            }
        }
        if rules.is_empty() {
            return;
        }
        let services: BTreeSet<&String> = instances.values().flat_map(|i| &i.services).collect();
        for service in services {
            let serving = instances.values().filter(|one| one.services.contains(service));
            let (kept, mut shares) = rules.bind(service, &serving.collect::<Vec<_>>());
            let mut bound = Bound { near: Vec::new(), far: Vec::new(), shares: None };
            for instance in kept {
                let name = &instance.name;
                if let Some(side) = shares.as_mut().and_then(|s| s.side_of(instance.version)) {
                    if near(instance) { &mut side.near } else { &mut side.far }.push(name.clone());
                }
                if near(instance) { &mut bound.near } else { &mut bound.far }.push(name.clone());
            }
            if let Some(shares) = &shares {
                shares.start_at(turn);
            }
            bound.shares = shares;
            if let Some(route) = routes.get_mut(service) {
                route.bound = Some(Box::new(bound));
            }
        }
    }

    /// The first of those who are not `tried`, each side from its `turn` on; a suspect only goes
    /// into `last_resort`.
    fn choose<'a>(
        &self,
        sides: [&'a Vec<NodeName>; 2],
        (turn, tried, now): (usize, &[NodeName], Time),
        last_resort: &mut Option<&'a NodeName>,
    ) -> Option<&'a NodeName> {
        for side in sides {
            let start = if side.is_empty() { 0 } else { turn % side.len() };
            for name in side[start..].iter().chain(&side[..start]) {
                if tried.contains(name) {
                    continue;
                }
                // Most of the time nobody is suspected: no look-up then.
                let suspected = !self.suspects.is_empty()
                    && self.suspects.get(name).is_some_and(|until| *until > now);
                if !suspected {
                    return Some(name);
                }
                *last_resort = last_resort.or(Some(name));
            }
        }
        None
    }
}

impl Directory {
    /// An empty directory of the node `own`.
    pub fn new(own: &NodeName, rng: &mut Rng) -> Self {
        let turn = Cell::new(rng.below(1 << 16));
        Self(Rc::new(Inner { own: own.clone(), book: RefCell::default(), turn }))
    }

    /// Replaces what is known. An instance that started again is suspected no more.
    pub fn replace(&self, instances: impl IntoIterator<Item = Instance>) {
        let mut book = self.0.book.borrow_mut();
        let before = std::mem::take(&mut book.instances);
        for instance in instances {
            let again =
                before.get(&instance.name).is_none_or(|old| instance.incarnation > old.incarnation);
            if again {
                book.suspects.remove(&instance.name);
            }
            book.instances.insert(instance.name.clone(), instance);
        }
        let Book { instances, suspects, .. } = &mut *book;
        suspects.retain(|name, _| instances.contains_key(name));
        book.rebuild(&self.0.own, self.0.turn.get());
    }

    /// Replaces the rules of whom to ask: the next call keeps them.
    pub fn bind(&self, rules: Rules) {
        let mut book = self.0.book.borrow_mut();
        if book.rules != rules {
            book.rules = rules;
            book.rebuild(&self.0.own, self.0.turn.get());
        }
    }

    /// Every known instance, by name.
    pub fn instances(&self) -> Vec<Instance> {
        self.0.book.borrow().instances.values().cloned().collect()
    }

    /// Those that serve `service`, own AZ first.
    pub fn serving(&self, service: &str) -> Vec<NodeName> {
        let book = self.0.book.borrow();
        let Some(route) = book.routes.get(service) else { return Vec::new() };
        route.near.iter().chain(&route.far).cloned().collect()
    }

    /// Passes `name` over until [`SUSPECT_FOR`] has gone by, unless nobody else serves.
    pub fn suspect(&self, name: &NodeName, now: Time) {
        let mut book = self.0.book.borrow_mut();
        if book.instances.contains_key(name) {
            book.suspects.insert(name.clone(), now + SUSPECT_FOR);
        }
    }

    /// Somebody who does not serve `service`, each in turn: where a name that is wrong leads to.
    pub fn stranger(&self, service: &str) -> Option<NodeName> {
        let book = self.0.book.borrow();
        let serves = |one: &Instance| one.services.iter().any(|served| served == service);
        let strangers: Vec<_> =
            book.instances.values().filter(|one| one.name != self.0.own && !serves(one)).collect();
        let turn = self.0.turn.get();
        self.0.turn.set(turn.wrapping_add(1));
        Some(strangers.get(turn.checked_rem(strangers.len())?)?.name.clone())
    }

    /// Whom to ask next for `service`, among those whom the rules name: our own AZ first, then the
    /// others, each in turn; nobody who was `tried`, and suspects only when nobody else is left.
    pub fn pick(&self, service: &str, tried: &[NodeName], now: Time) -> Option<NodeName> {
        let book = self.0.book.borrow();
        let route = book.routes.get(service)?;
        let turn = self.0.turn.get();
        self.0.turn.set(turn.wrapping_add(1));
        let (mut last_resort, how) = (None, (turn, tried, now));
        let found = match &route.bound {
            None => book.choose([&route.near, &route.far], how, &mut last_resort),
            Some(bound) => match &bound.shares {
                None => book.choose([&bound.near, &bound.far], how, &mut last_resort),
                Some(shares) => shares
                    .draw(now)
                    .find_map(|s| book.choose([&s.near, &s.far], how, &mut last_resort)),
            },
        };
        found.or(last_resort).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::*;

    fn instance(name: &str, incarnation: u32) -> Instance {
        Instance { incarnation, ..Instance::new(name.into(), vec!["core/job".into()]) }
    }

    fn directory() -> Directory {
        let this = Directory::new(&"a/api-1".into(), &mut Rng::from_seed("directory"));
        this.replace(["a/core-1", "b/core-1", "c/core-1"].map(|name| instance(name, 0)));
        this
    }

    #[test]
    fn services_are_the_first_part_of_paths() {
        assert_eq!(service_of("/core/job/accept"), "core/job");
        assert_eq!(service_of("/storage/kv/get"), "storage/kv");
    }

    #[test]
    fn our_own_az_comes_first_then_the_others_in_turn() {
        let directory = directory();
        let own = NodeName::from("a/core-1");
        let pick = |tried: &[NodeName]| directory.pick("core/job", tried, Time::ZERO);
        assert_eq!(pick(&[]).unwrap(), own);
        assert_eq!(pick(&[]).unwrap(), own);
        let (one, two) = (pick(from_ref(&own)).unwrap(), pick(from_ref(&own)).unwrap());
        assert_ne!(one, two, "the others share the load");
        assert_eq!(pick(&[own, one, two]), None);
        assert_eq!(directory.pick("core/unheard", &[], Time::ZERO), None);
    }

    #[test]
    fn a_suspect_is_passed_over_for_a_while_unless_nobody_else_serves() {
        let directory = directory();
        let (own, now) = (NodeName::from("a/core-1"), Time::ZERO);
        directory.suspect(&own, now);
        assert_ne!(directory.pick("core/job", &[], now).unwrap(), own);
        assert_eq!(directory.pick("core/job", &[], now + SUSPECT_FOR).unwrap(), own);
        directory.replace([instance("a/core-1", 0)]);
        assert_eq!(directory.pick("core/job", &[], now).unwrap(), own, "nobody else");
        directory.replace([instance("a/core-1", 0), instance("b/core-1", 0)]);
        assert_ne!(directory.pick("core/job", &[], now).unwrap(), own, "still suspected");
        directory.replace([instance("a/core-1", 1), instance("b/core-1", 0)]);
        assert_eq!(directory.pick("core/job", &[], now).unwrap(), own, "it started again");
    }

    #[test]
    fn a_stranger_serves_something_else_and_each_has_its_turn() {
        let directory = directory();
        assert_eq!(directory.stranger("core/job"), None, "everybody serves that");
        let other = |name: &str| Instance::new(name.into(), vec!["orchestration/shift".into()]);
        let others = ["a/api-1", "a/orchestration-1", "b/orchestration-1"].map(other);
        directory.replace([vec![instance("a/core-1", 0)], others.to_vec()].concat());
        let found: BTreeSet<_> =
            (0..2).map(|_| directory.stranger("core/job").unwrap().to_string()).collect();
        let others = ["a/orchestration-1", "b/orchestration-1"].map(str::to_owned);
        assert_eq!(found, BTreeSet::from(others), "and never oneself");
    }

    /// Of a hundred picks in the AZ `a`, how many each instance had.
    fn shares(directory: &Directory, now: Time) -> BTreeMap<String, u32> {
        let mut shares = BTreeMap::new();
        for _ in 0..100 {
            let name = directory.pick("core/job", &[], now).unwrap();
            *shares.entry(name.to_string()).or_default() += 1;
        }
        shares
    }

    fn rules(json: &serde_json::Value) -> Rules {
        Rules::parse(json).unwrap()
    }

    #[test]
    fn versions_get_their_shares_wherever_they_run() {
        let directory = directory();
        directory.replace([
            instance("a/core-1", 0),
            Instance { version: 2, ..instance("b/core-1", 0) },
            Instance { version: 3, ..instance("c/core-1", 0) },
        ]);
        let now = Time::ZERO;
        directory.bind(rules(&json!({"core/job": {"versions": {"1": 90, "2": 10, "7": 500}}})));
        let seen = shares(&directory, now);
        assert!((9..=11).contains(&seen["b/core-1"]), "{seen:?}");
        assert_eq!(seen.values().sum::<u32>(), seen["a/core-1"] + seen["b/core-1"]);
        // One version is down: the other has it all, and version 3 still nothing.
        directory.suspect(&"a/core-1".into(), now);
        assert_eq!(shares(&directory, now), BTreeMap::from([("b/core-1".into(), 100)]));
        let tried = ["a/core-1".into(), "b/core-1".into()];
        assert_eq!(directory.pick("core/job", &tried, now), None);
        directory.bind(rules(&json!({"core/job": {"versions": {"9": 1}}})));
        assert_eq!(
            shares(&directory, now + SUSPECT_FOR)["a/core-1"],
            100,
            "nobody is of version 9"
        );
    }

    #[test]
    fn a_roll_out_ends_with_the_next_version() {
        let directory = directory();
        directory
            .replace([instance("a/core-1", 0), Instance { version: 2, ..instance("a/core-2", 0) }]);
        let roll_out = json!({"from": 1, "to": 2, "over_ms": 10_000, "start_ms": 1_000});
        directory.bind(rules(&json!({"core/job": {"roll_out": roll_out}})));
        let second_at =
            |s| shares(&directory, Time::from_secs_f64(s)).get("a/core-2").copied().unwrap_or(0);
        assert_eq!((second_at(0.5), second_at(11.0)), (0, 100));
        assert!((48..=52).contains(&second_at(6.0)));
    }

    #[test]
    fn the_avoided_are_told_news_and_asked_nothing_unless_nobody_else_serves() {
        let directory = directory();
        let now = Time::ZERO;
        directory.bind(rules(&json!({"*": {"avoid": ["a-1"]}, "core/job": {"avoid": ["b/*"]}})));
        assert_eq!(shares(&directory, now), BTreeMap::from([("c/core-1".into(), 100)]));
        assert_eq!(directory.serving("core/job").len(), 3);
        directory.bind(rules(&json!({"core/job": {"avoid": ["*"]}})));
        assert_eq!(shares(&directory, now)["a/core-1"], 100);
        directory.bind(Rules::default());
        assert_eq!(shares(&directory, now)["a/core-1"], 100);
    }
}
