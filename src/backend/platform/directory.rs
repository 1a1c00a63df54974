//! Who serves what, as this node knows it: fed by discovery, read by every call. Holds no links and
//! calls nobody.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use super::quick::QuickMap;
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
    /// What it serves, like `core/job`; sorted.
    pub services: Vec<String>,
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
}

/// Who serves one service: those in our own AZ first.
#[derive(Default)]
struct Route {
    near: Vec<NodeName>,
    far: Vec<NodeName>,
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
        book.routes.clear();
        for instance in instances {
            let again =
                before.get(&instance.name).is_none_or(|old| instance.incarnation > old.incarnation);
            if again {
                book.suspects.remove(&instance.name);
            }
            for service in &instance.services {
                let route = book.routes.entry(service.clone()).or_default();
                let near = instance.name.az() == self.0.own.az();
                let side = if near { &mut route.near } else { &mut route.far };
                side.push(instance.name.clone());
            }
            book.instances.insert(instance.name.clone(), instance);
        }
        let Book { instances, suspects, .. } = &mut *book;
        suspects.retain(|name, _| instances.contains_key(name));
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

    /// Whom to ask next for `service`: our own AZ first, then the others, each in turn; nobody who
    /// was `tried`, and suspects only when nobody else is left.
    pub fn pick(&self, service: &str, tried: &[NodeName], now: Time) -> Option<NodeName> {
        let book = self.0.book.borrow();
        let route = book.routes.get(service)?;
        let turn = self.0.turn.get();
        self.0.turn.set(turn.wrapping_add(1));
        let mut last_resort = None;
        for side in [&route.near, &route.far] {
            let start = if side.is_empty() { 0 } else { turn % side.len() };
            for name in side[start..].iter().chain(&side[..start]) {
                if tried.contains(name) {
                    continue;
                }
                // Most of the time nobody is suspected: no look-up then.
                let suspected = !book.suspects.is_empty()
                    && book.suspects.get(name).is_some_and(|until| *until > now);
                if !suspected {
                    return Some(name.clone());
                }
                last_resort = last_resort.or(Some(name));
            }
        }
        last_resort.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn instance(name: &str, incarnation: u32) -> Instance {
        Instance { name: name.into(), incarnation, services: vec!["core/job".into()] }
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
}
