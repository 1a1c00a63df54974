//! Who was at the target in a run, and which jobs it may have left there: from its history, which
//! may end anywhere. Asks the target nothing.

use std::{collections::BTreeMap, path::Path};

use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::{
        answer::JobView,
        op::{Op, OpKind, Outcome},
        reader::Reader,
        record::Record,
    },
    scenario::Load,
};

/// Passengers beyond the last one of a history without an end who are asked as well: they may have
/// come after its last record.
const UNSEEN_PASSENGERS: u32 = 32;

/// What a run left, as far as its history tells.
#[derive(Debug, Default)]
pub struct Census {
    /// The run's id, where the history has its first record.
    pub run: Option<String>,
    /// Drivers and passengers.
    pub robots: BTreeMap<RobotId, Known>,
    /// Jobs that were seen.
    pub jobs: BTreeMap<Id, Job>,
    /// The history has its last record.
    pub whole: bool,
    /// Where it cannot be read.
    pub damage: Option<String>,
}

/// What is known of a robot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// It had got in.
    pub was_in: bool,
    /// Its account.
    pub account: Option<Id>,
}

/// What is known of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// Who asked for it.
    pub passenger: Option<RobotId>,
    /// Who took it last.
    pub driver: Option<RobotId>,
    /// It was seen to end.
    pub over: bool,
}

impl Census {
    /// Reads the history in a run's folder, as far as it goes. A history that is not there at all
    /// tells as much as one of no bytes.
    pub fn read(folder: &Path, load: &Load) -> Self {
        let mut census = Self::default();
        match Reader::open(folder) {
            Ok(records) => {
                for record in records {
                    match record {
                        Ok(record) => census.see(&record),
                        Err(why) => census.damage = Some(why.to_string()),
                    }
                }
            }
            Err(why) => census.damage = Some(why.to_string()),
        }
        if !census.whole {
            census.add_unseen(load);
        }
        census
    }

    fn see(&mut self, record: &Record) {
        match record {
            Record::Run(header) => self.run = Some(header.run.clone()),
            Record::Op(op) => self.see_op(op),
            Record::Pings(pings) => {
                for number in 0..pings.drivers {
                    self.robots.entry(driver(number)).or_default();
                }
            }
            Record::End(_) => self.whole = true,
            _ => {}
        }
    }

    fn see_op(&mut self, op: &Op) {
        for view in &op.answer.jobs {
            // Others' jobs are none of ours.
            if let Some(job) = self.jobs.get_mut(&view.id) {
                job.over |= view.state.is_terminal();
            }
        }
        if op.robot.kind == RobotKind::Auditor {
            return;
        }
        let known = self.robots.entry(op.robot).or_default();
        if let Some(account) = &op.answer.account {
            known.account = Some(account.clone());
        }
        let enters = matches!(op.kind(), OpKind::DriverLogin | OpKind::PassengerLogin);
        known.was_in |= enters && op.outcome == Outcome::Ok;
        if let Some(view) = &op.answer.job {
            self.see_job(op, view);
        }
    }

    fn see_job(&mut self, op: &Op, view: &JobView) {
        let job = self.jobs.entry(view.id.clone()).or_default();
        job.over |= view.state.is_terminal();
        match op.robot.kind {
            RobotKind::Passenger => job.passenger = Some(op.robot),
            RobotKind::Driver => job.driver = Some(op.robot),
            RobotKind::Auditor | RobotKind::Rogue => {}
        }
    }

    /// Those who may have come after the last record.
    fn add_unseen(&mut self, load: &Load) {
        let last = |kind| self.robots.keys().rfind(|robot| robot.kind == kind);
        let next = |kind| last(kind).map_or(0, |robot: &RobotId| robot.number + 1);
        let drivers = next(RobotKind::Driver).max(load.drivers);
        let passengers = next(RobotKind::Passenger).max(load.passengers) + UNSEEN_PASSENGERS;
        let passenger = |number| RobotId { kind: RobotKind::Passenger, number };
        for robot in (0..drivers).map(driver).chain((0..passengers).map(passenger)) {
            self.robots.entry(robot).or_default();
        }
    }

    /// The robots of a kind, in the order of their numbers.
    pub fn of(&self, kind: RobotKind) -> Vec<RobotId> {
        self.robots.keys().filter(|robot| robot.kind == kind).copied().collect()
    }

    /// What is known of a robot.
    pub fn known(&self, robot: RobotId) -> Known {
        self.robots.get(&robot).cloned().unwrap_or_default()
    }

    /// Jobs of a robot that nobody saw end.
    pub fn open_jobs(&self, robot: RobotId) -> Vec<Id> {
        let own = |job: &Job| job.passenger == Some(robot) || job.driver == Some(robot);
        let open = self.jobs.iter().filter(|(_, job)| !job.over && own(job));
        open.map(|(id, _)| id.clone()).collect()
    }
}

fn driver(number: u32) -> RobotId {
    RobotId { kind: RobotKind::Driver, number }
}
