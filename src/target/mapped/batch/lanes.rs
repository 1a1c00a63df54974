//! Who waits where: the books of gathering. Sends nothing and knows no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Gather, Update};
use crate::base::{id::RobotId, time::Time};

/// A lane's place: its driver's, or the only one.
type Place = Option<RobotId>;

/// Updates that wait together.
#[derive(Default)]
pub struct Lane {
    waiting: VecDeque<Update>,
    /// Requests of it that are under way.
    under_way: usize,
    /// So many of those that wait go out as soon as they can.
    hurried: usize,
    /// When it is looked at next.
    alarm: Option<Time>,
}

/// Updates of a robot whose end is not known.
#[derive(Default)]
struct Open {
    count: usize,
    waiters: Vec<oneshot::Sender<()>>,
}

/// All lanes.
#[derive(Default)]
pub struct Lanes {
    by_place: BTreeMap<Place, Lane>,
    open: BTreeMap<RobotId, Open>,
    waiting: usize,
}

impl Lanes {
    /// Whether so many wait already.
    pub fn is_full(&self, queue: usize) -> bool {
        self.waiting >= queue
    }

    /// One more.
    pub fn put(&mut self, place: Place, update: Update) {
        self.waiting += 1;
        self.open.entry(update.robot).or_default().count += 1;
        self.by_place.entry(place).or_default().waiting.push_back(update);
    }

    /// Takes out what has waited longer than `longest`: it could not go out for so long.
    pub fn late(&mut self, place: Place, now: Time, longest: Duration) -> Vec<Update> {
        let Some(lane) = self.by_place.get_mut(&place) else { return Vec::new() };
        let is_late = |update: &Update| now.since(update.since) > longest;
        let count = lane.waiting.iter().take_while(|update| is_late(update)).count();
        lane.take(count, &mut self.waiting)
    }

    /// Takes out the next request's updates, if a request may go now.
    pub fn let_go(&mut self, place: Place, now: Time, gather: &Gather) -> Option<Vec<Update>> {
        let lane = self.by_place.get_mut(&place)?;
        let oldest = lane.waiting.front()?;
        let due = lane.hurried > 0
            || lane.waiting.len() >= gather.most
            || now.since(oldest.since) >= gather.within;
        if !due || lane.under_way >= gather.at_once {
            return None;
        }
        lane.under_way += 1;
        let count = gather.most.min(lane.waiting.len());
        Some(lane.take(count, &mut self.waiting))
    }

    /// When a lane must be looked at; `None` where that is seen to, or nothing waits. While no more
    /// requests may go, the one that comes back looks.
    pub fn alarm(&mut self, place: Place, gather: &Gather) -> Option<Time> {
        let lane = self.by_place.get_mut(&place)?;
        let Some(oldest) = lane.waiting.front() else {
            if lane.under_way == 0 && lane.alarm.is_none() {
                self.by_place.remove(&place);
            }
            return None;
        };
        if lane.under_way >= gather.at_once || lane.alarm.is_some() {
            return None;
        }
        lane.alarm = Some(oldest.since + gather.within);
        lane.alarm
    }

    /// The alarm of a lane rang.
    pub fn rang(&mut self, place: Place, at: Time) {
        if let Some(lane) = self.by_place.get_mut(&place)
            && lane.alarm == Some(at)
        {
            lane.alarm = None;
        }
    }

    /// A request ended.
    pub fn came_back(&mut self, place: Place) {
        if let Some(lane) = self.by_place.get_mut(&place) {
            lane.under_way -= 1;
        }
    }

    /// The end of one update is known: who waited for the last of that robot.
    pub fn done(&mut self, robot: RobotId) -> Vec<oneshot::Sender<()>> {
        let Some(open) = self.open.get_mut(&robot) else { return Vec::new() };
        open.count -= 1;
        if open.count > 0 {
            return Vec::new();
        }
        self.open.remove(&robot).map(|open| open.waiters).unwrap_or_default()
    }

    /// What waits now goes out as soon as it can, of one robot or of all: which lanes are to be
    /// looked at, and what ends with the last update.
    pub fn hurry(
        &mut self,
        robot: Option<RobotId>,
        of_all: bool,
    ) -> (Vec<Place>, Vec<oneshot::Receiver<()>>) {
        let mut ends = Vec::new();
        for (_, open) in self.open.iter_mut().filter(|(one, _)| robot.is_none_or(|r| r == **one)) {
            let (tells, told) = oneshot::channel();
            open.waiters.push(tells);
            ends.push(told);
        }
        if ends.is_empty() {
            return (Vec::new(), ends);
        }
        let wanted = |place: &Place| of_all || robot.is_none() || *place == robot;
        let mut places = Vec::new();
        for (place, lane) in self.by_place.iter_mut().filter(|(place, _)| wanted(place)) {
            // In a lane of all, those behind the robot's last one need not hurry.
            let last = lane.waiting.iter().rposition(|u| robot.is_none_or(|r| r == u.robot));
            lane.hurried = lane.hurried.max(last.map_or(0, |last| last + 1));
            places.push(*place);
        }
        (places, ends)
    }
}

impl Lane {
    fn take(&mut self, count: usize, waiting: &mut usize) -> Vec<Update> {
        *waiting -= count;
        self.hurried = self.hurried.saturating_sub(count);
        self.waiting.drain(..count).collect()
    }
}
