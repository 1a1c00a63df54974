//! What is known of jobs beyond their ids: other names that the backend gives them, and where they
//! begin and end. Bounded: the oldest job is forgotten when a new one comes in beyond the limit.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
};

use super::session::Fields;
use crate::base::{id::Id, place::Place};

/// Jobs that are remembered.
const JOBS_MAX: usize = 100_000;

/// Jobs by id.
#[derive(Debug, Default)]
pub struct Book(RefCell<Pages>);

#[derive(Debug, Default)]
struct Pages {
    entries: HashMap<Id, Entry>,
    /// By a kept name and its value.
    by_value: HashMap<(String, Id), Id>,
    order: VecDeque<Id>,
}

#[derive(Debug, Default)]
struct Entry {
    fields: Fields,
    trip: Option<(Place, Place)>,
}

impl Book {
    /// What is kept of a job.
    pub fn fields(&self, job: &Id) -> Option<Fields> {
        self.0.borrow().entries.get(job).map(|entry| entry.fields.clone())
    }

    /// Keeps a text of a job under a name.
    pub fn keep(&self, job: &Id, name: &str, value: &str) {
        let pages = &mut *self.0.borrow_mut();
        pages.entry(job).fields.set(name, value);
        pages.by_value.insert((name.to_owned(), Id::from(value)), job.clone());
    }

    /// The job of which that value is kept under that name.
    pub fn job_of(&self, name: &str, value: &Id) -> Option<Id> {
        self.0.borrow().by_value.get(&(name.to_owned(), value.clone())).cloned()
    }

    /// From where to where it goes.
    pub fn set_trip(&self, job: &Id, from: Place, to: Place) {
        self.0.borrow_mut().entry(job).trip = Some((from, to));
    }

    /// From where to where it goes, where that is known.
    pub fn trip(&self, job: &Id) -> Option<(Place, Place)> {
        self.0.borrow().entries.get(job).and_then(|entry| entry.trip)
    }
}

impl Pages {
    fn entry(&mut self, job: &Id) -> &mut Entry {
        if !self.entries.contains_key(job) {
            if self.order.len() >= JOBS_MAX
                && let Some(oldest) = self.order.pop_front()
                && let Some(gone) = self.entries.remove(&oldest)
            {
                for (name, value) in gone.fields.iter() {
                    self.by_value.remove(&(name.to_owned(), Id::from(value)));
                }
            }
            self.order.push_back(job.clone());
        }
        self.entries.entry(job.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_its_other_name() {
        let book = Book::default();
        let job = Id::from("ride-1");
        book.keep(&job, "trip", "t-9");
        assert_eq!(book.job_of("trip", &Id::from("t-9")), Some(job.clone()));
        assert_eq!(book.job_of("trip", &Id::from("t-8")), None);
        assert_eq!(book.fields(&job).unwrap().get("trip"), Some("t-9"));
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_limit() {
        let book = Book::default();
        for n in 0..=JOBS_MAX {
            book.keep(&Id::from(n as u64), "trip", &format!("t{n}"));
        }
        assert_eq!(book.fields(&Id::from("0")), None);
        assert_eq!(book.job_of("trip", &Id::from("t0")), None);
        assert_eq!(book.job_of("trip", &Id::from("t1")), Some(Id::from("1")));
    }
}
