//! What the monitor of the reference backend knows, as an operator and the report want it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    backend::{
        platform::{
            meter::Times,
            monitor::OVERVIEW,
            page::between_services,
            rpc::{Policy, Rpc},
            watch::level,
        },
        wire::platform::{self as wire, Overview, OverviewAsk, Report},
    },
    base::name::NodeName,
    history::services::{Calls, Instance, Level, ServiceMap},
};

const ASK: Policy = Policy {
    deadline: Duration::from_millis(800),
    attempt: Duration::from_millis(800),
    idempotent: true,
};

/// The newest report of every instance, by name; none where no monitor answers.
pub async fn reports(rpc: &Rpc, nodes: &[NodeName]) -> Vec<Report> {
    let mut newest: BTreeMap<String, Report> = BTreeMap::new();
    // One after the other: in the virtual world their order is part of the history.
    for monitor in nodes.iter().filter(|node| node.role() == "core") {
        let told = rpc.call_at::<_, Overview>(monitor, OVERVIEW, &OverviewAsk {}, ASK).await;
        let reports = told.map(|overview| overview.reports).unwrap_or_default();
        for report in reports {
            let name = report.instance.as_ref().map_or("", |one| one.name.as_str()).to_owned();
            let age = |report: &Report| {
                let life = report.instance.as_ref().map_or(0, |one| one.incarnation);
                (std::cmp::Reverse(life), report.age_ms)
            };
            if newest.get(&name).is_none_or(|known| age(&report) < age(known)) {
                newest.insert(name, report);
            }
        }
    }
    newest.into_values().collect()
}

fn level_of(level: wire::Level) -> Level {
    match level {
        wire::Level::Fine => Level::Fine,
        wire::Level::Warn => Level::Warn,
        wire::Level::Bad => Level::Bad,
    }
}

/// One instance as people see it.
pub fn instance(report: &Report) -> Instance {
    let known = report.instance.clone().unwrap_or_default();
    let fine = |check: &&wire::Check| check.level() != wire::Level::Fine;
    let unready = (!report.ready).then(|| "is not ready".to_owned());
    let troubles = report.checks.iter().filter(fine);
    Instance {
        name: known.name,
        incarnation: known.incarnation,
        version: known.version,
        host: known.host,
        up_s: report.up_ms as f64 / 1_000.0,
        level: level_of(level(report)),
        trouble: unready
            .into_iter()
            .chain(troubles.map(|check| format!("{}: {}", check.name, check.what)))
            .collect(),
        services: known
            .services
            .into_iter()
            .filter(|service| !service.starts_with("platform/"))
            .collect(),
    }
}

/// The map that the reports make together.
pub fn map(reports: &[Report]) -> ServiceMap {
    #[derive(Default)]
    struct Sum {
        calls: Calls,
        times: Times,
    }
    let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
    for report in reports {
        let seconds = (report.up_ms as f64 / 1_000.0).max(0.001);
        for row in between_services(report) {
            let sum = sums.entry((row.from.clone(), row.to.clone())).or_default();
            sum.calls.calls += row.calls;
            sum.calls.errors += row.errors;
            sum.calls.news += row.news;
            sum.calls.per_s += (row.calls + row.news) as f64 / seconds;
            sum.times.merge(&row.times);
        }
    }
    let us = |times: &Times, share| times.quantile(share).as_micros() as u64;
    let calls = sums.into_iter().map(|((from, to), Sum { calls, times })| Calls {
        from,
        to,
        p50_us: us(&times, 0.5),
        p99_us: us(&times, 0.99),
        ..calls
    });
    ServiceMap { instances: reports.iter().map(instance).collect(), calls: calls.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_instances_are_added_up_and_the_worst_health_counts() {
        let report = |name: &str, services: &[&str], ready, calls| Report {
            instance: Some(wire::Instance {
                name: name.into(),
                services: services.iter().map(|&s| s.to_owned()).collect(),
                ..wire::Instance::default()
            }),
            ready,
            up_ms: 10_000,
            calls: vec![wire::Traffic {
                from: "api".into(),
                to: "core/job".into(),
                calls,
                errors: 1,
                times: vec![0, 0, 0, calls as u32],
                ..wire::Traffic::default()
            }],
            ..Report::default()
        };
        let reports = [
            report("a/api-1", &["platform/health"], true, 100),
            report("b/api-1", &["platform/health"], true, 50),
            report("a/core-1", &["core/job"], false, 0),
        ];
        let map = map(&reports);
        let [calls] = map.calls.as_slice() else { panic!("{map:?}") };
        assert_eq!((calls.calls, calls.errors, calls.p99_us), (150, 3, 3));
        assert!((calls.per_s - 15.0).abs() < 1e-9);
        let services = map.services();
        assert_eq!(services, BTreeMap::from([("api", Level::Fine), ("core/job", Level::Bad)]));
        assert_eq!(map.instances[2].trouble, ["is not ready"]);
    }
}
