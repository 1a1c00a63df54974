//! unique-ids: no two things of one kind share an id.

use std::collections::HashMap;

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, job_of},
    tally::Tally,
};
use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::{
        answer::JobView,
        op::{Op, OpKind, Outcome},
    },
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
    blind_spot: "two jobs of one passenger with one id look like one job",
    rare: false,
    start: |_, tally| Box::new(UniqueIds::new(tally)),
};

/// What an id was seen to stand for, and where.
#[derive(Debug)]
struct Owned<T> {
    owner: T,
    fact: Box<Fact>,
}

// None of these maps is ever iterated.
struct UniqueIds {
    accounts: HashMap<(RobotKind, Id), Owned<RobotId>>,
    jobs: HashMap<Id, Owned<RobotId>>,
    job_passengers: HashMap<Id, Owned<Id>>,
    offers: HashMap<Id, Owned<Id>>,
    charges: HashMap<Id, Owned<Id>>,
    tally: Tally,
}

impl UniqueIds {
    fn new(tally: Tally) -> Self {
        Self {
            accounts: HashMap::new(),
            jobs: HashMap::new(),
            job_passengers: HashMap::new(),
            offers: HashMap::new(),
            charges: HashMap::new(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        match op.kind() {
            OpKind::DriverPing | OpKind::DriverNextOffer => self.offer(op),
            OpKind::PassengerRequestJob => {
                if let Some(job) = job_of(op) {
                    let who = op.robot;
                    claim(&mut self.tally, &mut self.jobs, "job", job.clone(), &who, op);
                }
            }
            OpKind::DriverRegister | OpKind::PassengerRegister => {
                if let Some(account) = &op.answer.account {
                    let (key, who) = ((op.robot.kind, account.clone()), op.robot);
                    claim(&mut self.tally, &mut self.accounts, "account", key, &who, op);
                }
            }
            _ => {
                for charge in &op.answer.charges {
                    let (id, job) = (charge.id.clone(), &charge.job);
                    claim(&mut self.tally, &mut self.charges, "charge", id, job, op);
                }
                for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
                    self.listed(op, view);
                }
            }
        }
    }

    fn offer(&mut self, op: &Op) {
        if let Some(offer) = op.answer.offer.as_deref() {
            let (id, job) = (offer.id.clone(), &offer.job);
            claim(&mut self.tally, &mut self.offers, "offer", id, job, op);
        }
    }

    fn listed(&mut self, op: &Op, view: &JobView) {
        if let Some(passenger) = &view.passenger {
            let (id, tally) = (view.id.clone(), &mut self.tally);
            claim(tally, &mut self.job_passengers, "job", id, passenger, op);
        }
    }
}

/// Notes that `id` stands for `owner`; a breach when it stood for another one before.
fn claim<K, T>(
    tally: &mut Tally,
    known: &mut HashMap<K, Owned<T>>,
    kind: &str,
    id: K,
    owner: &T,
    op: &Op,
) where
    K: std::hash::Hash + Eq + Named,
    T: PartialEq + Clone + std::fmt::Display,
{
    tally.observed += 1;
    let Some(before) = known.get(&id) else {
        // The first of its kind had nothing to collide with.
        tally.opportunities += u64::from(!known.is_empty());
        let fact = Box::new(Fact::of(op));
        known.insert(id, Owned { owner: owner.clone(), fact });
        return;
    };
    if before.owner != *owner {
        let (id, first, second) = (id.id(), &before.owner, Fact::of(op));
        let (one, other) = (before.fact.tell(), second.tell());
        let what = format!("{kind} {id} is {first}'s: {one}; and it is {owner}'s: {other}");
        tally.breach(what, Some(id).filter(|_| kind == "job"), &[&before.fact, &second]);
    }
}

/// The id within a key of one of the maps.
trait Named {
    fn id(&self) -> &Id;
}

impl Named for Id {
    fn id(&self) -> &Id {
        self
    }
}

impl Named for (RobotKind, Id) {
    fn id(&self) -> &Id {
        &self.1
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
