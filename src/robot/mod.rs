//! Robots: pure state machines. No I/O, no clock, no global randomness: all three are handed in.

pub mod auditor;
mod cue;
pub mod driver;
mod driving;
mod following;
mod hearing;
mod motion;
pub mod passenger;
mod ploys;
#[cfg(test)]
pub(crate) mod puppet;
pub mod rogue;
mod second_phone;
mod sign_on;
#[cfg(test)]
mod told_tests;

use std::{rc::Rc, time::Duration};

use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        place::Place,
        rng::Rng,
        time::Time,
    },
    city::{City, clock::CityClock},
    history::{
        answer::Answer,
        declares::Offers,
        op::{Ask, Op, OpKind, OpSet},
        probe::ProbeSet,
    },
    scenario::Robots,
};

/// What can happen to a robot.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is put into the city. `now` is its planned moment.
    Start,
    /// An alarm that it set rang. `now` is the moment for which it was set, however late it is:
    /// what follows is planned from there.
    Alarm(Alarm),
    /// An op of its own ended. `now` is the moment it was done.
    Done(&'a Op),
    /// A passenger wishes to travel.
    Wish(Trip),
    /// It is told something that it did not ask for: a hint, which may be late, doubled or false.
    Told(&'a Answer),
    /// The jobs of the run, told to an auditor before it starts where the target cannot list them.
    Known(&'a [Id]),
    /// An op of somebody else ended, and a rogue hears of it.
    Overheard(&'a Op),
    /// A driver is to tell where it is, beside its own pulse. `now` is the planned moment.
    Report,
    /// No new wishes: what is open is brought to an end.
    Drain,
    /// Sign off, for good, as soon as the live job (if any) is over.
    SignOff,
}

/// Which alarm rang: a number that only the robot itself understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm(pub u32);

/// A journey that somebody wishes to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trip {
    /// From here.
    pub from: Place,
    /// To there.
    pub to: Place,
}

/// What a robot does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Ask the API, planned for `now`.
    Ask(Ask),
    /// Be woken at that moment.
    Wake(Time, Alarm),
    /// It has nothing more to do: an idle passenger, or a driver who is off shift for good.
    Rest,
}

/// What every robot of a run shares.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The city.
    pub city: Rc<City>,
    /// What the hour is there.
    pub clock: CityClock,
    /// Habits, from the scenario.
    pub habits: Rc<Robots>,
    /// Time between two pings of one driver (never scaled).
    pub ping_every: Duration,
    /// What the target has: a robot goes on without the rest.
    pub ops: OpSet,
    /// How drivers hear of offers.
    pub offers: Offers,
    /// How long the target searches for a driver.
    pub search_ttl: Duration,
    /// How long a token of the target lives.
    pub token_ttl: Duration,
    /// What the target can be asked wrongly on purpose.
    pub probes: ProbeSet,
    /// Share of the robots that use a second phone; none, where the target knows of no such thing.
    pub second_phones: f64,
}

impl Surroundings {
    /// False where a driver cannot bring every job to its end by itself, step by step, since the
    /// target does some of it alone: then nobody waits for that without a limit.
    pub fn is_whole_journey(&self) -> bool {
        use OpKind::{DriverAccept, DriverArrive, DriverCurrentJob, DriverDropOff, DriverPickUp};
        [DriverAccept, DriverArrive, DriverPickUp, DriverDropOff, DriverCurrentJob]
            .iter()
            .all(|op| self.ops.has(*op))
    }
}

/// How a robot stands towards the city.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Not signed on yet.
    Arriving,
    /// Signed on (a driver: on shift), without a job.
    Free,
    /// It holds, or waits for, a job.
    Busy,
    /// Signed off, or never got in: it does nothing more.
    Gone,
}

/// One agent.
pub trait Robot {
    /// Who it is.
    fn id(&self) -> RobotId;

    /// Takes one event and pushes what it does about it. The only inputs are these.
    fn step(
        &mut self,
        now: Time,
        event: Event<'_>,
        rng: &mut Rng,
        around: &Surroundings,
        acts: &mut Vec<Act>,
    );

    /// How it stands towards the city.
    fn standing(&self) -> Standing;

    /// True while it holds, or waits for, a job.
    fn is_busy(&self) -> bool {
        self.standing() == Standing::Busy
    }
}

/// An entry of the registry of robots.
pub struct RobotEntry {
    /// Its kind.
    pub kind: RobotKind,
    /// The word in files.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub what: &'static str,
    /// Makes the one of that number.
    pub make: fn(u32) -> Box<dyn Robot>,
}

/// Every kind of robot. One more is one file and one entry here.
pub const ROBOTS: &[RobotEntry] = &[
    RobotEntry {
        kind: RobotKind::Driver,
        name: "driver",
        what: "goes on shift, reports where it is, takes offers and drives jobs to their end",
        make: |number| Box::new(driver::Driver::new(number)),
    },
    RobotEntry {
        kind: RobotKind::Passenger,
        name: "passenger",
        what: "wishes to travel, asks for a job, watches it, may give it up, pays and rates",
        make: |number| Box::new(passenger::Passenger::new(number)),
    },
    RobotEntry {
        kind: RobotKind::Auditor,
        name: "auditor",
        what: "reads every job and every charge back when all is quiet",
        make: |number| Box::new(auditor::Auditor::new(number)),
    },
    RobotEntry {
        kind: RobotKind::Rogue,
        name: "rogue",
        what: "asks what is wrong on purpose: bad tokens, others' jobs, bad input, too much at once",
        make: |number| Box::new(rogue::Rogue::new(number)),
    },
];

/// A new robot of that kind and number.
pub fn make(id: RobotId) -> Option<Box<dyn Robot>> {
    ROBOTS.iter().find(|entry| entry.kind == id.kind).map(|entry| (entry.make)(id.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_makes_itself() {
        for entry in ROBOTS {
            let id = RobotId { kind: entry.kind, number: 7 };
            let robot = make(id).unwrap();
            assert_eq!(robot.id(), id);
            assert_eq!(robot.standing(), Standing::Arriving);
            assert_eq!(entry.kind.word(), entry.name);
        }
    }

    #[test]
    fn a_robot_is_small() {
        assert!(size_of::<driver::Driver>() < 1_024, "{}", size_of::<driver::Driver>());
        assert!(size_of::<passenger::Passenger>() < 1_024);
    }
}
