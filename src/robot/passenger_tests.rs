//! The passenger, step by step, with scripted answers.

use super::*;
use crate::{
    base::dist::Spread,
    history::answer::{Answer, JobState},
    robot::puppet::{Puppet, job, job_answer, refusal_answer, steady, trip},
    scenario::{Mishaps, Robots},
};

use OpKind as K;

fn idle(habits: Robots) -> Puppet<Passenger> {
    let mut puppet = Puppet::new(Passenger::new(3), habits);
    puppet.event(Event::Start);
    puppet.ok(K::PassengerRegister);
    puppet.ok(K::PassengerLogin);
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Free, 1));
    puppet
}

fn wishing(habits: Robots) -> Puppet<Passenger> {
    let mut puppet = idle(habits);
    puppet.event(Event::Wish(trip()));
    puppet
}

fn following(habits: Robots) -> Puppet<Passenger> {
    let mut puppet = wishing(habits);
    puppet.end(K::PassengerRequestJob, Outcome::Ok, seen(JobState::Requested));
    puppet
}

fn seen(state: JobState) -> Answer {
    job_answer(Some(&job(state)))
}

#[test]
fn the_whole_flow_ends_paid() {
    let mut puppet = wishing(Robots { browses: 1.0, ..steady() });
    assert_eq!(puppet.kinds(), [K::PassengerNearDrivers, K::PassengerQuote]);
    puppet.ok(K::PassengerNearDrivers);
    puppet.ok(K::PassengerQuote);
    let request = puppet.until(K::PassengerRequestJob, None);
    assert_eq!((request.at, request.to), (Some(trip().from), Some(trip().to)));
    let key = request.key.clone().unwrap();
    puppet.done(request, Outcome::Ok, seen(JobState::Requested));
    for state in [JobState::Offered, JobState::Accepted, JobState::PickedUp, JobState::Completed] {
        let poll = puppet.until(K::PassengerJobStatus, None);
        assert_eq!(poll.job, Some(Id::from("J1")));
        puppet.done(poll, Outcome::Ok, seen(state));
    }
    let pay = puppet.ok(K::PassengerPay);
    assert_ne!(pay.key.unwrap(), key, "a payment has a key of its own");
    if puppet.take(K::PassengerRate).is_some() {
        puppet.done(Ask::new(K::PassengerRate), Outcome::Fail, Answer::default());
    }
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Free, 2));
}

#[test]
fn every_wish_has_a_key_of_its_own() {
    let mut puppet = idle(steady());
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..50 {
        puppet.event(Event::Wish(trip()));
        let ask = puppet.refused(K::PassengerRequestJob, Refusal::Invalid);
        assert!(keys.insert(ask.key.unwrap()));
        assert_eq!(puppet.standing(), Standing::Free, "a wish that certainly failed is over");
    }
}

#[test]
fn a_request_of_unknown_fate_is_looked_into_and_followed_when_found() {
    let mut puppet = wishing(steady());
    puppet.unknown(K::PassengerRequestJob);
    assert_eq!(puppet.kinds(), [K::PassengerCurrentJob]);
    puppet.end(K::PassengerCurrentJob, Outcome::Ok, seen(JobState::Offered));
    assert!(matches!(puppet.robot.state, State::Following(_)));
}

#[test]
fn a_request_of_unknown_fate_without_a_job_is_sent_again_with_the_same_key() {
    let mut puppet = wishing(steady());
    let first = puppet.unknown(K::PassengerRequestJob);
    for _ in 1..REQUESTS_MAX {
        puppet.end(K::PassengerCurrentJob, Outcome::Ok, Answer::default());
        let again = puppet.until(K::PassengerRequestJob, None);
        assert_eq!((&again.key, again.again.is_some()), (&first.key, true));
        puppet.done(again, Outcome::Info, Answer::default());
    }
    puppet.refused(K::PassengerCurrentJob, Refusal::NotFound);
    assert_eq!(puppet.standing(), Standing::Free, "not for ever");
}

#[test]
fn looks_that_tell_nothing_are_repeated_and_not_for_ever() {
    let mut puppet = wishing(steady());
    puppet.unknown(K::PassengerRequestJob);
    let mut looks = 0;
    while puppet.standing() == Standing::Busy {
        let Some(look) = puppet.take(K::PassengerCurrentJob) else {
            puppet.ring();
            continue;
        };
        puppet.done(look, Outcome::Info, Answer::default());
        looks += 1;
    }
    assert_eq!(looks, LOOKS_MAX);
}

#[test]
fn a_conflict_means_that_there_is_a_job_to_follow() {
    let mut puppet = wishing(steady());
    puppet.refused(K::PassengerRequestJob, Refusal::Conflict);
    puppet.end(K::PassengerCurrentJob, Outcome::Ok, seen(JobState::Arrived));
    assert!(matches!(puppet.robot.state, State::Following(_)));
}

#[test]
fn the_impatient_give_up_before_a_match_only() {
    let habits = Robots { cancels_before_match: 1.0, patience_s: Spread::Fixed(5.0), ..steady() };
    let mut puppet = following(habits.clone());
    let start = puppet.now;
    let cancel = puppet.until(K::PassengerCancel, Some(&job(JobState::Offered)));
    assert_eq!(puppet.now - start, Duration::from_secs(5));
    puppet.done(cancel, Outcome::Ok, Answer::default());
    puppet.end(K::PassengerJobStatus, Outcome::Ok, seen(JobState::Cancelled));
    assert_eq!(puppet.standing(), Standing::Free);

    let mut matched = following(habits);
    for _ in 0..30 {
        matched.look(Some(&job(JobState::Accepted)));
        matched.ring();
        assert!(matched.take(K::PassengerCancel).is_none());
    }
}

#[test]
fn regret_comes_after_the_match_and_not_in_the_car() {
    let habits = Robots { cancels_after_match: 1.0, regret_s: Spread::Fixed(100.0), ..steady() };
    let mut puppet = following(habits.clone());
    puppet.until(K::PassengerCancel, Some(&job(JobState::Accepted)));

    let mut in_the_car = following(habits);
    in_the_car.until(K::PassengerJobStatus, None);
    in_the_car.done(
        Ask { job: Some(Id::from("J1")), ..Ask::new(K::PassengerJobStatus) },
        Outcome::Ok,
        seen(JobState::Accepted),
    );
    for _ in 0..30 {
        in_the_car.look(Some(&job(JobState::PickedUp)));
        in_the_car.ring();
        assert!(in_the_car.take(K::PassengerCancel).is_none());
    }
}

#[test]
fn a_refused_cancel_goes_on_with_what_is() {
    let habits = Robots { cancels_before_match: 1.0, patience_s: Spread::Fixed(5.0), ..steady() };
    let mut puppet = following(habits);
    let cancel = puppet.until(K::PassengerCancel, Some(&job(JobState::Offered)));
    puppet.done(cancel, Outcome::Fail, refusal_answer(Refusal::Conflict));
    puppet.end(K::PassengerJobStatus, Outcome::Ok, seen(JobState::Completed));
    assert_eq!(puppet.kinds(), [K::PassengerPay]);
}

#[test]
fn a_payment_is_tried_with_one_key_until_it_is_sure() {
    let mut puppet = following(steady());
    puppet.until(K::PassengerJobStatus, None);
    let poll = Ask { job: Some(Id::from("J1")), ..Ask::new(K::PassengerJobStatus) };
    puppet.done(poll, Outcome::Ok, seen(JobState::Completed));
    let first = puppet.unknown(K::PassengerPay);
    let again = puppet.until(K::PassengerPay, None);
    assert_eq!(again.key, first.key);
    // A refusal for another reason than "paid already" is not the end.
    puppet.done(again, Outcome::Fail, refusal_answer(Refusal::Limited));
    assert_eq!(puppet.standing(), Standing::Busy);
    let again = puppet.until(K::PassengerPay, None);
    puppet.done(again, Outcome::Fail, refusal_answer(Refusal::Conflict));
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn a_job_that_nobody_knows_any_more_is_let_go() {
    let mut puppet = following(steady());
    for _ in 0..MISSES {
        let poll = puppet.until(K::PassengerJobStatus, None);
        puppet.done(poll, Outcome::Fail, refusal_answer(Refusal::NotFound));
    }
    puppet.end(K::PassengerCurrentJob, Outcome::Ok, Answer::default());
    assert_eq!(puppet.standing(), Standing::Free);
}
const MISSES: u32 = 3;

#[test]
fn a_clumsy_passenger_taps_twice_with_one_key() {
    let (mut taps, mut late) = (0, 0);
    for salt in 0..60 {
        let mut puppet = idle(Robots { clumsy: 1.0, ..steady() });
        puppet.rng_skip(salt);
        puppet.event(Event::Wish(trip()));
        let Some(fumble) = &puppet.robot.fumble else { continue };
        let is_late = fumble.late;
        let first = puppet.end(K::PassengerRequestJob, Outcome::Ok, seen(JobState::Requested));
        let again = puppet.until(K::PassengerRequestJob, Some(&job(JobState::Requested)));
        assert_eq!((&again.key, again.at, again.to), (&first.key, first.at, first.to));
        assert!(again.again.is_some());
        puppet.done(again, Outcome::Ok, seen(JobState::Requested));
        assert!(matches!(puppet.robot.state, State::Following(_)));
        if is_late { late += 1 } else { taps += 1 }
    }
    assert!(taps > 5 && late > 3, "{taps} taps, {late} late");
}

#[test]
fn the_tap_that_got_through_counts() {
    for salt in 0..60 {
        let mut puppet = idle(Robots { clumsy: 1.0, ..steady() });
        puppet.rng_skip(salt);
        puppet.event(Event::Wish(trip()));
        if puppet.robot.fumble.as_ref().is_none_or(|fumble| fumble.late) {
            continue;
        }
        // The second tap goes out while the first waits for its answer.
        puppet.ring();
        let (first, second) = (puppet.asked.remove(0), puppet.asked.remove(0));
        puppet.done(first, Outcome::Fail, Answer::default());
        assert_eq!(puppet.standing(), Standing::Busy, "the other is still out");
        puppet.done(second, Outcome::Ok, seen(JobState::Requested));
        assert!(matches!(puppet.robot.state, State::Following(_)));
        return;
    }
    panic!("no double tap in 60 tries");
}

#[test]
fn sign_off_waits_for_the_job() {
    let mut puppet = following(steady());
    puppet.event(Event::SignOff);
    assert_eq!(puppet.standing(), Standing::Busy);
    let poll = puppet.until(K::PassengerJobStatus, None);
    puppet.done(poll, Outcome::Ok, seen(JobState::Expired));
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 2));
}

#[test]
fn one_who_only_looks_goes_idle_at_the_drain() {
    let mut puppet = wishing(Robots { browses: 1.0, ..steady() });
    puppet.event(Event::Drain);
    assert_eq!(puppet.standing(), Standing::Free);
    puppet.ok(K::PassengerQuote);
    assert!(!puppet.kinds().contains(&K::PassengerRequestJob));
}

#[test]
fn an_app_that_restarts_logs_in_and_follows_its_job_again() {
    let mishaps = Mishaps { restarts: 1.0, ..Mishaps::default() };
    let mut puppet = following(Robots { mishaps, ..steady() });
    puppet.until(K::PassengerLogin, Some(&job(JobState::Requested)));
    puppet.done(Ask::new(K::PassengerLogin), Outcome::Ok, Answer::default());
    puppet.end(K::PassengerCurrentJob, Outcome::Ok, seen(JobState::Accepted));
    let poll = puppet.until(K::PassengerJobStatus, None);
    assert_eq!(poll.job, Some(Id::from("J1")));
    puppet.done(poll, Outcome::Ok, seen(JobState::Completed));
    puppet.ok(K::PassengerPay);
}

#[test]
fn one_who_sees_that_a_driver_is_asked_may_give_up_at_once() {
    let mishaps = Mishaps { cancels_on_offer: 1.0, ..Mishaps::default() };
    let mut puppet = following(Robots { mishaps, ..steady() });
    for (state, gives_up) in [(JobState::Requested, false), (JobState::Offered, true)] {
        let poll = puppet.until(K::PassengerJobStatus, None);
        puppet.done(poll, Outcome::Ok, seen(state));
        assert_eq!(puppet.take(K::PassengerCancel).is_some(), gives_up);
    }
}

#[test]
fn a_request_is_sent_again_long_after_with_its_key() {
    let mishaps = Mishaps { late_retries: 1.0, ..Mishaps::default() };
    let mut puppet = wishing(Robots { mishaps, ..steady() });
    let first = puppet.end(K::PassengerRequestJob, Outcome::Ok, seen(JobState::Requested));
    let began = puppet.now;
    let again = puppet.until(K::PassengerRequestJob, Some(&job(JobState::Requested)));
    assert_eq!((&again.key, again.again.is_some()), (&first.key, true));
    assert!(puppet.now - began > Duration::from_secs(7));
}
