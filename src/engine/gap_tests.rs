//! Targets with gaps: whatever a backend lacks, does by itself or tells unasked, its robots come to
//! an end.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use futures_util::future::LocalBoxFuture;

use super::{
    target::{Ears, Told, Tried},
    *,
};
use crate::{
    base::{
        id::{Id, RobotId},
        name::NodeName,
        span::Span,
        time::Time,
    },
    history::{
        answer::{Answer, ChargeView, JobState, JobView, OfferView, Refusal},
        declares::{Declares, Offers},
        op::{Ask, OpKind, Outcome},
    },
    robot::puppet,
    scenario::{Arrivals, Robots},
    world::virtual_::Sim,
};
use JobState::{Accepted, Arrived, Cancelled, Completed, Expired, PickedUp, Requested};
use OpKind as K;

const SEARCH: Duration = Duration::from_mins(1);
/// A journey that the backend ends by itself ends so long after its last step.
const ENDS_AFTER: Duration = Duration::from_secs(25);

/// One job, as the backend knows it.
struct Live {
    view: JobView,
    passenger: RobotId,
    driver: Option<RobotId>,
    changed: Time,
    offered: BTreeSet<RobotId>,
    paid: bool,
}

/// A backend that has some ops, and does the rest by itself.
struct Gappy {
    declares: Declares,
    env: Env,
    /// It tells passengers and drivers of every change: to all drivers, twice, and the second time
    /// late.
    tells: bool,
    /// Jobs in what it tells bear the name of their driver.
    names: bool,
    /// Of so many answers one is lost; zero: none.
    loses: u32,
    answers: Cell<u32>,
    ears: RefCell<Option<Ears>>,
    jobs: RefCell<Vec<Live>>,
    drivers: RefCell<BTreeSet<RobotId>>,
    /// What is still to be told, and when.
    outbox: RefCell<Vec<(Time, Told)>>,
}

fn account(robot: RobotId) -> Id {
    Id::from(robot.to_string().as_str())
}

impl Live {
    fn waits(&self) -> bool {
        self.view.state == Requested
    }
}

impl Gappy {
    fn has(&self, op: OpKind) -> bool {
        self.declares.asked().has(op)
    }

    fn tell(&self, robot: RobotId, answer: &Answer, synthetic: bool) {
        let now = self.env.now();
        let mut outbox = self.outbox.borrow_mut();
        for late in [Duration::ZERO, Duration::from_secs(3)] {
            outbox.push((now + late, Told { robot, answer: answer.clone(), synthetic }));
        }
    }

    /// A job went on to another state.
    fn turn(&self, job: &mut Live, state: JobState) {
        job.view.state = state;
        job.changed = self.env.now();
        if state == Requested {
            job.driver = None;
            job.offered.clear();
        }
        job.view.driver = job.driver.filter(|_| self.names).map(account);
        if !self.tells {
            return;
        }
        let answer = puppet::job_answer(Some(&job.view));
        self.tell(job.passenger, &answer, false);
        // Who is not named is told alone, or nobody could know whose job it is.
        let all = self.drivers.borrow();
        let named = self.names || self.has(K::DriverAccept);
        for driver in all.iter().filter(|driver| named || job.driver == Some(**driver)) {
            self.tell(*driver, &answer, false);
        }
    }

    fn is_busy(&self, robot: RobotId) -> bool {
        let jobs = self.jobs.borrow();
        jobs.iter().any(|job| job.driver == Some(robot) && job.view.state.is_held())
    }

    fn next_offer(&self, robot: RobotId) -> Answer {
        if self.is_busy(robot) {
            return Answer::default();
        }
        let jobs = self.jobs.borrow();
        let next = jobs.iter().find(|job| job.waits());
        next.map_or_else(Answer::default, |job| offer(job, robot))
    }

    /// What it does by itself, now and then.
    fn tick(&self) {
        let now = self.env.now();
        let drivers: Vec<RobotId> = self.drivers.borrow().iter().copied().collect();
        let count = self.jobs.borrow().len();
        for index in 0..count {
            let free = drivers.iter().copied().find(|driver| !self.is_busy(*driver));
            let job = &mut self.jobs.borrow_mut()[index];
            let over = now - job.changed;
            if job.waits() && over > SEARCH {
                self.turn(job, Expired);
            } else if let (true, false, Some(free)) = (job.waits(), self.has(K::DriverAccept), free)
            {
                job.driver = Some(free);
                job.view.assignment += 1;
                self.turn(job, Accepted);
            } else if job.waits() {
                self.spread(job, &drivers);
            } else if !self.has(K::DriverDropOff)
                && job.view.state == self.last_step()
                && over > ENDS_AFTER
            {
                self.turn(job, Completed);
            }
        }
        self.flush(now);
    }

    /// Offers that drivers hear of unasked.
    fn spread(&self, job: &mut Live, drivers: &[RobotId]) {
        let synthetic = self.declares.synthetic_offers();
        if !synthetic && self.declares.offers != Offers::Push {
            return;
        }
        for driver in drivers {
            if job.offered.insert(*driver) {
                self.tell(*driver, &offer(job, *driver), synthetic);
            }
        }
    }

    fn flush(&self, now: Time) {
        let all = std::mem::take(&mut *self.outbox.borrow_mut());
        let (due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= now);
        self.outbox.borrow_mut().extend(later);
        let ears = self.ears.borrow().clone();
        for (_, told) in due {
            ears.as_ref().unwrap().tell(told);
        }
    }

    /// The last state that a driver brings a job to when nobody can tell of a drop-off.
    fn last_step(&self) -> JobState {
        match (self.has(K::DriverPickUp), self.has(K::DriverArrive)) {
            (true, _) => PickedUp,
            (false, true) => Arrived,
            (false, false) => Accepted,
        }
    }

    /// The states from which a driver's op may go on.
    fn before(&self, op: OpKind) -> Vec<JobState> {
        let kerb = if self.has(K::DriverArrive) { vec![Arrived] } else { vec![Accepted, Arrived] };
        match op {
            K::DriverArrive => vec![Accepted],
            K::DriverPickUp | K::DriverNoShow => kerb,
            K::DriverDropOff if self.has(K::DriverPickUp) => vec![PickedUp],
            K::DriverDropOff => [kerb, vec![PickedUp]].concat(),
            _ => vec![Accepted, Arrived],
        }
    }

    fn moves(&self, robot: RobotId, ask: &Ask, to: JobState) -> Result<Answer, Refusal> {
        let id = ask.job.clone().ok_or(Refusal::Invalid)?;
        let before = self.before(ask.op);
        let mut jobs = self.jobs.borrow_mut();
        let job = jobs.iter_mut().find(|job| job.view.id == id).ok_or(Refusal::NotFound)?;
        if job.driver != Some(robot) || !before.contains(&job.view.state) {
            return Err(Refusal::Conflict);
        }
        self.turn(job, to);
        Ok(puppet::job_answer(Some(&job.view)))
    }

    fn accept(&self, robot: RobotId, ask: &Ask) -> Result<Answer, Refusal> {
        if self.is_busy(robot) {
            return Err(Refusal::Conflict);
        }
        let mut jobs = self.jobs.borrow_mut();
        let job = jobs.iter_mut().find(|job| Some(&job.view.id) == ask.job.as_ref());
        let job = job.filter(|job| job.waits()).ok_or(Refusal::Conflict)?;
        job.driver = Some(robot);
        job.view.assignment += 1;
        self.turn(job, Accepted);
        Ok(puppet::job_answer(Some(&job.view)))
    }

    fn request(&self, robot: RobotId, ask: &Ask) -> Answer {
        let key = ask.key.clone().unwrap();
        let mut jobs = self.jobs.borrow_mut();
        let known = jobs.iter().position(|job| job.view.id == key);
        let index = known.unwrap_or(jobs.len());
        if known.is_none() {
            let view = JobView {
                id: key,
                assignment: 0,
                pickup: ask.at,
                dropoff: ask.to,
                ..puppet::job(Requested)
            };
            let (changed, offered) = (self.env.now(), BTreeSet::new());
            jobs.push(Live { view, passenger: robot, driver: None, changed, offered, paid: false });
        }
        puppet::job_answer(Some(&jobs[index].view))
    }

    fn of_passenger(&self, robot: RobotId, ask: &Ask) -> Result<Answer, Refusal> {
        let mut jobs = self.jobs.borrow_mut();
        let job = jobs.iter_mut().find(|job| match &ask.job {
            Some(id) => job.view.id == *id,
            None => job.passenger == robot && !job.view.state.is_terminal(),
        });
        let Some(job) = job else {
            return if ask.job.is_some() { Err(Refusal::NotFound) } else { Ok(Answer::default()) };
        };
        match (ask.op, job.view.state) {
            (K::PassengerCancel, PickedUp | Completed | Cancelled | Expired) => {
                return Err(Refusal::Conflict);
            }
            (K::PassengerCancel, _) => self.turn(job, Cancelled),
            (K::PassengerPay, Completed) => {
                job.paid = true;
                let charge = ChargeView {
                    id: job.view.id.clone(),
                    job: job.view.id.clone(),
                    amount_minor: 900,
                    fee: false,
                };
                return Ok(Answer { charges: vec![charge], ..Answer::default() });
            }
            (K::PassengerPay, _) => return Err(Refusal::Conflict),
            _ => {}
        }
        Ok(puppet::job_answer(Some(&job.view)))
    }

    fn audit(&self, ask: &Ask) -> Result<Answer, Refusal> {
        let jobs = self.jobs.borrow();
        if ask.op == K::AuditJobs {
            let jobs = jobs.iter().map(|job| job.view.clone()).collect();
            return Ok(Answer { jobs, ..Answer::default() });
        }
        let job = jobs.iter().find(|job| Some(&job.view.id) == ask.job.as_ref());
        Ok(puppet::job_answer(Some(&job.ok_or(Refusal::NotFound)?.view)))
    }

    fn effect(&self, robot: RobotId, ask: &Ask) -> Result<Answer, Refusal> {
        match ask.op {
            K::DriverRegister | K::DriverLogin | K::DriverGoOnline => {
                self.drivers.borrow_mut().insert(robot);
                Ok(Answer { account: Some(account(robot)), ..Answer::default() })
            }
            K::DriverGoOffline if self.is_busy(robot) => Err(Refusal::Conflict),
            K::DriverGoOffline => {
                self.drivers.borrow_mut().remove(&robot);
                Ok(Answer::default())
            }
            K::DriverPing if self.declares.offers == Offers::Ping => Ok(self.next_offer(robot)),
            K::DriverNextOffer => Ok(self.next_offer(robot)),
            K::DriverAccept => self.accept(robot, ask),
            K::DriverArrive => self.moves(robot, ask, Arrived),
            K::DriverPickUp => self.moves(robot, ask, PickedUp),
            K::DriverDropOff => self.moves(robot, ask, Completed),
            K::DriverCancel => self.moves(robot, ask, Requested),
            K::DriverNoShow => self.moves(robot, ask, Cancelled),
            K::DriverCurrentJob => {
                let jobs = self.jobs.borrow();
                let own =
                    jobs.iter().find(|job| job.driver == Some(robot) && job.view.state.is_held());
                Ok(puppet::job_answer(own.map(|job| &job.view)))
            }
            K::PassengerRequestJob => Ok(self.request(robot, ask)),
            K::PassengerJobStatus
            | K::PassengerCurrentJob
            | K::PassengerCancel
            | K::PassengerPay => self.of_passenger(robot, ask),
            K::AuditJob | K::AuditJobs => self.audit(ask),
            _ => Ok(Answer::default()),
        }
    }
}

impl Target for Gappy {
    fn declares(&self) -> &Declares {
        &self.declares
    }

    fn listen(&self, ears: Ears) {
        *self.ears.borrow_mut() = Some(ears);
    }

    fn attempt<'a>(&'a self, robot: RobotId, ask: &'a Ask, _: u32) -> LocalBoxFuture<'a, Tried> {
        Box::pin(async move {
            assert!(self.has(ask.op), "{robot} asked for {}, which is not there", ask.op);
            self.env.sleep(Duration::from_millis(2)).await;
            let (outcome, answer) = match self.effect(robot, ask) {
                Ok(answer) => (Outcome::Ok, answer),
                Err(refusal) => (Outcome::Fail, puppet::refusal_answer(refusal)),
            };
            self.answers.set(self.answers.get() + 1);
            let lost = self.loses > 0 && self.answers.get().is_multiple_of(self.loses);
            let (outcome, answer) =
                if lost { (Outcome::Info, Answer::default()) } else { (outcome, answer) };
            let (node, status, error, expired, retry) = (None, None, None, false, false);
            Tried { outcome, answer, node, status, error, expired, retry }
        })
    }
}

/// How one case differs from a target that has all.
#[derive(Clone)]
struct Case {
    lacks: Vec<OpKind>,
    offers: Offers,
    tells: bool,
    names: bool,
    loses: u32,
    habits: Robots,
}

fn lacks(ops: &[OpKind]) -> Case {
    let (lacks, habits) = (ops.to_vec(), puppet::steady());
    Case { lacks, offers: Offers::Ping, tells: false, names: true, loses: 0, habits }
}

/// The ops of the flow, and those that are needed before and after it.
fn flow() -> impl Iterator<Item = OpKind> {
    OpKind::ALL.iter().copied().filter(|op| *op != K::CleanupRobot)
}

/// How a case ended.
struct End {
    states: Vec<JobState>,
    paid: usize,
    records: Vec<Record>,
}

impl End {
    fn count(&self, state: JobState) -> usize {
        self.states.iter().filter(|one| **one == state).count()
    }
}

/// Plays a case to its end. Nobody is busy for ever: what is not settled fails here.
fn play(case: &Case, what: &str) -> End {
    let sim = Sim::new("gaps");
    let env = sim.node(&NodeName::from("robots"));
    let declares = Declares {
        ops: flow().filter(|op| !case.lacks.contains(op)).collect(),
        offers: case.offers,
        ..Declares::default()
    };
    let load = Load {
        drivers: 12,
        updates_per_second: 6.0,
        jobs_per_hour: 720.0,
        passengers: 4,
        arrivals: Arrivals::Constant,
        ..Load::default()
    };
    let mut around = puppet::around(case.habits.clone());
    around.ops = declares.asked();
    around.offers = declares.offers;
    around.ping_every = Duration::from_secs(2);
    let toy = Rc::new(Gappy {
        declares,
        env: env.clone(),
        tells: case.tells,
        names: case.names,
        loses: case.loses,
        answers: Cell::default(),
        ears: RefCell::default(),
        jobs: RefCell::default(),
        drivers: RefCell::default(),
        outbox: RefCell::default(),
    });
    let records = Rc::new(RefCell::new(Vec::new()));
    let sink: Rc<dyn Sink> = {
        let records = Rc::clone(&records);
        Rc::new(move |record| records.borrow_mut().push(record))
    };
    let engine = Engine::new(env.clone(), toy.clone(), around, load, sink);
    let ticker = toy.clone();
    env.clone().spawn(async move {
        loop {
            env.sleep(Duration::from_millis(300)).await;
            ticker.tick();
        }
    });
    let settled = sim.run(async {
        assert!(engine.fill(Duration::from_secs(3)).await, "{what}: all sign on");
        engine.load(Duration::from_mins(1)).await;
        engine.drain();
        let settled = engine.settle(Duration::from_mins(15)).await;
        let read = engine.read_back().await;
        (settled, read, engine.sign_off(Duration::from_mins(5)).await)
    });
    let jobs = toy.jobs.borrow();
    let states: Vec<_> = jobs.iter().map(|job| job.view.state).collect();
    assert_eq!(settled.unwrap(), (true, true, true), "{what}: settled, read, gone; {states:?}");
    let paid = jobs.iter().filter(|job| job.paid).count();
    let records = records.borrow().clone();
    End { states, paid, records }
}

fn offer(job: &Live, robot: RobotId) -> Answer {
    let offer = OfferView {
        id: Id::from(format!("O-{}-{robot}", job.view.id).as_str()),
        job: job.view.id.clone(),
        pickup: job.view.pickup.unwrap(),
        dropoff: job.view.dropoff,
        expires_in_ms: 15_000,
        fare_minor: None,
    };
    Answer { offer: Some(Rc::new(offer)), ..Answer::default() }
}

#[test]
fn whichever_single_op_is_missing_every_job_is_driven_to_its_end() {
    for op in flow() {
        let end = play(&lacks(&[op]), op.word());
        // 720 an hour for a minute.
        let jobs = if op == K::PassengerRequestJob { 0 } else { 12 };
        assert_eq!(end.states.len(), jobs, "{op}");
        let over = if op == K::DriverPing { Expired } else { Completed };
        assert_eq!(end.count(over), jobs, "without {op}: {:?}", end.states);
        let pays = op != K::PassengerPay && over == Completed;
        assert_eq!(end.paid, if pays { jobs } else { 0 }, "without {op}");
    }
}

#[test]
fn whichever_single_op_is_missing_whims_and_lost_answers_hold_nobody_for_ever() {
    for op in flow() {
        let mut case = lacks(&[op]);
        case.habits = Robots {
            clumsy: 0.5,
            driver_cancels: 0.3,
            no_shows: 0.3,
            cancels_before_match: 0.2,
            cancels_after_match: 0.2,
            ..Robots::default()
        };
        case.loses = 9;
        let end = play(&case, op.word());
        assert!(op == K::PassengerRequestJob || end.states.len() >= 3, "{op}: {:?}", end.states);
    }
}

/// All over one socket, and no positions: everything is pushed, to all drivers, twice.
fn all_push(reads: bool) -> Case {
    let mut ops = vec![K::DriverPing, K::DriverArrive, K::DriverNextOffer];
    if !reads {
        ops.extend([K::DriverCurrentJob, K::PassengerCurrentJob, K::PassengerJobStatus]);
    }
    Case { offers: Offers::Push, tells: true, ..lacks(&ops) }
}

#[test]
fn a_whole_ride_may_be_told_in_pushes() {
    for reads in [true, false] {
        for names in [true, false] {
            let end = play(&Case { names, ..all_push(reads) }, "all push");
            assert_eq!((end.count(Completed), end.paid), (12, 12), "{reads} {:?}", end.states);
            let told = end.records.iter().filter(|record| matches!(record, Record::Told(_)));
            assert!(told.count() > 100);
            let lossy = Case { loses: 7, names, ..all_push(reads) };
            play(&lossy, "all push, and answers get lost");
        }
    }
}

#[test]
fn jobs_may_be_born_with_a_driver() {
    let born = lacks(&[K::DriverAccept, K::DriverArrive, K::PassengerPay]);
    let end = play(&born, "found by looking");
    assert_eq!((end.count(Completed), end.paid), (12, 0), "{:?}", end.states);
    let mut told = Case { tells: true, ..born.clone() };
    assert_eq!(play(&told, "told, and confirmed by looking").count(Completed), 12);
    told.lacks.push(K::DriverCurrentJob);
    for names in [true, false] {
        let end = play(&Case { names, ..told.clone() }, "told only");
        assert_eq!(end.count(Completed), 12, "{names} {:?}", end.states);
    }
    let blind = Case { tells: false, ..told };
    assert_eq!(play(&Case { names: true, ..blind }, "nobody can tell").count(Completed), 0);
}

#[test]
fn offers_may_be_asked_for_or_relayed() {
    let every = Span::secs(2);
    let asked = play(&Case { offers: Offers::Poll { every }, ..lacks(&[]) }, "polled");
    assert_eq!(asked.count(Completed), 12, "{:?}", asked.states);
    let relayed = play(&Case { offers: Offers::Relay, ..lacks(&[K::DriverPing]) }, "relayed");
    assert_eq!(relayed.count(Completed), 12, "{:?}", relayed.states);
    let synthetic = |record: &&Record| matches!(record, Record::Told(told) if told.synthetic);
    assert!(relayed.records.iter().filter(synthetic).count() > 12);
}

#[test]
fn jobs_that_cannot_be_listed_are_read_back_one_by_one() {
    let end = play(&lacks(&[K::AuditJobs]), "no list");
    let read: BTreeSet<Id> = end
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Op(op) if op.kind() == K::AuditJob => op.answer.job.clone(),
            _ => None,
        })
        .map(|view| view.id.clone())
        .collect();
    assert_eq!(read.len(), 12);
}
