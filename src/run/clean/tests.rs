//! Backends in memory that let a job end in few ways, or let nobody look.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::{LocalBoxFuture, ready};

use super::{census::Known, *};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        name::NodeName,
    },
    engine::target::{Target, Tried},
    history::{
        answer::{Answer, JobState, JobView, Refusal},
        declares::Declares,
        op::{Ask, OpKind as K, Outcome},
    },
    world::virtual_::Sim,
};

const ANN: RobotId = RobotId { kind: RobotKind::Passenger, number: 0 };
const BOB: RobotId = RobotId { kind: RobotKind::Driver, number: 0 };
/// What the history has not seen.
const EVE: RobotId = RobotId { kind: RobotKind::Passenger, number: 1 };

/// One job, of Ann's, which Bob holds.
struct Toy {
    declares: Declares,
    state: RefCell<JobState>,
    asked: RefCell<Vec<K>>,
    /// A driver's cancel does nothing, though it is answered as done.
    deaf: bool,
}

impl Toy {
    fn answer(&self, robot: RobotId, ask: &Ask) -> Result<Answer, Refusal> {
        let state = *self.state.borrow();
        let turn = |from: &[JobState], to| {
            if !from.contains(&state) {
                return Err(Refusal::Conflict);
            }
            self.state.replace(to);
            Ok(Answer::default())
        };
        let job = || Answer { job: Some(Rc::new(view(state))), ..Answer::default() };
        match ask.op {
            K::DriverLogin | K::PassengerLogin if robot == EVE => Err(Refusal::Unauthenticated),
            K::DriverCurrentJob if !state.is_held() => Ok(Answer::default()),
            K::PassengerCurrentJob if state.is_terminal() => Ok(Answer::default()),
            K::DriverCurrentJob | K::PassengerCurrentJob | K::PassengerJobStatus => Ok(job()),
            K::PassengerCancel => {
                turn(&[JobState::Requested, JobState::Accepted], JobState::Cancelled)
            }
            K::DriverCancel if self.deaf => Ok(Answer::default()),
            K::DriverCancel => turn(&[JobState::Arrived], JobState::Requested),
            K::DriverArrive => turn(&[JobState::Accepted], JobState::Arrived),
            K::DriverPickUp => turn(&[JobState::Arrived], JobState::PickedUp),
            K::DriverDropOff => turn(&[JobState::PickedUp], JobState::Completed),
            K::DriverGoOffline if state.is_held() => Err(Refusal::Conflict),
            K::AuditJobs => Ok(Answer { jobs: vec![view(state)], ..Answer::default() }),
            _ => Ok(Answer::default()),
        }
    }
}

fn view(state: JobState) -> JobView {
    JobView {
        id: Id::from("J1"),
        state,
        assignment: 1,
        driver: state.is_held().then(|| Id::from("bob")),
        passenger: Some(Id::from("ann")),
        key: None,
        pickup: None,
        dropoff: None,
        fare_minor: None,
        assignments: vec![],
    }
}

impl Target for Toy {
    fn declares(&self) -> &Declares {
        &self.declares
    }

    fn attempt<'a>(&'a self, robot: RobotId, ask: &'a Ask, _: u32) -> LocalBoxFuture<'a, Tried> {
        assert!(self.declares.ops.contains(&ask.op), "{} is not there", ask.op);
        self.asked.borrow_mut().push(ask.op);
        let (outcome, answer) = match self.answer(robot, ask) {
            Ok(answer) => (Outcome::Ok, answer),
            Err(refusal) => (Outcome::Fail, Answer { refusal: Some(refusal), ..Answer::default() }),
        };
        let (node, status, error) = (None, None, None);
        let (expired, retry) = (false, false);
        Box::pin(ready(Tried { outcome, answer, node, status, error, expired, retry }))
    }
}

fn toy(state: JobState, without: &[K]) -> Toy {
    let ops = K::ALL.iter().copied().filter(|op| !without.contains(op) && *op != K::CleanupRobot);
    let declares = Declares { ops: ops.collect(), ..Declares::default() };
    Toy { declares, state: RefCell::new(state), asked: RefCell::default(), deaf: false }
}

fn cleaned(toy: Rc<Toy>) -> Cleaned {
    let sim = Sim::new("clean");
    let env = sim.node(&NodeName::from("robots"));
    let mut census = Census::default();
    for (robot, account) in [(ANN, Some("ann")), (BOB, Some("bob")), (EVE, None)] {
        let known = Known { was_in: account.is_some(), account: account.map(Id::from) };
        census.robots.insert(robot, known);
    }
    let job = census::Job { passenger: Some(ANN), driver: Some(BOB), over: false };
    census.jobs.insert(Id::from("J1"), job);
    let sweep = Sweep::new(Hand::new(env, toy, None), census);
    sim.run(go_through(&sweep)).unwrap();
    sweep.outcome()
}

#[test]
fn a_job_ends_in_whichever_way_there_is() {
    let blind = [K::DriverCurrentJob, K::PassengerCurrentJob];
    for state in [JobState::Requested, JobState::Accepted, JobState::Arrived, JobState::PickedUp] {
        for without in [&[][..], &[K::DriverCancel], &[K::DriverCancel, K::DriverNoShow], &blind] {
            let toy = Rc::new(toy(state, without));
            let cleaned = cleaned(Rc::clone(&toy));
            let words = format!("{state:?} without {without:?}: {cleaned:?}");
            assert!(toy.state.borrow().is_terminal(), "{words}");
            assert_eq!(cleaned.exit(), Exit::Pass, "{words}");
            assert_eq!((cleaned.signed_off, cleaned.ended), (1, 1), "{words}");
        }
    }
}

#[test]
fn where_nothing_is_left_nothing_is_done() {
    let toy = Rc::new(toy(JobState::Completed, &[]));
    let cleaned = cleaned(Rc::clone(&toy));
    assert_eq!((cleaned.ended, cleaned.exit()), (0, Exit::Pass), "{cleaned:?}");
    let asked = toy.asked.borrow();
    assert!(!asked.contains(&K::PassengerCancel) && !asked.contains(&K::DriverDropOff));
}

#[test]
fn what_cannot_be_ended_is_named() {
    let without = [K::DriverDropOff, K::DriverPickUp];
    let toy = Rc::new(Toy { deaf: true, ..toy(JobState::PickedUp, &without) });
    let cleaned = cleaned(toy);
    assert_eq!(cleaned.exit(), Exit::LeftBehind);
    assert!(cleaned.left.iter().any(|left| left.contains("J1: picked_up")), "{cleaned:?}");
    assert_eq!(cleaned.ended, 0);
}

#[test]
fn what_nobody_can_look_at_is_not_proven() {
    let without = [K::PassengerCurrentJob, K::AuditJobs, K::PassengerJobStatus];
    let cleaned = cleaned(Rc::new(toy(JobState::Completed, &without)));
    assert_eq!(cleaned.exit(), Exit::LeftBehind);
    assert!(cleaned.unproven[0].contains("no passenger.current_job"), "{cleaned:?}");
}
