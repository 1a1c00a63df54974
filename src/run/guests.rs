//! What of the robots is at a backend that goes on without the run: shifts that were begun and not seen
//! to end, and jobs that nobody saw end. From what the run hears as it hears it; asks nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    base::id::{Id, RobotId, RobotKind},
    history::{
        answer::{JobView, Refusal},
        op::{Op, OpKind, Outcome},
        record::Record,
    },
};

/// Jobs that are known to be over: an answer that was on its way may still tell of one.
const OVER_MAX: usize = 10_000;
/// Guests that are named.
const NAMED_MAX: usize = 20;

/// Who may be there still.
#[derive(Debug)]
pub struct Guests {
    /// The target knows of shifts that end.
    signs_off: bool,
    /// Drivers who may be on shift, and what is known of that.
    on_shift: BTreeMap<RobotId, String>,
    /// Jobs that were not seen to end, with whose they are and their last state.
    jobs: BTreeMap<Id, (RobotId, &'static str)>,
    over: BTreeSet<Id>,
    ended: VecDeque<Id>,
}

impl Guests {
    /// Nobody is there yet; a target without an end of shifts leaves none behind.
    pub fn new(signs_off: bool) -> Self {
        Self {
            signs_off,
            on_shift: BTreeMap::new(),
            jobs: BTreeMap::new(),
            over: BTreeSet::new(),
            ended: VecDeque::new(),
        }
    }

    /// Takes one record.
    pub fn see(&mut self, record: &Record) {
        match record {
            Record::Op(op) if op.ask.probe.is_none() => self.see_op(op),
            Record::Told(told) if !told.synthetic => {
                if let Some(view) = &told.answer.job {
                    self.see_end(view);
                }
            }
            _ => {}
        }
    }

    fn see_op(&mut self, op: &Op) {
        for view in &op.answer.jobs {
            self.see_end(view);
        }
        if op.robot.kind == RobotKind::Auditor {
            if let Some(view) = &op.answer.job {
                self.see_end(view);
            }
            return;
        }
        self.see_shift(op);
        let ends = matches!(op.kind(), OpKind::DriverDropOff | OpKind::PassengerCancel);
        match (&op.ask.job, &op.answer.job) {
            (Some(job), _) if ends && op.outcome == Outcome::Ok => self.end(job),
            // Nothing of it is left where it should be; others may be told so of an offer that is over.
            (Some(job), None)
                if op.answer.refusal == Some(Refusal::NotFound)
                    && self.jobs.get(job).is_some_and(|(whose, _)| *whose == op.robot) =>
            {
                self.jobs.remove(job);
            }
            (_, Some(view)) if view.state.is_terminal() => self.end(&view.id),
            (_, Some(view)) if !self.over.contains(&view.id) => {
                self.jobs.insert(view.id.clone(), (op.robot, view.state.word()));
            }
            _ => {}
        }
    }

    fn see_shift(&mut self, op: &Op) {
        let outcome = match op.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Info => "unknown",
        };
        match (op.kind(), op.outcome) {
            (OpKind::DriverGoOnline, Outcome::Ok | Outcome::Info) => {
                let since = format!("its driver.go_online ended as {outcome}");
                self.on_shift.entry(op.robot).or_insert(since);
            }
            (OpKind::DriverGoOffline | OpKind::CleanupRobot, Outcome::Ok) => {
                self.on_shift.remove(&op.robot);
            }
            // It is not on shift, by the backend's own word: an earlier answer was lost, or it never
            // was. One that has a job may be refused for that.
            (OpKind::DriverGoOffline, Outcome::Fail)
                if op.answer.refusal == Some(Refusal::Conflict)
                    && self.jobs.values().all(|(whose, _)| *whose != op.robot) =>
            {
                self.on_shift.remove(&op.robot);
            }
            (OpKind::DriverGoOffline, _) => {
                let why = op.attempts.last().and_then(|attempt| attempt.error.as_deref());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                let last = format!("its last driver.go_offline ended as {outcome}{why}");
                self.on_shift.entry(op.robot).and_modify(|known| *known = last);
            }
            _ => {}
        }
    }

    fn see_end(&mut self, view: &JobView) {
        if view.state.is_terminal() {
            self.end(&view.id);
        }
    }

    fn end(&mut self, job: &Id) {
        self.jobs.remove(job);
        if self.over.insert(job.clone()) {
            self.ended.push_back(job.clone());
        }
        if self.ended.len() > OVER_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.over.remove(&oldest);
        }
    }

    /// What is left once everybody was sent home, in words; `present` are those who did not go.
    pub fn left(&self, present: &[RobotId]) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        for (robot, why) in self.on_shift.iter().filter(|_| self.signs_off) {
            left.push(format!("{robot} may be on shift: {why}"));
        }
        for (job, (robot, state)) in &self.jobs {
            left.push(format!("job {job} of {robot} was last seen as {state}, and not to end"));
        }
        let told = |robot: &RobotId| {
            self.on_shift.contains_key(robot) || self.jobs.values().any(|(whose, _)| whose == robot)
        };
        for robot in present.iter().filter(|robot| !told(robot)) {
            left.push(format!("{robot} was not signed off in time"));
        }
        let more = left.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            left.truncate(NAMED_MAX);
            left.push(format!("and {more} more"));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{
        base::time::Time,
        history::{
            answer::{Answer, JobState},
            op::{Ask, Attempt},
        },
        robot::puppet::job,
    };

    const BOB: RobotId = RobotId { kind: RobotKind::Driver, number: 1 };
    const ANN: RobotId = RobotId { kind: RobotKind::Passenger, number: 7 };

    fn op(robot: RobotId, ask: Ask, outcome: Outcome, answer: Answer) -> Record {
        let (planned, sent, done) = (Time::ZERO, Time::ZERO, Time::ZERO);
        let error = (outcome == Outcome::Fail).then(|| "boom".to_owned());
        let attempts = vec![Attempt { sent, done, outcome, node: None, status: None, error }];
        Record::Op(Rc::new(Op {
            id: 1,
            robot,
            ask,
            planned,
            sent,
            done,
            outcome,
            attempts,
            answer,
        }))
    }

    fn plain(robot: RobotId, kind: OpKind, outcome: Outcome) -> Record {
        op(robot, Ask::new(kind), outcome, Answer::default())
    }

    fn sees(state: JobState) -> Record {
        let answer = Answer { job: Some(Rc::new(job(state))), ..Answer::default() };
        op(ANN, Ask::new(OpKind::PassengerJobStatus), Outcome::Ok, answer)
    }

    fn left(records: &[Record], present: &[RobotId]) -> Vec<String> {
        let mut guests = Guests::new(true);
        for record in records {
            guests.see(record);
        }
        guests.left(present)
    }

    #[test]
    fn a_shift_is_over_when_its_end_was_acknowledged() {
        let (on, off) = (OpKind::DriverGoOnline, OpKind::DriverGoOffline);
        let begun = plain(BOB, on, Outcome::Ok);
        assert!(left(&[], &[]).is_empty());
        assert!(left(&[plain(BOB, on, Outcome::Fail)], &[]).is_empty());
        assert!(left(&[begun.clone(), plain(BOB, off, Outcome::Ok)], &[]).is_empty());
        let why = "driver/00001 may be on shift: its last driver.go_offline ended as fail: boom";
        assert_eq!(left(&[begun.clone(), plain(BOB, off, Outcome::Fail)], &[BOB]), [why]);
        let why = "driver/00001 may be on shift: its driver.go_online ended as unknown";
        assert_eq!(left(&[plain(BOB, on, Outcome::Info)], &[]), [why]);
    }

    #[test]
    fn a_job_is_over_when_somebody_saw_it_end() {
        let open = left(&[sees(JobState::Accepted)], &[ANN]);
        assert_eq!(open.len(), 1, "{open:?}");
        assert!(open[0].contains("of passenger/00007 was last seen as accepted"), "{open:?}");
        let over = [sees(JobState::Accepted), sees(JobState::Completed), sees(JobState::PickedUp)];
        assert!(left(&over, &[]).is_empty(), "the last was on its way");
        let of_job = |kind| Ask { job: Some(job(JobState::Accepted).id), ..Ask::new(kind) };
        let cancels = op(ANN, of_job(OpKind::PassengerCancel), Outcome::Ok, Answer::default());
        assert!(left(&[sees(JobState::Accepted), cancels], &[]).is_empty());
        let answer = Answer { jobs: vec![job(JobState::Expired)], ..Answer::default() };
        let auditor = RobotId { kind: RobotKind::Auditor, number: 0 };
        let listed = op(auditor, Ask::new(OpKind::AuditJobs), Outcome::Ok, answer);
        assert!(left(&[sees(JobState::Accepted), listed], &[]).is_empty());
    }

    #[test]
    fn what_the_backend_does_not_know_is_not_left() {
        let refused = |ask: Ask, refusal| {
            let answer = Answer { refusal: Some(refusal), ..Answer::default() };
            op(BOB, ask, Outcome::Fail, answer)
        };
        // The end of a shift whose answer was lost, asked for again.
        let on = plain(BOB, OpKind::DriverGoOnline, Outcome::Ok);
        let lost = plain(BOB, OpKind::DriverGoOffline, Outcome::Info);
        let again = refused(Ask::new(OpKind::DriverGoOffline), Refusal::Conflict);
        assert!(left(&[on, lost, again], &[]).is_empty());
        // Another driver's offer of the job is gone, and the job is not.
        let seen = sees(JobState::Accepted);
        let Record::Op(first) = &seen else { unreachable!() };
        let job = first.answer.job.as_ref().map(|view| view.id.clone());
        let gone = refused(Ask { job, ..Ask::new(OpKind::DriverAccept) }, Refusal::NotFound);
        assert_eq!(left(&[gone, seen], &[]).len(), 1);
    }

    #[test]
    fn who_did_not_go_is_named_and_not_everybody_of_very_many() {
        assert_eq!(left(&[], &[ANN]), ["passenger/00007 was not signed off in time"]);
        let many: Vec<RobotId> = (0..50).map(RobotId::driver).collect();
        let told = left(&[], &many);
        assert_eq!(told.len(), NAMED_MAX + 1);
        assert_eq!(told[NAMED_MAX], "and 30 more");
    }
}
