//! The auditor: reads every job and every charge back, page by page, when all is quiet.
//! The cursor of a page travels in `Ask::key`.

use std::time::Duration;

use super::{Act, Event, Robot, Standing, Surroundings, cue};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        rng::Rng,
        time::Time,
    },
    history::op::{Ask, OpKind, Outcome},
};

/// What is read back, in order.
const LISTS: &[OpKind] = &[OpKind::AuditJobs, OpKind::AuditCharges];
/// Tries of one page before the list is given up.
const TRIES_MAX: u32 = 10;
/// Pages of one list before it is given up: a cursor that goes round must not hang a run.
const PAGES_MAX: u32 = 1_000_000;
/// Between two tries, times their number.
const RETRY: Duration = Duration::from_millis(500);

/// Reads back.
#[derive(Debug)]
pub struct Auditor {
    number: u32,
    started: bool,
    list: usize,
    next: Option<Id>,
    tries: u32,
    pages: u32,
}

impl Auditor {
    /// The auditor of that number.
    pub fn new(number: u32) -> Self {
        Self { number, started: false, list: 0, next: None, tries: 0, pages: 0 }
    }

    fn ask(&mut self, cue: &mut cue::Cue<'_>) {
        // What the target does not have is not read back.
        while LISTS.get(self.list).is_some_and(|op| !cue.has(*op)) {
            self.next_list();
        }
        match LISTS.get(self.list) {
            Some(op) => cue.ask(Ask { key: self.next.clone(), ..Ask::new(*op) }),
            None => cue.rest(),
        }
    }

    fn next_list(&mut self) {
        self.list += 1;
        (self.next, self.tries, self.pages) = (None, 0, 0);
    }

    fn page(&mut self, op: &crate::history::op::Op, cue: &mut cue::Cue<'_>) {
        if op.outcome != Outcome::Ok {
            self.tries += 1;
            if self.tries < TRIES_MAX {
                let wait = cue.patience(RETRY, self.tries);
                return cue.wake(wait, cue::alarm(0, 0));
            }
            self.next_list();
            return self.ask(cue);
        }
        self.tries = 0;
        self.pages += 1;
        if op.answer.next.is_none() || op.answer.next == self.next || self.pages >= PAGES_MAX {
            self.next_list();
        } else {
            self.next.clone_from(&op.answer.next);
        }
        self.ask(cue);
    }
}

impl Robot for Auditor {
    fn id(&self) -> RobotId {
        RobotId { kind: RobotKind::Auditor, number: self.number }
    }

    fn step(
        &mut self,
        now: Time,
        event: Event<'_>,
        rng: &mut Rng,
        around: &Surroundings,
        acts: &mut Vec<Act>,
    ) {
        let mut cue = cue::Cue { now, rng, around, acts };
        match event {
            Event::Start => {
                self.started = true;
                self.ask(&mut cue);
            }
            Event::Alarm(_) => self.ask(&mut cue),
            Event::Done(op) if LISTS.get(self.list) == Some(&op.kind()) => self.page(op, &mut cue),
            Event::Done(_) | Event::Told(_) | Event::Wish(_) | Event::Drain | Event::SignOff => {}
        }
    }

    fn standing(&self) -> Standing {
        match (self.started, self.list < LISTS.len()) {
            (false, _) => Standing::Arriving,
            (true, true) => Standing::Busy,
            (true, false) => Standing::Gone,
        }
    }
}
