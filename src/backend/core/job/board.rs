//! The board: every row that one move of a job may look at or change. Pure; the service reads it,
//! a move changes a copy, and what differs is written in one transaction.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use super::planted::Planted;
use crate::backend::{
    core::{Code, RpcError, refuse, tariff::Road},
    wire::{Assignment, DriverRow, End, Job, JobState, Offer, PassengerRow, Shift},
};

/// How long whoever moved a job has for what follows, before any other node takes it over.
pub const LEASE_MS: u64 = 1_000;
/// Offers that ended and are remembered, to say why they are refused; older ones are forgotten.
const LAPSED_MAX: usize = 16;
/// Drivers of one search that are remembered as asked; beyond it the first may be asked again.
const ASKED_MAX: usize = 64;
/// An offer shorter than this is not worth showing.
pub const OFFER_MS_MIN: u64 = 1_000;

/// How long offers and searches live, and how many offers there may be.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Life of an offer.
    pub offer_ttl_ms: u64,
    /// Life of a search.
    pub search_ttl_ms: u64,
    /// Offers of one job that may be open at once.
    pub offers_at_once: usize,
}

/// What a job service goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What the config may change while the service runs.
    pub terms: Rc<Cell<Terms>>,
    /// Distances and prices.
    pub road: Road,
    /// The bugs that are planted.
    pub planted: Planted,
}

/// A job with everybody around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// The wall clock of the node that decides.
    pub now_ms: u64,
    /// The job.
    pub job: Job,
    /// Roster rows of the drivers around it; a driver who never worked is off shift.
    pub drivers: BTreeMap<u64, DriverRow>,
    /// Roster row of its passenger.
    pub passenger: PassengerRow,
}

impl Board {
    /// The roster row of a driver.
    pub fn driver(&mut self, driver: u64) -> &mut DriverRow {
        self.drivers.entry(driver).or_insert_with(|| DriverRow { driver, ..DriverRow::default() })
    }

    /// True while drivers are sought.
    pub fn is_open(&self) -> bool {
        is_open(&self.job)
    }

    /// The latest assignment of `driver`, of that number when it is not 0.
    pub fn assignment_of(&self, driver: u64, number: u32) -> Result<Assignment, RpcError> {
        self.job
            .assignments
            .iter()
            .rev()
            .find(|a| a.driver == driver && (number == 0 || a.number == number))
            .copied()
            .ok_or_else(|| refuse(Code::Forbidden, "the job is not assigned to this driver"))
    }

    /// Takes the offer away from its driver and remembers that there was one.
    pub fn lapse(&mut self, offer: u64) {
        let Some(at) = self.job.offers.iter().position(|open| open.id == offer) else { return };
        let offer = self.job.offers.remove(at);
        forget_oldest(&mut self.job.lapsed, LAPSED_MAX);
        self.job.lapsed.push(offer);
        self.clear_offer(&offer);
        if self.is_open() && self.job.offers.is_empty() {
            self.job.set_state(JobState::Requested);
        }
    }

    /// Takes every open offer away.
    pub fn lapse_all(&mut self) {
        for offer in self.job.offers.clone() {
            self.lapse(offer.id);
        }
    }

    /// The driver of an offer has no open offer any more.
    pub fn clear_offer(&mut self, offer: &Offer) {
        let row = self.driver(offer.driver);
        if row.offer == offer.id {
            (row.offer, row.offer_job, row.offer_ends_ms) = (0, 0, 0);
        }
    }

    /// Remembers that a driver was asked in this search.
    pub fn asked(&mut self, driver: u64) {
        if !self.job.asked.contains(&driver) {
            forget_oldest(&mut self.job.asked, ASKED_MAX);
            self.job.asked.push(driver);
        }
    }

    /// The driver no longer holds this job.
    pub fn free(&mut self, driver: u64) {
        let job = self.job.id;
        let row = self.driver(driver);
        if row.job == job {
            row.job = 0;
        }
    }

    /// The job is over: offers die, and everybody is free.
    pub fn end(&mut self, state: JobState, how: End, rules: &Rules) {
        self.lapse_all();
        self.job.set_state(state);
        self.job.set_end(how);
        self.job.ended_ms = self.now_ms;
        for assignment in self.job.assignments.clone() {
            if !assignment.released {
                self.free(assignment.driver);
            }
        }
        if self.passenger.job == self.job.id {
            self.passenger.job = 0;
        }
        let owed = self.job.fare_minor.unwrap_or(0) + self.job.fee_minor;
        let waits = owed > 0 && !rules.planted.forgets_debts;
        self.job.due_ms = if waits { self.now_ms + LEASE_MS } else { 0 };
    }

    /// Drivers are sought (again) from now on.
    pub fn seek(&mut self, rules: &Rules) {
        self.job.set_state(JobState::Requested);
        self.job.search_ends_ms = self.now_ms + rules.terms.get().search_ttl_ms;
        self.plan_search(rules);
    }

    /// Sets when the search must go on by itself: when an offer ends, soon when more drivers could
    /// be asked, and at the end of the search.
    pub fn plan_search(&mut self, rules: &Rules) {
        if rules.planted.lost_timer && !self.job.offers.is_empty() {
            self.job.due_ms = Planted::never(self.job.search_ends_ms);
            return;
        }
        let mut due = self.job.search_ends_ms;
        if self.job.offers.len() < rules.terms.get().offers_at_once {
            due = due.min(self.now_ms + LEASE_MS);
        }
        for offer in &self.job.offers {
            due = due.min(offer.expires_ms);
        }
        // At least a moment from now: an end that has passed is dealt with by the next look.
        self.job.due_ms = due.max(self.now_ms + 1);
    }
}

fn forget_oldest<T>(list: &mut Vec<T>, max: usize) {
    if list.len() >= max {
        list.remove(0);
    }
}

/// True while drivers are sought for the job.
pub fn is_open(job: &Job) -> bool {
    matches!(job.state(), JobState::Requested | JobState::Offered)
}

/// True once nothing moves the job any more.
pub fn is_over(job: &Job) -> bool {
    matches!(job.state(), JobState::Completed | JobState::Cancelled | JobState::Expired)
}

/// True when the driver has the job on its hands.
pub fn is_held_by(job: &Job, driver: u64) -> bool {
    !is_over(job) && job.assignments.iter().any(|a| a.driver == driver && !a.released)
}

/// True when the driver may be shown an offer.
pub fn is_free(row: &DriverRow, now_ms: u64) -> bool {
    row.shift() == Shift::On && row.job == 0 && (row.offer == 0 || row.offer_ends_ms <= now_ms)
}
