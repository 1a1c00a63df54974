//! What a plan's limits do in a run: it is called off when too little ends well, and what would reach
//! too far is refused. In virtual time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{fs, path::Path, process::Command};

/// Exit code and everything that was printed.
fn robot_city(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn run(folder: &Path, plan: &str) -> (Option<i32>, String) {
    let (chaos, out) = (folder.join("plan.toml"), folder.join("out"));
    fs::write(&chaos, plan).unwrap();
    let (chaos, out) = (chaos.to_string_lossy(), out.to_string_lossy());
    robot_city(&[
        "run",
        "scenarios/smoke.toml",
        "--time",
        "virtual",
        "--seed",
        "7",
        "--set",
        "time.duration=60s",
        "--chaos",
        &chaos,
        "--out",
        &out,
    ])
}

/// Nothing that a robot asks for is answered, for a long time.
const SILENCE: &str =
    "[[fault]]\nkind = \"reset\"\nlinks = { from = \"robots\" }\nat = \"5s\"\nfor = \"50s\"\n";

#[test]
fn a_run_in_which_too_little_ends_well_is_called_off_and_healed() {
    let folder = tempfile::tempdir().unwrap();
    let limits = "[limits]\nabort_above = 50\nabort_after = \"5s\"\n";
    let (code, text) = run(folder.path(), &[limits, SILENCE].concat());
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("called off"), "{text}");
    let summary = |name: &str| {
        let text = fs::read(folder.path().join("out/latest").join(name)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    };
    let first = summary("summary.json");
    let reasons = first["reasons"].to_string();
    assert!(
        reasons.contains("called off") && reasons.contains("`limits.abort_above`"),
        "{reasons}"
    );
    let fault = &first["faults"][0];
    let healed = fault["healed_s"].as_f64().unwrap();
    assert!((10.0..30.0).contains(&healed), "{fault}");
    assert!(first["left_behind"].as_array().unwrap().is_empty());

    // The history alone says the same.
    let latest = folder.path().join("out/latest");
    let (again, text) = robot_city(&["check", &latest.to_string_lossy()]);
    assert_eq!(again, code, "{text}");
    assert!(text.contains("called off"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let (_, text) = run(folder.path(), SILENCE);
    assert!(!text.contains("called off"), "{text}");
}

#[test]
fn a_plan_that_must_reach_too_far_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = "[limits]\nazs = 1\n[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\", \"b/core-1\"]\n\
                at = \"5s\"\nfor = \"5s\"\n";
    let (code, text) = run(folder.path(), plan);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("plan.toml:6: `limits.azs`"), "{text}");
    assert!(!folder.path().join("out").exists(), "nothing was started");
}
