//! What is said to engines, and what is made of their answers: in the shape that the engines gave
//! (Docker 20.10.24 as it answered; Kubernetes as its API's reference has it, not recorded here).

use std::path::Path;

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::{testing::Scripted, *};
use crate::base::file::Source;

fn victims(text: &str) -> Result<Victims, String> {
    Victims::read(&Source::new(Path::new("target.toml"), text)).map_err(|why| why.to_string())
}

fn one(table: &str, hands: &Rc<Scripted>) -> Outsiders {
    let read = victims(&format!("[victims.\"a/api-1\"]\n{table}\n")).unwrap();
    let hands: Rc<dyn Hands> = hands.clone();
    Outsiders::new(&read, &hands)
}

fn node() -> NodeName {
    NodeName::from("a/api-1")
}

/// Nothing here waits for anybody.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

/// `GET /containers/NAME/json`, as far as it is read.
fn container(status: &str, networks: &Value) -> (u16, Value) {
    let (running, paused) = (status != "exited", status == "paused");
    let state = json!({"Status": status, "Running": running, "Paused": paused,
        "Restarting": false, "OOMKilled": false, "Dead": false, "Pid": 12288, "ExitCode": 0,
        "Error": "", "StartedAt": "2026-11-29T16:41:39Z", "FinishedAt": "0001-01-01T00:00:00Z"});
    (200, json!({"Id": "eb13", "State": state, "NetworkSettings": {"Networks": networks}}))
}

fn in_a_network() -> Value {
    json!({"net1": {"IPAMConfig": null, "Links": null, "Aliases": ["7e04d851bebf"],
        "NetworkID": "2ec0", "EndpointID": "3f60", "IPAddress": "172.17.0.2", "DriverOpts": null}})
}

const DONE: (u16, Value) = (204, Value::Null);

#[test]
fn a_container_is_struck_looked_at_and_put_back() {
    let (path, table) = ("/v1.41/containers/taxi", "docker = { container = \"taxi\" }");
    for (how, call, status, cure) in [
        (Strike::Kill, "kill", "exited", "start"),
        (Strike::Terminate, "stop?t=8", "exited", "start"),
        (Strike::Pause, "pause", "paused", "unpause"),
    ] {
        let hands = Scripted::new([container("running", &in_a_network()), DONE]);
        let outsiders = one(table, &hands);
        now(outsiders.check([&node()])).unwrap();
        now(outsiders.strike(&node(), how)).unwrap();
        assert_eq!(hands.take(), [format!("GET {path}/json"), format!("POST {path}/{call}")]);
        hands.then([container(status, &in_a_network())]);
        let seen = now(outsiders.health(&node())).unwrap();
        assert_eq!(seen, Health::Down(format!("the engine says that it is {status}")));
        hands.take();
        hands.then([
            container(status, &in_a_network()),
            DONE,
            container("running", &in_a_network()),
        ]);
        now(outsiders.start(&node())).unwrap();
        assert_eq!(hands.take()[1], format!("POST {path}/{cure}"));
    }
}

#[test]
fn a_container_comes_back_into_the_networks_that_it_was_in() {
    let table = "docker = { container = \"taxi\" }";
    let hands = Scripted::new([container("running", &in_a_network())]);
    let outsiders = one(table, &hands);
    now(outsiders.check([&node()])).unwrap();
    let tag = outsiders.tag(&node());
    hands.then([container("running", &in_a_network()), (200, Value::Null)]);
    now(outsiders.disconnect(&node())).unwrap();
    let body = r#"{"Container":"taxi","Force":true}"#;
    assert_eq!(hands.take()[2], format!("POST /v1.41/networks/net1/disconnect {body}"));
    hands.then([container("running", &json!({}))]);
    let seen = now(outsiders.health(&node())).unwrap();
    assert_eq!(seen, Health::Down("it is off net1".to_owned()));

    // Another process, which has nothing but the tag.
    let other = Scripted::new([
        container("running", &json!({})),
        (200, Value::Null),
        container("running", &in_a_network()),
    ]);
    let outsiders = one(table, &other);
    outsiders.recall(&node(), &tag);
    now(outsiders.start(&node())).unwrap();
    let asked = other.take();
    assert!(asked[1].starts_with("POST /v1.41/networks/net1/connect "), "{asked:?}");
    assert!(asked[1].contains(r#""Aliases":["7e04d851bebf"]"#), "{asked:?}");
}

#[test]
fn what_the_engine_says_is_told() {
    let message = json!({"message": "No such container: taxi"});
    let hands = Scripted::new([(404, message)]);
    let why = now(one("docker = { container = \"taxi\" }", &hands).check([&node()])).unwrap_err();
    assert_eq!(why, "[victims.\"a/api-1\"]: the engine says 404: No such container: taxi");
}

/// `GET /api/v1/namespaces/taxi/pods`: name and whether it is ready.
fn pods(pods: &[(&str, bool)]) -> (u16, Value) {
    let item = |(name, ready): &(&str, bool)| {
        json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "namespace": "taxi"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": if *ready { "True" } else { "False" }}]}})
    };
    let items: Vec<Value> = pods.iter().map(item).collect();
    (200, json!({"kind": "PodList", "apiVersion": "v1", "items": items}))
}

#[test]
fn a_pod_is_deleted_and_missed_until_another_is_ready() {
    let table = "kubernetes = { server = \"https://127.0.0.1:6443\", namespace = \"taxi\", \
                 selector = \"app=core,tier in (a)\", token = { env = \"PATH\" } }";
    for (how, grace) in [(Strike::Kill, true), (Strike::Terminate, false)] {
        let hands = Scripted::new([pods(&[("core-b", true), ("core-a", true)])]);
        let outsiders = one(table, &hands);
        now(outsiders.check([&node()])).unwrap();
        let list = "GET /api/v1/namespaces/taxi/pods?labelSelector=app%3Dcore%2Ctier+in+%28a%29";
        assert_eq!(hands.take(), [list]);
        hands.then([pods(&[("core-b", true), ("core-a", true)]), (200, json!({}))]);
        now(outsiders.strike(&node(), how)).unwrap();
        let asked = hands.take();
        assert!(asked[1].starts_with("DELETE /api/v1/namespaces/taxi/pods/core-a "), "{asked:?}");
        assert!(asked[1].contains("\"preconditions\":{\"uid\":\"uid-core-a\"}"), "{asked:?}");
        assert_eq!(asked[1].contains("\"gracePeriodSeconds\":0"), grace, "{asked:?}");
        let token = format!("Bearer {}", std::env::var("PATH").unwrap());
        assert_eq!(hands.headers.borrow()["authorization"], token.as_str());
        hands.then([pods(&[("core-b", true), ("core-c", false)])]);
        let seen = now(outsiders.health(&node())).unwrap();
        assert_eq!(seen, Health::Down("1 of 2 pods are ready".to_owned()));
        hands.then([
            pods(&[("core-b", true), ("core-c", false)]),
            pods(&[("core-b", true), ("core-c", true)]),
        ]);
        now(outsiders.start(&node())).unwrap();
    }
    let hands = Scripted::new([(403, json!({"kind": "Status", "message": "pods is forbidden"}))]);
    let why = now(one(table, &hands).check([&node()])).unwrap_err();
    assert!(why.ends_with("the API says 403: pods is forbidden"), "{why}");
    assert!(!one(table, &hands).can(&node(), Strike::Pause));
}

#[test]
fn a_unit_is_struck_by_systemctl_and_started_again() {
    let shown = |state: &str| {
        let text = format!("LoadState=loaded\nActiveState={state}\nMainPID=0\n");
        (0, Value::String(text))
    };
    let printed = || (0, Value::String(String::new()));
    let table = "systemd = { unit = \"taxi.service\", user = true }";
    for (how, words) in [
        (Strike::Kill, "kill --signal=SIGKILL"),
        (Strike::Terminate, "stop"),
        (Strike::Pause, "kill --signal=SIGSTOP"),
    ] {
        let hands = Scripted::new([shown("active"), printed()]);
        let outsiders = one(table, &hands);
        now(outsiders.check([&node()])).unwrap();
        now(outsiders.strike(&node(), how)).unwrap();
        assert_eq!(hands.take()[1], format!("systemctl --user {words} taxi.service"));
        hands.then([shown("failed")]);
        let seen = now(outsiders.health(&node())).unwrap();
        assert_eq!(seen, Health::Down("systemd says that it is failed".to_owned()));
        hands.take();
        hands.then([printed(), printed(), printed(), shown("active")]);
        now(outsiders.start(&node())).unwrap();
        let asked = hands.take();
        assert_eq!(asked[0], "systemctl --user kill --signal=SIGCONT taxi.service");
        assert_eq!(asked[2], "systemctl --user start taxi.service");
    }
    let unknown = (0, Value::String("LoadState=not-found\nActiveState=inactive\n".into()));
    let why = now(one(table, &Scripted::new([unknown])).check([&node()])).unwrap_err();
    assert!(why.ends_with("there is no unit taxi.service here"), "{why}");
}

#[test]
fn calls_strike_heal_and_look_and_their_secrets_do_not_show() {
    let table = "[victims.\"a/api-1\".http]\n\
                 pause = { call = \"POST http://127.0.0.1:9/pause?x=1\", json = { for = 3 } }\n\
                 heal = \"DELETE http://127.0.0.1:9/pause\"\n\
                 probe = \"GET http://127.0.0.1:9/health\"\n\
                 headers = { authorization = { env = \"PATH\" }, x-who = \"robots\" }\n";
    let read = victims(table).unwrap();
    let secret = std::env::var("PATH").unwrap();
    let hands = Scripted::new([(200, json!({"ok": true})), (500, json!(secret))]);
    let outsiders = Outsiders::new(&read, &(hands.clone() as Rc<dyn Hands>));
    now(outsiders.check([&node()])).unwrap();
    let why = now(outsiders.pause(&node())).unwrap_err().to_string();
    assert!(!why.contains(&secret) && why.contains("500 ***"), "{why}");
    assert_eq!(hands.headers.borrow()["x-who"], "robots");
    let asked = ["GET /health", "POST /pause?x=1 {\"for\":3}"];
    assert_eq!(hands.take(), asked);
    hands.then([(204, Value::Null), (503, json!("warming")), (200, Value::Null)]);
    assert_eq!(now(outsiders.start(&node())).unwrap(), "204");
    assert_eq!(hands.take(), ["DELETE /pause", "GET /health", "GET /health"]);
    assert!(!outsiders.can(&node(), Strike::Kill));
}

#[test]
fn a_file_that_says_too_little_or_too_much_is_an_error_with_its_line() {
    let at = |table: &str| victims(&format!("\n[victims.\"a/api-1\"]\n{table}\n")).unwrap_err();
    for (table, words) in [
        ("", "has none: must have one of process, exec, http, docker, systemd, kubernetes"),
        ("exec = {}\nsystemd = { unit = \"x\" }", "has exec and systemd"),
        ("process = {}", "needs one of `pid`, `pid_file` and `command`"),
        ("process = { pid = 7, pid_file = \"x\" }", "needs one of"),
        ("process = { pit = 7 }", "did you mean `pid`"),
        ("exec = { probe = [\"true\"] }\nprobe = {}", "one of `call` and `command`"),
        ("docker = { container = \"x\", socket = \"s\", host = \"http://h\" }", "keep one"),
        ("docker = { container = \"x\", host = \"http://h.example:2375\" }", "`h.example` is not"),
        ("exec = { on = \"h.example\" }", "`h.example` is not this machine"),
        (
            "kubernetes = { server = \"https://k\", namespace = \"a/b\", selector = \"x\" }",
            "`a/b` is none",
        ),
    ] {
        let why = at(table);
        assert!(why.starts_with("target.toml:") && why.contains(words), "{table}: {why}");
    }
    let allowed = "fault_hosts = [\"h.example\"]\n[victims.\"a/api-1\"]\n\
                   docker = { container = \"x\", host = \"http://h.example:2375\" }\n";
    assert_eq!(victims(allowed).unwrap().names(), [node()]);
    assert!(victims("name = \"other keys\"\n").unwrap().is_empty());
}

#[test]
fn the_docs_name_every_provider() {
    let docs = include_str!("../../../docs/chaos.md");
    for entry in PROVIDERS {
        assert!(docs.contains(&format!("| `{}` |", entry.name)), "{} is missing", entry.name);
        assert!(docs.contains(entry.means), "{}: {}", entry.name, entry.means);
    }
}
