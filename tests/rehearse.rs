//! Rehearsals: the load shape agrees with a virtual run of the same scenario, whether it was counted
//! or reckoned from a sample, and wrong input is told.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::process::{Command, Output};

use serde_json::Value;

fn robot_city(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn rehearsed(args: &[&str]) -> Value {
    let output = robot_city(&[&["rehearse"], args, &["--json", "-"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the run itself counted: ops by kind.
fn ran(args: &[&str]) -> Vec<(String, f64)> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_string_lossy().into_owned();
    let fixed = ["--time", "virtual", "--chaos", "none", "--ui", "none", "--out", folder.as_str()];
    let run = robot_city(&[&["run"], args, &fixed].concat());
    let file = out.path().join("latest/summary.json");
    let summary = std::fs::read_to_string(file).unwrap_or_else(|_| panic!("{}", text(&run)));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let ops = summary["ops"].as_array().unwrap().iter();
    ops.map(|op| (op["op"].as_str().unwrap().to_owned(), op["count"].as_f64().unwrap())).collect()
}

fn ops(rehearsed: &Value) -> Vec<(String, f64)> {
    let ops = rehearsed["ops"].as_array().unwrap().iter();
    ops.map(|op| (op["op"].as_str().unwrap().to_owned(), op["total"].as_f64().unwrap())).collect()
}

fn total(ops: &[(String, f64)], kind: &str) -> f64 {
    ops.iter().find(|(op, _)| op == kind).map_or(0.0, |(_, count)| *count)
}

/// Smoke without its faults, long enough that most of it is not in the sample: 60 of 240 seconds.
const LONG: [&str; 9] = [
    "scenarios/smoke.toml",
    "--seed",
    "7",
    "--duration",
    "240s",
    "--set",
    "backend.token_ttl=30s",
    "--set",
    "load.passengers=40",
];

#[test]
fn a_sample_extends_to_what_the_whole_run_sends() {
    let sampled = rehearsed(&[&LONG[..], &["--budget", "500"]].concat());
    assert_eq!(sampled["basis"]["way"], "sampled");
    assert!(sampled["basis"]["demand_s"].as_f64().unwrap() < 100.0);
    let run = ran(&LONG);
    let reckoned = ops(&sampled);
    for (kind, count) in &run {
        println!("{kind:<28}{count:>10}{:>12.1}", total(&reckoned, kind));
    }
    let mut wrong = Vec::new();
    for (kind, count) in &run {
        let told = total(&reckoned, kind);
        // Both are draws: a tenth, and three deviations of what the sample counted of it, whose
        // error grows with the extension (four times here).
        let noise = 3.0 * (count + 4.0 * count).sqrt();
        if (told - count).abs() > 0.1 * count + noise + 1.0 {
            wrong.push(format!("{kind}: {count} in the run, {told} in the rehearsal"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = |ops: &[(String, f64)]| ops.iter().map(|(_, count)| count).sum::<f64>();
    let share = all(&reckoned) / all(&run);
    assert!((0.95..1.05).contains(&share), "ops in all: {share}");
}
