//! The zoo of planted bugs: a few of them are caught, by the law that names the right thing, within a few
//! seeds; whatever a run writes says that one is on. All of them are played by `scripts/bugs`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{fs, path::Path, process::Command};

use robot_city::{backend::plants, law::registry};

/// Exit code and everything that was printed.
fn robot_city(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// Bugs of several groups that need no fault and are found soon.
const SOON: &[&str] = &["revived-cancel", "redelivered-request", "estimate-charged"];

#[test]
fn a_few_bugs_are_caught_by_the_law_that_names_them() {
    for bug in SOON {
        let folder = tempfile::tempdir().unwrap();
        let (out, law) = (folder.path().to_string_lossy(), plants::find(bug).unwrap().caught_by);
        let mut zoo = vec!["run", "scenarios/zoo.toml", "--seeds", "1..2", "--plant", bug];
        // Short and calm: these need no more.
        zoo.extend(["--set", "time.duration=20s", "--set", "time.settle=12s", "--chaos", "none"]);
        zoo.extend(["--out", &out]);
        let (code, text) = robot_city(&zoo);
        assert_eq!(code, 1, "{bug}: {text}");
        let swarm = folder.path().join("zoo/swarm-1-2/swarm.json");
        let told: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(swarm).unwrap()).unwrap();
        let broken = told["laws"][law]["broken"].as_u64().unwrap();
        assert!(broken > 0, "{bug} did not break {law}: {text}");
    }
}

#[test]
fn whatever_a_run_writes_says_that_a_bug_is_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_string_lossy();
    let mut run = vec!["run", "scenarios/smoke.toml", "--time", "virtual", "--ui", "none"];
    run.extend(["--seed", "7", "--out", &out, "--plant", "reads-clock"]);
    let (code, text) = robot_city(&run);
    assert_eq!(code, 0, "{text}");
    let banner = "PLANTED BUGS ARE ON: reads-clock";
    assert!(text.matches(banner).count() >= 2, "at its start and in its summary: {text}");

    let latest = folder.path().join("latest");
    let read = |file: &str| fs::read_to_string(latest.join(file)).unwrap();
    assert!(read("summary.txt").contains(banner));
    assert!(read("junit.xml").contains(banner));
    assert!(read("report.html").contains("Planted bugs are on: reads-clock"));
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(summary["plants"][0], "reads-clock");
    let place = latest.to_string_lossy();
    let (_, text) = robot_city(&["check", &place]);
    assert!(text.contains(banner), "{text}");
}

#[test]
fn a_bug_that_is_not_there_is_refused_with_what_may_have_been_meant() {
    let (code, text) = robot_city(&["run", "scenarios/smoke.toml", "--plant", "late-acept"]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("no bug `late-acept`: did you mean `late-accept`?"), "{text}");
}

#[test]
fn every_bug_has_a_law_or_a_command_and_a_row_in_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bugs.md");
    let text = fs::read_to_string(path).unwrap();
    for plant in plants::ALL {
        let law = registry::entry(plant.caught_by);
        assert!(law.is_some() || plant.caught_by.contains(' '), "{}: no law", plant.name);
        let home = Path::new(plant.scenario()).file_stem().unwrap().to_string_lossy();
        let row = format!("| **{}**: {} | {} | {home} | ", plant.name, plant.what, plant.place);
        let found = text.lines().find(|line| line.starts_with(&row));
        let found = found.unwrap_or_else(|| panic!("UPDATE_DOCS=1 scripts/bugs: no row {row}"));
        assert!(found.contains(plant.caught_by), "{found}");
    }
}
