//! old-ping-never-wins: a position that came late does not push a newer one aside.

use std::{collections::VecDeque, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen, accounts::Accounts, calm::Calm, fact::Fact,
    recovers_in_time::is_told_again, roll::Roll, suspicion::Suspicions, tally::Tally,
};
use crate::{
    base::{id::RobotId, place::Place, time::Time},
    history::{
        answer::NearDriver,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "old-ping-never-wins",
    means: "a driver is listed at a position that it sent before others, though one that it sent later \
            was acknowledged longer than `settle_bound` before the question, with no fault in force",
    needs: &[&[OpKind::PassengerNearDrivers], &[OpKind::DriverPing]],
    cannot: |_| None,
    watches: &[OpKind::DriverPing, OpKind::DriverGoOnline, OpKind::PassengerNearDrivers],
    blind_spot: "drivers whose account is not known, or who are listed at no position that they ever \
                 sent; histories whose location updates are counted",
    rare: true,
    start: |declares, tally| Box::new(OldPing::new(declares, tally)),
};

/// Positions of one driver that are kept, …
const PINGS_MIN: usize = 64;
/// … and more of those that are not older than twice the delay.
const PINGS_MAX: usize = 512;
/// Nearer than this is the same place, of a position that was rounded.
const SAME_M: f64 = 2.0;
/// Farther than this is certainly another.
const OTHER_M: f64 = 50.0;

#[derive(Clone, Copy)]
struct Ping {
    op: u64,
    sent: Time,
    done: Time,
    at: Place,
    sure: bool,
}

struct Suspicion {
    driver: RobotId,
    old: Ping,
    newer: Ping,
    list: Fact,
    at: Place,
}

struct OldPing {
    delay: Duration,
    accounts: Accounts,
    pings: Roll<VecDeque<Ping>>,
    suspicions: Suspicions<Suspicion>,
    calm: Calm,
    /// Updates are counted, and only some are told again: nobody knows the newest.
    counted: bool,
    seen_until: Time,
    tally: Tally,
}

impl OldPing {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            delay: declares.settle_bound.0 + declares.read_delay.0,
            accounts: tally.accounts(),
            pings: Roll::default(),
            suspicions: Suspicions::default(),
            calm: Calm::default(),
            counted: false,
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.counted |= is_told_again(op, self.seen_until);
        self.seen_until = self.seen_until.max(op.done);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            if !self.counted {
                tell(&one, &mut self.tally);
            }
        }
        if op.kind() == OpKind::PassengerNearDrivers {
            if op.outcome == Outcome::Ok && self.calm.for_at_least(self.delay, op.sent) {
                for near in &op.answer.drivers {
                    self.listed(op, near);
                }
            }
        } else if let Some(at) = op.ask.at.filter(|_| op.outcome != Outcome::Fail) {
            let sure = op.outcome == Outcome::Ok;
            let ping = Ping { op: op.id, sent: op.sent, done: op.done, at, sure };
            let pings = self.pings.at(op.robot);
            let horizon = op.done.saturating_sub(self.tally.horizon());
            let old = |ping: &Ping| ping.done + 2 * self.delay < op.sent;
            while pings.len() == PINGS_MAX
                || pings.front().is_some_and(|first| first.done < horizon)
                || pings.len() >= PINGS_MIN && pings.front().is_some_and(old)
            {
                pings.pop_front();
            }
            pings.push_back(ping);
            self.suspicions.retain(|one| {
                let same = one.driver == op.robot && at.metres_to(one.at) < OTHER_M;
                !same || one.list.done < op.sent
            });
        }
    }

    fn listed(&mut self, op: &Op, near: &NearDriver) {
        let Some(driver) = self.accounts.driver(&near.driver) else { return };
        let Some(pings) = self.pings.get(driver) else { return };
        self.tally.observed += 1;
        let truth = op.sent.saturating_sub(self.delay);
        let sure = pings.iter().filter(|ping| ping.sure && ping.done < truth);
        let Some(newer) = sure.max_by_key(|ping| ping.sent) else { return };
        let possible = |ping: &&Ping| !ping.sure || ping.sent >= newer.sent;
        if pings.iter().filter(possible).any(|ping| ping.at.metres_to(near.at) < OTHER_M) {
            self.tally.opportunities += 1;
            return;
        }
        let same = |ping: &&Ping| ping.at.metres_to(near.at) < SAME_M;
        if let Some(old) = pings.iter().rev().find(same) {
            let list = Fact::of(op);
            let (old, newer, at) = (*old, *newer, near.at);
            self.suspicions.push(op.done, Suspicion { driver, old, newer, list, at });
        }
    }
}

fn tell(one: &Suspicion, tally: &mut Tally) {
    let Suspicion { driver, old, newer, list, .. } = one;
    tally.opportunities += 1;
    let what = format!(
        "{driver} sent a position at {} (op {}), and another later, acknowledged at {} (op {}); {} \
         was shown it at the old one at {} (op {})",
        old.sent, old.op, newer.done, newer.op, list.robot, list.done, list.op
    );
    let of = |ping: &Ping| {
        list.clone().with(|kept| {
            (kept.op, kept.robot, kept.kind) = (ping.op, *driver, OpKind::DriverPing);
            (kept.sent, kept.done) = (ping.sent, ping.done);
        })
    };
    tally.breach(what, None, &[&of(old), &of(newer), list]);
}

impl Law for OldPing {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for one in self.suspicions.standing(complete && !self.counted) {
            tell(one, &mut tally);
        }
        tally.judge("no driver of ours was listed, in calm weather, where it had been")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::record::FaultChange,
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p},
        },
    };

    const LAW: &str = "old-ping-never-wins";

    fn spot(number: u32) -> Place {
        Place::from_degrees(53.35 + 0.01 * f64::from(number), -6.26)
    }

    /// Driver 1 is at spot 1 at 10 s and at spot 2 from 20 s on; at 100 s a passenger looks around.
    fn looked(shown: u32) -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        tale.ping(d(1), (10.0, 10.1), spot(1), None);
        for beat in 2..10 {
            let at = 10.0 * f64::from(beat);
            tale.ping(d(1), (at, at + 0.1), spot(2), None);
        }
        let near = NearDriver { driver: account(d(1)), at: spot(shown), eta_s: 60 };
        tale.op(p(1), OpKind::PassengerNearDrivers, (100.0, 100.1)).answer.drivers = vec![near];
        tale
    }

    #[test]
    fn the_newest_position_is_shown() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(looked(2).judge(LAW).verdict, Verdict::Pass);
        assert_eq!(looked(3).judge(LAW).verdict, Verdict::Unknown, "wherever that may be");
    }

    #[test]
    fn an_old_one_is_caught() {
        let judgement = looked(1).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 sent a position at 10.000 s (op 3), and another later, acknowledged at \
             70.100 s (op 9); passenger/00001 was shown it at the old one at 100.100 s (op 12)"
        );
    }

    #[test]
    fn one_of_many_positions_is_caught_too() {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        for beat in 0..400 {
            let at = 10.0 + 0.2 * f64::from(beat);
            tale.ping(d(1), (at, at + 0.1), spot(if beat < 250 { 1 } else { 2 }), None);
        }
        let near = NearDriver { driver: account(d(1)), at: spot(1), eta_s: 60 };
        tale.op(p(1), OpKind::PassengerNearDrivers, (90.0, 90.1)).answer.drivers = vec![near];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_position_on_its_way_may_be_the_one() {
        let mut late = looked(1);
        late.ping(d(1), (99.0, 140.0), spot(1), None).info();
        assert_ne!(late.judge(LAW).verdict, Verdict::Broken);
        let mut vague = looked(1);
        vague.ping(d(1), (15.0, 17.0), spot(1), None).info();
        assert_ne!(vague.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn after_a_fault_old_news_is_shown_for_a_while() {
        let mut tale = looked(1);
        tale.fault(FaultChange::Injected, 80.0);
        tale.fault(FaultChange::Healed, 90.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut going_on = looked(1);
        going_on.complete = false;
        assert_ne!(going_on.judge(LAW).verdict, Verdict::Broken);
    }
}
