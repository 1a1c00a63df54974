//! One full, short run of the real binary with a kill in it, and what every user meets first.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    path::Path,
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One run at a time: each has a machine's worth of processes, and measures.
static STAGE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next could trip over.
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn robot_city(args: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_robot-city"));
    command.args(args);
    if args.first().is_some_and(|word| *word == "run" || *word == "replay") {
        command.arg("--out").arg(out);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn summary(out: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(out.join("latest/summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Processes whose command line names `out`, or whose parent is gone, of this program's kind.
fn nodes_left(out: &Path) -> Vec<String> {
    let mine = out.to_string_lossy().into_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // A node's log, which it holds open, is in the run's folder.
            let log = std::fs::read_link(path.join("fd/2")).ok()?.to_string_lossy().into_owned();
            log.contains(&mine).then_some(log)
        })
        .collect()
}

#[test]
fn a_short_run_with_a_kill_passes_and_is_judged_the_same_again() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let run = robot_city(&["run", "scenarios/smoke.toml", "--seed", "7"], out);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    let told = summary(out);
    assert_eq!(told["verdict"], "pass");
    assert_eq!(told["seed"], "7");
    assert_eq!(told["complete"], true);
    assert!(told["load"]["jobs"]["completed"].as_u64().unwrap() > 0);
    let faults = told["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| fault["kind"] == "kill"));
    assert!(faults.iter().all(|fault| fault["bit"] == true && fault["healed_s"].is_number()));
    for law in told["laws"].as_array().unwrap() {
        assert_ne!(law["verdict"], "broken", "{law}");
    }
    for file in [
        "report.html",
        "junit.xml",
        "latency.hgrm",
        "plan.toml",
        "log.jsonl",
        "history/manifest.json",
    ] {
        assert!(out.join("latest").join(file).exists(), "{file} is missing");
    }
    assert_eq!(nodes_left(out), Vec::<String>::new());

    let check = robot_city(&["check", &out.join("latest").to_string_lossy()], out);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    let report = robot_city(&["report", &out.join("latest").to_string_lossy()], out);
    assert_eq!(report.status.code(), Some(0), "{}", text(&report));
    assert_eq!(summary(out), told, "judged again, the run must come out the same");
}

#[test]
fn a_short_run_over_rabbitmq_passes_though_a_broker_is_killed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let chaos = out.join("broker.toml");
    let plan = "[[fault]]\nkind = 'kill'\nnodes = ['a/broker-1']\nat = '3s'\nfor = '2s'\n";
    std::fs::write(&chaos, plan).unwrap();
    let chaos = chaos.to_string_lossy();
    let scenario = "scenarios/smoke.toml";
    let args = ["run", scenario, "--bus", "rabbitmq", "--chaos", &chaos, "--seed", "7"];
    // Of a dozen requests some must be sent again.
    let run = robot_city(&[&args[..], &["--set", "robots.clumsy=0.6"]].concat(), out);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    let told = summary(out);
    let fault = &told["faults"][0];
    assert_eq!((&fault["victims"][0], &fault["bit"]), (&"a/broker-1".into(), &true.into()));
    assert!(fault["healed_s"].is_number(), "{fault}");
    assert!(told["load"]["jobs"]["completed"].as_u64().unwrap() > 0);
    for law in told["laws"].as_array().unwrap() {
        assert_ne!(law["verdict"], "broken", "{law}");
    }
    // Neither services nor brokers, nor what they wrote.
    assert_eq!(nodes_left(out), Vec::<String>::new());
    let brokers = out.join("latest/brokers");
    assert_eq!(std::fs::read_dir(brokers).unwrap().count(), 0);
}

#[test]
fn a_planted_bug_is_found_and_shown() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let args = [
        "run",
        "scenarios/smoke.toml",
        "--chaos",
        "none",
        "--seed",
        "7",
        "--plant",
        "double-dispatch",
    ];
    let run = robot_city(&args, out);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("PLANTED BUGS ARE ON: double-dispatch"));
    let told = summary(out);
    let law =
        told["laws"].as_array().unwrap().iter().find(|law| law["law"] == "one-driver-per-job");
    let law = law.unwrap();
    assert_eq!(law["verdict"], "broken", "{law}");
    assert!(!law["violations"][0]["ops"].as_array().unwrap().is_empty());
}

#[test]
fn an_interrupted_run_heals_reports_and_leaves_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let mut child = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--seed", "7", "--out"])
        .arg(out)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The first progress line of the load says that robots and faults are at work.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.find(|line| line.as_ref().unwrap().contains(" load ")).unwrap().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{}", rest.join("\n"));
    assert!(out.join("latest/report.html").exists());
    assert_eq!(nodes_left(out), Vec::<String>::new());
}

#[test]
fn a_killed_run_leaves_no_process_and_a_readable_history() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let mut child = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--seed", "7", "--out"])
        .arg(out)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.find(|line| line.as_ref().unwrap().contains(" load ")).unwrap().unwrap();
    assert!(!nodes_left(out).is_empty(), "the nodes were not seen while they ran");
    child.kill().unwrap();
    child.wait().unwrap();
    // The kernel ends the nodes; a node that lives on makes this loop until the test's own limit.
    while !nodes_left(out).is_empty() {
        std::thread::yield_now();
    }
    let run = std::fs::read_dir(out.join("smoke")).unwrap().next().unwrap().unwrap().path();
    let check = robot_city(&["check", &run.to_string_lossy()], out);
    assert_eq!(check.status.code(), Some(2), "{}", text(&check));
    assert!(text(&check).contains("the history ends before the run did"));
}

#[test]
fn wrong_input_is_named_and_exits_64() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let cases: &[(&[&str], &str)] = &[
        (&["run", "scenarios/nowhere.toml"], "scenarios/nowhere.toml"),
        (&["run", "scenarios/smoke.toml", "--set", "load.drivres=5"], "did you mean `drivers`"),
        (
            &["run", "scenarios/smoke.toml", "--set", "load.updates_per_second=0"],
            "updates_per_second",
        ),
        (&["run", "scenarios/smoke.toml", "--plant", "double-dispach"], "double-dispatch"),
        (&["run", "scenarios/smoke.toml", "--chaos", "chaos/nowhere.toml"], "chaos/nowhere.toml"),
        (&["list", "lawz"], "laws"),
    ];
    for (args, says) in cases {
        let run = robot_city(args, out);
        assert_eq!(run.status.code(), Some(64), "{args:?}: {}", text(&run));
        assert!(text(&run).contains(says), "{args:?}: {}", text(&run));
    }
    assert_eq!(nodes_left(out), Vec::<String>::new());
}

#[test]
fn a_port_in_use_and_a_folder_that_cannot_be_written_are_told() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().min(65_000);
    let set = format!("backend.base_port={port}");
    let run = robot_city(&["run", "scenarios/smoke.toml", "--set", &set], out);
    assert_eq!(run.status.code(), Some(64), "{}", text(&run));
    assert!(text(&run).contains("`backend.base_port`: port "), "{}", text(&run));
    assert_eq!(nodes_left(out), Vec::<String>::new());

    let run = robot_city(&["run", "scenarios/smoke.toml"], Path::new("/proc/nowhere"));
    assert_eq!(run.status.code(), Some(64), "{}", text(&run));
    assert!(text(&run).contains("/proc/nowhere"), "{}", text(&run));
}

#[test]
fn one_seed_gives_one_history_in_virtual_time() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    for _ in 0..2 {
        let args = ["run", "scenarios/smoke.toml", "--seed", "7", "--time", "virtual"];
        let run = robot_city(&args, out);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    }
    let history = |run: &str| {
        let packed = std::fs::read(out.join("smoke").join(run).join("history/0000.jsonl.zst"));
        zstd::decode_all(&packed.unwrap()[..]).unwrap()
    };
    let (first, second) = (history("virtual-7"), history("virtual-7-2"));
    assert!(first == second, "the histories of one seed differ");
    is_golden(&first);
}

/// The same history on every machine: its hash is committed. Any change of robots, services, laws of
/// chance or format changes it; look at what changed before you take the new one over.
fn is_golden(history: &[u8]) {
    let hash = robot_city::run::plan::sha256(str::from_utf8(history).unwrap()) + "\n";
    let file = Path::new("tests/golden/smoke-virtual-7.sha256");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &hash).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    assert_eq!(hash, golden, "UPDATE_GOLDEN=1 cargo test --test smoke takes the new hash over");
}

#[test]
fn a_backend_that_never_becomes_healthy_is_unfit() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let args = ["run", "scenarios/smoke.toml", "--set", "backend.healthy_within=1ms"];
    let run = robot_city(&args, out);
    assert_eq!(run.status.code(), Some(69), "{}", text(&run));
    assert!(text(&run).contains("was not healthy within 1ms"), "{}", text(&run));
    assert_eq!(nodes_left(out), Vec::<String>::new());
}

#[test]
fn the_sample_run_is_still_read_and_judged() {
    let check = robot_city(&["check", "reports/golden/smoke-virtual-7"], Path::new("unused"));
    assert_eq!(check.status.code(), Some(0), "{}", text(&check));
    assert!(text(&check).contains("verdict: PASS"), "{}", text(&check));
}
