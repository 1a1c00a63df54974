//! Whole backends in the virtual world, as an operator changes them while they run: versions, rules
//! of who is asked, config.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    core::config::{LIST, SET},
    layout::Layout,
    node::HEALTH,
    node_tests::{ASK, Backend},
    platform::rpc::RpcError,
    wire::{ConfigAnswer, ConfigAsk, platform as wire},
};

/// Two core nodes in each AZ, the second of which runs version 2.
fn two_versions(seed: &str) -> Backend {
    let azs = ["a", "b", "c"].map(str::to_owned);
    let backend = Backend::of(Layout::of(&azs, 1, 1, 2, "b"), seed, &[]);
    backend.pass(2.0);
    backend
}

impl Backend {
    fn set(&self, key: &str, document: &Value) -> Result<u64, RpcError> {
        let ask = wire::ConfigSetAsk { key: key.to_owned(), json: document.to_string() };
        let answer: Result<wire::ConfigSetAnswer, _> = self.run(self.rpc.call(SET, &ask, ASK));
        answer.map(|answer| answer.version)
    }

    /// Who answers a thousand calls to any instance, by name.
    fn answering(&self) -> BTreeMap<String, u32> {
        let mut seen = BTreeMap::new();
        self.run(async {
            for _ in 0..1_000 {
                let ask = wire::HealthAsk {};
                let health: wire::Health = self.rpc.call(HEALTH, &ask, ASK).await.unwrap();
                *seen.entry(format!("{} v{}", health.name, health.version)).or_default() += 1;
            }
        });
        seen
    }
}

fn of_version(seen: &BTreeMap<String, u32>, version: &str) -> u32 {
    seen.iter().filter(|(name, _)| name.ends_with(version)).map(|(_, count)| count).sum()
}

#[test]
fn ten_percent_go_to_version_two_from_the_moment_it_is_set() {
    let backend = two_versions("ten percent");
    let half = of_version(&backend.answering(), "v2");
    assert!((200..400).contains(&half), "one of four in our own AZ: {half}");
    let ten = json!({"platform/health": {"versions": {"1": 90, "2": 10}}});
    let version = backend.set("binding", &ten).unwrap();
    backend.pass(1.0);
    let seen = backend.answering();
    assert!((95..=105).contains(&of_version(&seen, "v2")), "{seen:?}");
    // Other services go on as before, and the next version of the rules replaces this one.
    let none = json!({"platform/health": {"versions": {"1": 1}, "avoid": ["a-1", "*/api-*"]}});
    assert!(backend.set("binding", &none).unwrap() > version);
    backend.pass(1.0);
    let seen = backend.answering();
    assert_eq!(of_version(&seen, "v2"), 0, "{seen:?}");
    assert!(seen.keys().all(|name| !name.contains("api") && !name.contains("a/")), "{seen:?}");
    backend.set("binding", &json!({})).unwrap();
    backend.pass(1.0);
    assert_eq!(of_version(&backend.answering(), "v2"), half);
}

#[test]
fn a_roll_out_goes_from_one_version_to_the_next_over_time() {
    let backend = two_versions("roll out");
    let roll_out = json!({"from": 1, "to": 2, "over_ms": 600_000});
    backend.set("binding", &json!({"platform/health": {"roll_out": roll_out}})).unwrap();
    backend.pass(1.0);
    let at = |minutes: f64| {
        backend.pass(minutes * 60.0);
        of_version(&backend.answering(), "v2")
    };
    let (begun, half, done) = (at(0.0), at(5.0), at(5.0));
    assert!(begun < 20 && (480..=520).contains(&half), "{begun} {half}");
    assert_eq!(done, 1_000);
}

#[test]
fn config_reaches_every_node_and_outlives_all_that_kept_it() {
    let backend = two_versions("config");
    let ten = json!({"platform/health": {"avoid": ["*/core-*"]}});
    backend.set("binding/a", &ten).unwrap();
    backend.set("flags", &json!({"night": true, "deep": {"one": 1}})).unwrap();
    backend.set("flags/a", &json!({"deep": {"two": 2}})).unwrap();
    let cores = ["a/core-1", "a/core-2", "b/core-1", "b/core-2", "c/core-1", "c/core-2"];
    for core in cores {
        backend.kill(core);
    }
    backend.kill("a/api-1");
    backend.pass(1.0);
    for core in cores {
        backend.boot(core, 1);
    }
    backend.boot("a/api-1", 1);
    backend.pass(5.0);
    let seen = backend.answering();
    assert!(seen.keys().all(|name| !name.contains("core")), "{seen:?}");
    let compiled: ConfigAnswer = backend.run(async {
        let keys = ["offer.at_once", "flags", "flags/a", "flags/b?"].map(str::to_owned).to_vec();
        backend.rpc.call("/core/config/compile", &ConfigAsk { keys }, ASK).await.unwrap()
    });
    let compiled: Value = serde_json::from_str(&compiled.json).unwrap();
    let wanted = json!({"offer.at_once": 1, "night": true, "deep": {"one": 1, "two": 2}});
    assert_eq!(compiled, wanted);
}

#[test]
fn settings_change_while_the_nodes_run_and_odd_ones_are_refused() {
    let backend = two_versions("settings");
    backend.set("settings", &json!({"offer.at_once": 3})).unwrap();
    backend.set("settings/core", &json!({"token.ttl_ms": 5_000})).unwrap();
    backend.pass(1.0);
    let ask = |keys: &[&str]| {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        let rpc = backend.rpc.clone();
        let found: Result<ConfigAnswer, _> = backend
            .run(async move { rpc.call("/core/config/compile", &ConfigAsk { keys }, ASK).await });
        found.map(|found| serde_json::from_str::<Value>(&found.json).unwrap())
    };
    let now = ask(&["offer.at_once", "token.ttl_ms"]).unwrap();
    assert_eq!(now, json!({"offer.at_once": 3, "token.ttl_ms": 5_000}));
    assert!(matches!(ask(&["unheard"]), Err(RpcError::Refused { .. })));
    for (key, odd) in [("settings", json!({"offers": 1})), ("offer.at_once", json!(1))] {
        assert!(matches!(backend.set(key, &odd), Err(RpcError::Refused { .. })), "{key}");
    }
    let list: wire::ConfigList =
        backend.run(async { backend.rpc.call(LIST, &wire::ConfigListAsk {}, ASK).await.unwrap() });
    assert!(list.json.contains("\"settings\"") && list.version > 0, "{list:?}");
    assert!(backend.sim.now() - crate::base::time::Time::ZERO < Duration::from_secs(10));
}
