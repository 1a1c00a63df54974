//! Rogue robots, in memory: a healthy backend bears them, and what is planted where they look is found
//! by the law that is made for it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{fs, process::Command};

/// Each planted bug, and the law that must name it.
const PLANTS: &[(&str, &str)] = &[
    ("token-never-expires", "tokens-expire"),
    ("revoked-token-cached", "tokens-expire"),
    ("others-job-readable", "mine-is-mine"),
    ("cancel-for-others", "mine-is-mine"),
    ("bad-input-500", "bad-input-is-4xx"),
    ("unknown-id-500", "bad-input-is-4xx"),
    ("limited-after-effect", "limited-then-served"),
    ("id-as-float", "answers-match-questions"),
    ("lat-lon-swapped", "offers-in-reach"),
    ("new-version-rounds", "versions-agree"),
    ("leaky-city", "city-is-sealed"),
];

/// The exit code of one seed, and the laws that broke.
fn broken(more: &[&str]) -> (Option<i32>, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_robot-city"));
    command.args(["run", "scenarios/rogue.toml", "--seed", "7", "--time", "virtual"]);
    command.args(["--ui", "none", "--out"]).arg(out.path());
    let code = command.args(more).output().unwrap().status.code();
    let text = fs::read_to_string(out.path().join("latest/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    let laws = summary["laws"].as_array().unwrap().iter();
    let broken = laws.filter(|law| law["verdict"] == "broken");
    (code, broken.map(|law| law["law"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_healthy_backend_bears_them() {
    assert_eq!(broken(&[]), (Some(0), Vec::new()));
}

/// Plants every other bug, from `first` on, and looks who finds it.
fn plant(first: usize) {
    for (plant, law) in PLANTS.iter().skip(first).step_by(2) {
        // Without faults, and only as long as it takes the rogues to try everything.
        let short = ["--plant", plant, "--chaos", "none", "--duration", "20s"];
        let (code, broken) = broken(&short);
        assert_eq!(code, Some(1), "{plant}: {broken:?}");
        assert!(broken.iter().any(|one| one == law), "{plant}: {broken:?}");
    }
}

#[test]
fn what_is_planted_where_they_look_is_found_by_the_law_for_it() {
    plant(0);
}

#[test]
fn and_so_is_the_other_half_of_it() {
    plant(1);
}

/// Through a mapping file, as any team's own backend: what a mapping can spoil.
#[test]
fn a_mapped_backend_is_asked_wrongly_too() {
    let laws =
        r#"laws.require=["tokens-expire","mine-is-mine","bad-input-is-4xx","limited-then-served"]"#;
    let mapped = ["--target", "targets/embedded.toml", "--set", laws];
    assert_eq!(broken(&mapped), (Some(0), Vec::new()));
    for (plant, law) in [PLANTS[0], PLANTS[2], PLANTS[4], PLANTS[5]] {
        let short = ["--plant", plant, "--chaos", "none", "--duration", "20s"];
        let (code, broken) = broken(&[&mapped[..], &short].concat());
        assert_eq!(code, Some(1), "{plant}: {broken:?}");
        assert!(broken.iter().any(|one| one == law), "{plant}: {broken:?}");
    }
}
