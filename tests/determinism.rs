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
fn smoke_over_simulated_brokers_has_one_history() {
    is_one_history(
        &["scenarios/smoke.toml", "--bus", "rabbitmq"],
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

fn summary(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap()
}

/// Records of a history in which `what` stands.
fn count(history: &str, what: &str) -> usize {
    history.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn updates_that_are_counted_are_judged_and_measured_like_written_ones() {
    let (full, counted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let written = run(&["scenarios/smoke.toml"], SEED, full.path());
    let args = ["scenarios/smoke.toml", "--set", "history.pings=counted"];
    let kept = run(&args, SEED, counted.path());
    let (a, b) = (summary(&written), summary(&kept));
    for same in ["updates", "jobs", "lag_us"] {
        assert_eq!(a["load"][same], b["load"][same], "{same}");
    }
    assert_eq!(a["ops"], b["ops"]);
    assert_eq!(a["faults"], b["faults"]);
    for (a, b) in a["laws"].as_array().unwrap().iter().zip(b["laws"].as_array().unwrap()) {
        assert_eq!((&a["law"], &a["verdict"]), (&b["law"], &b["verdict"]));
    }
    let [long, short] = [&written, &kept].map(|run| String::from_utf8(history(run)).unwrap());
    let pings = r#""op":"driver.ping""#;
    assert!(count(&short, pings) * 2 < count(&long, pings), "most are not written");
    assert!(count(&short, r#""type":"recalled""#) > 0, "an offer brings positions with it");
    // What was kept gives the same verdict and figures again.
    let checked = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["report", kept.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(summary(&kept), b, "judged again from the disk");
}

#[test]
fn the_drivers_on_shift_follow_the_hours_of_the_day() {
    let args = [
        "scenarios/hailo-2014-07-24.toml",
        "--duration=2h",
        "--set=time.start=2014-07-24T17:00",
        "--set=load.drivers=100",
        "--set=load.updates_per_second=2",
        "--set=load.jobs_per_hour=20",
        "--set=load.passengers=5",
        "--set=backend.ping_ttl=3m",
    ];
    let out = tempfile::tempdir().unwrap();
    let run = run(&args, SEED, out.path());
    let history = String::from_utf8(history(&run)).unwrap();
    // Who went on and off shift, by the second.
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for line in history.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        if record["type"] != "op" || record["outcome"] != "ok" {
            continue;
        }
        let change = match record["ask"]["op"].as_str() {
            Some("driver.go_online") => 1,
            Some("driver.go_offline") => -1,
            _ => continue,
        };
        changes.push((record["done_ns"].as_u64().unwrap() / 1_000_000_000, change));
    }
    let on_shift = |minute: u64| {
        let until = 60 + minute * 60;
        changes.iter().filter(|(at, _)| *at <= until).map(|(_, change)| change).sum::<i64>()
    };
    // 42 % at five, all at six, 65 % at seven; a few are between two rides, or on their way in.
    for (minute, wanted) in [(1, 43), (30, 71), (60, 100), (90, 82), (119, 65)] {
        let there = on_shift(minute);
        assert!((there - wanted).abs() <= 8, "{there} of {wanted} at minute {minute}");
    }
}
