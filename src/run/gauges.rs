//! What faults may wait for, read from the engine's books.

use std::rc::Rc;

use crate::{
    chaos::event::{Gauge, Gauges},
    engine::figures::Figures,
    history::op::OpKind,
};

/// Counts with what `look` shows.
pub fn gauges(look: impl Fn() -> Figures + 'static) -> Gauges {
    Rc::new(move |gauge| {
        let figures = look();
        let ok = |kind: OpKind| {
            let counts =
                OpKind::ALL.iter().zip(&figures.by_kind).find(|(known, _)| **known == kind);
            counts.map_or(0, |(_, counts)| counts.ok)
        };
        match gauge {
            Gauge::JobsOpen => u64::from(figures.open_jobs),
            Gauge::DriversBusy => u64::from(figures.drivers_busy),
            Gauge::Accepts => ok(OpKind::DriverAccept),
            Gauge::JobsCompleted => ok(OpKind::DriverDropOff),
        }
    })
}
