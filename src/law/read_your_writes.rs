//! read-your-writes: who was told that something is done sees it done when it looks again.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    graph::Graph,
    roll::Roll,
    shelf::Shelf,
    suspicion::Suspicions,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotKind},
        time::Time,
    },
    history::{
        answer::{JobState, JobView, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "read-your-writes",
    means: "a robot's own acknowledged write is absent from a later look of its own, beyond the declared \
            delay of reads, though nothing can have undone it",
    needs: &[
        &[
            OpKind::DriverAccept,
            OpKind::DriverArrive,
            OpKind::DriverDropOff,
            OpKind::PassengerCancel,
        ],
        &[OpKind::DriverCurrentJob, OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverCurrentJob,
        OpKind::DriverGoOffline,
        OpKind::CleanupRobot,
        OpKind::PassengerCancel,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
    ],
    blind_spot: "all but the last write of a robot; positions, ratings and profiles; writes to \
                 assignments without a number, once they are undone; jobs of which nothing was heard for the horizon before the look",
    rare: true,
    start: |declares, tally| Box::new(ReadYourWrites::new(declares, tally)),
};

/// What an acknowledged write promises its robot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// The job is in its hands, and has come so far.
    Has(JobState),
    /// It is rid of that assignment.
    Rid,
    /// The job is cancelled.
    Cancelled,
}

struct Write {
    fact: Fact,
    promise: Promise,
}

/// A driver looked, and had no job. An op that is not over yet may have taken it away.
struct Suspicion {
    write: Fact,
    look: Fact,
}

struct ReadYourWrites {
    graph: Graph,
    read_delay: Duration,
    /// A job may be gone without anybody having asked for it.
    goes_alone: bool,
    accounts: Accounts,
    last: Roll<Write>,
    /// Of each job, from when to when something may have ended a hold.
    enders: Shelf<Vec<(Time, Time)>>,
    suspicions: Suspicions<Suspicion>,
    seen_until: Time,
    tally: Tally,
}

impl ReadYourWrites {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            graph: Graph::new(&declares.transitions),
            read_delay: declares.read_delay.0,
            goes_alone: declares.releases_alone || !declares.asked().has(OpKind::DriverDropOff),
            accounts: tally.accounts(),
            last: Roll::default(),
            enders: tally.shelf(),
            suspicions: Suspicions::default(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.enders.forget(self.seen_until);
        while let Some(one) = self.suspicions.ripe(self.seen_until) {
            weigh(&one, &self.enders, &mut self.tally);
        }
        match op.kind() {
            OpKind::DriverCurrentJob | OpKind::PassengerJobStatus | OpKind::PassengerCurrentJob => {
                self.look(op);
            }
            OpKind::DriverGoOffline | OpKind::CleanupRobot if op.outcome != Outcome::Fail => {
                self.last.remove(op.robot);
                self.suspicions.retain(|one| !may_excuse(op, &one.look));
            }
            _ if op.outcome != Outcome::Fail => self.write(op),
            _ => {}
        }
    }

    fn write(&mut self, op: &Op) {
        use OpKind as K;
        let Some(job) = job_of(op) else { return };
        let ends = matches!(
            op.kind(),
            K::DriverDropOff | K::DriverCancel | K::DriverNoShow | K::PassengerCancel
        );
        let enders = self.enders.at(job, self.seen_until);
        if ends {
            let until = if op.outcome == Outcome::Ok { op.done } else { Time::MAX };
            enders.push((op.sent, until));
        }
        let told = op.answer.job.as_deref();
        // A repeated answer tells of the past; so does one whose job is over again already.
        let past = op.answer.replayed || op.ask.again.is_some();
        let held = told.is_none_or(|view| view.state.is_held());
        let promise = match op.kind() {
            _ if past || op.outcome != Outcome::Ok => None,
            K::DriverAccept if held => Some(Promise::Has(JobState::Accepted)),
            K::DriverArrive if held => Some(Promise::Has(JobState::Arrived)),
            K::DriverPickUp if held => Some(Promise::Has(JobState::PickedUp)),
            K::DriverDropOff | K::DriverCancel | K::DriverNoShow => Some(Promise::Rid),
            K::PassengerCancel => told
                .is_some_and(|view| view.state == JobState::Cancelled)
                .then_some(Promise::Cancelled),
            _ => None,
        };
        match promise {
            Some(promise) => {
                let fact = Fact::of(op).numbered(self.number(op));
                self.last.insert(op.robot, Write { fact, promise });
            }
            // Nobody knows what became of it, so nobody knows what is to be seen. What was done once
            // more changes nothing.
            None if !past => {
                self.last.remove(op.robot);
            }
            None => {}
        }
    }

    /// The assignment that a write is about; an accept may be answered with another driver's.
    fn number(&self, op: &Op) -> u32 {
        let driver = op.answer.job.as_deref().and_then(|view| view.driver.as_ref());
        let others = driver.and_then(|driver| self.accounts.is(op.robot, driver)) == Some(false);
        if others { 0 } else { Fact::of(op).number }
    }

    fn look(&mut self, op: &Op) {
        if let Some(view) = op.answer.job.as_deref() {
            self.enders.get(&view.id, self.seen_until);
        }
        let Some(write) = self.last.get(op.robot) else { return };
        if !write.fact.before(op.sent.saturating_sub(self.read_delay)) {
            return;
        }
        let none = op.answer.job.is_none() && op.outcome == Outcome::Ok
            || op.outcome == Outcome::Fail && op.answer.refusal == Some(Refusal::NotFound);
        match op.answer.job.as_deref().filter(|_| op.outcome == Outcome::Ok) {
            Some(view) if Some(&view.id) == write.fact.job.as_ref() => {
                self.tally.observed += 1;
                self.tally.opportunities += 1;
                if let Some(how) = self.contradicts(write, view) {
                    let look = Fact::about(op, view);
                    let what = format!("{}; later {}: {how}", write.fact.tell(), look.tell());
                    self.tally.breach(what, Some(&view.id), &[&write.fact, &look]);
                }
            }
            None if none && op.kind() == OpKind::DriverCurrentJob && !self.goes_alone => {
                self.tally.observed += 1;
                self.tally.opportunities += u64::from(write.promise == Promise::Rid);
                if matches!(write.promise, Promise::Has(_)) {
                    let (write, look) = (write.fact.clone(), Fact::of(op));
                    self.suspicions.push(op.done, Suspicion { write, look });
                }
            }
            _ => {}
        }
    }

    /// How a look at the very job denies the write, in words.
    fn contradicts(&self, write: &Write, view: &JobView) -> Option<String> {
        let (was, now) = (write.fact.number, view.assignment);
        let same = was != 0 && was == now;
        let word = view.state.word();
        let held = view.state.is_held();
        match write.promise {
            Promise::Has(state) => {
                let back = same && held && !self.graph.reaches_held(state, view.state);
                let never = !self.graph.reaches(state, view.state);
                (back || never).then(|| format!("it had come to {} already", state.word()))
            }
            Promise::Rid => (same && held).then(|| format!("it was rid of assignment {was}")),
            Promise::Cancelled => (view.state != JobState::Cancelled)
                .then(|| format!("cancelled, it cannot be {word}")),
        }
    }
}

/// Whether something may have taken the job away between the write and the look.
fn is_excused(suspicion: &Suspicion, enders: &[(Time, Time)]) -> bool {
    let (from, until) = (suspicion.write.sent, suspicion.look.done);
    enders.iter().any(|(sent, done)| *sent <= until && *done >= from)
}

/// A driver who leaves may lose its job.
fn may_excuse(op: &Op, look: &Fact) -> bool {
    op.robot == look.robot && op.robot.kind == RobotKind::Driver && op.sent <= look.done
}

fn weigh(one: &Suspicion, enders: &Shelf<Vec<(Time, Time)>>, tally: &mut Tally) {
    let job: Option<&Id> = one.write.job.as_ref();
    let of_job = job.and_then(|job| enders.peek(job));
    // What may have ended it is forgotten.
    let forgotten = of_job.is_none() && enders.has_forgotten();
    if forgotten || is_excused(one, of_job.map_or(&[][..], Vec::as_slice)) {
        return;
    }
    tally.opportunities += 1;
    let what = format!("{}; later {}: it has none", one.write.tell(), one.look.tell());
    tally.breach(what, job, &[&one.write, &one.look]);
}

impl Law for ReadYourWrites {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for one in self.suspicions.standing(complete) {
            weigh(one, &self.enders, &mut tally);
        }
        tally.judge("nobody looked at what it had done")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::span::Span,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, p, view},
        },
    };
    use JobState::{Accepted, Arrived, Cancelled, PickedUp};

    const LAW: &str = "read-your-writes";

    /// Driver 1 has arrived by 13.1 s, in assignment 1.
    fn arrived() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        tale.moves(d(1), OpKind::DriverArrive, (13.0, 13.1), "J1", 1);
        tale
    }

    fn look(tale: &mut Tale, at: f64, state: JobState) {
        let seen = view("J1", state, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (at, at + 0.1), seen);
    }

    fn look_at_nothing(tale: &mut Tale, at: f64) {
        tale.op(d(1), OpKind::DriverCurrentJob, (at, at + 0.1));
    }

    #[test]
    fn what_was_done_is_seen() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = arrived();
        look(&mut tale, 14.0, Arrived);
        tale.moves(d(1), OpKind::DriverPickUp, (15.0, 15.1), "J1", 1);
        look(&mut tale, 16.0, PickedUp);
        tale.moves(d(1), OpKind::DriverDropOff, (17.0, 17.1), "J1", 1);
        look_at_nothing(&mut tale, 18.0);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 3));
    }

    #[test]
    fn what_is_not_seen_is_told_in_words() {
        let mut tale = arrived();
        look(&mut tale, 14.0, Accepted);
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 arrived for job J1 at 13.100 s (ok, op 4); later driver/00001 read job J1 \
             as accepted at 14.100 s (ok, op 5): it had come to arrived already"
        );
        tale.declares.read_delay = Span::secs(1);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut none = arrived();
        look_at_nothing(&mut none, 14.0);
        assert_eq!(none.judge(LAW).verdict, Verdict::Broken);
        let mut back = arrived();
        back.moves(d(1), OpKind::DriverCancel, (15.0, 15.1), "J1", 1);
        look(&mut back, 16.0, Arrived);
        assert_eq!(back.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_cancel_stays_cancelled() {
        for (state, verdict) in [(Cancelled, Verdict::Pass), (Accepted, Verdict::Broken)] {
            let mut tale = Tale::default();
            let gone = view("J1", Cancelled, 0, None);
            tale.cancel(p(1), (10.0, 10.1), "J1").answer.job = Some(std::rc::Rc::new(gone));
            let seen = view("J1", state, 1, Some(d(1)));
            tale.read(p(1), OpKind::PassengerJobStatus, (11.0, 11.1), seen);
            assert_eq!(tale.judge(LAW).verdict, verdict);
        }
    }

    #[test]
    fn whatever_may_have_taken_it_away_is_an_excuse() {
        let mut cancelled = arrived();
        look_at_nothing(&mut cancelled, 14.0);
        cancelled.cancel(p(1), (14.05, 30.0), "J1").info();
        assert_ne!(cancelled.judge(LAW).verdict, Verdict::Broken);
        let mut unsure = arrived();
        unsure.moves(d(1), OpKind::DriverPickUp, (13.5, 13.9), "J1", 1).info();
        look(&mut unsure, 14.0, Arrived);
        assert_ne!(unsure.judge(LAW).verdict, Verdict::Broken);
        let mut left = arrived();
        look_at_nothing(&mut left, 14.0);
        left.op(d(1), OpKind::DriverGoOffline, (13.5, 15.0)).info();
        assert_ne!(left.judge(LAW).verdict, Verdict::Broken);
        let mut going_on = arrived();
        look_at_nothing(&mut going_on, 14.0);
        going_on.complete = false;
        assert_ne!(going_on.judge(LAW).verdict, Verdict::Broken);
    }
}
