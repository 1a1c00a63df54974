//! The rules of live issues over what was heard of jobs and drivers. Pure: time is handed in. What it
//! keeps is bounded, and walked in the order of ids, so that two equal books answer alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    backend::wire::JobState,
    base::{place::Place, time::Time},
};

/// Live jobs that are watched; further ones are not.
pub const JOBS_MAX: usize = 50_000;
/// Drivers whose last position is kept; further ones are not.
const DRIVERS_MAX: usize = 200_000;
/// Rows that are read at once.
const READS_MAX: usize = 256;
/// A job with an issue is read again when it was read longer ago, in case its end was not heard.
const CHECK_AFTER: Duration = Duration::from_secs(5);
/// Any job is.
const CHECK_ALL_AFTER: Duration = Duration::from_mins(1);

/// What can be wrong with a live job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Nobody has taken it for too long.
    NoDriver,
    /// Nothing is heard of the driver who holds it.
    SilentDriver,
    /// The driver is not there although it should be.
    LatePickup,
}

impl Rule {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoDriver => "no-driver",
            Self::SilentDriver => "silent-driver",
            Self::LatePickup => "late-pickup",
        }
    }
}

/// How long is too long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A job without a driver.
    pub no_driver: Duration,
    /// A driver on a job without a ping.
    pub silent: Duration,
}

/// Something that is wrong now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issue {
    /// What.
    pub rule: Rule,
    /// With which job.
    pub job: u64,
    /// By which driver; 0 where none is concerned.
    pub driver: u64,
    /// Since when it is too long.
    pub since: Time,
}

/// What a job's row tells.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How it stands.
    pub state: JobState,
    /// Who holds it; 0 for nobody.
    pub driver: u64,
    /// When its search began.
    pub began: Time,
    /// How long its driver may take to the pickup, where that is known.
    pub way: Option<Duration>,
}

/// A live job.
#[derive(Debug, Clone, Copy)]
struct Live {
    state: JobState,
    /// When the search began; or when its driver took it.
    since: Time,
    driver: u64,
    /// When the driver should have been at the pickup.
    pickup_due: Time,
    /// When its row was read last.
    read: Time,
}

/// What was heard.
#[derive(Debug)]
pub struct Book {
    limits: Limits,
    jobs: BTreeMap<u64, Live>,
    drivers: BTreeMap<u64, (Place, Time)>,
    reading: BTreeSet<u64>,
    /// Planted: a job that is over stays in the book as it was.
    pub keeps_all: bool,
}

impl Book {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            jobs: BTreeMap::new(),
            drivers: BTreeMap::new(),
            reading: BTreeSet::new(),
            keeps_all: false,
        }
    }

    /// How many live jobs are watched.
    pub fn watched(&self) -> usize {
        self.jobs.len()
    }

    /// A driver was there at that moment.
    pub fn ping(&mut self, driver: u64, at: Place, seen: Time) {
        if let Some(known) = self.drivers.get_mut(&driver) {
            if known.1 <= seen {
                *known = (at, seen);
            }
        } else if self.drivers.len() < DRIVERS_MAX {
            self.drivers.insert(driver, (at, seen));
        }
    }

    /// Where a driver was last.
    pub fn place_of(&self, driver: u64) -> Option<Place> {
        self.drivers.get(&driver).map(|(at, _)| *at)
    }

    /// An event says that a job is in that state now; true when its row must be read to go on: it is
    /// new here, or somebody took it.
    pub fn heard(&mut self, job: u64, state: JobState) -> bool {
        if is_over(state) {
            self.forget(job, Time::ZERO);
            return false;
        }
        let Some(live) = self.jobs.get_mut(&job) else { return true };
        let searching = |state| matches!(state, JobState::Requested | JobState::Offered);
        if searching(live.state) != searching(state) {
            return true;
        }
        // Events of two nodes may overtake one another.
        if live.state < state {
            live.state = state;
        }
        false
    }

    fn forget(&mut self, job: u64, read: Time) {
        match self.jobs.get_mut(&job) {
            Some(live) if self.keeps_all => live.read = live.read.max(read),
            _ => drop(self.jobs.remove(&job)),
        }
    }

    /// Begins to read a row; false when it is being read already, or too many are.
    pub fn begin(&mut self, job: u64) -> bool {
        self.reading.len() < READS_MAX && self.reading.insert(job)
    }

    /// The row of a job, read just now; `None` when it could not be.
    pub fn read(&mut self, id: u64, row: Option<&Row>, now: Time) {
        self.reading.remove(&id);
        let Some(row) = row else { return };
        if is_over(row.state) {
            return self.forget(id, now);
        }
        if self.jobs.len() >= JOBS_MAX && !self.jobs.contains_key(&id) {
            return;
        }
        let since = if row.driver == 0 { row.began } else { now };
        let pickup_due = row.way.map_or(Time::MAX, |way| now + way);
        let fresh = Live { state: row.state, since, driver: row.driver, pickup_due, read: now };
        let live = self.jobs.entry(id).or_insert(fresh);
        // Who holds it for longer keeps the time that it was given.
        let same = live.driver == row.driver && row.driver != 0;
        *live = if same { Live { state: row.state, read: now, ..*live } } else { fresh };
    }

    /// What is wrong now, by job. Only what a read has confirmed since it went wrong: an event that
    /// was lost accuses nobody.
    pub fn issues(&self, now: Time) -> Vec<Issue> {
        let all = self.jobs.iter().flat_map(|(job, live)| self.wrong_with(*job, live, now));
        all.filter(|issue| self.jobs[&issue.job].read >= issue.since).collect()
    }

    /// Jobs whose rows should be read again, those read longest ago first.
    pub fn stale(&self, now: Time, limit: usize) -> Vec<u64> {
        let mut stale: Vec<(Time, u64)> = Vec::new();
        for (job, live) in &self.jobs {
            let age = now.since(live.read);
            let wrong = self.wrong_with(*job, live, now);
            let unconfirmed = wrong.iter().any(|issue| live.read < issue.since);
            let due = age >= CHECK_ALL_AFTER || !wrong.is_empty() && age >= CHECK_AFTER;
            if (due || unconfirmed) && !self.reading.contains(job) {
                stale.push((live.read, *job));
            }
        }
        stale.sort_unstable();
        stale.into_iter().take(limit).map(|(_, job)| job).collect()
    }

    fn wrong_with(&self, job: u64, live: &Live, now: Time) -> Vec<Issue> {
        let mut found = Vec::new();
        let mut look = |rule, driver, since: Time| {
            if since <= now {
                found.push(Issue { rule, job, driver, since });
            }
        };
        if live.driver == 0 {
            look(Rule::NoDriver, 0, live.since + self.limits.no_driver);
            return found;
        }
        let pinged = self.drivers.get(&live.driver).map_or(live.since, |(_, seen)| *seen);
        look(Rule::SilentDriver, live.driver, pinged.max(live.since) + self.limits.silent);
        if live.state == JobState::Accepted {
            look(Rule::LatePickup, live.driver, live.pickup_due);
        }
        found
    }
}

fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Cancelled | JobState::Expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { no_driver: Duration::from_secs(20), silent: Duration::from_secs(30) };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn row(state: JobState, driver: u64, way: Option<u64>) -> Row {
        Row { state, driver, began: at(0), way: way.map(Duration::from_secs) }
    }

    fn rules(book: &Book, now: u64) -> Vec<(Rule, u64)> {
        book.issues(at(now)).iter().map(|issue| (issue.rule, issue.job)).collect()
    }

    #[test]
    fn a_job_without_a_driver_is_an_issue_once_a_read_confirms_it() {
        let mut book = Book::new(LIMITS);
        assert!(book.heard(7, JobState::Requested), "it is new");
        assert!(book.begin(7) && !book.begin(7));
        book.read(7, Some(&row(JobState::Requested, 0, None)), at(1));
        assert!(!book.heard(7, JobState::Offered));
        assert_eq!((rules(&book, 19), rules(&book, 25)), (vec![], vec![]));
        assert_eq!((book.stale(at(19), 9), book.stale(at(25), 9)), (vec![], vec![7]));
        book.read(7, Some(&row(JobState::Offered, 0, None)), at(26));
        assert_eq!(rules(&book, 26), [(Rule::NoDriver, 7)]);
        assert!(book.heard(7, JobState::Accepted), "somebody took it");
        book.read(7, Some(&row(JobState::Accepted, 3, None)), at(27));
        assert_eq!(rules(&book, 28), []);
        book.heard(7, JobState::Cancelled);
        assert_eq!(book.watched(), 0);
    }

    #[test]
    fn the_planted_bug_calls_a_job_out_that_is_over() {
        let mut book = Book::new(LIMITS);
        book.keeps_all = true;
        book.read(7, Some(&row(JobState::Requested, 0, None)), at(1));
        assert!(!book.heard(7, JobState::Completed));
        book.read(7, Some(&row(JobState::Completed, 3, None)), at(26));
        assert_eq!(rules(&book, 26), [(Rule::NoDriver, 7)]);
    }

    #[test]
    fn a_driver_who_falls_silent_or_comes_late_is_an_issue_until_it_is_heard_or_there() {
        let mut book = Book::new(LIMITS);
        book.read(7, Some(&row(JobState::Accepted, 3, Some(40))), at(0));
        book.ping(3, Place::default(), at(5));
        book.read(7, Some(&row(JobState::Accepted, 3, Some(90))), at(36));
        assert_eq!(rules(&book, 36), [(Rule::SilentDriver, 7)]);
        book.ping(3, Place::default(), at(4));
        assert_eq!(rules(&book, 36).len(), 1, "an older ping tells nothing");
        book.ping(3, Place::default(), at(37));
        assert_eq!(rules(&book, 38), []);
        book.read(7, Some(&row(JobState::Accepted, 3, Some(90))), at(41));
        assert_eq!(rules(&book, 42), [(Rule::LatePickup, 7)], "the first word counts");
        assert!(!book.heard(7, JobState::Arrived));
        assert_eq!(rules(&book, 43), []);
        // The event of its end was lost: a look finds out.
        assert_eq!(book.stale(at(101), 9), [7]);
        book.read(7, Some(&row(JobState::Completed, 0, None)), at(101));
        assert_eq!((book.watched(), book.stale(at(999), 9)), (0, vec![]));
    }
}
