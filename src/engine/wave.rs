//! Many robots lose their sessions at one moment, and log in at once.

use std::{collections::BTreeSet, rc::Rc};

use super::{hub::Hub, life};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        rng::Rng,
    },
    history::op::Ask,
    robot::Standing,
};

/// How it stands with those who had to log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logins {
    /// So many had to.
    pub asked: u32,
    /// So many have sent it.
    pub sent: u32,
    /// So many are not in again.
    pub away: u32,
}

/// Those who had to log in last.
pub(super) struct Wave {
    rng: Rng,
    asked: u32,
    unsent: BTreeSet<RobotId>,
    away: BTreeSet<RobotId>,
    /// Those with a login under way.
    trying: BTreeSet<RobotId>,
}

impl Wave {
    /// Nobody had to yet.
    pub fn new(rng: Rng) -> Self {
        let none = BTreeSet::new();
        Self { rng, asked: 0, unsent: none.clone(), away: none.clone(), trying: none }
    }

    fn begin(&mut self, robots: &BTreeSet<RobotId>) {
        self.asked = robots.len() as u32;
        self.unsent.clone_from(robots);
        self.away.clone_from(robots);
    }

    /// The login of a robot goes out.
    pub fn sent(&mut self, robot: RobotId) {
        self.unsent.remove(&robot);
    }

    /// A robot has a fresh token.
    pub fn is_in(&mut self, robot: RobotId) {
        self.away.remove(&robot);
    }
}

impl Hub {
    /// A share of the robots that are signed on lose their sessions and log in; tells how many.
    pub fn log_all_in(self: &Rc<Self>, share: f64) -> u32 {
        let robots: BTreeSet<RobotId> = {
            let state = &mut *self.state.borrow_mut();
            let kinds = [RobotKind::Driver, RobotKind::Passenger];
            let here = kinds.into_iter().flat_map(|kind| state.population.present(kind));
            let here: Vec<RobotId> = here
                .filter(|robot| state.population.is_signed_on(*robot))
                .filter(|robot| life::login_of(*robot).is_some_and(|op| self.around.ops.has(op)))
                .collect();
            here.into_iter().filter(|_| share >= 1.0 || state.wave.rng.chance(share)).collect()
        };
        self.state.borrow_mut().wave.begin(&robots);
        for robot in &robots {
            self.target.forget(*robot);
        }
        self.have_log_in(&robots);
        robots.len() as u32
    }

    /// Those who are still not in, and do not try to be, try once more; who is gone, does not.
    pub fn log_in_again(self: &Rc<Self>) {
        let robots = {
            let state = &mut *self.state.borrow_mut();
            let population = &state.population;
            state.wave.away.retain(|robot| population.standing(*robot) != Standing::Gone);
            state.wave.away.difference(&state.wave.trying).copied().collect()
        };
        self.have_log_in(&robots);
    }

    /// How it stands with them.
    pub fn logins(&self) -> Logins {
        let wave = &self.state.borrow().wave;
        let (unsent, away) = (wave.unsent.len() as u32, wave.away.len() as u32);
        Logins { asked: wave.asked, sent: wave.asked - unsent, away }
    }

    fn have_log_in(self: &Rc<Self>, robots: &BTreeSet<RobotId>) {
        let now = self.env.now();
        for robot in robots.iter().copied() {
            let Some(op) = life::login_of(robot) else { continue };
            self.state.borrow_mut().wave.trying.insert(robot);
            let hub = Rc::clone(self);
            self.env.spawn(async move {
                let login = hub.intent(robot, Ask::new(op), now);
                life::log_in(&hub, login).await;
                hub.state.borrow_mut().wave.trying.remove(&robot);
            });
        }
    }
}
