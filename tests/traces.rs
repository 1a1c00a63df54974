//! Traces from the robot to the disk and back: recorded, found by op, job and trace, drawn, and tied
//! to the evidence of a broken law; in both worlds.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, channel},
};

use serde_json::Value;

fn robot_city(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), told + &String::from_utf8_lossy(&output.stderr))
}

/// A run of the smallest scenario in that world, and its folder.
fn run(out: &Path, time: &str, more: &[&str]) -> (i32, PathBuf) {
    let out = out.to_str().unwrap();
    let mut args = vec!["run", "scenarios/smoke.toml", "--seed", "7", "--time", time];
    args.extend(["--ui", "none", "--out", out]);
    args.extend(more);
    let (code, told) = robot_city(&args);
    assert!(matches!(code, 0..=2), "{told}");
    (code, Path::new(out).join("latest").canonicalize().unwrap())
}

fn summary(run: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap()
}

/// The lines of a folder of segments.
fn lines(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let segments: BTreeSet<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
    let unpack = |path: PathBuf| zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap();
    let text: Vec<u8> = segments.into_iter().flat_map(unpack).collect();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// An op of that kind that ended ok outside of every fault: its number, and its job.
fn an_op(run: &Path, kind: &str) -> (String, String) {
    let ops = lines(&run.join("history"));
    let op = ops.iter().find(|op| op["ask"]["op"] == kind && op["outcome"] == "ok").unwrap();
    let job = op["answer"]["job"]["id"].as_str().or(op["ask"]["job"].as_str());
    (op["id"].as_str().unwrap().to_owned(), job.unwrap_or_default().to_owned())
}

fn trace(run: &Path, id: &str) -> String {
    let (code, told) = robot_city(&["trace", run.to_str().unwrap(), id]);
    assert_eq!(code, 0, "{told}");
    told
}

/// What must hold of the traces of a run in either world.
fn a_request_can_be_followed(run: &Path) {
    let (op, job) = an_op(run, "passenger.request_job");
    let told = trace(run, &op);
    for part in [
        "REQ passenger.request_job",
        "IN  /v1/customer/request",
        "  REQ /orchestration/dispatch/request",
        "    REQ /core/zoning/search",
        "    REQ /core/job/create",
        "      REQ /storage/kv/commit",
        "      OUT /storage/kv/commit",
        "OUT /v1/customer/request",
        "REP passenger.request_job",
    ] {
        assert!(told.contains(part), "nothing of `{part}` in\n{told}");
    }
    let digits = told.split_whitespace().nth(1).unwrap();
    assert_eq!(digits.len(), 32);
    let by_trace = trace(run, digits);
    assert!(told.contains(by_trace.trim()), "{by_trace}\nis not in\n{told}");
    let of_job = trace(run, &job);
    assert!(of_job.contains("REQ driver.accept") && of_job.contains(digits), "{of_job}");
    let (code, said) = robot_city(&["trace", run.to_str().unwrap(), "nothing"]);
    assert!(code == 64 && said.contains("an op's number, a job's id"), "{code}: {said}");
}

#[test]
fn a_virtual_run_is_traced_and_comes_out_the_same_without() {
    let out = tempfile::tempdir().unwrap();
    let (_, first) = run(out.path(), "virtual", &[]);
    a_request_can_be_followed(&first);
    let traces = &summary(&first)["traces"];
    let recorded = traces["recorded"].as_u64().unwrap();
    assert_eq!(recorded as usize, lines(&first.join("traces")).len(), "all are kept");
    assert_eq!(traces["unwritten"], 0);
    let endpoint = |path: &str| {
        let all = traces["endpoints"].as_array().unwrap();
        all.iter().find(|endpoint| endpoint["path"] == path).cloned()
    };
    let created = endpoint("/core/job/create").unwrap();
    assert!(created["count"].as_u64().unwrap() > 0 && created["took_us"]["p50"].as_u64() > Some(0));
    assert!(created["per_s"][0].as_f64().unwrap() > 0.0, "{created}");
    let html = std::fs::read_to_string(first.join("report.html")).unwrap();
    assert!(html.contains("<svg class=\"trace\"") && html.contains("the slowest passenger."));

    let (_, without) = run(out.path(), "virtual", &["--set", "traces.on=false"]);
    assert!(!without.join("traces").exists() && summary(&without)["traces"].is_null());
    let history = |run: &Path| {
        let mut records = lines(&run.join("history"));
        // What ran is not the same: the plans differ. All that happened is.
        records.remove(0);
        records
    };
    assert!(history(&first) == history(&without), "tracing changed what happened");

    let offers_end = "robots.ignores=0.7";
    let more = ["--set", "traces.pings_one_in=1", "--set", offers_end];
    let (_, all) = run(out.path(), "virtual", &more);
    let (ping, _) = an_op(&all, "driver.ping");
    let told = trace(&all, &ping);
    assert!(told.contains("IN  /core/raziel/ping"), "{told}");
    assert!(summary(&all)["traces"]["recorded"].as_u64().unwrap() > recorded);
    // What the backend did for a job by itself is found by the job.
    let hops = lines(&all.join("traces"));
    let tended = hops.iter().find(|hop| hop["path"] == "/core/job/tend").unwrap();
    let lower = u64::from_str_radix(&tended["trace"].as_str().unwrap()[16..], 16).unwrap();
    let told = trace(&all, &(lower & !(1 << 63)).to_string());
    assert!(told.contains("REQ /core/job/tend") && told.contains("REQ passenger."), "{told}");
}

#[test]
fn evidence_of_a_broken_law_carries_its_traces() {
    let out = tempfile::tempdir().unwrap();
    let plant = ["--chaos", "none", "--plant", "double-dispatch"];
    let (code, run) = run(out.path(), "virtual", &plant);
    assert_eq!(code, 1);
    let told = summary(&run);
    let laws = told["laws"].as_array().unwrap();
    let law = laws.iter().find(|law| law["law"] == "one-driver-per-job").unwrap();
    let violation = &law["violations"][0];
    let traces = violation["traces"].as_array().unwrap();
    assert!(traces.len() >= violation["ops"].as_array().unwrap().len(), "{violation}");
    let accepted = traces.iter().map(|id| trace(&run, id.as_str().unwrap()));
    assert!(accepted.into_iter().any(|told| told.contains("REQ /core/job/accept")));
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("evidence of one-driver-per-job"));
    // Judged again, from the folder alone, it is the same.
    let (code, _) = robot_city(&["report", run.to_str().unwrap()]);
    assert_eq!((code, summary(&run)), (0, told));
}

#[test]
fn a_real_run_is_traced_over_udp() {
    let out = tempfile::tempdir().unwrap();
    let (_, run) = run(out.path(), "real", &["--chaos", "none"]);
    a_request_can_be_followed(&run);
    let traces = &summary(&run)["traces"];
    assert!(traces["recorded"].as_u64().unwrap() > 1_000, "{traces}");
    assert_eq!((&traces["note"], &traces["exported"]), (&Value::Null, &Value::Null));
}

/// An OpenTelemetry sink on loopback: its URL, and the bodies that it took.
fn sink() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (bodies, taken) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut said, mut some) = (stream.unwrap(), Vec::new(), [0; 8_192]);
            let body = loop {
                let count = stream.read(&mut some).unwrap();
                said.extend_from_slice(&some[..count]);
                let text = String::from_utf8_lossy(&said);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
                    break serde_json::from_str(body).unwrap();
                }
            };
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            if bodies.send(body).is_err() {
                return;
            }
        }
    });
    (url, taken)
}

#[test]
fn a_run_is_exported_as_open_telemetry() {
    let (url, taken) = sink();
    let out = tempfile::tempdir().unwrap();
    let (_, run) = run(out.path(), "virtual", &["--otlp", &url]);
    let exported = summary(&run)["traces"]["exported"].clone();
    assert_eq!(exported["dropped"], 0, "{exported}");
    let spans: Vec<Value> = taken
        .try_iter()
        .flat_map(|body| body["resourceSpans"].as_array().unwrap().clone())
        .flat_map(|resource| resource["scopeSpans"][0]["spans"].as_array().unwrap().clone())
        .collect();
    assert_eq!(spans.len() as u64, exported["sent"].as_u64().unwrap());
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
    for name in ["/orchestration/dispatch/request", "/v1/customer/request"] {
        let parent = of(name)["parentSpanId"].as_str().unwrap();
        assert!(ids.contains(parent), "{name} hangs in the air");
    }
    assert!(of("passenger.request_job")["parentSpanId"].is_null(), "it begins with the robot");
}
