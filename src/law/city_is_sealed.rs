//! city-is-sealed: robots meet robots only. A sentinel is a driver of another tenant, free and on shift
//! in the middle of our city: it is never offered a job of ours, and none of our passengers ever sees
//! it. Where this law breaks the run stops at once, and the robots sign off.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally, unprobed};
use crate::{
    base::id::{Id, RobotId},
    history::{
        op::{Op, OpKind, Outcome},
        probe::Probe,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "city-is-sealed",
    means: "*probe*: a driver of another tenant is offered a job, or one of our passengers is shown it \
            near by or as the driver of its job; the run stops at once",
    needs: &[&[OpKind::DriverGoOnline]],
    cannot: |declares| unprobed(declares, |probe| probe == Probe::Outside),
    watches: &[
        OpKind::DriverLogin,
        OpKind::PassengerNearDrivers,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
    ],
    blind_spot: "strangers who are no sentinels; passengers of another tenant",
    rare: true,
    start: |_, tally| Box::new(CitySealed::new(tally)),
};

struct CitySealed {
    sentinels: BTreeSet<RobotId>,
    /// Their accounts.
    accounts: BTreeMap<Id, RobotId>,
    /// Sentinels that certainly are on shift.
    on_shift: BTreeSet<RobotId>,
    tally: Tally,
}

impl CitySealed {
    fn new(tally: Tally) -> Self {
        let (sentinels, accounts) = (BTreeSet::new(), BTreeMap::new());
        Self { sentinels, accounts, on_shift: BTreeSet::new(), tally }
    }

    /// What a sentinel asked.
    fn sentinel(&mut self, op: &Op) {
        self.sentinels.insert(op.robot);
        self.learn(op);
        match (op.kind(), op.outcome) {
            (OpKind::DriverGoOnline, Outcome::Ok) => {
                self.on_shift.insert(op.robot);
            }
            (OpKind::DriverGoOffline, _) => {
                self.on_shift.remove(&op.robot);
            }
            (OpKind::DriverPing, Outcome::Ok) => {
                self.tally.observed += 1;
                self.tally.opportunities += u64::from(self.on_shift.contains(&op.robot));
                if let Some(offer) = &op.answer.offer {
                    let fact = Fact::of(op);
                    let what = format!(
                        "{}: {}, who is of another tenant, was offered job {} (offer {})",
                        fact.tell(),
                        op.robot,
                        offer.job,
                        offer.id
                    );
                    self.tally.breach(what, Some(&offer.job), &[&fact]);
                }
            }
            _ => {}
        }
    }

    fn learn(&mut self, op: &Op) {
        if let (true, Some(account)) = (self.sentinels.contains(&op.robot), &op.answer.account) {
            self.accounts.insert(account.clone(), op.robot);
        }
    }

    /// What one of ours was told.
    fn ours(&mut self, op: &Op) {
        self.learn(op);
        if op.outcome != Outcome::Ok {
            return;
        }
        let listed = op.answer.drivers.iter().map(|near| &near.driver);
        let held = op.answer.job.iter().filter_map(|view| view.driver.as_ref());
        let met = listed.chain(held).find_map(|account| self.accounts.get(account));
        if op.kind() == OpKind::PassengerNearDrivers {
            self.tally.observed += 1;
            self.tally.opportunities += u64::from(!self.on_shift.is_empty());
        }
        if let Some(sentinel) = met {
            let fact = Fact::of(op);
            let what = format!("{}: it met {sentinel}, who is of another tenant", fact.tell());
            self.tally.breach(what, fact.job.as_ref(), &[&fact]);
        }
    }
}

impl Law for CitySealed {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Probe(op) if op.ask.probe == Some(Probe::Outside) => self.sentinel(op),
            Seen::Op(op) => self.ours(op),
            Seen::Probe(_) | Seen::Fault(_) | Seen::Phase(..) | Seen::Told(_) => {}
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no sentinel was on shift")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::{NearDriver, OfferView, Refusal},
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p, r},
        },
    };

    const LAW: &str = "city-is-sealed";

    fn outside(tale: &mut Tale, kind: OpKind, at: f64) -> &mut Op {
        let op = tale.probe(r(3), kind, (at, at + 0.1), (Probe::Outside, Refusal::Other, 200));
        (op.outcome, op.attempts[0].outcome, op.answer.refusal) = (Outcome::Ok, Outcome::Ok, None);
        op
    }

    /// A sentinel on shift, and a passenger who is shown these drivers.
    fn tale(shown: &[RobotId]) -> Tale {
        let mut tale = Tale::default();
        tale.declares.probes = Probe::ALL.to_vec();
        tale.robots(&[d(1), p(1)]);
        outside(&mut tale, OpKind::DriverRegister, 1.0).answer.account = Some(account(r(3)));
        outside(&mut tale, OpKind::DriverGoOnline, 2.0);
        outside(&mut tale, OpKind::DriverPing, 3.0);
        let list = tale.op(p(1), OpKind::PassengerNearDrivers, (4.0, 4.1));
        let near = |robot: &RobotId| NearDriver {
            driver: account(*robot),
            at: Place::default(),
            eta_s: 1,
        };
        list.answer.drivers = shown.iter().map(near).collect();
        tale
    }

    #[test]
    fn who_meets_its_own_only_is_in_a_sealed_city() {
        let judgement = tale(&[d(1)]).judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 2));
        let mut none = Tale::default();
        assert_eq!(none.judge(LAW).verdict, Verdict::NotApplicable);
        none.declares.probes = vec![Probe::Outside];
        assert_eq!(none.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_sentinel_that_is_seen_or_offered_a_job_breaks_it() {
        let judgement = tale(&[d(1), r(3)]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("it met rogue/00003, who is of another tenant"), "{what}");
        let mut offered = tale(&[]);
        outside(&mut offered, OpKind::DriverPing, 5.0).answer.offer = Some(
            OfferView {
                id: "O1".into(),
                job: "J1".into(),
                pickup: Place::default(),
                dropoff: None,
                expires_in_ms: 5_000,
                fare_minor: None,
            }
            .into(),
        );
        let judgement = offered.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("was offered job J1 (offer O1)"), "{what}");
    }

    #[test]
    fn a_list_of_which_nobody_knows_and_a_sentinel_that_is_not_there_prove_nothing() {
        let mut lost = Tale::default();
        lost.declares.probes = Probe::ALL.to_vec();
        lost.robots(&[d(1), p(1)]);
        outside(&mut lost, OpKind::DriverRegister, 1.0).answer.account = Some(account(r(3)));
        outside(&mut lost, OpKind::DriverGoOnline, 2.0).info();
        lost.op(p(1), OpKind::PassengerNearDrivers, (4.0, 4.1)).info();
        lost.op(p(1), OpKind::PassengerNearDrivers, (5.0, 5.1));
        assert_eq!(lost.judge(LAW).verdict, Verdict::Unknown);
    }
}
