//! Rehearsals: the load shape agrees with a virtual run of the same scenario, whether it was counted
//! or reckoned from a sample, and wrong input is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

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

/// Two draws of one kind of load agree within a tenth; of a rare kind within four standard deviations
/// of the larger count, since a rehearsal counts a sample. (Nothing at all agrees with sixteen at most: what matters is counted over seeds.)
fn agree(told: f64, counted: f64) -> bool {
    (told - counted).abs() <= (0.1 * counted).max(4.0 * counted.max(told).sqrt()).max(3.0)
}

/// Ops by kind, summed over some seeds: in the run, and in a rehearsal of that budget.
fn over_seeds(args: &[&str], budget: &str, seeds: &[&str]) -> Vec<(String, f64, f64)> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for seed in seeds {
        let args = [args, &["--seed", seed]].concat();
        for (kind, count) in ran(&args) {
            sums.entry(kind).or_default().0 += count;
        }
        let sampled = rehearsed(&[&args[..], &["--budget", budget]].concat());
        assert_eq!(sampled["basis"]["way"], "sampled");
        for (kind, count) in ops(&sampled) {
            sums.entry(kind).or_default().1 += count;
        }
    }
    sums.into_iter().map(|(kind, (counted, told))| (kind, counted, told)).collect()
}

fn all_agree(sums: &[(String, f64, f64)], in_all: f64) {
    let told = |(kind, counted, told): &(String, f64, f64)| {
        format!("{kind}: {counted} in the runs, {told:.0} in the rehearsals")
    };
    let wrong: Vec<String> =
        sums.iter().filter(|(_, counted, told)| !agree(*told, *counted)).map(told).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sum = |of: fn(&(String, f64, f64)) -> f64| sums.iter().map(of).sum::<f64>();
    let share = sum(|kind| kind.2) / sum(|kind| kind.1);
    assert!((share - 1.0).abs() <= in_all, "{share} of the runs' ops in all");
}

#[test]
fn over_several_seeds_every_kind_of_op_agrees_with_the_runs() {
    let long: Vec<&str> =
        LONG.iter().copied().filter(|arg| !["--seed", "7"].contains(arg)).collect();
    all_agree(&over_seeds(&long, "500", &["1", "2", "3", "4"]), 0.05);
}

#[test]
fn drivers_who_are_sent_home_after_the_peak_are_no_turnover() {
    // Four hours around the peak of an evening, ten times as fast: hundreds come, and go again.
    let evening = [
        "scenarios/hailo-2014-07-24.toml",
        "--duration=24m",
        "--set=time.start=2014-07-24T16:00",
        "--set=time.time_scale=10",
        "--set=time.settle=15m",
        "--set=load.drivers=300",
        "--set=load.updates_per_second=40",
        "--set=load.jobs_per_hour=1500",
        "--set=load.passengers=60",
        "--set=backend.reach_m=15000",
        "--set=robots.poll_s=3",
        "--set=robots.driver_poll_s=12",
        "--set=adequacy.completed_jobs=1",
    ];
    all_agree(&over_seeds(&evening, "20000", &["1"]), 0.05);
}

fn line<'a>(rehearsed: &'a Value, name: &str) -> &'a Value {
    let lines = rehearsed["lines"].as_array().unwrap().iter();
    lines.into_iter().find(|line| line["name"] == name).unwrap()
}

fn sum(rehearsed: &Value, key: &str) -> f64 {
    rehearsed["ops"].as_array().unwrap().iter().map(|op| op[key].as_f64().unwrap()).sum()
}

#[test]
fn a_sample_extends_to_what_the_whole_run_sends() {
    let run = ran(&LONG);
    let whole = rehearsed(&LONG);
    assert_eq!(whole["basis"]["way"], "played");
    assert_eq!(
        ops(&whole),
        run,
        "a rehearsal that is played as a whole counts what the run counts"
    );

    let sampled = rehearsed(&[&LONG[..], &["--budget", "500"]].concat());
    assert_eq!(sampled["basis"]["way"], "sampled");
    let played_s = sampled["basis"]["demand_s"].as_f64().unwrap();
    assert!(played_s < 100.0, "{played_s} s of 240 s were played: that is no sample");
    let mut wrong = Vec::new();
    for (what, key) in [("ops", "total"), ("request bytes", "request_bytes")] {
        let share = sum(&sampled, key) / sum(&whole, key);
        if !(0.95..1.05).contains(&share) {
            wrong.push(format!("{what} in all: {share} of the run's"));
        }
    }
    let answers = sum(&sampled, "answer_bytes") / sum(&whole, "answer_bytes");
    if !(0.9..1.1).contains(&answers) {
        wrong.push(format!("answer bytes in all: {answers} of the run's"));
    }
    let length = sampled["length_s"].as_f64().unwrap() / whole["length_s"].as_f64().unwrap();
    if !(0.95..1.05).contains(&length) {
        wrong.push(format!("the length: {length} of the run's"));
    }
    for name in ["drivers", "open_jobs", "updates_per_s"] {
        let mean = |rehearsed: &Value| {
            let values = line(rehearsed, name)["values"].as_array().unwrap().clone();
            // While the demand runs, and the first journeys are over.
            let middle = &values[40..240];
            middle.iter().map(|value| value.as_f64().unwrap()).sum::<f64>() / 200.0
        };
        let share = mean(&sampled) / mean(&whole);
        if !(0.85..1.15).contains(&share) {
            wrong.push(format!("{name}, mean: {share} of the run's"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_json_has_the_shape_that_is_documented() {
    let short = ["scenarios/smoke.toml", "--seed", "any text", "--duration", "4s"];
    let told = rehearsed(&short);
    assert_eq!(told["schema"], 1);
    assert_eq!(told["scenario"], "smoke");
    assert_eq!(told["seed"], "any text");
    let buckets = line(&told, "updates_per_s")["values"].as_array().unwrap().len();
    let length_s = told["length_s"].as_f64().unwrap();
    let width_s = told["bucket_s"].as_f64().unwrap();
    assert!((buckets as f64 - (length_s / width_s).ceil()).abs() < 1e-9);
    assert!(buckets <= 1_440);
    let documented = std::fs::read_to_string("docs/rehearse.md").unwrap();
    for line in told["lines"].as_array().unwrap() {
        assert_eq!(line["values"].as_array().unwrap().len(), buckets, "{line}");
        let name = line["name"].as_str().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "docs/rehearse.md lacks {name}");
    }
    for op in told["ops"].as_array().unwrap() {
        assert_eq!(op["per_s"].as_array().unwrap().len(), buckets, "{op}");
        assert!(op["request_bytes"].as_f64().unwrap() > 0.0, "{op}");
    }
    for key in told.as_object().unwrap().keys() {
        assert!(documented.contains(&format!("`{key}`")), "docs/rehearse.md lacks {key}");
    }
}

#[test]
fn a_day_is_told_in_buckets_of_a_minute() {
    let day = [
        "scenarios/smoke.toml",
        "--seed",
        "7",
        "--duration",
        "24h",
        "--budget",
        "500",
        "--set",
        "time.time_scale=20",
    ];
    let told = rehearsed(&day);
    assert_eq!(told["basis"]["way"], "sampled");
    assert!(told["bucket_s"].as_f64().unwrap() <= 61.0);
    let updates = line(&told, "updates_per_s");
    assert!(updates["values"].as_array().unwrap().len() <= 1_440);
    let total = updates["total"].as_f64().unwrap();
    assert!((0.98..1.05).contains(&(total / (20.0 * 86_400.0))), "{total}");
    let requests = line(&told, "requests_per_hour")["total"].as_f64().unwrap();
    assert!((requests - 86_400.0).abs() < 1.0, "{requests}");
}

#[test]
fn the_chart_goes_to_the_terminal_and_the_figures_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shape.json");
    let name = file.to_string_lossy().into_owned();
    let args = ["rehearse", "scenarios/smoke.toml", "--duration", "2s", "--seed", "7"];
    let told = robot_city(&[&args[..], &["--json", &name]].concat());
    assert_eq!(told.status.code(), Some(0), "{}", text(&told));
    let chart = text(&told);
    for what in ["seed 7  rehearsal of smoke", "updates/s", "driver.ping", "These figures", &name] {
        assert!(chart.contains(what), "{chart}");
    }
    let figures: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(figures["schema"], 1);
}

#[test]
fn wrong_input_is_named_and_exits_64() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "SCENARIO"),
        (&["scenarios/nowhere.toml"], "scenarios/nowhere.toml"),
        (&["scenarios/smoke.toml", "--set", "load.drivres=5"], "did you mean `drivers`"),
        (&["scenarios/smoke.toml", "--city", "cities/nowhere.toml"], "cities/nowhere.toml"),
        (&["scenarios/smoke.toml", "--duration", "soon"], "soon"),
        (&["scenarios/smoke.toml", "--budget", "0"], "--budget"),
        (
            &["scenarios/smoke.toml", "--json", "/proc/nowhere/x", "--duration", "1s"],
            "/proc/nowhere",
        ),
    ];
    for (args, says) in cases {
        let told = robot_city(&[&["rehearse"], *args].concat());
        assert_eq!(told.status.code(), Some(64), "{args:?}: {}", text(&told));
        assert!(text(&told).contains(says), "{args:?}: {}", text(&told));
    }
}

#[test]
fn a_sample_that_cannot_be_played_says_so() {
    let never = ["rehearse", "scenarios/smoke.toml", "--set", "backend.healthy_within=1ns"];
    let told = robot_city(&never);
    assert_eq!(told.status.code(), Some(69), "{}", text(&told));
    assert!(text(&told).contains("smoke cannot be rehearsed"), "{}", text(&told));
}
