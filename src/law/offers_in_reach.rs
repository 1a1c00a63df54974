//! offers-in-reach: nobody is offered a job at the other end of the city. It judges the positions
//! that were acknowledged (or may have arrived), never where a robot "really" was.

use std::{collections::VecDeque, time::Duration};

use super::{
    Judgement, Law, LawEntry, Seen, fact::Fact, shelf::OP_LIFE, suspicion::Suspicions, tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotKind},
        place::Place,
        time::Time,
    },
    history::{
        answer::OfferView,
        declares::{Declares, Offers},
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "offers-in-reach",
    means: "no position that the driver possibly had when the offer was made explains it (reach, \
            drift by the position's age, 1 % of slack)",
    needs: &[&[OpKind::DriverPing]],
    cannot,
    watches: &[OpKind::DriverPing, OpKind::DriverNextOffer, OpKind::DriverGoOnline],
    blind_spot: "an offer that a position explains which was replaced less than an offer's and a \
                 position's life ago, or whose outcome is unknown since less than the horizon; \
                 availability is another law's matter",
    rare: false,
    start: |declares, tally| Box::new(OffersInReach::new(declares, tally)),
};

/// It judges offers that came as answers: only those were certainly made before they were read.
fn cannot(declares: &Declares) -> Option<&'static str> {
    match declares.offers {
        Offers::Ping | Offers::Poll { .. } => None,
        Offers::Push => Some("offers are pushed: a push is a hint, never a read"),
        Offers::Relay => Some("offers are synthetic: no offer of the backend's own is seen"),
    }
}

/// The model of distance, and clocks that are read a little apart.
const SLACK: f64 = 1.01;
const SLACK_TIME: Duration = Duration::from_secs(2);
/// Positions of one driver that are kept; a driver who sends more in an offer's life is not judged
/// for the length of one.
const POSITIONS_MAX: usize = 512;
/// Positions of unknown outcome of one driver that are kept: each may arrive at any moment until the
/// laws' horizon has passed. One who has more of them is not judged until the others are that old.
const VAGUE_MAX: usize = 32;
/// Offers of one driver that are remembered as seen.
const OFFERS_MAX: usize = 8;

#[derive(Clone, Copy)]
struct Position {
    place: Place,
    sent: Time,
    done: Time,
}

#[derive(Default)]
struct Driver {
    positions: VecDeque<Position>,
    vague: VecDeque<Position>,
    /// Until then a position counts that was dropped, since there were more than are kept: it is not
    /// known what explains an offer.
    blind_until: Time,
    seen: VecDeque<Id>,
}

struct Suspicion {
    driver: usize,
    fact: Fact,
    offer: OfferView,
    /// The nearest position that it possibly had, in metres.
    nearest_m: f64,
}

struct OffersInReach {
    reach_m: f64,
    drift_m_per_s: f64,
    /// A position may be this old, seen from the moment at which the offer was read.
    horizon: Duration,
    drivers: Vec<Driver>,
    suspicions: Suspicions<Suspicion>,
    seen_until: Time,
    tally: Tally,
}

impl OffersInReach {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            reach_m: declares.reach_m,
            drift_m_per_s: declares.drift_m_per_s,
            horizon: declares.ping_ttl.0
                + declares.offer_ttl.0
                + declares.read_delay.0
                + SLACK_TIME,
            drivers: Vec::new(),
            suspicions: Suspicions::default(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        if op.robot.kind != RobotKind::Driver {
            return;
        }
        self.seen_until = self.seen_until.max(op.done);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            tell(&one, self.reach_m, &mut self.tally);
        }
        let number = op.robot.number as usize;
        if self.drivers.len() <= number {
            self.drivers.resize_with(number + 1, Driver::default);
        }
        if let Some(place) = op.ask.at.filter(|_| op.outcome != Outcome::Fail) {
            let position = Position { place, sent: op.sent, done: op.done };
            let driver = &mut self.drivers[number];
            if op.outcome == Outcome::Ok {
                driver.add(position, self.horizon);
            } else {
                driver.add_vague(position, self.tally.horizon());
            }
            if !self.suspicions.is_empty() {
                self.reconsider(number, position);
            }
        }
        if let Some(offer) = op.answer.offer.as_deref().filter(|_| op.outcome == Outcome::Ok) {
            self.offer(number, op, offer);
        }
    }

    fn offer(&mut self, number: usize, op: &Op, offer: &OfferView) {
        let driver = &mut self.drivers[number];
        if !driver.first_sight(&offer.id) {
            return;
        }
        self.tally.observed += 1;
        if op.sent < driver.blind_until || driver.positions.is_empty() {
            return;
        }
        self.tally.opportunities += 1;
        let driver = &self.drivers[number];
        let mut nearest_m = f64::INFINITY;
        for position in driver.candidates(op.sent.saturating_sub(self.horizon)) {
            let metres = position.place.metres_to(offer.pickup);
            if self.explains(position, metres, op.done) {
                return;
            }
            nearest_m = nearest_m.min(metres);
        }
        let (fact, offer) = (Fact::of(op), offer.clone());
        self.suspicions.push(op.done, Suspicion { driver: number, fact, offer, nearest_m });
    }

    fn explains(&self, position: &Position, metres: f64, offered: Time) -> bool {
        let age_s = offered.since(position.sent).as_secs_f64();
        position.sent <= offered
            && metres <= self.reach_m * SLACK + self.drift_m_per_s * age_s + 1.0
    }

    /// A position that was under way when an offer was read may explain it after all.
    fn reconsider(&mut self, number: usize, position: Position) {
        let mut suspicions = std::mem::take(&mut self.suspicions);
        suspicions.retain(|one| {
            let metres = position.place.metres_to(one.offer.pickup);
            one.driver != number || !self.explains(&position, metres, one.fact.done)
        });
        self.suspicions = suspicions;
    }
}

impl Driver {
    /// A position that may arrive for so `long` after it was sent, or never.
    fn add_vague(&mut self, position: Position, long: Duration) {
        while self.vague.front().is_some_and(|first| first.sent + long < position.sent) {
            self.vague.pop_front();
        }
        if self.vague.len() == VAGUE_MAX
            && let Some(first) = self.vague.pop_front()
        {
            self.blind_until = self.blind_until.max(first.sent + long);
        }
        self.vague.push_back(position);
    }

    /// A position that was acknowledged; an offer may refer to one that is as old as the horizon.
    fn add(&mut self, position: Position, horizon: Duration) {
        // Whatever an acknowledged position replaced longer than the horizon ago is of no use to
        // any offer that is still to be read.
        let old = position.sent.saturating_sub(horizon + OP_LIFE);
        while let (Some(first), Some(next)) = (self.positions.front(), self.positions.get(1))
            && next.done < old
            && first.done < next.sent
        {
            self.positions.pop_front();
        }
        if self.positions.len() == POSITIONS_MAX {
            self.positions.pop_front();
            self.blind_until = self.blind_until.max(position.sent + horizon + OP_LIFE);
        }
        self.positions.push_back(position);
    }

    /// Every position that was not certainly replaced before `moment`.
    fn candidates(&self, moment: Time) -> impl Iterator<Item = &Position> {
        let replaced = self
            .positions
            .iter()
            .filter(|position| position.done < moment)
            .map(|position| position.sent)
            .max()
            .unwrap_or(Time::ZERO);
        // One that was sent before its replacement was, and over by then, is gone.
        let known = self.positions.iter().filter(move |position| position.done >= replaced);
        known.chain(&self.vague)
    }

    fn first_sight(&mut self, offer: &Id) -> bool {
        if self.seen.contains(offer) {
            return false;
        }
        if self.seen.len() == OFFERS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(offer.clone());
        true
    }
}

fn tell(one: &Suspicion, reach_m: f64, tally: &mut Tally) {
    let (op, metres) = (&one.fact, one.nearest_m);
    let (driver, at, id) = (op.robot, op.done, op.op);
    let what = format!(
        "{driver} was offered job {} at {at} (op {id}); the nearest position that it can have had \
         was {metres:.0} m from the pickup, beyond the reach of {reach_m:.0} m",
        one.offer.job
    );
    tally.breach(what, Some(&one.offer.job), &[op]);
}

impl Law for OffersInReach {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for one in self.suspicions.standing(complete) {
            tell(one, self.reach_m, &mut tally);
        }
        tally.judge("no driver with an acknowledged position was offered a job")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        known::Sieve,
        testkit::{Tale, Tweak, d},
    };

    const LAW: &str = "offers-in-reach";

    fn centre() -> Place {
        Place::from_degrees(53.35, -6.26)
    }

    /// So many metres east of the centre.
    fn east(metres: f64) -> Place {
        centre().offset(metres, 0.0)
    }

    fn offer(id: &str, pickup: Place) -> OfferView {
        OfferView {
            id: id.into(),
            job: "J1".into(),
            pickup,
            dropoff: None,
            expires_in_ms: 10_000,
            fare_minor: None,
        }
    }

    #[test]
    fn an_offer_nearby_is_right() {
        let mut tale = Tale::default();
        tale.ping(d(1), (10.0, 10.1), centre(), None);
        tale.ping(d(1), (17.5, 17.6), centre(), Some(offer("O1", east(4_900.0))));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn an_offer_far_away_is_caught_once() {
        let mut tale = Tale::default();
        tale.ping(d(1), (10.0, 10.1), centre(), None);
        tale.ping(d(1), (17.5, 17.6), centre(), Some(offer("O1", east(9_000.0))));
        tale.ping(d(1), (25.0, 25.1), centre(), Some(offer("O1", east(9_000.0))));
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 was offered job J1 at 17.600 s (op 2); the nearest position that it can \
             have had was 9000 m from the pickup, beyond the reach of 5000 m"
        );
        tale.declares.drift_m_per_s = 600.0;
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass, "its position may have drifted");
    }

    #[test]
    fn a_position_that_may_have_arrived_or_is_not_long_gone_explains_an_offer() {
        let far = east(9_000.0);
        let mut unknown = Tale::default();
        unknown.ping(d(1), (10.0, 10.1), centre(), None);
        unknown.ping(d(1), (17.5, 19.5), far, None).info();
        unknown.ping(d(1), (20.0, 20.1), centre(), Some(offer("O1", far)));
        assert_eq!(unknown.judge(LAW).verdict, Verdict::Pass);
        // Under way while the offer was read, and answered after it.
        let mut late = Tale::default();
        late.ping(d(1), (10.0, 10.1), centre(), None);
        late.op(d(1), OpKind::DriverNextOffer, (20.0, 20.1)).answer.offer =
            Some(std::rc::Rc::new(offer("O1", far)));
        assert_eq!(late.judge(LAW).verdict, Verdict::Broken);
        late.ping(d(1), (19.9, 21.0), far, None);
        assert_eq!(late.judge(LAW).verdict, Verdict::Pass);
        unknown.ping(d(1), (90.0, 90.1), centre(), None);
        unknown.ping(d(1), (190.0, 190.1), centre(), Some(offer("O2", far)));
        assert_eq!(unknown.judge(LAW).verdict, Verdict::Pass, "it may arrive only now");
        // It left the place 30 s ago: its old position may have lived that long.
        let mut left = Tale::default();
        left.op(d(1), OpKind::DriverGoOnline, (10.0, 10.1)).ask.at = Some(far);
        for at in [20.0, 30.0, 40.0] {
            left.ping(d(1), (at, at + 0.1), centre(), None);
        }
        left.ping(d(1), (50.0, 50.1), centre(), Some(offer("O1", far)));
        assert_eq!(left.judge(LAW).verdict, Verdict::Pass);
        left.ping(d(1), (90.0, 90.1), centre(), Some(offer("O2", far)));
        assert_eq!(left.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_driver_whose_position_nobody_acknowledged_is_not_judged() {
        let mut tale = Tale::default();
        tale.ping(d(1), (10.0, 12.0), centre(), None).info();
        tale.op(d(1), OpKind::DriverNextOffer, (20.0, 20.1)).answer.offer =
            Some(std::rc::Rc::new(offer("O1", east(9_000.0))));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }

    /// A law that saw that tale, to look into.
    fn after(tale: &Tale) -> OffersInReach {
        let sieve = Tally::new(Sieve::default(), crate::law::common::Common::default());
        let mut law = OffersInReach::new(&Declares::default(), sieve);
        for record in tale.records() {
            if let crate::history::record::Record::Op(op) = record {
                law.see(Seen::Op(&op));
            }
        }
        law
    }

    #[test]
    fn only_so_many_positions_are_kept() {
        let mut tale = Tale::default();
        for second in 0..2_000 {
            let at = f64::from(second);
            tale.ping(d(0), (at, at + 0.1), centre(), None);
        }
        let law = after(&tale);
        assert!(law.drivers[0].positions.len() < 120);
        assert_eq!(law.drivers[0].blind_until, Time::ZERO);
    }

    #[test]
    fn many_positions_of_unknown_outcome_blind_for_a_while() {
        let mut tale = Tale::default();
        tale.ping(d(1), (9.0, 9.1), centre(), None);
        for second in 0..40 {
            let at = 10.0 + f64::from(second);
            tale.ping(d(1), (at, at + 0.1), centre(), None).outcome = Outcome::Info;
        }
        tale.ping(d(1), (60.0, 60.1), centre(), Some(offer("O1", east(9_000.0))));
        let law = after(&tale);
        assert_eq!((law.drivers[1].vague.len(), law.tally.opportunities), (VAGUE_MAX, 0));

        // Ten minutes later none of them can arrive any more, and it is judged again.
        tale.ping(d(1), (700.0, 700.1), centre(), None).outcome = Outcome::Info;
        tale.ping(d(1), (701.0, 701.1), centre(), Some(offer("O2", east(9_000.0))));
        assert_eq!(after(&tale).drivers[1].vague.len(), 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn offers_that_no_answer_held_are_not_judged() {
        for (offers, why) in [(Offers::Relay, "synthetic"), (Offers::Push, "pushed")] {
            let mut tale = Tale::default();
            tale.declares.offers = offers;
            tale.ping(d(1), (10.0, 10.1), centre(), None);
            tale.ping(d(1), (17.5, 17.6), centre(), Some(offer("O1", east(9_000.0))));
            let judgement = tale.judge(LAW);
            assert_eq!(judgement.verdict, Verdict::NotApplicable);
            assert!(judgement.note.contains(why), "{}", judgement.note);
        }
    }
}
