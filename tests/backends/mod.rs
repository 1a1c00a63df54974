//! Backends that are not ours, for tests: each is started on a port of its own and ends with the
//! test, whatever becomes of it, since its stdin does.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Debian's own, which sees the packages that `scripts/test` installs.
const PYTHON: &str = "/usr/bin/python3";

/// A process that says where it is, and lives as long as its stdin.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(script: &str, args: &[String]) -> Self {
        let mut child = Command::new(PYTHON)
            .arg(script)
            .args(["--port", "0", "--until-stdin-closes"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|why| panic!("{PYTHON}: {why}: run scripts/test, which installs it"));
        let stdout = child.stdout.take().unwrap();
        let ready = BufReader::new(stdout)
            .lines()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
        Self { child, url: ready.unwrap_or_else(|| panic!("{script} did not say where it is")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It was asked to end; what it says of it is its own matter.
        let _ = self.child.wait();
    }
}

/// A backend, with whatever it stands on.
pub struct Backend {
    kind: &'static str,
    /// Dropped in this order: first who speaks to the broker, then the broker.
    _server: Server,
    _broker: Option<Server>,
    env: Vec<(&'static str, String)>,
}

impl Backend {
    /// Starts the one of that name, with those faults in it; `folder` is for its files.
    pub fn start(kind: &'static str, faults: &[&str], folder: &Path) -> Self {
        let mut args: Vec<String> =
            faults.iter().flat_map(|fault| ["--fault".to_owned(), (*fault).to_owned()]).collect();
        let script = format!("tests/backends/{kind}/server.py");
        if kind != "events" {
            let server = Server::start(&script, &args);
            let env = match kind {
                "envelope" => vec![
                    ("ENVELOPE_URL", server.url.clone()),
                    ("ENVELOPE_ADMIN_KEY", "operator-key".to_owned()),
                ],
                _ => vec![
                    ("BROADCAST_URL", server.url.clone()),
                    ("BROADCAST_KEY", "cab-key".to_owned()),
                ],
            };
            return Self { kind, _server: server, _broker: None, env };
        }
        let broker = Server::start("tests/backends/broker.py", &[]);
        let (users, db) = (folder.join("users.csv"), folder.join("charges.sqlite"));
        let word = |path: &PathBuf| path.to_string_lossy().into_owned();
        let made = Command::new(PYTHON)
            .args([&script, "--make-users", "60", "--users", &word(&users)])
            .status()
            .unwrap();
        assert!(made.success(), "no users");
        args.extend(["--amqp".to_owned(), broker.url.clone(), "--users".to_owned(), word(&users)]);
        args.extend(["--db".to_owned(), word(&db), "--rate".to_owned(), "200".to_owned()]);
        let server = Server::start(&script, &args);
        let env = vec![
            ("EVENTS_URL", server.url.clone()),
            ("EVENTS_AMQP", broker.url.clone()),
            ("EVENTS_DB", word(&db)),
            ("EVENTS_USERS", word(&users)),
        ];
        Self { kind, _server: server, _broker: Some(broker), env }
    }

    /// The command that runs the short evening on it, in `out`; jobs have `settle` to end.
    pub fn run(&self, out: &Path, settle: &str) -> Command {
        let target = format!("tests/backends/{}/target.toml", self.kind);
        let mut command = Command::new(env!("CARGO_BIN_EXE_robot-city"));
        command
            .args(["run", "scenarios/second.toml", "--seed", "5", "--ui", "none", "--target"])
            .arg(target)
            .arg("--out")
            .arg(out)
            // Shorter, and busier; what a busy machine does to the lag is not what is tested.
            .args(["--set", "time.duration=20s", "--set"])
            .arg(format!("time.settle={settle}"))
            .args(["--set", "robots.cancels_after_match=0.5"])
            .args(["--set", "load.jobs_per_hour=3600", "--set", "adequacy.lag_p99=10s"])
            .envs(self.env.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }
}
