//! availability-respected: who has gone home, or takes a break, is left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    shelf::Shelf,
    suspicion::Suspicions,
    tally::Tally,
};
use crate::{
    base::{id::RobotId, time::Time},
    history::{
        declares::Declares,
        op::{Op, OpKind, Outcome},
        record::{FaultChange, FaultEvent},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "availability-respected",
    means: "a driver certainly off shift or paused takes an offer, is shown one that was made after it \
            left, or is given a job that was asked for after it left",
    needs: &[&[OpKind::DriverGoOffline, OpKind::DriverPause]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverGoOnline,
        OpKind::DriverGoOffline,
        OpKind::DriverPause,
        OpKind::DriverResume,
        OpKind::DriverPing,
        OpKind::DriverNextOffer,
        OpKind::DriverAccept,
        OpKind::PassengerRequestJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "offers that are never shown, as those to a driver who has gone home mostly are; \
                 offers in a run in which clocks were set wrong",
    rare: true,
    start: |declares, tally| Box::new(AvailabilityRespected::new(declares, tally)),
};

/// Clocks of the backend's parts, and rounding of what is left of an offer.
const SLACK: Duration = Duration::from_secs(1);
/// The fault after which nobody's word about time counts.
const SKEW: &str = "skew";

/// A driver was treated as if it were there. It may have come back in between, by an op that is not
/// over yet.
struct Suspicion {
    driver: RobotId,
    left: Fact,
    fact: Fact,
    what: String,
    by_offer: bool,
}

struct AvailabilityRespected {
    offer_ttl: Duration,
    read_delay: Duration,
    accounts: Accounts,
    /// Who is certainly away, and the op that says so.
    away: BTreeMap<RobotId, Fact>,
    /// When a job was asked for, and which drivers it was seen with.
    jobs: Shelf<(Option<Fact>, BTreeSet<RobotId>)>,
    suspicions: Suspicions<Suspicion>,
    skewed: bool,
    seen_until: Time,
    tally: Tally,
}

impl AvailabilityRespected {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            offer_ttl: declares.offer_ttl.0,
            read_delay: declares.read_delay.0,
            accounts: tally.accounts(),
            away: BTreeMap::new(),
            jobs: tally.shelf(),
            suspicions: Suspicions::default(),
            skewed: false,
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.jobs.forget(self.seen_until);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            tell(&one, self.skewed, &mut self.tally);
        }
        match op.kind() {
            OpKind::DriverGoOnline | OpKind::DriverResume if op.outcome != Outcome::Fail => {
                self.away.remove(&op.robot);
                self.suspicions.retain(|one| one.driver != op.robot || one.fact.done < op.sent);
            }
            OpKind::DriverGoOffline | OpKind::DriverPause if op.outcome == Outcome::Ok => {
                self.away.entry(op.robot).or_insert_with(|| Fact::of(op));
            }
            OpKind::DriverPing | OpKind::DriverNextOffer => self.offered(op),
            OpKind::DriverAccept => self.accepted(op),
            OpKind::PassengerRequestJob => {
                if let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) {
                    let kept = self.jobs.at(job, self.seen_until);
                    kept.0.get_or_insert_with(|| Fact::of(op));
                }
            }
            _ => self.assigned(op),
        }
    }

    /// The op by which that driver is away for certain from some time before `moment` on.
    fn left(&self, driver: RobotId, moment: Time) -> Option<&Fact> {
        self.away.get(&driver).filter(|left| left.done + self.read_delay < moment)
    }

    fn offered(&mut self, op: &Op) {
        let Some(offer) = op.answer.offer.as_deref().filter(|_| op.outcome == Outcome::Ok) else {
            return;
        };
        // It was made no earlier than its whole life before its end.
        let end = op.sent + Duration::from_millis(offer.expires_in_ms);
        let made = end.saturating_sub(self.offer_ttl + SLACK);
        if let Some(left) = self.left(op.robot, made) {
            let fact = Fact::of(op).of_job(&offer.job);
            let what = format!("{}: an offer that was made after {made}", fact.tell());
            let (driver, left) = (op.robot, left.clone());
            self.suspicions.push(op.done, Suspicion { driver, left, fact, what, by_offer: true });
        }
    }

    fn accepted(&mut self, op: &Op) {
        let Some(left) = self.left(op.robot, op.sent) else { return };
        let held = op.answer.job.as_deref().is_none_or(|view| view.state.is_held());
        if op.outcome == Outcome::Fail {
            self.tally.opportunities += 1;
        } else if op.outcome == Outcome::Ok && held && !op.answer.replayed {
            let (driver, left, fact) = (op.robot, left.clone(), Fact::of(op));
            let what = fact.tell();
            self.suspicions.push(op.done, Suspicion { driver, left, fact, what, by_offer: false });
        }
    }

    /// Somebody reads who has a job.
    fn assigned(&mut self, op: &Op) {
        if op.outcome != Outcome::Ok {
            return;
        }
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            let named = view.driver.as_ref().filter(|_| view.state.is_held());
            let Some(driver) = named.and_then(|named| self.accounts.driver(named)) else {
                continue;
            };
            let Some((request, drivers)) = self.jobs.get(&view.id, self.seen_until) else {
                continue;
            };
            let Some(request) = request.clone().filter(|_| drivers.insert(driver)) else {
                continue;
            };
            self.tally.observed += 1;
            // Somebody was away who might have been given it.
            self.tally.opportunities += u64::from(!self.away.is_empty());
            if let Some(left) = self.left(driver, request.sent) {
                let fact = Fact::about(op, view);
                let what = format!("{}; {} in its hands", request.tell(), fact.tell());
                let left = left.clone();
                self.suspicions
                    .push(op.done, Suspicion { driver, left, fact, what, by_offer: false });
            }
        }
    }

    fn fault(&mut self, event: &FaultEvent) {
        let bites = matches!(event.change, FaultChange::Injected | FaultChange::Bit);
        self.skewed |= event.kind == SKEW && bites;
    }
}

fn tell(one: &Suspicion, skewed: bool, tally: &mut Tally) {
    if one.by_offer && skewed {
        return;
    }
    tally.opportunities += 1;
    let what = format!("{}; {}", one.left.tell(), one.what);
    tally.breach(what, one.fact.job.as_ref(), &[&one.left, &one.fact]);
}

impl Law for AvailabilityRespected {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.fault(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for one in self.suspicions.standing(complete) {
            tell(one, self.skewed, &mut tally);
        }
        tally.judge("nobody was away while jobs were given out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::{JobState, OfferView, Refusal},
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, p, view},
        },
    };

    const LAW: &str = "availability-respected";

    /// Driver 1 goes home at 10.1 s.
    fn home() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale.op(d(1), OpKind::DriverGoOnline, (1.0, 1.1));
        tale.op(d(1), OpKind::DriverGoOffline, (10.0, 10.1));
        tale
    }

    fn offered(tale: &mut Tale, at: f64, left_ms: u64) {
        let offer = OfferView {
            id: "O1".into(),
            job: "J1".into(),
            pickup: Place::default(),
            dropoff: None,
            expires_in_ms: left_ms,
            fare_minor: None,
        };
        tale.ping(d(1), (at, at + 0.1), Place::default(), Some(offer));
    }

    /// A job that is asked for at `at` is read in the hands of a driver.
    fn given(tale: &mut Tale, at: f64, driver: u32) {
        tale.request(p(1), (at, at + 0.1), "K1", "J1");
        let seen = view("J1", JobState::Accepted, 1, Some(d(driver)));
        tale.read(p(1), OpKind::PassengerJobStatus, (at + 5.0, at + 5.1), seen);
    }

    #[test]
    fn whoever_is_there_gets_the_jobs() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = home();
        given(&mut tale, 20.0, 2);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        let mut late = home();
        late.accept(d(1), (12.0, 12.1), "J1", 1).refused(Refusal::Conflict);
        assert_eq!(late.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn an_offer_an_accept_or_a_job_after_the_end_of_a_shift_is_caught() {
        let mut tale = home();
        offered(&mut tale, 20.0, 14_000);
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 went off shift at 10.100 s (ok, op 5); driver/00001 sent a position job \
             J1 at 20.100 s (ok, op 6): an offer that was made after 18.000 s"
        );
        let mut tale = home();
        tale.accept(d(1), (20.0, 20.1), "J1", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut tale = home();
        given(&mut tale, 20.0, 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn an_old_offer_or_a_job_from_before_is_none_of_that() {
        let mut tale = home();
        offered(&mut tale, 20.0, 4_000);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "made at 9 s, perhaps");
        let mut tale = home();
        given(&mut tale, 8.0, 1);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn whoever_may_have_come_back_is_not_away() {
        let mut tale = home();
        offered(&mut tale, 20.0, 14_000);
        tale.op(d(1), OpKind::DriverGoOnline, (12.0, 30.0)).info();
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut unsure = Tale::default();
        unsure.op(d(1), OpKind::DriverGoOffline, (10.0, 10.1)).info();
        offered(&mut unsure, 20.0, 14_000);
        assert_ne!(unsure.judge(LAW).verdict, Verdict::Broken);
        let mut going_on = home();
        offered(&mut going_on, 20.0, 14_000);
        going_on.complete = false;
        assert_ne!(going_on.judge(LAW).verdict, Verdict::Broken);
    }
}
