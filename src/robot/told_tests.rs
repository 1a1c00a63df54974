//! Drivers and passengers on targets with gaps, and what they make of what they are told unasked.

use std::{rc::Rc, time::Duration};

use super::{
    Event, Robot, Standing,
    driver::Driver,
    passenger::Passenger,
    puppet::{Puppet, job, job_answer, offer, refusal_answer, steady, trip},
};
use crate::{
    base::{dist::Spread, id::Id, span::Span, time::Time},
    history::{
        answer::{Answer, JobState, JobView, Refusal},
        declares::Offers,
        op::{Ask, OpKind, OpSet, Outcome},
    },
    scenario::Robots,
};
use JobState::{Accepted, Arrived, Cancelled, Completed, PickedUp, Requested};
use OpKind as K;

const ME: &str = "me";

fn without(ops: &[OpKind]) -> OpSet {
    let all = OpSet::all().without(K::SetupApproveDriver);
    ops.iter().fold(all, |all, op| all.without(*op))
}

/// A driver on shift, whose account is known.
fn driver(lacks: &[OpKind], offers: Offers) -> Puppet<Driver> {
    let mut puppet = Puppet::new(Driver::new(7), steady());
    (puppet.around.ops, puppet.around.offers) = (without(lacks), offers);
    puppet.event(Event::Start);
    puppet.ok(K::DriverRegister);
    let known = Answer { account: Some(Id::from(ME)), ..Answer::default() };
    puppet.end(K::DriverLogin, Outcome::Ok, known);
    puppet.ok(K::DriverGoOnline);
    assert_eq!(puppet.standing(), Standing::Free);
    puppet.asked.clear();
    puppet
}

fn of(driver: &str, state: JobState) -> JobView {
    JobView { driver: Some(Id::from(driver)), ..job(state) }
}

fn tell<R: Robot>(puppet: &mut Puppet<R>, view: &JobView) {
    puppet.event(Event::Told(&job_answer(Some(view))));
}

/// Drives the job of the puppet to its end with the ops that there are.
fn drive<R: Robot>(puppet: &mut Puppet<R>, view: &JobView, ops: &[OpKind]) {
    for op in ops {
        let ask = puppet.until(*op, Some(view));
        puppet.done(ask, Outcome::Ok, Answer::default());
    }
}

const MOVES: [OpKind; 3] = [K::DriverArrive, K::DriverPickUp, K::DriverDropOff];

#[test]
fn a_driver_whose_target_knows_no_way_in_is_on_shift_at_once() {
    let mut puppet = Puppet::new(Driver::new(1), steady());
    puppet.around.ops = OpSet::default();
    puppet.event(Event::Start);
    assert_eq!((puppet.standing(), puppet.asked.len()), (Standing::Free, 0));
    puppet.event(Event::SignOff);
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));
    let mut puppet = Puppet::new(Passenger::new(1), steady());
    puppet.around.ops = OpSet::default();
    puppet.event(Event::Start);
    puppet.event(Event::Wish(trip()));
    assert_eq!((puppet.standing(), puppet.asked.len()), (Standing::Free, 0));
}

#[test]
fn a_driver_is_approved_between_register_and_login() {
    let mut puppet = Puppet::new(Driver::new(1), steady());
    puppet.around.ops = OpSet::all();
    puppet.event(Event::Start);
    puppet.ok(K::DriverRegister);
    puppet.refused(K::SetupApproveDriver, Refusal::Conflict);
    puppet.ok(K::DriverLogin);
    assert_eq!(puppet.kinds(), [K::DriverGoOnline], "approved already is approved");
}

#[test]
fn a_driver_who_is_thrown_out_goes_back_to_the_last_step_that_there_is() {
    let mut puppet = Puppet::new(Driver::new(1), steady());
    puppet.around.ops = without(&[K::DriverGoOnline]);
    puppet.event(Event::Start);
    puppet.ok(K::DriverRegister);
    puppet.ok(K::DriverLogin);
    puppet.refused(K::DriverPing, Refusal::Conflict);
    assert_eq!(puppet.kinds(), [K::DriverLogin]);
}

#[test]
fn a_free_driver_asks_for_offers_one_question_at_a_time() {
    let every = Span::secs(2);
    let mut puppet = driver(&[K::DriverPing], Offers::Poll { every });
    let (start, mut polls) = (puppet.now, 0);
    while puppet.now - start < Duration::from_secs(100) {
        puppet.ring();
        assert!(puppet.asked.len() <= 1);
        if let Some(ask) = puppet.take(K::DriverNextOffer) {
            polls += 1;
            puppet.done(ask, Outcome::Fail, refusal_answer(Refusal::NotFound));
            assert_eq!(puppet.standing(), Standing::Free, "no offer is no news");
        }
    }
    assert!((40..=60).contains(&polls), "{polls} polls in 100 s");
    for _ in 0..10 {
        puppet.ring();
    }
    assert_eq!(puppet.kinds(), [K::DriverNextOffer], "an answer that takes long");
    let found = Answer { offer: Some(Rc::new(offer("O1", 9_000))), ..Answer::default() };
    puppet.end(K::DriverNextOffer, Outcome::Ok, found);
    puppet.until(K::DriverAccept, None);
}

#[test]
fn a_pushed_offer_is_taken_once_however_often_it_is_told() {
    let mut puppet = driver(&[K::DriverPing], Offers::Push);
    let told = Answer { offer: Some(Rc::new(offer("O1", 9_000))), ..Answer::default() };
    for _ in 0..3 {
        puppet.event(Event::Told(&told));
    }
    let accept = puppet.until(K::DriverAccept, None);
    puppet.event(Event::Told(&told));
    puppet.done(accept, Outcome::Fail, refusal_answer(Refusal::Conflict));
    puppet.event(Event::Told(&told));
    assert_eq!((puppet.standing(), puppet.asked.len()), (Standing::Free, 0));
}

#[test]
fn an_offer_that_came_too_early_is_heard_when_the_driver_is_free() {
    let mut puppet = driver(&[K::DriverPing], Offers::Push);
    let told = |id| Answer { offer: Some(Rc::new(offer(id, 9_000))), ..Answer::default() };
    puppet.event(Event::Told(&told("O1")));
    let accept = puppet.until(K::DriverAccept, None);
    puppet.event(Event::Told(&told("O2")));
    puppet.done(accept, Outcome::Fail, refusal_answer(Refusal::Conflict));
    let accept = puppet.until(K::DriverAccept, None);
    assert_eq!(accept.offer, Some(Id::from("O2")));
    puppet.event(Event::Told(&told("O3")));
    puppet.now += Duration::from_secs(10);
    puppet.done(accept, Outcome::Fail, refusal_answer(Refusal::Conflict));
    assert_eq!(puppet.standing(), Standing::Free);
    assert!(puppet.take(K::DriverAccept).is_none(), "O3 is over by now");
}

#[test]
fn a_job_of_another_a_late_one_and_a_double_one_are_let_be() {
    let mut puppet = driver(&[K::DriverAccept, K::DriverCurrentJob], Offers::Push);
    tell(&mut puppet, &of("another", Accepted));
    assert_eq!(puppet.standing(), Standing::Free);
    tell(&mut puppet, &of(ME, Requested));
    assert_eq!(puppet.standing(), Standing::Free, "nobody holds it yet");
    tell(&mut puppet, &of(ME, Accepted));
    assert_eq!(puppet.standing(), Standing::Busy);
    for old in [Requested, Accepted] {
        tell(&mut puppet, &job(old));
        assert_eq!(puppet.standing(), Standing::Busy, "old news");
    }
    drive(&mut puppet, &job(Accepted), &MOVES);
    for late in [Accepted, PickedUp, Completed] {
        tell(&mut puppet, &of(ME, late));
        assert_eq!(puppet.standing(), Standing::Free, "it is over");
    }
}

#[test]
fn who_cannot_look_believes_in_an_end() {
    let mut puppet = driver(&[K::DriverAccept, K::DriverCurrentJob], Offers::Push);
    tell(&mut puppet, &of(ME, Accepted));
    tell(&mut puppet, &of(ME, Cancelled));
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn who_can_look_does_so() {
    let mut puppet = driver(&[K::DriverAccept], Offers::Push);
    tell(&mut puppet, &job(Accepted));
    assert_eq!(puppet.standing(), Standing::Free, "a hint is no read");
    tell(&mut puppet, &job(Accepted));
    assert_eq!(puppet.kinds(), [K::DriverCurrentJob], "one look for both");
    puppet.end(K::DriverCurrentJob, Outcome::Ok, job_answer(Some(&job(Accepted))));
    puppet.look(Some(&job(Accepted)));
    tell(&mut puppet, &job(Cancelled));
    assert_eq!(puppet.standing(), Standing::Busy);
    puppet.end(K::DriverCurrentJob, Outcome::Ok, Answer::default());
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn a_look_from_before_the_end_of_a_job_does_not_bring_it_back() {
    let mut puppet = driver(&[K::DriverAccept], Offers::Push);
    let (then, ask) = (puppet.now, Ask::new(K::DriverCurrentJob));
    puppet.now += Duration::from_secs(1);
    tell(&mut puppet, &job(Accepted));
    puppet.end(K::DriverCurrentJob, Outcome::Ok, job_answer(Some(&job(Accepted))));
    puppet.look(None);
    assert_eq!(puppet.standing(), Standing::Free, "it was taken away");
    puppet.done_from(ask, then, Outcome::Ok, job_answer(Some(&job(Accepted))));
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn an_accept_of_unknown_fate_is_driven_where_nobody_can_tell() {
    let mut puppet = driver(&[K::DriverCurrentJob], Offers::Push);
    let told = Answer { offer: Some(Rc::new(offer("O1", 9_000))), ..Answer::default() };
    puppet.event(Event::Told(&told));
    let accept = puppet.until(K::DriverAccept, None);
    puppet.done(accept, Outcome::Info, Answer::default());
    let arrive = puppet.until(K::DriverArrive, None);
    // It arrived, and the answer got lost: the second try is refused for the first.
    puppet.done(arrive, Outcome::Info, Answer::default());
    let again = puppet.until(K::DriverArrive, None);
    puppet.done(again, Outcome::Fail, refusal_answer(Refusal::Conflict));
    let pick_up = puppet.until(K::DriverPickUp, None);
    puppet.done(pick_up, Outcome::Fail, refusal_answer(Refusal::Conflict));
    assert_eq!(puppet.standing(), Standing::Free, "certainly refused: it is not its own");
}

#[test]
fn an_op_that_never_works_is_not_tried_for_ever() {
    let mut puppet = driver(&[K::DriverCurrentJob, K::DriverAccept], Offers::Push);
    tell(&mut puppet, &of(ME, Accepted));
    let mut tries = 0;
    while puppet.standing() == Standing::Busy {
        let ask = puppet.until(K::DriverArrive, None);
        puppet.done(ask, Outcome::Info, Answer::default());
        tries += 1;
        assert!(tries <= 8);
    }
    assert_eq!(tries, 8);
}

#[test]
fn a_job_that_ends_by_itself_is_watched_to_its_end_and_not_for_ever() {
    let ops = [K::DriverArrive, K::DriverPickUp];
    for ends in [true, false] {
        let mut puppet = driver(&[K::DriverAccept, K::DriverDropOff], Offers::Push);
        tell(&mut puppet, &job(Accepted));
        puppet.look(Some(&job(Accepted)));
        drive(&mut puppet, &job(Arrived), &ops);
        let start = puppet.now;
        while puppet.standing() == Standing::Busy {
            puppet.ring();
            let ended = ends && puppet.now - start > Duration::from_secs(30);
            puppet.look(Some(&job(if ended { Completed } else { PickedUp })));
        }
        let took = (puppet.now - start).as_secs();
        assert!(if ends { (30..45).contains(&took) } else { (60..110).contains(&took) }, "{took}");
        tell(&mut puppet, &job(PickedUp));
        puppet.look(Some(&job(PickedUp)));
        assert_eq!(puppet.standing(), Standing::Free, "it has done its part of it");
    }
}

/// A passenger whose request was answered.
fn passenger(lacks: &[OpKind]) -> Puppet<Passenger> {
    let mut puppet = Puppet::new(Passenger::new(3), steady());
    puppet.around.ops = without(lacks);
    puppet.event(Event::Start);
    puppet.ok(K::PassengerRegister);
    puppet.ok(K::PassengerLogin);
    puppet.event(Event::Wish(trip()));
    tell(&mut puppet, &job(Accepted));
    assert_eq!(puppet.kinds(), [K::PassengerRequestJob], "nobody knows yet whose job it is");
    puppet.end(K::PassengerRequestJob, Outcome::Ok, job_answer(Some(&job(Requested))));
    puppet
}

const READS: [OpKind; 2] = [K::PassengerJobStatus, K::PassengerCurrentJob];

#[test]
fn a_passenger_who_is_told_looks_at_once_and_once() {
    let mut puppet = passenger(&[]);
    for _ in 0..3 {
        tell(&mut puppet, &job(Accepted));
    }
    assert_eq!(puppet.kinds(), [K::PassengerJobStatus]);
    tell(&mut puppet, &JobView { id: Id::from("J2"), ..job(Completed) });
    assert_eq!(puppet.kinds(), [K::PassengerJobStatus], "the job of another");
}

#[test]
fn a_passenger_who_cannot_read_takes_what_it_is_told_and_never_goes_back() {
    let mut puppet = passenger(&READS);
    for state in [Accepted, PickedUp, Requested, Accepted] {
        tell(&mut puppet, &job(state));
        assert!(puppet.asked.is_empty());
    }
    tell(&mut puppet, &job(Completed));
    tell(&mut puppet, &job(Completed));
    assert_eq!(puppet.kinds(), [K::PassengerPay]);
    tell(&mut puppet, &job(PickedUp));
    puppet.ok(K::PassengerPay);
    if puppet.take(K::PassengerRate).is_some() {
        puppet.done(Ask::new(K::PassengerRate), Outcome::Ok, Answer::default());
    }
    assert_eq!(puppet.standing(), Standing::Free);
}

fn quiet_for(puppet: &mut Puppet<Passenger>) -> Duration {
    let start: Time = puppet.now;
    while puppet.standing() == Standing::Busy {
        puppet.ring();
    }
    puppet.now - start
}

#[test]
fn a_passenger_who_can_only_be_told_does_not_wait_for_ever() {
    // The search of a minute, and half a minute; with a driver an hour of the city, which is 180 s.
    let mut puppet = passenger(&READS);
    assert_eq!(quiet_for(&mut puppet).as_secs(), 90);
    let mut matched = passenger(&READS);
    matched.now += Duration::from_secs(50);
    tell(&mut matched, &job(Accepted));
    assert_eq!(quiet_for(&mut matched).as_secs(), 270, "from the last word");
}

#[test]
fn the_live_job_is_read_where_no_job_can_be_asked_for_by_name() {
    for (before, end) in [(Accepted, K::PassengerPay), (Requested, K::PassengerRequestJob)] {
        let mut puppet = passenger(&[K::PassengerJobStatus]);
        let look = puppet.until(K::PassengerCurrentJob, None);
        assert_eq!(look.job, None);
        puppet.done(look, Outcome::Ok, job_answer(Some(&job(before))));
        for _ in 0..3 {
            let look = puppet.until(K::PassengerCurrentJob, Some(&job(before)));
            puppet.done(look, Outcome::Ok, Answer::default());
            puppet.asked.retain(|ask| ask.op != K::PassengerCurrentJob);
            if !puppet.asked.is_empty() || puppet.standing() == Standing::Free {
                break;
            }
        }
        // One with a driver was driven, as far as anybody can tell; the other one ran out.
        if end == K::PassengerPay {
            puppet.refused(K::PassengerPay, Refusal::Conflict);
        }
        assert_eq!(puppet.standing(), Standing::Free, "{before:?}");
    }
}

/// A passenger who can only be told, and who gives up after five seconds without a driver.
fn impatient() -> Puppet<Passenger> {
    let habits = Robots { cancels_before_match: 1.0, patience_s: Spread::Fixed(5.0), ..steady() };
    let mut puppet = Puppet::new(Passenger::new(3), habits);
    puppet.around.ops = without(&READS);
    puppet.event(Event::Start);
    puppet.ok(K::PassengerRegister);
    puppet.ok(K::PassengerLogin);
    puppet.event(Event::Wish(trip()));
    puppet.end(K::PassengerRequestJob, Outcome::Ok, job_answer(Some(&job(Requested))));
    puppet
}

#[test]
fn old_news_does_not_take_the_driver_away() {
    let mut puppet = impatient();
    for state in [Accepted, Requested] {
        tell(&mut puppet, &job(state));
    }
    puppet.ring();
    assert!(puppet.asked.is_empty(), "it has a driver, whatever came late");
}

#[test]
fn a_cancel_without_a_read_after_it_is_believed() {
    let mut puppet = impatient();
    let cancel = puppet.until(K::PassengerCancel, None);
    puppet.done(cancel, Outcome::Ok, Answer::default());
    assert_eq!(puppet.standing(), Standing::Free);
}
