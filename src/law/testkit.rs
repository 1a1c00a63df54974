//! Writes histories by hand, in few words, for the tests of laws.

use std::rc::Rc;

use super::{
    Judgement,
    judge::Judge,
    known::Known,
    registry::{LAWS, entry},
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        place::Place,
        time::Time,
    },
    history::{
        answer::{Answer, Assignment, ChargeView, JobState, JobView, OfferView, Refusal},
        declares::Declares,
        op::{Ask, Attempt, Op, OpKind, Outcome},
        probe::Probe,
        record::{FaultChange, FaultEvent, Phase, Record, Told},
    },
};

/// The auditor.
pub const AUDITOR: RobotId = RobotId { kind: RobotKind::Auditor, number: 0 };

/// Driver `number`.
pub fn d(number: u32) -> RobotId {
    RobotId::driver(number)
}

/// Passenger `number`.
pub fn p(number: u32) -> RobotId {
    RobotId::passenger(number)
}

/// Rogue `number`: the even ones play passengers, the odd ones drivers.
pub fn r(number: u32) -> RobotId {
    RobotId { kind: RobotKind::Rogue, number }
}

/// The account that a robot of these tales has.
pub fn account(robot: RobotId) -> Id {
    Id::from(format!("account of {robot}").as_str())
}

/// A job as read; assignments as in an audit: the last of them held by `driver`.
pub fn view(job: &str, state: JobState, number: u32, driver: Option<RobotId>) -> JobView {
    let newest = driver.filter(|_| number > 0);
    JobView {
        id: job.into(),
        state,
        assignment: number,
        driver: driver.map(account),
        passenger: None,
        key: None,
        pickup: None,
        dropoff: None,
        fare_minor: None,
        assignments: newest
            .map(|driver| Assignment { number, driver: account(driver), released: false })
            .into_iter()
            .collect(),
    }
}

/// A charge as read.
pub fn charge(id: &str, job: &str, amount_minor: i64) -> ChargeView {
    ChargeView { id: id.into(), job: job.into(), amount_minor, fee: false }
}

/// A history in the making. Moments are seconds; ops are sorted by when they were done.
pub struct Tale {
    /// What the target declares.
    pub declares: Declares,
    /// Whether the history ends with its read-back.
    pub complete: bool,
    ops: Vec<Op>,
    marks: Vec<(Time, Record)>,
}

impl Default for Tale {
    fn default() -> Self {
        let declares = Declares::default();
        Self { declares, complete: true, ops: Vec::new(), marks: Vec::new() }
    }
}

impl Tale {
    /// An op that was ok, with nothing in question or answer.
    pub fn op(&mut self, robot: RobotId, kind: OpKind, (sent, done): (f64, f64)) -> &mut Op {
        let (sent, done) = (Time::from_secs_f64(sent), Time::from_secs_f64(done));
        let outcome = Outcome::Ok;
        self.ops.push(Op {
            id: self.ops.len() as u64 + 1,
            robot,
            ask: Ask::new(kind),
            planned: sent,
            sent,
            done,
            outcome,
            attempts: vec![Attempt { sent, done, outcome, node: None, status: None, error: None }],
            answer: Answer::default(),
        });
        self.ops.last_mut().unwrap()
    }

    /// Registers robots, so that their accounts are known.
    pub fn robots(&mut self, robots: &[RobotId]) {
        for robot in robots {
            let rides = robot.rides();
            let kind = if rides { OpKind::PassengerRegister } else { OpKind::DriverRegister };
            self.op(*robot, kind, (0.0, 0.1)).answer.account = Some(account(*robot));
        }
    }

    /// An op that is wrong on purpose, refused for that reason unless it is changed.
    pub fn probe(
        &mut self,
        who: RobotId,
        kind: OpKind,
        at: (f64, f64),
        (probe, why, status): (Probe, Refusal, u16),
    ) -> &mut Op {
        let op = self.op(who, kind, at);
        op.ask.probe = Some(probe);
        op.attempts[0].status = Some(status);
        op.refused(why)
    }

    /// A passenger asks for a journey and is told the job.
    pub fn request(&mut self, who: RobotId, at: (f64, f64), key: &str, job: &str) -> &mut Op {
        let op = self.op(who, OpKind::PassengerRequestJob, at);
        op.ask.key = Some(key.into());
        op.answer.job = Some(Rc::new(view(job, JobState::Requested, 0, None)));
        op
    }

    /// A driver takes a job and is told the number of the assignment.
    pub fn accept(&mut self, who: RobotId, at: (f64, f64), job: &str, number: u32) -> &mut Op {
        let op = self.op(who, OpKind::DriverAccept, at);
        op.ask.job = Some(job.into());
        op.answer.job = Some(Rc::new(view(job, JobState::Accepted, number, Some(who))));
        op
    }

    /// A driver moves a job on (or gives it back).
    pub fn moves(
        &mut self,
        who: RobotId,
        kind: OpKind,
        at: (f64, f64),
        job: &str,
        number: u32,
    ) -> &mut Op {
        let op = self.op(who, kind, at);
        op.ask.job = Some(job.into());
        op.ask.assignment = Some(number);
        op
    }

    /// A passenger gives a job up.
    pub fn cancel(&mut self, who: RobotId, at: (f64, f64), job: &str) -> &mut Op {
        let op = self.op(who, OpKind::PassengerCancel, at);
        op.ask.job = Some(job.into());
        op
    }

    /// A robot reads a job.
    pub fn read(&mut self, who: RobotId, kind: OpKind, at: (f64, f64), view: JobView) -> &mut Op {
        let op = self.op(who, kind, at);
        if kind == OpKind::PassengerJobStatus {
            op.ask.job = Some(view.id.clone());
        }
        op.answer.job = Some(Rc::new(view));
        op
    }

    /// A driver says where it is, and is shown an offer perhaps.
    pub fn ping(
        &mut self,
        who: RobotId,
        at: (f64, f64),
        place: Place,
        offer: Option<OfferView>,
    ) -> &mut Op {
        let op = self.op(who, OpKind::DriverPing, at);
        op.ask.at = Some(place);
        op.answer.offer = offer.map(Rc::new);
        op
    }

    /// The read-back at `at`: every job and every charge.
    pub fn read_back(&mut self, at: f64, jobs: Vec<JobView>, charges: Vec<ChargeView>) {
        self.phase(Phase::ReadBack, at);
        self.op(AUDITOR, OpKind::AuditJobs, (at + 0.1, at + 0.2)).answer.jobs = jobs;
        self.op(AUDITOR, OpKind::AuditCharges, (at + 0.3, at + 0.4)).answer.charges = charges;
    }

    /// A robot is told of a job unasked.
    pub fn told(&mut self, robot: RobotId, at: f64, view: JobView) {
        self.tell(robot, at, view, false);
    }

    /// The same, and it is the simulator that tells it.
    pub fn told_by_us(&mut self, robot: RobotId, at: f64, view: JobView) {
        self.tell(robot, at, view, true);
    }

    fn tell(&mut self, robot: RobotId, at: f64, view: JobView, synthetic: bool) {
        let at = Time::from_secs_f64(at);
        let answer = Answer { job: Some(Rc::new(view)), ..Answer::default() };
        self.marks.push((at, Record::Told(Box::new(Told { at, robot, answer, synthetic }))));
    }

    /// The run goes on to `phase`.
    pub fn phase(&mut self, phase: Phase, at: f64) {
        let at = Time::from_secs_f64(at);
        self.marks.push((at, Record::Phase { phase, at }));
    }

    /// A fault changes.
    pub fn fault(&mut self, change: FaultChange, at: f64) {
        let at = Time::from_secs_f64(at);
        let event = FaultEvent {
            fault: 0,
            kind: "kill".into(),
            victims: Vec::new(),
            change,
            planned: at,
            at,
            more_updates_per_s: 0.0,
            effect: String::new(),
        };
        self.marks.push((at, Record::Fault(event)));
    }

    /// The records in the order of a real history.
    pub fn records(&self) -> Vec<Record> {
        let ops = self.ops.iter().map(|op| (op.done, Record::Op(Rc::new(op.clone()))));
        let mut all: Vec<_> = self.marks.iter().cloned().chain(ops).collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, record)| record).collect()
    }

    /// What the law of that name says.
    pub fn judge(&self, law: &str) -> Judgement {
        self.judge_with(law, &Known::default())
    }

    /// The same with known failures.
    pub fn judge_with(&self, law: &str, known: &Known) -> Judgement {
        let entry = entry(law).unwrap();
        let mut judge = Judge::of(std::iter::once(entry), &self.declares, known);
        for record in self.records() {
            judge.see(&record);
        }
        judge.verdicts(self.complete).remove(0).1
    }

    /// What breaks when every law looks at this tale, by name.
    pub fn broken(&self) -> Vec<&'static str> {
        let broken =
            |law: &&crate::law::LawEntry| self.judge(law.name).verdict == super::Verdict::Broken;
        LAWS.iter().filter(broken).map(|law| law.name).collect()
    }
}

/// Small changes to an op, in words.
pub trait Tweak {
    /// Nobody knows how it ended, and nothing came back.
    fn info(&mut self) -> &mut Self;
    /// It was refused.
    fn refused(&mut self, why: Refusal) -> &mut Self;
}

impl Tweak for Op {
    fn info(&mut self) -> &mut Self {
        self.outcome = Outcome::Info;
        self.attempts[0].outcome = Outcome::Info;
        self.answer = Answer::default();
        self
    }

    fn refused(&mut self, why: Refusal) -> &mut Self {
        self.outcome = Outcome::Fail;
        self.attempts[0].outcome = Outcome::Fail;
        self.answer = Answer { refusal: Some(why), ..Answer::default() };
        self
    }
}

/// A whole good journey of job `job`, from `start`, with two drivers after it.
pub fn good_journey(tale: &mut Tale, start: f64, job: &str) {
    use OpKind::{DriverArrive, DriverCurrentJob, DriverDropOff, DriverPickUp, PassengerPay};
    let at = |offset: f64| (start + offset, start + offset + 0.1);
    tale.request(p(1), at(0.0), &format!("key of {job}"), job);
    tale.accept(d(1), at(2.0), job, 1);
    let lost = tale.accept(d(2), at(2.0), job, 1);
    lost.refused(Refusal::Conflict);
    let held = view(job, JobState::Accepted, 1, Some(d(1)));
    tale.read(d(1), DriverCurrentJob, at(3.0), held.clone());
    tale.read(p(1), OpKind::PassengerJobStatus, at(3.5), held);
    tale.moves(d(1), DriverArrive, at(4.0), job, 1);
    tale.moves(d(1), DriverPickUp, at(5.0), job, 1);
    tale.moves(d(1), DriverDropOff, at(6.0), job, 1);
    let pay = tale.op(p(1), PassengerPay, at(7.0));
    pay.ask.job = Some(job.into());
    pay.ask.key = Some(format!("pay {job}").as_str().into());
    pay.answer.charges = vec![charge(&format!("charge of {job}"), job, 1_200)];
}

/// How a good journey is read back: the job and its charge.
pub fn good_end(job: &str) -> (JobView, ChargeView) {
    let mut done = view(job, JobState::Completed, 1, Some(d(1)));
    done.passenger = Some(account(p(1)));
    done.fare_minor = Some(1_200);
    (done, charge(&format!("charge of {job}"), job, 1_200))
}
