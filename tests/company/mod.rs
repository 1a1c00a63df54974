//! A small ride company for tests, which nobody here started a run for: its own process, asked over
//! its own operator's listing what a run left there.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Its mapping.
pub const TARGET: &str = "tests/backends/envelope/target.toml";

/// The small ride company; ends when its stdin does.
pub struct Company {
    child: Child,
    pub url: String,
}

impl Company {
    pub fn open() -> Self {
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

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// States of all rides, by the operator's listing.
    pub fn states(&self) -> Vec<String> {
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

    pub fn live(&self) -> usize {
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

    pub fn robot_city(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_robot-city"));
        command.env("ENVELOPE_URL", &self.url).env("ENVELOPE_ADMIN_KEY", "operator-key");
        command
    }

    pub fn run(&self, out: &Path) -> Command {
        self.run_with(Path::new(TARGET), out)
    }

    /// The same with another mapping of it.
    pub fn run_with(&self, target: &Path, out: &Path) -> Command {
        let mut command = self.robot_city();
        command
            .args(["run", "scenarios/second.toml", "--seed", "7"])
            .arg("--target")
            .arg(target)
            .arg("--out")
            .arg(out)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn clean(&self, run: &Path) -> Output {
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
pub fn only_run(out: &Path) -> PathBuf {
    let runs = std::fs::read_dir(out.join("second")).unwrap();
    runs.map(|entry| entry.unwrap().path()).next().unwrap()
}

pub fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The guardian of a run, by the id of its process.
pub fn guardian_of(run: u32) -> u32 {
    let is_it = |pid: &u32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let behind = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let parent = behind.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        parent == Some(run) && read("cmdline").ends_with(b"\0guard\0")
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_it).expect("the run has a guardian")
}

/// SIGKILL to a run and to its guardian, which cannot do anything then.
pub fn kill_with_guardian(run: &mut Child) {
    let guardian = guardian_of(run.id());
    let killed = Command::new("kill").args(["-KILL", &guardian.to_string()]).status().unwrap();
    assert!(killed.success());
    run.kill().unwrap();
    run.wait().unwrap();
}
