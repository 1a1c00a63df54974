//! What a dead run leaves at a backend that it did not start is put in order by `clean`, and two runs
//! never share such a backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

mod company;

use std::process::Command;

use company::{Company, TARGET, kill_with_guardian, only_run, told};

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

    kill_with_guardian(&mut run);
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
    kill_with_guardian(&mut run);
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
fn a_run_whose_drivers_cannot_go_off_shift_says_who_is_left() {
    let (company, out) = (Company::open(), tempfile::tempdir().unwrap());
    let mapping = std::fs::read_to_string(TARGET).unwrap();
    let nowhere = mapping.replace("/v2/drivers/me/offline", "/v2/drivers/me/nowhere");
    assert_ne!(nowhere, mapping);
    let target = out.path().join("target.toml");
    std::fs::write(&target, nowhere).unwrap();
    let mut run = company.run_with(&target, out.path());
    run.args(["--set", "time.duration=10s", "--set", "time.settle=20s"]);
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let says =
        "LEFT BEHIND: driver/00000 may be on shift: its last driver.go_offline ended as fail";
    assert!(told(&output).contains(says), "{}", told(&output));
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
