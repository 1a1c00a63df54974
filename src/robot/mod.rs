//! Robots: pure state machines. No I/O, no clock, no global randomness: all three are handed in.

use std::{rc::Rc, time::Duration};

use crate::{
    base::{id::RobotId, place::Place, rng::Rng, time::Time},
    city::{City, clock::CityClock},
    history::op::{Ask, Op},
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

    /// True while it holds, or waits for, a job.
    fn is_busy(&self) -> bool;
}
