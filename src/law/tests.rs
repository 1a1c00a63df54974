//! All laws together: a good run is good by every one of them, and hostile histories crash none.

use super::{
    Verdict,
    judge::Judge,
    known::Known,
    registry::LAWS,
    shelf::HORIZON,
    testkit::{AUDITOR, Tale, Tweak, account, d, good_end, good_journey, p, r, view},
};
use crate::{
    base::place::Place,
    history::{
        answer::{JobState, NearDriver, OfferView, Quote, Refusal},
        op::{Attempt, Op, OpKind, Outcome},
        probe::Probe,
        record::Record,
    },
};

fn evening() -> Tale {
    let mut tale = Tale::default();
    tale.robots(&[d(1), d(2), d(3), d(4), d(5), p(1), p(2)]);
    let here = Place::from_degrees(53.35, -6.26);
    let offer = |id: &str, job: &str| OfferView {
        id: id.into(),
        job: job.into(),
        pickup: here,
        dropoff: None,
        expires_in_ms: 5_000,
        fare_minor: None,
    };
    for (at, job) in [(10.0, "J1"), (30.0, "J2")] {
        let offer = offer(&format!("offer of {job}"), job);
        let ping = tale.ping(d(1), (at + 1.0, at + 1.1), here, Some(offer));
        ping.attempts[0].status = Some(200);
        good_journey(&mut tale, at, job);
    }
    // One request was sent again after a time-out.
    let again = tale.request(p(1), (9.0, 12.0), "key of J1", "J1");
    let lost = Attempt { outcome: Outcome::Info, ..again.attempts[0].clone() };
    again.attempts.insert(0, lost);
    // One accept came when the offer was long over.
    tale.ping(d(3), (31.0, 31.1), here, Some(offer("another", "J2")));
    let late = tale.accept(d(3), (39.0, 39.1), "J2", 1).refused(Refusal::NotFound);
    late.ask.offer = Some("another".into());
    tale.op(AUDITOR, OpKind::AuditIssues, (90.0, 90.1));
    others(&mut tale, here, offer("offer of J3", "J3"));
    let (mut jobs, charges): (Vec<_>, Vec<_>) =
        [good_end("J1"), good_end("J2")].into_iter().unzip();
    let mut gone = view("J3", JobState::Cancelled, 1, Some(d(2)));
    gone.passenger = Some(account(p(2)));
    jobs.push(gone);
    let earned = charges.clone();
    tale.read_back(150.0, jobs, charges);
    tale.op(AUDITOR, OpKind::AuditEarnings, (150.5, 150.6)).answer.charges = earned;
    tale.op(AUDITOR, OpKind::AuditRefunds, (150.7, 150.8));
    rogues(&mut tale, here);
    tale
}

/// All that is wrong is refused, and a sentinel meets nobody.
fn rogues(tale: &mut Tale, here: Place) {
    tale.declares.probes = Probe::ALL.to_vec();
    tale.robots(&[r(0), r(1)]);
    let bad = (Probe::TokenForged, Refusal::Unauthenticated, 401);
    tale.probe(r(0), OpKind::PassengerCurrentJob, (40.0, 40.1), bad);
    let other = (Probe::JobOther, Refusal::Forbidden, 403);
    tale.probe(r(0), OpKind::PassengerCancel, (41.0, 41.1), other).ask.job = Some("J2".into());
    let input = (Probe::InputNan, Refusal::Invalid, 400);
    tale.probe(r(1), OpKind::DriverPing, (42.0, 42.1), input);
    let limited = tale.request(r(0), (43.0, 43.1), "too much", "none").refused(Refusal::Limited);
    (limited.attempts[0].status, limited.answer.retry_after_ms) = (Some(429), Some(1_000));
    let after = (Probe::LimitAfter, Refusal::NotFound, 404);
    tale.probe(r(0), OpKind::PassengerCurrentJob, (45.0, 45.1), after);
    let right = |op: &mut Op| {
        (op.outcome, op.attempts[0].outcome) = (Outcome::Ok, Outcome::Ok);
        op.answer.refusal = None;
    };
    for at in [46.0, 47.0, 48.0] {
        let twin = (Probe::Twin, Refusal::Other, 200);
        let op = tale.probe(r(0), OpKind::PassengerQuote, (at, at + 0.1), twin);
        right(op);
        op.answer.quote = Some(Quote { fare_minor: 900, trip_s: 300, eta_s: None });
    }
    for (kind, at) in
        [(OpKind::DriverRegister, 50.0), (OpKind::DriverGoOnline, 51.0), (OpKind::DriverPing, 52.0)]
    {
        let outside = (Probe::Outside, Refusal::Other, 200);
        let op = tale.probe(r(3), kind, (at, at + 0.1), outside);
        right(op);
        op.ask.at = Some(here);
        op.answer.account = Some(account(r(3))).filter(|_| kind == OpKind::DriverRegister);
    }
}

/// One who goes home early, one who waits all evening for an offer, and a passenger who gives up a
/// job that a driver has.
fn others(tale: &mut Tale, here: Place, offer: OfferView) {
    tale.op(d(4), OpKind::DriverGoOnline, (1.0, 1.1));
    tale.op(d(4), OpKind::DriverGoOffline, (5.0, 5.1));
    for driver in [d(2), d(5)] {
        let start = tale.op(driver, OpKind::DriverGoOnline, (1.0, 1.1));
        start.ask.at = Some(here);
    }
    for beat in 0..28 {
        let at = 3.0 + 5.0 * f64::from(beat);
        tale.ping(d(5), (at, at + 0.1), here, None);
    }
    tale.request(p(2), (80.0, 80.1), "key of J3", "J3").ask.at = Some(here);
    tale.ping(d(2), (81.0, 81.1), here, Some(offer));
    tale.accept(d(2), (82.0, 82.1), "J3", 1);
    let gone = view("J3", JobState::Cancelled, 1, Some(d(2)));
    tale.cancel(p(2), (85.0, 85.1), "J3").answer.job = Some(std::rc::Rc::new(gone));
    tale.op(d(2), OpKind::DriverCurrentJob, (86.0, 86.1));
    let gone = view("J3", JobState::Cancelled, 1, Some(d(2)));
    tale.told(p(2), 86.5, gone.clone());
    tale.read(p(2), OpKind::PassengerJobStatus, (87.0, 87.1), gone);
    let list = tale.op(p(2), OpKind::PassengerNearDrivers, (120.0, 120.1));
    list.ask.at = Some(here);
    let far = here.offset(2_000.0, 0.0);
    list.answer.drivers = vec![
        NearDriver { driver: account(d(5)), at: here, eta_s: 1 },
        NearDriver { driver: account(d(2)), at: far, eta_s: 200 },
    ];
}

#[test]
fn a_good_evening_passes_every_law() {
    let tale = evening();
    for law in LAWS {
        let judgement = tale.judge(law.name);
        // This one wants thousands of updates, and has an evening of its own.
        let few = law.name == "recovers-in-time";
        let right = if few { Verdict::Unknown } else { Verdict::Pass };
        assert_eq!(judgement.verdict, right, "{}: {judgement:#?}", law.name);
    }
}

#[test]
fn any_op_of_a_good_evening_may_turn_out_to_be_unknown() {
    let (records, declares) = (evening().records(), evening().declares);
    for (at, record) in records.iter().enumerate() {
        let Record::Op(op) = record else { continue };
        let mut judge = Judge::new(&declares, &[], &Known::default(), HORIZON);
        for (other, record) in records.iter().enumerate() {
            if other == at {
                let mut unknown = (**op).clone();
                unknown.info();
                judge.see(&Record::Op(std::rc::Rc::new(unknown)));
            } else {
                judge.see(record);
            }
        }
        for (law, judgement) in judge.verdicts(true) {
            let lost = &judgement.violations;
            assert_ne!(
                judgement.verdict,
                Verdict::Broken,
                "{} without {op:?}: {lost:#?}",
                law.name
            );
        }
    }
}

#[test]
fn a_good_evening_cut_anywhere_breaks_nothing() {
    let (records, declares) = (evening().records(), evening().declares);
    let mut judge = Judge::new(&declares, &[], &Known::default(), HORIZON);
    for record in &records {
        judge.see(record);
        for (law, judgement) in judge.verdicts(false) {
            assert_ne!(judgement.verdict, Verdict::Broken, "{}", law.name);
        }
    }
}
