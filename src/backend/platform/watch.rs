//! A node's own health: looked at every [`REPORT_EVERY`] and told to every monitor as one-way news.
//! The checks that every node has: config, capacity, handlers against their expected time, storage.

use std::{cell::RefCell, rc::Rc, time::Duration};

use super::{
    directory::{Instance, service_of},
    discovery::to_wire,
    meter::Times,
    monitor::{Monitor, REPORT},
    server::Server,
};
use crate::{
    backend::{node::Node, wire::platform as wire},
    base::time::Time,
};
use wire::{Check, Level, Report, Traffic};

/// Between two reports of one node.
pub const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Handlers that were timed less often since the last report tell nothing.
const TIMED_MIN: u32 = 5;
/// Shares of what may be in flight at once from which on that is a warning, or bad.
const CAPACITY: [usize; 2] = [50, 90];
/// How long handlers of a tier may take where the config does not say: a flow waits for others, a
/// leaf for the store, and the store for its disk.
const EXPECTED: [(&str, Duration); 4] = [
    ("orchestration/", Duration::from_secs(1)),
    ("core/", Duration::from_millis(250)),
    ("storage/", Duration::from_millis(100)),
    ("platform/", Duration::from_millis(100)),
];

/// Looks after one node; a cheap handle.
#[derive(Clone)]
pub struct Watch(Rc<Inner>);

struct Inner {
    node: Node,
    server: Server,
    own: Instance,
    /// The monitor on this very node.
    here: Option<Monitor>,
    born: Time,
    last: RefCell<(Report, Time)>,
}

impl Watch {
    /// Of a node that has just come to life as `own`.
    pub fn new(node: &Node, server: &Server, own: &Instance, here: Option<Monitor>) -> Self {
        let born = node.env.now();
        Self(Rc::new(Inner {
            node: node.clone(),
            server: server.clone(),
            own: own.clone(),
            here,
            born,
            last: RefCell::new((Report::default(), born)),
        }))
    }

    /// Looks and reports for ever.
    pub async fn run(self) {
        let env = &self.0.node.env;
        // The reports of many nodes spread out.
        let first = env.rng("watch").between(0.5, 1.0);
        let mut next = env.now() + REPORT_EVERY.mul_f64(first);
        loop {
            env.sleep_until(next).await;
            next = env.now() + REPORT_EVERY;
            self.report().await;
        }
    }

    /// The last report, with what can be said at once brought up to date.
    pub fn last(&self) -> Report {
        let (last, at) = self.0.last.borrow().clone();
        let now = self.0.node.env.now();
        Report {
            instance: Some(to_wire(&self.0.own)),
            ready: self.0.node.is_ready(),
            up_ms: now.since(self.0.born).as_millis() as u64,
            age_ms: now.since(at).as_millis() as u64,
            config_version: self.0.node.live.version().get(),
            ..last
        }
    }

    async fn report(&self) {
        let Inner { node, server, own, here, born, last } = &*self.0;
        let now = node.env.now();
        let calls = node.rpc.meter().take(own.name.role());
        let (served, peak, in_flight_max) = server.counted();
        let checks = [
            Some(self.config()),
            Some(capacity(peak, in_flight_max)),
            Some(self.handlers(&served)),
            self.storage(&calls).await,
        ];
        let report = Report {
            instance: Some(to_wire(own)),
            ready: node.is_ready(),
            up_ms: now.since(*born).as_millis() as u64,
            span_ms: now.since(last.borrow().1).as_millis() as u64,
            checks: checks.into_iter().flatten().collect(),
            calls,
            // Many paths are served that nobody asks for.
            served: served.into_iter().filter(|traffic| traffic.calls > 0).collect(),
            in_flight: peak as u32,
            in_flight_max: in_flight_max as u32,
            refused: server.refused(),
            config_version: node.live.version().get(),
            age_ms: 0,
        };
        last.replace((report.clone(), now));
        node.rpc.publish(REPORT, &report, true);
        if let Some(here) = here {
            here.note(report, node.env.now());
        }
    }

    fn config(&self) -> Check {
        let live = &self.0.node.live;
        let (applied, wanted) = (live.version().get(), live.wanted());
        match live.trouble() {
            Some(why) => check("config", Level::Bad, why),
            None if applied < wanted => {
                let what = format!("version {wanted} is known of, {applied} is applied");
                check("config", Level::Warn, what)
            }
            None => check("config", Level::Fine, format!("version {applied}")),
        }
    }

    /// The slowest service that took longer than it ought to, if any did.
    fn handlers(&self, served: &[Traffic]) -> Check {
        let mut worst: Option<(Level, f64, String)> = None;
        for traffic in served {
            let mut times = Times::default();
            times.merge(&traffic.recent_times);
            if traffic.recent_times.iter().sum::<u32>() < TIMED_MIN {
                continue;
            }
            let expected = self.expected(service_of(&traffic.to));
            let (p50, p99) = (times.quantile(0.5), times.quantile(0.99));
            if p99 <= expected {
                continue;
            }
            let level = if p50 > expected { Level::Bad } else { Level::Warn };
            let over = p99.as_secs_f64() / expected.as_secs_f64();
            let what = format!("{}: p50 {p50:?}, p99 {p99:?}, expected {expected:?}", traffic.to);
            if worst.as_ref().is_none_or(|(l, o, _)| (level as i32, over) > (*l as i32, *o)) {
                worst = Some((level, over, what));
            }
        }
        match worst {
            Some((level, _, what)) => check("handlers", level, what),
            None => check("handlers", Level::Fine, "within their time"),
        }
    }

    fn expected(&self, service: &str) -> Duration {
        self.0.node.live.expected(service).unwrap_or_else(|| {
            let tier = EXPECTED.iter().find(|(tier, _)| service.starts_with(tier));
            tier.map_or(Duration::from_secs(1), |(_, expected)| *expected)
        })
    }

    /// Core nodes need the store: how their calls to it went, or one call where there were none.
    async fn storage(&self, calls: &[Traffic]) -> Option<Check> {
        let node = &self.0.node;
        if node.env.name().role() != "core" {
            return None;
        }
        let to_store = || calls.iter().filter(|traffic| traffic.to.starts_with("storage/"));
        let asked: u64 = to_store().map(|traffic| traffic.recent_calls).sum();
        let failed: u64 = to_store().map(|traffic| traffic.recent_errors).sum();
        if asked == 0 {
            let (level, what) = match node.kv.get("platform/ready").await {
                Ok(_) => (Level::Fine, "answers".to_owned()),
                Err(why) => (Level::Bad, why.to_string()),
            };
            return Some(check("storage", level, what));
        }
        let level = match failed {
            0 => Level::Fine,
            _ if failed < asked => Level::Warn,
            _ => Level::Bad,
        };
        Some(check("storage", level, format!("{failed} of {asked} calls failed")))
    }
}

fn capacity(peak: usize, max: usize) -> Check {
    let percent = peak * 100 / max.max(1);
    let level = if percent >= CAPACITY[1] {
        Level::Bad
    } else if percent >= CAPACITY[0] {
        Level::Warn
    } else {
        Level::Fine
    };
    check("capacity", level, format!("{peak} of {max} in flight at most"))
}

fn check(name: &str, level: Level, what: impl Into<String>) -> Check {
    Check { name: name.to_owned(), level: level.into(), what: what.into() }
}

/// The worst of a node's checks; a node that is not ready is bad.
pub fn level(report: &Report) -> Level {
    let worst = report.checks.iter().map(Check::level).max_by_key(|level| *level as i32);
    if report.ready { worst.unwrap_or(Level::Fine) } else { Level::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_warns_before_it_is_gone() {
        let level = |peak| capacity(peak, 100).level();
        assert_eq!([level(0), level(50), level(95)], [Level::Fine, Level::Warn, Level::Bad]);
    }

    #[test]
    fn a_node_is_as_well_as_its_worst_check() {
        let report = |ready, levels: &[Level]| Report {
            ready,
            checks: levels.iter().map(|l| check("x", *l, "")).collect(),
            ..Report::default()
        };
        assert_eq!(level(&report(true, &[])), Level::Fine);
        assert_eq!(level(&report(true, &[Level::Warn, Level::Fine])), Level::Warn);
        assert_eq!(level(&report(false, &[Level::Fine])), Level::Bad);
    }
}
