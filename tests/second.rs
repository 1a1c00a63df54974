//! Backends that nobody here wrote for robots run the whole job flow through a mapping file alone;
//! healthy ones break no law, and the faults of the others are found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

#[path = "backends/mod.rs"]
mod backends;

use backends::Backend;

/// Plays the short evening; answers the exit code and the summary.
fn evening(kind: &'static str, fault: Option<&str>) -> (Option<i32>, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(kind, fault, folder.path());
    let output = backend.run(folder.path()).output().unwrap();
    let summary = std::fs::read(folder.path().join("latest/summary.json")).unwrap_or_else(|why| {
        panic!(
            "{why}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code(), serde_json::from_slice(&summary).unwrap())
}

fn is_healthy(kind: &'static str, laws: &[&str]) {
    let (code, summary) = evening(kind, None);
    assert_eq!(code, Some(0), "{:#}", summary["reasons"]);
    let jobs = &summary["load"]["jobs"];
    assert!(jobs["completed"].as_u64().unwrap() >= 5, "{jobs}");
    assert_eq!(jobs["open"], 0, "{jobs}");
    for law in laws {
        let entry = summary["laws"].as_array().unwrap().iter().find(|entry| entry["law"] == *law);
        assert_eq!(entry.unwrap()["verdict"], "pass", "{law}: {entry:#?}");
    }
}

fn is_caught(kind: &'static str, fault: &str, law: &str) {
    let (code, summary) = evening(kind, Some(fault));
    assert_eq!(code, Some(1), "{fault}: {:#}", summary["reasons"]);
    let entry = summary["laws"].as_array().unwrap().iter().find(|entry| entry["law"] == law);
    assert_eq!(entry.unwrap()["verdict"], "broken", "{fault}: {:#}", summary["reasons"]);
}

#[test]
fn a_company_with_envelopes_and_relayed_offers_passes() {
    is_healthy("envelope", &["charged-once", "one-job-per-driver", "nothing-acknowledged-is-lost"]);
}

#[test]
fn a_company_that_charges_twice_is_caught() {
    is_caught("envelope", "charge-twice", "charged-once");
}

#[test]
fn an_office_on_one_socket_passes() {
    is_healthy(
        "broadcast",
        &["charged-once", "one-job-per-driver", "nothing-acknowledged-is-lost"],
    );
}

#[test]
fn an_office_with_two_winners_is_caught() {
    is_caught("broadcast", "two-winners", "one-driver-per-job");
}

#[test]
fn cabs_by_events_pass() {
    // Nobody accepts here: rides are born with a driver.
    is_healthy("events", &["charged-once", "nothing-acknowledged-is-lost"]);
}

#[test]
fn cabs_that_are_never_charged_are_caught() {
    is_caught("events", "never-charge", "charged-once");
}
