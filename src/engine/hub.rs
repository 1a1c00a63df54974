//! What the parts of the engine share: the loop that wakes robots, and the books. Borrows of the
//! state are short and never held across an await.

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures_util::{future::select, pin_mut};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::{
    Sink,
    agenda::{Agenda, Due},
    ceiling::Ceiling,
    demand::Demand,
    figures::{Figures, Tally},
    jobs::Jobs,
    life::{self, Intent, Turn},
    population::Population,
    supply::{Supply, census_every},
    surge::Surge,
    target::{Gap, Target, Told},
    wave::Wave,
};
use crate::{
    base::{
        id::{RobotId, RobotKind},
        rng::Rng,
        time::Time,
    },
    history::{
        op::{Ask, Op, OpKind, Outcome, is_load},
        record::{self, Record},
    },
    robot::{Act, Event, Standing, Surroundings, Trip},
    scenario::Load,
    world::Env,
};

/// Ops of one robot in flight beyond which a ping is skipped. Of all else a robot asks for one
/// thing at a time, a look and a second tap beside it.
pub(super) const IN_FLIGHT_PER_ROBOT: u32 = 8;
/// Ops in flight in all: beyond it a ping is skipped, and anything else waits its turn.
pub(super) const IN_FLIGHT: u32 = 50_000;
/// Robots that step between two breaths of the thread: ops in flight must get their turn.
const STEPS_PER_BREATH: u32 = 64;
/// Sleep at most this long, so that a clock is never asked for a moment beyond its range.
const SLEEP_MAX: Duration = Duration::from_hours(1);
/// Skipped pings are reported together, this often.
const SKIPPED_EVERY: Duration = Duration::from_secs(1);
/// Passengers that were ever taken in: beyond it a wish is lost, and counted.
const PASSENGERS_MAX: u32 = 2_000_000;

/// The shared middle of the engine.
pub(super) struct Hub {
    pub env: Env,
    pub target: Rc<dyn Target>,
    pub around: Surroundings,
    pub ceiling: Option<Rc<Ceiling>>,
    pub permits: Semaphore,
    sink: Rc<dyn Sink>,
    pub state: RefCell<State>,
    wake: Notify,
    /// Until when the loop sleeps; zero while it is awake.
    asleep_until: Cell<Time>,
    stopped: Cell<bool>,
    next_op: Cell<u64>,
}

/// What changes.
pub(super) struct State {
    pub population: Population,
    pub agenda: Agenda,
    pub demand: Demand,
    pub supply: Supply,
    pub surge: Surge,
    pub wave: Wave,
    pub tally: Tally,
    /// Jobs that ops were answered with, where they are read back one by one.
    pub jobs: Jobs,
    /// Idle passengers, by number.
    pub idle: Vec<u32>,
    /// Wishes that wait for a passenger who is on the way in.
    pub waiting: u32,
    /// Ops that the target gathers, and whose end is not known.
    pub gathered: u32,
    pick: Rng,
    skipped: u64,
    skipped_told: Time,
    /// Taken out while robots step, so that no step allocates.
    acts: Vec<Act>,
}

impl Hub {
    pub fn new(
        env: Env,
        target: Rc<dyn Target>,
        around: Surroundings,
        load: &Load,
        sink: Rc<dyn Sink>,
    ) -> Rc<Self> {
        let root = env.rng("engine");
        let state = State {
            population: Population::new(env.rng("population")),
            agenda: Agenda::default(),
            demand: Demand::new(&root.fork("demand"), load),
            supply: Supply::new(load),
            surge: Surge::new(root.fork("surge")),
            wave: Wave::new(root.fork("wave")),
            tally: Tally::new(),
            jobs: Jobs::new(around.ops),
            idle: Vec::new(),
            waiting: 0,
            gathered: 0,
            pick: root.fork("pick"),
            skipped: 0,
            skipped_told: Time::ZERO,
            acts: Vec::new(),
        };
        let per_second = load.ceiling_per_second.and_then(NonZeroU32::new);
        let ceiling = per_second.map(|per_second| Rc::new(Ceiling::new(env.clone(), per_second)));
        if let Some(ceiling) = &ceiling {
            target.under(Rc::clone(ceiling));
        }
        Rc::new(Self {
            ceiling,
            env,
            target,
            around,
            permits: Semaphore::new(IN_FLIGHT as usize),
            sink,
            state: RefCell::new(state),
            wake: Notify::new(),
            asleep_until: Cell::new(Time::ZERO),
            stopped: Cell::new(false),
            next_op: Cell::new(1),
        })
    }

    /// The loop: wakes when something is due, and lets it happen in (time, sequence) order.
    pub async fn run(self: Rc<Self>) {
        while !self.stopped.get() {
            let mut steps = 0;
            while let Some((at, due)) = self.pop_due() {
                self.happen(at, due);
                steps += 1;
                if steps % STEPS_PER_BREATH == 0 {
                    breathe().await;
                }
            }
            let now = self.env.now();
            self.tell_skipped(now, false);
            let far = now + SLEEP_MAX;
            let next = self.state.borrow().agenda.next().map_or(far, |next| next.min(far));
            self.asleep_until.set(next);
            let (woken, alarm) = (self.wake.notified(), self.env.sleep_until(next));
            pin_mut!(woken);
            select(woken, alarm).await;
            self.asleep_until.set(Time::ZERO);
        }
    }

    fn pop_due(&self) -> Option<(Time, Due)> {
        if self.stopped.get() {
            return None;
        }
        let now = self.env.now();
        self.state.borrow_mut().agenda.pop_due(now)
    }

    /// A robot is told something unasked. One that is gone does not hear it.
    pub fn told(self: &Rc<Self>, told: Told) {
        if self.stopped.get() {
            return;
        }
        let now = self.env.now();
        let Told { robot, answer, synthetic } = told;
        if self.state.borrow().population.standing(robot) == Standing::Gone {
            return;
        }
        let record = record::Told { at: now, robot, answer, synthetic };
        self.sink.record(Record::Told(Box::new(record.clone())));
        self.step(robot, now, Event::Told(&record.answer));
    }

    /// Something that robots were to be told may never have come.
    pub fn missed(&self, gap: Gap) {
        if self.stopped.get() {
            return;
        }
        let Gap { link, why } = gap;
        self.sink.record(Record::Missed(Box::new(record::Missed {
            at: self.env.now(),
            link,
            why,
        })));
    }

    /// True once the loop has ended, or is about to.
    pub fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Ends the loop.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.wake.notify_one();
    }

    /// Puts something down for `at`.
    pub fn push(&self, at: Time, due: Due) {
        self.state.borrow_mut().agenda.push(at, due);
        if at < self.asleep_until.get() {
            self.asleep_until.set(at);
            self.wake.notify_one();
        }
    }

    fn happen(self: &Rc<Self>, at: Time, due: Due) {
        match due {
            Due::Alarm(robot, alarm) => self.step(robot, at, Event::Alarm(alarm)),
            Due::Start(robot) => self.step(robot, at, Event::Start),
            Due::SignOff(robot) => self.step(robot, at, Event::SignOff),
            Due::Arrival => self.arrival(at),
            Due::ExtraWish(surge) => self.extra_wish(at, surge),
            Due::ExtraUpdate(surge) => self.extra_update(at, surge),
            Due::Census => self.census(at),
        }
    }

    /// Lets a robot take an event, and does what it says.
    pub fn step(self: &Rc<Self>, robot: RobotId, now: Time, event: Event<'_>) {
        let (mut acts, before) = {
            let state = &mut *self.state.borrow_mut();
            let mut acts = std::mem::take(&mut state.acts);
            let before = state.population.standing(robot);
            state.population.step(robot, now, event, &self.around, &mut acts);
            (acts, before)
        };
        let mut rests = false;
        for act in acts.drain(..) {
            match act {
                Act::Ask(ask) => self.ask(robot, ask, now),
                Act::Wake(at, alarm) => self.push(at, Due::Alarm(robot, alarm)),
                Act::Rest => rests = true,
            }
        }
        self.state.borrow_mut().acts = acts;
        if rests {
            self.rested(robot, now, before);
        }
    }

    fn rested(self: &Rc<Self>, robot: RobotId, now: Time, before: Standing) {
        let standing = self.state.borrow().population.standing(robot);
        if standing == Standing::Gone {
            return self.gone(robot, now, before);
        }
        if robot.kind != RobotKind::Passenger {
            return;
        }
        let wish = {
            let state = &mut *self.state.borrow_mut();
            let wish = state.population.get_mut(robot).and_then(|resident| resident.wish.take());
            if wish.is_some() {
                state.waiting -= 1;
            } else {
                state.idle.push(robot.number);
            }
            wish
        };
        if let Some(trip) = wish {
            self.step(robot, now, Event::Wish(trip));
        }
    }

    fn gone(self: &Rc<Self>, robot: RobotId, now: Time, before: Standing) {
        let state = &mut *self.state.borrow_mut();
        let sent_home = state.population.is_going(robot);
        if state.population.bury(robot).is_some() {
            state.tally.wishes_lost += 1;
            state.waiting -= 1;
        }
        // Who was sent home is one too many: nobody takes the place.
        if robot.kind != RobotKind::Driver || sent_home {
            return;
        }
        let (here, wanted) = (state.drivers_here(), state.supply.wanted(now, &self.around.clock));
        if let Some(wait) = state.supply.replace(before != Standing::Arriving, here, wanted) {
            let fresh = state.population.admit(RobotKind::Driver);
            state.agenda.push(now + wait, Due::Start(fresh));
            self.wake.notify_one();
        }
    }

    /// Brings the drivers on shift to the number that is wanted by the next census: the missing come
    /// in, and those who were in first go home, spread over the time until then. The last one is
    /// held while the demand lasts.
    fn census(&self, at: Time) {
        let state = &mut *self.state.borrow_mut();
        if !state.supply.is_open() || !state.demand.is_open(at) {
            return;
        }
        let (clock, every) = (&self.around.clock, census_every(&self.around.clock));
        let (here, wanted) = (state.drivers_here(), state.supply.wanted(at + every, clock));
        let share = |n: u32| every.mul_f64(f64::from(n) / f64::from(here.abs_diff(wanted)));
        for n in 0..wanted.saturating_sub(here) {
            let fresh = state.population.admit(RobotKind::Driver);
            state.agenda.push(at + share(n), Due::Start(fresh));
        }
        let mut surplus = here.saturating_sub(wanted);
        while surplus > 0
            && let Some(number) =
                state.supply.next_home(state.population.admitted(RobotKind::Driver))
        {
            let driver = RobotId::driver(number);
            if state.population.send_home(driver) {
                surplus -= 1;
                state.agenda.push(at + share(surplus), Due::SignOff(driver));
            }
        }
        state.agenda.push(at + every, Due::Census);
    }

    /// Somebody wishes to travel.
    fn arrival(self: &Rc<Self>, at: Time) {
        let trip = {
            let state = &mut *self.state.borrow_mut();
            if !state.demand.is_open(at) {
                // It was due when the demand was closed.
                return;
            }
            let trip = state.demand.trip(at, &self.around);
            if let Some(next) = state.demand.next(at, &self.around.clock) {
                state.agenda.push(next, Due::Arrival);
            }
            trip
        };
        self.wish(at, trip);
    }

    /// Hands a wish to a passenger who has none, or to a fresh one.
    pub fn wish(self: &Rc<Self>, at: Time, trip: Trip) {
        let idle = {
            let state = &mut *self.state.borrow_mut();
            state.tally.wishes += 1;
            state.pick_idle()
        };
        if let Some(passenger) = idle {
            return self.step(passenger, at, Event::Wish(trip));
        }
        let fresh = {
            let state = &mut *self.state.borrow_mut();
            if state.population.admitted(RobotKind::Passenger) >= PASSENGERS_MAX {
                state.tally.wishes_lost += 1;
                return;
            }
            let fresh = state.population.admit(RobotKind::Passenger);
            if let Some(resident) = state.population.get_mut(fresh) {
                resident.wish = Some(trip);
                state.waiting += 1;
            }
            fresh
        };
        self.step(fresh, at, Event::Start);
    }

    /// Starts an op; a ping that is one too many is skipped.
    fn ask(self: &Rc<Self>, robot: RobotId, ask: Ask, planned: Time) {
        let turn = match self.permits.try_acquire() {
            _ if self.target.gathers(ask.op) => Turn::Gathered,
            Ok(permit) => {
                permit.forget();
                Turn::Now
            }
            Err(_) => Turn::Waits,
        };
        if !self.enlist(robot, ask.op, turn) {
            if turn == Turn::Now {
                self.permits.add_permits(1);
            }
            return;
        }
        let intent = self.intent(robot, ask, planned);
        self.env.spawn(life::live(self.clone(), intent, turn));
    }

    /// One more op of a robot is in flight; false when it is a ping that is one too many.
    fn enlist(&self, robot: RobotId, op: OpKind, turn: Turn) -> bool {
        let state = &mut *self.state.borrow_mut();
        let Some(resident) = state.population.get_mut(robot) else { return false };
        if turn == Turn::Gathered {
            // Most of them only wait for company: the target has a limit of its own.
            state.gathered += 1;
            return true;
        }
        let crowded = resident.in_flight >= IN_FLIGHT_PER_ROBOT || turn == Turn::Waits;
        if crowded && op == OpKind::DriverPing {
            state.tally.planned(op);
            state.tally.skipped(op);
            state.skipped += 1;
            return false;
        }
        resident.in_flight += 1;
        true
    }

    /// A numbered intent, in the books as planned.
    pub fn intent(&self, robot: RobotId, ask: Ask, planned: Time) -> Intent {
        if is_load(robot, &ask) {
            self.state.borrow_mut().tally.planned(ask.op);
        }
        let number = self.next_op.get();
        self.next_op.set(number + 1);
        Intent { number, robot, ask, planned }
    }

    /// The first attempt of an op goes out.
    pub fn sent(&self, robot: RobotId, ask: &Ask, planned: Time, sent: Time) {
        if is_load(robot, ask) {
            self.state.borrow_mut().tally.sent(ask.op, planned, sent);
        }
        if ask.phone.is_none() && life::login_of(robot) == Some(ask.op) {
            self.state.borrow_mut().wave.sent(robot);
        }
    }

    /// An op of a robot ended: recorded, and told to the robot.
    pub fn ended(self: &Rc<Self>, op: Op, turn: Turn) {
        let op = Rc::new(op);
        self.recorded(op.clone());
        {
            let state = &mut *self.state.borrow_mut();
            if turn == Turn::Gathered {
                state.gathered -= 1;
            } else if let Some(resident) = state.population.get_mut(op.robot) {
                resident.in_flight = resident.in_flight.saturating_sub(1);
            }
        }
        self.step(op.robot, op.done, Event::Done(&op));
        if let Some(rogue) = self.overhears(&op) {
            self.step(rogue, op.done, Event::Overheard(&op));
        }
    }

    /// The rogue that gets to know of an op about somebody's job: each of them of its share.
    fn overhears(&self, op: &Op) -> Option<RobotId> {
        let population = &self.state.borrow().population;
        let rogues = population.admitted(RobotKind::Rogue);
        let told = op.answer.job.is_some() || op.answer.offer.is_some();
        if rogues == 0 || !told || op.outcome != Outcome::Ok || !op.is_load() {
            return None;
        }
        let number = (op.id % u64::from(rogues)) as u32;
        Some(RobotId { kind: RobotKind::Rogue, number })
    }

    /// An op ended: recorded.
    pub fn recorded(&self, op: Rc<Op>) {
        {
            let state = &mut *self.state.borrow_mut();
            if op.is_load() {
                state.tally.ended(&op);
            }
            state.jobs.note(&op);
        }
        self.sink.record(Record::Op(op));
    }

    /// Reports skipped pings, now and then or `at_once`.
    pub fn tell_skipped(&self, now: Time, at_once: bool) {
        let count = {
            let state = &mut *self.state.borrow_mut();
            let due = at_once || now.since(state.skipped_told) >= SKIPPED_EVERY;
            if state.skipped == 0 || !due {
                return;
            }
            state.skipped_told = now;
            std::mem::take(&mut state.skipped)
        };
        let why = format!(
            "more than {IN_FLIGHT_PER_ROBOT} ops of one robot, or {IN_FLIGHT} in all, in flight"
        );
        self.sink.record(Record::Skipped { at: now, count, why });
    }

    /// Attempts of one op at most.
    pub fn attempts_max(&self) -> u32 {
        self.around.habits.attempts_max.max(1)
    }

    /// A draw from a robot's own stream; a half, when it is gone.
    pub fn unit(&self, robot: RobotId) -> f64 {
        let mut state = self.state.borrow_mut();
        state.population.get_mut(robot).map_or(0.5, super::population::Resident::unit)
    }

    /// When a robot's phone last got a fresh token.
    pub fn renewed(&self, robot: RobotId, phone: Option<u8>) -> Time {
        let mut state = self.state.borrow_mut();
        let resident = state.population.get_mut(robot);
        resident.map_or(Time::ZERO, |resident| resident.renewed[usize::from(phone.is_some())])
    }

    /// Who logs a robot in anew does so alone; `None` when it is gone.
    pub fn renewing(&self, robot: RobotId) -> Option<Rc<Mutex<()>>> {
        let mut state = self.state.borrow_mut();
        let resident = state.population.get_mut(robot)?;
        Some(Rc::clone(resident.renewing.get_or_insert_default()))
    }

    /// It got one.
    pub fn renew(&self, robot: RobotId, phone: Option<u8>, at: Time) {
        let state = &mut *self.state.borrow_mut();
        if let Some(resident) = state.population.get_mut(robot) {
            resident.renewed[usize::from(phone.is_some())] = at;
        }
        if phone.is_none() {
            state.wave.is_in(robot);
        }
    }

    /// A snapshot.
    pub fn figures(&self) -> Figures {
        use RobotKind::{Driver, Passenger};
        use Standing::{Arriving, Busy, Free};
        let state = &mut *self.state.borrow_mut();
        let population = &state.population;
        let mut figures = state.tally.snapshot(self.env.now());
        figures.drivers_arriving = population.count(Driver, Arriving);
        figures.drivers_busy = population.count(Driver, Busy);
        figures.drivers_on_shift = population.count(Driver, Free) + figures.drivers_busy;
        figures.open_jobs = population.count(Passenger, Busy);
        figures.passengers = population.count(Passenger, Free) + figures.open_jobs;
        figures.in_flight = IN_FLIGHT - self.permits.available_permits() as u32;
        figures
    }
}

impl State {
    /// Drivers who are here or on their way in, but for those who were sent home.
    pub fn drivers_here(&self) -> u32 {
        let all: u32 = [Standing::Arriving, Standing::Free, Standing::Busy]
            .map(|standing| self.population.count(RobotKind::Driver, standing))
            .iter()
            .sum();
        all - self.population.going
    }

    /// Drivers on shift.
    pub fn drivers_on_shift(&self) -> u32 {
        let count = |standing| self.population.count(RobotKind::Driver, standing);
        count(Standing::Free) + count(Standing::Busy)
    }

    fn pick_idle(&mut self) -> Option<RobotId> {
        while !self.idle.is_empty() {
            let index = self.pick.below(self.idle.len());
            let id = RobotId::passenger(self.idle.swap_remove(index));
            if self.population.standing(id) == Standing::Free {
                return Some(id);
            }
        }
        None
    }
}

/// Lets every other task of the thread run once.
async fn breathe() {
    let mut once = false;
    std::future::poll_fn(|context| {
        if once {
            return Poll::Ready(());
        }
        once = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
