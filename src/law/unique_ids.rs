//! unique-ids: no two things of one kind share an id.

use std::collections::BTreeMap;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, is_audit, job_of},
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::op::{Op, OpKind, Outcome},
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "unique-ids",
    means: "two passengers were given one job, two robots of one kind registered one account, or \
            one id stands for an offer (or a charge) of two jobs",
    needs: &[],
    cannot: |_| None,
    watches: &[
        OpKind::DriverRegister,
        OpKind::PassengerRegister,
        OpKind::PassengerRequestJob,
        OpKind::PassengerPay,
        OpKind::DriverPing,
        OpKind::DriverNextOffer,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "two jobs of one passenger with one id look like one job; an id that is given again when \
                 nothing was heard of it for the horizon",
    rare: false,
    start: |_, tally| Box::new(UniqueIds::new(tally)),
};

/// What an id was seen to stand for, and where.
type Owned<T> = Option<(T, Fact)>;

/// Ids that only the read-back told of, and that are remembered.
const LISTED_MAX: usize = 10_000;

struct UniqueIds {
    accounts: BTreeMap<(RobotKind, Id), Owned<RobotId>>,
    jobs: Shelf<Owned<RobotId>>,
    job_passengers: Shelf<Owned<Id>>,
    offers: Shelf<Owned<Id>>,
    charges: Shelf<Owned<Id>>,
    seen_until: Time,
    tally: Tally,
}

impl UniqueIds {
    fn new(tally: Tally) -> Self {
        Self {
            accounts: BTreeMap::new(),
            jobs: tally.shelf(),
            job_passengers: tally.shelf(),
            offers: Shelf::new(tally.horizon()),
            charges: Shelf::new(tally.horizon()),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        let now = self.seen_until.max(op.done);
        self.seen_until = now;
        let tally = &mut self.tally;
        for shelf in [&mut self.job_passengers, &mut self.offers, &mut self.charges] {
            shelf.forget(now);
        }
        self.jobs.forget(now);
        match op.kind() {
            OpKind::DriverPing | OpKind::DriverNextOffer => {
                if let Some(offer) = op.answer.offer.as_deref() {
                    let others = !self.offers.is_empty();
                    let known = self.offers.at(&offer.id, now);
                    claim(tally, known, others, ("offer", &offer.id), &offer.job, op);
                }
            }
            OpKind::PassengerRequestJob => {
                if let Some(job) = job_of(op) {
                    let others = !self.jobs.is_empty();
                    claim(tally, self.jobs.at(job, now), others, ("job", job), &op.robot, op);
                }
            }
            OpKind::DriverRegister | OpKind::PassengerRegister => {
                if let Some(account) = &op.answer.account {
                    let others = !self.accounts.is_empty();
                    let key = (op.robot.kind, account.clone());
                    let known = self.accounts.entry(key).or_default();
                    claim(tally, known, others, ("account", account), &op.robot, op);
                }
            }
            _ => self.listed(op),
        }
    }

    /// A payment, or a page of the read-back: of what nobody spoke of before only some is kept.
    fn listed(&mut self, op: &Op) {
        let (now, tally) = (self.seen_until, &mut self.tally);
        let full = |shelf: &Shelf<Owned<Id>>| is_audit(op.kind()) && shelf.len() >= LISTED_MAX;
        for charge in &op.answer.charges {
            if full(&self.charges) && self.charges.peek(&charge.id).is_none() {
                continue;
            }
            let others = !self.charges.is_empty();
            let known = self.charges.at(&charge.id, now);
            claim(tally, known, others, ("charge", &charge.id), &charge.job, op);
        }
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            let Some(passenger) = &view.passenger else { continue };
            if full(&self.job_passengers) && self.job_passengers.peek(&view.id).is_none() {
                continue;
            }
            let others = !self.job_passengers.is_empty();
            let known = self.job_passengers.at(&view.id, now);
            claim(tally, known, others, ("job", &view.id), passenger, op);
        }
    }
}

/// Notes that an id stands for `owner`; a breach when it stood for another one before. The first of
/// its kind has no `others` to collide with.
fn claim<T: PartialEq + Clone + std::fmt::Display>(
    tally: &mut Tally,
    known: &mut Owned<T>,
    others: bool,
    (kind, id): (&str, &Id),
    owner: &T,
    op: &Op,
) {
    tally.observed += 1;
    let Some((first, fact)) = known else {
        tally.opportunities += u64::from(others);
        *known = Some((owner.clone(), Fact::of(op)));
        return;
    };
    if *first != *owner {
        let second = Fact::of(op);
        let (one, other) = (fact.tell(), second.tell());
        let what = format!("{kind} {id} is {first}'s: {one}; and it is {owner}'s: {other}");
        tally.breach(what, Some(id).filter(|_| kind == "job"), &[fact, &second]);
    }
}

impl Law for UniqueIds {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen
            && op.outcome == Outcome::Ok
        {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no two things of one kind were seen")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::OfferView,
        law::{
            Verdict,
            testkit::{Tale, Tweak, charge, d, good_end, good_journey, p},
        },
    };

    const LAW: &str = "unique-ids";

    fn offer(id: &str, job: &str) -> OfferView {
        OfferView {
            id: id.into(),
            job: job.into(),
            pickup: Place::default(),
            dropoff: None,
            expires_in_ms: 10_000,
            fare_minor: None,
        }
    }

    #[test]
    fn different_things_have_different_ids() {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        good_journey(&mut tale, 10.0, "J1");
        good_journey(&mut tale, 20.0, "J2");
        // Seen again is not given again, and a driver's account may look like a passenger's.
        tale.ping(d(1), (11.0, 11.1), Place::default(), Some(offer("O1", "J1")));
        tale.ping(d(1), (12.0, 12.1), Place::default(), Some(offer("O1", "J1")));
        let (jobs, charges) = (vec![good_end("J1").0], vec![good_end("J1").1]);
        tale.read_back(100.0, jobs, charges);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn one_id_for_two_things_is_caught() {
        let mut jobs = Tale::default();
        jobs.request(p(1), (10.0, 10.1), "K1", "J1");
        jobs.request(p(2), (11.0, 11.1), "K2", "J1");
        let judgement = jobs.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.starts_with("job J1 is passenger/00001's: "), "{what}");
        let mut offers = Tale::default();
        offers.ping(d(1), (1.0, 1.1), Place::default(), Some(offer("O1", "J1")));
        offers.ping(d(2), (1.0, 1.1), Place::default(), Some(offer("O1", "J2")));
        assert_eq!(offers.judge(LAW).verdict, Verdict::Broken);
        let mut charges = Tale::default();
        charges.read_back(1.0, Vec::new(), vec![charge("C1", "J1", 1), charge("C1", "J2", 1)]);
        assert_eq!(charges.judge(LAW).verdict, Verdict::Broken);
        let mut accounts = Tale::default();
        for robot in [d(1), d(2)] {
            let op = accounts.op(robot, OpKind::DriverRegister, (1.0, 1.1));
            op.answer.account = Some("A1".into());
        }
        assert_eq!(accounts.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn an_answer_that_never_came_proves_nothing() {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.request(p(2), (11.0, 11.1), "K2", "J1").info();
        // The same passenger, asking again, may be shown the job that it has.
        tale.request(p(1), (12.0, 12.1), "K3", "J1");
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }
}
