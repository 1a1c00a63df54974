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
    assert_eq!(code, Some(1), "{names:?}: {:#}", summary["reasons"]);
    for (fault, name, words) in faults {
        let entry = law(&summary, name);
        assert_eq!(entry["verdict"], "broken", "{fault}: {:#}", summary["reasons"]);
        let told = entry["violations"].as_array().unwrap();
        let what = |one: &Value| one["what"].as_str().unwrap().contains(words);
        assert!(told.iter().any(what), "{fault}, {name}: {told:#?}");
    }
}

#[test]
fn a_company_with_envelopes_and_relayed_offers_passes() {
    is_healthy("envelope");
}

#[test]
fn an_office_on_one_socket_passes() {
    is_healthy("broadcast");
}

#[test]
fn cabs_by_events_pass() {
    is_healthy("events");
}

#[test]
fn a_company_with_five_faults_is_caught_at_each() {
    are_found(
        "envelope",
        &[
            ("double-confirm", "one-driver-per-job", "two drivers at once"),
            ("charge-twice", "charged-once", "it was charged 2 times"),
            ("lost-cancel", "nothing-acknowledged-is-lost", "which cannot follow cancelled"),
            ("other-rider", "answers-match-questions", ""),
            ("500-on-cancel", "no-server-error", "NullPointerException"),
        ],
    );
}

#[test]
fn an_office_with_two_winners_lost_rides_and_zombies_is_caught_at_each() {
    are_found(
        "broadcast",
        &[
            ("two-winners", "one-driver-per-job", "two drivers at once"),
            ("lost-ride", "nothing-acknowledged-is-lost", "there is no such job"),
            ("zombie", "nothing-acknowledged-is-lost", "which cannot follow cancelled"),
        ],
    );
}

#[test]
fn an_office_that_gives_a_number_twice_is_caught() {
    are_found("broadcast", &[("id-reuse", "unique-ids", "")]);
}

#[test]
fn cabs_with_four_faults_are_caught_at_each() {
    are_found(
        "events",
        &[
            ("charge-twice", "charged-once", "it was charged 2 times"),
            ("never-charge", "charged-once", "has none for it"),
            ("assign-busy", "one-job-per-driver", "2 live jobs at once"),
            ("limit-after-effect", "rejected-changes-nothing", "of its attempts"),
        ],
    );
}
