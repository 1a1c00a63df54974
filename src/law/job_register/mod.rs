//! job-register-linearizable: whatever happened at once, there is an order of a job's writes and reads
//! in which each of them makes sense. Jobs are judged one by one; the search is in [`search`], what
//! may follow what in [`model`].

pub mod model;
mod search;

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use self::{
    model::{Model, What},
    search::{Found, Search, Step, core_of},
};
use super::{
    Judgement, Law, LawEntry, Seen, Verdict,
    accounts::Accounts,
    fact::{Fact, is_audit, is_read, job_of},
    roll::Roll,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotKind},
        time::Time,
    },
    history::{
        answer::{JobState, JobView},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "job-register-linearizable",
    means: "no order of a job's acknowledged writes and of what was read of it makes sense, \
            whatever ops of unknown outcome did and whatever the backend did by itself",
    needs: &[
        &[OpKind::PassengerRequestJob],
        &[OpKind::DriverAccept],
        &[OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob, OpKind::DriverCurrentJob],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::DriverRegister,
        OpKind::DriverLogin,
        OpKind::PassengerRequestJob,
        OpKind::PassengerCancel,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverCurrentJob,
        OpKind::DriverGoOffline,
        OpKind::CleanupRobot,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "refusals (a conflict may be a transaction that lost); jobs that a stranger drove; \
                 what is said of a job after the horizon has passed since the last word about it",
    rare: false,
    start: |declares, tally| Box::new(JobRegister::new(declares, tally)),
};

/// Jobs of one passenger, and of one driver, that are remembered.
const JOBS_MAX: usize = 8;

/// One op about a job, and the evidence of it.
#[derive(Debug)]
struct Line {
    fact: Fact,
    step: Step,
}

/// What is known of one job.
#[derive(Debug, Default)]
struct Tape {
    /// Its request was acknowledged, so that its begin is known.
    born: bool,
    /// Somebody who is none of our robots had it.
    foreign: bool,
    lines: Vec<Line>,
}

struct JobRegister {
    model: Model,
    named_offers: bool,
    read_delay: Duration,
    accounts: Accounts,
    /// Any driver's account is known: then one that is not is a stranger's.
    tells_accounts: bool,
    tapes: Shelf<Tape>,
    /// Jobs that a passenger asked for: an answer may come again, long after.
    asked: Roll<VecDeque<Id>>,
    /// Jobs that a driver may hold.
    taken: Roll<VecDeque<Id>>,
    /// Jobs whose search was given up.
    tangled: u64,
    seen_until: Time,
    search: RefCell<Search>,
    tally: Tally,
}

impl JobRegister {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            model: Model::new(declares),
            named_offers: declares.named_offers,
            read_delay: declares.read_delay.0,
            accounts: tally.accounts(),
            tells_accounts: false,
            tapes: tally.shelf(),
            asked: Roll::default(),
            taken: Roll::default(),
            tangled: 0,
            seen_until: Time::ZERO,
            search: RefCell::default(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        let told = op.answer.account.is_some() && op.robot.kind == RobotKind::Driver;
        self.tells_accounts |= told && op.outcome == Outcome::Ok;
        if op.outcome != Outcome::Fail {
            match op.kind() {
                OpKind::PassengerRequestJob => self.born(op),
                OpKind::DriverGoOffline | OpKind::CleanupRobot => self.leave(op),
                kind if is_read(kind) => self.read(op),
                _ => self.write(op),
            }
        }
        while let Some((job, tape)) = self.tapes.expire(self.seen_until) {
            let mut tally = self.tally.clone();
            self.tangled += u64::from(!self.judge_job(&job, &tape, &mut tally));
            self.tally = tally;
        }
    }

    fn born(&mut self, op: &Op) {
        let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) else { return };
        if remember(self.asked.at(op.robot), job) {
            self.tapes.at(job, self.seen_until).born = true;
        }
    }

    /// A driver who leaves may lose whatever it holds.
    fn leave(&mut self, op: &Op) {
        for job in self.taken.remove(op.robot).into_iter().flatten() {
            if let Some(tape) = self.tapes.get(&job, self.seen_until) {
                let what = What::Release { driver: op.robot.number, number: 0 };
                tape.vague(Fact::of(op).of_job(&job), what);
            }
        }
    }

    fn write(&mut self, op: &Op) {
        let Some(job) = job_of(op) else { return };
        let (driver, number) = (op.robot.number, op.ask.assignment.unwrap_or(0));
        let view = op.answer.job.as_deref();
        let told = view.map(|view| view.state);
        let what = match op.kind() {
            OpKind::DriverAccept => {
                remember(self.taken.at(op.robot), job);
                let own = view.and_then(|view| {
                    let own = self.accounts.is(op.robot, view.driver.as_ref()?)?;
                    own.then_some(view.assignment)
                });
                What::Accept { driver, number: own.unwrap_or(0) }
            }
            OpKind::DriverArrive => What::Move { driver, number, to: JobState::Arrived },
            OpKind::DriverPickUp => What::Move { driver, number, to: JobState::PickedUp },
            OpKind::DriverDropOff => What::Move { driver, number, to: JobState::Completed },
            OpKind::DriverCancel | OpKind::DriverNoShow => What::Release { driver, number },
            OpKind::PassengerCancel => What::Cancel { told: told == Some(JobState::Cancelled) },
            _ => return,
        };
        // A step that a target takes note of without a state for it leads nowhere.
        if matches!(what, What::Move { to, .. } if !self.model.knows(to)) {
            return;
        }
        // An answer that was given before tells of the past; one that says that the job goes on is no
        // yes to a cancel.
        let doubt = op.answer.replayed
            || op.ask.again.is_some()
            || matches!(what, What::Cancel { .. }) && told.is_some_and(|told| !told.is_terminal());
        let pinned = match what {
            What::Accept { .. } => self.named_offers,
            What::Cancel { .. } => true,
            _ => number != 0,
        };
        let echo = op.attempts.iter().any(|attempt| attempt.outcome == Outcome::Info);
        let tape = self.tapes.at(job, self.seen_until);
        let must = op.outcome == Outcome::Ok && !doubt;
        if must {
            let step = Step { sent: op.sent, done: op.done, what, must };
            tape.lines.push(Line { fact: Fact::of(op), step });
        }
        // Another attempt of it, still on its way, may do the same again.
        if !must || echo && !pinned {
            tape.vague(Fact::of(op), what);
        }
    }

    fn read(&mut self, op: &Op) {
        if op.outcome != Outcome::Ok {
            return;
        }
        for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
            self.read_one(op, view);
        }
    }

    fn read_one(&mut self, op: &Op, view: &JobView) {
        let named = view.driver.as_ref();
        let driver = named.and_then(|driver| self.accounts.driver(driver));
        let foreign = named.is_some() && driver.is_none() && self.tells_accounts;
        let (state, number) = (view.state, view.assignment);
        let driver = driver.map(|driver| driver.number).filter(|_| state.is_held());
        let step = Step {
            sent: op.sent.saturating_sub(self.read_delay),
            done: op.done,
            what: What::Read { state, number, driver },
            must: true,
        };
        // Of a job that only the read-back speaks of nobody knows how it began.
        if is_audit(op.kind()) && self.tapes.peek(&view.id).is_none() {
            return;
        }
        let tape = self.tapes.at(&view.id, self.seen_until);
        tape.foreign |= foreign;
        // Between the first and the last of many equal reads the others tell nothing new.
        let same = tape.lines.iter().rev().take(2).filter(|line| line.step.what == step.what);
        if same.count() == 2 {
            tape.lines.pop();
        }
        tape.lines.push(Line { fact: Fact::about(op, view), step });
    }

    /// Judges one job; false when the search was given up.
    fn judge_job(&self, job: &Id, tape: &Tape, tally: &mut Tally) -> bool {
        if !tape.born || tape.foreign {
            return true;
        }
        tally.observed += 1;
        let steps: Vec<Step> = tape.lines.iter().map(|line| line.step).collect();
        let sure = steps.iter().filter(|step| step.must);
        let (reads, writes) = sure.fold((0, 0), |(reads, writes), step| {
            let read = step.what.is_read();
            (reads + u32::from(read), writes + u32::from(!read))
        });
        let mut search = self.search.borrow_mut();
        match search.run(&self.model, &steps) {
            Found::Limit => return false,
            Found::Order => tally.opportunities += u64::from(reads > 0 && writes > 0),
            Found::None => {
                tally.opportunities += 1;
                let core = core_of(&mut search, &self.model, &steps);
                let proof: Vec<&Fact> = core.iter().map(|at| &tape.lines[*at].fact).collect();
                let told: Vec<String> = proof.iter().map(|fact| tell(fact)).collect();
                let what = format!("{}: in no order does this make sense", told.join("; "));
                tally.breach(what, Some(job), &proof);
            }
        }
        true
    }
}

/// The op in words, with the assignment that it is about.
fn tell(fact: &Fact) -> String {
    let number = fact.number;
    if number == 0 { fact.tell() } else { format!("{} in assignment {number}", fact.tell()) }
}

impl Tape {
    /// An op that may take effect at any later moment, or never.
    fn vague(&mut self, fact: Fact, what: What) {
        let step = Step { sent: fact.sent, done: Time::MAX, what, must: false };
        self.lines.push(Line { fact, step });
    }
}

/// Adds a job to a short list; false when it is on it.
fn remember(list: &mut VecDeque<Id>, job: &Id) -> bool {
    if list.contains(job) {
        return false;
    }
    if list.len() == JOBS_MAX {
        list.pop_front();
    }
    list.push_back(job.clone());
    true
}

impl Law for JobRegister {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let mut tangled = self.tangled;
        for (job, tape) in self.tapes.settled(self.seen_until, complete) {
            tangled += u64::from(!self.judge_job(job, tape, &mut tally));
        }
        let mut judgement = tally.judge("no job was both changed and read");
        if tangled > 0 && judgement.verdict == Verdict::Pass {
            judgement.verdict = Verdict::Unknown;
            judgement.note = format!("the search was given up for {tangled} jobs");
        }
        judgement
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
