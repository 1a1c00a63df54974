//! Discovery: every instance tells each replica twice a second that it lives, and learns in the
//! answer who else does. Replicas share nothing; each instance merges what they say.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    config::Live,
    directory::{Directory, Instance},
    meddler::Meddler,
    rpc::{Code, Policy, Router, Rpc, RpcError, refuse},
};
use crate::{
    backend::wire::platform as wire,
    base::{name::NodeName, time::Time},
    world::Env,
};

/// The path of a heartbeat.
pub const BEAT: &str = "/platform/discovery/beat";
/// How often an instance tells each replica that it lives.
pub const BEAT_EVERY: Duration = Duration::from_millis(500);
/// An instance unheard for so long is removed; a replica unheard for so long is not believed.
pub const REMOVE_AFTER: Duration = Duration::from_secs(2);
/// Instances that a replica lists at most.
pub const INSTANCES_MAX: usize = 1_024;

/// Beats without an answer from anybody, some fifteen seconds of them, after which an instance ends.
/// They are counted, not the time: one that was stopped for a while is given a chance.
pub const UNHEARD_BEATS: u32 = 30;

const BEAT_POLICY: Policy = Policy {
    deadline: Duration::from_millis(450),
    attempt: Duration::from_millis(450),
    idempotent: true,
};

/// One replica of the service: who was heard of lately.
#[derive(Clone)]
pub struct Replica {
    heard: Rc<RefCell<Heard>>,
    /// The version of the config that this node knows.
    config: Rc<Cell<u64>>,
}

struct Heard {
    since: Time,
    version: u64,
    instances: BTreeMap<NodeName, (Instance, Time)>,
}

impl Replica {
    /// A replica that starts at `now` and has heard of nobody. The versions of its next life are
    /// others.
    pub fn new(now: Time, incarnation: u32) -> Self {
        let version = (u64::from(incarnation) + 1) << 32;
        let heard = Heard { since: now, version, instances: BTreeMap::new() };
        Self { heard: Rc::new(RefCell::new(heard)), config: Rc::default() }
    }

    /// Tells everybody the version of the config that `config` holds.
    #[must_use]
    pub fn telling(self, config: Rc<Cell<u64>>) -> Self {
        Self { config, ..self }
    }

    /// Serves heartbeats.
    pub fn mount(&self, env: &Env, router: &mut Router) {
        let (this, env) = (self.clone(), env.clone());
        router.on_sync(BEAT, move |beat: wire::Heartbeat| this.beat(beat, env.now()));
    }

    /// Notes a heartbeat at `now` and answers with the directory.
    pub fn beat(&self, beat: wire::Heartbeat, now: Time) -> Result<wire::Directory, RpcError> {
        let mut heard = self.heard.borrow_mut();
        heard.sweep(now);
        let told = beat.instance.ok_or_else(|| refuse(Code::Invalid, "no instance"))?;
        if beat.leaving {
            heard.forget(&told);
        } else if beat.brief {
            if !heard.again(&told, now) {
                return Ok(wire::Directory { tell_more: true, ..wire::Directory::default() });
            }
        } else {
            heard.note(of_wire(told), now)?;
        }
        let same = beat.known_version == heard.version;
        let listed = heard.instances.values().filter(|_| !same);
        Ok(wire::Directory {
            version: heard.version,
            same,
            instances: listed.map(|(instance, _)| to_wire(instance)).collect(),
            complete: now.since(heard.since) >= REMOVE_AFTER,
            tell_more: false,
            config_version: self.config.get(),
        })
    }
}

impl Heard {
    fn sweep(&mut self, now: Time) {
        let before = self.instances.len();
        self.instances.retain(|_, (_, at)| now.since(*at) < REMOVE_AFTER);
        self.version += u64::from(self.instances.len() != before);
    }

    /// Notes a word from an instance that is known; false when it is not.
    fn again(&mut self, told: &wire::Instance, now: Time) -> bool {
        match self.instances.get_mut(&NodeName::from(told.name.as_str())) {
            Some((known, at)) if known.incarnation == told.incarnation => {
                *at = now;
                true
            }
            // An earlier life has nothing to add.
            Some((known, _)) => known.incarnation > told.incarnation,
            None => false,
        }
    }

    /// An instance wants to be found no more; an earlier life of it has nothing to say.
    fn forget(&mut self, told: &wire::Instance) {
        let name = NodeName::from(told.name.as_str());
        let known = self.instances.get(&name);
        if known.is_some_and(|(known, _)| known.incarnation <= told.incarnation) {
            self.instances.remove(&name);
            self.version += 1;
        }
    }

    fn note(&mut self, instance: Instance, now: Time) -> Result<(), RpcError> {
        let full = self.instances.len() >= INSTANCES_MAX;
        match self.instances.get_mut(&instance.name) {
            // A word from an earlier life that was long on its way.
            Some((known, _)) if known.incarnation > instance.incarnation => {}
            Some((known, at)) => {
                *at = now;
                if *known != instance {
                    *known = instance;
                    self.version += 1;
                }
            }
            None if full => return Err(refuse(Code::Conflict, "too many instances")),
            None => {
                self.instances.insert(instance.name.clone(), (instance, now));
                self.version += 1;
            }
        }
        Ok(())
    }
}

/// An instance as it travels.
pub(super) fn to_wire(instance: &Instance) -> wire::Instance {
    wire::Instance {
        name: instance.name.as_str().to_owned(),
        incarnation: instance.incarnation,
        services: instance.services.clone(),
        version: instance.version,
        host: instance.host.clone(),
    }
}

fn of_wire(told: wire::Instance) -> Instance {
    let wire::Instance { name, incarnation, services, version, host } = told;
    Instance { name: NodeName::from(name.as_str()), incarnation, version, host, services }
}

/// What one replica said last.
#[derive(Default)]
struct Said {
    version: u64,
    at: Time,
    /// It was said lately, when that was looked at last.
    fresh: bool,
    complete: bool,
    instances: Vec<Instance>,
}

/// An instance's side: tells every replica that it lives, and keeps the directory current.
#[derive(Clone)]
pub struct Registrar(Rc<Inner>);

struct Inner {
    env: Env,
    rpc: Rpc,
    directory: Directory,
    own: Instance,
    said: RefCell<BTreeMap<NodeName, Said>>,
    registered: Cell<bool>,
    /// Is told which version of the config there is.
    live: Option<Live>,
    /// May want this instance to leave, or to be of another version.
    meddler: Option<Meddler>,
    /// How often each replica gave no answer since it gave one.
    missed: RefCell<BTreeMap<NodeName, u32>>,
    unheard: Notify,
}

impl Registrar {
    /// The registrar of the instance `own`.
    pub fn new(env: &Env, rpc: &Rpc, directory: &Directory, own: Instance) -> Self {
        Self::telling(env, rpc, directory, own, None, None)
    }

    /// The same; `live` hears of each new version of the config, and `meddler` may want the instance
    /// to leave, or to be of another version.
    pub fn telling(
        env: &Env,
        rpc: &Rpc,
        directory: &Directory,
        own: Instance,
        live: Option<Live>,
        meddler: Option<Meddler>,
    ) -> Self {
        Self(Rc::new(Inner {
            live,
            meddler,
            missed: RefCell::default(),
            unheard: Notify::new(),
            env: env.clone(),
            rpc: rpc.clone(),
            directory: directory.clone(),
            own,
            said: RefCell::default(),
            registered: Cell::new(false),
        }))
    }

    /// Ends when no replica has answered any of the last [`UNHEARD_BEATS`]: nobody finds this
    /// instance any more, and it may have missed anything. A replica on this very node always
    /// answers.
    pub async fn unheard(&self) {
        self.0.unheard.notified().await;
    }

    /// True once a replica has noted this instance.
    pub fn registered(&self) -> bool {
        self.0.registered.get()
    }

    /// Starts to tell each of `replicas`, for ever. A replica on this very node is told without a
    /// link.
    pub fn start(&self, replicas: &[NodeName], here: Option<&Replica>) {
        for replica in replicas {
            let here = here.filter(|_| *replica == *self.0.env.name()).cloned();
            let (this, replica) = (self.clone(), replica.clone());
            self.0.env.spawn(async move { this.keep_telling(&replica, here.as_ref()).await });
        }
    }

    async fn keep_telling(&self, replica: &NodeName, here: Option<&Replica>) {
        let env = &self.0.env;
        // The first beat goes at once; after it the beats of many instances spread out.
        let mut spread = env.rng("discovery").fork(replica.as_str());
        let mut next = env.now() + BEAT_EVERY.mul_f64(spread.between(0.5, 1.0));
        let full = to_wire(&self.0.own);
        let brief = wire::Instance {
            name: full.name.clone(),
            incarnation: full.incarnation,
            ..wire::Instance::default()
        };
        let mut beats = [(full, false), (brief, true)].map(|(instance, brief)| wire::Heartbeat {
            instance: Some(instance),
            known_version: 0,
            brief,
            leaving: false,
        });
        // The version as which it is known there.
        let mut introduced = None;
        loop {
            let meddler = self.0.meddler.as_ref();
            let version = meddler.and_then(Meddler::as_version).unwrap_or(self.0.own.version);
            let beat = &mut beats[usize::from(introduced == Some(version))];
            if let Some(instance) = &mut beat.instance {
                instance.version = version;
            }
            beat.leaving = meddler.is_some_and(Meddler::is_leaving);
            beat.known_version = self.0.said.borrow().get(replica).map_or(0, |said| said.version);
            let answer = match here {
                Some(here) => here.beat(beat.clone(), env.now()),
                None => self.0.rpc.call_at(replica, BEAT, beat, BEAT_POLICY).await,
            };
            let forgotten = answer.as_ref().is_ok_and(|answer| answer.tell_more);
            if introduced.is_some() && forgotten {
                introduced = None;
                continue;
            }
            introduced = answer.is_ok().then_some(version);
            self.note(replica, answer.ok());
            env.sleep_until(next).await;
            next = env.now() + BEAT_EVERY;
        }
    }

    fn miss(&self, replica: &NodeName, heard: bool) {
        let mut missed = self.0.missed.borrow_mut();
        match missed.get_mut(replica) {
            Some(count) => *count = if heard { 0 } else { *count + 1 },
            None => drop(missed.insert(replica.clone(), u32::from(!heard))),
        }
        if !heard && missed.values().all(|count| *count >= UNHEARD_BEATS) {
            self.0.unheard.notify_one();
        }
    }

    fn note(&self, replica: &NodeName, answer: Option<wire::Directory>) {
        let now = self.0.env.now();
        self.miss(replica, answer.is_some());
        let mut said = self.0.said.borrow_mut();
        let mut changed = false;
        if let Some(answer) = answer {
            self.0.registered.set(true);
            if let Some(live) = &self.0.live {
                live.told(answer.config_version);
            }
            let last = said.entry(replica.clone()).or_default();
            changed = !answer.same || last.complete != answer.complete;
            (last.at, last.complete) = (now, answer.complete);
            if !answer.same {
                last.version = answer.version;
                last.instances = answer.instances.into_iter().map(of_wire).collect();
            }
        }
        for said in said.values_mut() {
            let fresh = now.since(said.at) < REMOVE_AFTER;
            changed |= said.fresh != fresh;
            said.fresh = fresh;
        }
        // Nearly always nothing has.
        if changed {
            self.0.directory.replace(believed(&said, &self.0.directory));
        }
    }
}

/// The union of what the replicas said lately, the newest life of each instance. As long as nobody
/// who can have heard of everybody has spoken, what was known before stays.
fn believed(said: &BTreeMap<NodeName, Said>, known: &Directory) -> Vec<Instance> {
    let fresh: Vec<&Said> = said.values().filter(|said| said.fresh).collect();
    let mut union: BTreeMap<NodeName, Instance> = BTreeMap::new();
    let mut add = |instance: &Instance| {
        let newest = union.entry(instance.name.clone()).or_insert_with(|| instance.clone());
        if newest.incarnation < instance.incarnation {
            newest.clone_from(instance);
        }
    };
    if !fresh.iter().any(|said| said.complete) {
        known.instances().iter().for_each(&mut add);
    }
    fresh.iter().flat_map(|said| &said.instances).for_each(&mut add);
    union.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(incarnation: u32, brief: bool) -> wire::Heartbeat {
        let services = if brief { Vec::new() } else { vec![format!("core/v{incarnation}")] };
        let name = "c/core-1".to_owned();
        let instance =
            Some(wire::Instance { name, incarnation, services, version: 1, host: "c-1".into() });
        wire::Heartbeat { instance, brief, ..wire::Heartbeat::default() }
    }

    #[test]
    fn a_brief_word_keeps_a_known_life_and_a_stranger_must_tell_more() {
        let replica = Replica::new(Time::ZERO, 0);
        let at = |seconds: f64| Time::from_secs_f64(seconds);
        assert!(replica.beat(beat(1, true), at(0.0)).unwrap().tell_more);
        let known = replica.beat(beat(1, false), at(0.0)).unwrap();
        assert!(!known.complete, "it has listened for no time yet");
        let again = replica.beat(beat(1, true), at(1.5)).unwrap();
        assert_eq!((again.tell_more, again.version), (false, known.version));
        assert!(replica.beat(beat(1, true), at(3.0)).unwrap().complete, "kept by the word at 1.5");
        assert!(replica.beat(beat(2, true), at(3.0)).unwrap().tell_more, "another life");
        assert!(replica.beat(beat(1, true), at(5.0)).unwrap().tell_more, "forgotten by then");
    }

    #[test]
    fn whoever_leaves_is_listed_no_more_until_it_comes_back() {
        let replica = Replica::new(Time::ZERO, 0);
        let leaving = |incarnation| wire::Heartbeat { leaving: true, ..beat(incarnation, true) };
        let known = replica.beat(beat(2, false), Time::ZERO).unwrap();
        let same = replica.beat(leaving(1), Time::ZERO).unwrap();
        assert_eq!(same.instances, known.instances, "an earlier life has nothing to say");
        let gone = replica.beat(leaving(2), Time::ZERO).unwrap();
        assert!(gone.instances.is_empty() && gone.version != known.version);
        let again = replica.beat(leaving(2), Time::ZERO).unwrap();
        assert_eq!((again.version, again.tell_more), (gone.version, false));
        assert!(replica.beat(beat(2, true), Time::ZERO).unwrap().tell_more, "it is back");
    }

    #[test]
    fn a_word_from_an_earlier_life_changes_nothing() {
        let replica = Replica::new(Time::ZERO, 0);
        let newest = replica.beat(beat(2, false), Time::ZERO).unwrap();
        let after = replica.beat(beat(1, false), Time::ZERO).unwrap();
        assert_eq!(after.instances, newest.instances);
        assert_ne!(
            Replica::new(Time::ZERO, 1).beat(beat(2, false), Time::ZERO).unwrap().version,
            newest.version,
            "a replica's next life has other versions"
        );
    }
}
