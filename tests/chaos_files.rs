//! Every fault plan that is shipped loads and fits the embedded backend; every bad one is refused
//! with the text beside it. `UPDATE_GOLDEN=1` writes those texts anew.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use robot_city::{
    base::{file::FileError, name::NodeName, rng::Rng},
    chaos::{Plan, Resolved, provider::LinkName},
};

fn plans(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no plan in {folder}");
    found
}

/// The shape of an embedded backend whose services talk over brokers: one node of each role in each
/// AZ. A plan that aims at brokers says that it needs them.
fn nodes() -> Vec<NodeName> {
    let roles = ["api", "orchestration", "core", "storage", "broker"];
    let of_az = |az| roles.map(|role| NodeName::from(format!("{az}/{role}-1").as_str()));
    ["a", "b", "c"].into_iter().flat_map(of_az).collect()
}

fn links() -> Vec<LinkName> {
    let all = nodes();
    let downward = [("api", "orchestration"), ("orchestration", "core"), ("core", "storage")];
    let mut links = Vec::new();
    for (above, below) in downward {
        for from in all.iter().filter(|node| node.role() == above) {
            for to in all.iter().filter(|node| node.role() == below) {
                links.push(LinkName { from: from.clone(), to: to.clone() });
            }
        }
    }
    for to in all.into_iter().filter(|node| node.role() == "api") {
        links.push(LinkName { from: "robots".into(), to });
    }
    links
}

fn load(path: &Path) -> Result<Resolved, FileError> {
    let duration = Duration::from_secs(90);
    Plan::load(path)?.resolve(&nodes(), &links(), duration, &Rng::from_seed("42"))
}

#[test]
fn every_shipped_plan_fits() {
    for path in plans("chaos") {
        let resolved = load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(!resolved.faults.is_empty(), "{} breaks nothing", path.display());
    }
}

#[test]
fn the_evening_in_dublin_is_as_it_is_told() {
    let resolved = load(Path::new("chaos/dublin-evening.toml")).unwrap();
    let told: Vec<String> = resolved
        .faults
        .iter()
        .map(|fault| format!("{} at {} for {}", fault.kind(), fault.at, fault.lasts))
        .collect();
    assert_eq!(told, ["kill at 30s for 5s", "kill at 45s for 10s", "latency at 1m 5s for 15s"]);
    assert_eq!(resolved.faults[0].nodes, [NodeName::from("b/storage-1")]);
    assert_eq!(resolved.faults[1].nodes, [NodeName::from("c/core-1")]);
    let touched = resolved.links_touched();
    assert!(touched.iter().all(|link| link.from.az() == "a" || link.to.az() == "a"));
    assert!(touched.iter().any(|link| link.from.as_str() == "robots"));
}

#[test]
fn every_bad_plan_is_refused_with_its_text() {
    for path in plans("tests/invalid/chaos") {
        let error = load(&path).expect_err(&format!("{} was taken", path.display()));
        let error = format!("{error}\n");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &error).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(error, expected, "{}", golden.display());
    }
}
