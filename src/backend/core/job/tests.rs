//! The moves of a job: one by one, in races, after lost answers, and in any order at all.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use futures_util::FutureExt;

use super::{
    board::Terms,
    moves::Step,
    planted::{Copies, Planted},
    shift::Wish,
    *,
};
use crate::{
    backend::{
        boot::{CityFacts, Tariff},
        core::{
            table::tests::{Memory, Mishap},
            tariff::{Road, to_wire},
        },
        wire::{End, JobState},
    },
    base::{place::Place, rng::Rng, time::Time},
};

const PASSENGER: u64 = 900;
const OFFER_MS: u64 = 10_000;
const SEARCH_MS: u64 = 40_000;

struct Desk {
    jobs: Rc<Jobs>,
    memory: Rc<Memory>,
    now_ms: Rc<Cell<u64>>,
}

fn rules() -> Rules {
    let facts = CityFacts {
        name: "test".into(),
        zones: Vec::new(),
        boundary: Vec::new(),
        detour: 1.2,
        speed_kmh: vec![30.0; 24],
        tariff: Tariff {
            base_minor: 400,
            per_km_minor: 120,
            per_minute_minor: 40,
            minimum_minor: 500,
            no_show_fee_minor: 350,
        },
        clock_start_s: 0.0,
        clock_origin: Time::ZERO,
        time_scale: 1.0,
    };
    Rules {
        terms: Rc::new(Cell::new(Terms {
            offer_ttl_ms: OFFER_MS,
            search_ttl_ms: SEARCH_MS,
            offers_at_once: 2,
        })),
        road: Road::new(&facts),
        planted: Planted::default(),
    }
}

fn planted(planted: Planted) -> Rules {
    Rules { planted, ..rules() }
}

/// Memory never waits.
fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("memory never waits")
}

impl Desk {
    fn new(rules: Rules) -> Self {
        let memory = Rc::new(Memory::default());
        let now_ms = Rc::new(Cell::new(1_000_000));
        let (clock, ids) = (Rc::clone(&now_ms), Cell::new(1_000));
        let table = Rc::clone(&memory) as Rc<dyn Table>;
        let new_id = move || ids.replace(ids.get() + 1);
        let jobs = Jobs::new(table, rules, Box::new(move || clock.get()), Box::new(new_id));
        Self { jobs: Rc::new(jobs), memory, now_ms }
    }

    fn later(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    fn request(&self, passenger: u64, key: &str) -> Result<MoveAnswer, RpcError> {
        let spire = Place::from_degrees(53.35, -6.26);
        now(self.jobs.create(&CreateAsk {
            passenger,
            pickup: Some(to_wire(spire)),
            dropoff: Some(to_wire(spire.offset(4_000.0, 0.0))),
            key: key.into(),
            quoted_minor: 900,
        }))
    }

    /// A job with drivers 1 and 2 on shift and an offer for each: job and the two offers.
    fn offered(&self) -> (u64, u64, u64) {
        let job = self.request(PASSENGER, "k").unwrap().job.unwrap().id;
        let offers = [1, 2].map(|driver| {
            now(self.jobs.shift(driver, Wish::Online)).unwrap();
            self.offer(job, driver).unwrap()
        });
        (job, offers[0], offers[1])
    }

    fn offer(&self, job: u64, driver: u64) -> Option<u64> {
        let offer = (self.jobs.new_id)();
        let made = now(self.jobs.make(job, Move::Offer { driver, offer })).ok()?;
        made.moved.offer.map(|offer| offer.id)
    }

    fn accept(&self, job: u64, driver: u64, offer: u64) -> Result<Done, RpcError> {
        now(self.jobs.make(job, Move::Accept { driver, offer }))
    }

    fn step(&self, job: u64, driver: u64, step: Step) -> Result<Done, RpcError> {
        now(self.jobs.make(job, Move::Step { step, driver, assignment: 0 }))
    }

    fn cancel(&self, job: u64) -> Result<Done, RpcError> {
        now(self.jobs.make(job, Move::Cancel { passenger: PASSENGER }))
    }

    fn tend_all(&self) {
        for due in now(self.jobs.due(100)).unwrap() {
            let _refused = now(self.jobs.make(due.job, Move::Tend { due_ms: due.due_ms }));
        }
    }

    fn state(&self, job: u64) -> JobState {
        now(self.jobs.job(job)).unwrap().state()
    }
}

fn is_conflict<T>(result: &Result<T, RpcError>) -> bool {
    matches!(result, Err(RpcError::Refused { code: Code::Conflict, .. }))
}

#[test]
fn a_job_runs_from_request_to_payment() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    assert_eq!(desk.state(job), JobState::Offered);
    let accepted = desk.accept(job, 1, offer).unwrap();
    assert_eq!(accepted.board.job.assignments.len(), 1);
    let marks: Vec<(u64, Status)> =
        accepted.standings.iter().map(|s| (s.driver, s.status())).collect();
    assert_eq!(marks, [(1, Status::Busy), (2, Status::Free)]);
    assert!(accepted.standings.iter().all(|s| s.version > 0 && s.pending.is_none()));
    assert_eq!(now(desk.jobs.of_driver(1)).unwrap().unwrap().id, job);
    desk.step(job, 1, Step::Arrive).unwrap();
    desk.step(job, 1, Step::PickUp).unwrap();
    desk.later(600_000);
    let done = desk.step(job, 1, Step::DropOff).unwrap().board.job;
    // 4.8 km on the road and ten minutes.
    assert_eq!(done.fare_minor, Some(400 + 576 + 400));
    assert_eq!(done.end(), End::DroppedOff);
    assert!(now(desk.jobs.of_driver(1)).unwrap().is_none());
    assert!(now(desk.jobs.of_passenger(PASSENGER)).unwrap().is_none());
    desk.later(5_000);
    assert_eq!(now(desk.jobs.due(9)).unwrap().len(), 1, "it is unpaid");
    now(desk.jobs.make(job, Move::Paid)).unwrap();
    assert!(now(desk.jobs.due(9)).unwrap().is_empty());
    assert!(desk.memory.rows.borrow().keys().all(|key| !key.starts_with("due/")));
}

#[test]
fn moves_out_of_turn_are_refused_and_change_nothing() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    let rows = || desk.memory.rows.borrow().clone();
    let before = rows();
    for step in [Step::Arrive, Step::PickUp, Step::DropOff, Step::Cancel, Step::NoShow] {
        assert!(desk.step(job, 1, step).is_err());
    }
    assert!(desk.accept(job, 3, offer).is_err(), "another driver's offer");
    assert!(desk.accept(job, 1, 5).is_err(), "no such offer");
    assert!(now(desk.jobs.make(job, Move::Cancel { passenger: 1 })).is_err());
    assert!(now(desk.jobs.make(77, Move::Paid)).is_err());
    assert_eq!(rows(), before);
    desk.accept(job, 1, offer).unwrap();
    for step in [Step::PickUp, Step::DropOff, Step::NoShow] {
        assert!(is_conflict(&desk.step(job, 1, step)), "{step:?} before the arrival");
    }
    assert!(now(desk.jobs.shift(1, Wish::Offline)).is_err());
    desk.step(job, 1, Step::Arrive).unwrap();
    desk.step(job, 1, Step::PickUp).unwrap();
    assert!(is_conflict(&desk.step(job, 1, Step::Cancel)) && is_conflict(&desk.cancel(job)));
}

#[test]
fn of_two_accepts_one_wins_and_both_may_repeat() {
    let desk = Desk::new(rules());
    let (job, first, second) = desk.offered();
    assert!(!desk.accept(job, 1, first).unwrap().moved.replayed);
    assert!(desk.accept(job, 1, first).unwrap().moved.replayed);
    for _ in 0..2 {
        assert!(is_conflict(&desk.accept(job, 2, second)));
    }
    assert_eq!(now(desk.jobs.job(job)).unwrap().assignments.len(), 1);
}

#[test]
fn accepts_that_decide_on_the_same_rows_conflict_and_decide_again() {
    let desk = Desk::new(rules());
    let (job, first, second) = desk.offered();
    let plan = |driver, offer| now(desk.jobs.plan_move(job, Move::Accept { driver, offer }));
    let (one, other) = (plan(1, first).unwrap(), plan(2, second).unwrap());
    assert!(matches!(
        now(desk.memory.commit(one.txn)),
        Ok(crate::world::store::Committed::Done(_))
    ));
    let lost = now(desk.memory.commit(other.txn));
    assert!(matches!(lost, Ok(crate::world::store::Committed::Conflict(_))));
    assert!(is_conflict(&desk.accept(job, 2, second)));
}

#[test]
fn accept_and_cancel_have_one_winner() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    let cancel = now(desk.jobs.plan_move(job, Move::Cancel { passenger: PASSENGER })).unwrap();
    desk.accept(job, 1, offer).unwrap();
    let lost = now(desk.memory.commit(cancel.txn));
    assert!(matches!(lost, Ok(crate::world::store::Committed::Conflict(_))));
    // Decided again, the cancel comes after the accept: it ends the job and frees the driver.
    let ended = desk.cancel(job).unwrap();
    assert_eq!((desk.state(job), ended.board.job.fee_minor), (JobState::Cancelled, 0));
    assert!(is_conflict(&desk.accept(job, 2, 0)) || desk.accept(job, 2, 0).is_err());
    assert!(desk.accept(job, 1, offer).is_ok_and(|done| done.moved.replayed));
    assert!(desk.cancel(job).unwrap().moved.replayed);
    now(desk.jobs.shift(1, Wish::Offline)).unwrap();
}

#[test]
fn an_offer_ends_in_time_and_goes_to_the_next() {
    let desk = Desk::new(rules());
    let (job, first, second) = desk.offered();
    now(desk.jobs.make(job, Move::Decline { driver: 2, offer: second })).unwrap();
    now(desk.jobs.make(job, Move::Decline { driver: 2, offer: second })).unwrap();
    desk.later(OFFER_MS);
    assert!(is_conflict(&desk.accept(job, 1, first)), "exactly at its end it is over");
    desk.tend_all();
    assert_eq!(desk.state(job), JobState::Requested);
    assert!(is_conflict(&desk.accept(job, 1, first)));
    let row = now(desk.jobs.job(job)).unwrap();
    assert_eq!(row.asked, [1, 2]);
    now(desk.jobs.shift(3, Wish::Online)).unwrap();
    let third = desk.offer(job, 3).unwrap();
    desk.later(OFFER_MS - 1);
    desk.accept(job, 3, third).unwrap();
}

#[test]
fn a_search_without_an_end_expires() {
    let desk = Desk::new(rules());
    let job = desk.request(PASSENGER, "k").unwrap().job.unwrap().id;
    for _ in 0..SEARCH_MS / 500 {
        desk.later(500);
        desk.tend_all();
    }
    assert_eq!(desk.state(job), JobState::Expired);
    assert!(desk.request(PASSENGER, "k2").is_ok(), "the passenger may ask again");
}

#[test]
fn of_two_nodes_that_tend_a_job_one_has_it() {
    let desk = Desk::new(rules());
    desk.request(PASSENGER, "k").unwrap();
    desk.later(2_000);
    let due = now(desk.jobs.due(9)).unwrap()[0];
    now(desk.jobs.make(due.job, Move::Tend { due_ms: due.due_ms })).unwrap();
    assert!(is_conflict(&now(desk.jobs.make(due.job, Move::Tend { due_ms: due.due_ms }))));
    assert!(now(desk.jobs.due(9)).unwrap().is_empty(), "it is leased");
    desk.later(board::LEASE_MS);
    assert_eq!(now(desk.jobs.due(9)).unwrap().len(), 1, "and due again");
}

#[test]
fn a_driver_gives_a_job_back_and_another_takes_it() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    desk.accept(job, 1, offer).unwrap();
    desk.step(job, 1, Step::Arrive).unwrap();
    desk.step(job, 1, Step::Cancel).unwrap();
    assert!(desk.step(job, 1, Step::Cancel).unwrap().moved.replayed);
    assert!(is_conflict(&desk.step(job, 1, Step::PickUp)));
    assert!(is_conflict(&desk.accept(job, 1, offer)), "a released assignment does not come back");
    assert_eq!(desk.state(job), JobState::Requested);
    let offer = desk.offer(job, 2).unwrap();
    desk.accept(job, 2, offer).unwrap();
    let row = now(desk.jobs.job(job)).unwrap();
    let all: Vec<_> = row.assignments.iter().map(|a| (a.number, a.driver, a.released)).collect();
    assert_eq!(all, [(1, 1, true), (2, 2, false)]);
    assert!(now(desk.jobs.of_driver(1)).unwrap().is_none());
    assert!(desk.offer(job, 1).is_none(), "the job is taken");
}

#[test]
fn fees_are_for_those_who_let_a_driver_wait() {
    let no_show = |step: Option<Step>| {
        let desk = Desk::new(rules());
        let (job, offer, _) = desk.offered();
        desk.accept(job, 1, offer).unwrap();
        desk.step(job, 1, Step::Arrive).unwrap();
        let done = match step {
            Some(step) => desk.step(job, 1, step),
            None => desk.cancel(job),
        };
        let job = done.unwrap().board.job;
        (job.fee_minor, job.end(), job.due_ms > 0)
    };
    assert_eq!(no_show(Some(Step::NoShow)), (350, End::NoShow, true));
    assert_eq!(no_show(None), (350, End::ByPassenger, true));
    let desk = Desk::new(rules());
    let (job, _, _) = desk.offered();
    let early = desk.cancel(job).unwrap().board.job;
    assert_eq!((early.fee_minor, early.due_ms), (0, 0));
}

#[test]
fn a_key_leads_to_one_job_and_a_passenger_has_one() {
    let desk = Desk::new(rules());
    let first = desk.request(PASSENGER, "k").unwrap();
    let again = desk.request(PASSENGER, "k").unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.job.unwrap().id, again.job.unwrap().id);
    assert!(is_conflict(&desk.request(PASSENGER, "other")));
    assert!(desk.request(PASSENGER + 1, "k").is_ok(), "keys are the passenger's own");
    assert!(desk.request(PASSENGER, "").is_err());
}

#[test]
fn a_lost_answer_is_found_out_by_reading() {
    for mishap in [Mishap::AnswerLost, Mishap::AskLost] {
        let desk = Desk::new(rules());
        desk.memory.next.set(mishap);
        let created = desk.request(PASSENGER, "k").unwrap();
        assert!(!created.replayed, "it was this call's own commit");
        let (job, offer, other) = {
            let job = created.job.unwrap().id;
            let offers = [1, 2].map(|driver| {
                now(desk.jobs.shift(driver, Wish::Online)).unwrap();
                desk.memory.next.set(mishap);
                desk.offer(job, driver).unwrap()
            });
            (job, offers[0], offers[1])
        };
        desk.memory.next.set(mishap);
        desk.accept(job, 1, offer).unwrap();
        assert!(is_conflict(&desk.accept(job, 2, other)));
        let row = now(desk.jobs.job(job)).unwrap();
        assert_eq!((row.assignments.len(), row.lapsed.len()), (1, 1));
    }
}

#[test]
fn a_refusal_after_an_unknown_commit_is_not_certain() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    // The commit goes astray, and when it is decided again the offer has expired.
    let tries = Cell::new(0);
    let table = Rc::clone(&desk.memory) as Rc<dyn Table>;
    desk.memory.next.set(Mishap::AskLost);
    let outcome = now(change(&table, || {
        tries.set(tries.get() + 1);
        if tries.get() == 2 {
            desk.later(OFFER_MS);
        }
        desk.jobs.plan_move(job, Move::Accept { driver: 1, offer })
    }));
    assert!(matches!(outcome, Err(RpcError::Unknown(_))), "the first may still arrive");
}

#[test]
fn pauses_and_ends_of_shifts_refuse_offers() {
    let desk = Desk::new(rules());
    let (job, offer, _) = desk.offered();
    let paused = now(desk.jobs.shift(1, Wish::Pause)).unwrap();
    assert_eq!((paused.offer, paused.offer_job), (offer, job));
    assert!(is_conflict(&desk.accept(job, 1, offer)));
    now(desk.jobs.make(job, Move::Decline { driver: 1, offer })).unwrap();
    assert!(desk.offer(job, 1).is_none());
    assert!(now(desk.jobs.shift(1, Wish::Pause)).unwrap().replayed);
    now(desk.jobs.shift(1, Wish::Resume)).unwrap();
    assert!(desk.offer(job, 1).is_some());
}

#[test]
fn pages_hold_every_job_once() {
    let desk = Desk::new(rules());
    for passenger in 1..=7 {
        desk.request(passenger, "k").unwrap();
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = now(desk.jobs.page(&after, 3)).unwrap();
        all.extend(page.jobs.iter().map(|job| job.passenger));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(all, (1..=7).collect::<Vec<_>>());
    assert!(now(desk.jobs.page("x", 3)).is_err());
}

#[test]
fn planted_bugs_do_what_they_say() {
    let desk = Desk::new(planted(Planted { double_dispatch: true, ..Planted::default() }));
    let (job, first, second) = desk.offered();
    desk.accept(job, 1, first).unwrap();
    desk.accept(job, 2, second).unwrap();
    assert!(now(desk.jobs.of_driver(1)).unwrap().is_some());
    assert!(now(desk.jobs.of_driver(2)).unwrap().is_some());

    let desk = Desk::new(planted(Planted { late_accept: true, ..Planted::default() }));
    let (job, first, _) = desk.offered();
    desk.later(OFFER_MS + 5);
    desk.tend_all();
    desk.accept(job, 1, first).unwrap();

    let desk = Desk::new(planted(Planted { busy_leak: true, ..Planted::default() }));
    let (job, first, _) = desk.offered();
    desk.accept(job, 1, first).unwrap();
    desk.cancel(job).unwrap();
    let next = desk.request(PASSENGER, "k2").unwrap().job.unwrap().id;
    assert!(desk.offer(next, 1).is_none());
}

#[test]
fn planted_bugs_of_cancels_and_timers_do_what_they_say() {
    let desk = Desk::new(planted(Planted { revived_cancel: true, ..Planted::default() }));
    let (job, first, _) = desk.offered();
    desk.cancel(job).unwrap();
    desk.accept(job, 1, first).unwrap();
    assert_eq!(desk.state(job), JobState::Accepted);

    let desk = Desk::new(planted(Planted { lost_cancel: true, ..Planted::default() }));
    let (job, _, _) = desk.offered();
    assert_eq!(desk.cancel(job).unwrap().board.job.state(), JobState::Cancelled);
    assert_eq!(desk.state(job), JobState::Offered);

    let desk = Desk::new(planted(Planted { blind_cancel: true, ..Planted::default() }));
    let (job, first, _) = desk.offered();
    let cancel = now(desk.jobs.plan_move(job, Move::Cancel { passenger: PASSENGER })).unwrap();
    desk.accept(job, 1, first).unwrap();
    now(desk.memory.commit(cancel.txn)).unwrap();
    let lost = now(desk.jobs.job(job)).unwrap();
    assert_eq!((lost.state(), lost.assignments.len()), (JobState::Cancelled, 0));

    let desk = Desk::new(planted(Planted { late_timer: true, ..Planted::default() }));
    let (job, first, _) = desk.offered();
    desk.accept(job, 1, first).unwrap();
    desk.later(OFFER_MS + 5);
    desk.tend_all();
    assert_eq!(desk.state(job), JobState::Requested);

    for (bug, after_ms) in [
        (Planted { endless_search: true, ..Planted::default() }, SEARCH_MS),
        (Planted { lost_timer: true, ..Planted::default() }, SEARCH_MS),
    ] {
        let desk = Desk::new(planted(bug));
        let (job, _, _) = desk.offered();
        desk.later(after_ms + 5);
        desk.tend_all();
        assert_ne!(desk.state(job), JobState::Expired, "{bug:?}");
    }
}

#[test]
fn planted_bugs_of_requests_reads_and_money_do_what_they_say() {
    let desk = Desk::new(planted(Planted { redelivered: true, ..Planted::default() }));
    let ids = [1, 2].map(|_| desk.request(PASSENGER, "k").unwrap().job.unwrap().id);
    assert_ne!(ids[0], ids[1]);

    let desk = Desk::new(planted(Planted { unborn_read: true, ..Planted::default() }));
    let (job, copies) = (desk.offered().0, Copies::default());
    assert!(now(copies.job(&desk.jobs, job)).is_err());
    desk.later(3_000);
    assert!(now(copies.job(&desk.jobs, job)).is_ok());

    let desk = Desk::new(planted(Planted { stale_read: true, ..Planted::default() }));
    let (job, copies) = (desk.offered().0, Copies::default());
    let read = || now(copies.job(&desk.jobs, job)).unwrap().state();
    assert_eq!(read(), JobState::Offered);
    desk.cancel(job).unwrap();
    assert_eq!(read(), JobState::Offered);
    desk.later(4_000);
    assert_eq!(read(), JobState::Cancelled);

    for bug in [
        Planted { forgets_debts: true, ..Planted::default() },
        Planted { midnight_ms: Some(1_000_500), ..Planted::default() },
    ] {
        let desk = Desk::new(planted(bug));
        let (job, first, _) = desk.offered();
        desk.accept(job, 1, first).unwrap();
        desk.step(job, 1, Step::Arrive).unwrap();
        desk.step(job, 1, Step::PickUp).unwrap();
        desk.later(1_000);
        let over = desk.step(job, 1, Step::DropOff).unwrap().board.job;
        assert_eq!(over.due_ms == 0, bug.forgets_debts || over.fare_minor.unwrap() < 0);
        assert_eq!(over.fare_minor.unwrap() < 0, bug.midnight_ms.is_some());
    }
}

/// Any move of anybody, valid or not.
fn any_move(desk: &Desk, rng: &mut Rng, jobs: &mut Vec<u64>, offers: &mut Vec<(u64, u64, u64)>) {
    let driver = 1 + rng.below(4) as u64;
    let passenger = PASSENGER + rng.below(3) as u64;
    let mishaps = [Mishap::None, Mishap::None, Mishap::None, Mishap::AnswerLost, Mishap::AskLost];
    desk.memory.next.set(mishaps[rng.below(mishaps.len())]);
    let job = jobs.get(rng.below(jobs.len())).copied().unwrap_or(1);
    match rng.below(10) {
        0 => {
            let key = format!("k{}", rng.below(40));
            if let Ok(made) = desk.request(passenger, &key) {
                jobs.push(made.job.unwrap().id);
            }
        }
        1 => {
            let wishes = [Wish::Online, Wish::Online, Wish::Offline, Wish::Pause, Wish::Resume];
            let _refused = now(desk.jobs.shift(driver, wishes[rng.below(5)]));
        }
        2 | 3 => {
            if let Some(offer) = desk.offer(job, driver) {
                offers.push((job, driver, offer));
            }
        }
        4 | 5 => {
            if let Some((job, driver, offer)) = offers.get(rng.below(offers.len())) {
                let _refused = desk.accept(*job, *driver, *offer);
            }
        }
        6 | 7 => {
            let steps = [Step::Arrive, Step::PickUp, Step::DropOff, Step::Cancel, Step::NoShow];
            let _refused = desk.step(job, driver, steps[rng.below(5)]);
        }
        8 => {
            let _refused = now(desk.jobs.make(job, Move::Cancel { passenger }));
        }
        _ => {
            desk.later(rng.below(6_000) as u64);
            desk.tend_all();
        }
    }
    desk.memory.next.set(Mishap::None);
}

/// What must hold of all rows at any moment.
fn check(desk: &Desk, jobs: &[u64]) {
    let holders: RefCell<BTreeMap<u64, u64>> = RefCell::default();
    for id in jobs {
        let job = now(desk.jobs.job(*id)).unwrap();
        let unreleased: Vec<_> = job.assignments.iter().filter(|a| !a.released).collect();
        assert!(unreleased.len() <= 1, "one driver a job: {job:?}");
        let held =
            matches!(job.state(), JobState::Accepted | JobState::Arrived | JobState::PickedUp);
        assert!(!held || unreleased.len() == 1, "held by somebody: {job:?}");
        assert!(!is_over(&job) || job.offers.is_empty(), "no offer outlives its job: {job:?}");
        if held {
            let driver = unreleased[0].driver;
            assert!(holders.borrow_mut().insert(driver, *id).is_none(), "one job a driver");
            let (_, row) = now(desk.jobs.driver_row(driver)).unwrap();
            assert_eq!(row.job, *id, "the roster agrees");
        }
        let key = at_due(job.due_ms, job.id);
        let indexed = desk.memory.rows.borrow().contains_key(&key);
        assert_eq!(indexed, job.due_ms != 0, "the index of due jobs is true");
        let waits = board::is_open(&job) || (is_over(&job) && !job.paid && job.fee_minor > 0);
        assert!(!waits || job.due_ms != 0, "what waits for the backend is due: {job:?}");
    }
    for driver in 1..=4 {
        let (_, row) = now(desk.jobs.driver_row(driver)).unwrap();
        let holds = holders.borrow().get(&driver).copied().unwrap_or(0);
        assert_eq!(row.job, holds, "nobody is busy without a job");
    }
    let due = desk.memory.rows.borrow().keys().filter(|key| key.starts_with("due/")).count();
    assert!(due <= jobs.len(), "no job is twice in the index");
}

#[test]
fn no_order_of_moves_breaks_the_rules() {
    for seed in 0..60 {
        let mut rng = Rng::from_seed("moves").fork(&seed.to_string());
        let desk = Desk::new(rules());
        let (mut jobs, mut offers) = (Vec::new(), Vec::new());
        for _ in 0..250 {
            any_move(&desk, &mut rng, &mut jobs, &mut offers);
            jobs.sort_unstable();
            jobs.dedup();
            check(&desk, &jobs);
        }
        assert!(!jobs.is_empty() && !offers.is_empty());
    }
}
