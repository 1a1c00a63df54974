//! What a dead run leaves at a backend that it did not start is put in order by `clean`, and two runs
//! never share such a backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// The small ride company; ends when its stdin does.
struct Company {
    child: Child,
    url: String,
}

impl Company {
    fn open() -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["tests/backends/envelope/server.py", "--port", "0", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map(Result::unwrap).find(|line| line.starts_with("ready "));
        let url = ready.expect("the server says where it is")["ready ".len()..].to_owned();
        Self { child, url }
    }

    /// States of all rides, by the operator's listing.
    fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/v2/admin/rides?limit=100{cursor}"));
            let rides = page["data"]["rides"].as_array().unwrap();
            states.extend(rides.iter().map(|ride| ride["status"].as_str().unwrap().to_owned()));
            match page["data"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return states,
            }
        }
    }

    fn live(&self) -> usize {
        let over = ["FINISHED", "CANCELLED", "EXPIRED"];
        self.states().iter().filter(|state| !over.contains(&state.as_str())).count()
    }

    fn get(&self, path: &str) -> serde_json::Value {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        let head = "Host: localhost\r\nX-Admin-Key: operator-key\r\nConnection: close";
        write!(stream, "GET {path} HTTP/1.0\r\n{head}\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    fn robot_city(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robot-city"));
        command.env("ENVELOPE_URL", &self.url).env("ENVELOPE_ADMIN_KEY", "operator-key");
        command
    }

    fn run(&self, out: &Path) -> Command {
        let mut command = self.robot_city();
        command
            .args(["run", "scenarios/second.toml", "--seed", "7"])
            .args(["--target", "tests/backends/envelope/target.toml", "--out"])
            .arg(out)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn clean(&self, run: &Path) -> Output {
        self.robot_city().arg("clean").arg(run).output().unwrap()
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The only run below a folder.
fn only_run(out: &Path) -> PathBuf {
    let runs = std::fs::read_dir(out.join("second")).unwrap();
    runs.map(|entry| entry.unwrap().path()).next().unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn what_a_killed_run_left_is_ended_and_proven_so() {
    let (company, out) = (Company::open(), tempfile::tempdir().unwrap());
    let mut run = company.run(out.path()).spawn().unwrap();
    // In the middle of the load: a ride is on its way, and others are being looked for.
    while !company.states().iter().any(|state| state == "STARTED") {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before a ride had begun");
        std::thread::yield_now();
    }
    // A second run has to wait; so has cleaning up after one that goes on.
    let elsewhere = tempfile::tempdir().unwrap();
    let second = company.run(elsewhere.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(69), "{}", told(&second));
    assert!(told(&second).contains("another run is at target"), "{}", told(&second));
    let folder = only_run(out.path());
    let early = company.clean(&folder);
    assert_eq!(early.status.code(), Some(69), "{}", told(&early));

    run.kill().unwrap();
    run.wait().unwrap();
    assert!(company.live() > 0, "nothing to clean up after");
    let cleaned = company.clean(&folder);
    assert_eq!(cleaned.status.code(), Some(0), "{}", told(&cleaned));
    assert!(told(&cleaned).contains("nothing left"), "{}", told(&cleaned));
    assert_eq!(company.live(), 0, "{}", told(&cleaned));

    let again = company.clean(&folder);
    assert_eq!(again.status.code(), Some(0), "{}", told(&again));
    assert!(told(&again).contains("0 jobs ended, nothing left"), "{}", told(&again));
}

#[test]
fn a_history_may_be_cut_anywhere() {
    let (company, out) = (Company::open(), tempfile::tempdir().unwrap());
    let mut run = company.run(out.path()).spawn().unwrap();
    while company.live() < 2 {
        assert!(run.try_wait().unwrap().is_none(), "the run ended before it had rides");
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let folder = only_run(out.path());
    let segment = std::fs::read_dir(folder.join("history"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "zst"))
        .unwrap();
    // Nothing of it is left but its name.
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(0).unwrap();
    let cleaned = company.clean(&folder);
    assert_eq!(cleaned.status.code(), Some(0), "{}", told(&cleaned));
    assert_eq!(company.live(), 0, "{}", told(&cleaned));
    std::fs::remove_dir_all(folder.join("history")).unwrap();
    let again = company.clean(&folder);
    assert_eq!(again.status.code(), Some(0), "{}", told(&again));
    assert!(told(&again).contains("0 jobs ended, nothing left"), "{}", told(&again));
}

#[test]
fn what_the_run_started_itself_went_with_it() {
    let out = tempfile::tempdir().unwrap();
    let run =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_robot-city")).args(args).output().unwrap();
    let out = out.path().to_str().unwrap();
    run(&["run", "scenarios/smoke.toml", "--time", "virtual", "--ui", "none", "--out", out]);
    let cleaned = run(&["clean", &format!("{out}/latest")]);
    assert_eq!(cleaned.status.code(), Some(0), "{}", told(&cleaned));
    assert!(told(&cleaned).contains("went with the run"), "{}", told(&cleaned));
}
