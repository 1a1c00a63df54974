//! More than usual for a while: wishes and location updates beside those of the load. They have
//! moments of their own, planned whatever the backend does; those of the load stay as they are.

use std::{rc::Rc, time::Duration};

use super::{
    agenda::Due,
    demand::Demand,
    hub::{Hub, State},
};
use crate::{
    base::{rng::Rng, time::Time},
    city::clock::CityClock,
    history::op::OpKind,
    robot::{Event, Surroundings, Trip},
    scenario::Load,
};

/// What came up beside the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    /// Wishes.
    pub wishes: u64,
    /// Location updates.
    pub updates: u64,
}

/// What is wished for beside the load.
pub(super) struct Surge {
    root: Rng,
    /// What is due of an earlier one is void.
    number: u32,
    demand: Option<Demand>,
    /// Location updates beside each usual one.
    updates: f64,
    /// The number of the driver who may be asked next.
    next: u32,
    /// Since when the load is what it usually is.
    pub usual_since: Time,
    pub so_far: Extra,
}

impl Surge {
    /// None yet.
    pub fn new(root: Rng) -> Self {
        Self {
            root,
            number: 0,
            demand: None,
            updates: 0.0,
            next: 0,
            usual_since: Time::ZERO,
            so_far: Extra::default(),
        }
    }

    /// Begins one, instead of what was before; answers with its number, and when its first wish is
    /// due.
    fn begin(
        &mut self,
        load: &Load,
        (jobs, updates): (f64, f64),
        (now, until): (Time, Time),
        clock: &CityClock,
    ) -> (u32, Option<Time>) {
        self.number += 1;
        self.updates = updates - 1.0;
        let jobs_per_hour = load.jobs_per_hour * (jobs - 1.0);
        let more = Load { jobs_per_hour, ..load.clone() };
        let mut demand = Demand::new(&self.root.fork(&self.number.to_string()), &more);
        let first = if jobs > 1.0 { demand.open(now, until, clock) } else { None };
        self.demand = first.map(|_| demand);
        (self.number, first)
    }

    fn end(&mut self, now: Time) {
        self.number += 1;
        (self.demand, self.updates, self.usual_since) = (None, 0.0, now);
    }

    /// The wish that is due at `at`, and when the next one is.
    fn wish(&mut self, at: Time, around: &Surroundings) -> Option<(Trip, Option<Time>)> {
        let demand = self.demand.as_mut()?;
        self.so_far.wishes += 1;
        Some((demand.trip(at, around), demand.next(at, &around.clock)))
    }

    /// Between two location updates, with so many drivers on shift.
    fn gap(&self, drivers: u32, ping_every: Duration) -> Duration {
        // Nobody there: another look when the first who comes will have told where it is.
        if drivers == 0 {
            ping_every
        } else {
            ping_every.div_f64(self.updates * f64::from(drivers))
        }
    }
}

impl Hub {
    /// From now on, and until it is ended, as many jobs and location updates times what is usual.
    pub fn surge(&self, load: &Load, jobs: f64, updates: f64) {
        let now = self.env.now();
        let (number, first, gap) = {
            let state = &mut *self.state.borrow_mut();
            let span = (now, state.demand.until());
            let (number, first) =
                state.surge.begin(load, (jobs, updates), span, &self.around.clock);
            (number, first, state.surge.gap(state.drivers_on_shift(), self.around.ping_every))
        };
        if let Some(first) = first {
            self.push(first, Due::ExtraWish(number));
        }
        if updates > 1.0 && self.around.ops.has(OpKind::DriverPing) {
            self.push(now + gap, Due::ExtraUpdate(number));
        }
    }

    /// All is as usual again.
    pub fn end_surge(&self) {
        self.state.borrow_mut().surge.end(self.env.now());
    }

    /// Somebody wishes to travel who would usually not.
    pub fn extra_wish(self: &Rc<Self>, at: Time, number: u32) {
        let trip = {
            let state = &mut *self.state.borrow_mut();
            if !state.surges(number, at) {
                return;
            }
            let Some((trip, next)) = state.surge.wish(at, &self.around) else { return };
            if let Some(next) = next {
                state.agenda.push(next, Due::ExtraWish(number));
            }
            trip
        };
        self.wish(at, trip);
    }

    /// One more driver tells where it is: each in its turn.
    pub fn extra_update(self: &Rc<Self>, at: Time, number: u32) {
        let driver = {
            let state = &mut *self.state.borrow_mut();
            if !state.surges(number, at) {
                return;
            }
            let gap = state.surge.gap(state.drivers_on_shift(), self.around.ping_every);
            state.agenda.push(at + gap, Due::ExtraUpdate(number));
            let driver = state.population.on_shift_from(state.surge.next);
            if let Some(driver) = driver {
                state.surge.next = driver.number + 1;
                state.surge.so_far.updates += 1;
            }
            driver
        };
        if let Some(driver) = driver {
            self.step(driver, at, Event::Report);
        }
    }
}

impl State {
    /// Whether the surge of that number goes on at that moment.
    fn surges(&self, number: u32, at: Time) -> bool {
        self.surge.number == number && self.demand.is_open(at)
    }
}
