//! The engine: population of robots, event queue, pacing, the life of an op. Runs in both worlds:
//! time and tasks come from [`Env`] alone. It knows neither HTTP nor faults nor laws.

mod agenda;
pub mod ceiling;
mod demand;
pub mod figures;
mod hub;
mod jobs;
mod life;
mod population;
mod recent;
pub mod reins;
mod supply;
mod surge;
pub mod target;
mod watch;
mod wave;

use std::{rc::Rc, time::Duration};

pub use figures::{Counts, Figures};

use crate::{
    base::id::{RobotId, RobotKind},
    history::record::Record,
    robot::{Event, Standing, Surroundings, rogue::rogues},
    scenario::Load,
    world::Env,
};
use agenda::Due;
use hub::{Hub, State};
use reins::Reins;
use target::{Ears, Flow, Target};

/// How often a phase looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the last robots may take to sign on after the ramp.
const FILL_GRACE: Duration = Duration::from_secs(30);
/// The longest that the audits may take.
const READ_BACK_MAX: Duration = Duration::from_mins(2);
/// The ramp of the sign-off is this part of the time it may take, and never longer than
/// [`SIGN_OFF_RAMP_MAX`].
const SIGN_OFF_RAMP_PART: u32 = 3;
/// See [`SIGN_OFF_RAMP_PART`].
const SIGN_OFF_RAMP_MAX: Duration = Duration::from_secs(8);

/// Where records go.
pub trait Sink {
    /// Takes one. Must not block, and must not call the engine.
    fn record(&self, record: Record);
}

impl<F: Fn(Record)> Sink for F {
    fn record(&self, record: Record) {
        self(record);
    }
}

/// A population of robots at work on a target. The phases are driven by the run, one after the
/// other; dropping it stops the robots where they are.
pub struct Engine {
    hub: Rc<Hub>,
    load: Load,
}

impl Engine {
    /// An engine without robots yet. Its random streams are those of the node of `env`.
    pub fn new(
        env: Env,
        target: Rc<dyn Target>,
        around: Surroundings,
        load: Load,
        sink: Rc<dyn Sink>,
    ) -> Self {
        let hub = Hub::new(env, target, around, &load, sink);
        let (heard, missed) = (Rc::downgrade(&hub), Rc::downgrade(&hub));
        let hear = move |told| {
            if let Some(hub) = heard.upgrade() {
                hub.told(told);
            }
        };
        let miss = move |gap| {
            if let Some(hub) = missed.upgrade() {
                hub.missed(gap);
            }
        };
        hub.target.listen(Ears::new(hear, miss));
        hub.env.spawn(hub.clone().run());
        Self { hub, load }
    }

    /// Signs the drivers and passengers of the load on, spread evenly over `span`. Ends when all
    /// are in (true), or when some gave up or took too long (false).
    pub async fn fill(&self, span: Duration) -> bool {
        let start = self.hub.env.now();
        self.ramp(RobotKind::Driver, self.wanted_at(start + span), span);
        self.ramp(RobotKind::Passenger, self.load.passengers, span);
        self.ramp(RobotKind::Rogue, self.rogues(), span);
        let settled = |state: &State| {
            let arriving = |kind| state.population.count(kind, Standing::Arriving);
            arriving(RobotKind::Driver) + arriving(RobotKind::Passenger) == 0
        };
        let in_time = self.until(start + span + FILL_GRACE, settled).await;
        let state = self.hub.state.borrow();
        let gone = |kind| state.population.count(kind, Standing::Gone);
        in_time && gone(RobotKind::Driver) + gone(RobotKind::Passenger) == 0
    }

    /// How many drivers the load wants on shift at `at`.
    pub fn wanted_at(&self, at: crate::base::time::Time) -> u32 {
        self.hub.state.borrow().supply.wanted(at, &self.hub.around.clock)
    }

    /// How many robots ask what is wrong on purpose: none where the target cannot be asked so.
    fn rogues(&self) -> u32 {
        let around = &self.hub.around;
        let (drivers, passengers) = (self.load.drivers, self.load.passengers);
        rogues(around.habits.rogue.share, drivers, passengers, around.probes)
    }

    fn ramp(&self, kind: RobotKind, count: u32, span: Duration) {
        let now = self.hub.env.now();
        for index in 0..count {
            let at = now + span.mul_f64(f64::from(index) / f64::from(count));
            let id = self.hub.state.borrow_mut().population.admit(kind);
            self.hub.push(at, Due::Start(id));
        }
    }

    /// Lets the demand run for `span`; drivers who go home are replaced from here on.
    pub async fn load(&self, span: Duration) {
        let now = self.hub.env.now();
        let clock = &self.hub.around.clock;
        let (missing, first, changes) = {
            let state = &mut *self.hub.state.borrow_mut();
            state.supply.open();
            state.surge.usual_since = now;
            let missing = state.supply.wanted(now, clock).saturating_sub(state.drivers_here());
            (missing, state.demand.open(now, now + span, clock), state.supply.changes())
        };
        if changes {
            self.hub.push(now, Due::Census);
        }
        self.ramp(RobotKind::Driver, missing, Duration::from_secs(1).min(span));
        if let Some(first) = first {
            self.hub.push(first, Due::Arrival);
        }
        watch::start(&self.hub);
        self.hub.env.sleep_until(now + span).await;
        self.hub.tell_skipped(self.hub.env.now(), true);
    }

    /// Ends the demand: what is open goes on to its end.
    pub fn drain(&self) {
        self.hub.state.borrow_mut().demand.close();
        let now = self.hub.env.now();
        for kind in [RobotKind::Driver, RobotKind::Passenger, RobotKind::Rogue] {
            let present = self.hub.state.borrow().population.present(kind);
            for robot in present {
                self.hub.step(robot, now, Event::Drain);
            }
        }
    }

    /// Waits, `max` at most, until no robot is busy; true when none is.
    pub async fn settle(&self, max: Duration) -> bool {
        let quiet = |state: &State| {
            let population = &state.population;
            population.count(RobotKind::Driver, Standing::Busy) == 0
                && population.count(RobotKind::Passenger, Standing::Busy) == 0
                && population.count(RobotKind::Rogue, Standing::Busy) == 0
                && state.waiting == 0
        };
        self.until(self.hub.env.now() + max, quiet).await
    }

    /// Runs an auditor over every job and charge; true when it came to its end in time.
    pub async fn read_back(&self) -> bool {
        let now = self.hub.env.now();
        let (auditor, jobs) = {
            let state = &mut *self.hub.state.borrow_mut();
            (state.population.admit(RobotKind::Auditor), state.jobs.take())
        };
        self.hub.step(auditor, now, Event::Known(&jobs));
        self.hub.push(now, Due::Start(auditor));
        let done = |state: &State| state.population.standing(auditor) == Standing::Gone;
        self.until(now + READ_BACK_MAX, done).await
    }

    /// Sends everybody home; true when everybody went within `max`.
    pub async fn sign_off(&self, max: Duration) -> bool {
        let now = self.hub.env.now();
        let (rogues, passengers, drivers) = {
            let state = &mut *self.hub.state.borrow_mut();
            state.supply.close();
            state.demand.close();
            let present = |kind| state.population.present(kind);
            (present(RobotKind::Rogue), present(RobotKind::Passenger), present(RobotKind::Driver))
        };
        let ramp = (max / SIGN_OFF_RAMP_PART).min(SIGN_OFF_RAMP_MAX);
        for robots in [rogues, passengers, drivers] {
            let count = robots.len() as f64;
            for (index, robot) in robots.into_iter().enumerate() {
                self.hub.push(now + ramp.mul_f64(index as f64 / count), Due::SignOff(robot));
            }
        }
        let nobody = |state: &State| {
            let left = |kind| state.population.present(kind).is_empty();
            state.drivers_here() + state.population.going == 0
                && left(RobotKind::Passenger)
                && left(RobotKind::Rogue)
        };
        let all = self.until(now + max, nobody).await;
        self.hub.target.flush().await;
        let deadline = self.hub.env.now() + LOOK_EVERY;
        let all = self.until(deadline, |state| state.gathered == 0).await && all;
        self.hub.tell_skipped(self.hub.env.now(), true);
        all
    }

    /// The drivers and passengers who have not gone.
    pub fn present(&self) -> Vec<RobotId> {
        let population = &self.hub.state.borrow().population;
        let kinds = [RobotKind::Driver, RobotKind::Passenger];
        let present = kinds.into_iter().flat_map(|kind| population.present(kind));
        present.filter(|robot| population.standing(*robot) != Standing::Gone).collect()
    }

    /// What is going on, for the progress line.
    pub fn figures(&self) -> Figures {
        self.hub.figures()
    }

    /// The same for one who looks now and then while the engine is at work.
    pub fn onlooker(&self) -> impl Fn() -> Figures + use<> {
        let hub = Rc::clone(&self.hub);
        move || hub.figures()
    }

    /// A handle on the load, for one who changes it while the engine is at work.
    pub fn reins(&self) -> Reins {
        Reins { hub: Rc::clone(&self.hub), load: self.load.clone() }
    }

    /// Bytes to and fro so far, in the order of `OpKind::ALL`, where the target counts them.
    pub fn traffic(&self) -> Option<Vec<Flow>> {
        self.hub.target.traffic().map(target::Traffic::so_far)
    }

    /// Stops every robot where it is.
    pub fn stop(&self) {
        self.hub.stop();
    }

    /// Waits until `over` holds, or the deadline passes; tells whether it holds.
    async fn until(
        &self,
        deadline: crate::base::time::Time,
        over: impl Fn(&State) -> bool,
    ) -> bool {
        loop {
            if over(&self.hub.state.borrow()) {
                return true;
            }
            let now = self.hub.env.now();
            if now >= deadline {
                return false;
            }
            self.hub.env.sleep_until(deadline.min(now + LOOK_EVERY)).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "gap_tests.rs"]
mod gap_tests;
