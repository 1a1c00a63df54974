//! How often the run gave a wrong backend its chance: accepts that raced, jobs offered to two
//! drivers at once, repeats that were recognised. A run without any proves little.

use std::collections::BTreeSet;

use super::shelf::Shelf;
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::{OfferView, Refusal},
        op::{Op, OpKind, Outcome},
        record::Record,
    },
};

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RaceCounts {
    /// Accepts refused as a conflict for a job that another driver was given.
    pub raced_accepts: u64,
    /// Jobs that a second driver was shown while a first one had not answered.
    pub doubled_offers: u64,
    /// Repeats that the backend recognised: it said so, or gave the same answer again.
    pub deduplicated: u64,
}

/// A fold over a history.
#[derive(Debug, Default)]
pub struct Races {
    jobs: Shelf<JobRaces>,
    keys: Shelf<bool, (RobotId, OpKind, Id)>,
    /// What was counted of jobs that are forgotten, and of all repeats.
    counts: RaceCounts,
    seen_until: Time,
}

#[derive(Debug, Default)]
struct JobRaces {
    winners: BTreeSet<RobotId>,
    /// The assignments that they were given.
    accepts: BTreeSet<(RobotId, u32)>,
    losers: Vec<RobotId>,
    /// Who was shown it, and until when the offer was open.
    open: Vec<(RobotId, Time)>,
    doubled: bool,
}

impl Races {
    /// Takes one record.
    pub fn see(&mut self, record: &Record) {
        let Record::Op(op) = record else { return };
        if op.ask.probe.is_some() {
            return;
        }
        self.seen_until = self.seen_until.max(op.done);
        self.keys.forget(self.seen_until);
        while let Some((_, job)) = self.jobs.expire(self.seen_until) {
            job.add_to(&mut self.counts);
        }
        match op.kind() {
            OpKind::DriverPing | OpKind::DriverNextOffer => {
                if let Some(offer) = op.answer.offer.as_deref() {
                    self.offered(op, offer);
                }
            }
            OpKind::DriverAccept => self.accept(op),
            OpKind::DriverDecline => self.answered(op),
            _ => self.repeat(op),
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> RaceCounts {
        let mut counts = self.counts;
        for job in self.jobs.values() {
            job.add_to(&mut counts);
        }
        counts
    }

    fn offered(&mut self, op: &Op, offer: &OfferView) {
        let job = self.jobs.at(&offer.job, self.seen_until);
        if job.open.iter().any(|(driver, _)| *driver == op.robot) {
            return;
        }
        job.doubled |= job.open.iter().any(|(_, until)| op.done < *until);
        let until = op.done + std::time::Duration::from_millis(offer.expires_in_ms);
        job.open.push((op.robot, until));
    }

    fn answered(&mut self, op: &Op) {
        if let Some(job) = op.ask.job.as_ref().and_then(|job| self.jobs.get(job, self.seen_until)) {
            job.open.retain(|(driver, _)| *driver != op.robot);
        }
    }

    fn accept(&mut self, op: &Op) {
        self.answered(op);
        let Some(id) = super::fact::job_of(op) else { return };
        match (op.outcome, op.answer.refusal) {
            (Outcome::Ok, _) => {
                let number = op.answer.job.as_deref().map_or(0, |view| view.assignment);
                let job = self.jobs.at(id, self.seen_until);
                let first = job.accepts.insert((op.robot, number));
                job.winners.insert(op.robot);
                self.counts.deduplicated += u64::from(!first || op.answer.replayed);
            }
            (Outcome::Fail, Some(Refusal::Conflict)) => {
                self.jobs.at(id, self.seen_until).losers.push(op.robot);
            }
            _ => {}
        }
    }

    fn repeat(&mut self, op: &Op) {
        let Some(key) = op.ask.key.as_ref().filter(|_| op.outcome == Outcome::Ok) else { return };
        let known = self.keys.at(&(op.robot, op.kind(), key.clone()), self.seen_until);
        let first = !std::mem::replace(known, true);
        self.counts.deduplicated += u64::from(!first || op.answer.replayed);
    }
}

impl JobRaces {
    fn add_to(&self, counts: &mut RaceCounts) {
        let beaten = |loser: &&RobotId| self.winners.iter().any(|winner| winner != *loser);
        counts.raced_accepts += self.losers.iter().filter(beaten).count() as u64;
        counts.doubled_offers += u64::from(self.doubled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        law::testkit::{Tale, Tweak, d, p},
    };

    fn counts(tale: &Tale) -> RaceCounts {
        let mut races = Races::default();
        for record in tale.records() {
            races.see(&record);
        }
        races.counts()
    }

    fn shown(tale: &mut Tale, driver: RobotId, at: f64, id: &str) {
        let offer = OfferView {
            id: id.into(),
            job: "J1".into(),
            pickup: Place::default(),
            dropoff: None,
            expires_in_ms: 10_000,
            fare_minor: None,
        };
        tale.ping(driver, (at, at + 0.1), Place::default(), Some(offer));
    }

    #[test]
    fn a_race_needs_a_winner_and_another_who_lost() {
        let mut tale = Tale::default();
        tale.accept(d(2), (1.0, 1.1), "J1", 1).refused(Refusal::Conflict);
        assert_eq!(counts(&tale).raced_accepts, 0);
        tale.accept(d(1), (1.0, 1.2), "J1", 1);
        assert_eq!(counts(&tale).raced_accepts, 1);
        tale.accept(d(1), (2.0, 2.1), "J1", 1).refused(Refusal::Conflict);
        assert_eq!(counts(&tale).raced_accepts, 1, "nobody races against himself");
    }

    #[test]
    fn offers_are_doubled_while_the_first_is_open() {
        let mut tale = Tale::default();
        shown(&mut tale, d(1), 1.0, "O1");
        let no = tale.op(d(1), OpKind::DriverDecline, (2.0, 2.1));
        no.ask.job = Some("J1".into());
        shown(&mut tale, d(2), 3.0, "O2");
        shown(&mut tale, d(2), 4.0, "O2");
        assert_eq!(counts(&tale).doubled_offers, 0);
        shown(&mut tale, d(3), 5.0, "O3");
        assert_eq!(counts(&tale).doubled_offers, 1);
    }

    #[test]
    fn repeats_are_counted_where_they_were_recognised() {
        let mut tale = Tale::default();
        tale.request(p(1), (1.0, 1.1), "K1", "J1");
        tale.request(p(1), (2.0, 2.1), "K1", "J1");
        tale.request(p(2), (2.0, 2.1), "K1", "J2");
        tale.accept(d(1), (3.0, 3.1), "J1", 1);
        tale.accept(d(1), (3.0, 3.2), "J1", 1);
        assert_eq!(counts(&tale).deduplicated, 2);
    }
}
