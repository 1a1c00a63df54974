//! near-drivers-fresh: the cars on the map can be had. Lists of near drivers come from indexes that
//! follow the truth at some distance; what has been otherwise for longer than that is wrong.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    calm::Calm,
    fact::{Fact, job_of},
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
    name: "near-drivers-fresh",
    means: "a driver is listed as free who certainly was not for `settle_bound` and a position's life \
            before the question, and until the answer, with no fault in force",
    needs: &[&[OpKind::PassengerNearDrivers], &[OpKind::DriverAccept, OpKind::DriverGoOffline]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverGoOnline,
        OpKind::DriverGoOffline,
        OpKind::DriverPause,
        OpKind::DriverResume,
        OpKind::CleanupRobot,
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverCurrentJob,
        OpKind::PassengerCancel,
        OpKind::PassengerNearDrivers,
    ],
    blind_spot: "cars that were taken a short while ago; drivers whose account is not known; short \
                 journeys",
    rare: true,
    start: |declares, tally| Box::new(NearFresh::new(declares, tally)),
};

/// Why a driver is not free.
struct Taken {
    since: Fact,
    job: Option<Id>,
    /// A later op or read of its own confirms it.
    sure: bool,
}

struct Suspicion {
    driver: RobotId,
    job: Option<Id>,
    since: Fact,
    list: Fact,
}

struct NearFresh {
    delay: Duration,
    releases_alone: bool,
    accounts: Accounts,
    taken: BTreeMap<RobotId, Taken>,
    suspicions: Suspicions<Suspicion>,
    calm: Calm,
    seen_until: Time,
    tally: Tally,
}

impl NearFresh {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            delay: declares.settle_bound.0 + declares.ping_ttl.0 + declares.read_delay.0,
            releases_alone: declares.releases_alone || !declares.asked().has(OpKind::DriverDropOff),
            accounts: tally.accounts(),
            taken: BTreeMap::new(),
            suspicions: Suspicions::default(),
            calm: Calm::default(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        use OpKind as K;
        self.seen_until = self.seen_until.max(op.done);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            tell(&one, &mut self.tally);
        }
        let ok = op.outcome == Outcome::Ok;
        match op.kind() {
            _ if op.outcome == Outcome::Fail => {}
            K::PassengerNearDrivers => self.list(op),
            K::PassengerCancel => {
                let job = job_of(op).cloned();
                self.taken.retain(|_, taken| taken.job.is_none() || taken.job != job);
                self.suspicions
                    .retain(|one| one.job.is_none() || one.job != job || one.list.done < op.sent);
            }
            K::DriverGoOffline | K::DriverPause if ok => {
                self.frees(op);
                let taken = Taken { since: Fact::of(op), job: None, sure: true };
                self.taken.insert(op.robot, taken);
            }
            K::DriverAccept if ok && !op.answer.replayed && !self.releases_alone => {
                let held = op.answer.job.as_deref().is_none_or(|view| view.state.is_held());
                self.frees(op);
                if held {
                    let (since, job) = (Fact::of(op), job_of(op).cloned());
                    self.taken.insert(op.robot, Taken { since, job, sure: false });
                }
            }
            K::DriverArrive | K::DriverPickUp | K::DriverCurrentJob if ok => self.confirm(op),
            // A second tap takes nothing back.
            K::DriverAccept if ok && op.answer.replayed && self.has(op) => {}
            _ => self.frees(op),
        }
    }

    /// True when the op is about the job that its driver has.
    fn has(&self, op: &Op) -> bool {
        let taken = self.taken.get(&op.robot).and_then(|taken| taken.job.as_ref());
        taken.is_some() && taken == job_of(op)
    }

    /// The driver may be free from the moment at which that was sent.
    fn frees(&mut self, op: &Op) {
        self.taken.remove(&op.robot);
        self.suspicions.retain(|one| one.driver != op.robot || one.list.done < op.sent);
    }

    fn confirm(&mut self, op: &Op) {
        let Some(taken) = self.taken.get_mut(&op.robot) else { return };
        if !taken.since.before(op.sent) {
            return;
        }
        let held = op.answer.job.as_deref().is_none_or(|view| view.state.is_held());
        if job_of(op).is_some() && job_of(op) == taken.job.as_ref() && held {
            taken.sure = true;
        } else if taken.job.is_some() {
            self.taken.remove(&op.robot);
        }
    }

    fn list(&mut self, op: &Op) {
        let truth = op.sent.saturating_sub(self.delay);
        if op.outcome != Outcome::Ok || !self.calm.for_at_least(self.delay, op.sent) {
            return;
        }
        self.tally.observed += 1;
        let gone = |taken: &Taken| taken.sure && taken.since.before(truth);
        if !self.taken.values().any(gone) {
            return;
        }
        self.tally.opportunities += 1;
        for near in &op.answer.drivers {
            let Some(driver) = self.accounts.driver(&near.driver) else { continue };
            let Some(taken) = self.taken.get(&driver).filter(|taken| gone(taken)) else { continue };
            let (job, since, list) = (taken.job.clone(), taken.since.clone(), Fact::of(op));
            self.suspicions.push(op.done, Suspicion { driver, job, since, list });
        }
    }
}

fn tell(one: &Suspicion, tally: &mut Tally) {
    let Suspicion { driver, job, since, list } = one;
    let what = format!(
        "{}; {} was shown {driver} as free at {} (op {})",
        since.tell(),
        list.robot,
        list.done,
        list.op
    );
    tally.breach(what, job.as_ref(), &[since, list]);
}

impl Law for NearFresh {
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
        tally.judge("nobody asked for near drivers, in calm weather, while one was long taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::{
            answer::{JobState, NearDriver},
            record::FaultChange,
        },
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p, view},
        },
    };

    const LAW: &str = "near-drivers-fresh";

    /// Driver 1 has a job since 10.1 s, and says so at 20 s; at 100 s a passenger looks around.
    fn looked(shown: u32) -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale.accept(d(1), (10.0, 10.1), "J1", 1);
        let held = view("J1", JobState::Accepted, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (20.0, 20.1), held);
        let near = NearDriver { driver: account(d(shown)), at: Place::default(), eta_s: 60 };
        tale.op(p(1), OpKind::PassengerNearDrivers, (100.0, 100.1)).answer.drivers = vec![near];
        tale
    }

    #[test]
    fn a_free_car_is_shown() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(looked(2).judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn a_car_that_is_long_taken_is_caught() {
        let judgement = looked(1).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 accepted job J1 at 10.100 s (ok, op 4); passenger/00001 was shown \
             driver/00001 as free at 100.100 s (op 6)"
        );
        let mut home = Tale::default();
        home.robots(&[d(1)]);
        home.op(d(1), OpKind::DriverGoOffline, (10.0, 10.1));
        let near = NearDriver { driver: account(d(1)), at: Place::default(), eta_s: 60 };
        home.op(p(1), OpKind::PassengerNearDrivers, (100.0, 100.1)).answer.drivers = vec![near];
        assert_eq!(home.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_new_token_or_a_second_tap_frees_nobody() {
        let mut tale = looked(1);
        tale.op(d(1), OpKind::DriverLogin, (50.0, 50.1)).answer.account = Some(account(d(1)));
        tale.accept(d(1), (51.0, 51.1), "J1", 1).answer.replayed = true;
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut another = looked(1);
        another.accept(d(1), (51.0, 51.1), "J2", 1).answer.replayed = true;
        assert_ne!(another.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn whatever_may_have_freed_it_is_an_excuse() {
        let mut gave_back = looked(1);
        gave_back.moves(d(1), OpKind::DriverCancel, (99.0, 130.0), "J1", 1).info();
        assert_ne!(gave_back.judge(LAW).verdict, Verdict::Broken);
        let mut cancelled = looked(1);
        cancelled.cancel(p(2), (30.0, 31.0), "J1").info();
        assert_ne!(cancelled.judge(LAW).verdict, Verdict::Broken);
        let mut alone = looked(1);
        alone.declares.releases_alone = true;
        assert_ne!(alone.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_fault_leaves_old_news_behind_for_a_while() {
        let mut tale = looked(1);
        tale.fault(FaultChange::Injected, 40.0);
        tale.fault(FaultChange::Healed, 60.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut going_on = looked(1);
        going_on.complete = false;
        assert_ne!(going_on.judge(LAW).verdict, Verdict::Broken);
    }
}
