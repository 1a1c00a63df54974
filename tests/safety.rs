//! What keeps a target and its accounts safe: approvals for faults in production, and pools of
//! accounts whose secrets show nowhere.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output},
};

const PASSWORD: &str = "hush-hush-";

fn run(target: &Path, out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--seed", "7", "--time", "virtual", "--ui", "none"])
        .arg("--target")
        .arg(target)
        .arg("--out")
        .arg(out)
        .args(more)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn embedded() -> String {
    fs::read_to_string("targets/embedded.toml").unwrap()
}

#[test]
fn faults_in_production_need_an_approval_of_these_very_faults() {
    let root = tempfile::tempdir().unwrap();
    let (target, approval) = (root.path().join("ours.toml"), root.path().join("approval.toml"));
    let text =
        embedded().replace("name = \"embedded\"", "name = \"ours\"\nenvironment = \"production\"");
    fs::write(&target, text).unwrap();
    let refused = run(&target, root.path(), &[]);
    let words = told(&refused);
    assert_eq!(refused.status.code(), Some(64), "{words}");
    assert!(words.contains("ours.toml") && words.contains("environment"), "{words}");
    let (_, rest) = words.split_once("plan_sha256 = \"").unwrap();
    let sha = &rest[..64];
    let approve = |sha: &str, expires: &str| {
        let text = format!(
            "plan_sha256 = \"{sha}\"\napprover = \"Ann\"\nnot_before = \"2020-01-01T00:00:00Z\"\n\
             expires = \"{expires}\"\n"
        );
        fs::write(&approval, text).unwrap();
        run(&target, root.path(), &["--approval", approval.to_str().unwrap()])
    };
    for (sha, expires, key) in [
        (sha, "2020-01-02T00:00:00Z", "expires"),
        (&"0".repeat(64), "2999-01-01T00:00:00Z", "plan_sha256"),
    ] {
        let refused = approve(sha, expires);
        let words = told(&refused);
        assert_eq!(refused.status.code(), Some(64), "{words}");
        assert!(words.contains("approval.toml") && words.contains(key), "{words}");
    }
    assert!(!root.path().join("smoke").exists(), "something ran");
    let ran = approve(sha, "2999-01-01T00:00:00Z");
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    let calm = run(&target, root.path(), &["--chaos", "none"]);
    assert!(root.path().join("latest").exists(), "{}", told(&calm));
    assert_ne!(calm.status.code(), Some(64), "{}", told(&calm));
}

/// A pool of that many drivers and passengers, and the embedded backend's mapping beside it.
fn with_pool(folder: &Path, drivers: u32, passengers: u32) -> std::path::PathBuf {
    let mut users = "role,phone,secret\n".to_owned();
    for (role, count) in [("driver", drivers), ("passenger", passengers)] {
        for number in 0..count {
            writeln!(users, "{role},{role}+{number:05},{PASSWORD}{role}-{number}").unwrap();
        }
    }
    fs::write(folder.join("users.csv"), users).unwrap();
    let target = folder.join("ours.toml");
    let text = embedded()
        .lines()
        .filter(|line| !line.starts_with("phone =") && !line.starts_with("secret ="))
        .collect::<Vec<_>>()
        .join("\n");
    fs::write(&target, format!("{text}\n\n[accounts]\npool = \"users.csv\"\n")).unwrap();
    target
}

#[test]
fn robots_have_the_accounts_of_a_pool_and_its_secrets_show_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let target = with_pool(root.path(), 200, 2_000);
    let ran = run(&target, root.path(), &["--chaos", "none"]);
    let words = told(&ran);
    let folder = root.path().join("latest").canonicalize().expect(&words);
    let mut open = vec![folder];
    let mut ops = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|end| end == "zst") {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(PASSWORD), "{} tells a secret", path.display());
        ops += text.matches("\"op\":\"driver.drop_off\"").count();
    }
    assert!(ops > 0, "nobody drove: {words}");
    assert!(!words.contains(PASSWORD), "{words}");
}

#[test]
fn a_pool_that_is_too_small_or_not_there_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let target = with_pool(root.path(), 3, 2);
    let refused = run(&target, root.path(), &[]);
    let words = told(&refused);
    assert_eq!(refused.status.code(), Some(64), "{words}");
    assert!(words.contains("3 accounts for drivers, 2 for passengers"), "{words}");
    assert!(!words.contains(PASSWORD), "{words}");
    fs::write(root.path().join("users.csv"), "role,phone\n").unwrap();
    let refused = run(&target, root.path(), &[]);
    assert!(told(&refused).contains("there is no `me.secret`"), "{}", told(&refused));
    fs::remove_file(root.path().join("users.csv")).unwrap();
    let refused = run(&target, root.path(), &[]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(told(&refused).contains("accounts.pool"), "{}", told(&refused));
}
