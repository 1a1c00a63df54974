//! An operator's view of a backend of real processes: what runs, how it is, what it is told, and
//! that a node which ends by itself is started again.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, in the real world")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_robot-city"))
}

/// A backend that is up, and its folder.
struct Up {
    child: Child,
    folder: PathBuf,
}

impl Up {
    fn start(out: &Path) -> Self {
        let mut child = program()
            .args(["backend", "up", "scenarios/two-versions.toml", "--out"])
            .arg(out)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let up = said.lines().map_while(Result::ok).any(|line| line.contains("Ctrl-C ends it"));
        assert!(up, "it came up");
        let runs = std::fs::read_dir(out.join("backend")).unwrap();
        let folder = runs.map(|run| run.unwrap().path()).next().unwrap();
        Self { child, folder }
    }

    /// What `robot-city backend …` says of it.
    fn ask(&self, args: &[&str]) -> (bool, String) {
        let output =
            program().arg("backend").args(args).arg("--at").arg(&self.folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// Asks again and again until the answer will do.
    fn until(&self, args: &[&str], enough: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (_, said) = self.ask(args);
            if enough(&said) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "{args:?} still says: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The process that writes the log of that node.
    fn pid_of(&self, node: &str) -> String {
        let log = self.folder.join(format!("nodes/{node}.log"));
        let log = log.canonicalize().unwrap();
        let own = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("fd/2")).is_ok_and(|open| open == log)
        };
        let found = std::fs::read_dir("/proc").unwrap().map(Result::unwrap).find(own).unwrap();
        found.file_name().into_string().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.child.wait();
    }
}

#[test]
fn an_operator_sees_and_steers_a_backend_that_runs() {
    let out = tempfile::tempdir().unwrap();
    let up = Up::start(out.path());
    let fine = up.until(&["status"], |said| said.contains("15 instances: 15 fine"));
    assert!(fine.contains("a/core-2") && !fine.contains("not heard of"), "{fine}");
    let (_, second) = up.ask(&["list", "*/core-2"]);
    assert_eq!(second.lines().count(), 4, "{second}");
    let (_, stats) = up.ask(&["stats", "b/storage-1"]);
    assert!(stats.contains("/storage/kv/get") && stats.contains("/health.html"), "{stats}");
    assert!(!up.ask(&["stats", "nobody"]).0);
    let (done, said) = up.ask(&["roll-out", "core/eta", "1", "2", "--over", "10m"]);
    assert!(done && said.contains("start_ms"), "{said}");
    let (_, rules) = up.ask(&["config", "get", "binding"]);
    assert!(rules.contains("core/eta") && rules.contains("core/fare"), "{rules}");
    let (done, said) = up.ask(&["config", "set", "settings", r#"{"offers": 1}"#]);
    assert!(!done && said.contains("offer.at_once"), "{said}");
    up.until(&["map"], |said| said.contains("core/config") && said.contains("storage/kv"));
    up.until(&["status", "--json"], |said| {
        let all: Vec<serde_json::Value> = serde_json::from_str(said).unwrap_or_default();
        let version = |node: &serde_json::Value| node["config_version"].as_u64();
        all.len() == 15 && all.iter().all(|node| version(node) > Some(0))
    });
    let killed = Command::new("kill").args(["-KILL", &up.pid_of("c-orchestration-1")]).status();
    assert!(killed.unwrap().success());
    up.until(&["stats", "c/orchestration-1"], |said| said.contains("life 1"));
    up.until(&["status"], |said| said.contains("15 instances: 15 fine"));
}
