//! The laws over hours of jobs: what each of them holds does not grow with time, a verdict can be had
//! at any moment, and what is forgotten accuses nobody.

use std::{alloc::System, rc::Rc, sync::Mutex, time::Duration};

use cap::Cap;
use robot_city::{
    base::{
        id::{Id, RobotId, RobotKind},
        place::Place,
        time::Time,
    },
    history::{
        answer::{
            Answer, Assignment, ChargeView, JobState, JobView, NearDriver, OfferView, Quote,
            Refusal,
        },
        declares::Declares,
        op::{Ask, Attempt, Op, OpKind, Outcome},
        probe::Probe,
        record::{Phase, Record, Told},
    },
    law::{LawEntry, Verdict, judge::Judge, known::Known, races::Races, registry::LAWS},
    report::{figures::Figures, jobs::Jobs},
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const DRIVERS: u32 = 120;
const PASSENGERS: u32 = 60;
/// Seconds between two jobs.
const EVERY_S: u64 = 4;
const HORIZON: Duration = Duration::from_mins(2);
/// Allocators round, and queues keep the room that they once had.
const SLACK: usize = 96 * 1024;

fn at(second: f64) -> Time {
    Time::from_secs_f64(second)
}

fn account(robot: RobotId) -> Id {
    Id::from(format!("the account of {robot}").as_str())
}

fn spot(number: u64) -> Place {
    Place::from_degrees(53.34 + (number % 7) as f64 * 0.001, -6.26)
}

/// A city on paper: each job is written down whole, and all the jobs of one block of time are told
/// in the order in which their ops were done.
struct City {
    ops: u64,
    /// What is done after the block in which it began.
    pending: Vec<(Time, Record)>,
}

impl City {
    fn op(&mut self, robot: RobotId, kind: OpKind, sent: f64) -> Op {
        self.ops += 1;
        let (sent, done, outcome) = (at(sent), at(sent + 0.1), Outcome::Ok);
        let attempt = Attempt { sent, done, outcome, node: None, status: Some(200), error: None };
        Op {
            id: self.ops,
            robot,
            ask: Ask::new(kind),
            planned: sent,
            sent,
            done,
            outcome,
            attempts: vec![attempt],
            answer: Answer::default(),
        }
    }

    fn about(&mut self, robot: RobotId, kind: OpKind, sent: f64, job: &JobView) -> Op {
        let mut op = self.op(robot, kind, sent);
        op.ask.job = Some(job.id.clone());
        if kind != OpKind::DriverDropOff {
            op.answer.job = Some(Rc::new(job.clone()));
        }
        op
    }

    /// Everybody opens an account and goes to work.
    fn morning(&mut self) -> Vec<Record> {
        let mut ops = Vec::new();
        for robot in
            (0..DRIVERS).map(RobotId::driver).chain((0..PASSENGERS).map(RobotId::passenger))
        {
            let driver = robot.kind == RobotKind::Driver;
            let kind = if driver { OpKind::DriverRegister } else { OpKind::PassengerRegister };
            let mut op = self.op(robot, kind, 0.5);
            op.answer.account = Some(account(robot));
            ops.push(op);
            if driver {
                let mut op = self.op(robot, OpKind::DriverGoOnline, 1.0);
                op.ask.at = Some(spot(0));
                ops.push(op);
            }
        }
        ops.sort_by_key(|op| op.done);
        let mut records: Vec<_> = ops.into_iter().map(|op| Record::Op(Rc::new(op))).collect();
        records.push(Record::Phase { phase: Phase::Load, at: at(2.0) });
        records
    }

    /// The jobs that begin between two moments, and what the drivers say meanwhile.
    fn block(&mut self, from_s: u64, to_s: u64) -> Vec<Record> {
        let mut told = std::mem::take(&mut self.pending);
        for second in (from_s..to_s).step_by(EVERY_S as usize) {
            for (op, push) in self.job(second / EVERY_S, second as f64) {
                if let Some(view) = push {
                    let (at, robot) = (op.done, op.robot);
                    let answer = Answer { job: Some(Rc::new(view)), ..Answer::default() };
                    let push = Told { at, robot, answer, synthetic: false };
                    told.push((at, Record::Told(Box::new(push))));
                }
                told.push((op.done, Record::Op(Rc::new(op))));
            }
            for op in self.rogues(second / EVERY_S, second as f64) {
                told.push((op.done, Record::Op(Rc::new(op))));
            }
            for beat in 0..8 {
                let driver = (second * 2 + beat * 15) % u64::from(DRIVERS);
                let mut op = self.op(
                    RobotId::driver(driver as u32),
                    OpKind::DriverPing,
                    second as f64 + 2.0,
                );
                op.ask.at = Some(spot(0));
                told.push((op.done, Record::Op(Rc::new(op))));
            }
        }
        told.sort_by_key(|(at, _)| *at);
        let now = told.partition_point(|(done, _)| *done < at(to_s as f64));
        self.pending = told.split_off(now);
        told.into_iter().map(|(_, record)| record).collect()
    }

    /// One job from the request to the payment; every seventh is given up.
    fn job(&mut self, number: u64, start: f64) -> Vec<(Op, Option<JobView>)> {
        use OpKind as K;
        let driver = RobotId::driver((number % u64::from(DRIVERS)) as u32);
        let other = RobotId::driver(((number + 60) % u64::from(DRIVERS)) as u32);
        let rider = RobotId::passenger((number % u64::from(PASSENGERS)) as u32);
        let mut view = end(number);
        (view.state, view.assignment, view.driver) = (JobState::Requested, 0, None);
        (view.fare_minor, view.assignments) = (None, Vec::new());
        let mut ops = Vec::new();
        let mut request = self.about(rider, K::PassengerRequestJob, start, &view);
        (request.ask.job, request.ask.key) = (None, view.key.clone());
        (request.ask.at, request.ask.to) = (view.pickup, view.dropoff);
        ops.push((request, None));
        for (who, after) in [(driver, 1.0), (other, 1.5)] {
            let mut ping = self.op(who, K::DriverPing, start + after);
            ping.ask.at = Some(spot(0));
            ping.answer.offer = Some(Rc::new(OfferView {
                id: format!("offer of {} to {who}", view.id).as_str().into(),
                job: view.id.clone(),
                pickup: spot(number),
                dropoff: None,
                expires_in_ms: 8_000,
                fare_minor: Some(900),
            }));
            ops.push((ping, None));
        }
        if number % 7 == 3 {
            view.state = JobState::Cancelled;
            let cancel = self.about(rider, K::PassengerCancel, start + 4.0, &view);
            ops.push((cancel, Some(view.clone())));
            ops.push((self.about(rider, K::PassengerJobStatus, start + 6.0, &view), None));
            return ops;
        }
        (view.assignment, view.driver) = (1, Some(account(driver)));
        view.state = JobState::Accepted;
        ops.push((self.about(driver, K::DriverAccept, start + 4.0, &view), Some(view.clone())));
        let mut late = self.about(other, K::DriverAccept, start + 5.0, &view);
        (late.outcome, late.attempts[0].outcome) = (Outcome::Fail, Outcome::Fail);
        late.answer = Answer { refusal: Some(Refusal::Conflict), ..Answer::default() };
        ops.push((late, None));
        for (kind, state, after) in [
            (K::DriverArrive, JobState::Arrived, 10.0),
            (K::DriverPickUp, JobState::PickedUp, 15.0),
            (K::DriverDropOff, JobState::Completed, 30.0),
        ] {
            let mut look = self.about(driver, K::DriverCurrentJob, start + after - 1.0, &view);
            look.ask.job = None;
            ops.push((look, None));
            view.state = state;
            if state == JobState::Completed {
                view.fare_minor = Some(900);
            }
            let mut step = self.about(driver, kind, start + after, &view);
            step.ask.assignment = Some(1);
            ops.push((step, Some(view.clone())));
            ops.push((self.about(rider, K::PassengerJobStatus, start + after + 1.0, &view), None));
        }
        let mut pay = self.op(rider, K::PassengerPay, start + 33.0);
        pay.ask.job = Some(view.id.clone());
        pay.ask.key = Some(format!("payment {number}").as_str().into());
        pay.answer.charges = vec![charge(number)];
        ops.push((pay, None));
        let mut list = self.op(rider, K::PassengerNearDrivers, start + 40.0);
        list.ask.at = Some(spot(0));
        let near = RobotId::driver((number + 30) as u32 % DRIVERS);
        list.answer.drivers = vec![NearDriver { driver: account(near), at: spot(0), eta_s: 20 }];
        ops.push((list, None));
        for (kind, after) in [(K::DriverGoOffline, 50.0), (K::DriverGoOnline, 52.0)] {
            ops.push((self.op(driver, kind, start + after), None));
        }
        ops.push((self.op(auditor(), K::AuditIssues, start + 60.0), None));
        ops
    }

    /// Some of all that is asked wrongly on purpose; most of it is refused, some never answered.
    fn rogues(&mut self, number: u64, start: f64) -> Vec<Op> {
        use OpKind as K;
        let rogue = |number| RobotId { kind: RobotKind::Rogue, number };
        let (rider, driver) = (rogue(number as u32 % 5 * 2), rogue(number as u32 % 5 * 2 + 1));
        let refused = |op: &mut Op, status, why| {
            (op.outcome, op.attempts[0].outcome) = (Outcome::Fail, Outcome::Fail);
            (op.attempts[0].status, op.answer.refusal) = (Some(status), Some(why));
        };
        let mut ops = Vec::new();
        let limited = (rider, K::PassengerRequestJob, None, 429, Refusal::Limited);
        let wrong = [
            (rider, K::PassengerNearDrivers, Some(Probe::LimitBurst), 429, Refusal::Limited),
            (rider, K::PassengerCurrentJob, Some(Probe::LimitAfter), 404, Refusal::NotFound),
            (rider, K::PassengerJobStatus, Some(Probe::JobOther), 404, Refusal::NotFound),
            (driver, K::DriverAccept, Some(Probe::JobOther), 404, Refusal::NotFound),
            (driver, K::DriverPing, Some(Probe::TokenExpired), 401, Refusal::Unauthenticated),
            (driver, K::DriverPing, Some(Probe::InputRange), 400, Refusal::Invalid),
        ];
        for (who, kind, probe, status, why) in wrong.into_iter().chain([limited; 8]) {
            let mut op = self.op(who, kind, start + 1.2);
            op.ask.probe = probe;
            if kind == K::PassengerRequestJob {
                op.ask.key = Some(format!("key of a rogue {number}").as_str().into());
            } else if probe == Some(Probe::JobOther) {
                op.ask.job = Some(end(number).id);
            }
            refused(&mut op, status, why);
            ops.push(op);
        }
        let mut login = self.op(driver, K::DriverLogin, start + 1.3);
        login.answer.account = Some(account(driver));
        let mut hangs = self.op(driver, K::DriverPing, start + 1.3);
        hangs.ask.probe = Some(Probe::InputNan);
        if number.is_multiple_of(2) {
            refused(&mut hangs, 400, Refusal::Invalid);
        } else {
            (hangs.outcome, hangs.attempts[0].outcome) = (Outcome::Info, Outcome::Info);
            hangs.attempts[0].status = None;
        }
        let mut outside = self.op(rogue(11), K::DriverPing, start + 1.3);
        outside.ask.probe = Some(Probe::Outside);
        let mut twin = self.op(rogue(12), K::PassengerQuote, start + 1.3);
        twin.ask.probe = Some(Probe::Twin);
        twin.answer.quote = Some(Quote { fare_minor: 900, trip_s: 300, eta_s: None });
        ops.extend([login, hangs, outside, twin]);
        ops
    }

    /// Every job that ever was is read back.
    fn evening(&mut self, jobs: u64, from: f64) -> Vec<Record> {
        let mut records = vec![Record::Phase { phase: Phase::ReadBack, at: at(from) }];
        let mut sent = from;
        for kind in [OpKind::AuditJobs, OpKind::AuditCharges, OpKind::AuditEarnings] {
            for first in (0..jobs).step_by(500) {
                let page = first..(first + 500).min(jobs);
                let mut op = self.op(auditor(), kind, sent);
                op.answer.next = (page.end < jobs).then(|| Id::from(page.end));
                if kind == OpKind::AuditJobs {
                    op.answer.jobs = page.map(end).collect();
                } else {
                    op.answer.charges = page.filter(|one| one % 7 != 3).map(charge).collect();
                }
                records.push(Record::Op(Rc::new(op)));
                sent += 0.2;
            }
        }
        records
    }
}

fn auditor() -> RobotId {
    RobotId { kind: RobotKind::Auditor, number: 0 }
}

/// How a job stands in the end.
fn end(number: u64) -> JobView {
    let driver = account(RobotId::driver((number % u64::from(DRIVERS)) as u32));
    let gone = number % 7 == 3;
    let assignments = vec![Assignment { number: 1, driver: driver.clone(), released: false }];
    JobView {
        id: format!("job-{number:020}").as_str().into(),
        state: if gone { JobState::Cancelled } else { JobState::Completed },
        assignment: u32::from(!gone),
        driver: Some(driver).filter(|_| !gone),
        passenger: Some(account(RobotId::passenger((number % u64::from(PASSENGERS)) as u32))),
        key: Some(format!("key of a request {number}").as_str().into()),
        pickup: Some(spot(number)),
        dropoff: Some(spot(number + 1)),
        fare_minor: Some(900).filter(|_| !gone),
        assignments: if gone { Vec::new() } else { assignments },
    }
}

fn charge(number: u64) -> ChargeView {
    let id = format!("charge {number:020}").as_str().into();
    ChargeView { id, job: end(number).id, amount_minor: 900, fee: false }
}

/// Plays the city to that second and hands on every record; and ends with a read-back when asked.
struct Play<'a> {
    city: City,
    second: u64,
    see: Box<dyn FnMut(&Record) + 'a>,
}

impl<'a> Play<'a> {
    fn new(see: impl FnMut(&Record) + 'a) -> Self {
        let mut play =
            Self { city: City { ops: 0, pending: Vec::new() }, second: 60, see: Box::new(see) };
        let morning = play.city.morning();
        morning.iter().for_each(&mut play.see);
        play
    }

    fn until(&mut self, second: u64) {
        while self.second < second {
            let next = self.second + 60;
            let block = self.city.block(self.second, next);
            block.iter().for_each(&mut self.see);
            self.second = next;
        }
    }

    fn read_back(&mut self) {
        // Jobs are numbered by when they began; the first minute had none.
        let jobs = self.second / EVERY_S;
        for (_, record) in std::mem::take(&mut self.city.pending) {
            (self.see)(&record);
        }
        let evening = self.city.evening(jobs, self.second as f64 + 90.0);
        evening.iter().for_each(&mut self.see);
    }
}

/// The counts of the allocator are of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn declares() -> Declares {
    Declares { probes: Probe::ALL.to_vec(), ..Declares::default() }
}

fn judge_of(law: &'static LawEntry) -> Judge {
    Judge::within(std::iter::once(law), &declares(), &Known::default(), HORIZON)
}

/// What one who sees every record holds after `early` and after `late` seconds.
fn held<T>(
    start: impl Fn() -> T,
    see: fn(&mut T, &Record),
    early: u64,
    late: u64,
) -> (usize, usize) {
    let before = ALLOCATOR.allocated();
    let watcher = std::cell::RefCell::new(start());
    let mut play = Play::new(|record| see(&mut watcher.borrow_mut(), record));
    play.until(early);
    let first = ALLOCATOR.allocated() - before;
    play.until(late);
    let second = ALLOCATOR.allocated() - before;
    drop(play);
    (first, second)
}

/// Whether what was held grew by more than chance.
fn grew((early, late): (usize, usize)) -> bool {
    late > early + early / 10 + SLACK
}

#[test]
fn what_the_laws_hold_does_not_grow_with_time() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut grown = Vec::new();
    let mut most = 0;
    for law in LAWS {
        let (early, late) = held(|| judge_of(law), Judge::see, 900, 4_500);
        most = most.max(late);
        if grew((early, late)) {
            grown.push(format!("{}: {early} bytes after 15 min, {late} after 75", law.name));
        }
    }
    assert!(grown.is_empty(), "{grown:#?}");
    assert!(most < 8 << 20, "no law holds megabytes of so small a city: {most}");
}

#[test]
fn what_is_counted_does_not_grow_with_time() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let by_races = held(Races::default, Races::see, 3_600, 7_200);
    assert!(!grew(by_races), "the races hold {by_races:?} bytes after one hour, and two");
    let see = |jobs: &mut Jobs, record: &Record| {
        if let Record::Op(op) = record {
            jobs.see(op);
        }
    };
    let by_jobs = held(|| Jobs::within(HORIZON), see, 900, 14_400);
    assert!(!grew(by_jobs), "the jobs hold {by_jobs:?} bytes after 15 minutes, and four hours");
    // Charts have as many buckets, of two seconds first, and of eight later.
    let held = held(|| Figures::within(HORIZON), Figures::see, 1_100, 4_400);
    assert!(!grew(held), "the figures hold {held:?} bytes after 18 minutes, and after 73");
}

#[test]
fn a_verdict_can_be_had_at_any_moment_and_what_is_forgotten_accuses_nobody() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let judge = std::cell::RefCell::new(Judge::new(&declares(), &[], &Known::default(), HORIZON));
    let broken = |complete| {
        let said = judge.borrow().verdicts(complete);
        let broken = said.into_iter().filter(|(_, said)| said.verdict == Verdict::Broken);
        broken.map(|(law, said)| (law.name, said.violations)).collect::<Vec<_>>()
    };
    let mut play = Play::new(|record| judge.borrow_mut().see(record));
    for minutes in 1..=30 {
        play.until(minutes * 60);
        assert_eq!(broken(false), [], "after {minutes} minutes");
    }
    play.read_back();
    assert_eq!(broken(true), []);
    let said = judge.borrow().verdicts(true);
    for name in [
        "one-job-per-driver",
        "job-register-linearizable",
        "nothing-acknowledged-is-lost",
        "charged-once",
        "every-job-ends",
        "idempotent-requests",
    ] {
        let (_, said) = said.iter().find(|(law, _)| law.name == name).unwrap();
        let (wants, opportunities) = (name != "idempotent-requests", said.opportunities);
        assert_eq!(said.verdict == Verdict::Pass, wants, "{name}: {}", said.note);
        assert!(opportunities > 0 || !wants, "{name}");
    }
    let lost = said.iter().find(|(law, _)| law.name == "nothing-acknowledged-is-lost").unwrap();
    assert!(lost.1.forgotten > 300, "jobs beyond the horizon are not compared, and that is said");
}
