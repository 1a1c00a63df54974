//! One seed, one history: scenarios of different kinds are run twice in virtual time, and their
//! histories are compared byte by byte. A seed may be any text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The seed of every run here: a commit's hash is as good as a number.
const SEED: &str = "d1f0c0de5eedfacade0ff1ce0b5e55ed5ca1ab1e";

/// Runs a scenario in virtual time into `out`, whatever its verdict; answers the run's folder.
fn run(args: &[&str], seed: &str, out: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .arg("run")
        .args(args)
        .args(["--seed", seed, "--time", "virtual", "--ui", "none", "--out"])
        .arg(out)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // Pass, inconclusive, a missed gate or a broken law: the run came to its end.
    assert!(
        matches!(output.status.code(), Some(0..=3)),
        "{:?}: {told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains(&format!("seed {seed} ")), "{told}");
    out.join("latest").canonicalize().unwrap()
}

/// The history of a run, segment after segment, unpacked.
fn history(run: &Path) -> Vec<u8> {
    let folder = run.join("history");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
    segments.sort();
    let unpack = |path: PathBuf| zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap();
    segments.into_iter().flat_map(unpack).collect()
}

fn is_one_history(args: &[&str], must_hold: &[&str]) {
    let out = tempfile::tempdir().unwrap();
    let first = history(&run(args, SEED, out.path()));
    let second = history(&run(args, SEED, out.path()));
    if first != second {
        let lines = first.split(|b| *b == b'\n').zip(second.split(|b| *b == b'\n'));
        let (n, (a, b)) = lines.enumerate().find(|(_, (a, b))| a != b).unwrap();
        panic!(
            "{args:?}: the histories differ at record {}:\n{}\n{}",
            n + 1,
            String::from_utf8_lossy(a),
            String::from_utf8_lossy(b)
        );
    }
    // Two empty histories would be the same, too.
    let text = String::from_utf8(first).unwrap();
    for what in must_hold {
        assert!(text.contains(what), "{args:?}: nothing of {what} in the history");
    }
}

#[test]
fn smoke_with_its_faults_has_one_history() {
    is_one_history(
        &["scenarios/smoke.toml"],
        &[r#""op":"driver.drop_off""#, r#""change":"healed""#, r#""op":"audit.charges""#],
    );
}

#[test]
fn a_small_evening_in_dublin_has_one_history() {
    let evening = [
        "scenarios/dublin-evening.toml",
        "--chaos",
        "chaos/smoke.toml",
        "--duration",
        "14s",
        "--set",
        "time.fill=3s",
        "--set",
        "load.drivers=300",
        "--set",
        "load.updates_per_second=60",
        "--set",
        "load.jobs_per_hour=7200",
        "--set",
        "load.passengers=40",
        "--set",
        "backend.reach_m=15000",
    ];
    is_one_history(&evening, &[r#""op":"driver.drop_off""#, r#""change":"healed""#]);
}

#[test]
fn kerguelen_has_one_history() {
    let canary = [
        "scenarios/smoke.toml",
        "--city",
        "cities/kerguelen.toml",
        "--chaos",
        "none",
        "--set",
        "load.arrivals=constant",
    ];
    is_one_history(&canary, &[r#""op":"driver.drop_off""#, r#""op":"passenger.pay""#]);
}

#[test]
fn any_text_is_a_seed_and_another_text_is_another_run() {
    let out = tempfile::tempdir().unwrap();
    let short = ["scenarios/smoke.toml", "--chaos", "none", "--duration", "2s"];
    let seeds = [SEED, "d1f0c0d", "3", "Seed of a rainy evening, № 3"];
    let histories: Vec<Vec<u8>> =
        seeds.iter().map(|seed| history(&run(&short, seed, out.path()))).collect();
    for (n, history) in histories.iter().enumerate() {
        for (m, other) in histories.iter().enumerate().skip(n + 1) {
            // Beyond the first record, which names the seed.
            let beyond = |history: &[u8]| {
                let end = history.iter().position(|b| *b == b'\n').unwrap();
                history[end..].to_vec()
            };
            let (a, b) = (seeds[n], seeds[m]);
            assert!(beyond(history) != beyond(other), "seeds {a} and {b} gave one run");
        }
    }
    let told = std::fs::read_to_string(out.path().join("latest/summary.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["seed"], seeds[3]);
}
