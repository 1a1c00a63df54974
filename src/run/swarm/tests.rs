//! Small swarms, whole: in memory, in debug builds.

use std::path::Path;

use super::*;
use crate::{
    history::manifest::segment_name,
    law::known::KnownFile,
    run::plan::{Time, Wishes},
};

/// A handful of drivers for a few seconds; `sets` over it.
fn base(sets: &[&str], plants: &[&str]) -> Base {
    let small = ["load.drivers=12", "load.updates_per_second=4", "load.passengers=6"];
    let brief = ["time.duration=10s", "time.settle=10s", "load.jobs_per_hour=2400"];
    let wishes = Wishes {
        seed: Some("1".into()),
        chaos: Some("chaos/smoke.toml".into()),
        time: Time::Virtual,
        sets: small.iter().chain(&brief).chain(sets).map(ToString::to_string).collect(),
        plants: plants.iter().map(ToString::to_string).collect(),
        ..Wishes::default()
    };
    let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes);
    Base::new(plan.unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

fn play(base: &Base, seeds: &str, threads: usize, keep_going: bool) -> Vec<Trial> {
    let (signals, mut trials) = (Stops::default(), Vec::new());
    let crew = Crew::new(base, seeds.parse().unwrap(), threads, keep_going, &signals);
    crew.play(|news| {
        if let News::Played(trial) = news {
            trials.push(trial);
        }
    })
    .unwrap();
    trials
}

#[test]
fn a_seed_comes_out_the_same_on_any_thread() {
    let base = base(&["time.duration=16s"], &[]);
    let (one, two) = (play(&base, "1..6", 1, true), play(&base, "1..6", 2, true));
    assert_eq!(one, two);
    assert_eq!(one.iter().map(|trial| trial.seed).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(one.iter().all(|trial| trial.records > 0), "{one:?}");
    assert!(one.iter().any(|trial| !trial.faults.is_empty()), "{one:?}");
    assert!(one.iter().all(|trial| !trial.is_failure()), "{one:?}");
    assert_ne!(one[0].records, one[1].records);
}

#[test]
fn a_world_that_panics_is_its_own_seeds_failure() {
    let mut base = base(&[], &[]);
    // Nobody can wish for that: validation refuses it. A cadence of for ever is no span.
    base.plan.scenario.load.updates_per_second = 0.0;
    let trials = play(&base, "1..4", 2, true);
    assert_eq!(trials.len(), 4);
    for trial in trials {
        assert_eq!(trial.exit, Exit::Crash);
        assert!(trial.evidence.contains("panicked"), "{}", trial.evidence);
    }
}

#[test]
fn the_first_failure_ends_it_unless_it_is_to_go_on() {
    let mut base = base(&[], &[]);
    base.plan.scenario.load.updates_per_second = 0.0;
    assert_eq!(play(&base, "1..100", 1, false).len(), 1);
    assert_eq!(play(&base, "1..20", 1, true).len(), 20);
}

#[test]
fn a_signal_ends_it_before_the_next_seed() {
    let base = base(&[], &[]);
    let signals = Stops::default();
    signals.hear("INT");
    let mut played = 0;
    let crew = Crew::new(&base, "1..100".parse().unwrap(), 2, true, &signals);
    crew.play(|news| played += usize::from(matches!(news, News::Played(_)))).unwrap();
    assert_eq!(played, 0);
}

#[test]
fn a_failure_is_kept_so_that_it_can_be_judged_and_replayed() {
    let base = base(&["load.jobs_per_hour=7200"], &["charge-twice"]);
    let broken = play(&base, "1..40", 2, false);
    let failure = broken.iter().find(|trial| trial.exit == Exit::Broken).expect("it was not found");
    assert!(failure.evidence.starts_with("charged-once"), "{}", failure.evidence);
    let out = tempfile::tempdir().unwrap();
    let kept = keep(&base, failure, out.path()).unwrap();
    assert!(kept.same);
    assert_eq!(crate::run::again::judge(&kept.folder).unwrap().exit(), Exit::Broken);
    let plan = RunPlan::load(&kept.folder.join("plan.toml")).unwrap();
    let city = std::rc::Rc::new(plan.city_in_memory().unwrap());
    let again = Trial::of(failure.seed, &plan, &trial::attempt(&plan, &city, None));
    assert_eq!(&again, failure);
}

/// What a swarm over seeds 1 to 40 with those bugs leaves in `out`, and its exit code.
fn swarm(out: &Path, plants: &[&str]) -> (Exit, serde_json::Value) {
    let order = Order {
        seeds: "1..40".parse().unwrap(),
        keep_going: false,
        threads: Some(2),
        out: out.to_owned(),
        ui: Ui::None,
        command: "robot-city run".into(),
    };
    let exit = run(base(&["load.jobs_per_hour=7200"], plants).plan, &order).unwrap();
    let file = out.join("smoke/swarm-1-40/swarm.json");
    (exit, serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

#[test]
fn a_seed_that_comes_out_otherwise_hides_no_broken_law() {
    let out = tempfile::tempdir().unwrap();
    let (exit, told) = swarm(out.path(), &["charge-twice", "reads-clock"]);
    assert_eq!((exit, told["exit"].as_u64()), (Exit::Broken, Some(1)));
    assert_eq!(told["failures"][0]["changed"], true, "{told}");
}

#[test]
fn the_cruel_city_is_a_swarms_home() {
    // A quarter of it, for debug builds; as long as its faults need.
    let small = ["load.drivers=10", "load.updates_per_second=10", "load.passengers=15"];
    let sets = small.iter().chain(&["load.jobs_per_hour=7500"]).map(ToString::to_string);
    let wishes = Wishes {
        seed: Some("1".into()),
        time: Time::Virtual,
        sets: sets.collect(),
        swarm: true,
        ..Wishes::default()
    };
    let plan = RunPlan::resolve(Path::new("scenarios/crush.toml"), &wishes).unwrap();
    let trials = play(&Base::new(plan).unwrap(), "1..4", 2, true);
    assert!(trials.iter().all(|trial| !trial.is_failure()), "{trials:?}");
    let mut tally = Tally::default();
    for trial in trials {
        tally.add(trial);
    }
    // What it is made for: accepts race, repeats come, drivers and passengers change their minds.
    for law in ["one-driver-per-job", "charged-once"] {
        assert!(tally.laws[law].opportunities > 10, "{law}: {:?}", tally.laws[law]);
    }
}

#[test]
fn the_whole_leaves_a_file_and_a_folder() {
    let out = tempfile::tempdir().unwrap();
    let (exit, told) = swarm(out.path(), &["charge-twice"]);
    assert_eq!(exit, Exit::Broken);
    assert_eq!((told["exit"].as_u64(), told["schema"].as_u64()), (Some(1), Some(1)));
    let shortest = &told["failures"][0];
    assert_eq!(shortest["changed"], false, "{told}");
    let folder = Path::new(shortest["folder"].as_str().unwrap());
    assert!(folder.join("summary.json").is_file() && folder.join("plan.toml").is_file());
    assert_eq!(shortest["replay"], format!("robot-city replay {}", folder.display()));
    assert_eq!(out.path().join("latest").canonicalize().unwrap(), folder.canonicalize().unwrap());
}

fn city(base: &Base) -> std::rc::Rc<crate::city::City> {
    std::rc::Rc::new(base.plan.city_in_memory().unwrap())
}

/// Known failures of charges, on the day on which that is.
fn known(expires: &str) -> KnownFile {
    let text = format!(
        "[[known]]\nlaw = 'charged-once'\nmatch = 'it was charged 2 times'\nissue = 'https://issues/1'\n\
         expires = '{expires}'\n\n[[known]]\nlaw = 'unique-ids'\nmatch = 'one id'\n\
         issue = 'https://issues/2'\nexpires = '{expires}'\n"
    );
    KnownFile { file: "known.toml".into(), on: "2026-06-19".parse().unwrap(), text }
}

#[test]
fn a_seed_with_known_failures_only_is_no_failure() {
    let mut base = base(&["load.jobs_per_hour=7200"], &["charge-twice"]);
    let first = play(&base, "1..40", 2, false);
    let broken = first.iter().find(|trial| trial.exit == Exit::Broken).expect("it was not found");
    base.plan.known = Some(known("2026-06-19"));
    let again = play(&base, &format!("{0}..{0}", broken.seed), 1, false).remove(0);
    assert!(!again.is_failure(), "{again:?}");
    assert_eq!(again.records, broken.records);
    let mut tally = Tally::default();
    tally.add(again);
    let counts: Vec<_> = tally.known.iter().map(|(name, k)| (name.as_str(), k.seeds)).collect();
    let wanted = [
        ("charged-once `it was charged 2 times` (https://issues/1)", 1),
        ("unique-ids `one id` (https://issues/2)", 0),
    ];
    assert_eq!(counts, wanted);
    let law = &tally.laws["charged-once"];
    assert_eq!((law.known, law.broken), (1, 0));
    base.plan.known = Some(known("2026-06-18"));
    let over = play(&base, &format!("{0}..{0}", broken.seed), 1, false).remove(0);
    assert_eq!((over.exit, &over.evidence), (Exit::Broken, &broken.evidence));
}

#[test]
fn a_recorded_run_is_judged_again_with_its_known_failures() {
    let mut base = base(&["load.jobs_per_hour=7200"], &["charge-twice"]);
    let played = play(&base, "1..40", 2, false);
    let broken = played.iter().find(|trial| trial.exit == Exit::Broken).expect("it was not found");
    let out = tempfile::tempdir().unwrap();
    let mut histories = Vec::new();
    // The day of the run decides whenever it is judged, and changes nothing of the history.
    for known in [None, Some(known("2026-06-19")), Some(known("2026-06-18"))] {
        let expired = known.as_ref().is_none_or(|known| known.text.contains("06-18"));
        base.plan.known = known;
        let trial = Trial::play(&base, &city(&base), broken.seed);
        assert_eq!(trial.exit == Exit::Broken, expired, "{trial:?}");
        let kept = keep(&base, &trial, out.path()).unwrap();
        assert!(kept.same);
        let again = crate::run::again::judge(&kept.folder).unwrap();
        assert_eq!((again.exit(), &again.summary.reasons), (trial.exit, &trial.reasons));
        let live = std::fs::read_to_string(kept.folder.join("summary.json")).unwrap();
        assert_eq!(live, serde_json::to_string_pretty(&again.summary).unwrap() + "\n");
        histories.push(std::fs::read(kept.folder.join("history").join(segment_name(0))).unwrap());
    }
    assert!(histories.windows(2).all(|two| two[0] == two[1]), "known failures changed a history");
}
