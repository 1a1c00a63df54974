//! both-sides-agree: when nothing moves, the driver and the passenger see the same job.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, is_audit, job_of},
    job_register::model::{Model, Register},
    shelf::{OP_LIFE, Shelf},
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::{
        answer::{JobState, JobView},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "both-sides-agree",
    means: "a driver and a passenger (or the read-back) see different states, assignments or drivers of \
            one job, though nobody did anything to it between the last write and the later look, and \
            the backend cannot have moved it by itself",
    needs: &[
        &[OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob],
        &[OpKind::DriverCurrentJob, OpKind::AuditJobs, OpKind::AuditJob],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::DriverAccept,
        OpKind::DriverDecline,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverGoOffline,
        OpKind::CleanupRobot,
        OpKind::DriverCurrentJob,
        OpKind::PassengerCancel,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a job of which an op of unknown outcome may still change something; jobs that are \
                 looked at by one side only while they rest, or not for the horizon",
    rare: true,
    start: |declares, tally| Box::new(BothSidesAgree::new(declares, tally)),
};

/// One look, with who had the job.
#[derive(Debug, Clone)]
struct Look {
    fact: Fact,
    state: JobState,
    driver: Option<RobotId>,
}

/// What is known of one job.
#[derive(Default)]
struct Sides {
    /// When the last write was over; [`Time::MAX`] where one may still take effect.
    written: Time,
    /// The newest looks since then: of the driver's side, the passenger's, and the audit's.
    looks: [Option<Look>; 3],
    /// Looks that do not agree, unless a write was under way.
    apart: Vec<(Look, Look, &'static str)>,
}

struct BothSidesAgree {
    model: Model,
    read_delay: Duration,
    accounts: Accounts,
    jobs: Shelf<Sides>,
    /// When a driver first sent that it leaves: whatever it holds may change from then on.
    left: BTreeMap<RobotId, Time>,
    seen_until: Time,
    tally: Tally,
}

impl BothSidesAgree {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            model: Model::new(declares),
            read_delay: declares.read_delay.0,
            accounts: tally.accounts(),
            jobs: tally.shelf(),
            left: BTreeMap::new(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        while let Some((job, sides)) = self.jobs.expire(self.seen_until) {
            if !sides.apart.is_empty() {
                let mut tally = self.tally.clone();
                self.tell(&job, &sides, &mut tally);
                self.tally = tally;
            }
        }
        match op.kind() {
            _ if op.outcome == Outcome::Fail => {}
            OpKind::DriverGoOffline | OpKind::CleanupRobot => {
                let first = self.left.entry(op.robot).or_insert(op.sent);
                *first = (*first).min(op.sent);
            }
            OpKind::DriverCurrentJob
            | OpKind::PassengerJobStatus
            | OpKind::PassengerCurrentJob
            | OpKind::AuditJob
            | OpKind::AuditJobs => {
                for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
                    self.look(op, view);
                }
            }
            _ => self.write(op),
        }
    }

    fn write(&mut self, op: &Op) {
        let Some(job) = job_of(op) else { return };
        let sides = self.jobs.at(job, self.seen_until);
        let until = if op.outcome == Outcome::Ok { op.done } else { Time::MAX };
        sides.written = sides.written.max(until);
        sides.looks = Default::default();
        sides.apart.retain(|(one, other, _)| ends(one, other) < op.sent);
    }

    fn look(&mut self, op: &Op, view: &JobView) {
        // Of a job that only the read-back speaks of there is nothing to compare with.
        if is_audit(op.kind()) && self.jobs.peek(&view.id).is_none() {
            return;
        }
        let sides = self.jobs.at(&view.id, self.seen_until);
        if op.outcome != Outcome::Ok || sides.written >= op.sent.saturating_sub(self.read_delay) {
            return;
        }
        let side = match op.robot.kind {
            RobotKind::Driver if view.state.is_held() => 0,
            // What a driver is told of a job that is over is told as its own.
            RobotKind::Driver => return,
            _ if is_audit(op.kind()) => 2,
            _ => 1,
        };
        let driver = view.driver.as_ref().and_then(|driver| self.accounts.driver(driver));
        let look = Look { fact: Fact::about(op, view), state: view.state, driver };
        self.tally.observed += 1;
        for other in (0..3).filter(|other| *other != side) {
            let Some(earlier) = &sides.looks[other] else { continue };
            // Whatever a driver does when it leaves is done to jobs in its hands.
            if side == 2 && !earlier.state.is_terminal() && !look.state.is_terminal() {
                continue;
            }
            self.tally.opportunities += 1;
            if let Some(how) = differ(&self.model, earlier, &look) {
                sides.apart.push((earlier.clone(), look.clone(), how));
            }
        }
        sides.looks[side] = Some(look);
    }

    fn tell(&self, job: &Id, sides: &Sides, tally: &mut Tally) {
        for (one, other, how) in &sides.apart {
            let gone = [one, other]
                .iter()
                .filter_map(|look| look.driver)
                .any(|driver| self.left.get(&driver).is_some_and(|left| *left <= ends(one, other)));
            if gone {
                continue;
            }
            let (first, then) = (one.fact.tell(), other.fact.tell());
            let what = format!("{first}; {then}: nothing was done to it, and {how}");
            tally.breach(what, Some(job), &[&one.fact, &other.fact]);
        }
    }
}

/// When the later of two looks was over.
fn ends(one: &Look, other: &Look) -> Time {
    one.fact.done.max(other.fact.done)
}

/// How two looks at a job that rests differ.
fn differ(model: &Model, one: &Look, other: &Look) -> Option<&'static str> {
    let follows = |from: &Look, to: &Look| {
        let start = Register { state: from.state, number: 0, holder: None };
        let mut found = Vec::new();
        model.alone(start, &mut found);
        found.iter().any(|state| state.state == to.state)
    };
    // Looks that overlap may be of either order.
    if !follows(one, other) && !follows(other, one) {
        return Some("its state differs");
    }
    if one.state != other.state {
        // The backend moved it by itself: who had it may have changed too.
        return None;
    }
    let (first, second) = (one.fact.number, other.fact.number);
    if first != 0 && second != 0 && first != second {
        return Some("its assignment differs");
    }
    let held = one.state.is_held();
    let drivers = one.driver.is_some() && other.driver.is_some() && one.driver != other.driver;
    (held && drivers).then_some("its driver differs")
}

impl Law for BothSidesAgree {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let certain = self.seen_until.saturating_sub(OP_LIFE);
        for (job, sides) in self.jobs.settled(self.seen_until, true) {
            let quiet = sides.apart.iter().all(|(one, other, _)| ends(one, other) < certain);
            if !sides.apart.is_empty() && (complete || quiet) {
                self.tell(job, sides, &mut tally);
            }
        }
        tally.judge("no job at rest was looked at from both sides")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{AUDITOR, Tale, Tweak, d, p, view},
    };
    use JobState::{Accepted, Arrived, Completed, Expired, Offered};

    const LAW: &str = "both-sides-agree";

    /// Driver 1 has a job since 12.1 s.
    fn taken() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        tale
    }

    fn driver_sees(tale: &mut Tale, at: f64, state: JobState) {
        let seen = view("J1", state, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (at, at + 0.1), seen);
    }

    fn passenger_sees(tale: &mut Tale, at: f64, state: JobState, number: u32) {
        let seen = view("J1", state, number, Some(d(number)));
        tale.read(p(1), OpKind::PassengerJobStatus, (at, at + 0.1), seen);
    }

    #[test]
    fn both_see_the_same() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = taken();
        driver_sees(&mut tale, 13.0, Accepted);
        passenger_sees(&mut tale, 13.05, Accepted, 1);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 1));
    }

    #[test]
    fn different_states_or_drivers_are_caught() {
        let mut tale = taken();
        driver_sees(&mut tale, 13.0, Accepted);
        passenger_sees(&mut tale, 13.05, Arrived, 1);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 read job J1 as accepted at 13.100 s (ok, op 5); passenger/00001 read job \
             J1 as arrived at 13.150 s (ok, op 6): nothing was done to it, and its state differs"
        );
        let mut other = taken();
        driver_sees(&mut other, 13.0, Accepted);
        passenger_sees(&mut other, 14.0, Accepted, 2);
        assert_eq!(other.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn the_read_back_is_a_side_of_what_is_over() {
        for (state, verdict) in [(Completed, Verdict::Pass), (Accepted, Verdict::Broken)] {
            let mut tale = taken();
            passenger_sees(&mut tale, 20.0, Completed, 1);
            let audit = tale.op(AUDITOR, OpKind::AuditJobs, (90.0, 90.1));
            audit.answer.jobs = vec![view("J1", state, 1, Some(d(1)))];
            assert_eq!(tale.judge(LAW).verdict, verdict);
        }
    }

    #[test]
    fn a_write_under_way_or_a_move_of_the_backend_explains_it() {
        let mut tale = taken();
        driver_sees(&mut tale, 13.0, Accepted);
        passenger_sees(&mut tale, 14.0, Arrived, 1);
        tale.moves(d(1), OpKind::DriverArrive, (13.05, 15.0), "J1", 1);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut unsure = taken();
        unsure.moves(d(1), OpKind::DriverArrive, (12.5, 12.6), "J1", 1).info();
        driver_sees(&mut unsure, 13.0, Accepted);
        passenger_sees(&mut unsure, 14.0, Arrived, 1);
        assert_ne!(unsure.judge(LAW).verdict, Verdict::Broken);
        let mut left = taken();
        driver_sees(&mut left, 13.0, Accepted);
        passenger_sees(&mut left, 14.0, Offered, 1);
        left.op(d(1), OpKind::DriverGoOffline, (13.05, 13.1));
        assert_ne!(left.judge(LAW).verdict, Verdict::Broken);
        let mut alone = Tale::default();
        passenger_sees(&mut alone, 13.0, Offered, 0);
        let audit = alone.op(AUDITOR, OpKind::AuditJobs, (90.0, 90.1));
        audit.answer.jobs = vec![view("J1", Expired, 0, None)];
        assert_eq!(alone.judge(LAW).verdict, Verdict::Pass);
    }
}
