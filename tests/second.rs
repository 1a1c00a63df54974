//! Backends that nobody here wrote for robots run the whole job flow through a mapping file alone;
//! healthy ones break no law, and each fault of the others is found by a law that says what it is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

#[path = "backends/mod.rs"]
mod backends;

use backends::Backend;
use serde_json::Value;

/// A fault that is switched on, the law that must find it, and words that stand in what it tells of
/// this fault and of no other that is on beside it.
type Found = (&'static str, &'static str, &'static str);

/// Plays the short evening; answers the exit code and the summary.
fn evening(kind: &'static str, faults: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(kind, faults, folder.path());
    // Where a fault leaves jobs open for good nobody waits for them for long.
    let settle = if faults.is_empty() { "30s" } else { "12s" };
    let output = backend.run(folder.path(), settle).output().unwrap();
    let summary = std::fs::read(folder.path().join("latest/summary.json")).unwrap_or_else(|why| {
        panic!(
            "{why}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), serde_json::from_slice(&summary).unwrap())
}

fn law<'s>(summary: &'s Value, name: &str) -> &'s Value {
    summary["laws"].as_array().unwrap().iter().find(|entry| entry["law"] == name).unwrap()
}

fn is_healthy(kind: &'static str) {
    let (code, summary) = evening(kind, &[]);
    assert_eq!(code, Some(0), "{:#}", summary["reasons"]);
    let jobs = &summary["load"]["jobs"];
    assert!(jobs["completed"].as_u64().unwrap() >= 5, "{jobs}");
    assert_eq!(jobs["open"], 0, "{jobs}");
    for name in ["charged-once", "one-job-per-driver", "nothing-acknowledged-is-lost"] {
        let entry = law(&summary, name);
        assert_eq!(entry["verdict"], "pass", "{name}: {entry:#?}");
    }
}

/// Faults that do not hide one another are played in one evening.
fn are_found(kind: &'static str, faults: &[Found]) {
    let names: Vec<_> = faults.iter().map(|(fault, ..)| *fault).collect();
    let (code, summary) = evening(kind, &names);
    // A fault may leave jobs open for good: that comes first.
    let left = !summary["left_behind"].as_array().unwrap().is_empty();
    assert_eq!(code, Some(if left { 4 } else { 1 }), "{names:?}: {:#}", summary["reasons"]);
    assert_eq!(summary["verdict"], "broken", "{names:?}: {:#}", summary["reasons"]);
    for (fault, name, words) in faults {
        let entry = law(&summary, name);
        assert_eq!(entry["verdict"], "broken", "{fault}: {:#}", summary["reasons"]);
        let told = entry["violations"].as_array().unwrap();
        let what = |one: &Value| one["what"].as_str().unwrap().contains(words);
        assert!(told.iter().any(what), "{fault}, {name}: {told:#?}");
    }
}

/// Two evenings at once: most of an evening is waiting.
fn at_once(one: impl FnOnce() + Send, other: impl FnOnce()) {
    std::thread::scope(|scope| {
        scope.spawn(one);
        other();
    });
}

#[test]
fn a_company_with_envelopes_passes_and_each_of_its_five_faults_is_found() {
    let faults = [
        ("double-confirm", "one-driver-per-job", "two drivers at once"),
        ("charge-twice", "charged-once", "it was charged 2 times"),
        ("lost-cancel", "nothing-acknowledged-is-lost", "which cannot follow cancelled"),
        ("other-rider", "answers-match-questions", "and was told of"),
        ("500-on-cancel", "no-server-error", "NullPointerException"),
    ];
    at_once(|| is_healthy("envelope"), || are_found("envelope", &faults));
}

#[test]
fn an_office_on_one_socket_passes() {
    is_healthy("broadcast");
}

#[test]
fn each_of_the_four_faults_of_an_office_on_one_socket_is_found() {
    let faults = [
        ("two-winners", "one-driver-per-job", "two drivers at once"),
        ("lost-ride", "nothing-acknowledged-is-lost", "there is no such job"),
        ("zombie", "nothing-acknowledged-is-lost", "which cannot follow cancelled"),
    ];
    // A number that is given twice looks like a ride that is lost: it is played alone.
    let reuse = [("id-reuse", "unique-ids", "and it is passenger/")];
    at_once(|| are_found("broadcast", &reuse), || are_found("broadcast", &faults));
}

#[test]
fn cabs_by_events_pass_and_each_of_their_four_faults_is_found() {
    let faults = [
        ("charge-twice", "charged-once", "it was charged 2 times"),
        ("never-charge", "charged-once", "has none for it"),
        ("assign-busy", "one-job-per-driver", "2 live jobs at once"),
        ("limit-after-effect", "rejected-changes-nothing", "of its attempts"),
    ];
    at_once(|| is_healthy("events"), || are_found("events", &faults));
}
