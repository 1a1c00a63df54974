//! Gives nodes a share of the calls as a version of their own, by the binding in the backend's config,
//! and takes it back. The config itself is the backend's matter.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use prost::Message;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    backend::{
        core::config::{LIST, SET},
        platform::{
            binding::{EVERY, KEY},
            rpc::{Policy, Rpc, RpcError},
        },
        wire::platform::{ConfigList, ConfigListAsk, ConfigSetAnswer, ConfigSetAsk},
    },
    base::name::NodeName,
    chaos::provider::ProviderError,
};

const ASK: Policy =
    Policy { deadline: Duration::from_secs(3), attempt: Duration::from_secs(1), idempotent: true };
/// The weight of all versions together that a rule does not weigh itself.
const WEIGHT: u64 = 10_000;

/// Any core node keeps the config: the first that answers will do.
pub async fn ask_core<Q: Message, A: Message + Default>(
    rpc: &Rpc,
    nodes: &[NodeName],
    path: &'static str,
    ask: &Q,
) -> Result<A, String> {
    let mut last = "this backend has no core node".to_owned();
    for node in nodes.iter().filter(|node| node.role() == "core") {
        match rpc.call_at(node, path, ask, ASK).await {
            Ok(answer) => return Ok(answer),
            Err(why @ RpcError::Refused { .. }) => return Err(why.to_string()),
            Err(why) => last = format!("no core node answers: {why}"),
        }
    }
    Err(last)
}

/// What was given to whom.
pub struct Shares {
    rpc: Rpc,
    /// The version of each node of the backend.
    of: BTreeMap<NodeName, u32>,
    nodes: Vec<NodeName>,
    state: RefCell<State>,
    /// One after the other: each change is made of what is there.
    turn: Mutex<()>,
}

/// A binding, where there is one.
type Binding = Option<Value>;

#[derive(Debug, Clone, Default)]
struct State {
    /// The binding before anything was given; known while something is.
    before: Option<Binding>,
    /// Versions and percents.
    given: BTreeMap<Vec<NodeName>, (u32, u32)>,
}

impl Shares {
    /// Nothing was given yet, in a backend whose nodes are of those versions.
    pub fn new(rpc: &Rpc, of: BTreeMap<NodeName, u32>) -> Self {
        let nodes = of.keys().cloned().collect();
        Self { rpc: rpc.clone(), of, nodes, state: RefCell::default(), turn: Mutex::new(()) }
    }

    /// Gives `to` that many percent; the version that they are to be of.
    pub async fn give(&self, to: &[NodeName], percent: u32) -> Result<u32, ProviderError> {
        let _turn = self.turn.lock().await;
        let known = self.state.borrow().before.is_some();
        if !known {
            let before = self.binding().await.map_err(|why| wrong(to, why))?;
            self.state.borrow_mut().before = Some(before);
        }
        let (rules, version) = {
            let mut state = self.state.borrow_mut();
            let given = state.given.values().map(|(version, _)| version);
            let version = given.chain(self.of.values()).max().map_or(1, |newest| newest + 1);
            state.given.insert(to.to_vec(), (version, percent));
            (state.rules(&self.of), version)
        };
        self.set(rules.as_ref()).await.map_err(|why| wrong(to, why))?;
        Ok(version)
    }

    /// Takes back what `from` were given, if they were given anything.
    pub async fn take_back(&self, from: &[NodeName]) -> Result<(), ProviderError> {
        let _turn = self.turn.lock().await;
        let mut left = self.state.borrow().clone();
        if left.given.remove(from).is_none() {
            return Ok(());
        }
        self.set(left.rules(&self.of).as_ref()).await.map_err(|why| wrong(from, why))?;
        let mut state = self.state.borrow_mut();
        state.given.remove(from);
        if state.given.is_empty() {
            state.before = None;
        }
        Ok(())
    }

    async fn binding(&self) -> Result<Option<Value>, String> {
        let list: ConfigList = ask_core(&self.rpc, &self.nodes, LIST, &ConfigListAsk {}).await?;
        let mut all: BTreeMap<String, Value> =
            serde_json::from_str(&list.json).map_err(|why| why.to_string())?;
        Ok(all.remove(KEY))
    }

    async fn set(&self, rules: Option<&Value>) -> Result<(), String> {
        let json = rules.map(ToString::to_string).unwrap_or_default();
        let ask = ConfigSetAsk { key: KEY.to_owned(), json };
        ask_core::<_, ConfigSetAnswer>(&self.rpc, &self.nodes, SET, &ask).await.map(drop)
    }
}

fn wrong(nodes: &[NodeName], why: String) -> ProviderError {
    let victim = nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    ProviderError { victim, why }
}

impl State {
    /// The rules as they were, with what was given in each that says how versions share: but where a
    /// roll-out is under way, which goes on. As they were where nothing is given.
    fn rules(&self, of: &BTreeMap<NodeName, u32>) -> Option<Value> {
        let before = self.before.clone().flatten();
        if self.given.is_empty() {
            return before;
        }
        let mut rules = before.unwrap_or_else(|| json!({}));
        if rules.get(EVERY).is_none() {
            rules[EVERY] = json!({});
        }
        let rules_of = rules.as_object_mut().into_iter().flatten();
        for (service, rule) in rules_of.filter(|(_, rule)| rule.get("roll_out").is_none()) {
            let own: BTreeMap<String, u64> = rule
                .get("versions")
                .and_then(|versions| serde_json::from_value(versions.clone()).ok())
                .unwrap_or_else(|| counts(of, service));
            let total = own.values().sum::<u64>().max(1);
            let own = own.into_iter().map(|(version, part)| (version, WEIGHT * part / total));
            let all = self.given.values().map(|(_, percent)| u64::from(*percent)).sum::<u64>();
            let left = 100 - all.min(99);
            let given = self.given.values().map(|(version, percent)| {
                (version.to_string(), WEIGHT * u64::from(*percent) / left)
            });
            rule["versions"] = json!(own.chain(given).collect::<BTreeMap<_, _>>());
        }
        Some(rules)
    }
}

/// How the versions share where no rule says so: by how many nodes of the service's role are of each.
fn counts(of: &BTreeMap<NodeName, u32>, service: &str) -> BTreeMap<String, u64> {
    let role = service.split('/').next().unwrap_or_default();
    let mut counts = BTreeMap::<String, u64>::new();
    for (_, version) in of.iter().filter(|(node, _)| service == EVERY || node.role() == role) {
        *counts.entry(version.to_string()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::platform::binding::Rules;

    fn of(versions: &[(&str, u32)]) -> BTreeMap<NodeName, u32> {
        versions.iter().map(|(name, version)| (NodeName::from(*name), *version)).collect()
    }

    fn given(percent: u32, before: Option<Value>) -> State {
        let given = BTreeMap::from([(vec![NodeName::from("c/core-1")], (2, percent))]);
        State { before: Some(before), given }
    }

    #[test]
    fn a_share_is_that_share_of_what_the_version_and_the_others_get() {
        let nodes = of(&[("a/core-1", 1), ("b/core-1", 1), ("c/core-1", 1)]);
        let rules = given(20, None).rules(&nodes).unwrap();
        assert_eq!(rules, json!({"*": {"versions": {"1": 10_000, "2": 2_500}}}));
        Rules::parse(&rules).unwrap();
    }

    #[test]
    fn a_share_is_that_share_beside_any_weights_and_beside_another() {
        let nodes = of(&[("a/core-1", 1), ("b/core-1", 1), ("a/api-1", 3), ("c/core-1", 7)]);
        let share = |state: &State, service: &str| {
            let rules = state.rules(&nodes).unwrap();
            Rules::parse(&rules).unwrap();
            let of = rules[service]["versions"].as_object().unwrap().clone();
            let all: u64 = of.values().filter_map(Value::as_u64).sum();
            move |version: &str| of[version].as_u64().unwrap() as f64 * 100.0 / all as f64
        };
        for (weights, percent) in [(json!({"1": 1}), 1), (json!({"1": 200_000}), 90)] {
            let state = given(percent, Some(json!({"core/job": {"versions": weights}})));
            assert!((share(&state, "core/job")("2") - f64::from(percent)).abs() < 0.1, "{percent}");
        }
        let mut two = given(20, Some(json!({"core/eta": {}})));
        two.given.insert(vec![NodeName::from("b/core-1")], (3, 20));
        assert!((share(&two, "core/eta")("2") - 20.0).abs() < 0.1);
        // One of three cores: of the 60 % that are left.
        assert!((share(&two, "core/eta")("7") - 20.0).abs() < 0.1);
    }

    #[test]
    fn rules_that_are_there_stay_and_a_roll_out_goes_on() {
        let before = json!({
            "core/fare": {"versions": {"1": 90, "7": 10}, "avoid": ["a-1"]},
            "core/eta": {"roll_out": {"from": 1, "to": 7, "over_ms": 1_000, "start_ms": 5}},
            "core/job": {"avoid": ["b/*"]},
        });
        let nodes = of(&[("a/core-1", 1), ("b/core-1", 7)]);
        let rules = given(50, Some(before.clone())).rules(&nodes).unwrap();
        let fare = json!({"versions": {"1": 9_000, "2": 10_000, "7": 1_000}, "avoid": ["a-1"]});
        assert_eq!(rules["core/fare"], fare);
        assert_eq!(rules["core/eta"], before["core/eta"]);
        let even = json!({"1": 5_000, "2": 10_000, "7": 5_000});
        assert_eq!(rules["core/job"], json!({"avoid": ["b/*"], "versions": even}));
        assert_eq!(rules["*"]["versions"], even);
        Rules::parse(&rules).unwrap();
    }
}
