//! eta-and-fare-sane: no car flies, no journey takes a week, and nobody is paid for travelling. The
//! envelope is that of the physical world: whatever the tariff, whatever the traffic.

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, tally::Tally};
use crate::{
    base::place::Place,
    history::{
        answer::JobState,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "eta-and-fare-sane",
    means: "an answer has a time on the road (in city seconds) below the crow's at 250 km/h or above a \
            walker's and an hour, a fare below zero, a listed or offered place far from where it must \
            be, or no place on the Earth",
    needs: &[&[
        OpKind::PassengerQuote,
        OpKind::PassengerNearDrivers,
        OpKind::PassengerJobStatus,
        OpKind::AuditJobs,
    ]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerQuote,
        OpKind::PassengerNearDrivers,
        OpKind::PassengerRequestJob,
        OpKind::PassengerJobStatus,
        OpKind::PassengerPay,
        OpKind::DriverNextOffer,
        OpKind::DriverPing,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "figures that are wrong but possible: tariffs are not declared",
    rare: true,
    start: |_, tally| Box::new(EtaAndFare { tally }),
};

/// Metres a second that no car reaches in a city: 252 km/h.
const FASTEST: f64 = 70.0;
/// Metres a second of a walker.
const SLOWEST: f64 = 1.0;
/// Whatever the way, this much may be added to it (city seconds).
const DELAY_S: f64 = 3_600.0;
/// A job begins where it was asked for, or at the next corner.
const CORNER_M: f64 = 2_000.0;

struct EtaAndFare {
    tally: Tally,
}

impl EtaAndFare {
    fn op(&mut self, op: &Op) {
        if op.outcome != Outcome::Ok {
            return;
        }
        if let Some(quote) = op.answer.quote {
            let way = op.ask.at.zip(op.ask.to);
            self.check(op, way.and_then(|(from, to)| on_the_road(from, to, quote.trip_s)));
            self.check(op, not_paid("a quote", quote.fare_minor));
        }
        for near in &op.answer.drivers {
            let way = op.ask.at.and_then(|at| on_the_road(near.at, at, near.eta_s));
            self.check(op, off_the_earth(near.at).or(way));
        }
        if let Some(offer) = op.answer.offer.as_deref() {
            self.check(op, off_the_earth(offer.pickup));
            self.check(op, offer.fare_minor.and_then(|fare| not_paid("an offer", fare)));
        }
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            let over = view.state == JobState::Completed;
            let fare = view.fare_minor.filter(|_| over);
            if let Some(fare) = fare {
                self.check(op, not_paid("a fare", fare));
            }
            let asked = op.ask.at.filter(|_| op.kind() == OpKind::PassengerRequestJob);
            if let Some((asked, told)) = asked.zip(view.pickup) {
                let far = asked.metres_to(told);
                let wrong = (far > CORNER_M)
                    .then(|| format!("its pickup is {far:.0} m from where it was asked for"));
                self.check(op, wrong);
            }
        }
        for charge in &op.answer.charges {
            self.check(op, not_paid("a charge", charge.amount_minor));
        }
    }

    fn check(&mut self, op: &Op, wrong: Option<String>) {
        self.tally.observed += 1;
        self.tally.opportunities += 1;
        if let Some(wrong) = wrong {
            let fact = Fact::of(op);
            self.tally.breach(format!("{}: {wrong}", fact.tell()), fact.job.as_ref(), &[&fact]);
        }
    }
}

/// Why nobody drives that way in so many seconds, if nobody does.
fn on_the_road(from: Place, to: Place, seconds: u32) -> Option<String> {
    let (metres, seconds) = (from.metres_to(to), f64::from(seconds));
    let wrong = seconds + 1.0 < metres / FASTEST || seconds > metres * 2.0 / SLOWEST + DELAY_S;
    wrong.then(|| format!("{metres:.0} m as the crow flies are said to take {seconds} s"))
}

fn not_paid(what: &str, minor: i64) -> Option<String> {
    (minor < 0).then(|| format!("{what} of {minor}"))
}

fn off_the_earth(place: Place) -> Option<String> {
    let known = place.lat().abs() <= 90.0 && place.lon().abs() <= 180.0;
    (!known).then(|| format!("{}, {} is no place on the Earth", place.lat(), place.lon()))
}

impl Law for EtaAndFare {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no answer had a time, a sum or a place in it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::{NearDriver, Quote},
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p, view},
        },
    };

    const LAW: &str = "eta-and-fare-sane";

    fn here() -> Place {
        Place::from_degrees(53.35, -6.26)
    }

    /// Ten kilometres are said to cost and take that.
    fn quoted(fare_minor: i64, trip_s: u32) -> Tale {
        let mut tale = Tale::default();
        let op = tale.op(p(1), OpKind::PassengerQuote, (10.0, 10.1));
        (op.ask.at, op.ask.to) = (Some(here()), Some(here().offset(10_000.0, 0.0)));
        op.answer.quote = Some(Quote { fare_minor, trip_s, eta_s: None });
        tale
    }

    #[test]
    fn what_is_possible_is_sane() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        for trip_s in [200, 1_200, 20_000] {
            assert_eq!(quoted(1_800, trip_s).judge(LAW).verdict, Verdict::Pass);
        }
    }

    #[test]
    fn a_flight_and_a_gift_are_caught() {
        let judgement = quoted(1_800, 100).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("10000 m as the crow flies are said to take 100 s"), "{what}");
        assert_eq!(quoted(1_800, 50_000).judge(LAW).verdict, Verdict::Broken);
        assert_eq!(quoted(-1, 1_200).judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn swapped_coordinates_are_caught() {
        let mut tale = Tale::default();
        let mut made = view("J1", JobState::Requested, 0, None);
        made.pickup = Some(Place::from_degrees(-6.26, 53.35));
        let op = tale.request(p(1), (10.0, 10.1), "K1", "J1");
        op.ask.at = Some(here());
        op.answer.job = Some(std::rc::Rc::new(made));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut list = Tale::default();
        let near = NearDriver { driver: account(d(1)), at: here(), eta_s: 0 };
        let op = list.op(p(1), OpKind::PassengerNearDrivers, (10.0, 10.1));
        op.ask.at = Some(here().offset(500.0, 0.0));
        op.answer.drivers = vec![near];
        assert_eq!(list.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_was_not_answered_says_nothing() {
        let mut tale = Tale::default();
        tale.op(p(1), OpKind::PassengerQuote, (10.0, 10.1)).info();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
