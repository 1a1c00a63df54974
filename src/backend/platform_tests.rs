//! Whole backends in the virtual world, as an operator changes them while they run: versions, rules
//! of who is asked, config.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use prost::Message;
use serde_json::{Value, json};

use super::{
    core::config::{LIST, SET},
    layout::Layout,
    node::HEALTH,
    node_tests::{ASK, Backend},
    platform::{monitor::OVERVIEW, rpc::RpcError, watch::level},
    wire::{
        ConfigAnswer, ConfigAsk, FeaturesAnswer, FeaturesAsk, NearAnswer, NearestAsk, Place,
        VariantsAnswer, VariantsAsk, platform as wire,
    },
};
use crate::{base::name::NodeName, world::virtual_::LinkFault};
use wire::{Level, Overview, OverviewAsk, Report};

/// Two core nodes in each AZ, the second of which runs version 2.
fn two_versions(seed: &str) -> Backend {
    let azs = ["a", "b", "c"].map(str::to_owned);
    let backend = Backend::of(Layout::of(&azs, 1, 1, 2, Layout::storage(&azs, "b", 1)), seed, &[]);
    backend.pass(2.0);
    backend
}

impl Backend {
    fn set(&self, key: &str, document: &Value) -> Result<u64, RpcError> {
        let ask = wire::ConfigSetAsk { key: key.to_owned(), json: document.to_string() };
        let answer: Result<wire::ConfigSetAnswer, _> = self.run(self.rpc.call(SET, &ask, ASK));
        answer.map(|answer| answer.version)
    }

    /// The answer of whoever serves `path`.
    fn told<Q: Message, A: Message + Default>(&self, path: &'static str, ask: &Q) -> A {
        self.run(async { self.rpc.call(path, ask, ASK).await.unwrap() })
    }

    /// What the monitor at `core` knows of every node, by name.
    fn overview(&self, core: &str) -> BTreeMap<String, Report> {
        let overview: Overview = self.run(async {
            self.rpc.call_at(&core.into(), OVERVIEW, &OverviewAsk {}, ASK).await.unwrap()
        });
        let named = |report: Report| (report.instance.clone().unwrap().name, report);
        overview.reports.into_iter().map(named).collect()
    }

    fn get(&self, node: &str, path: &str) -> (StatusCode, String) {
        let ask = Request::get(path).body(Bytes::new()).unwrap();
        let answer = self.run(self.observer.http(&node.into(), ask)).unwrap();
        (answer.status(), String::from_utf8(answer.body().to_vec()).unwrap())
    }

    fn post(&self, node: &str, path: &str, body: &str) -> StatusCode {
        let ask = Request::post(path).body(Bytes::from(body.to_owned())).unwrap();
        self.run(self.observer.http(&node.into(), ask)).unwrap().status()
    }

    /// Who answers a thousand calls to any instance, by name.
    fn answering(&self) -> BTreeMap<String, u32> {
        let mut seen = BTreeMap::new();
        self.run(async {
            for _ in 0..1_000 {
                let ask = wire::HealthAsk::default();
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

#[test]
fn flags_and_experiments_change_for_their_share_of_accounts_while_the_nodes_run() {
    let backend = two_versions("flags");
    let on = |flag: &str| {
        let has = |account| {
            let answer: FeaturesAnswer =
                backend.told("/core/feature-flags/features", &FeaturesAsk { account });
            answer.on.iter().any(|name| name == flag)
        };
        (1..=200).map(has).collect::<Vec<bool>>()
    };
    let count = |on: &[bool]| on.iter().filter(|on| **on).count();
    let variants = |account| -> VariantsAnswer {
        backend.told("/core/experiment/variants", &VariantsAsk { account })
    };
    assert_eq!(count(&on("night-fares")), 0);
    assert!(variants(1).variants.iter().all(|given| given.experiment != "colour"));
    let change = json!({"flags": {"night-fares": 0.3}, "experiments": {"colour": ["red", "blue"]}});
    backend.set("settings", &change).unwrap();
    backend.pass(1.5);
    let some = on("night-fares");
    assert!((30..=90).contains(&count(&some)), "{}", count(&some));
    assert_eq!(some, on("night-fares"), "nobody is sent to and fro");
    let colour = variants(1).variants.into_iter().find(|given| given.experiment == "colour");
    assert!(["red", "blue"].contains(&&*colour.unwrap().variant));
    backend.set("settings", &json!({"flags": {"night-fares": 1.0}})).unwrap();
    backend.pass(1.5);
    assert_eq!(count(&on("night-fares")), 200);
}

#[test]
fn every_monitor_hears_of_every_instance_and_of_what_ails_it() {
    let backend = two_versions("monitor");
    backend.pass(4.0);
    for core in ["a/core-1", "c/core-2"] {
        let seen = backend.overview(core);
        assert_eq!(seen.len(), backend.nodes.len(), "{:?}", seen.keys());
        for (name, report) in &seen {
            assert_eq!(level(report), Level::Fine, "{name}: {:?}", report.checks);
            let (version, host) =
                report.instance.iter().map(|i| (i.version, &*i.host)).next().unwrap();
            assert_eq!(version == 2, host.ends_with("-2"), "{name} on {host}");
        }
    }
    backend.kill("b/storage-1");
    backend.pass(8.0);
    let seen = backend.overview("a/core-1");
    let ill: Vec<_> = seen.iter().filter(|(_, r)| level(r) == Level::Bad).map(|(n, _)| n).collect();
    assert_eq!(ill.len(), 6, "all that need the store: {ill:?}");
    assert!(ill.iter().all(|name| name.contains("core")), "{ill:?}");
    backend.pass(5.0);
    assert!(!backend.overview("a/core-1").contains_key("b/storage-1"), "forgotten by then");
    backend.boot("b/storage-1", 1);
    backend.pass(8.0);
    let seen = backend.overview("a/core-1");
    assert!(seen.values().all(|report| level(report) == Level::Fine));
    assert_eq!(seen["b/storage-1"].instance.as_ref().unwrap().incarnation, 1);
}

#[test]
fn callers_tell_whom_they_call() {
    let backend = two_versions("map");
    backend.run(async {
        for _ in 0..50 {
            let ask = NearestAsk { at: Some(Place { lat_e6: 1, lon_e6: 1 }), limit: 1, tenant: 0 };
            // No such city: refused, and no error of the services.
            let near = "/orchestration/nearest-driver/search";
            assert!(backend.rpc.call::<_, NearAnswer>(near, &ask, ASK).await.is_err());
        }
    });
    backend.set("flags", &json!(1)).unwrap();
    backend.pass(2.5);
    let seen = backend.overview("b/core-1");
    let rows = |from: &str, to: &str| {
        let all = seen.values().flat_map(|report| &report.calls);
        let fitting = all.filter(|row| row.from == from && row.to == to);
        fitting.fold((0, 0, 0), |(calls, errors, timed), row| {
            let times = row.times.iter().sum::<u32>();
            (calls + row.calls, errors + row.errors, timed + times)
        })
    };
    assert_eq!(rows("orchestration/nearest-driver", "core/zoning"), (50, 0, 50));
    assert_eq!(rows("orchestration/nearest-driver", "core/raziel"), (50, 0, 50));
    let (calls, errors, _) = rows("core/config", "storage/kv");
    assert!(calls >= 2 && errors == 0, "{calls} {errors}");
    let served = &seen["a/orchestration-1"].served;
    let near = served.iter().find(|row| row.to == "/orchestration/nearest-driver/search").unwrap();
    assert_eq!((near.calls, near.errors), (50, 0));
}

#[test]
fn every_node_has_a_page_of_its_own_health() {
    let backend = two_versions("page");
    backend.pass(2.5);
    for node in ["a/api-1", "b/storage-1", "c/core-2"] {
        let (status, body) = backend.get(node, "/health");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &told["name"]), (StatusCode::OK, &json!(node)));
        assert_eq!((&told["ready"], &told["level"]), (&json!(true), &json!("fine")), "{told}");
        assert!(told["checks"].as_array().unwrap().len() >= 3, "{told}");
        let (status, page) = backend.get(node, "/health.html");
        assert!(status == StatusCode::OK && page.contains("capacity"), "{page}");
    }
    assert_eq!(backend.get("b/storage-1", "/v1/driver/ping").0, StatusCode::NOT_FOUND);
}

#[test]
fn requests_of_an_api_node_are_counted_like_calls() {
    let backend = two_versions("requests");
    let register = "/v1/driver/register";
    for n in 0..7 {
        let body = format!(r#"{{"name":"driver {n}","secret":"a secret that is long enough"}}"#);
        let answered = backend.post("a/api-1", register, &body);
        assert!(answered.is_success() || answered.is_client_error(), "{answered}");
    }
    backend.pass(3.0);
    let report = &backend.overview("a/core-1")["a/api-1"];
    let served = report.served.iter().find(|traffic| traffic.to == register).unwrap();
    assert_eq!((served.calls, served.errors), (7, 0));
    assert_eq!(served.times.iter().sum::<u32>(), 7);
    assert!(report.in_flight_max > 0);
}

#[test]
fn an_instance_that_stays_unheard_ends_and_one_that_was_cut_off_for_a_while_does_not() {
    let backend = two_versions("unheard");
    let cut = |fault: LinkFault| {
        for core in backend.nodes.iter().filter(|node| node.role() == "core") {
            assert!(backend.sim.impair(&"a/api-1".into(), core, fault));
        }
    };
    cut(LinkFault::BLACK_HOLE);
    backend.pass(10.0);
    assert!(!backend.knows("a/api-1"), "nobody hears of it");
    cut(LinkFault::NONE);
    backend.pass(3.0);
    assert!(backend.knows("a/api-1") && backend.ended.borrow().is_empty());
    cut(LinkFault::BLACK_HOLE);
    backend.pass(40.0);
    assert_eq!(*backend.ended.borrow(), ["a/api-1"]);
    cut(LinkFault::NONE);
    backend.kill("a/api-1");
    backend.boot("a/api-1", 1);
    backend.pass(2.0);
    let known: Vec<NodeName> = backend.directory.instances().into_iter().map(|i| i.name).collect();
    assert_eq!(known.len(), backend.nodes.len() + 1);
}

#[test]
fn a_session_is_exchanged_for_tokens_until_it_is_closed() {
    let backend = two_versions("session");
    let post = |path: &str, body: &Value| {
        let ask = Request::post(path).body(Bytes::from(body.to_string())).unwrap();
        let answer = backend.run(backend.observer.http(&"a/api-1".into(), ask)).unwrap();
        let told: Value = serde_json::from_slice(answer.body()).unwrap();
        (answer.status(), told)
    };
    let who = json!({"phone": "+353-1", "secret": "sesame"});
    let open = |secret: &str| {
        let body = json!({"kind": "driver", "phone": "+353-1", "secret": secret});
        post("/v1/session/open", &body)
    };
    assert_eq!(post("/v1/driver/register", &who).0, StatusCode::OK);
    assert_eq!(open("wrong").0, StatusCode::UNAUTHORIZED);
    let (status, opened) = open("sesame");
    assert_eq!(status, StatusCode::OK, "{opened}");
    let session = json!({"session": opened["session"]});
    let (_, first) = post("/v1/session/exchange", &session);
    backend.pass(1.0);
    let (_, second) = post("/v1/session/exchange", &session);
    assert!(first["token"] != second["token"] && first["account"] == opened["account"]);
    let token = second["token"].as_str().unwrap();
    let pause = Request::post("/v1/driver/offline")
        .header("authorization", format!("Bearer {token}"))
        .body(Bytes::new())
        .unwrap();
    let answer = backend.run(backend.observer.http(&"b/api-1".into(), pause)).unwrap();
    assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "another node takes it too");
    let closed = |replayed: bool| json!({ "replayed": replayed });
    assert_eq!(post("/v1/session/close", &session).1, closed(false));
    assert_eq!(post("/v1/session/close", &session).1, closed(true));
    assert_eq!(post("/v1/session/exchange", &session).0, StatusCode::UNAUTHORIZED);
}
