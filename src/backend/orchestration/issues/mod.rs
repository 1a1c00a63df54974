//! `orchestration/live-issues`: what is wrong with live jobs now, so that nobody has to scan them all.
//! Every node of this tier hears the events and the pings and keeps a book of its own; a job whose
//! beginning it did not hear is watched from the next event on.

mod book;

use std::{cell::RefCell, rc::Rc, time::Duration};

use book::{Book, Limits, Row};

use super::{
    calls::{MEMORY, ROWS},
    events::{EVENT, job_of},
};
use crate::backend::{
    core::{
        job::moves::word,
        raziel::{MOVED, columns},
    },
    node::Node,
    plants,
    platform::rpc::{Code, Router, refuse},
    wire::{
        self, ChangeEvent, IssuesAnswer, IssuesAsk, Job, JobAnswer, JobAsk, JobState, MovedBatch,
        Nothing, TravelAnswer, TravelAsk,
    },
};

/// How often the book is looked through.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows that one look reads again.
const LOOK_READS: usize = 16;
/// A job may be without a driver for this part of the life of its search.
const NO_DRIVER_PART: u32 = 2;
/// A driver may take so many times as long as the way was reckoned to take, …
const LATE_TIMES: f64 = 2.0;
/// … and so much longer: seconds of the city, …
const LATE_CITY_S: f64 = 120.0;
/// … and of the clock, for whatever does not run faster with the city.
const LATE_S: f64 = 15.0;

/// Serves `orchestration/live-issues` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let settings = &node.config.settings;
    let limits =
        Limits { no_driver: settings.search_ttl / NO_DRIVER_PART, silent: settings.ping_ttl };
    let mut book = Book::new(limits);
    book.keeps_all = node.planted(plants::STALE_ISSUES);
    let issues = Issues { node: node.clone(), book: Rc::new(RefCell::new(book)) };
    let own = issues.clone();
    router.on_sync(EVENT, move |event: ChangeEvent| {
        own.heard(&event);
        Ok(Nothing {})
    });
    let own = issues.clone();
    router.on_sync(MOVED, move |batch: MovedBatch| {
        if !columns::are_even(&batch) {
            return Err(refuse(Code::Invalid, "columns of different lengths"));
        }
        own.moved(&batch);
        Ok(Nothing {})
    });
    let own = issues.clone();
    router.on_sync("/orchestration/live-issues/list", move |_: IssuesAsk| Ok(own.list()));
    node.env.spawn(async move { issues.look().await });
}

#[derive(Clone)]
struct Issues {
    node: Node,
    book: Rc<RefCell<Book>>,
}

impl Issues {
    fn heard(&self, event: &ChangeEvent) {
        let (Some(job), Some(state)) = (job_of(event), state_of(&event.r#type)) else { return };
        if self.book.borrow_mut().heard(job, state) {
            self.read(job);
        }
    }

    fn moved(&self, batch: &MovedBatch) {
        let (mut book, now) = (self.book.borrow_mut(), self.node.env.now());
        for moved in columns::rows(batch) {
            let seen = now.saturating_sub(Duration::from_millis(moved.age_ms.into()));
            book.ping(moved.driver, (moved.lat_e6, moved.lon_e6).into(), seen);
        }
    }

    fn list(&self) -> IssuesAnswer {
        let (book, now) = (self.book.borrow(), self.node.env.now());
        let issues = book.issues(now).into_iter().map(|issue| wire::Issue {
            rule: issue.rule.word().to_owned(),
            job: issue.job,
            driver: issue.driver,
            open_ms: now.since(issue.since).as_millis() as u64,
        });
        IssuesAnswer { issues: issues.collect(), watched: book.watched() as u32 }
    }

    /// Reads again what may have changed unheard, until the node dies.
    async fn look(&self) {
        loop {
            self.node.env.sleep(LOOK_EVERY).await;
            let stale = self.book.borrow().stale(self.node.env.now(), LOOK_READS);
            for job in stale {
                self.read(job);
            }
        }
    }

    fn read(&self, job: u64) {
        if !self.book.borrow_mut().begin(job) {
            return;
        }
        let this = self.clone();
        self.node.env.spawn(async move {
            let ask = JobAsk { job };
            let found = this.node.rpc.call::<_, JobAnswer>("/core/job/get", &ask, ROWS).await;
            let row = match found {
                Ok(JobAnswer { job: Some(row) }) => Some(this.row(&row).await),
                // Read again by a later look.
                _ => None,
            };
            this.book.borrow_mut().read(job, row.as_ref(), this.node.env.now());
        });
    }

    async fn row(&self, job: &Job) -> Row {
        let (settings, env) = (&self.node.config.settings, &self.node.env);
        let holder = job.assignments.last().filter(|assignment| !assignment.released);
        let driver = holder.map_or(0, |assignment| assignment.driver);
        let left = Duration::from_millis(job.search_ends_ms.saturating_sub(env.wall().0));
        let began = env.now().saturating_sub(settings.search_ttl.saturating_sub(left));
        let way =
            if job.state() == JobState::Accepted { self.way(job, driver).await } else { None };
        Row { state: job.state(), driver, began, way }
    }

    /// How long the driver may take to the pickup from where it was last.
    async fn way(&self, job: &Job, driver: u64) -> Option<Duration> {
        let at = self.book.borrow().place_of(driver)?;
        let from = vec![wire::Place { lat_e6: at.lat_e6, lon_e6: at.lon_e6 }];
        let ask = TravelAsk { from, to: job.pickup };
        let path = "/core/eta/multitraveltime";
        let travel: TravelAnswer = self.node.rpc.call(path, &ask, MEMORY).await.ok()?;
        let city_s = f64::from(*travel.seconds.first()?) * LATE_TIMES + LATE_CITY_S;
        let scale = self.node.config.settings.city.time_scale.max(f64::MIN_POSITIVE);
        Duration::try_from_secs_f64(city_s / scale + LATE_S).ok()
    }
}

/// The state that an event's type names.
fn state_of(what: &str) -> Option<JobState> {
    (1..).map_while(|number| JobState::try_from(number).ok()).find(|state| word(*state) == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_job_is_known_by_its_word() {
        for state in [JobState::Requested, JobState::PickedUp, JobState::Expired] {
            assert_eq!(state_of(word(state)), Some(state));
        }
        assert_eq!(state_of("unborn"), None);
        assert_eq!(state_of("paid"), None);
    }
}
