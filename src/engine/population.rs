//! The robots of a run, each with its own random stream. A robot that is gone is dropped.

use std::rc::Rc;

use tokio::sync::Mutex;

use crate::{
    base::{
        id::{RobotId, RobotKind},
        rng::Rng,
        time::Time,
    },
    robot::{self, Act, Event, Robot, Standing, Surroundings, Trip},
};

/// One robot, and what the engine knows of it.
pub(super) struct Resident {
    robot: Box<dyn Robot>,
    rng: Rng,
    /// Ops of its own in flight.
    pub in_flight: u32,
    /// When each of its phones last got a new token.
    pub renewed: [Time; 2],
    /// Held by the op that gets it one.
    pub renewing: Option<Rc<Mutex<()>>>,
    /// A wish that waits for it to be in.
    pub wish: Option<Trip>,
    /// It was sent home, and goes as soon as it can.
    going: bool,
    standing: Standing,
}

impl Resident {
    /// A draw in [0, 1) from the robot's own stream.
    pub fn unit(&mut self) -> f64 {
        self.rng.unit()
    }
}

const KINDS: usize = RobotKind::ALL.len();

/// All robots, by kind and number.
pub(super) struct Population {
    root: Rng,
    residents: [Vec<Option<Resident>>; KINDS],
    counts: [[u32; 4]; KINDS],
    /// Robots that were sent home and are still here.
    pub going: u32,
}

fn shelf(kind: RobotKind) -> usize {
    match kind {
        RobotKind::Driver => 0,
        RobotKind::Passenger => 1,
        RobotKind::Auditor => 2,
        RobotKind::Rogue => 3,
    }
}

impl Population {
    /// Nobody yet; `root` is the stream from which each robot's own is forked by its id.
    pub fn new(root: Rng) -> Self {
        Self { root, residents: std::array::from_fn(|_| vec![]), counts: [[0; 4]; KINDS], going: 0 }
    }

    /// Takes a new robot of that kind in, and tells its id.
    pub fn admit(&mut self, kind: RobotKind) -> RobotId {
        let number = self.residents[shelf(kind)].len() as u32;
        let id = RobotId { kind, number };
        let resident = robot::make(id).map(|robot| Resident {
            robot,
            rng: self.root.fork(&id.to_string()),
            in_flight: 0,
            renewed: [Time::ZERO; 2],
            renewing: None,
            wish: None,
            going: false,
            standing: Standing::Arriving,
        });
        if resident.is_some() {
            self.counts[shelf(kind)][Standing::Arriving as usize] += 1;
        }
        self.residents[shelf(kind)].push(resident);
        id
    }

    /// The robot, unless it is gone.
    pub fn get_mut(&mut self, id: RobotId) -> Option<&mut Resident> {
        self.residents[shelf(id.kind)].get_mut(id.number as usize)?.as_mut()
    }

    /// How it stands; gone, when it is not here.
    pub fn standing(&self, id: RobotId) -> Standing {
        let here = self.residents[shelf(id.kind)].get(id.number as usize);
        here.and_then(Option::as_ref).map_or(Standing::Gone, |resident| resident.standing)
    }

    /// Lets a robot take an event. One that is gone takes none.
    pub fn step(
        &mut self,
        id: RobotId,
        now: Time,
        event: Event<'_>,
        around: &Surroundings,
        acts: &mut Vec<Act>,
    ) {
        let Some(resident) =
            self.residents[shelf(id.kind)].get_mut(id.number as usize).and_then(Option::as_mut)
        else {
            return;
        };
        resident.robot.step(now, event, &mut resident.rng, around, acts);
        let standing = resident.robot.standing();
        if standing != resident.standing {
            let counts = &mut self.counts[shelf(id.kind)];
            counts[resident.standing as usize] -= 1;
            counts[standing as usize] += 1;
            resident.standing = standing;
        }
    }

    /// Drops a robot that is gone, and gives back the wish that it never got.
    pub fn bury(&mut self, id: RobotId) -> Option<Trip> {
        let place = self.residents[shelf(id.kind)].get_mut(id.number as usize)?;
        let resident = place.take()?;
        self.going -= u32::from(resident.going);
        resident.wish
    }

    /// True for a robot that was sent home and is still here.
    pub fn is_going(&mut self, id: RobotId) -> bool {
        self.get_mut(id).is_some_and(|resident| resident.going)
    }

    /// Notes that a robot is sent home; false when it is gone, or was told before.
    pub fn send_home(&mut self, id: RobotId) -> bool {
        let told =
            self.get_mut(id).is_some_and(|resident| !std::mem::replace(&mut resident.going, true));
        self.going += u32::from(told);
        told
    }

    /// How many of that kind stand so.
    pub fn count(&self, kind: RobotKind, standing: Standing) -> u32 {
        self.counts[shelf(kind)][standing as usize]
    }

    /// How many of that kind were ever taken in.
    pub fn admitted(&self, kind: RobotKind) -> u32 {
        self.residents[shelf(kind)].len() as u32
    }

    /// True for a robot that is in, with a job or without.
    pub fn is_signed_on(&self, id: RobotId) -> bool {
        matches!(self.standing(id), Standing::Free | Standing::Busy)
    }

    /// The first driver on shift from that number on, and then from the lowest.
    pub fn on_shift_from(&self, number: u32) -> Option<RobotId> {
        let all = self.admitted(RobotKind::Driver);
        let turn = (number..all).chain(0..number.min(all));
        turn.map(RobotId::driver).find(|driver| self.is_signed_on(*driver))
    }

    /// Everybody of that kind who is here, in order.
    pub fn present(&self, kind: RobotKind) -> Vec<RobotId> {
        let all = self.residents[shelf(kind)].iter().enumerate();
        all.filter(|(_, resident)| resident.is_some())
            .map(|(number, _)| RobotId { kind, number: number as u32 })
            .collect()
    }
}
