//! All laws together: a good run is good by every one of them, and hostile histories crash none.

use super::{
    Verdict,
    judge::Judge,
    known::Known,
    registry::LAWS,
    testkit::{AUDITOR, Tale, Tweak, d, good_end, good_journey, p},
};
use crate::{
    base::place::Place,
    history::{
        answer::{OfferView, Refusal},
        declares::Declares,
        op::{Attempt, OpKind},
        record::Record,
    },
};

fn evening() -> Tale {
    let mut tale = Tale::default();
    tale.robots(&[d(1), d(2), d(3), p(1)]);
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
    let lost = Attempt { outcome: crate::history::op::Outcome::Info, ..again.attempts[0].clone() };
    again.attempts.insert(0, lost);
    // One accept came when the offer was long over.
    tale.ping(d(3), (31.0, 31.1), here, Some(offer("another", "J2")));
    let late = tale.accept(d(3), (39.0, 39.1), "J2", 1).refused(Refusal::NotFound);
    late.ask.offer = Some("another".into());
    tale.op(AUDITOR, OpKind::AuditIssues, (90.0, 90.1));
    let (jobs, charges) = [good_end("J1"), good_end("J2")].into_iter().unzip();
    tale.read_back(100.0, jobs, charges);
    tale
}

#[test]
fn a_good_evening_passes_every_law() {
    let tale = evening();
    for law in LAWS {
        let judgement = tale.judge(law.name);
        assert_eq!(judgement.verdict, Verdict::Pass, "{}: {judgement:#?}", law.name);
    }
}

#[test]
fn any_op_of_a_good_evening_may_turn_out_to_be_unknown() {
    let records = evening().records();
    for (at, record) in records.iter().enumerate() {
        let Record::Op(op) = record else { continue };
        let mut judge = Judge::new(&Declares::default(), &[], &Known::default());
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
    let records = evening().records();
    let mut judge = Judge::new(&Declares::default(), &[], &Known::default());
    for record in &records {
        judge.see(record);
        for (law, judgement) in judge.verdicts(false) {
            assert_ne!(judgement.verdict, Verdict::Broken, "{}", law.name);
        }
    }
}
