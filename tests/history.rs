//! Histories as others see them: the JSON Schema fits what is written, a history that somebody else
//! wrote is judged, `check` says what the run said, and each violation has its file of evidence.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use robot_city::history::reader::Reader;
use serde_json::Value;

/// Records of one kind of a real history that are held against the schema.
const EACH: usize = 100;

fn robot_city(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A virtual run; its folder.
fn run(args: &[&str], out: &Path, code: i32) -> PathBuf {
    let fixed = ["run", "scenarios/smoke.toml", "--time", "virtual", "--ui", "none", "--out"];
    let output = robot_city(&[fixed.as_slice(), &[out.to_str().unwrap()], args].concat());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    out.join("latest").canonicalize().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Whether a line is what `robot-city schema history` says, or what is wrong with it.
fn against_schema(lines: impl Iterator<Item = String>) -> Vec<String> {
    let printed = robot_city(&["schema", "history"]);
    assert!(printed.status.success(), "{}", text(&printed));
    let schema: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("history.json", schema).unwrap();
    let index = compiler.compile("history.json", &mut schemas).unwrap();
    lines
        .filter_map(|line| {
            let value: Value = serde_json::from_str(&line).unwrap();
            let wrong = schemas.validate(&value, index).err()?;
            Some(format!("{line}\n{wrong:#}"))
        })
        .collect()
}

#[test]
fn the_schema_fits_what_is_written_and_refuses_what_is_not() {
    let out = tempfile::tempdir().unwrap();
    let folder = run(&["--seed", "7"], out.path(), 0);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let lines = Reader::lines(&folder).unwrap().map(Result::unwrap).filter(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        let kind = format!("{} {}", value["type"], value["ask"]["op"]);
        let count = seen.entry(kind).or_default();
        *count += 1;
        *count <= EACH
    });
    let wrong = against_schema(lines);
    assert!(wrong.is_empty(), "{}", wrong[0]);
    assert!(seen.len() > 20, "ops of many kinds, and other records: {seen:?}");
    let bad = [
        r#"{"type":"tram"}"#,
        r#"{"type":"phase","phase":"load"}"#,
        r#"{"type":"phase","phase":"lunch","at_ns":1}"#,
        r#"{"type":"op","id":12,"robot":"driver/00001"}"#,
    ];
    assert_eq!(against_schema(bad.iter().map(ToString::to_string)).len(), bad.len());
}

/// Where `scripts/test` puts `DuckDB`.
const PYTHON: &str = "target/clients/bin/python";
/// Counts the ops of a history, as `docs/history.md` asks for them.
const DUCKDB: &str = "import duckdb, sys; print(duckdb.sql(f\"select count(*) from \
    read_json('{sys.argv[1]}', format='newline_delimited', compression='zstd', \
    union_by_name=true, ignore_errors=true) where type = 'op'\").fetchall()[0][0])";

fn count(command: &mut Command) -> usize {
    let output = command.output().unwrap();
    let told = text(&output);
    told.trim().parse().unwrap_or_else(|_| panic!("no number, but: {told}"))
}

#[test]
fn jq_and_duckdb_read_what_a_kill_left_at_any_byte() {
    let out = tempfile::tempdir().unwrap();
    let folder = run(&["--seed", "3"], out.path(), 0);
    let whole = std::fs::read(folder.join("history/0000.jsonl.zst")).unwrap();
    let cut = out.path().join("cut");
    std::fs::create_dir_all(cut.join("history")).unwrap();
    let file = cut.join("history/0000.jsonl.zst");
    let mut before = 0;
    for tenth in [1, 3, 5, 8, 10] {
        // Not where a frame ends, but for the last.
        std::fs::write(&file, &whole[..whole.len() * tenth / 10]).unwrap();
        let lines = Reader::lines(&cut).unwrap().map_while(Result::ok);
        let ours = lines.filter(|line| line.contains(r#""type":"op""#)).count();
        let pipe =
            r#"zstd -dcq "$0" 2>/dev/null | jq -R 'fromjson? | select(.type == "op") | 1' | wc -l"#;
        let by_jq = count(Command::new("sh").args(["-c", pipe]).arg(&file));
        let by_duckdb = count(Command::new(PYTHON).args(["-c", DUCKDB]).arg(&file));
        assert_eq!(by_jq, by_duckdb, "of {tenth} tenths");
        // They may read a part of a frame that was cut; we take none of it.
        assert!(before < ours && ours <= by_jq, "{before} < {ours} <= {by_jq}: {tenth} tenths");
        before = ours;
        assert!(tenth < 10 || ours == by_jq, "{ours} of {by_jq}");
    }
}

#[test]
fn a_history_from_elsewhere_is_judged() {
    let lines = |name: &str| {
        let text = std::fs::read_to_string(format!("tests/foreign/{name}.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["healthy", "two-jobs-at-once"] {
        let wrong = against_schema(lines(name).into_iter());
        assert!(wrong.is_empty(), "{name}: {}", wrong[0]);
    }
    let broken = robot_city(&["check", "tests/foreign/two-jobs-at-once.jsonl"]);
    let told = text(&broken);
    assert_eq!(broken.status.code(), Some(1), "{told}");
    let chain = "driver/00412 accepted job J7 at 31.204 s (ok, op 6)";
    assert!(told.contains(chain) && told.contains("2 live jobs at once from 31.377 s"), "{told}");
    let healthy = robot_city(&["check", "tests/foreign/healthy.jsonl"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy));
    // The same as a folder with packed segments and no plan; and one that ends in a line.
    let out = tempfile::tempdir().unwrap();
    std::fs::create_dir(out.path().join("history")).unwrap();
    let whole = std::fs::read("tests/foreign/two-jobs-at-once.jsonl").unwrap();
    let packed = zstd::encode_all(&whole[..], 3).unwrap();
    std::fs::write(out.path().join("history/0000.jsonl.zst"), packed).unwrap();
    let folder = robot_city(&["check", out.path().to_str().unwrap()]);
    assert_eq!(folder.status.code(), Some(1), "{}", text(&folder));
    let cut = out.path().join("cut.jsonl");
    std::fs::write(&cut, &whole[..whole.len() - 60]).unwrap();
    let cut = robot_city(&["check", cut.to_str().unwrap()]);
    assert!(text(&cut).contains("2 live jobs at once"), "{}", text(&cut));
    std::fs::write(out.path().join("bad.jsonl"), "{\"type\":\"tram\"}\n\n").unwrap();
    let bad = robot_city(&["check", out.path().join("bad.jsonl").to_str().unwrap()]);
    let told = text(&bad);
    assert_eq!(bad.status.code(), Some(64), "{told}");
    assert!(told.contains("bad.jsonl:1: ") && told.contains("schema history"), "{told}");
}

#[test]
fn check_says_what_the_run_said_and_each_violation_has_its_evidence() {
    let out = tempfile::tempdir().unwrap();
    let folder = run(&["--seed", "3", "--plant", "charge-twice"], out.path(), 1);
    let summary = json(&folder.join("summary.json"));
    let laws = summary["laws"].as_array().unwrap();
    let violations: Vec<&Value> =
        laws.iter().flat_map(|law| law["violations"].as_array().unwrap()).collect();
    assert!(!violations.is_empty());
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    let junit = std::fs::read_to_string(folder.join("junit.xml")).unwrap();
    for violation in &violations {
        let name = violation["bundle"].as_str().unwrap();
        let bundle = json(&folder.join(name));
        assert_eq!(bundle["violation"]["what"], violation["what"]);
        assert_eq!(bundle["plants"][0], "charge-twice");
        let records = bundle["records"].as_array().unwrap();
        let proof = violation["ops"].as_array().unwrap();
        assert!(proof.iter().all(|op| records.iter().any(|record| record["id"] == *op)), "{name}");
        let lines = records.iter().map(ToString::to_string);
        assert!(against_schema(lines).is_empty(), "the records are those of a history");
        let chain = violation["chain"].as_array().unwrap();
        assert!(!chain.is_empty() && junit.contains(name), "{name}");
        // A page may write the slash in its own way.
        assert!(page.contains(name.trim_start_matches("evidence/")), "{name}");
    }
    let check = robot_city(&["check", folder.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(1));
    let live = std::fs::read_to_string(folder.join("summary.txt")).unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stdout), live, "to the letter");
    // Rendered again, all is as it was; what an earlier judgement left behind goes.
    let stray = folder.join("evidence/no-such-law-1.json");
    std::fs::write(&stray, "{}").unwrap();
    let report = robot_city(&["report", folder.to_str().unwrap()]);
    assert!(report.status.code() == Some(1) || report.status.success(), "{}", text(&report));
    assert_eq!(json(&folder.join("summary.json")), summary);
    assert!(!stray.exists());
}

#[test]
fn a_gate_that_is_missed_ends_the_demand() {
    let out = tempfile::tempdir().unwrap();
    let gate = r#"gates=["driver.ping response p(50) < 1us over 1s abort after 3s"]"#;
    let folder = run(&["--seed", "7", "--set", gate], out.path(), 3);
    let summary = json(&folder.join("summary.json"));
    assert_eq!(summary["verdict"], "gate_missed");
    let seconds = summary["load"]["seconds"].as_f64().unwrap();
    assert!((3.0..6.0).contains(&seconds), "of twelve: {seconds}");
    let reason = summary["reasons"][0].as_str().unwrap();
    assert!(reason.contains("over 1s abort") && reason.contains("ended for it"), "{reason}");
    assert_eq!(summary["complete"], true, "it is drained, healed and read back as always");
    let check = robot_city(&["check", folder.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(3), "{}", text(&check));
    let around = concat!(
        r#"gates=["driver.ping rate(ok) > 1% before faults 2s", "#,
        r#""driver.ping rate(ok) > 1% during faults", "driver.ping rate(ok) > 1% over 2s"]"#
    );
    let folder = run(&["--seed", "7", "--set", around], out.path(), 0);
    let gates = json(&folder.join("summary.json"))["gates"].clone();
    for gate in gates.as_array().unwrap() {
        assert_eq!(gate["verdict"], "ok", "{gates:#}");
        assert!(gate["when"].is_string(), "{gates:#}");
    }
    let wrong = robot_city(&[
        "run",
        "scenarios/smoke.toml",
        "--set",
        r#"gates=["driver.ping rate(ok) > 1% between"]"#,
    ]);
    assert_eq!(wrong.status.code(), Some(64));
    let told = text(&wrong);
    assert!(told.contains("`gates[0]`") && told.contains("`between` is not understood"), "{told}");
}
