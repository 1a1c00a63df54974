//! Goes through the robots of a run: in, their jobs ended, off their shifts. What it did is kept
//! here; whether it was enough is asked in `proof.rs`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use futures_util::{StreamExt as _, stream};

use super::{Cleaned, census::Census, hand::Hand};
use crate::{
    base::id::{Id, RobotId, RobotKind},
    engine::target::Tried,
    history::{
        answer::{JobState, JobView, Refusal},
        op::{Ask, OpKind, Outcome},
    },
};

/// Robots that are seen to at once.
const AT_ONCE: usize = 32;
/// Steps that one driver takes to the end of a job.
const STEPS_MAX: usize = 12;

/// What is known of the robots by now.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Who is in.
    pub inside: BTreeSet<RobotId>,
    /// Who was never in, or is put to rest.
    pub absent: BTreeSet<RobotId>,
    /// Accounts of ours.
    pub accounts: BTreeMap<(RobotKind, Id), RobotId>,
    /// Jobs that were found alive and not yet seen to end.
    pub live: BTreeMap<Id, (RobotId, JobView)>,
    /// Jobs that were ended.
    pub ended: BTreeSet<Id>,
    /// Who was signed off.
    pub signed_off: BTreeSet<RobotId>,
    /// What is left with whom, since the last look.
    pub left: BTreeMap<String, String>,
    /// What cannot be proven.
    pub unproven: Vec<String>,
}

/// What somebody saw of a job.
pub(super) enum Seen {
    Live(JobView),
    None,
    Unknown(String),
}

impl State {
    /// The robot of that kind whose account that is.
    pub(super) fn who(&self, kind: RobotKind, account: Option<&Id>) -> Option<RobotId> {
        account.and_then(|id| self.accounts.get(&(kind, id.clone())).copied())
    }
}

/// The work.
pub struct Sweep {
    /// Asks.
    pub hand: Hand,
    pub(super) census: Census,
    pub(super) state: RefCell<State>,
}

impl Sweep {
    /// Nothing is asked yet.
    pub fn new(hand: Hand, census: Census) -> Self {
        let mut state = State::default();
        for (robot, known) in &census.robots {
            if let Some(account) = &known.account {
                state.accounts.insert((robot.kind, account.clone()), *robot);
                hand.target().recall(*robot, account);
            }
        }
        Self { hand, census, state: RefCell::new(state) }
    }

    /// What came of it.
    pub fn outcome(&self) -> Cleaned {
        let state = self.state.borrow();
        Cleaned {
            went_with_the_run: false,
            signed_off: state.signed_off.len(),
            ended: state.ended.len(),
            left: state.left.iter().map(|(what, why)| format!("{what}: {why}")).collect(),
            unproven: state.unproven.clone(),
            damage: self.census.damage.clone(),
        }
    }

    pub(super) fn leave(&self, what: &impl ToString, why: String) {
        self.state.borrow_mut().left.insert(what.to_string(), why);
    }

    /// Who of a kind is in.
    pub(super) fn inside(&self, kind: RobotKind) -> Vec<RobotId> {
        self.state.borrow().inside.iter().filter(|robot| robot.kind == kind).copied().collect()
    }

    pub(super) async fn each<'a, F: Future<Output = ()> + 'a>(
        &'a self,
        robots: Vec<RobotId>,
        work: impl Fn(&'a Self, RobotId) -> F,
    ) {
        stream::iter(robots).map(|robot| work(self, robot)).buffer_unordered(AT_ONCE).count().await;
    }

    /// Lets everybody in who was in, or may have been.
    pub async fn enter(&self) {
        let all =
            [RobotKind::Passenger, RobotKind::Driver].map(|kind| self.census.of(kind)).concat();
        self.state.borrow_mut().left.clear();
        let waiting = |robot: &RobotId| {
            let state = self.state.borrow();
            !state.inside.contains(robot) && !state.absent.contains(robot)
        };
        self.each(all.into_iter().filter(waiting).collect(), Self::let_in).await;
    }

    async fn let_in(&self, robot: RobotId) {
        let (login, register) = match robot.kind {
            RobotKind::Driver => (OpKind::DriverLogin, OpKind::DriverRegister),
            _ => (OpKind::PassengerLogin, OpKind::PassengerRegister),
        };
        let known = self.census.known(robot);
        // Without a login there is only what came with the account: some give it out again.
        let way = if self.hand.has(login) { login } else { register };
        if !self.hand.has(way) {
            self.state.borrow_mut().inside.insert(robot);
            return;
        }
        let tried = self.hand.ask(robot, Ask::new(way)).await;
        let refused = tried.outcome == Outcome::Fail
            && !matches!(tried.answer.refusal, None | Some(Refusal::Limited));
        let mut state = self.state.borrow_mut();
        if tried.outcome == Outcome::Ok || way == register {
            state.inside.insert(robot);
            if let Some(account) = tried.answer.account {
                state.accounts.insert((robot.kind, account), robot);
            }
        } else if refused && (!known.was_in || self.hand.has(OpKind::CleanupRobot)) {
            state.absent.insert(robot);
        } else {
            let why = format!("cannot log in: {}", words(&tried));
            state.left.insert(robot.to_string(), why);
        }
    }

    /// Passengers give up what they can.
    pub async fn end_jobs(&self) {
        self.each(self.inside(RobotKind::Passenger), Self::give_up).await;
    }

    async fn give_up(&self, robot: RobotId) {
        for view in self.live_jobs_of(robot).await {
            self.state.borrow_mut().live.insert(view.id.clone(), (robot, view.clone()));
            if !self.hand.has(OpKind::PassengerCancel) {
                continue;
            }
            let tried = self.hand.ask(robot, about(&view, OpKind::PassengerCancel)).await;
            if tried.outcome == Outcome::Ok {
                self.ended(&view.id);
            }
        }
    }

    fn ended(&self, job: &Id) {
        let mut state = self.state.borrow_mut();
        state.live.remove(job);
        state.ended.insert(job.clone());
    }

    /// Every live job of a passenger that can be found: the present one, and those that the history
    /// does not see end.
    async fn live_jobs_of(&self, robot: RobotId) -> Vec<JobView> {
        let mut jobs = BTreeMap::new();
        if let Seen::Live(view) = self.current(robot).await {
            jobs.insert(view.id.clone(), view);
        }
        for job in self.open_jobs_of(robot) {
            if let (false, Seen::Live(view)) =
                (jobs.contains_key(&job), self.status(robot, &job).await)
            {
                jobs.insert(job, view);
            }
        }
        jobs.into_values().collect()
    }

    /// Jobs of a passenger that nobody has seen end.
    pub(super) fn open_jobs_of(&self, robot: RobotId) -> BTreeSet<Id> {
        let state = self.state.borrow();
        let found = state.live.iter().filter(|(_, (whose, _))| *whose == robot);
        let known = self.census.open_jobs(robot).into_iter();
        let all = known.chain(found.map(|(id, _)| id.clone()));
        all.filter(|id| !state.ended.contains(id)).collect()
    }

    /// The job that a robot has now, where the target tells.
    pub(super) async fn current(&self, robot: RobotId) -> Seen {
        let op = match robot.kind {
            RobotKind::Driver => OpKind::DriverCurrentJob,
            _ => OpKind::PassengerCurrentJob,
        };
        if !self.hand.has(op) {
            return Seen::None;
        }
        seen(&self.hand.ask(robot, Ask::new(op)).await)
    }

    /// One job, as its passenger sees it. Where nobody can look, it counts as alive.
    pub(super) async fn status(&self, robot: RobotId, job: &Id) -> Seen {
        if !self.hand.has(OpKind::PassengerJobStatus) {
            return Seen::Unknown("no passenger.job_status".to_owned());
        }
        let ask = Ask { job: Some(job.clone()), ..Ask::new(OpKind::PassengerJobStatus) };
        seen(&self.hand.ask(robot, ask).await)
    }

    /// Drivers end what they hold, and go off their shifts.
    pub async fn sign_off(&self) {
        self.each(self.inside(RobotKind::Driver), Self::go_home).await;
    }

    async fn go_home(&self, robot: RobotId) {
        if self.state.borrow().signed_off.contains(&robot) && !self.holds(robot) {
            return;
        }
        self.end_held_job(robot).await;
        if self.hand.has(OpKind::DriverGoOffline) {
            let tried = self.hand.ask(robot, Ask::new(OpKind::DriverGoOffline)).await;
            // Who is refused is on no shift, unless a job keeps it there: that is looked for later.
            let off = matches!(
                tried.answer.refusal,
                Some(Refusal::Conflict | Refusal::NotFound | Refusal::Forbidden)
            );
            if tried.outcome != Outcome::Ok && !off {
                return self.leave(&robot, format!("on shift: {}", words(&tried)));
            }
        }
        self.state.borrow_mut().signed_off.insert(robot);
    }

    fn holds(&self, robot: RobotId) -> bool {
        self.state.borrow().live.values().any(|(_, view)| {
            self.state.borrow().who(RobotKind::Driver, view.driver.as_ref()) == Some(robot)
        })
    }

    /// Whatever ends the job that a driver holds: given back, not met, or driven to its end.
    async fn end_held_job(&self, robot: RobotId) {
        let mut tried_in = BTreeSet::new();
        for _ in 0..STEPS_MAX {
            let Some(view) = self.held(robot).await else { return };
            let ways = ways_on(view.state).iter().copied();
            let Some(op) =
                ways.filter(|op| self.hand.has(*op)).find(|op| tried_in.insert((view.state, *op)))
            else {
                return;
            };
            self.be_there(robot, &view, op).await;
            let tried = self.hand.ask(robot, about(&view, op)).await;
            let ends = matches!(op, OpKind::DriverDropOff | OpKind::DriverNoShow);
            if tried.outcome == Outcome::Ok && ends {
                self.ended(&view.id);
            }
        }
    }

    /// The job that a driver holds: by its own word, or else by that of the job's passenger.
    async fn held(&self, robot: RobotId) -> Option<JobView> {
        if self.hand.has(OpKind::DriverCurrentJob) {
            return match self.current(robot).await {
                Seen::Live(view) => Some(view),
                Seen::None | Seen::Unknown(_) => None,
            };
        }
        for job in self.census.open_jobs(robot) {
            let whose = self.census.jobs.get(&job).and_then(|job| job.passenger);
            let Some(passenger) = whose else { continue };
            let Seen::Live(view) = self.status(passenger, &job).await else { continue };
            let driver = self.state.borrow().who(RobotKind::Driver, view.driver.as_ref());
            let of_another = driver.is_some_and(|driver| driver != robot);
            if view.state.is_held() && !of_another {
                return Some(view);
            }
        }
        None
    }

    /// Some let nobody arrive who is elsewhere.
    async fn be_there(&self, robot: RobotId, view: &JobView, op: OpKind) {
        let at = match op {
            OpKind::DriverArrive => view.pickup,
            OpKind::DriverDropOff => view.dropoff,
            _ => None,
        };
        if at.is_some() && self.hand.has(OpKind::DriverPing) {
            let ask = Ask { at, seq: Some(1), ..Ask::new(OpKind::DriverPing) };
            self.hand.ask(robot, ask).await;
        }
    }

    /// What else a target wants done with accounts that are not needed any more.
    pub async fn put_to_rest(&self) {
        if !self.hand.has(OpKind::CleanupRobot) || !self.state.borrow().left.is_empty() {
            return;
        }
        let all = self.state.borrow().inside.iter().copied().collect();
        self.each(all, |sweep, robot| async move {
            let tried = sweep.hand.ask(robot, Ask::new(OpKind::CleanupRobot)).await;
            if tried.outcome == Outcome::Info {
                sweep.leave(&robot, format!("its account: {}", words(&tried)));
            }
        })
        .await;
    }
}

/// What ends a job in that state, the surest first.
fn ways_on(state: JobState) -> &'static [OpKind] {
    use OpKind::{DriverArrive, DriverCancel, DriverDropOff, DriverNoShow, DriverPickUp};
    match state {
        JobState::Accepted => &[DriverCancel, DriverArrive, DriverPickUp],
        JobState::Arrived => &[DriverCancel, DriverNoShow, DriverPickUp],
        JobState::PickedUp => &[DriverDropOff, DriverCancel],
        _ => &[DriverCancel],
    }
}

fn about(view: &JobView, op: OpKind) -> Ask {
    let gives_up = matches!(op, OpKind::DriverCancel | OpKind::PassengerCancel);
    Ask {
        job: Some(view.id.clone()),
        assignment: Some(view.assignment)
            .filter(|number| *number > 0 && op != OpKind::PassengerCancel),
        reason: gives_up.then(|| Id::from("the run is over")),
        ..Ask::new(op)
    }
}

fn seen(tried: &Tried) -> Seen {
    match (tried.outcome, &tried.answer.job) {
        (Outcome::Ok, Some(view)) if !view.state.is_terminal() => Seen::Live((**view).clone()),
        (Outcome::Ok, _) => Seen::None,
        (Outcome::Fail, _) if tried.answer.refusal == Some(Refusal::NotFound) => Seen::None,
        _ => Seen::Unknown(words(tried)),
    }
}

pub(super) fn words(tried: &Tried) -> String {
    tried.error.clone().unwrap_or_else(|| "no answer that tells".to_owned())
}
