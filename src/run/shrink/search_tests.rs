//! The search with a player that decides by the plan alone.

use std::path::Path;

use super::*;
use crate::run::plan::{Time, Wishes};

const LAW: &str = "charged-once";

type Judge = fn(&RunPlan) -> bool;

/// Breaks the law where the plan is as it says, and remembers how often it was asked.
struct Fake {
    breaks: Judge,
    plays: u32,
    /// From that play on somebody wants to stop.
    stops_at: u32,
}

impl Player for Fake {
    fn play(&mut self, plan: &RunPlan) -> anyhow::Result<Heard> {
        self.plays += 1;
        if self.plays >= self.stops_at {
            return Ok(Heard::Interrupted);
        }
        let laws = if (self.breaks)(plan) { vec![LAW] } else { vec!["unique-ids"] };
        Ok(Heard::Broke(laws.into_iter().map(str::to_owned).collect()))
    }
}

/// The smoke scenario, virtual, with six kills: at 0 s, 1 s … of five nodes in turn.
fn plan() -> RunPlan {
    let wishes = Wishes {
        chaos: Some("none".into()),
        seed: Some("7".into()),
        time: Time::Virtual,
        plants: vec!["charge-twice".into(), "busy-leak".into()],
        ..Wishes::default()
    };
    let mut plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
    let kill = |n: u32, node: &str| {
        format!("[[fault]]\nkind = \"kill\"\nat = \"{n}s\"\nfor = \"1s\"\nnodes = [\"{node}\"]\n")
    };
    let nodes = ["a/core-1", "b/core-1", "c/core-1", "b/storage-1", "a/api-1", "b/api-1"];
    let text: String = (0..).zip(nodes).map(|(n, node)| kill(n, node)).collect();
    plan.faults = toml::from_str(&text).unwrap();
    plan
}

/// The best, the runs that it took, and how the search ended.
fn shrunk(breaks: Judge, times: u32, limit: u32) -> (Candidate, u32, Result<(), Stop>) {
    let plan = plan();
    let mut player = Fake { breaks, plays: 0, stops_at: u32::MAX };
    let mut search = Search::new(&plan, LAW, &mut player, (times, limit), Arc::default());
    let ended = search.begins().and_then(|begins| {
        assert!(begins);
        search.run()
    });
    let (best, runs) = (search.best().clone(), search.runs());
    assert_eq!(runs, player.plays);
    (best, runs, ended)
}

fn kills(plan: &RunPlan, node: &str) -> bool {
    plan.faults.faults.iter().any(|fault| fault.nodes.iter().any(|n| n.as_str() == node))
}

#[test]
fn what_is_needed_is_left_and_every_size_is_the_least() {
    let (best, runs, ended) = shrunk(
        |plan| {
            let (load, time) = (&plan.scenario.load, &plan.scenario.time);
            kills(plan, "b/storage-1")
                && plan.plants.contains(&"charge-twice".to_owned())
                && load.drivers >= 27
                && load.passengers >= 23
                && load.jobs_per_hour >= 500.0
                && time.duration.0.as_millis() >= 4_700
        },
        1,
        200,
    );
    ended.unwrap();
    assert_eq!(best.faults, [3]);
    assert_eq!(best.plants, ["charge-twice"]);
    assert_eq!((best.drivers, best.passengers), (27, 23));
    assert!((best.jobs_per_hour - 500.0).abs() < 1e-9, "{best}");
    assert_eq!(best.duration.0.as_millis(), 4_700);
    assert!(runs < 120, "{runs} runs");
}

#[test]
fn two_faults_that_are_needed_together_stay_and_hold_the_duration() {
    let needs = |plan: &RunPlan| kills(plan, "a/core-1") && kills(plan, "b/api-1");
    let (best, _, ended) = shrunk(needs, 1, 200);
    ended.unwrap();
    assert_eq!(best.faults, [0, 5]);
    assert_eq!(best.duration.0.as_secs(), 6, "the last fault ends then");
}

#[test]
fn the_cadence_of_each_driver_is_kept() {
    let plan = plan();
    let small = Candidate { drivers: 6, ..Candidate::whole(&plan) }.of(&plan);
    let every = |plan: &RunPlan| {
        f64::from(plan.scenario.load.drivers) / plan.scenario.load.updates_per_second
    };
    assert!((every(&small) - every(&plan)).abs() < 1e-9);
    assert_eq!(Candidate::whole(&plan).of(&plan).to_toml().unwrap(), plan.to_toml().unwrap());
}

#[test]
fn the_limit_ends_the_search_with_the_best_so_far() {
    let needs = |plan: &RunPlan| kills(plan, "b/storage-1");
    let (best, runs, ended) = shrunk(needs, 1, 6);
    assert!(matches!(ended, Err(Stop::Limit)));
    assert_eq!(runs, 6);
    assert!(best.drivers < 60, "{best}");
}

#[test]
fn an_interruption_keeps_the_best_so_far() {
    let plan = plan();
    let mut player = Fake { breaks: |_| true, plays: 0, stops_at: 4 };
    let mut search = Search::new(&plan, LAW, &mut player, (1, 200), Arc::default());
    assert!(search.begins().unwrap());
    assert!(matches!(search.run(), Err(Stop::Interrupted)));
    assert!(*search.best() != Candidate::whole(&plan));
}

#[test]
fn a_law_that_breaks_now_and_then_is_tried_that_often() {
    // Odd sizes never break it; every candidate is tried three times before it is given up.
    let needs = |plan: &RunPlan| plan.scenario.load.drivers == 60;
    let (best, runs, ended) = shrunk(needs, 3, 1_000);
    ended.unwrap();
    assert_eq!((best.drivers, best.faults.len()), (60, 0));
    let (_, once, _) = shrunk(needs, 1, 1_000);
    assert!(runs > once, "{runs} runs, {once} with one try each");
}
