//! The passenger: signs on, waits for a wish to travel, asks for a job, and makes sure that it knows
//! whether it has one. What it does with a job is in `following.rs`.

use std::time::Duration;

use super::{
    Act, Alarm, Event, Robot, Standing, Surroundings, Trip,
    cue::{Cue, alarm, kind_and_turn, next_turn},
    driver::TAP_GAP,
    following::Following,
    second_phone::SecondPhone,
    sign_on::{Progress, SignOn},
};
use crate::{
    base::{
        id::{Id, RobotId},
        rng::Rng,
        time::Time,
    },
    history::{
        answer::{JobView, Refusal},
        op::{Ask, Op, OpKind, Outcome},
    },
};

const STEPS: &[OpKind] = &[OpKind::PassengerRegister, OpKind::PassengerLogin];

// Alarms. The first holds in every turn.
const FUMBLE: u32 = 0;
const AGAIN: u32 = 1;
const REQUEST: u32 = 2;
const LOOK: u32 = 3;
pub(super) const POLL: u32 = 4;
pub(super) const IMPATIENT: u32 = 5;
pub(super) const REGRET: u32 = 6;
pub(super) const PAY: u32 = 7;
pub(super) const GIVE_UP: u32 = 8;
pub(super) const RESTART: u32 = 9;
pub(super) const PHONE: u32 = 10;

/// Looks at `current_job` that tell nothing before a wish is given up.
const LOOKS_MAX: u32 = 30;
/// Times that a request of unknown fate is sent once more, with the same key.
const REQUESTS_MAX: u32 = 5;
/// Between two of either, times their number.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a request it is sent once more, where it is so long after.
const LATE_RETRY_S: (f64, f64) = (8.0, 25.0);
/// Share of a clumsy passenger's requests that are fumbled.
const FUMBLES: f64 = 0.5;

/// Asks for journeys.
#[derive(Debug)]
pub struct Passenger {
    number: u32,
    clumsy: bool,
    pub(super) state: State,
    sign_on: SignOn,
    turn: u32,
    wishes: u32,
    leaving: bool,
    wish: Option<Box<Wish>>,
    fumble: Option<Fumble>,
    pub(super) phone: SecondPhone,
}

/// What a passenger is about.
#[derive(Debug)]
pub(super) enum State {
    New,
    SigningOn,
    Idle,
    /// It looks at cars and prices.
    Browsing,
    Requesting,
    /// It reads `current_job` to find out what became of its request.
    Looking,
    Following(Box<Following>),
    Gone,
}

/// A wish that is on its way to a job.
#[derive(Debug)]
struct Wish {
    trip: Trip,
    key: Id,
    /// Requests with this key that are in flight.
    open: u32,
    /// Some request may have taken effect.
    unsure: bool,
    /// The first of them.
    first: Option<u64>,
    requests: u32,
    looks: u32,
}

/// A request that will be sent once more, on purpose.
#[derive(Debug)]
struct Fumble {
    trip: Trip,
    key: Id,
    first: Option<u64>,
    late: bool,
}

impl Passenger {
    /// The passenger of that number.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            clumsy: false,
            state: State::New,
            sign_on: SignOn::new(STEPS),
            turn: 1,
            wishes: 0,
            leaving: false,
            wish: None,
            fumble: None,
            phone: SecondPhone::default(),
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.turn = next_turn(self.turn);
    }

    pub(super) fn alarm(&self, kind: u32) -> Alarm {
        alarm(kind, self.turn)
    }

    fn signing_on(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::SigningOn) {
            return;
        }
        match self.sign_on.done(op, cue.around.ops) {
            Progress::Stray => {}
            Progress::In => self.be_idle(cue),
            Progress::GivenUp => self.go(cue),
            _ if self.leaving => self.go(cue),
            Progress::Ask(op) => cue.ask(Ask::new(op)),
            Progress::Wait(step, tries) => {
                let wait = cue.patience(step, tries);
                cue.wake(wait, self.alarm(AGAIN));
            }
        }
    }

    fn go(&mut self, cue: &mut Cue<'_>) {
        self.wish = None;
        self.enter(State::Gone);
        cue.rest();
    }

    /// Nothing to do until the next wish.
    pub(super) fn be_idle(&mut self, cue: &mut Cue<'_>) {
        self.phone.put_away();
        if self.leaving {
            return self.go(cue);
        }
        self.wish = None;
        self.enter(State::Idle);
        cue.rest();
    }

    fn wish(&mut self, trip: Trip, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        if !cue.has(OpKind::PassengerRequestJob) {
            // There is nobody to ask.
            return self.be_idle(cue);
        }
        self.wishes += 1;
        // The draw keeps keys of two runs apart on a backend that remembers.
        let salt = cue.rng.u64() as u32;
        let key = Id(compact_str::format_compact!("{}-{}-{salt:08x}", self.number, self.wishes));
        self.wish = Some(Box::new(Wish {
            trip,
            key,
            open: 0,
            unsure: false,
            first: None,
            requests: 0,
            looks: 0,
        }));
        let (cars, price) = (OpKind::PassengerNearDrivers, OpKind::PassengerQuote);
        let browses = cue.rng.chance(cue.around.habits.browses);
        if !browses || !cue.has(cars) && !cue.has(price) {
            return self.request(cue);
        }
        self.enter(State::Browsing);
        if cue.has(cars) {
            cue.ask(Ask { at: Some(trip.from), ..Ask::new(cars) });
        }
        if cue.has(price) {
            cue.ask(Ask { at: Some(trip.from), to: Some(trip.to), ..Ask::new(price) });
        }
    }

    /// The price is there (or is not): thinks for a moment, then asks.
    fn browsed(&mut self, cue: &mut Cue<'_>) {
        if matches!(self.state, State::Browsing) {
            let moment = Duration::from_secs_f64(cue.rng.between(0.3, 2.0));
            cue.wake(moment, self.alarm(REQUEST));
        }
    }

    fn request(&mut self, cue: &mut Cue<'_>) {
        self.enter(State::Requesting);
        let Some(wish) = &mut self.wish else { return };
        // One that is sent anew since nobody knows the fate of the first is marked as such.
        let again = wish.first.map(Id::from);
        let (trip, key) = (wish.trip, wish.key.clone());
        wish.requests += 1;
        wish.open += 1;
        cue.ask(request(trip, key.clone(), again));
        if self.clumsy && self.fumble.is_none() && cue.rng.chance(FUMBLES) {
            let late = cue.rng.chance(0.4);
            let gap = Duration::from_secs_f64(cue.rng.between(3.0, 10.0));
            cue.wake(if late { gap } else { TAP_GAP }, alarm(FUMBLE, 0));
            self.fumble = Some(Fumble { trip, key, first: None, late });
        } else if self.fumble.is_none() && cue.mishap(cue.around.habits.mishaps.late_retries) {
            let gap = cue.rng.between(LATE_RETRY_S.0, LATE_RETRY_S.1);
            cue.wake(Duration::from_secs_f64(gap), alarm(FUMBLE, 0));
            self.fumble = Some(Fumble { trip, key, first: None, late: true });
        }
    }

    fn fumble(&mut self, cue: &mut Cue<'_>) {
        let Some(fumble) = self.fumble.take() else { return };
        // A late retry of something that never was would be a new wish that nobody follows.
        if matches!(self.state, State::Gone) || fumble.late && fumble.first.is_none() {
            return;
        }
        if let Some(wish) = &mut self.wish
            && wish.key == fumble.key
        {
            wish.open += 1;
        } else if fumble.first.is_none() {
            return;
        }
        let again = Some(fumble.first.map_or_else(|| Id::from("tap"), Id::from));
        cue.ask(request(fumble.trip, fumble.key, again));
    }

    fn requested(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if op.outcome == Outcome::Ok
            && let Some(fumble) = &mut self.fumble
            && op.ask.key.as_ref() == Some(&fumble.key)
        {
            fumble.first = Some(op.id);
        }
        let Some(wish) = &mut self.wish else { return };
        if op.ask.key.as_ref() != Some(&wish.key) {
            return;
        }
        wish.open = wish.open.saturating_sub(1);
        if !matches!(self.state, State::Requesting) {
            return;
        }
        match (op.outcome, &op.answer.job) {
            (Outcome::Ok, Some(view)) => {
                let view = view.clone();
                return self.follow(&view, cue);
            }
            // A refusal that says "you have one", or "I am at it".
            (Outcome::Fail, _) if op.answer.refusal != Some(Refusal::Conflict) => {}
            _ => {
                wish.unsure = true;
                wish.first = wish.first.or(Some(op.id));
            }
        }
        if wish.open > 0 {
            return;
        }
        if wish.unsure {
            return self.look(cue);
        }
        self.be_idle(cue);
    }

    /// Reads what became of the job that it followed, when the job cannot be found.
    pub(super) fn look_for_lost(&mut self, cue: &mut Cue<'_>) {
        if let Some(wish) = &mut self.wish {
            // Not asked for anew: it was there.
            wish.requests = REQUESTS_MAX;
        }
        self.look(cue);
    }

    /// The app starts anew in the middle of a job: it logs in, and asks which job it has.
    pub(super) fn restart(&mut self, cue: &mut Cue<'_>) {
        if cue.has(OpKind::PassengerCurrentJob) && cue.has(OpKind::PassengerLogin) {
            cue.ask(Ask::new(OpKind::PassengerLogin));
            self.look_for_lost(cue);
        }
    }

    /// Reads what became of the request; where nobody can tell, the same key is sent once more.
    fn look(&mut self, cue: &mut Cue<'_>) {
        if cue.has(OpKind::PassengerCurrentJob) {
            self.enter(State::Looking);
            return cue.ask(Ask::new(OpKind::PassengerCurrentJob));
        }
        let requests = self.wish.as_ref().map_or(REQUESTS_MAX, |wish| wish.requests);
        if requests >= REQUESTS_MAX || self.leaving {
            return self.be_idle(cue);
        }
        self.enter(State::Looking);
        let wait = cue.patience(LOOK_AGAIN, requests);
        cue.wake(wait, self.alarm(REQUEST));
    }

    fn looked(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::Looking) {
            return;
        }
        let live = op.answer.job.as_ref().filter(|job| !job.state.is_terminal());
        if let (Outcome::Ok, Some(view)) = (op.outcome, live) {
            let view = view.clone();
            return self.follow(&view, cue);
        }
        let none = op.outcome == Outcome::Ok || op.answer.refusal == Some(Refusal::NotFound);
        let Some(wish) = &mut self.wish else { return self.be_idle(cue) };
        wish.looks += 1;
        let (looks, requests) = (wish.looks, wish.requests);
        if none && requests < REQUESTS_MAX && !self.leaving {
            // It may come true later, or be over already: the same key tells, and asks anew if
            // there was nothing.
            let wait = cue.patience(LOOK_AGAIN, requests);
            return cue.wake(wait, self.alarm(REQUEST));
        }
        if none || looks >= LOOKS_MAX {
            return self.be_idle(cue);
        }
        let wait = cue.patience(LOOK_AGAIN, looks);
        cue.wake(wait, self.alarm(LOOK));
    }

    fn follow(&mut self, view: &JobView, cue: &mut Cue<'_>) {
        let key = match &self.wish {
            Some(wish) => wish.key.clone(),
            None => Id::default(),
        };
        self.enter(State::Following(Box::new(Following::new(view.id.clone(), key))));
        self.begin_following(view, cue);
    }

    fn drain(&mut self, cue: &mut Cue<'_>) {
        if matches!(self.state, State::Browsing) {
            self.be_idle(cue);
        }
    }

    fn sign_off(&mut self, cue: &mut Cue<'_>) {
        self.leaving = true;
        match self.state {
            State::New | State::Idle | State::Browsing => self.go(cue),
            _ => {}
        }
    }

    fn rang(&mut self, rung: Alarm, cue: &mut Cue<'_>) {
        match kind_and_turn(rung) {
            (FUMBLE, _) => self.fumble(cue),
            (_, turn) if turn != self.turn => {}
            (AGAIN, _) => cue.ask(Ask::new(self.sign_on.step())),
            (REQUEST, _) => self.request(cue),
            (LOOK, _) => cue.ask(Ask::new(OpKind::PassengerCurrentJob)),
            (kind, _) => self.go_on_following(kind, cue),
        }
    }

    fn done(&mut self, op: &Op, cue: &mut Cue<'_>) {
        use OpKind as K;
        if op.ask.phone.is_some() {
            return self.phone.done(op, cue);
        }
        match op.kind() {
            K::PassengerRegister | K::PassengerLogin => self.signing_on(op, cue),
            K::PassengerQuote => self.browsed(cue),
            K::PassengerNearDrivers if !cue.has(K::PassengerQuote) => self.browsed(cue),
            K::PassengerRequestJob => self.requested(op, cue),
            K::PassengerCurrentJob if matches!(self.state, State::Following(_)) => {
                self.read(op, cue);
            }
            K::PassengerCurrentJob => self.looked(op, cue),
            K::PassengerJobStatus => self.read(op, cue),
            K::PassengerCancel => self.cancelled(op, cue),
            K::PassengerPay => self.paid(op, cue),
            K::PassengerRate => self.rated(cue),
            _ => {}
        }
    }
}

/// A request for a journey.
fn request(trip: Trip, key: Id, again: Option<Id>) -> Ask {
    Ask {
        at: Some(trip.from),
        to: Some(trip.to),
        key: Some(key),
        again,
        ..Ask::new(OpKind::PassengerRequestJob)
    }
}

impl Robot for Passenger {
    fn id(&self) -> RobotId {
        RobotId::passenger(self.number)
    }

    fn step(
        &mut self,
        now: Time,
        event: Event<'_>,
        rng: &mut Rng,
        around: &Surroundings,
        acts: &mut Vec<Act>,
    ) {
        let mut cue = Cue { now, rng, around, acts };
        match event {
            Event::Start => {
                self.clumsy = cue.rng.chance(around.habits.clumsy);
                self.enter(State::SigningOn);
                match self.sign_on.begin(around.ops) {
                    Some(step) => cue.ask(Ask::new(step)),
                    None => self.be_idle(&mut cue),
                }
            }
            Event::Told(answer) => self.told(answer, &mut cue),
            Event::Alarm(alarm) => self.rang(alarm, &mut cue),
            Event::Done(op) => self.done(op, &mut cue),
            Event::Wish(trip) => self.wish(trip, &mut cue),
            Event::Drain => self.drain(&mut cue),
            Event::SignOff => self.sign_off(&mut cue),
            Event::Known(_) | Event::Overheard(_) | Event::Report => {}
        }
    }

    fn standing(&self) -> Standing {
        match self.state {
            State::New | State::SigningOn => Standing::Arriving,
            State::Idle => Standing::Free,
            State::Gone => Standing::Gone,
            _ => Standing::Busy,
        }
    }
}

#[cfg(test)]
#[path = "passenger_tests.rs"]
mod tests;
