//! The leader of the storage dies under load, in both worlds: while it is gone, others go on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// Longer than any election, shorter than the demand. Nobody else is hurt.
const PLAN: &str = r#"
[[fault]]
kind = "kill"
nodes = ["b/storage-1"]
at = "2s"
for = "8s"
"#;
/// By then another leads; far more than it takes.
const ELECTED_WITHIN_NS: u64 = 4_000_000_000;

/// The records of a run with that plan, which must break no law.
fn records(time: &str, out: &Path) -> Vec<Value> {
    let plan = out.join("leader.toml");
    fs::write(&plan, PLAN).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--seed", "7", "--ui", "none", "--time", time])
        .args(["--set", "backend.storage_replicas=3"])
        .arg("--chaos")
        .arg(&plan)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    let log = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{told}{log}");
    let folder = out.join("latest/history").canonicalize().unwrap();
    let mut segments: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "zst"));
    segments.sort();
    let unpack = |path| String::from_utf8(zstd::decode_all(fs::File::open(path).unwrap()).unwrap());
    let lines: Vec<String> = segments.into_iter().map(|path| unpack(path).unwrap()).collect();
    let parse = |line| serde_json::from_str(line).unwrap();
    lines.iter().flat_map(|text| text.lines().map(parse)).collect()
}

fn change_at(records: &[Value], change: &str) -> u64 {
    let found = records.iter().find(|record| record["change"] == change).unwrap();
    found["at_ns"].as_u64().unwrap()
}

/// While the first leader is dead, jobs are asked for and accepted, and next to nothing fails.
fn goes_on_without_its_leader(time: &str) {
    let out = tempfile::tempdir().unwrap();
    let records = records(time, out.path());
    let from = change_at(&records, "injected") + ELECTED_WITHIN_NS;
    let to = change_at(&records, "healed");
    let within = |record: &&Value| {
        let at = |key: &str| record[key].as_u64().unwrap_or_default();
        record["type"] == "op" && at("sent_ns") >= from && at("done_ns") <= to
    };
    let ops: Vec<&Value> = records.iter().filter(within).collect();
    for op in ["passenger.request_job", "driver.accept"] {
        let ended: Vec<&&Value> = ops.iter().filter(|record| record["ask"]["op"] == op).collect();
        assert!(ended.iter().any(|record| record["outcome"] == "ok"), "{time}: no {op} was ok");
        let unknown = ended.iter().filter(|record| record["outcome"] == "info").count();
        assert!(unknown * 10 <= ended.len(), "{time}: {unknown} of {} {op}", ended.len());
    }
}

#[test]
fn processes_go_on_without_the_leader_of_the_storage() {
    goes_on_without_its_leader("real");
}

#[test]
fn the_virtual_world_goes_on_without_the_leader_of_the_storage() {
    goes_on_without_its_leader("virtual");
}
