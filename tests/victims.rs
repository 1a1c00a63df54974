//! Faults on a backend that the run did not start: its victims are hit, and put back, by the run, by
//! its guardian when it is killed, by `heal` and by a later run when both are. Its robots go home.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

mod company;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use company::{Company, TARGET, kill_with_guardian, only_run, told};
use robot_city::{
    chaos::{
        fault::{FAULTS, Hits, World},
        lease::{Lease, Ledger as _},
    },
    run::{
        folder::Folder,
        ledger::{AUDIT, Books, By, Line},
    },
    world::real::process::Identity,
};

/// Against hanging; what was measured is printed.
const LIMIT: Duration = Duration::from_secs(90);

/// A company whose file names victims.
struct Stand {
    company: Company,
    root: tempfile::TempDir,
}

impl Stand {
    fn new(victims: &str) -> Self {
        let (company, root) = (Company::open(), tempfile::tempdir().unwrap());
        let text = victims
            .replace("PID", &company.pid().to_string())
            .replace("COMPANY", company.url.trim_start_matches("http://"))
            .replace("ROOT", root.path().to_str().unwrap());
        let mapping = fs::read_to_string(TARGET).unwrap();
        // Top-level keys come before every table.
        let (top, tables): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("fault_hosts"));
        let text = [&top.join("\n"), "\n", &mapping, "\n", &tables.join("\n")].concat();
        fs::write(root.path().join("target.toml"), text).unwrap();
        Self { company, root }
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("runs")
    }

    fn command(&self, plan: &str) -> Command {
        let chaos = self.root.path().join("plan.toml");
        fs::write(&chaos, plan).unwrap();
        let mut command = self.company.run_with(&self.root.path().join("target.toml"), &self.out());
        command.arg("--chaos").arg(chaos).args(["--ui", "none", "--set", "time.fill=2s"]);
        command.args(["--set", "time.duration=45s"]);
        command
    }

    fn start(&self, plan: &str) -> Child {
        self.command(plan).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn acts(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.out().join(AUDIT)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn words(&self) -> Vec<(String, By)> {
        self.acts().iter().map(|line| (word(line), line.by)).collect()
    }

    /// Waits until that was done.
    fn await_act(&self, act: &str, run: &mut Child) {
        self.await_acts(1, act, run);
    }

    /// The same until it was done so many times.
    fn await_acts(&self, times: usize, act: &str, run: &mut Child) {
        let until = Instant::now() + LIMIT;
        while self.words().iter().filter(|(done, _)| done == act).count() < times {
            let ended = run.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{ended:?}: {:?}", self.acts());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn books(&self) -> Books {
        Books::of(&Folder::open(&only_run(&self.out())).unwrap(), By::Heal)
    }

    /// Waits until nothing is left of a run that was just killed; how long that took.
    fn await_order(&self) -> Duration {
        let (begun, folder) = (Instant::now(), only_run(&self.out()));
        while Books::is_open(&folder) {
            assert!(begun.elapsed() < LIMIT, "{:?}", self.acts());
            thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    }

    fn company_state(&self) -> char {
        Identity::of(self.company.pid()).unwrap().state().unwrap()
    }
}

fn word(line: &Line) -> String {
    serde_json::to_value(line.act.act).unwrap().as_str().unwrap().to_owned()
}

fn fault(kind: &str, lasts: &str) -> String {
    format!(
        "[[fault]]\nkind = \"{kind}\"\nnodes = [\"a/api-1\"]\nat = \"4s\"\nfor = \"{lasts}\"\n[limits]\nmajority = false\n"
    )
}

/// A switch in a file: off is broken. Every way to strike it is the same command.
const SWITCH: &str = r#"
[victims."a/api-1".exec]
kill = ["rm", "ROOT/on"]
terminate = ["rm", "ROOT/on"]
pause = ["rm", "ROOT/on"]
disconnect = ["rm", "ROOT/on"]
inject = ["rm", "ROOT/on"]
heal = ["touch", "ROOT/on"]
probe = ["test", "-f", "ROOT/on"]
"#;

/// The company's own process, which is looked at from outside, too.
const PROCESS: &str = r#"
[victims."a/api-1"]
process = { pid = PID }
probe = { command = ["test", "-d", "/proc/PID"] }
"#;

#[test]
fn a_process_of_others_stands_still_and_goes_on() {
    let stand = Stand::new(PROCESS);
    let mut run = stand.start(&fault("pause", "3s"));
    stand.await_act("bit", &mut run);
    assert_eq!(stand.company_state(), 'T');
    stand.await_act("heal_verified", &mut run);
    assert_ne!(stand.company_state(), 'T');
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    run.wait().unwrap();
    assert!(stand.words().iter().all(|(_, by)| *by == By::Run), "{:?}", stand.words());
    assert!(!Books::is_open(&only_run(&stand.out())), "robots are still there");
    assert_eq!(stand.company.live(), 0);
}

#[test]
fn the_robots_own_link_to_a_backend_of_others_is_made_slow() {
    let stand = Stand::new("");
    let plan = "[[fault]]\nkind = \"latency\"\nlinks = { from = \"robots\" }\nlatency = \"150ms\"\n\
                at = \"4s\"\nfor = \"4s\"\n";
    let mut run = stand.start(plan);
    stand.await_act("heal_verified", &mut run);
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    run.wait().unwrap();
    let acts = stand.acts();
    let words: Vec<String> = acts.iter().map(word).collect();
    assert_eq!(words, ["inject", "bit", "heal", "heal_verified"], "{acts:?}");
    assert_eq!(acts[0].act.victims, ["robots -> api"]);
}

/// Says back what it is told, for as long as anybody talks to it.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    at
}

/// A part of the backend asks another one something; how long the answer takes.
fn asks(at: SocketAddr) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"hallo")?;
    stream.read_exact(&mut [0; 5])?;
    Ok(begun.elapsed())
}

#[test]
fn a_link_between_parts_of_a_backend_of_others_is_made_slow_and_reset() {
    let upstream = parrot();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stand = Stand::new(&format!(
        "[[backend_link]]\nfrom = \"a/api-1\"\nto = \"a/db-1\"\nlisten = \"{listen}\"\n\
         upstream = \"{upstream}\"\n"
    ));
    let links = "links = { from = \"a/api-1\", to = \"a/db-1\" }";
    let plan = format!(
        "[[fault]]\nkind = \"latency\"\n{links}\nlatency = \"150ms\"\nat = \"4s\"\nfor = \"5s\"\n\
         [[fault]]\nkind = \"reset\"\n{links}\nat = \"12s\"\nfor = \"4s\"\n"
    );
    let mut command = stand.command(&plan);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    stand.await_act("bit", &mut run);
    // The delay is put on each direction, whatever else the machine does.
    assert!(asks(listen).unwrap() >= Duration::from_millis(300));
    stand.await_act("heal_verified", &mut run);
    assert!(asks(listen).is_ok());
    stand.await_acts(2, "bit", &mut run);
    assert!(asks(listen).is_err());
    stand.await_acts(2, "heal_verified", &mut run);
    assert!(asks(listen).is_ok());
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    let output = run.wait_with_output().unwrap();
    let told = told(&output);
    let says = format!("point a/api-1 at {listen}, which leads to {upstream}");
    assert!(told.contains(&says), "{told}");
    assert!(stand.acts().iter().all(|act| act.act.victims == ["a/api-1 -> a/db-1"]));
    assert!(asks(listen).is_err(), "the proxy has ended with the run");
    assert!(asks(upstream).is_ok());
}

#[test]
fn a_link_to_an_http_server_is_measured_whatever_it_takes() {
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stand = Stand::new(&format!(
        "[[backend_link]]\nfrom = \"a/api-1\"\nto = \"a/db-1\"\nlisten = \"{listen}\"\n\
         upstream = \"COMPANY\"\n"
    ));
    let kinds = [
        ("bandwidth", "rate = 64"),
        ("slicer", "size = 200"),
        ("limit-data", "bytes = 65536"),
        ("dns", "answer = \"wrong\""),
        ("dns", "answer = \"slow\"\ndelay = \"1s\""),
    ];
    let strike = |(place, (kind, keys)): (usize, &(&str, &str))| {
        format!(
            "[[fault]]\nkind = \"{kind}\"\n{keys}\nat = \"{}s\"\nfor = \"3s\"\n\
             links = {{ from = \"a/api-1\", to = \"a/db-1\" }}\n",
            4 + place * 7
        )
    };
    let plan: Vec<String> = kinds.iter().enumerate().map(strike).collect();
    let mut run = stand.start(&plan.concat());
    stand.await_acts(kinds.len(), "heal_verified", &mut run);
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    run.wait().unwrap();
    let acts = stand.acts();
    let words: Vec<String> = acts.iter().map(word).collect();
    assert_eq!(words, ["inject", "bit", "heal", "heal_verified"].repeat(kinds.len()), "{acts:?}");
}

#[test]
fn the_guardian_lets_it_go_on_and_takes_the_robots_home() {
    let stand = Stand::new(PROCESS);
    let mut run = stand.start(&fault("pause", "40s"));
    stand.await_act("bit", &mut run);
    run.kill().unwrap();
    run.wait().unwrap();
    let took = stand.await_order();
    println!("pause of a process: all in order {:.2} s after SIGKILL", took.as_secs_f64());
    assert_ne!(stand.company_state(), 'T');
    assert_eq!(stand.words().last().unwrap(), &("heal_verified".to_owned(), By::Guardian));
    assert_eq!(stand.company.live(), 0, "rides are open");
}

#[test]
fn every_kind_on_nodes_is_healed_by_the_guardian() {
    let here = FAULTS.iter().filter(|entry| entry.worlds.contains(&World::Real));
    let on_nodes = here.filter(|entry| entry.hits == Hits::Nodes && entry.roles.is_empty());
    let kinds: Vec<&str> = on_nodes.map(|entry| entry.name).collect();
    assert!(kinds.contains(&"inject") && kinds.contains(&"disconnect") && kinds.len() > 6);
    for group in kinds.chunks(4) {
        thread::scope(|scope| {
            for kind in group {
                scope.spawn(|| killed_in_the_middle_of(kind));
            }
        });
    }
}

fn killed_in_the_middle_of(kind: &str) {
    let stand = Stand::new(SWITCH);
    let switch = stand.root.path().join("on");
    fs::write(&switch, "").unwrap();
    let mut run = stand.start(&fault(kind, "38s"));
    stand.await_act("inject", &mut run);
    run.kill().unwrap();
    run.wait().unwrap();
    let took = stand.await_order();
    println!("{kind} of a switch: all in order {:.2} s after SIGKILL", took.as_secs_f64());
    assert!(switch.exists(), "{kind}: {:?}", stand.acts());
    assert_eq!(stand.words().last().unwrap(), &("heal_verified".to_owned(), By::Guardian));
    assert_eq!(stand.company.live(), 0, "{kind}: rides are open");
}

/// Processes with that text in their command line, which is theirs alone.
fn sleepers(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let wanted = format!("sleep\0{text}\0");
    let has_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == wanted.as_bytes())
    };
    pids.filter(has_it).filter(|pid| Identity::of(*pid).is_some_and(|it| it.lives())).collect()
}

#[test]
fn a_process_that_was_killed_is_started_again_by_the_run_and_by_its_guardian() {
    let text = format!("86400.{}", std::process::id());
    let mut first = Command::new("sleep").arg(&text).spawn().unwrap();
    let stand = Stand::new(&format!(
        "[victims.\"a/api-1\"]\n\
         process = {{ command = \"sleep {text}\", start = [\"sleep\", \"{text}\"] }}\n"
    ));
    let mut run = stand.start(&fault("kill", "2s"));
    stand.await_act("bit", &mut run);
    assert!(sleepers(&text).is_empty());
    stand.await_act("heal_verified", &mut run);
    let second = sleepers(&text);
    assert!(second.len() == 1 && second != [first.id()], "{second:?}");
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    run.wait().unwrap();
    first.wait().unwrap();
    assert_eq!(sleepers(&text), second, "it stays when the run goes");

    fs::remove_dir_all(stand.out()).unwrap();
    let mut run = stand.start(&fault("kill", "38s"));
    stand.await_act("bit", &mut run);
    run.kill().unwrap();
    run.wait().unwrap();
    let took = stand.await_order();
    println!("kill of a process: all in order {:.2} s after SIGKILL", took.as_secs_f64());
    let third = sleepers(&text);
    assert!(third.len() == 1 && third != second, "{third:?}");
    let killed = Command::new("kill").arg(third[0].to_string()).status().unwrap();
    assert!(killed.success());
}

/// A server that is well until it is told not to be.
fn moody() -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let well = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&well);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            let length = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let token = request.to_lowercase().contains("authorization: bearer hush");
            match request.split(' ').nth(1) {
                Some("/off") if token => mood.store(false, Ordering::Relaxed),
                Some("/on") if token => mood.store(true, Ordering::Relaxed),
                _ => {}
            }
            let status = if token && mood.load(Ordering::Relaxed) || request.starts_with("POST") {
                "204 No Content"
            } else {
                "503 Service Unavailable"
            };
            let head = "content-length: 0\r\nconnection: close\r\n\r\n";
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}");
        }
    });
    (url, well)
}

#[test]
fn what_calls_broke_calls_heal_and_the_token_is_in_no_file() {
    let (url, well) = moody();
    let stand = Stand::new(&format!(
        "[victims.\"a/api-1\".http]\ninject = \"POST {url}/off\"\nheal = \"POST {url}/on\"\n\
         probe = \"GET {url}/health\"\nheaders = {{ authorization = {{ env = \"MOODY_TOKEN\" }} }}\n"
    ));
    let mut command = stand.command(&fault("inject", "38s"));
    command.env("MOODY_TOKEN", "Bearer hush-4711").stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().unwrap();
    stand.await_act("bit", &mut run);
    assert!(!well.load(Ordering::Relaxed));
    run.kill().unwrap();
    run.wait().unwrap();
    let took = stand.await_order();
    println!("inject by a call: all in order {:.2} s after SIGKILL", took.as_secs_f64());
    assert!(well.load(Ordering::Relaxed));
    let mut open = vec![stand.root.path().to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("hush-4711"), "{}", path.display());
    }
}

#[test]
fn where_the_guardian_is_killed_too_heal_does_it_or_says_what_is_left() {
    let stand = Stand::new(SWITCH);
    let switch = stand.root.path().join("on");
    fs::write(&switch, "").unwrap();
    let mut run = stand.start(&fault("inject", "40s"));
    stand.await_act("bit", &mut run);
    kill_with_guardian(&mut run);
    assert!(!switch.exists() && stand.books().leases().len() == 1);

    let heal = || {
        let out = stand.out();
        stand.company.robot_city().arg("heal").arg("--out").arg(out).output().unwrap()
    };
    // Nothing can heal it: a folder is where the file was.
    fs::create_dir(&switch).unwrap();
    let failed = heal();
    assert_eq!(failed.status.code(), Some(4), "{}", told(&failed));
    assert!(told(&failed).contains("left: inject of a/api-1"), "{}", told(&failed));
    assert!(!stand.books().leases().is_empty());

    fs::remove_dir(&switch).unwrap();
    let healed = heal();
    assert_eq!(healed.status.code(), Some(0), "{}", told(&healed));
    assert!(switch.exists() && told(&healed).contains("nothing is left"), "{}", told(&healed));
    let again = heal();
    assert!(told(&again).contains("left anything"), "{}", told(&again));
}

#[test]
fn a_later_run_heals_what_a_dead_one_left() {
    let stand = Stand::new(SWITCH);
    let switch = stand.root.path().join("on");
    fs::write(&switch, "").unwrap();
    let mut run = stand.start(&fault("inject", "40s"));
    stand.await_act("bit", &mut run);
    kill_with_guardian(&mut run);
    let later = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--seed", "7", "--ui", "none", "--chaos", "none"])
        .args(["--set", "time.duration=2s", "--out", stand.out().to_str().unwrap()])
        .env("ENVELOPE_URL", &stand.company.url)
        .env("ENVELOPE_ADMIN_KEY", "operator-key")
        .output()
        .unwrap();
    assert!(told(&later).contains("is dead; healed: inject of a/api-1"), "{}", told(&later));
    assert!(switch.exists());
    let by: Vec<By> = stand.words().iter().map(|(_, by)| *by).collect();
    assert!(by.ends_with(&[By::Sweep, By::Sweep]), "{by:?}");
}

#[test]
fn a_lease_that_has_expired_is_healed_while_the_run_goes_on() {
    let stand = Stand::new(SWITCH);
    let switch = stand.root.path().join("on");
    fs::write(&switch, "").unwrap();
    let late = fault("inject", "3s").replace("at = \"4s\"", "at = \"40s\"");
    let mut run = stand.start(&late);
    let until = Instant::now() + LIMIT;
    while !stand.out().join("second").exists() || !Books::is_open(&only_run(&stand.out())) {
        assert!(Instant::now() < until && run.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    // As a run would leave it that hangs.
    fs::remove_file(&switch).unwrap();
    let lease = Lease {
        fault: 7,
        kind: "inject".into(),
        nodes: [("a/api-1".into(), String::new())].into(),
        links: Vec::new(),
        taken: "2026-11-29T17:00:00Z".parse().unwrap(),
        expires: "2026-11-29T17:00:01Z".parse().unwrap(),
    };
    stand.books().take(&lease).unwrap();
    while !stand.books().leases().is_empty() {
        assert!(Instant::now() < until && run.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(switch.exists() && run.try_wait().unwrap().is_none());
    assert_eq!(stand.words().last().unwrap(), &("heal_verified".to_owned(), By::Guardian));
    kill_with_guardian(&mut run);
}

/// Exit code and words of a run that must not begin, and that nothing was struck.
fn refused(victims: &str, plan: &str) -> (Option<i32>, String) {
    let stand = Stand::new(victims);
    let output = stand.command(plan).output().unwrap();
    assert!(stand.acts().is_empty(), "{:?}", stand.acts());
    (output.status.code(), told(&output))
}

#[test]
fn what_cannot_be_struck_or_reached_is_an_error_before_anything_is() {
    let pause = fault("pause", "3s");
    for (victims, plan, code, words) in [
        // No engine.
        (
            "[victims.\"a/api-1\"]\ndocker = { container = \"taxi\", socket = \"ROOT/no.sock\" }",
            &pause,
            69,
            "nothing answers at",
        ),
        ("[victims.\"a/api-1\"]\nprocess = { pid = 4194000 }", &pause, 69, "no process 4194000"),
        (SWITCH, &pause, 69, "its probe fails before anything is struck"),
        // No way back.
        (PROCESS, &fault("kill", "3s"), 64, "plan.toml:2: `fault.kind`: there is no way to kill"),
        (PROCESS, &fault("disconnect", "3s"), 64, "there is no way to disconnect a/api-1"),
        // No leave.
        (
            "[victims.\"a/api-1\"]\ndocker = { container = \"t\", host = \"http://10.0.0.1:2375\" }",
            &pause,
            64,
            "`10.0.0.1` is not this machine, and faults are not allowed there",
        ),
        // A limit that nobody lifted.
        (
            PROCESS,
            &pause.replace("majority = false", "azs = 1"),
            64,
            "`limits.majority`: 1 of 1 api nodes would be down at once",
        ),
        ("[victims.\"a/api-1\"]\nprobe = { command = [\"true\"] }", &pause, 64, "must have one of"),
        ("[victims.\"api\"]\nprocess = { pid = 1 }", &pause, 64, "is no name of a node"),
    ] {
        let (exit, text) = refused(victims, plan);
        assert_eq!(exit, Some(code), "{victims}: {text}");
        assert!(text.contains(words), "{victims}: {text}");
    }
    let outside = fault("pause", "3s").replace("a/api-1", "b/api-1");
    let (exit, text) = refused(PROCESS, &outside);
    assert_eq!(exit, Some(64), "{text}");
    assert!(text.contains("no node is called `b/api-1`"), "{text}");
    assert!(Path::new(TARGET).exists());
}
