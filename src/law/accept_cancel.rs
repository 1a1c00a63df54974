//! accept-cancel-one-winner: a driver and a passenger who change their minds at the same moment
//! cannot both have their way.

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, is_audit, job_of},
    graph::Graph,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::time::Time,
    history::{
        answer::{JobState, JobView, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "accept-cancel-one-winner",
    means: "a driver takes or moves on a job after the passenger was told that it is cancelled, is \
            told later that it has it, or it is read back in a driver's hands; or a passenger cancels a \
            journey that had come too far",
    needs: &[&[OpKind::DriverAccept], &[OpKind::PassengerCancel]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerCancel,
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a cancel whose answer does not say that the job is cancelled; a loser who is never \
                 told, but does nothing about it either",
    rare: true,
    start: |declares, tally| Box::new(AcceptCancel::new(declares, tally)),
};

/// What is known of one job.
#[derive(Default)]
struct Race {
    /// The passenger was told that it is cancelled.
    cancelled: Option<Fact>,
    /// The passenger was told that it cannot be.
    refused: bool,
    /// A driver was told that it has it.
    accepted: Option<Fact>,
    /// The driver came so far that no cancel is possible any more.
    too_far: Option<Fact>,
    counted: bool,
}

struct AcceptCancel {
    graph: Graph,
    read_delay: std::time::Duration,
    jobs: Shelf<Race>,
    seen_until: Time,
    tally: Tally,
}

impl AcceptCancel {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            graph: Graph::new(&declares.transitions),
            read_delay: declares.read_delay.0,
            jobs: tally.shelf(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.jobs.forget(self.seen_until);
        match op.kind() {
            OpKind::PassengerCancel => self.cancel(op),
            OpKind::DriverAccept
            | OpKind::DriverArrive
            | OpKind::DriverPickUp
            | OpKind::DriverDropOff => self.drive(op),
            _ if op.outcome == Outcome::Ok => {
                for view in op.answer.jobs.iter().chain(op.answer.job.as_deref()) {
                    self.read(op, view);
                }
            }
            _ => {}
        }
    }

    fn cancel(&mut self, op: &Op) {
        let Some(id) = job_of(op) else { return };
        let told = op.answer.job.as_deref().map(|view| view.state);
        let job = self.jobs.at(id, self.seen_until);
        job.refused |= op.answer.refusal == Some(Refusal::Conflict);
        if op.outcome != Outcome::Ok || told != Some(JobState::Cancelled) {
            return;
        }
        let cancel = Fact::of(op);
        if let Some(far) = job.too_far.as_ref().filter(|far| far.before(cancel.sent)) {
            let what = format!("{}; later {}", far.tell(), cancel.tell());
            self.tally.breach(what, Some(id), &[far, &cancel]);
        }
        job.cancelled.get_or_insert(cancel);
        count(job, &mut self.tally);
    }

    fn drive(&mut self, op: &Op) {
        let Some(id) = job_of(op).filter(|_| op.outcome == Outcome::Ok) else { return };
        let held = op.answer.job.as_deref().is_none_or(|view| !is_gone(view.state));
        // A repeated answer tells of the past.
        if op.answer.replayed || op.ask.again.is_some() || !held {
            return;
        }
        let driven = Fact::of(op);
        let job = self.jobs.at(id, self.seen_until);
        if let Some(cancel) = job.cancelled.as_ref().filter(|cancel| cancel.before(driven.sent)) {
            let what = format!("{}; later {}", cancel.tell(), driven.tell());
            self.tally.breach(what, Some(id), &[cancel, &driven]);
        }
        let state = match op.kind() {
            OpKind::DriverAccept => JobState::Accepted,
            OpKind::DriverArrive => JobState::Arrived,
            OpKind::DriverPickUp => JobState::PickedUp,
            _ => JobState::Completed,
        };
        // A state that the target does not know of says nothing.
        let known = self.graph.reaches(JobState::Accepted, state);
        if known && !self.graph.reaches(state, JobState::Cancelled) {
            job.too_far.get_or_insert_with(|| driven.clone());
        }
        if state == JobState::Accepted {
            job.accepted.get_or_insert(driven);
        }
        count(job, &mut self.tally);
    }

    fn read(&mut self, op: &Op, view: &JobView) {
        let Some(job) = self.jobs.get(&view.id, self.seen_until) else { return };
        let stands =
            view.state.is_held() || is_audit(op.kind()) && view.state == JobState::Completed;
        let Some(cancel) = job.cancelled.as_ref().filter(|_| stands) else { return };
        if cancel.before(op.sent.saturating_sub(self.read_delay)) {
            let read = Fact::about(op, view);
            let what = format!("{}; later {}", cancel.tell(), read.tell());
            self.tally.breach(what, Some(&view.id), &[cancel, &read]);
        }
    }
}

/// A job that a driver was given and that its passenger tried to cancel, with a definite answer, is
/// one that a wrong backend gives to both.
fn count(job: &mut Race, tally: &mut Tally) {
    if !job.counted && job.accepted.is_some() && (job.refused || job.cancelled.is_some()) {
        job.counted = true;
        tally.opportunities += 1;
    }
}

fn is_gone(state: JobState) -> bool {
    matches!(state, JobState::Cancelled | JobState::Expired)
}

impl Law for AcceptCancel {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.tally.observed += 1;
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        self.tally.clone().judge("no passenger cancelled a job that a driver had")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{Tale, Tweak, d, good_end, p, view},
    };

    const LAW: &str = "accept-cancel-one-winner";

    /// Driver 1 takes a job at 12.1 s; the passenger cancels it at `at`, and is told so.
    fn raced(at: f64) -> Tale {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        cancel(&mut tale, (at, at + 0.1));
        tale
    }

    fn cancel(tale: &mut Tale, at: (f64, f64)) -> &mut Op {
        let cancel = tale.cancel(p(1), at, "J1");
        cancel.answer.job = Some(std::rc::Rc::new(view("J1", JobState::Cancelled, 1, Some(d(1)))));
        cancel
    }

    #[test]
    fn one_of_the_two_wins() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = raced(13.0);
        let seen = view("J1", JobState::Cancelled, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (14.0, 14.1), seen.clone());
        tale.read_back(100.0, vec![seen], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        let mut lost = raced(50.0);
        lost.cancel(p(1), (13.0, 13.1), "J1").refused(Refusal::Conflict);
        assert_eq!(lost.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn a_driver_who_drives_a_cancelled_job_is_caught() {
        let mut tale = raced(13.0);
        tale.moves(d(1), OpKind::DriverArrive, (14.0, 14.1), "J1", 1);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 cancelled job J1 at 13.100 s (ok, op 3); later driver/00001 arrived \
             for job J1 at 14.100 s (ok, op 4)"
        );
        let mut read = raced(13.0);
        let held = view("J1", JobState::Accepted, 1, Some(d(1)));
        read.read(d(1), OpKind::DriverCurrentJob, (14.0, 14.1), held);
        assert_eq!(read.judge(LAW).verdict, Verdict::Broken);
        let mut rest = raced(13.0);
        rest.read_back(100.0, vec![good_end("J1").0], Vec::new());
        assert_eq!(rest.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_cancel_of_a_journey_that_is_over_is_caught() {
        let mut tale = raced(20.0);
        tale.moves(d(1), OpKind::DriverDropOff, (18.0, 18.1), "J1", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_happened_at_once_or_is_not_known_accuses_nobody() {
        let mut at_once = raced(14.05);
        at_once.moves(d(1), OpKind::DriverArrive, (14.0, 14.1), "J1", 1);
        assert_eq!(at_once.judge(LAW).verdict, Verdict::Pass);
        let mut unknown = Tale::default();
        unknown.accept(d(1), (12.0, 12.1), "J1", 1);
        cancel(&mut unknown, (13.0, 13.1)).info();
        unknown.moves(d(1), OpKind::DriverArrive, (14.0, 14.1), "J1", 1);
        assert_ne!(unknown.judge(LAW).verdict, Verdict::Broken);
        let mut again = raced(13.0);
        again.accept(d(1), (14.0, 14.1), "J1", 1).answer.replayed = true;
        assert_eq!(again.judge(LAW).verdict, Verdict::Pass);
    }
}
