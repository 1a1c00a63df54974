//! The driver, step by step, with scripted answers.

use super::*;
use crate::{
    base::dist::Spread,
    history::answer::{Answer, JobState},
    robot::puppet::{Puppet, job, job_answer, offer, refusal_answer, steady},
    scenario::{Mishaps, Robots},
};

use OpKind as K;

fn on_shift(number: u32, habits: Robots) -> Puppet<Driver> {
    let mut puppet = Puppet::new(Driver::new(number), habits);
    puppet.event(Event::Start);
    let around = puppet.around.clone();
    for step in STEPS.iter().filter(|step| around.ops.has(**step)) {
        assert_eq!(puppet.standing(), Standing::Arriving);
        puppet.ok(*step);
    }
    assert_eq!(puppet.standing(), Standing::Free);
    puppet
}

fn offered(habits: Robots, expires_in_ms: u64) -> Puppet<Driver> {
    let mut puppet = on_shift(7, habits);
    show(&mut puppet, "O1", expires_in_ms);
    puppet
}

fn show(puppet: &mut Puppet<Driver>, id: &str, expires_in_ms: u64) {
    let answer = Answer { offer: Some(Rc::new(offer(id, expires_in_ms))), ..Answer::default() };
    let ping = puppet.until(K::DriverPing, None);
    puppet.done(ping, Outcome::Ok, answer);
}

fn with_job(habits: Robots) -> Puppet<Driver> {
    let mut puppet = offered(habits, 10_000);
    let accept = puppet.until(K::DriverAccept, None);
    puppet.done(accept, Outcome::Ok, job_answer(Some(&job(JobState::Accepted))));
    puppet
}

#[test]
fn the_whole_flow_has_a_confirmed_hold_and_ends_free() {
    let mut puppet = with_job(steady());
    assert_eq!(puppet.kinds(), [K::DriverCurrentJob], "the hold is confirmed by a read at once");
    let ops = [
        (K::DriverArrive, JobState::Accepted),
        (K::DriverPickUp, JobState::Arrived),
        (K::DriverDropOff, JobState::PickedUp),
    ];
    for (op, state) in ops {
        let ask = puppet.until(op, Some(&job(state)));
        assert_eq!((ask.job.as_ref().unwrap().as_str(), ask.assignment), ("J1", Some(1)));
        assert!(puppet.robot.is_busy());
        puppet.done(ask, Outcome::Ok, Answer::default());
    }
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn the_journey_takes_as_long_as_the_way() {
    let mut puppet = with_job(steady());
    let arrive = puppet.until(K::DriverArrive, Some(&job(JobState::Accepted)));
    assert!(puppet.robot.motion.place(puppet.now).metres_to(offer("O", 1).pickup) < THERE);
    puppet.done(arrive, Outcome::Ok, Answer::default());
    let pick_up = puppet.until(K::DriverPickUp, Some(&job(JobState::Arrived)));
    puppet.done(pick_up, Outcome::Ok, Answer::default());
    let picked_up = puppet.now;
    puppet.until(K::DriverDropOff, Some(&job(JobState::PickedUp)));
    // 2 km as the crow flies × 1.25, at 36 km/h × 20, then 10 to 40 s / 20.
    let took = (puppet.now - picked_up).as_secs_f64();
    assert!((12.0..16.5).contains(&took), "{took}");
}
const THERE: f64 = 31.0;

#[test]
fn pings_keep_their_pulse_on_a_job_and_off_it_however_late_answers_are() {
    let mut puppet = on_shift(7, steady());
    let mut planned = vec![];
    for _ in 0..40 {
        puppet.asked.clear();
        let mut at = puppet.ring();
        while puppet.take(K::DriverPing).is_none() {
            at = puppet.ring();
        }
        planned.push(at);
        // The generator is late: the next beat counts from the planned time all the same.
        puppet.now += Duration::from_secs(20);
    }
    let gaps = planned.windows(2).map(|two| two[1] - two[0]);
    assert!(gaps.eq(std::iter::repeat_n(Duration::from_millis(7_500), 39)));
}

#[test]
fn the_pulses_of_all_drivers_are_even() {
    let (drivers, buckets) = (12_000, 75);
    let every = 7_500_000_000_u64;
    let mut counts = vec![0_u32; buckets];
    let around = crate::robot::puppet::around(steady());
    for number in 0..drivers {
        let (mut rng, mut acts) = (Rng::from_seed("pulse"), vec![]);
        let cue = Cue { now: Time(3), rng: &mut rng, around: &around, acts: &mut acts };
        let beat = Driver::new(number).next_beat(&cue);
        assert!(beat.0 > 3 && beat.0 <= 3 + every);
        counts[(u128::from(beat.0 - 3) * buckets as u128 / (u128::from(every) + 1)) as usize] += 1;
    }
    let (low, high) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    // 160 in each 100 ms on average.
    assert!(*low >= 156 && *high <= 164, "{low} to {high}");
}

#[test]
fn an_offer_is_declined_or_ignored_by_habit_and_its_echo_is_left_alone() {
    let mut declines = offered(Robots { declines: 1.0, ..steady() }, 10_000);
    declines.until(K::DriverDecline, None);
    assert_eq!(declines.standing(), Standing::Free);

    let mut ignores = offered(Robots { ignores: 1.0, ..steady() }, 10_000);
    show(&mut ignores, "O1", 8_000);
    assert!(!ignores.kinds().contains(&K::DriverAccept));
    ignores.around.habits = Rc::new(steady());
    show(&mut ignores, "O1", 6_000);
    assert!(matches!(ignores.robot.state, State::Free), "the echo of an offer is no new offer");
    show(&mut ignores, "O2", 6_000);
    assert!(matches!(ignores.robot.state, State::Thinking(..)));
}

#[test]
fn a_slow_thinker_answers_before_the_offer_ends_and_a_clumsy_one_sometimes_after() {
    let slow = Robots { answer_s: Spread::Fixed(60.0), ..steady() };
    let mut puppet = offered(slow.clone(), 5_000);
    let seen = puppet.now;
    puppet.until(K::DriverAccept, None);
    assert_eq!(puppet.now - seen, Duration::from_secs(4));

    let late = (0..60).filter(|salt| {
        let mut puppet = on_shift(7, Robots { clumsy: 1.0, ..slow.clone() });
        puppet.rng_skip(*salt);
        show(&mut puppet, "O1", 5_000);
        let seen = puppet.now;
        puppet.until(K::DriverAccept, None);
        puppet.now - seen > Duration::from_secs(5)
    });
    let late = late.count();
    assert!((1..30).contains(&late), "{late} of 60 late");
}

#[test]
fn offers_to_a_busy_driver_are_left_alone() {
    let mut puppet = with_job(steady());
    let answer = Answer { offer: Some(Rc::new(offer("O9", 9_000))), ..Answer::default() };
    let ping = puppet.until(K::DriverPing, Some(&job(JobState::Accepted)));
    puppet.done(ping, Outcome::Ok, answer);
    assert!(matches!(puppet.robot.state, State::OnJob(_)));
}

#[test]
fn a_refused_accept_frees_and_an_unknown_one_is_looked_into() {
    let mut refused = offered(steady(), 10_000);
    refused.until(K::DriverAccept, None);
    let accept = about(&offer("O1", 1), K::DriverAccept);
    refused.done(accept.clone(), Outcome::Fail, Answer::default());
    assert_eq!(refused.standing(), Standing::Free);

    // It was taken after all.
    let mut unknown = offered(steady(), 10_000);
    unknown.until(K::DriverAccept, None);
    unknown.done(accept.clone(), Outcome::Info, Answer::default());
    assert_eq!(unknown.kinds(), [K::DriverCurrentJob]);
    unknown.look(Some(&job(JobState::Accepted)));
    unknown.until(K::DriverArrive, Some(&job(JobState::Accepted)));

    // It was not; but a second look makes sure.
    let mut none = offered(steady(), 10_000);
    none.until(K::DriverAccept, None);
    none.done(accept, Outcome::Info, Answer::default());
    none.look(None);
    assert!(none.robot.is_busy());
    none.until(K::DriverCurrentJob, None);
    none.done(Ask::new(K::DriverCurrentJob), Outcome::Ok, Answer::default());
    assert_eq!(none.standing(), Standing::Free);
}

#[test]
fn a_job_that_the_passenger_cancelled_is_given_up() {
    // Told by the op's refusal …
    let mut puppet = with_job(steady());
    let arrive = puppet.until(K::DriverArrive, Some(&job(JobState::Accepted)));
    puppet.done(arrive, Outcome::Fail, Answer::default());
    puppet.end(K::DriverCurrentJob, Outcome::Fail, refusal_answer(Refusal::NotFound));
    assert_eq!(puppet.standing(), Standing::Free);
    // … or by the poll.
    let mut puppet = with_job(steady());
    puppet.look(Some(&job(JobState::Accepted)));
    let poll = puppet.until(K::DriverCurrentJob, None);
    puppet.done(poll, Outcome::Ok, job_answer(Some(&job(JobState::Cancelled))));
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn an_unknown_drop_off_is_tried_again_only_if_the_job_is_still_there() {
    let to_drop_off = || {
        let mut puppet = with_job(steady());
        for (op, state) in
            [(K::DriverArrive, JobState::Accepted), (K::DriverPickUp, JobState::Arrived)]
        {
            let ask = puppet.until(op, Some(&job(state)));
            puppet.done(ask, Outcome::Ok, Answer::default());
        }
        let ask = puppet.until(K::DriverDropOff, Some(&job(JobState::PickedUp)));
        puppet.done(ask, Outcome::Info, Answer::default());
        puppet
    };
    let mut there = to_drop_off();
    there.look(Some(&job(JobState::PickedUp)));
    there.until(K::DriverDropOff, Some(&job(JobState::PickedUp)));
    let mut over = to_drop_off();
    over.look(None);
    assert_eq!(over.standing(), Standing::Free);
}

#[test]
fn a_read_from_before_the_op_says_nothing_about_it() {
    let mut puppet = with_job(steady());
    // The look is under way when the driver arrives, and the op ends unknown.
    let look = puppet.take(K::DriverCurrentJob).unwrap();
    let sent = puppet.now;
    while puppet.take(K::DriverArrive).is_none() {
        puppet.ring();
    }
    let arrive = Ask { job: Some(Id::from("J1")), ..Ask::new(K::DriverArrive) };
    puppet.done(arrive, Outcome::Info, Answer::default());
    assert!(puppet.take(K::DriverCurrentJob).is_none(), "one look at a time");
    puppet.done_from(look, sent, Outcome::Ok, Answer::default());
    assert!(puppet.robot.is_busy(), "an answer of the past does not free");
    assert!(puppet.take(K::DriverCurrentJob).is_some(), "it looks again");
}

#[test]
fn drivers_give_jobs_back_and_report_no_shows() {
    let mut puppet = with_job(Robots { driver_cancels: 1.0, ..steady() });
    let cancel = puppet.until(K::DriverCancel, Some(&job(JobState::Accepted)));
    assert!(cancel.reason.is_some());
    puppet.done(cancel, Outcome::Ok, Answer::default());
    assert_eq!(puppet.standing(), Standing::Free);

    let mut puppet = with_job(Robots { no_shows: 1.0, ..steady() });
    let arrive = puppet.until(K::DriverArrive, Some(&job(JobState::Accepted)));
    puppet.done(arrive, Outcome::Ok, Answer::default());
    let arrived = puppet.now;
    let no_show = puppet.until(K::DriverNoShow, Some(&job(JobState::Arrived)));
    assert_eq!(puppet.now - arrived, Duration::from_secs(15), "300 s, twenty times as fast");
    puppet.done(no_show, Outcome::Ok, Answer::default());
    assert_eq!(puppet.standing(), Standing::Free);
}

#[test]
fn a_clumsy_driver_taps_twice_and_the_second_tap_is_marked() {
    let mut taps = 0;
    for salt in 0..40 {
        let mut puppet = on_shift(7, Robots { clumsy: 1.0, ..steady() });
        puppet.rng_skip(salt);
        show(&mut puppet, "O1", 10_000);
        let accept = puppet.until(K::DriverAccept, None);
        assert!(accept.again.is_none());
        let first = puppet.done(accept, Outcome::Ok, job_answer(Some(&job(JobState::Accepted))));
        let Some(fumble) = &puppet.robot.fumble else { continue };
        assert_eq!(fumble.first, Some(first));
        let again = puppet.until(K::DriverAccept, Some(&job(JobState::Accepted)));
        assert_eq!(again.again, Some(Id::from(first)));
        assert_eq!(again.offer, Some(Id::from("O1")));
        puppet.done(again, Outcome::Fail, Answer::default());
        assert!(matches!(puppet.robot.state, State::OnJob(_)), "the refused echo changes nothing");
        taps += 1;
    }
    assert!((5..35).contains(&taps), "{taps} of 40");
}

#[test]
fn a_shift_ends_when_the_driver_is_free() {
    let habits = Robots { shift_s: Spread::Fixed(20.0 * 30.0), ..steady() };
    let mut puppet = on_shift(7, habits);
    puppet.until(K::DriverGoOffline, None);
    puppet.done(Ask::new(K::DriverGoOffline), Outcome::Ok, Answer::default());
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));

    let mut busy = with_job(steady());
    busy.event(Event::SignOff);
    let ops = [
        (K::DriverArrive, JobState::Accepted),
        (K::DriverPickUp, JobState::Arrived),
        (K::DriverDropOff, JobState::PickedUp),
    ];
    for (op, state) in ops {
        let ask = busy.until(op, Some(&job(state)));
        assert!(!busy.kinds().contains(&K::DriverGoOffline));
        busy.done(ask, Outcome::Ok, Answer::default());
    }
    busy.ok(K::DriverGoOffline);
    assert_eq!(busy.standing(), Standing::Gone);
}

#[test]
fn going_home_is_tried_until_it_is_sure_and_not_for_ever() {
    let mut puppet = on_shift(7, steady());
    puppet.event(Event::SignOff);
    puppet.unknown(K::DriverGoOffline);
    let again = puppet.until(K::DriverGoOffline, None);
    // Refused for a live job: it has one after all, and drives it.
    puppet.done(again, Outcome::Fail, refusal_answer(Refusal::Conflict));
    puppet.look(Some(&job(JobState::PickedUp)));
    let drop_off = puppet.until(K::DriverDropOff, Some(&job(JobState::PickedUp)));
    puppet.done(drop_off, Outcome::Ok, Answer::default());
    for _ in 0..LEAVE_TRIES_MAX {
        if puppet.standing() == Standing::Gone {
            break;
        }
        puppet.until(K::DriverGoOffline, None);
        puppet.done(Ask::new(K::DriverGoOffline), Outcome::Info, Answer::default());
    }
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));
}

#[test]
fn a_driver_who_exists_already_logs_in_and_one_who_is_refused_gives_up() {
    let mut puppet = Puppet::new(Driver::new(1), steady());
    puppet.event(Event::Start);
    puppet.refused(K::DriverRegister, Refusal::Conflict);
    puppet.ok(K::DriverLogin);
    for _ in 0..100 {
        if puppet.standing() != Standing::Arriving {
            break;
        }
        puppet.until(K::DriverGoOnline, None);
        puppet.done(Ask::new(K::DriverGoOnline), Outcome::Fail, Answer::default());
        if puppet.take(K::DriverGoOffline).is_some() {
            puppet.done(Ask::new(K::DriverGoOffline), Outcome::Ok, Answer::default());
        }
    }
    assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));
}

#[test]
fn a_driver_whom_the_backend_forgot_goes_on_shift_again_and_keeps_one_pulse() {
    let mut puppet = on_shift(7, steady());
    puppet.until(K::DriverPing, None);
    puppet.done(Ask::new(K::DriverPing), Outcome::Fail, refusal_answer(Refusal::Conflict));
    puppet.ok(K::DriverGoOnline);
    assert_eq!(puppet.standing(), Standing::Free);
    puppet.asked.clear();
    let start = puppet.now;
    let mut pings = 0;
    while puppet.now - start < Duration::from_secs(75) {
        puppet.ring();
        pings += u32::from(puppet.take(K::DriverPing).is_some());
    }
    assert!((9..=11).contains(&pings), "{pings} pings in ten beats");
}

#[test]
fn a_car_never_drives_faster_than_the_city() {
    let mut puppet = on_shift(7, Robots { shift_s: Spread::Fixed(1e7), ..steady() });
    let speed = puppet.around.city.speed_m_per_s(22) * 20.0;
    let mut last: Option<(Time, Place)> = None;
    for _ in 0..400 {
        puppet.asked.clear();
        puppet.ring();
        let ping = puppet.take(K::DriverPing).expect("an idle driver has no other alarm");
        let here = ping.at.unwrap();
        if let Some((then, there)) = last {
            let most = speed * (puppet.now - then).as_secs_f64() + 5.0;
            assert!(there.metres_to(here) <= most, "{} > {most}", there.metres_to(here));
        }
        last = Some((puppet.now, here));
    }
}

#[test]
fn an_app_that_restarts_logs_in_and_finds_its_job_again() {
    let mishaps = Mishaps { restarts: 1.0, ..Mishaps::default() };
    let mut puppet = with_job(Robots { mishaps, ..steady() });
    let held = job(JobState::Accepted);
    puppet.until(K::DriverLogin, Some(&held));
    assert!(matches!(puppet.robot.state, State::Looking(..)), "it knows of no job any more");
    puppet.done(Ask::new(K::DriverLogin), Outcome::Ok, Answer::default());
    let look = puppet.until(K::DriverCurrentJob, None);
    puppet.done(look, Outcome::Ok, job_answer(Some(&held)));
    let arrive = puppet.until(K::DriverArrive, Some(&held));
    assert_eq!(arrive.job, Some(Id::from("J1")));
}

#[test]
fn an_older_update_is_sent_again_behind_a_newer_one_and_its_answer_is_let_be() {
    let mishaps = Mishaps { replays: 1.0, ..Mishaps::default() };
    let mut puppet = on_shift(7, Robots { mishaps, ..steady() });
    let first = puppet.until(K::DriverPing, None);
    let second = puppet.until(K::DriverPing, None);
    let again = puppet.take(K::DriverPing).unwrap();
    assert_eq!((again.probe, again.seq, again.at), (Some(Probe::PingReplay), first.seq, first.at));
    assert_eq!((second.probe, second.seq), (None, first.seq.map(|seq| seq + 1)));
    let answer = Answer { offer: Some(Rc::new(offer("O1", 9_000))), ..Answer::default() };
    puppet.done(again, Outcome::Ok, answer);
    assert!(matches!(puppet.robot.state, State::Free));
}
