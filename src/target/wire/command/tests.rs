//! Commands that behave, and commands that do not.

use serde_json::json;

use super::*;
use crate::world::real::run_local;

fn sh(script: &str) -> Probe {
    Probe::new(["sh", "-c", script])
}

fn run(probe: &Probe) -> Result<Vec<Row>, CommandError> {
    run_local(probe.run()).unwrap()
}

fn rows(probe: &Probe) -> Value {
    run(probe).unwrap().into_iter().map(Value::from).collect()
}

#[test]
fn a_command_gives_rows() {
    assert_eq!(rows(&Probe::new(["echo", "[{\"id\": 1}]"])), json!([{"id": 1}]));
}

#[test]
fn a_database_gives_rows() {
    let query = "select 7 as id, 'a,b' as name union select 8, null";
    let mut probe = Probe::new(["sqlite3", "-csv", "-header", ":memory:", query]);
    probe.format = Format::Csv { separator: ',', columns: None };
    assert_eq!(rows(&probe), json!([{"id": "7", "name": "a,b"}, {"id": "8", "name": ""}]));
    let mut probe = Probe::new(["sqlite3", "-json", ":memory:", "select 1 as id where 0"]);
    assert_eq!(rows(&probe), json!([]));
    probe.argv[3] = "select 1 as id, 1.5 as fare".into();
    assert_eq!(rows(&probe), json!([{"id": 1, "fare": 1.5}]));
}

#[test]
fn arguments_are_not_a_shells() {
    assert_eq!(
        rows(&Probe::new(["printf", "%s", "{\"a\": \"$HOME;*\"}"])),
        json!([{"a": "$HOME;*"}])
    );
}

#[test]
fn the_environment_is_ours_and_more_and_stdin_is_empty() {
    let mut probe = sh("cat; printf '{\"path\": \"%s\", \"more\": \"%s\"}' \"$PATH\" \"$MORE\"");
    probe.env.push(("MORE".into(), "yes".into()));
    assert_eq!(rows(&probe), json!([{"path": std::env::var("PATH").unwrap(), "more": "yes"}]));
}

#[test]
fn a_failure_is_told_with_its_last_words_but_no_secret() {
    let mut probe = sh("echo 'user=bob password=hunter2hunter2' >&2; for n in $(seq 20); \
        do echo line $n >&2; done; echo \"no entry with $PW\" >&2; exit 3; # hunter2hunter2");
    probe.env.push(("PW".into(), "hunter2hunter2".into()));
    probe.redact.push("hunter2hunter2".into());
    let why = run(&probe).unwrap_err();
    let CommandError::Failed { command, how, stderr } = &why else { panic!("{why}") };
    assert_eq!(how, "exit code 3");
    assert_eq!((stderr.0.len(), stderr.0[9].as_str()), (10, "no entry with ***"));
    assert!(command.ends_with("# ***"));
    for text in [why.to_string(), format!("{why:?}"), format!("{probe:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn output_that_is_not_as_declared_is_told_without_secrets() {
    let mut probe = sh("echo 'hunter2hunter2 is not JSON'");
    probe.redact.push("hunter2hunter2".into());
    let why = run(&probe).unwrap_err().to_string();
    assert!(why.contains("is not JSON") && !why.contains("hunter2"), "{why}");
}

#[test]
fn a_signal_is_a_failure() {
    let why = run(&sh("kill -9 $$")).unwrap_err().to_string();
    assert!(why.contains("signal 9") && why.contains("nothing on stderr"), "{why}");
}

#[test]
fn the_whole_group_ends_at_the_time_limit() {
    // A grandchild holds stdout open and outlives its parent: only its end closes the fifo's other
    // side, without which this test would wait for ever.
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let script = format!(
        "exec 3<>'{0}'; sleep 1000 & echo waiting >&2; echo started >'{0}'",
        fifo.display()
    );
    let mut probe = sh(&script);
    probe.within = Duration::from_secs(2);
    let why = run(&probe).unwrap_err();
    assert!(matches!(why, CommandError::Late { .. }), "{why}");
    assert!(why.to_string().contains("waiting"), "{why}");
    // Opens for writing only, without waiting: an error while nobody has it open for reading.
    let open = || {
        rustix::fs::open(
            &fifo,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        )
    };
    while open().is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn who_goes_away_leaves_nothing_running() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let probe = sh(&format!("echo $$ > '{}'; exec sleep 1000", pid.display()));
    let number = run_local(async {
        let mut run = Box::pin(probe.run());
        loop {
            let tick = tokio::time::sleep(Duration::from_millis(5));
            futures_util::future::select(&mut run, Box::pin(tick)).await;
            let text = std::fs::read_to_string(&pid).unwrap_or_default();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
        }
    })
    .unwrap();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    while state().is_some_and(|state| state != 'Z') {
        std::thread::yield_now();
    }
}

#[test]
fn too_much_output_is_an_error() {
    let mut probe = sh("yes");
    probe.output_bytes = 1 << 16;
    let why = run(&probe).unwrap_err();
    assert!(matches!(why, CommandError::TooMuch { most: 65_536, .. }), "{why}");
    let mut probe = sh("printf '[{}]'");
    probe.output_bytes = 4;
    assert_eq!(rows(&probe), json!([{}]));
    probe.output_bytes = 3;
    assert!(matches!(run(&probe), Err(CommandError::TooMuch { .. })));
}

#[test]
fn much_stderr_does_not_stop_a_command() {
    assert_eq!(rows(&sh("yes | head -c 300000 >&2; echo '{}'")), json!([{}]));
}

#[test]
fn what_cannot_be_started_is_named() {
    let why = run(&Probe::new(["no-such-program-here"])).unwrap_err().to_string();
    assert!(why.contains("no program `no-such-program-here` in PATH"), "{why}");
    assert_eq!(run(&Probe::new(Vec::<String>::new())), Err(CommandError::Empty));
}
