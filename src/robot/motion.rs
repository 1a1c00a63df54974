//! Where a driver is: along ways at the speed of the hour. Positions are worked out when they are
//! asked for, so that a driver who stands still or cruises costs nothing in between.

use crate::{
    base::{place::Place, rng::Rng, time::Time},
    city::Way,
};

use super::Surroundings;

/// A cruising driver stays within this many metres of where it turned round.
const CRUISE_M: f64 = 800.0;
/// Turns of an idle driver between two looks at most: one who was not looked at for long has
/// simply gone where its last way leads.
const TURNS_MAX: u32 = 4;
/// How long a parked driver stays before it thinks again (city seconds).
const PARKED_S: f64 = 600.0;

/// What a driver does with the wheel.
#[derive(Debug)]
pub(super) struct Motion {
    here: Place,
    since: Time,
    leg: Option<Leg>,
    idle_until: Time,
}

#[derive(Debug)]
struct Leg {
    way: Way,
    /// Metres of the way in a second of the run.
    m_per_s: f64,
}

impl Motion {
    /// Stands still at `here`.
    pub fn at(here: Place, now: Time) -> Self {
        Self { here, since: now, leg: None, idle_until: now }
    }

    /// Where it is, `now`.
    pub fn place(&self, now: Time) -> Place {
        match &self.leg {
            None => self.here,
            Some(leg) => leg.way.at((now - self.since).as_secs_f64() * leg.m_per_s),
        }
    }

    /// When the way that it drives ends.
    pub fn ends(&self) -> Time {
        match &self.leg {
            Some(leg) => {
                let seconds = (leg.way.metres / leg.m_per_s).clamp(0.0, 1e9);
                self.since + std::time::Duration::from_secs_f64(seconds)
            }
            None => self.since,
        }
    }

    /// Stops where it is.
    pub fn stop(&mut self, now: Time) {
        *self = Self::at(self.place(now), now);
    }

    /// Drives from where it is to `to`; answers when it will be there.
    pub fn drive(&mut self, to: Place, now: Time, around: &Surroundings) -> Time {
        let here = self.place(now);
        let way = around.city.way(here, to);
        // City metres a second, as the run sees them; never so slow that nobody arrives.
        let speed = around.city.speed_m_per_s(around.clock.hour(now)) * around.clock.scale;
        self.here = here;
        self.since = now;
        self.leg = Some(Leg { way, m_per_s: speed.max(0.1) });
        self.ends()
    }

    /// Where an idle driver is `now`: parked for a while, cruising about, or on its way to where
    /// the demand is, by habit; it decides anew at the end of each.
    pub fn wander(&mut self, now: Time, rng: &mut Rng, around: &Surroundings) -> Place {
        for _ in 0..TURNS_MAX {
            let ends = self.ends().max(self.idle_until);
            if ends > now {
                return self.place(now);
            }
            self.turn(ends, rng, around);
        }
        // Behind by more than a few turns: it goes on from here and now, or it would have to
        // catch up faster than a car drives.
        self.stop(now);
        self.here
    }

    fn turn(&mut self, now: Time, rng: &mut Rng, around: &Surroundings) {
        let habits = &around.habits;
        let mood = rng.unit();
        if mood < habits.parked {
            self.stop(now);
            self.idle_until = now + around.clock.run_span(PARKED_S);
            return;
        }
        let here = self.place(now);
        let to = if mood < habits.parked + habits.cruising {
            around.city.draw_near(here, CRUISE_M, rng)
        } else {
            around.city.draw_supply(around.clock.hour(now), rng)
        };
        self.drive(to, now, around);
        // A way of no length must not make an idle driver turn on the spot for ever.
        self.idle_until = now + std::time::Duration::from_millis(100);
    }
}
