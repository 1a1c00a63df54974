//! Reads back whether anything of a run is left: what each robot says of its job, and what the
//! operator's listing says of all. Ends nothing.

use super::sweep::{Seen, Sweep, words};
use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::{
        answer::JobView,
        op::{Ask, OpKind, Outcome},
    },
};

/// Pages of the listing that are read.
const PAGES_MAX: usize = 10_000;

impl Sweep {
    /// Looks for what is left; true when nothing is.
    pub async fn prove(&self) -> bool {
        {
            let mut state = self.state.borrow_mut();
            state.live.clear();
            state.unproven = self.lacking();
        }
        self.each(self.inside(RobotKind::Passenger), Self::look_at).await;
        self.each(self.inside(RobotKind::Driver), Self::look_at).await;
        if self.hand.has(OpKind::AuditJobs) {
            self.read_listing().await;
        }
        self.state.borrow().left.is_empty()
    }

    /// Why nothing can be proven, where the target lets nobody look.
    fn lacking(&self) -> Vec<String> {
        let listed = self.hand.has(OpKind::AuditJobs);
        let looks = self.hand.has(OpKind::PassengerCurrentJob);
        // A history with an end knows of every job.
        let known = self.census.whole && self.hand.has(OpKind::PassengerJobStatus);
        let asked = self.hand.has(OpKind::PassengerRequestJob);
        let mut lacking = Vec::new();
        if asked && !listed && !looks && !known {
            lacking.push("no passenger.current_job, and no audit.jobs".to_owned());
        }
        let takes = self.hand.has(OpKind::DriverAccept);
        if takes && !listed && !self.hand.has(OpKind::DriverCurrentJob) && !known && !looks {
            lacking.push("no driver.current_job".to_owned());
        }
        lacking
    }

    async fn look_at(&self, robot: RobotId) {
        self.found(robot, self.current(robot).await);
        if robot.kind == RobotKind::Passenger && self.hand.has(OpKind::PassengerJobStatus) {
            for job in self.census.open_jobs(robot) {
                self.found(robot, self.status(robot, &job).await);
            }
        }
    }

    fn found(&self, robot: RobotId, seen: Seen) {
        match seen {
            Seen::None => {}
            Seen::Live(view) => self.found_live(robot, view),
            Seen::Unknown(why) => self.leave(&robot, format!("cannot be looked at: {why}")),
        }
    }

    fn found_live(&self, robot: RobotId, view: JobView) {
        self.leave(&format!("job {}", view.id), format!("{} ({robot})", view.state.word()));
        let mut state = self.state.borrow_mut();
        // It was not ended after all.
        state.ended.remove(&view.id);
        state.live.insert(view.id.clone(), (robot, view));
    }

    async fn read_listing(&self) {
        let auditor = RobotId { kind: RobotKind::Auditor, number: 0 };
        let mut next: Option<Id> = None;
        for _ in 0..PAGES_MAX {
            let ask = Ask { key: next.clone(), ..Ask::new(OpKind::AuditJobs) };
            let tried = self.hand.ask(auditor, ask).await;
            if tried.outcome != Outcome::Ok {
                return self.leave(&"audit.jobs", format!("cannot be read: {}", words(&tried)));
            }
            for view in &tried.answer.jobs {
                if let (false, Some(robot)) = (view.state.is_terminal(), self.whose(view)) {
                    self.found_live(robot, view.clone());
                }
            }
            if tried.answer.next.is_none() || tried.answer.next == next {
                return;
            }
            next = tried.answer.next;
        }
        self.leave(&"audit.jobs", format!("more than {PAGES_MAX} pages"));
    }

    /// The robot of ours whose job that is, the passenger before the driver.
    fn whose(&self, view: &JobView) -> Option<RobotId> {
        let state = self.state.borrow();
        let known = || self.census.jobs.get(&view.id).and_then(|job| job.passenger.or(job.driver));
        state
            .who(RobotKind::Passenger, view.passenger.as_ref())
            .or_else(|| state.who(RobotKind::Driver, view.driver.as_ref()))
            .or_else(known)
    }
}
