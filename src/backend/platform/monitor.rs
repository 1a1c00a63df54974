//! The monitor: what every instance told of its health last, whoever discovery finds. Each core node
//! is a replica of it; replicas share nothing, for every report goes to all of them.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use super::{discovery::INSTANCES_MAX, rpc::Router};
use crate::{
    backend::wire::platform as wire,
    base::{name::NodeName, time::Time},
    world::Env,
};

/// News: the health of one instance.
pub const REPORT: &str = "/platform/monitor/report";
/// What is known of all of them.
pub const OVERVIEW: &str = "/platform/monitor/overview";
/// An instance that was not heard of for so long is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(10);

/// One replica; a cheap handle.
#[derive(Clone, Default)]
pub struct Monitor(Rc<RefCell<BTreeMap<NodeName, (wire::Report, Time)>>>);

impl Monitor {
    /// Takes reports and gives overviews.
    pub fn mount(&self, env: &Env, router: &mut Router) {
        let (this, clock) = (self.clone(), env.clone());
        router.on_sync(REPORT, move |report: wire::Report| {
            this.note(report, clock.now());
            Ok(wire::ReportNoted {})
        });
        let (this, clock) = (self.clone(), env.clone());
        router.on_sync(OVERVIEW, move |_: wire::OverviewAsk| Ok(this.overview(clock.now())));
    }

    /// Keeps a report that came at `now`, unless it is of an earlier life.
    pub fn note(&self, report: wire::Report, now: Time) {
        let Some(instance) = &report.instance else { return };
        let (name, life) = (NodeName::from(instance.name.as_str()), instance.incarnation);
        let mut known = self.0.borrow_mut();
        let older = known.get(&name).and_then(|(kept, _)| kept.instance.as_ref());
        if older.is_some_and(|kept| kept.incarnation > life) {
            return;
        }
        if known.len() < INSTANCES_MAX || known.contains_key(&name) {
            known.insert(name, (report, now));
        }
    }

    /// Every instance that was heard of lately, by name.
    pub fn overview(&self, now: Time) -> wire::Overview {
        let mut known = self.0.borrow_mut();
        known.retain(|_, (_, at)| now.since(*at) < FORGET_AFTER);
        let aged = |(report, at): &(wire::Report, Time)| wire::Report {
            age_ms: now.since(*at).as_millis() as u64,
            ..report.clone()
        };
        wire::Overview { reports: known.values().map(aged).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_life_counts_and_the_silent_are_forgotten() {
        let monitor = Monitor::default();
        let note = |name: &str, incarnation, at: f64| {
            let instance =
                wire::Instance { name: name.into(), incarnation, ..wire::Instance::default() };
            let report = wire::Report { instance: Some(instance), ..wire::Report::default() };
            monitor.note(report, Time::from_secs_f64(at));
        };
        note("a/core-1", 1, 1.0);
        note("a/core-1", 0, 2.0);
        note("a/api-1", 0, 6.0);
        monitor.note(wire::Report::default(), Time::ZERO);
        let seen = |at: f64| -> Vec<(String, u32, u64)> {
            let reports = monitor.overview(Time::from_secs_f64(at)).reports.into_iter();
            let short = |r: wire::Report| {
                let instance = r.instance.unwrap();
                (instance.name, instance.incarnation, r.age_ms)
            };
            reports.map(short).collect()
        };
        assert_eq!(seen(7.0), [("a/api-1".into(), 0, 1_000), ("a/core-1".into(), 1, 6_000)]);
        assert_eq!(seen(12.0), [("a/api-1".into(), 0, 6_000)]);
    }
}
