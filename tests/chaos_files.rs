//! Every fault plan that is shipped loads and fits the embedded backend; every bad one is refused
//! with the text beside it. `UPDATE_GOLDEN=1` writes those texts anew.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers included")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use robot_city::{
    backend::layout::Layout,
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

/// The services of the embedded backend, one node of each role in each AZ.
fn services() -> Vec<NodeName> {
    let azs = ["a", "b", "c"].map(str::to_owned);
    Layout::of(&azs, 1, 1, 1, Layout::storage(&azs, "b", 3))
}

fn brokers() -> Vec<NodeName> {
    Layout::brokers(&["a", "b", "c"].map(str::to_owned))
}

/// All that a plan can aim at: a plan that aims at brokers says that it needs them.
fn nodes() -> Vec<NodeName> {
    [services(), brokers()].concat()
}

fn links() -> Vec<LinkName> {
    let dialled = Layout::links(&services()).into_iter().chain(Layout::links(&nodes()));
    let robots = || NodeName::from("robots");
    let apis = services().into_iter().filter(|node| node.role() == "api");
    let all: BTreeSet<_> = dialled.chain(apis.map(|api| (robots(), api))).collect();
    all.into_iter().map(|(from, to)| LinkName { from, to }).collect()
}

fn load(path: &Path) -> Result<Resolved, FileError> {
    let (plan, duration) = (Plan::load(path)?, Duration::from_secs(90));
    let resolved = plan.resolve(&nodes(), &links(), duration, &Rng::from_seed("42"))?;
    plan.check_strikes(&resolved, |_, strike| strike.fits_own())?;
    plan.check_limits(&resolved, &nodes())?;
    Ok(resolved)
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
