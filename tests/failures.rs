//! From a failure to its cause: a run again, the same way; the smallest one that still fails; and a
//! fault that cannot be played is refused before anything starts. All in virtual time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Exit code and everything that was printed.
fn robot_city(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// A virtual run of the smoke scenario; the folder of the run is handed back.
fn run(out: &Path, more: &[&str], code: i32) -> PathBuf {
    let place = out.to_string_lossy();
    let mut args = vec!["run", "scenarios/smoke.toml", "--time", "virtual", "--ui", "none"];
    args.extend(["--out", &place]);
    args.extend(more);
    let (exit, text) = robot_city(&args);
    assert_eq!(exit, code, "{text}");
    out.join("latest").canonicalize().unwrap()
}

fn replay(run: &Path, out: &Path, more: &[&str]) -> (i32, String) {
    let (run, out) = (run.to_string_lossy(), out.to_string_lossy());
    let mut args = vec!["replay", &run, "--out", &out];
    args.extend(more);
    robot_city(&args)
}

#[test]
fn a_virtual_run_is_played_again_the_very_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = run(folder.path(), &["--seed", "7"], 0);
    let (code, text) = replay(&recorded, folder.path(), &["--times", "2"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("replay: identical: 1").count(), 2, "{text}");
    assert!(text.contains("broke no law in 2 runs"), "{text}");

    // The end of the recorded history is lost, as after a SIGKILL.
    let segment = recorded.join("history/0000.jsonl.zst");
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..whole.len() / 2]).unwrap();
    let (code, text) = replay(&recorded, folder.path(), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("the end of the recorded history was lost"), "{text}");
}

#[test]
fn a_service_that_reads_the_machines_clock_is_caught_by_the_replay() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = run(folder.path(), &["--seed", "7", "--plant", "reads-clock"], 0);
    let (code, text) = replay(&recorded, folder.path(), &[]);
    assert_eq!(code, 70, "{text}");
    assert!(text.contains("replay: differs at record "), "{text}");
    assert!(text.contains("\"expires_in_ms\":"), "the record is not shown: {text}");
    assert!(text.contains("this build does not agree with itself"), "{text}");
}

#[test]
fn a_recorded_run_of_another_build_is_told_from_a_defect() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = run(folder.path(), &["--seed", "7"], 0);
    let other = run(folder.path(), &["--seed", "7", "--label", "build=other"], 0);
    // As another build might have recorded it: here, with another header.
    fs::copy(other.join("history/0000.jsonl.zst"), recorded.join("history/0000.jsonl.zst"))
        .unwrap();
    fs::copy(other.join("history/manifest.json"), recorded.join("history/manifest.json")).unwrap();
    let (code, text) = replay(&recorded, folder.path(), &[]);
    assert_eq!(code, 70, "{text}");
    assert!(text.contains("replay: differs at record 1;"), "{text}");
    assert!(text.contains("this build agrees with itself"), "{text}");
}

#[test]
fn a_fault_without_a_meaning_in_the_world_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("torn.toml");
    let text = "[[fault]]\nkind = \"torn-write\"\nselect = { role = \"storage\" }\nmode = \"all\"\n\
                at = \"3s\"\nfor = \"4s\"\n";
    fs::write(&plan, text).unwrap();
    let plan = plan.to_string_lossy();
    let out = folder.path().join("out");
    let place = out.to_string_lossy();
    let args = ["run", "scenarios/smoke.toml", "--chaos", &plan, "--out", &place];
    let (code, text) = robot_city(&args);
    assert_eq!(code, 64, "{text}");
    let says = "torn.toml:2: `fault.kind`: `torn-write` has no meaning in the real world";
    assert!(text.contains(says) && text.contains("--time virtual"), "{text}");
    assert!(!out.exists(), "nothing was started");

    // Where it has one, it bites and heals. A plan that was made for that world and is moved into
    // the other by hand is refused too.
    let recorded = run(&out, &["--seed", "7", "--chaos", &plan], 0);
    let summary = fs::read_to_string(recorded.join("summary.txt")).unwrap();
    assert!(summary.contains("✓ torn-write a/storage-1 and 2 more: "), "{summary}");
    let file = recorded.join("plan.toml");
    let moved = fs::read_to_string(&file).unwrap().replace("time = \"virtual\"", "time = \"real\"");
    fs::write(&file, moved).unwrap();
    let (code, text) = replay(&recorded, &out, &[]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("`faults.fault[0].kind`: `torn-write` has no meaning"), "{text}");
}

/// Four faults; the one that the planted bug needs is the kill of the storage.
const FOUR: &str = r#"
[[fault]]
kind = "kill"
select = { role = "core", az = "c" }
mode = "one"
at = "1s"
for = "2s"

[[fault]]
kind = "kill"
nodes = ["b/storage-1"]
at = "4s"
for = "2s"

[[fault]]
kind = "latency"
links = { az = "a" }
latency = "60ms"
jitter = "20ms"
at = "7s"
for = "2s"

[[fault]]
kind = "skew"
nodes = ["a/api-1"]
by = "900ms"
at = "9s"
for = "2s"
"#;

#[test]
fn a_failure_is_shrunk_to_the_one_fault_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("four.toml");
    fs::write(&plan, FOUR).unwrap();
    let plan = plan.to_string_lossy();
    // One storage node: what it loses, all have lost.
    let alone = ["--set", "backend.storage_replicas=1", "--chaos", &plan];
    let bug = [&["--seed", "15", "--plant", "ack-before-write"], &alone[..]].concat();
    let recorded = run(&folder.path().join("out"), &bug, 1);
    let latest = fs::read_link(folder.path().join("out/latest")).unwrap();

    let law = "nothing-acknowledged-is-lost";
    let args = ["shrink", &recorded.to_string_lossy(), "--law", law];
    let (code, text) = robot_city(&args);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("faults        4 → 1"), "{text}");
    assert!(text.contains(&format!("checked: the written files broke {law} in 1 of 1")), "{text}");
    assert_eq!(fs::read_link(folder.path().join("out/latest")).unwrap(), latest);

    // What was written stands alone: it is moved away, and run by the printed command.
    let moved = folder.path().join("elsewhere");
    fs::rename(recorded.join("shrunk"), &moved).unwrap();
    let chaos = fs::read_to_string(moved.join("chaos.toml")).unwrap();
    assert!(chaos.contains("nodes = [\"b/storage-1\"]\nat = \"4s\"\nfor = \"2s\"\n"), "{chaos}");
    let (_, command) = text.rsplit_once("robot-city run ").unwrap();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    assert_eq!(words, ["--seed=15", "--time", "virtual", "--plant", "ack-before-write"]);
    let (scenario, out) = (moved.join("scenario.toml"), folder.path().join("again"));
    let (scenario, place) = (scenario.to_string_lossy(), out.to_string_lossy());
    let mut args = vec!["run", &*scenario, "--out", &*place];
    args.extend(words);
    let (code, text) = robot_city(&args);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("law broken: {law}")), "{text}");
}

#[test]
fn accepts_after_the_end_of_their_offers_are_found_by_a_few_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_string_lossy();
    let swarm = ["run", "scenarios/crush.toml", "--time", "virtual", "--seeds", "1..8"];
    let args: Vec<_> = swarm.into_iter().chain(["--plant", "late-accept", "--out", &out]).collect();
    let (code, text) = robot_city(&args);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("offer-dies: driver/"), "{text}");
}

#[test]
fn a_driver_who_stays_busy_after_a_cancel_is_missed_in_calm_weather() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_string_lossy();
    let swarm = ["run", "scenarios/crush.toml", "--time", "virtual", "--seeds", "1..2"];
    // Long enough for a driver to be idle beyond every bound.
    let calm = ["--chaos", "none", "--set", "time.duration=90s"];
    let bug = ["--plant", "busy-leak", "--out", &out];
    let args: Vec<_> = swarm.into_iter().chain(calm).chain(bug).collect();
    let (code, text) = robot_city(&args);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("driver-freed: driver/"), "{text}");
}

#[test]
fn a_search_that_reaches_its_limit_writes_the_best_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let bug = ["--seed", "7", "--plant", "double-dispatch"];
    let recorded = run(folder.path(), &bug, 1);
    let recorded = recorded.to_string_lossy();
    let args = ["shrink", &recorded, "--law", "one-driver-per-job", "--limit", "3"];
    let (code, text) = robot_city(&args);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("stopped at the limit of runs"), "{text}");
    assert!(text.contains("after 3 runs"), "{text}");
    assert!(Path::new(&*recorded).join("shrunk/scenario.toml").exists());
}

#[test]
fn a_run_that_broke_nothing_cannot_be_shrunk() {
    let (code, text) = robot_city(&["shrink", "reports/golden/smoke-virtual-7"]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("broke no law, so there is nothing to shrink"), "{text}");
}
