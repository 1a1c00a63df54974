//! The auditor: reads every job and every sum of money back when all is quiet: page by page, or one by
//! one where the target cannot list its jobs. The cursor of a page travels in `Ask::key`.

use std::{collections::VecDeque, time::Duration};

use super::{Act, Event, Robot, Standing, Surroundings, cue};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        rng::Rng,
        time::Time,
    },
    history::{
        answer::Refusal,
        op::{Ask, Op, OpKind, Outcome},
    },
};

/// What is read back, in order.
const LISTS: &[OpKind] =
    &[OpKind::AuditJobs, OpKind::AuditCharges, OpKind::AuditEarnings, OpKind::AuditRefunds];
/// Tries of one page before the list is given up.
const TRIES_MAX: u32 = 10;
/// Pages of one list before it is given up: a cursor that goes round must not hang a run.
const PAGES_MAX: u32 = 1_000_000;
/// Between two tries, times their number.
const RETRY: Duration = Duration::from_millis(500);
/// Jobs that are read one by one at the same time.
const AT_ONCE: usize = 8;
/// Tries of one job; each has its attempts.
const JOB_TRIES_MAX: u32 = 3;

/// Reads back.
#[derive(Debug)]
pub struct Auditor {
    number: u32,
    started: bool,
    list: usize,
    next: Option<Id>,
    tries: u32,
    pages: u32,
    /// Jobs that are still to be read one by one, with the tries so far.
    jobs: VecDeque<(Id, u32)>,
    /// Those that were asked for.
    open: Vec<(Id, u32)>,
}

impl Auditor {
    /// The auditor of that number.
    pub fn new(number: u32) -> Self {
        let (jobs, open) = (VecDeque::new(), Vec::new());
        Self { number, started: false, list: 0, next: None, tries: 0, pages: 0, jobs, open }
    }

    fn ask(&mut self, cue: &mut cue::Cue<'_>) {
        // What the target does not have is not read back.
        while let Some(op) = LISTS.get(self.list).filter(|op| !cue.has(**op)) {
            if *op == OpKind::AuditJobs && self.ask_jobs(cue) {
                return;
            }
            self.next_list();
        }
        match LISTS.get(self.list) {
            Some(op) => cue.ask(Ask { key: self.next.clone(), ..Ask::new(*op) }),
            None => cue.rest(),
        }
    }

    /// Asks for jobs one by one; false when all were read, or none can be.
    fn ask_jobs(&mut self, cue: &mut cue::Cue<'_>) -> bool {
        if !cue.has(OpKind::AuditJob) {
            return false;
        }
        while self.open.len() < AT_ONCE
            && let Some((job, tries)) = self.jobs.pop_front()
        {
            cue.ask(Ask { job: Some(job.clone()), ..Ask::new(OpKind::AuditJob) });
            self.open.push((job, tries));
        }
        !self.open.is_empty()
    }

    /// One job was read. One that nobody could read is tried again, last of all.
    fn read(&mut self, op: &Op, cue: &mut cue::Cue<'_>) {
        let asked = self.open.iter().position(|(job, _)| op.ask.job.as_ref() == Some(job));
        let Some((job, tries)) = asked.map(|index| self.open.swap_remove(index)) else { return };
        let told = op.outcome == Outcome::Ok || op.answer.refusal == Some(Refusal::NotFound);
        if !told && tries + 1 < JOB_TRIES_MAX {
            self.jobs.push_back((job, tries + 1));
        }
        self.ask(cue);
    }

    fn next_list(&mut self) {
        self.list += 1;
        (self.next, self.tries, self.pages) = (None, 0, 0);
    }

    fn page(&mut self, op: &Op, cue: &mut cue::Cue<'_>) {
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
            Event::Known(jobs) => self.jobs = jobs.iter().map(|job| (job.clone(), 0)).collect(),
            Event::Done(op) if op.kind() == OpKind::AuditJob => self.read(op, &mut cue),
            Event::Done(op) if LISTS.get(self.list) == Some(&op.kind()) => self.page(op, &mut cue),
            Event::Done(_)
            | Event::Told(_)
            | Event::Overheard(_)
            | Event::Wish(_)
            | Event::Report
            | Event::Drain
            | Event::SignOff => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::op::OpSet,
        robot::puppet::{Puppet, steady},
    };
    use OpKind as K;

    fn auditor(ops: &[OpKind], jobs: u32) -> Puppet<Auditor> {
        let mut puppet = Puppet::new(Auditor::new(0), steady());
        puppet.around.ops = ops.iter().copied().collect::<OpSet>();
        let jobs: Vec<_> = (0..jobs).map(|n| Id::from(u64::from(n))).collect();
        puppet.event(Event::Known(&jobs));
        puppet.event(Event::Start);
        puppet
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        for ops in [&[][..], &[K::AuditJob]] {
            let puppet = auditor(ops, 0);
            assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));
        }
        let mut charges = auditor(&[K::AuditCharges], 3);
        charges.ok(K::AuditCharges);
        assert_eq!((charges.standing(), charges.rested), (Standing::Gone, 1));
    }

    #[test]
    fn where_jobs_cannot_be_listed_they_are_read_one_by_one() {
        let mut puppet = auditor(&[K::AuditJob, K::AuditCharges], 20);
        assert_eq!(puppet.asked.len(), AT_ONCE);
        let mut read = std::collections::BTreeMap::new();
        while let Some(ask) = puppet.take(K::AuditJob) {
            let id = ask.job.clone().unwrap();
            let tries = read.entry(id.clone()).or_insert(0);
            *tries += 1;
            let outcome = match id.as_str() {
                "3" => Outcome::Info,
                "4" if *tries == 1 => Outcome::Info,
                _ => Outcome::Ok,
            };
            puppet.done(ask, outcome, crate::history::answer::Answer::default());
            assert!(puppet.asked.len() <= AT_ONCE);
        }
        assert_eq!(read.len(), 20);
        assert_eq!((read[&Id::from("3")], read[&Id::from("4")]), (JOB_TRIES_MAX, 2));
        puppet.ok(K::AuditCharges);
        assert_eq!((puppet.standing(), puppet.rested), (Standing::Gone, 1));
    }
}
