//! The law on histories by hand.

use super::*;
use crate::{
    base::span::Span,
    history::answer::Refusal,
    law::testkit::{Tale, Tweak, d, good_end, good_journey, p, view},
};
use JobState::{Accepted, Arrived, Cancelled, Requested};

const LAW: &str = "job-register-linearizable";

/// A job that driver 1 took at 12 s.
fn taken() -> Tale {
    let mut tale = Tale::default();
    tale.robots(&[d(1), d(2), p(1)]);
    tale.request(p(1), (10.0, 10.1), "K1", "J1");
    tale.accept(d(1), (12.0, 12.1), "J1", 1);
    tale
}

fn read(tale: &mut Tale, at: f64, state: JobState, number: u32, driver: u32) {
    let seen = view("J1", state, number, (driver > 0).then(|| d(driver)));
    tale.read(p(1), OpKind::PassengerJobStatus, (at, at + 0.1), seen);
}

#[test]
fn a_journey_has_an_order() {
    assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    let mut tale = Tale::default();
    tale.robots(&[d(1), d(2), p(1)]);
    good_journey(&mut tale, 10.0, "J1");
    tale.read_back(100.0, vec![good_end("J1").0], Vec::new());
    let judgement = tale.judge(LAW);
    assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 1));
}

#[test]
fn two_winners_of_one_race_have_none() {
    let mut tale = taken();
    tale.accept(d(2), (12.0, 12.2), "J1", 1);
    read(&mut tale, 13.0, Accepted, 1, 2);
    let judgement = tale.judge(LAW);
    assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
    assert_eq!(
        judgement.violations[0].what,
        "driver/00001 accepted job J1 at 12.100 s (ok, op 5) in assignment 1; driver/00002 \
         accepted job J1 at 12.200 s (ok, op 6) in assignment 1: in no order does this make sense"
    );
}

#[test]
fn a_cancel_that_was_acknowledged_stands() {
    let mut tale = taken();
    tale.cancel(p(1), (13.0, 13.1), "J1").answer.job =
        Some(std::rc::Rc::new(view("J1", Cancelled, 1, Some(d(1)))));
    tale.moves(d(1), OpKind::DriverArrive, (13.05, 14.0), "J1", 1);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "the driver may have been first");
    read(&mut tale, 15.0, Arrived, 1, 1);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
}

#[test]
fn a_write_that_a_later_read_does_not_show_was_lost_on_the_way() {
    let mut tale = taken();
    read(&mut tale, 13.0, Requested, 0, 0);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    tale.declares.releases_alone = true;
    assert_ne!(tale.judge(LAW).verdict, Verdict::Broken, "the backend may have taken it back");
    tale.declares.releases_alone = false;
    tale.declares.read_delay = Span::secs(2);
    assert_ne!(tale.judge(LAW).verdict, Verdict::Broken, "a read may be that old");
}

#[test]
fn an_op_of_unknown_outcome_explains_what_it_can() {
    let mut tale = taken();
    tale.moves(d(1), OpKind::DriverCancel, (12.5, 14.0), "J1", 1).info();
    tale.accept(d(2), (20.0, 20.1), "J1", 2);
    read(&mut tale, 21.0, Accepted, 2, 2);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    tale.moves(d(1), OpKind::DriverArrive, (22.0, 22.1), "J1", 1);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Broken, "it had given the job back");
}

#[test]
fn refusals_and_repetitions_change_nothing() {
    let mut tale = taken();
    tale.accept(d(2), (12.0, 12.3), "J1", 1).refused(Refusal::Conflict);
    tale.accept(d(1), (12.5, 12.6), "J1", 1).ask.again = Some("5".into());
    tale.request(p(1), (30.0, 30.1), "K1", "J1").answer.replayed = true;
    read(&mut tale, 13.0, Accepted, 1, 1);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
}

#[test]
fn a_driver_who_leaves_may_lose_its_job_and_a_stranger_is_not_judged() {
    let mut tale = taken();
    tale.op(d(1), OpKind::DriverGoOffline, (14.0, 14.1));
    tale.accept(d(2), (20.0, 20.1), "J1", 2);
    read(&mut tale, 21.0, Accepted, 2, 2);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    let mut tale = taken();
    read(&mut tale, 13.0, Accepted, 4, 9);
    assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
}

#[test]
fn while_the_run_goes_on_only_what_is_quiet_is_judged() {
    let mut tale = taken();
    tale.accept(d(2), (12.0, 12.2), "J1", 1);
    tale.complete = false;
    assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    tale.op(d(2), OpKind::DriverCurrentJob, (80.0, 80.1));
    assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    tale.op(d(2), OpKind::DriverCurrentJob, (800.0, 800.1));
    assert_eq!(tale.judge(LAW).violations_total, 1, "and it is forgotten, and stays broken");
}
