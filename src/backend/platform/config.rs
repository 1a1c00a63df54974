//! Config: JSON by key. [`Documents`] compiles many keys into one answer, later ones over earlier
//! ones; [`Live`] is what a node goes by now, changed while it runs. Who keeps the documents and who
//! fetches them is the business of `core/config` and of the node.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::{
    binding::{self, Rules},
    directory::Directory,
    rpc::{Code, Policy, Rpc, RpcError, refuse},
};
use crate::{
    backend::{
        boot::{NodeConfig, Settings},
        wire::platform as wire,
    },
    base::{name::NodeName, suggest::must_be_one_of, time::Time},
    world::Env,
};

/// What holds for one node.
pub const CURRENT: &str = "/core/config/current";
const FETCH: Policy = Policy {
    deadline: Duration::from_secs(2),
    attempt: Duration::from_millis(900),
    idempotent: true,
};

/// The key whose document changes the settings of nodes.
pub const SETTINGS: &str = "settings";
/// Keys at most, and bytes of all documents together.
pub const KEYS_MAX: usize = 1_024;
/// See [`KEYS_MAX`].
pub const BYTES_MAX: usize = 256 * 1024;
const KEY_LEN_MAX: usize = 128;

/// Puts `over` over `under`: objects are merged key by key, all else is replaced.
pub fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// JSON by key: what the nodes were started with, and what was set since.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    base: BTreeMap<String, Value>,
    set: BTreeMap<String, Value>,
    version: u64,
}

impl Documents {
    /// Nothing was set yet.
    pub fn new(base: BTreeMap<String, Value>) -> Self {
        Self { base, ..Self::default() }
    }

    /// The document at `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.set.get(key).or_else(|| self.base.get(key))
    }

    /// One answer out of `keys`: objects are merged, the later over the earlier; anything else goes
    /// in under its own key. A missing key is an error unless it ends with `?`.
    pub fn compile<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<Map<String, Value>, RpcError> {
        let mut all = Value::Object(Map::new());
        for key in keys {
            let (key, optional) = key.strip_suffix('?').map_or((key, false), |key| (key, true));
            match self.get(key) {
                Some(document @ Value::Object(_)) => merge(&mut all, document),
                Some(other) => merge(&mut all, &json!({ key: other })),
                None if optional => {}
                // No service may go on with a guess.
                None => return Err(refuse(Code::NotFound, format!("no setting {key}"))),
            }
        }
        let Value::Object(all) = all else { return Ok(Map::new()) };
        Ok(all)
    }

    /// What holds for one node, from the general to the special: `key`, `key/core`, `key/a`,
    /// `key/a/core-1`.
    pub fn compile_for(&self, key: &str, node: &NodeName) -> Result<Map<String, Value>, RpcError> {
        let layers = [node.role(), node.az(), node.as_str()].map(|of| format!("{key}/{of}?"));
        let first = format!("{key}?");
        self.compile([first.as_str()].into_iter().chain(layers.iter().map(String::as_str)))
    }

    /// All keys with their documents, and which version they are.
    pub fn all(&self) -> (u64, Map<String, Value>) {
        let mut all: BTreeMap<_, _> = self.base.clone();
        all.extend(self.set.clone());
        (self.version, all.into_iter().collect())
    }

    /// Takes over what was set as of `version`, unless something newer is known.
    pub fn take(&mut self, version: u64, set: BTreeMap<String, Value>) -> bool {
        let newer = version > self.version;
        if newer {
            (self.version, self.set) = (version, set);
        }
        newer
    }
}

/// Checks a document before it is set; `now`-stamped where it begins something.
pub fn check(key: &str, document: Value, now: Time) -> Result<Value, RpcError> {
    let invalid = |why: String| refuse(Code::Invalid, why);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@".contains(c);
    if key.is_empty() || key.len() > KEY_LEN_MAX || !key.chars().all(plain) {
        return Err(invalid(format!(
            "`{key}` is no key: 1 to {KEY_LEN_MAX} letters, digits or - _ . / @"
        )));
    }
    let of =
        |word: &str| key.strip_prefix(word).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    if of(binding::KEY) {
        let mut rules = Rules::parse(&document).map_err(|why| invalid(why.to_string()))?;
        rules.stamp(now);
        return serde_json::to_value(rules).map_err(|why| invalid(why.to_string()));
    }
    if of(SETTINGS) {
        Changes::read(&document).map_err(invalid)?;
    }
    Ok(document)
}

/// What an operator may change of the settings while the nodes run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Changes {
    #[serde(rename = "offer.ttl_ms")]
    offer_ttl_ms: Option<u64>,
    #[serde(rename = "offer.at_once")]
    offers_at_once: Option<u32>,
    #[serde(rename = "search.ttl_ms")]
    search_ttl_ms: Option<u64>,
    #[serde(rename = "search.reach_m")]
    reach_m: Option<f64>,
    #[serde(rename = "token.ttl_ms")]
    token_ttl_ms: Option<u64>,
    /// By service: longer than that no handler of it ought to take.
    expect_ms: BTreeMap<String, u64>,
    /// Over those that the node was started with, by name: see `Product`.
    flags: BTreeMap<String, f64>,
    experiments: BTreeMap<String, Vec<String>>,
    routes: BTreeMap<String, f64>,
}

const CHANGES: [&str; 9] = [
    "offer.ttl_ms",
    "offer.at_once",
    "search.ttl_ms",
    "search.reach_m",
    "token.ttl_ms",
    "expect_ms",
    "flags",
    "experiments",
    "routes",
];

impl Changes {
    fn read(document: &Value) -> Result<Self, String> {
        let map = document.as_object().ok_or("`settings` must be an object")?;
        if let Some(odd) = map.keys().find(|key| !CHANGES.contains(&key.as_str())) {
            return Err(format!("no setting `{odd}`: {}", must_be_one_of(odd, CHANGES)));
        }
        let changes: Self =
            serde_json::from_value(document.clone()).map_err(|why| format!("`settings`: {why}"))?;
        let zero = [changes.offer_ttl_ms, changes.search_ttl_ms, changes.token_ttl_ms];
        if zero.contains(&Some(0)) || changes.reach_m.is_some_and(|reach| reach <= 0.0) {
            return Err("`settings`: a life and a reach must be above zero".to_owned());
        }
        let mut shares = changes.flags.iter().chain(&changes.routes);
        if let Some((name, share)) = shares.find(|(_, share)| !(0.0..=1.0).contains(*share)) {
            return Err(format!("`settings`: the share of `{name}` is {share}: 0 to 1"));
        }
        Ok(changes)
    }

    fn apply(&self, settings: &mut Settings) {
        fn put<T: Clone>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        put(&mut settings.offer_ttl, self.offer_ttl_ms.map(Duration::from_millis));
        put(&mut settings.search_ttl, self.search_ttl_ms.map(Duration::from_millis));
        put(&mut settings.token_ttl, self.token_ttl_ms.map(Duration::from_millis));
        put(&mut settings.offers_at_once, self.offers_at_once);
        put(&mut settings.reach_m, self.reach_m);
        settings.product.flags.extend(self.flags.clone());
        settings.product.experiments.extend(self.experiments.clone());
        settings.product.routes.extend(self.routes.clone());
    }
}

/// Called with the settings whenever they change.
type Listener = Box<dyn Fn(&Settings)>;

/// What a node goes by now; a cheap handle.
#[derive(Clone)]
pub struct Live(Rc<Inner>);

struct Inner {
    boot: Rc<NodeConfig>,
    directory: Directory,
    documents: RefCell<Documents>,
    settings: RefCell<Rc<Settings>>,
    expect: RefCell<BTreeMap<String, Duration>>,
    /// The version that is applied; shared with the replica of discovery, which tells it on.
    applied: Rc<Cell<u64>>,
    /// The newest version that anybody spoke of.
    told: Cell<u64>,
    wake: Notify,
    trouble: RefCell<Option<String>>,
    listeners: RefCell<Vec<Listener>>,
}

impl Live {
    /// What a node was started with.
    pub fn new(boot: &Rc<NodeConfig>, directory: &Directory) -> Self {
        let this = Self(Rc::new(Inner {
            boot: Rc::clone(boot),
            directory: directory.clone(),
            documents: RefCell::new(Documents::new(boot.config.clone())),
            settings: RefCell::new(Rc::new(boot.settings.clone())),
            expect: RefCell::default(),
            applied: Rc::default(),
            told: Cell::default(),
            wake: Notify::new(),
            trouble: RefCell::default(),
            listeners: RefCell::default(),
        }));
        if !boot.config.is_empty() {
            this.apply_own(0);
        }
        this
    }

    /// The settings as they stand.
    pub fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.0.settings.borrow())
    }

    /// How long a handler of `service` may take, where somebody set it.
    pub fn expected(&self, service: &str) -> Option<Duration> {
        self.0.expect.borrow().get(service).copied()
    }

    /// Calls `listener` with the settings whenever they change.
    pub fn on_change(&self, listener: impl Fn(&Settings) + 'static) {
        self.0.listeners.borrow_mut().push(Box::new(listener));
    }

    /// The version that is applied, for whoever tells it on.
    pub fn version(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.0.applied)
    }

    /// The newest version that is known of, applied or not.
    pub fn wanted(&self) -> u64 {
        self.0.told.get()
    }

    /// True when nothing newer is known of.
    pub fn is_current(&self) -> bool {
        self.0.applied.get() >= self.0.told.get()
    }

    /// Why the last config could not be applied, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.borrow().clone()
    }

    /// Somebody spoke of that version.
    pub fn told(&self, version: u64) {
        if version > self.0.told.get() {
            self.0.told.set(version);
            self.0.wake.notify_one();
        }
    }

    /// Waits until a newer version is known of than is applied.
    pub async fn outdated(&self) {
        while self.is_current() {
            self.0.wake.notified().await;
        }
    }

    /// The documents, where this node keeps them.
    pub fn documents(&self) -> std::cell::Ref<'_, Documents> {
        self.0.documents.borrow()
    }

    /// Takes over and applies what was set as of `version`, where this node keeps the documents.
    pub fn take(&self, version: u64, set: BTreeMap<String, Value>) {
        let newer = self.0.documents.borrow_mut().take(version, set);
        if newer {
            self.apply_own(version);
        }
        self.told(version);
    }

    fn apply_own(&self, version: u64) {
        let name = &self.0.boot.name;
        let compiled = {
            let documents = self.0.documents.borrow();
            let of = |key| documents.compile_for(key, name);
            of(binding::KEY).and_then(|binding| Ok((binding, of(SETTINGS)?)))
        };
        match compiled {
            Ok((binding, settings)) => {
                self.apply(version, &Value::Object(binding), &Value::Object(settings));
            }
            Err(why) => self.fail(version, &why.to_string()),
        }
    }

    /// Applies what was compiled for this node. What cannot be read changes nothing, and is told by
    /// the node's health.
    pub fn apply(&self, version: u64, binding: &Value, settings: &Value) {
        let read = Rules::parse(binding).map_err(|why| why.to_string());
        let read = read.and_then(|rules| Ok((rules, Changes::read(settings)?)));
        let (rules, changes) = match read {
            Ok(read) => read,
            Err(why) => return self.fail(version, &why),
        };
        self.0.directory.bind(rules);
        let mut fresh = self.0.boot.settings.clone();
        changes.apply(&mut fresh);
        let millis = |(service, ms): (String, u64)| (service, Duration::from_millis(ms));
        self.0.expect.replace(changes.expect_ms.into_iter().map(millis).collect());
        if fresh != **self.0.settings.borrow() {
            for listener in self.0.listeners.borrow().iter() {
                listener(&fresh);
            }
            self.0.settings.replace(Rc::new(fresh));
        }
        self.0.trouble.take();
        self.0.applied.set(version);
    }

    fn fail(&self, version: u64, why: &str) {
        self.0.trouble.replace(Some(format!("config {version}: {why}")));
        // Tried once: the next version is another chance.
        self.0.applied.set(version);
    }
}

/// Fetches the newest config from whoever keeps it, and applies it.
pub async fn fetch(env: &Env, rpc: &Rpc, live: &Live) -> Result<(), RpcError> {
    let ask = wire::ConfigCurrentAsk { node: env.name().to_string(), at_least: live.wanted() };
    let found: wire::ConfigCurrent = rpc.call(CURRENT, &ask, FETCH).await?;
    // What is no JSON is no rules either: the node's health says so.
    let read = |json: &str| serde_json::from_str(json).unwrap_or_default();
    live.apply(found.version, &read(&found.binding), &read(&found.settings));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::node_tests::node_config, base::rng::Rng};

    fn documents() -> Documents {
        let base = [
            ("fare", json!({"base": 1, "night": {"factor": 2, "from": 22}})),
            ("fare/a", json!({"night": {"factor": 3}})),
            ("name", json!("Dublin")),
        ];
        Documents::new(base.map(|(key, value)| (key.to_owned(), value)).into())
    }

    #[test]
    fn later_keys_go_over_earlier_ones_all_the_way_down() {
        let mut documents = documents();
        let compiled = documents.compile(["fare", "fare/a", "name", "gone?"]).unwrap();
        let wanted = json!({"base": 1, "night": {"factor": 3, "from": 22}, "name": "Dublin"});
        assert_eq!(Value::Object(compiled), wanted);
        assert!(documents.compile(["fare", "gone"]).is_err());
        let set = BTreeMap::from([("fare/a".to_owned(), json!({"base": [7]}))]);
        assert!(documents.take(2, set.clone()));
        assert!(!documents.take(1, BTreeMap::new()), "an older one changes nothing");
        let of = |node: &str| documents.compile_for("fare", &node.into()).unwrap();
        assert_eq!(of("a/core-1")["base"], json!([7]));
        assert_eq!(of("b/core-1")["base"], json!(1));
        assert_eq!(documents.all().0, 2);
    }

    #[test]
    fn what_no_node_could_apply_is_not_set() {
        let now = Time::from_secs_f64(2.0);
        assert!(check("flags/night", json!([1, 2]), now).is_ok());
        for (key, document) in [
            ("", json!(1)),
            ("a b", json!(1)),
            ("binding", json!(1)),
            ("binding/a", json!({"core/job": {"avoids": []}})),
            ("settings", json!({"offer.ttl": 1})),
            ("settings/core", json!({"offer.ttl_ms": "soon"})),
            ("settings", json!({"search.reach_m": 0})),
            ("settings", json!({"routes": {"/v1/customer/neardrivers": 1.5}})),
        ] {
            assert!(check(key, document.clone(), now).is_err(), "{key} {document}");
        }
        let begun = json!({"core/job": {"roll_out": {"from": 1, "to": 2, "over_ms": 9}}});
        let kept = check("binding", begun, now).unwrap();
        assert_eq!(kept["core/job"]["roll_out"]["start_ms"], 2_000);
    }

    #[test]
    fn who_listens_hears_of_changes_and_what_cannot_be_read_changes_nothing() {
        let name = NodeName::from("a/core-1");
        let boot = Rc::new(node_config(&name, std::slice::from_ref(&name), 0, &[]));
        let directory = Directory::new(&name, &mut Rng::from_seed("live"));
        let live = Live::new(&boot, &directory);
        let heard = Rc::new(RefCell::new(Vec::new()));
        let list = Rc::clone(&heard);
        live.on_change(move |settings| list.borrow_mut().push(settings.offers_at_once));
        live.told(3);
        assert!(!live.is_current());
        live.apply(1, &json!({}), &json!({"offer.at_once": 3, "expect_ms": {"core/job": 9}}));
        live.apply(2, &json!({}), &json!({"offer.at_once": 3}));
        assert_eq!((live.settings().offers_at_once, live.expected("core/job")), (3, None));
        live.apply(3, &json!({"core/job": 1}), &json!({"offer.at_once": 4}));
        assert!(live.trouble().is_some_and(|why| why.contains("core/job")));
        assert!(live.is_current(), "it is not tried for ever");
        live.apply(4, &json!({}), &json!({}));
        assert_eq!((live.trouble(), &*heard.borrow()), (None, &vec![3, 1]));
    }
}
