//! The run of one seed: the scenario's, with other sizes and other faults. What is made is a whole
//! plan, which stands alone: `replay` needs nothing else.

use std::time::Duration;

use crate::{
    base::{file::FileError, rng::Rng},
    chaos::{
        Plan as FaultPlan, Resolved,
        draw::Ground,
        fault::{FAULTS, World},
        provider::LinkName,
    },
    run::plan::{self, RunPlan},
    scenario::{Adequacy, Load},
};

/// How often a kind of fault is on.
const KIND_IS_ON_P: f64 = 0.25;
/// Faults that are drawn of a kind that is on, beside those of the scenario's plan: one to this.
const DRAWN_MAX: usize = 3;
/// The smallest size, as a share of the scenario's.
const SIZE_MIN: f64 = 0.25;
/// How far demand and supply go apart, beside what the scenario says: a factor either way.
const RATIO_MAX: f64 = 1.25;

/// What all seeds share.
#[derive(Debug, Clone)]
pub struct Base {
    /// The run of the scenario itself.
    pub plan: RunPlan,
    /// Its faults before anybody is aimed at.
    pub faults: FaultPlan,
    /// The city's availability zones.
    pub azs: Vec<String>,
}

impl Base {
    /// The base of a swarm over `plan`.
    pub fn new(plan: RunPlan) -> Result<Self, FileError> {
        let (faults, azs) = (plan.fault_plan()?, plan.city_in_memory()?.azs.clone());
        Ok(Self { plan, faults, azs })
    }

    /// The run of that seed.
    pub fn plan_of(&self, seed: u64) -> Result<RunPlan, FileError> {
        let mut plan = self.plan.clone();
        plan.seed = seed.to_string();
        // Whoever is traced sends a little more, which a narrow line takes longer for; and nobody
        // collects what most seeds would tell. So none is, and one that is played again is the same.
        plan.scenario.traces.on = false;
        let rng = plan.rng().fork("swarm");
        resize(&mut plan.scenario.load, &mut plan.scenario.adequacy, &mut rng.fork("sizes"));
        plan.faults = self.break_more(&plan, &rng.fork("faults"))?;
        Ok(plan)
    }

    /// Of each kind either none at all, or the scenario's own and some more.
    fn break_more(&self, plan: &RunPlan, rng: &Rng) -> Result<Resolved, FileError> {
        if plan.is_calm() {
            return Ok(Resolved::default());
        }
        let nodes = plan.nodes(&self.azs);
        let links: Vec<LinkName> = plan::links(&nodes);
        let duration: Duration = plan.scenario.time.duration.0;
        let ground = Ground { nodes: &nodes, links: &links, duration };
        // A stream for each kind: one more kind changes no other.
        let here = FAULTS.iter().filter(|entry| entry.worlds.contains(&World::Virtual));
        let mut on: Vec<_> = here.map(|entry| (entry, rng.fork(entry.name))).collect();
        on.retain_mut(|(_, rng)| rng.chance(KIND_IS_ON_P));
        let is_on = |kind: &str| on.iter().any(|(entry, _)| entry.name == kind);
        let Resolved { mut faults, limits } = plan.aim_some(&self.faults, &self.azs, is_on)?;
        for (entry, mut rng) in on {
            for _ in 0..=rng.below(DRAWN_MAX) {
                faults.extend(ground.draw(entry, &faults, &mut rng));
            }
        }
        let mut resolved = Resolved { faults, limits };
        // What was drawn is nobody's wish: where it reaches too far it is left out.
        while let Some((number, ..)) = resolved.breach(&nodes) {
            resolved.faults.remove(number);
        }
        Ok(resolved)
    }
}

/// Another size of the same city: each driver pings as often as before, and what a run must have
/// seen shrinks with it.
fn resize(load: &mut Load, adequacy: &mut Adequacy, rng: &mut Rng) {
    let size = rng.log_between(SIZE_MIN, 1.0);
    let ratio = rng.log_between(1.0 / RATIO_MAX, RATIO_MAX);
    let scaled = |count: u32| ((f64::from(count) * size).round() as u32).max(1);
    let each = load.updates_per_second / f64::from(load.drivers);
    load.drivers = scaled(load.drivers);
    load.passengers = scaled(load.passengers);
    load.updates_per_second = each * f64::from(load.drivers);
    load.jobs_per_hour *= size * ratio;
    let seen = |count: &mut u64| *count = (*count as f64 * size * ratio.min(1.0)).ceil() as u64;
    seen(&mut adequacy.completed_jobs);
    seen(&mut adequacy.raced_accepts);
    seen(&mut adequacy.doubled_offers);
    seen(&mut adequacy.deduplicated);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;
    use crate::run::plan::{Time, Wishes};

    fn base(chaos: &str) -> Base {
        let wishes = Wishes {
            seed: Some("1".into()),
            chaos: Some(chaos.into()),
            time: Time::Virtual,
            ..Wishes::default()
        };
        Base::new(RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap()).unwrap()
    }

    #[test]
    fn each_kind_is_on_in_a_quarter_of_the_seeds() {
        let base = base("chaos/smoke.toml");
        let (mut on, mut most) = (BTreeMap::<&str, u32>::new(), 0);
        for seed in 1..=1_000 {
            let faults = base.plan_of(seed).unwrap().faults.faults;
            for entry in FAULTS.iter().filter(|entry| entry.worlds.contains(&World::Virtual)) {
                let own = base.plan.faults.faults.iter().filter(|f| f.kind() == entry.name).count();
                let count = faults.iter().filter(|fault| fault.kind() == entry.name).count();
                *on.entry(entry.name).or_default() += u32::from(count > 0);
                assert!(count == 0 || (own..=own + DRAWN_MAX).contains(&count), "seed {seed}");
            }
            most = most.max(faults.len());
        }
        // Four standard deviations around a quarter of a thousand, and fewer where all were taken.
        for (kind, count) in on {
            // What fits few nodes finds them taken by others now and then.
            let picky = FAULTS.iter().any(|entry| entry.name == kind && !entry.roles.is_empty());
            let least = if picky { 40 } else { 180 };
            assert!((least..=305).contains(&count), "{kind}: {count}");
        }
        assert!(most > 4, "{most}");
    }

    #[test]
    fn a_seed_gives_one_whole_plan() {
        let base = base("chaos/smoke.toml");
        for seed in 1..=50 {
            let plan = base.plan_of(seed).unwrap();
            let text = plan.to_toml().unwrap();
            assert_eq!(text, base.plan_of(seed).unwrap().to_toml().unwrap());
            let again: RunPlan = toml::from_str(&text).unwrap();
            assert_eq!(again.faults, plan.faults);
            assert_eq!(again.scenario, plan.scenario);
        }
        assert_ne!(base.plan_of(1).unwrap().faults, base.plan_of(2).unwrap().faults);
    }

    #[test]
    fn faults_in_each_others_way_are_drawn_again_or_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clash.toml");
        // Each of two kills hits one of three nodes, at the same time, and a third one is bound to
        // be in the way of whoever came first.
        let one = "[[fault]]\nkind = \"kill\"\nselect = { role = \"core\" }\nmode = \"one\"\n\
                   at = \"4s\"\nfor = \"3s\"\n";
        let all = one.replace("\"one\"", "\"all\"");
        std::fs::write(&file, format!("{one}{one}{all}")).unwrap();
        let wishes = Wishes {
            seed: Some("1".into()),
            chaos: Some(file.to_string_lossy().into_owned()),
            time: Time::Virtual,
            ..Wishes::default()
        };
        let smoke = Path::new("scenarios/smoke.toml");
        assert!(RunPlan::resolve(smoke, &wishes).is_err(), "a run alone is refused");
        let plan = RunPlan::resolve(smoke, &Wishes { swarm: true, ..wishes }).unwrap();
        let base = Base::new(plan).unwrap();
        let at = Duration::from_secs(4);
        let mut on = 0;
        for seed in 1..=200 {
            let faults = base.plan_of(seed).unwrap().faults.faults;
            let own: Vec<_> =
                faults.iter().filter(|f| f.kind() == "kill" && f.at.0 == at).collect();
            assert!(own.is_empty() || own.len() == 2, "seed {seed}: {own:?}");
            assert!(own.is_empty() || own[0].nodes != own[1].nodes, "seed {seed}: {own:?}");
            on += u32::from(!own.is_empty());
        }
        assert!((25..=75).contains(&on), "{on} of 200");
    }

    #[test]
    fn sizes_stay_in_bounds_and_the_cadence_stays() {
        let base = base("none");
        let load = &base.plan.scenario.load;
        let cadence = load.updates_per_second / f64::from(load.drivers);
        let mut sizes = Vec::new();
        for seed in 1..=200 {
            let plan = base.plan_of(seed).unwrap();
            let now = &plan.scenario.load;
            let size = f64::from(now.drivers) / f64::from(load.drivers);
            assert!((SIZE_MIN * 0.9..=1.0).contains(&size), "{size}");
            assert!((now.updates_per_second / f64::from(now.drivers) - cadence).abs() < 1e-9);
            let ratio = now.jobs_per_hour / load.jobs_per_hour / size;
            assert!((0.7..=1.4).contains(&ratio), "{ratio}");
            sizes.push(now.drivers);
        }
        sizes.sort_unstable();
        assert!(sizes[0] < sizes[199] / 2, "{sizes:?}");
    }

    #[test]
    fn a_calm_scenario_stays_calm() {
        let base = base("none");
        assert!((1..=100).all(|seed| base.plan_of(seed).unwrap().faults.faults.is_empty()));
    }
}
