//! The journey of one driver and one passenger, as robots make it, but one step after the other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::page::Page;
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        place::Place,
        rng::Rng,
    },
    city::City,
    engine::target::{Target, Tried},
    history::{
        answer::{Answer, JobState, JobView, OfferView, Refusal},
        op::{Ask, OpKind, Outcome},
    },
};
use crate::{target::mapped::Mapped, world::Env};

/// How long a walk waits for a driver to be found.
const MATCH_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Attempts of one step, where another may go better.
const TRIES_MAX: u32 = 3;
/// How far the driver is from the passenger at first, at most, in metres.
const NEAR_M: f64 = 200.0;

const DRIVER: RobotId = RobotId::driver(0);
const PASSENGER: RobotId = RobotId::passenger(0);
const AUDITOR: RobotId = RobotId { kind: RobotKind::Auditor, number: 0 };

/// A step without which the walk cannot go on went wrong; it was told already.
pub struct Stopped;

/// What was measured on the way.
#[derive(Debug, Default)]
pub struct Measured {
    /// A repeat of the request with its key gave the same job.
    pub idempotent: Option<bool>,
    /// The key of the request was in what was sent.
    pub key_sent: bool,
    /// A look right after the request showed the job.
    pub own_writes: Option<bool>,
    /// The life of the offer by the backend's word, in milliseconds.
    pub offer_ms: Option<u64>,
    /// From the request to the offer or the match.
    pub matched_after: Option<Duration>,
}

/// A walk and how far it came.
pub struct Walk {
    pub env: Env,
    pub target: Rc<Mapped>,
    pub page: Rc<Page>,
    pub measured: RefCell<Measured>,
    from: Place,
    to: Place,
    start: Place,
    key: Id,
    seq: Cell<u64>,
    /// Live jobs of the passenger.
    open: RefCell<Vec<Id>>,
    online: Cell<bool>,
}

/// How a driver was found.
enum Match {
    Offer(Rc<OfferView>),
    /// The backend gave the job to the driver by itself.
    Held(JobView),
}

impl Walk {
    pub fn new(env: Env, target: Rc<Mapped>, page: Rc<Page>, city: &City, run: &str) -> Self {
        let mut rng = Rng::from_seed(run).fork("walk");
        let (from, to) = city.draw_trip(12, &mut rng);
        let start = city.draw_near(from, NEAR_M, &mut rng);
        Self {
            env,
            target,
            page,
            measured: RefCell::default(),
            from,
            to,
            start,
            key: Id::from(format!("{run}-request").as_str()),
            seq: Cell::new(0),
            open: RefCell::default(),
            online: Cell::new(false),
        }
    }

    pub fn has(&self, op: OpKind) -> bool {
        self.target.declares().ops.contains(&op)
    }

    /// The whole walk. What is wrong is on the page.
    pub async fn all(&self) {
        if self.journey().await.is_err() {
            println!("\nthe walk ends here");
        }
    }

    async fn journey(&self) -> Result<(), Stopped> {
        self.sign_on().await?;
        let job = self.request().await?;
        let job = self.find_driver(job).await?;
        self.drive(&job).await?;
        self.settle(&job.id).await;
        self.audit(&job.id).await;
        self.repeat(&job.id).await;
        Ok(())
    }

    async fn sign_on(&self) -> Result<(), Stopped> {
        self.register(DRIVER, OpKind::DriverRegister).await?;
        self.needed(DRIVER, Ask::new(OpKind::SetupApproveDriver)).await?;
        self.needed(DRIVER, Ask::new(OpKind::DriverLogin)).await?;
        let online = Ask { at: Some(self.start), ..Ask::new(OpKind::DriverGoOnline) };
        self.needed(DRIVER, online).await?;
        self.online.set(true);
        self.needed(DRIVER, self.ping(self.start)).await?;
        self.needed(DRIVER, self.ping(self.start)).await?;
        self.register(PASSENGER, OpKind::PassengerRegister).await?;
        self.needed(PASSENGER, Ask::new(OpKind::PassengerLogin)).await?;
        Ok(())
    }

    fn ping(&self, at: Place) -> Ask {
        self.seq.set(self.seq.get() + 1);
        Ask { at: Some(at), seq: Some(self.seq.get()), ..Ask::new(OpKind::DriverPing) }
    }

    async fn register(&self, robot: RobotId, op: OpKind) -> Result<(), Stopped> {
        if !self.has(op) {
            Page::skipped(op);
            return Ok(());
        }
        let tried = self.carry(robot, &Ask::new(op)).await;
        // An account that is there already will do.
        let exists = tried.answer.refusal == Some(Refusal::Conflict);
        self.page.step(op, &tried, exists);
        if exists {
            let hint = "an account like it is there already. Should it be new, let what must be its \
                        own differ from run to run: `unique`, or `pattern` with 8 # and more";
            self.page.note(hint.to_owned());
        }
        if tried.outcome == Outcome::Fail && !exists { Err(Stopped) } else { Ok(()) }
    }

    async fn request(&self) -> Result<JobView, Stopped> {
        let near = Ask { at: Some(self.from), ..Ask::new(OpKind::PassengerNearDrivers) };
        self.wanted(PASSENGER, near).await;
        let quote = Ask { op: OpKind::PassengerQuote, ..self.request_ask() };
        self.wanted(PASSENGER, Ask { key: None, ..quote }).await;
        if !self.has(OpKind::PassengerRequestJob) {
            self.page.problem("[passenger.request_job] is missing: there is no job to walk".into());
            return Err(Stopped);
        }
        let answer = self.needed(PASSENGER, self.request_ask()).await?;
        let Some(job) = answer.and_then(|answer| answer.job) else {
            self.page.problem("passenger.request_job: its answer tells no job".into());
            return Err(Stopped);
        };
        if !job.state.is_terminal() {
            self.open.borrow_mut().push(job.id.clone());
        }
        let look = Ask { job: Some(job.id.clone()), ..Ask::new(OpKind::PassengerJobStatus) };
        if self.has(look.op) {
            let tried = self.carry(PASSENGER, &look).await;
            self.page.step(look.op, &tried, false);
            let seen = tried.answer.job.as_ref().is_some_and(|seen| seen.id == job.id);
            self.measured.borrow_mut().own_writes = Some(seen);
        }
        Ok(JobView::clone(&job))
    }

    fn request_ask(&self) -> Ask {
        Ask {
            at: Some(self.from),
            to: Some(self.to),
            key: Some(self.key.clone()),
            ..Ask::new(OpKind::PassengerRequestJob)
        }
    }

    /// Waits for the match, and takes it.
    async fn find_driver(&self, job: JobView) -> Result<JobView, Stopped> {
        println!("\n… waits up to {} s for a driver to be found", MATCH_WITHIN.as_secs());
        let asked = self.env.now();
        let found = self.wait(&job, asked + MATCH_WITHIN).await?;
        self.measured.borrow_mut().matched_after = Some(self.env.now() - asked);
        let offer = match found {
            Match::Held(held) => {
                self.page.note("the backend gave the job to the driver by itself".into());
                return Ok(held);
            }
            Match::Offer(offer) => offer,
        };
        self.measured.borrow_mut().offer_ms = Some(offer.expires_in_ms);
        if !self.has(OpKind::DriverAccept) {
            self.page.problem("an offer came, and [driver.accept] is missing".into());
            return Err(Stopped);
        }
        let (id, name) = (Some(offer.job.clone()), Some(offer.id.clone()));
        let accept = Ask { job: id.clone(), offer: name, ..Ask::new(OpKind::DriverAccept) };
        let accepted = self.needed(DRIVER, accept).await?.and_then(|answer| answer.job);
        let current = self.wanted(DRIVER, Ask::new(OpKind::DriverCurrentJob)).await;
        self.wanted(PASSENGER, Ask::new(OpKind::PassengerCurrentJob)).await;
        self.wanted(PASSENGER, Ask { job: id, ..Ask::new(OpKind::PassengerJobStatus) }).await;
        let current = current.and_then(|answer| answer.job);
        if self.has(OpKind::DriverCurrentJob)
            && current.as_ref().map(|job| &job.id) != Some(&job.id)
        {
            self.page.note("driver.current_job does not show the job that was just taken".into());
        }
        let known = accepted.or(current).map(|job| JobView::clone(&job));
        Ok(known.unwrap_or(JobView { state: JobState::Accepted, ..job }))
    }

    async fn wait(&self, job: &JobView, until: crate::base::time::Time) -> Result<Match, Stopped> {
        loop {
            while let Some(told) = self.page.next_told() {
                if let Some(found) = is_match(&told.answer, job, told.robot == DRIVER) {
                    return Ok(found);
                }
            }
            let looks = [
                (DRIVER, self.ping(self.start)),
                (DRIVER, Ask::new(OpKind::DriverNextOffer)),
                (DRIVER, Ask::new(OpKind::DriverCurrentJob)),
                (
                    PASSENGER,
                    Ask { job: Some(job.id.clone()), ..Ask::new(OpKind::PassengerJobStatus) },
                ),
            ];
            for (robot, ask) in looks.into_iter().filter(|(_, ask)| self.has(ask.op)) {
                let tried = self.carry(robot, &ask).await;
                self.page.polled(ask.op, &tried);
                if let Some(found) = is_match(&tried.answer, job, robot == DRIVER) {
                    return Ok(found);
                }
                let over = tried.answer.job.as_ref().filter(|seen| seen.id == job.id);
                if let Some(over) = over.filter(|seen| seen.state.is_terminal()) {
                    self.open.borrow_mut().clear();
                    let state = over.state.word();
                    self.page.problem(format!("the job is {state} before a driver was found"));
                    return Err(Stopped);
                }
            }
            if self.env.now() >= until {
                self.page.problem(format!(
                    "no driver heard of the job within {} s: look at `[offers] how`, at what reads an \
                     offer, and whether the driver is online and near enough",
                    MATCH_WITHIN.as_secs()
                ));
                return Err(Stopped);
            }
            self.env.sleep(LOOK_EVERY).await;
        }
    }

    async fn drive(&self, job: &JobView) -> Result<(), Stopped> {
        let assignment = Some(job.assignment).filter(|number| *number > 0);
        let about = |op| Ask { job: Some(job.id.clone()), assignment, ..Ask::new(op) };
        self.quietly(self.ping(self.from)).await;
        self.needed(DRIVER, about(OpKind::DriverArrive)).await?;
        self.needed(DRIVER, about(OpKind::DriverPickUp)).await?;
        self.quietly(self.ping(self.to)).await;
        self.needed(DRIVER, about(OpKind::DriverDropOff)).await?;
        if self.has(OpKind::DriverDropOff) {
            self.open.borrow_mut().clear();
        }
        let over = self.wanted(PASSENGER, about(OpKind::PassengerJobStatus)).await;
        if let Some(seen) = over.and_then(|answer| answer.job)
            && seen.state != JobState::Completed
        {
            let state = seen.state.word();
            self.page.note(format!("after the drop-off the job is {state}, and not completed"));
        }
        Ok(())
    }

    async fn settle(&self, job: &Id) {
        let about = |op| Ask { job: Some(job.clone()), ..Ask::new(op) };
        let key = Some(Id::from(format!("{}-pay", self.key).as_str()));
        self.wanted(PASSENGER, Ask { key, ..about(OpKind::PassengerPay) }).await;
        self.wanted(PASSENGER, Ask { stars: Some(5), ..about(OpKind::PassengerRate) }).await;
    }

    /// Reads back, and looks for the job in it.
    async fn audit(&self, job: &Id) {
        let one = Ask { job: Some(job.clone()), ..Ask::new(OpKind::AuditJob) };
        self.wanted(AUDITOR, one).await;
        if let Some(page) = self.wanted(AUDITOR, Ask::new(OpKind::AuditJobs)).await
            && page.next.is_none()
            && !page.jobs.iter().any(|seen| seen.id == *job)
        {
            self.page
                .problem(format!("audit.jobs: the job {job} is not in it, and there is no `next`"));
        }
        for op in [OpKind::AuditCharges, OpKind::AuditEarnings, OpKind::AuditRefunds] {
            self.wanted(AUDITOR, Ask::new(op)).await;
        }
    }

    /// Asks for the same journey with the same key again: it must be the same job.
    async fn repeat(&self, job: &Id) {
        println!("\n… the same request with the same key");
        let ask = self.request_ask();
        let tried = self.carry(PASSENGER, &ask).await;
        self.measured.borrow_mut().key_sent = self.page.sent_holds(self.key.as_str());
        self.page.step(ask.op, &tried, true);
        let Some(again) = tried.answer.job.filter(|_| tried.outcome == Outcome::Ok) else { return };
        self.measured.borrow_mut().idempotent = Some(again.id == *job);
        if again.id != *job && !again.state.is_terminal() {
            self.open.borrow_mut().push(again.id.clone());
        }
    }

    /// Whatever is open still is cancelled, and the driver goes home.
    pub async fn tidy(&self) {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        for job in open {
            let reason = Some(Id::from("the walk is over"));
            let ask = Ask { job: Some(job), reason, ..Ask::new(OpKind::PassengerCancel) };
            if !self.has(ask.op) {
                let what = "a job stays open: [passenger.cancel] is missing".to_owned();
                self.page.note(what);
                continue;
            }
            let tried = self.carry(PASSENGER, &ask).await;
            self.page.step(ask.op, &tried, true);
            if tried.outcome != Outcome::Ok && self.has(OpKind::DriverCancel) {
                let give_back = Ask { op: OpKind::DriverCancel, ..ask };
                let tried = self.carry(DRIVER, &give_back).await;
                self.page.step(give_back.op, &tried, true);
            }
        }
        if self.online.replace(false) {
            self.wanted(DRIVER, Ask::new(OpKind::DriverGoOffline)).await;
        }
    }

    /// A step that the walk cannot do without, where it is mapped.
    async fn needed(&self, robot: RobotId, ask: Ask) -> Result<Option<Answer>, Stopped> {
        if !self.has(ask.op) {
            Page::skipped(ask.op);
            return Ok(None);
        }
        let tried = self.carry(robot, &ask).await;
        self.page.step(ask.op, &tried, false);
        if tried.outcome == Outcome::Ok { Ok(Some(tried.answer)) } else { Err(Stopped) }
    }

    /// A step that the walk goes on without.
    async fn wanted(&self, robot: RobotId, ask: Ask) -> Option<Answer> {
        self.needed(robot, ask).await.ok().flatten()
    }

    async fn quietly(&self, ask: Ask) {
        if self.has(ask.op) {
            let tried = self.carry(DRIVER, &ask).await;
            self.page.polled(ask.op, &tried);
        }
    }

    /// One op as a robot does it: a new login when the token has expired, and another attempt where
    /// that may go better.
    async fn carry(&self, robot: RobotId, ask: &Ask) -> Tried {
        let mut logged_in = false;
        let mut attempt = 0;
        loop {
            let tried = self.target.attempt(robot, ask, attempt).await;
            attempt += 1;
            let login = match robot.kind {
                RobotKind::Driver => OpKind::DriverLogin,
                _ => OpKind::PassengerLogin,
            };
            if tried.expired && !logged_in && self.has(login) && ask.op != login {
                logged_in = true;
                let again = self.target.attempt(robot, &Ask::new(login), 0).await;
                if again.outcome == Outcome::Ok {
                    continue;
                }
            } else if tried.retry && attempt < TRIES_MAX {
                self.env.sleep(LOOK_EVERY).await;
                continue;
            }
            return tried;
        }
    }
}

fn is_match(answer: &Answer, job: &JobView, driver: bool) -> Option<Match> {
    if let Some(offer) = answer.offer.as_ref().filter(|_| driver) {
        if offer.job == job.id {
            return Some(Match::Offer(Rc::clone(offer)));
        }
        println!("   -- an offer of another job, {}: let be", offer.job);
    }
    let seen = answer.job.as_ref().filter(|seen| seen.id == job.id)?;
    seen.state.is_held().then(|| Match::Held(JobView::clone(seen)))
}
