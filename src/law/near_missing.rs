//! near-drivers-near: who stands at the corner is on the map before who is far away. Only while no job
//! is sought for: a driver who is being asked about one is not free, and nobody else knows of it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    calm::Calm,
    fact::{Fact, job_of},
    shelf::OP_LIFE,
    supply::{Cabs, Doubt, WATCHES as CABS},
    suspicion::Suspicions,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "near-drivers-near",
    means: "a list of near drivers has one who is far, and lacks one who was certainly free, and certainly \
            less than half as far, for `settle_bound`, while no job was sought for and no fault was in \
            force",
    needs: &[&[OpKind::PassengerNearDrivers], &[OpKind::DriverPing], &[OpKind::DriverGoOnline]],
    cannot: |_| None,
    watches: &[
        CABS[0],
        CABS[1],
        CABS[2],
        CABS[3],
        CABS[4],
        CABS[5],
        CABS[6],
        CABS[7],
        CABS[8],
        CABS[9],
        CABS[10],
        CABS[11],
        OpKind::PassengerRequestJob,
        OpKind::PassengerCancel,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::PassengerNearDrivers,
    ],
    blind_spot: "lists that are empty, or have only near drivers; busy cities, in which somebody always \
                 looks for a driver; drivers whose account is not known; histories whose location \
                 updates are counted",
    rare: true,
    start: |declares, tally| Box::new(NearMissing::new(declares, tally)),
};

/// A way on the road is rarely longer than so many times the crow's.
const DETOUR: f64 = 2.0;
/// Nearer than this nobody is told apart, in metres.
const NEAR_M: f64 = 300.0;
/// Indexes are told of what happened a moment later.
const MOMENT: Duration = Duration::from_secs(1);

struct Suspicion {
    driver: RobotId,
    free_since: Time,
    list: Fact,
    within_m: f64,
    far_m: f64,
}

struct NearMissing {
    settle: Duration,
    ping_ttl: Duration,
    /// How long a job may be sought for.
    search: Duration,
    accounts: Accounts,
    cabs: Cabs,
    /// Until when a job may be sought for.
    open: BTreeMap<Id, Time>,
    /// Some job may have been sought for until then.
    sought_until: Time,
    suspicions: Suspicions<Suspicion>,
    calm: Calm,
    seen_until: Time,
    tally: Tally,
}

impl NearMissing {
    fn new(declares: &Declares, tally: Tally) -> Self {
        let (settle, ping_ttl) = (declares.settle_bound.0, declares.ping_ttl.0);
        Self {
            settle,
            ping_ttl,
            search: declares.search_ttl.0 + declares.offer_ttl.0,
            accounts: tally.accounts(),
            cabs: tally.cabs(),
            open: BTreeMap::new(),
            sought_until: Time::ZERO,
            suspicions: Suspicions::default(),
            calm: Calm::default(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            tell(&one, &mut self.tally);
        }
        if let Some(Doubt::Of(driver, from)) = self.cabs.doubt() {
            self.suspicions.retain(|one| one.driver != driver || one.list.done < from);
        }
        match op.kind() {
            _ if op.outcome == Outcome::Fail => {}
            OpKind::PassengerNearDrivers => self.list(op),
            OpKind::PassengerRequestJob | OpKind::DriverCancel | OpKind::DriverNoShow => {
                self.seek(op);
            }
            _ => self.close(op),
        }
    }

    /// A job is sought for (again), or may be.
    fn seek(&mut self, op: &Op) {
        let until = op.done + self.search;
        match job_of(op).filter(|_| op.outcome == Outcome::Ok) {
            Some(job) => {
                self.open.insert(job.clone(), until);
            }
            None => self.sought_until = self.sought_until.max(until + OP_LIFE),
        }
        self.suspicions.retain(|one| one.list.done < op.sent);
    }

    /// An op may show that a job has a driver, or is over.
    fn close(&mut self, op: &Op) {
        let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) else { return };
        let told = op.answer.job.as_deref().map(|view| view.state);
        if told.is_some_and(|state| state.is_held() || state.is_terminal())
            && self.open.remove(job).is_some()
        {
            self.sought_until = self.sought_until.max(op.done + MOMENT);
        }
    }

    fn list(&mut self, op: &Op) {
        let from = op.sent.saturating_sub(self.settle);
        let bound = self.settle + self.ping_ttl;
        let Some(at) = op.ask.at.filter(|_| op.outcome == Outcome::Ok) else { return };
        let lately = op.sent.saturating_sub(OP_LIFE);
        self.open.retain(|_, until| *until >= lately);
        let quiet = self.sought_until < op.sent && self.open.values().all(|until| *until < op.sent);
        if !quiet || !self.calm.for_at_least(bound, op.sent) {
            return;
        }
        self.tally.observed += 1;
        let far = op.answer.drivers.iter().map(|near| near.at.metres_to(at));
        let far_m = far.fold(0.0, f64::max);
        let within_m = far_m / DETOUR;
        if within_m < NEAR_M {
            return;
        }
        let listed: Vec<RobotId> = op
            .answer
            .drivers
            .iter()
            .filter_map(|near| self.accounts.driver(&near.driver))
            .collect();
        for (driver, cab) in self.cabs.supply().cabs() {
            let Some(free_since) = cab.free_since.filter(|since| *since + bound < op.sent) else {
                continue;
            };
            let known = self.accounts.of(driver).is_some() && cab.offered_until < from;
            let near = (at, within_m);
            if !known || !cab.stood_within(near, (from, op.done), self.ping_ttl) {
                continue;
            }
            self.tally.opportunities += 1;
            if !listed.contains(&driver) {
                let list = Fact::of(op);
                let one = Suspicion { driver, free_since, list, within_m, far_m };
                self.suspicions.push(op.done, one);
            }
        }
    }
}

fn tell(one: &Suspicion, tally: &mut Tally) {
    let Suspicion { driver, free_since, list, within_m, far_m } = one;
    let what = format!(
        "{} was shown a driver {far_m:.0} m away at {} (op {}), and not {driver}, who was free \
         since {free_since} and within {within_m:.0} m",
        list.robot, list.done, list.op
    );
    tally.breach(what, None, &[list]);
}

impl Law for NearMissing {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for one in self.suspicions.standing(complete) {
            tell(one, &mut tally);
        }
        tally.judge(
            "nobody looked around, in calm weather, with an idle driver near and one far away",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::{answer::NearDriver, record::FaultChange},
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p},
        },
    };

    const LAW: &str = "near-drivers-near";

    /// Driver 1 waits at the corner; at 100 s a passenger there is shown driver 2, far away, and
    /// perhaps driver 1.
    fn looked(shown: bool) -> Tale {
        let mut tale = Tale::default();
        let here = Place::from_degrees(53.35, -6.26);
        tale.robots(&[d(1), d(2), p(1)]);
        tale.op(d(1), OpKind::DriverGoOnline, (1.0, 1.1));
        for beat in 0..40 {
            let at = 2.0 + 5.0 * f64::from(beat);
            tale.ping(d(1), (at, at + 0.1), here, None);
        }
        let far = here.offset(2_000.0, 0.0);
        let near = NearDriver { driver: account(d(1)), at: here, eta_s: 1 };
        let list = tale.op(p(1), OpKind::PassengerNearDrivers, (100.0, 100.1));
        list.ask.at = Some(here);
        list.answer.drivers = vec![NearDriver { driver: account(d(2)), at: far, eta_s: 200 }];
        if shown {
            list.answer.drivers.push(near);
        }
        tale
    }

    #[test]
    fn who_is_near_is_shown() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(looked(true).judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn who_is_near_and_left_out_is_missed() {
        let judgement = looked(false).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 was shown a driver 2000 m away at 100.100 s (op 45), and not \
             driver/00001, who was free since 1.100 s and within 1000 m"
        );
    }

    #[test]
    fn whoever_may_be_asked_for_a_job_is_not_free() {
        let mut sought = looked(false);
        sought.request(p(2), (90.0, 90.1), "K1", "J1");
        assert_eq!(sought.judge(LAW).verdict, Verdict::Unknown);
        let mut under_way = looked(false);
        under_way.request(p(2), (99.0, 110.0), "K1", "J1").info();
        assert_ne!(under_way.judge(LAW).verdict, Verdict::Broken);
        let mut taken = looked(false);
        taken.accept(d(1), (99.0, 140.0), "J1", 1).info();
        assert_ne!(taken.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn after_a_fault_lists_may_be_old() {
        let mut tale = looked(false);
        tale.fault(FaultChange::Injected, 40.0);
        tale.fault(FaultChange::Healed, 60.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
