//! The moves of a job: pure decisions on a board, a refusal or the board as it is after. Every
//! move may be asked for twice: a repetition by the same actor changes nothing and is answered as
//! the first was.

use super::{
    board::{Board, LEASE_MS, OFFER_MS_MIN, Rules, is_free, is_over},
    planted::Planted,
};
use crate::backend::{
    core::{Code, RpcError, refuse},
    wire::{Assignment, CreateAsk, DriverRow, End, Job, JobState, Offer, Place, Shift},
};
use crate::base;

/// One move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Show the job to a driver; the offer gets this id.
    Offer {
        /// To whom.
        driver: u64,
        /// Id of the offer.
        offer: u64,
    },
    /// A driver takes its offer.
    Accept {
        /// Who.
        driver: u64,
        /// Which offer.
        offer: u64,
    },
    /// A driver refuses its offer.
    Decline {
        /// Who.
        driver: u64,
        /// Which offer.
        offer: u64,
    },
    /// A driver who holds the job does its next step.
    Step {
        /// Which.
        step: Step,
        /// Who.
        driver: u64,
        /// Number of the assignment; 0 for whichever is the driver's.
        assignment: u32,
    },
    /// The passenger gives up.
    Cancel {
        /// Who.
        passenger: u64,
    },
    /// The backend looks after a job that is due: what has expired ends.
    Tend {
        /// When it was due, as the caller saw: whoever comes second is refused.
        due_ms: u64,
    },
    /// The money is taken.
    Paid,
}

/// Steps of the driver who holds a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// At the kerb.
    Arrive,
    /// The passenger is in.
    PickUp,
    /// The journey is over.
    DropOff,
    /// The driver gives the job back.
    Cancel,
    /// The passenger did not come.
    NoShow,
}

/// What a move did to the board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// It had been made before: nothing changed.
    pub replayed: bool,
    /// The offer that was made (or stands).
    pub offer: Option<Offer>,
}

const FIRST: Moved = Moved { replayed: false, offer: None };
const AGAIN: Moved = Moved { replayed: true, offer: None };

/// Drivers whose rows the move may look at or change.
pub fn drivers_around(job: &Job, a_move: &Move) -> Vec<u64> {
    let mut all: Vec<u64> = job.offers.iter().map(|offer| offer.driver).collect();
    all.extend(job.assignments.iter().filter(|a| !a.released).map(|a| a.driver));
    match *a_move {
        Move::Offer { driver, .. }
        | Move::Accept { driver, .. }
        | Move::Decline { driver, .. }
        | Move::Step { driver, .. } => all.push(driver),
        Move::Cancel { .. } | Move::Tend { .. } | Move::Paid => {}
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Makes the move on the board, or refuses it; after a refusal the board is not to be used.
pub fn decide(board: &mut Board, a_move: &Move, rules: &Rules) -> Result<Moved, RpcError> {
    match *a_move {
        Move::Offer { driver, offer } => make_offer(board, driver, offer, rules),
        Move::Accept { driver, offer } => accept(board, driver, offer, rules),
        Move::Decline { driver, offer } => decline(board, driver, offer),
        Move::Step { step, driver, assignment } => {
            let mine = board.assignment_of(driver, assignment)?;
            take_step(board, step, &mine, rules)
        }
        Move::Cancel { passenger } => cancel(board, passenger, rules),
        Move::Tend { due_ms } => tend(board, due_ms, rules),
        Move::Paid => Ok(paid(board)),
    }
}

/// A new job, with its passenger's row; the caller has looked for the idempotency key before.
pub fn create(board: &mut Board, id: u64, ask: &CreateAsk, rules: &Rules) -> Result<(), RpcError> {
    if board.passenger.job != 0 && !rules.planted.redelivered {
        return Err(refuse(Code::Conflict, "the passenger has a live job"));
    }
    board.job = Job {
        id,
        passenger: ask.passenger,
        pickup: ask.pickup,
        dropoff: ask.dropoff,
        key: ask.key.clone(),
        quoted_minor: ask.quoted_minor,
        requested_ms: board.now_ms,
        ..Job::default()
    };
    board.seek(rules);
    board.passenger.job = id;
    Ok(())
}

fn make_offer(b: &mut Board, driver: u64, offer: u64, rules: &Rules) -> Result<Moved, RpcError> {
    let now_ms = b.now_ms;
    if let Some(open) = b.job.offers.iter().find(|o| o.driver == driver && o.expires_ms > now_ms) {
        return Ok(Moved { replayed: true, offer: Some(*open) });
    }
    if !b.is_open() || b.job.search_ends_ms < now_ms + OFFER_MS_MIN {
        return Err(refuse(Code::Conflict, "the job is not sought for any more"));
    }
    let terms = rules.terms.get();
    if b.job.offers.iter().filter(|o| o.expires_ms > now_ms).count() >= terms.offers_at_once {
        return Err(refuse(Code::Conflict, "enough drivers are asked already"));
    }
    if !is_free(b.driver(driver), now_ms) {
        return Ok(FIRST);
    }
    b.asked(driver);
    // An expired offer of the same driver may still stand on the job: it ends here.
    let stale = b.job.offers.iter().find(|o| o.driver == driver).map(|o| o.id);
    if let Some(stale) = stale {
        b.lapse(stale);
    }
    let expires_ms = (now_ms + terms.offer_ttl_ms).min(b.job.search_ends_ms);
    let made = Offer { id: offer, driver, made_ms: now_ms, expires_ms };
    b.job.offers.push(made);
    b.job.set_state(JobState::Offered);
    let job = b.job.id;
    let row = b.driver(driver);
    (row.offer, row.offer_job, row.offer_ends_ms) = (offer, job, expires_ms);
    b.plan_search(rules);
    Ok(Moved { replayed: false, offer: Some(made) })
}

fn accept(b: &mut Board, driver: u64, offer: u64, rules: &Rules) -> Result<Moved, RpcError> {
    if let Some(mine) = b.job.assignments.iter().find(|a| a.driver == driver && a.offer == offer) {
        return if mine.released {
            Err(refuse(Code::Conflict, "the assignment is over"))
        } else {
            Ok(AGAIN)
        };
    }
    let found = find_offer(b, driver, offer, rules)?;
    let revived = rules.planted.revived_cancel && b.job.end() == End::ByPassenger;
    if !b.is_open() && !rules.planted.double_dispatch && !revived {
        return Err(refuse(Code::Conflict, "somebody was first"));
    }
    let row = b.driver(driver);
    if row.shift() != Shift::On {
        return Err(refuse(Code::Conflict, "the driver is not on shift"));
    }
    if row.job != 0 {
        return Err(refuse(Code::Conflict, "the driver has a live job"));
    }
    assign(b, &found);
    if !rules.planted.double_dispatch {
        b.lapse_all();
    }
    b.job.set_state(JobState::Accepted);
    b.job.due_ms = if rules.planted.late_timer { found.expires_ms } else { 0 };
    Ok(FIRST)
}

/// The offer, if it is still open: an accept counts only before the offer's end.
fn find_offer(b: &Board, driver: u64, offer: u64, rules: &Rules) -> Result<Offer, RpcError> {
    let of = |list: &[Offer]| list.iter().find(|o| o.id == offer && o.driver == driver).copied();
    let Planted { double_dispatch, late_accept, .. } = rules.planted;
    if let Some(open) = of(&b.job.offers) {
        if open.expires_ms > b.now_ms || late_accept || double_dispatch {
            return Ok(open);
        }
        return Err(refuse(Code::Conflict, "the offer has expired"));
    }
    match of(&b.job.lapsed) {
        Some(lapsed) if double_dispatch || (late_accept && b.is_open()) => Ok(lapsed),
        Some(lapsed) if rules.planted.revived_cancel && lapsed.expires_ms > b.now_ms => Ok(lapsed),
        Some(_) => Err(refuse(Code::Conflict, "the offer has ended")),
        None => Err(refuse(Code::NotFound, "no such offer for this driver")),
    }
}

fn assign(b: &mut Board, offer: &Offer) {
    let number = b.job.assignments.last().map_or(0, |last| last.number) + 1;
    b.job.assignments.push(Assignment {
        number,
        driver: offer.driver,
        offer: offer.id,
        released: false,
    });
    b.job.offers.retain(|open| open.id != offer.id);
    b.clear_offer(offer);
    let job = b.job.id;
    b.driver(offer.driver).job = job;
}

fn decline(b: &mut Board, driver: u64, offer: u64) -> Result<Moved, RpcError> {
    if b.job.assignments.iter().any(|a| a.driver == driver && a.offer == offer) {
        return Err(refuse(Code::Conflict, "the offer was accepted"));
    }
    let of = |list: &[Offer]| list.iter().any(|o| o.id == offer && o.driver == driver);
    if of(&b.job.offers) {
        b.lapse(offer);
        if b.is_open() {
            // Whoever took the decline seeks on at once; others may after the lease.
            b.job.due_ms = b.job.due_ms.min(b.now_ms + LEASE_MS);
        }
        return Ok(FIRST);
    }
    if of(&b.job.lapsed) {
        return Ok(AGAIN);
    }
    Err(refuse(Code::NotFound, "no such offer for this driver"))
}

fn take_step(
    b: &mut Board,
    step: Step,
    mine: &Assignment,
    rules: &Rules,
) -> Result<Moved, RpcError> {
    use JobState::{Accepted, Arrived, Completed, PickedUp};
    let state = b.job.state();
    if mine.released {
        return match step {
            Step::Cancel => Ok(AGAIN),
            _ => Err(refuse(Code::Conflict, "the assignment is over")),
        };
    }
    match (step, state) {
        (Step::Arrive, Accepted) => b.job.set_state(Arrived),
        (Step::PickUp, Arrived) => {
            b.job.set_state(PickedUp);
            b.job.picked_up_ms = b.now_ms;
        }
        (Step::DropOff, PickedUp) => drop_off(b, rules),
        (Step::Cancel, Accepted | Arrived) => give_back(b, mine, rules),
        (Step::NoShow, Arrived) => {
            b.job.fee_minor = rules.road.fee_minor();
            b.end(JobState::Cancelled, End::NoShow, rules);
        }
        (Step::Arrive, Arrived | PickedUp | Completed)
        | (Step::PickUp, PickedUp | Completed)
        | (Step::DropOff, Completed) => return Ok(AGAIN),
        (Step::NoShow, JobState::Cancelled) if b.job.end() == End::NoShow => return Ok(AGAIN),
        _ => return Err(refuse(Code::Conflict, format!("the job is {}", word(state)))),
    }
    Ok(FIRST)
}

fn drop_off(b: &mut Board, rules: &Rules) {
    let at = |place: Option<Place>| {
        place.map_or_else(base::place::Place::default, |p| (p.lat_e6, p.lon_e6).into())
    };
    let metres = rules.road.metres(at(b.job.pickup), at(b.job.dropoff));
    let seconds = rules.road.city_seconds(b.now_ms.saturating_sub(b.job.picked_up_ms));
    let lost_s = rules.planted.lost_s(b.job.picked_up_ms, b.now_ms);
    b.job.fare_minor = Some(rules.road.fare_minor(metres, seconds) - rules.road.time_minor(lost_s));
    b.end(JobState::Completed, End::DroppedOff, rules);
}

fn give_back(b: &mut Board, mine: &Assignment, rules: &Rules) {
    for assignment in &mut b.job.assignments {
        assignment.released |= assignment.number == mine.number;
    }
    b.free(mine.driver);
    b.asked(mine.driver);
    b.seek(rules);
}

fn cancel(b: &mut Board, passenger: u64, rules: &Rules) -> Result<Moved, RpcError> {
    if b.job.passenger != passenger {
        return Err(refuse(Code::Forbidden, "another passenger's job"));
    }
    let state = b.job.state();
    if b.job.end() == End::ByPassenger {
        return Ok(AGAIN);
    }
    if is_over(&b.job) || state == JobState::PickedUp {
        return Err(refuse(Code::Conflict, format!("the job is {}", word(state))));
    }
    if state == JobState::Arrived {
        b.job.fee_minor = rules.road.fee_minor();
    }
    let busy: Vec<DriverRow> = b.drivers.values().copied().collect();
    b.end(JobState::Cancelled, End::ByPassenger, rules);
    if rules.planted.busy_leak {
        for row in busy {
            b.driver(row.driver).job = row.job;
        }
    }
    Ok(FIRST)
}

fn tend(b: &mut Board, due_ms: u64, rules: &Rules) -> Result<Moved, RpcError> {
    if b.job.due_ms != due_ms || due_ms == 0 {
        return Err(refuse(Code::Conflict, "another node looks after the job"));
    }
    if is_over(&b.job) {
        b.job.due_ms = if b.job.paid { 0 } else { b.now_ms + LEASE_MS };
        return Ok(FIRST);
    }
    if rules.planted.late_timer && b.job.state() == JobState::Accepted {
        b.seek(rules);
        return Ok(FIRST);
    }
    if !b.is_open() {
        b.job.due_ms = 0;
        return Ok(FIRST);
    }
    if b.now_ms >= b.job.search_ends_ms && !rules.planted.endless_search {
        b.end(JobState::Expired, End::NobodyCame, rules);
        return Ok(FIRST);
    }
    let ended: Vec<u64> =
        b.job.offers.iter().filter(|o| o.expires_ms <= b.now_ms).map(|o| o.id).collect();
    for offer in ended {
        b.lapse(offer);
    }
    b.plan_search(rules);
    Ok(FIRST)
}

fn paid(b: &mut Board) -> Moved {
    if b.job.paid {
        return AGAIN;
    }
    b.job.paid = true;
    b.job.due_ms = 0;
    FIRST
}

/// The word for a state at the API.
pub fn word(state: JobState) -> &'static str {
    match state {
        JobState::Unborn => "unborn",
        JobState::Requested => "requested",
        JobState::Offered => "offered",
        JobState::Accepted => "accepted",
        JobState::Arrived => "arrived",
        JobState::PickedUp => "picked_up",
        JobState::Completed => "completed",
        JobState::Cancelled => "cancelled",
        JobState::Expired => "expired",
    }
}
