//! What a run broke is put back though its process is killed: for every kind of fault. Nothing that
//! it started runs on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use robot_city::{
    chaos::fault::{FAULTS, World},
    run::{
        folder::Folder,
        ledger::{AUDIT, Books, By, Line},
    },
};

/// In the environment of a run and of all that it starts.
const MARK: &str = "ROBOT_CITY_TEST_MARK";
/// Against hanging; what was measured is printed.
const LIMIT: Duration = Duration::from_mins(2);
/// Runs at once.
const AT_ONCE: usize = 3;

/// A real run that breaks something.
struct Run {
    child: Child,
    out: tempfile::TempDir,
    mark: String,
}

impl Run {
    fn start(name: &str, plan: &str, more: &[&str]) -> Self {
        let out = tempfile::tempdir().unwrap();
        let chaos = out.path().join("plan.toml");
        fs::write(&chaos, plan).unwrap();
        let mark = format!("{name}-{}", std::process::id());
        let child = Command::new(env!("CARGO_BIN_EXE_robot-city"))
            .args(["run", "scenarios/smoke.toml", "--seed", "7", "--ui", "none"])
            .args(["--set", "time.duration=120s", "--set", "time.fill=1s"])
            .arg("--chaos")
            .arg(&chaos)
            .arg("--out")
            .arg(out.path().join("runs"))
            .args(more)
            .env(MARK, &mark)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, out, mark }
    }

    fn root(&self) -> PathBuf {
        self.out.path().join("runs")
    }

    fn folder(&self) -> PathBuf {
        let runs = fs::read_dir(self.root().join("smoke")).unwrap();
        runs.map(|entry| entry.unwrap().path()).next().unwrap()
    }

    fn acts(&self) -> Vec<Line> {
        acts(&self.root())
    }

    /// Waits until its fault is in force.
    fn await_injection(&mut self) {
        let until = Instant::now() + LIMIT;
        while !self.acts().iter().any(|line| word(line) == "inject") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{}: {ended:?}", self.mark);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it, and waits until nothing of it is left; how long that took.
    fn kill_and_await_order(&mut self) -> Duration {
        let folder = self.folder();
        let books = Books::of(&Folder::open(&folder).unwrap(), By::Heal);
        assert!(Books::is_open(&folder), "{}: there is no lease", self.mark);
        assert!(!books.processes().is_empty(), "{}: it noted no process", self.mark);
        let begun = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while Books::is_open(&folder) || !books.processes().is_empty() {
            assert!(begun.elapsed() < LIMIT, "{}: {:?}", self.mark, self.acts());
            thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        while !marked(&self.mark).is_empty() {
            assert!(begun.elapsed() < LIMIT, "{}: {:?} run on", self.mark, marked(&self.mark));
            thread::sleep(Duration::from_millis(1));
        }
        took
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn acts(root: &Path) -> Vec<Line> {
    let text = fs::read_to_string(root.join(AUDIT)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The act, as the log writes it.
fn word(line: &Line) -> String {
    serde_json::to_value(line.act.act).unwrap().as_str().unwrap().to_owned()
}

/// The processes with that mark in their environment that have not ended.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let has_it = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(has_it).map(|process| process.display().to_string()).collect()
}

fn heal(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_robot-city")).arg("heal").args(args).output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code(), text)
}

/// A kind's example, soon and for long.
fn soon(example: &str) -> String {
    let line = |line: &str| match line.split(" = ").next() {
        Some("at") => "at = \"1s\"".to_owned(),
        Some("for") => "for = \"60s\"".to_owned(),
        _ => line.to_owned(),
    };
    example.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn killed_in_the_middle_of(name: &str, plan: &str, more: &[&str]) {
    let mut run = Run::start(name, plan, more);
    run.await_injection();
    let took = run.kill_and_await_order();
    println!("{name}: all in order {:.2} s after SIGKILL", took.as_secs_f64());
    let acts = run.acts();
    let last = acts.last().unwrap();
    let told = (word(last), last.by, last.act.kind.as_str());
    assert_eq!(told, ("heal_verified".to_owned(), By::Guardian, name), "{acts:?}");
    let (code, text) = heal(&[run.folder().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{name}: {text}");
    assert!(text.contains("nothing is left"), "{name}: {text}");
}

#[test]
fn every_kind_of_fault_is_healed_though_the_run_is_killed() {
    // Nodes that a run starts itself cannot be struck in these ways: tests/victims.rs has them.
    let of_others = ["disconnect", "inject"];
    let here = FAULTS.iter().filter(|entry| entry.worlds.contains(&World::Real));
    let kinds: Vec<_> = here.filter(|entry| !of_others.contains(&entry.name)).collect();
    assert!(kinds.len() > 10);
    for group in kinds.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for entry in group {
                // Only brokers have queues.
                let more: &[&str] =
                    if entry.name == "fill-queue" { &["--bus", "rabbitmq"] } else { &[] };
                let plan = soon(entry.example);
                scope.spawn(move || killed_in_the_middle_of(entry.name, &plan, more));
            }
        });
    }
}

#[test]
fn a_broker_that_stands_still_ends_with_a_run_that_is_killed() {
    let plan =
        "[[fault]]\nkind = \"pause\"\nnodes = [\"b/broker-1\"]\nat = \"1s\"\nfor = \"60s\"\n";
    killed_in_the_middle_of("pause", plan, &["--bus", "rabbitmq"]);
}

#[test]
fn a_run_that_ends_well_leaves_nothing_to_heal_and_says_what_it_did() {
    let plan = "[[fault]]\nkind = \"pause\"\nnodes = [\"c/core-1\"]\nat = \"1s\"\nfor = \"2s\"\n";
    let mut run = Run::start("well", plan, &["--set", "time.duration=8s"]);
    assert!(run.child.wait().unwrap().code().is_some());
    assert!(!Books::is_open(&run.folder()));
    assert!(marked(&run.mark).is_empty(), "{:?}", marked(&run.mark));
    let acts = run.acts();
    let words: Vec<String> = acts.iter().map(word).collect();
    assert_eq!(words, ["inject", "bit", "heal", "heal_verified"], "{acts:?}");
    assert!(acts.iter().all(|line| line.by == By::Run && line.act.victims == ["c/core-1"]));
    let (code, text) = heal(&["--out", run.root().to_str().unwrap()]);
    assert_eq!((code, text.contains("left anything")), (Some(0), true), "{text}");
}

#[test]
fn a_run_that_goes_on_is_not_healed_by_others() {
    let plan = "[[fault]]\nkind = \"pause\"\nnodes = [\"c/core-1\"]\nat = \"1s\"\nfor = \"60s\"\n";
    let mut run = Run::start("goes-on", plan, &[]);
    run.await_injection();
    let (code, text) = heal(&[run.folder().to_str().unwrap()]);
    assert_eq!(code, Some(69), "{text}");
    let (code, text) = heal(&["--out", run.root().to_str().unwrap()]);
    assert_eq!((code, text.contains("goes on")), (Some(0), true), "{text}");
    assert!(Books::is_open(&run.folder()));
    run.kill_and_await_order();
}
