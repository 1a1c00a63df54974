//! The driver: signs on, reports where it is, looks at offers, and goes home at the end of its
//! shift. What it does with a job is in `driving.rs`.

use std::{rc::Rc, time::Duration};

use super::{
    Act, Alarm, Event, Robot, Standing, Surroundings,
    cue::{Cue, alarm, kind_and_turn, next_turn, seconds},
    driving::Job,
    hearing::Hint,
    motion::Motion,
    second_phone::SecondPhone,
    sign_on::{Progress, SignOn},
};
use crate::{
    base::{
        id::{Id, RobotId},
        place::Place,
        rng::Rng,
        time::{Time, nanos},
    },
    history::{
        answer::{OfferView, Refusal},
        op::{Ask, Op, OpKind, Outcome},
        probe::Probe,
    },
};

const STEPS: &[OpKind] = &[
    OpKind::DriverRegister,
    OpKind::SetupApproveDriver,
    OpKind::DriverLogin,
    OpKind::DriverGoOnline,
];

// Alarms. The first three, and the last three, hold in every turn.
const PING: u32 = 0;
const SHIFT_END: u32 = 1;
const FUMBLE: u32 = 2;
const AGAIN: u32 = 3;
const ANSWER: u32 = 4;
const LOOK: u32 = 5;
pub(super) const MOVE: u32 = 6;
pub(super) const POLL: u32 = 7;
pub(super) const GIVE_BACK: u32 = 8;
pub(super) const SEEK: u32 = 9;
pub(super) const RESTART: u32 = 10;
pub(super) const PHONE: u32 = 11;

/// Between the two taps of a double tap.
pub(super) const TAP_GAP: Duration = Duration::from_millis(80);
/// Between two looks at `current_job` when the first told nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// When a free driver, whose accept nobody answered for, looks once more whether it has a job.
const DOUBT_LOOK: Duration = Duration::from_secs(5);
/// Tries of going off shift.
const LEAVE_TRIES_MAX: u32 = 8;
/// Offers that a driver remembers to have dealt with.
pub(super) const PASSED_MAX: usize = 4;
/// Share of a clumsy driver's accepts that are fumbled.
const FUMBLES: f64 = 0.5;
/// Share of a clumsy driver's answers that come after the offer's end.
const LATE_ANSWERS: f64 = 0.15;

/// Offers journeys.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on one another")]
pub struct Driver {
    number: u32,
    clumsy: bool,
    pub(super) state: State,
    sign_on: SignOn,
    pub(super) motion: Motion,
    /// Pings sent, of both phones.
    pub(super) seq: u64,
    /// Where it was at the last of its first phone, and the number of that.
    pinged: Option<(Place, u64)>,
    pub(super) phone: SecondPhone,
    /// Where the second phone lies.
    pub(super) phone_lies: Place,
    /// The number of the present state: alarms of earlier ones are stale.
    turn: u32,
    /// It was on shift at least once: its alarms of the whole shift are running.
    begun: bool,
    /// It goes home as soon as it is free.
    leaving: bool,
    leave_tries: u32,
    /// An op may have taken effect unseen: it looks once when it is free.
    doubt: bool,
    fumble: Option<Fumble>,
    passed: [Option<Id>; PASSED_MAX],
    passed_next: usize,
    /// Its account, where the target tells it: what is told of another's job is not for this one.
    pub(super) account: Option<Id>,
    /// What it was told last, and could not act on yet.
    pub(super) hint: Option<Box<Hint>>,
    /// Jobs that are over for it: what is told of them comes late.
    pub(super) over: [Option<Id>; PASSED_MAX],
    pub(super) over_next: usize,
    /// It asks for work, and has no answer yet.
    pub(super) seeking: bool,
    /// Looks that were sent before this moment tell of the job before.
    free_since: Time,
}

/// What a driver is about.
#[derive(Debug)]
pub(super) enum State {
    New,
    SigningOn,
    Free,
    /// It looks at an offer, and will take it (or refuse it).
    Thinking(Rc<OfferView>, bool),
    Accepting(Rc<OfferView>),
    /// It reads `current_job` to find out whether it has one, and knows the offer it may be from.
    Looking(Option<Rc<OfferView>>, u32),
    OnJob(Box<Job>),
    Leaving,
    Off,
}

/// An accept that will be sent once more.
#[derive(Debug)]
struct Fumble {
    offer: Rc<OfferView>,
    first: Option<u64>,
}

impl Driver {
    /// The driver of that number.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            clumsy: false,
            state: State::New,
            sign_on: SignOn::new(STEPS),
            motion: Motion::at(Place::default(), Time::ZERO),
            seq: 0,
            pinged: None,
            phone: SecondPhone::default(),
            phone_lies: Place::default(),
            turn: 1,
            begun: false,
            leaving: false,
            leave_tries: 0,
            doubt: false,
            fumble: None,
            passed: Default::default(),
            passed_next: 0,
            account: None,
            hint: None,
            over: Default::default(),
            over_next: 0,
            seeking: false,
            free_since: Time::ZERO,
        }
    }

    /// Goes on to another state; the alarms of the one before are stale from here.
    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.new_turn();
    }

    /// Makes every alarm that was set so far stale.
    pub(super) fn new_turn(&mut self) {
        self.turn = next_turn(self.turn);
    }

    /// An alarm of that kind for the present turn.
    pub(super) fn alarm(&self, kind: u32) -> Alarm {
        alarm(kind, self.turn)
    }

    fn start(&mut self, cue: &mut Cue<'_>) {
        self.clumsy = cue.rng.chance(cue.around.habits.clumsy);
        let hour = cue.around.clock.hour(cue.now);
        let here = cue.around.city.draw_supply(hour, cue.rng);
        self.motion = Motion::at(here, cue.now);
        self.enter(State::SigningOn);
        match self.sign_on.begin(cue.around.ops) {
            Some(_) => self.ask_step(cue),
            None => self.on_shift(cue),
        }
    }

    fn ask_step(&mut self, cue: &mut Cue<'_>) {
        let op = self.sign_on.step();
        let at = (op == OpKind::DriverGoOnline).then(|| self.motion.place(cue.now));
        cue.ask(Ask { at, ..Ask::new(op) });
    }

    fn signing_on(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::SigningOn) {
            return;
        }
        match self.sign_on.done(op, cue.around.ops) {
            Progress::Stray => {}
            Progress::Ask(_) | Progress::Wait(..) if self.leaving => self.turn_back(cue),
            Progress::Ask(_) => self.ask_step(cue),
            Progress::Wait(step, tries) => {
                let wait = cue.patience(step, tries);
                cue.wake(wait, self.alarm(AGAIN));
            }
            Progress::GivenUp => self.turn_back(cue),
            Progress::In => self.on_shift(cue),
        }
    }

    /// Does not go on signing on. A shift that may have begun is ended.
    fn turn_back(&mut self, cue: &mut Cue<'_>) {
        self.leaving = true;
        if self.sign_on.step() == OpKind::DriverGoOnline {
            return self.go_off_shift(cue);
        }
        self.go_home(cue);
    }

    fn go_home(&mut self, cue: &mut Cue<'_>) {
        self.phone.put_away();
        self.enter(State::Off);
        cue.rest();
    }

    /// Ends the shift, where the target knows of shifts.
    fn go_off_shift(&mut self, cue: &mut Cue<'_>) {
        self.phone.put_away();
        if !cue.has(OpKind::DriverGoOffline) {
            return self.go_home(cue);
        }
        self.enter(State::Leaving);
        cue.ask(Ask::new(OpKind::DriverGoOffline));
    }

    fn on_shift(&mut self, cue: &mut Cue<'_>) {
        if !self.begun {
            self.begun = true;
            let whole = cue.around.habits.shift_s.seconds(cue.rng);
            // Who signs on before the city's clock starts has been at work for a while already.
            let early = cue.now < cue.around.clock.origin;
            let left = if early { whole * cue.rng.unit() } else { whole };
            let span = (cue.around.clock.origin - cue.now) + cue.city(left);
            cue.wake(span, alarm(SHIFT_END, 0));
            if cue.has(OpKind::DriverPing) {
                self.ping(cue);
                cue.acts.push(Act::Wake(self.next_beat(cue), alarm(PING, 0)));
            }
            Self::seek_again(cue);
            Self::pocket_phone(cue);
        }
        self.be_free(cue);
    }

    /// The first beat of this driver's own pulse after `now`. The pulses of all drivers are spread
    /// over the cadence by the golden ratio, which is even for any number of them.
    fn next_beat(&self, cue: &Cue<'_>) -> Time {
        let every = nanos(cue.around.ping_every).max(1);
        // The fraction of number × φ in 64 bits, then scaled to the cadence: exact everywhere.
        let part = u64::from(self.number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let phase = ((u128::from(part) * u128::from(every)) >> 64) as u64;
        let now = cue.now.0;
        let passed = now.saturating_sub(phase) / every;
        let beat = phase.saturating_add(passed.saturating_mul(every));
        Time(if beat > now { beat } else { beat.saturating_add(every) })
    }

    fn beat(&mut self, cue: &mut Cue<'_>) {
        if matches!(self.state, State::Off) {
            return;
        }
        // From the planned time of this one, however late it is.
        cue.wake(cue.around.ping_every, alarm(PING, 0));
        if !matches!(self.state, State::Leaving) {
            self.ping(cue);
        }
    }

    /// Tells where it is out of turn, once its pulse beats.
    fn report(&mut self, cue: &mut Cue<'_>) {
        if self.begun && !matches!(self.state, State::Leaving | State::Off) {
            self.ping(cue);
        }
    }

    fn ping(&mut self, cue: &mut Cue<'_>) {
        let here = if matches!(self.state, State::OnJob(_)) {
            self.motion.place(cue.now)
        } else {
            self.motion.wander(cue.now, cue.rng, cue.around)
        };
        self.seq += 1;
        cue.ask(Ask { at: Some(here), seq: Some(self.seq), ..Ask::new(OpKind::DriverPing) });
        let before = self.pinged.replace((here, self.seq));
        self.ping_again(cue);
        if let Some((at, seq)) = before
            && cue.around.probes.has(Probe::PingReplay)
            && cue.mishap(cue.around.habits.mishaps.replays)
        {
            let (at, seq, probe) = (Some(at), Some(seq), Some(Probe::PingReplay));
            cue.ask(Ask { at, seq, probe, ..Ask::new(OpKind::DriverPing) });
        }
    }

    /// The app starts anew in the middle of a job: it logs in, and asks which job it has.
    fn restart(&mut self, cue: &mut Cue<'_>) {
        let tells = cue.has(OpKind::DriverCurrentJob) && cue.has(OpKind::DriverLogin);
        if matches!(self.state, State::OnJob(_)) && tells {
            cue.ask(Ask::new(OpKind::DriverLogin));
            (self.fumble, self.hint, self.doubt) = (None, None, true);
            self.passed = Default::default();
            self.enter(State::Looking(None, 0));
            cue.wake(LOOK_AGAIN, self.alarm(LOOK));
        }
    }

    fn pinged(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if let Some(offer) = &op.answer.offer
            && op.outcome == Outcome::Ok
        {
            return self.offered(offer, cue);
        }
        let unknown = match op.answer.refusal {
            // "There is no offer" is no news.
            Some(Refusal::Conflict | Refusal::NotFound) => op.kind() == OpKind::DriverPing,
            Some(Refusal::Forbidden) => true,
            _ => false,
        };
        if op.outcome == Outcome::Fail
            && unknown
            && matches!(self.state, State::Free)
            && self.sign_on.again(cue.around.ops).is_some()
        {
            // The backend does not know that it is on shift.
            self.enter(State::SigningOn);
            self.ask_step(cue);
        }
    }

    pub(super) fn offered(&mut self, offer: &Rc<OfferView>, cue: &mut Cue<'_>) {
        // One who is busy, or dealt with this offer before, lets it be: it may be an echo.
        if !matches!(self.state, State::Free)
            || self.leaving
            || !cue.has(OpKind::DriverAccept)
            || self.passed.iter().flatten().any(|passed| *passed == offer.id)
        {
            return;
        }
        let habits = &cue.around.habits;
        let mood = cue.rng.unit();
        let think = habits.answer_s.draw(cue.rng);
        if mood < habits.ignores {
            return self.pass(&offer.id);
        }
        let takes = mood >= habits.ignores + habits.declines;
        let life = Duration::from_millis(offer.expires_in_ms);
        let span = if self.clumsy && cue.rng.chance(LATE_ANSWERS) {
            life + Duration::from_secs_f64(cue.rng.between(0.05, 2.0))
        } else {
            think.min(life.mul_f64(0.8))
        };
        self.enter(State::Thinking(offer.clone(), takes));
        cue.wake(span, self.alarm(ANSWER));
    }

    /// Remembers an offer that is dealt with.
    fn pass(&mut self, offer: &Id) {
        self.passed[self.passed_next % PASSED_MAX] = Some(offer.clone());
        self.passed_next = (self.passed_next + 1) % PASSED_MAX;
    }

    fn answer(&mut self, cue: &mut Cue<'_>) {
        let State::Thinking(offer, takes) = &self.state else { return };
        let (offer, takes) = (offer.clone(), *takes);
        self.pass(&offer.id);
        if !takes {
            if cue.has(OpKind::DriverDecline) {
                cue.ask(about(&offer, OpKind::DriverDecline));
            }
            return self.be_free(cue);
        }
        cue.ask(about(&offer, OpKind::DriverAccept));
        self.accept_again(about(&offer, OpKind::DriverAccept), cue);
        if self.clumsy && self.fumble.is_none() && cue.rng.chance(FUMBLES) {
            let late = cue.rng.chance(0.3);
            let gap = Duration::from_secs_f64(cue.rng.between(2.0, 10.0));
            cue.wake(if late { gap } else { TAP_GAP }, alarm(FUMBLE, 0));
            self.fumble = Some(Fumble { offer: offer.clone(), first: None });
        }
        self.enter(State::Accepting(offer));
    }

    fn fumble(&mut self, cue: &mut Cue<'_>) {
        if let Some(fumble) = self.fumble.take()
            && !matches!(self.state, State::Off | State::Leaving)
        {
            // The number of the first tap is known only when it was answered already.
            let again = Some(fumble.first.map_or_else(|| Id::from("tap"), Id::from));
            cue.ask(Ask { again, ..about(&fumble.offer, OpKind::DriverAccept) });
        }
    }

    fn accepted(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if op.ask.again.is_some() {
            return self.accepted_again(op, cue);
        }
        if let Some(fumble) = &mut self.fumble
            && op.ask.offer.as_ref() == Some(&fumble.offer.id)
        {
            fumble.first = Some(op.id);
        }
        let State::Accepting(offer) = &self.state else { return };
        if op.ask.offer.as_ref() != Some(&offer.id) {
            return;
        }
        let offer = offer.clone();
        match op.outcome {
            Outcome::Ok => {
                let job = Job::accepted(&offer, op);
                self.take(job, cue);
            }
            Outcome::Fail => self.be_free(cue),
            Outcome::Info if !cue.has(OpKind::DriverCurrentJob) => {
                // Nobody can tell whether it has it: it drives, and is refused when it has not.
                let job = Job::accepted(&offer, op);
                self.take(job, cue);
            }
            Outcome::Info => {
                self.doubt = true;
                self.look(Some(offer), 0, cue);
            }
        }
    }

    /// The second tap was answered: it matters only when it took what the first did not.
    pub(super) fn accepted_again(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let known = match &self.state {
            State::OnJob(job) => op.ask.job.as_ref() == Some(&job.id),
            _ => false,
        };
        if op.outcome == Outcome::Fail || known {
            return;
        }
        self.doubt = true;
        if matches!(self.state, State::Free) {
            self.look(None, 0, cue);
        }
    }

    /// Reads which job it has, if any.
    pub(super) fn look(&mut self, offer: Option<Rc<OfferView>>, tries: u32, cue: &mut Cue<'_>) {
        if !cue.has(OpKind::DriverCurrentJob) {
            // Nobody can tell it: it goes on as if it had none.
            self.doubt = false;
            return self.be_free(cue);
        }
        self.enter(State::Looking(offer, tries));
        cue.ask(Ask::new(OpKind::DriverCurrentJob));
    }

    fn looked(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if matches!(self.state, State::OnJob(_)) {
            return self.watched(op, cue);
        }
        if let (State::Free, Some(view)) = (&self.state, &op.answer.job)
            && op.outcome == Outcome::Ok
            && op.sent >= self.free_since
            && view.state.is_held()
            && !cue.has(OpKind::DriverAccept)
            && !self.is_over(&view.id)
        {
            let view = view.clone();
            return self.begin(&view, cue);
        }
        let State::Looking(offer, tries) = &self.state else { return };
        let (offer, tries) = (offer.clone(), *tries);
        let held = op.answer.job.as_ref().filter(|job| job.state.is_held());
        let known = op.outcome == Outcome::Ok || op.answer.refusal == Some(Refusal::NotFound);
        match held {
            Some(view) if op.outcome == Outcome::Ok => {
                self.doubt = false;
                let job = Job::found(view, offer.as_deref());
                self.go_on_with(job, view.state, cue);
            }
            _ if known => {
                if self.doubt && tries == 0 && offer.is_some() {
                    // It may still come true: one more look, later.
                    self.doubt = false;
                    self.enter(State::Looking(None, 1));
                    return cue.wake(DOUBT_LOOK, self.alarm(LOOK));
                }
                self.doubt = false;
                self.be_free(cue);
            }
            _ => {
                self.enter(State::Looking(offer, tries + 1));
                let wait = cue.patience(LOOK_AGAIN, tries + 1);
                cue.wake(wait, self.alarm(LOOK));
            }
        }
    }

    /// Free: goes home when it is time, else waits for offers.
    pub(super) fn be_free(&mut self, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::Thinking(..) | State::Accepting(_) | State::Free) {
            self.motion.stop(cue.now);
        }
        if self.doubt {
            return self.look(None, 0, cue);
        }
        if self.leaving {
            return self.go_off_shift(cue);
        }
        self.enter(State::Free);
        self.free_since = cue.now;
        if let Some(hint) = self.hint.take() {
            self.hear(&hint, cue);
        }
    }

    fn leave(&mut self, cue: &mut Cue<'_>) {
        self.leaving = true;
        match self.state {
            State::Free | State::Thinking(..) => self.be_free(cue),
            State::New => self.go_home(cue),
            _ => {}
        }
    }

    fn left(&mut self, op: &Op, cue: &mut Cue<'_>) {
        if !matches!(self.state, State::Leaving) {
            return;
        }
        self.leave_tries += 1;
        if op.outcome == Outcome::Ok || self.leave_tries >= LEAVE_TRIES_MAX {
            return self.go_home(cue);
        }
        let busy = op.answer.refusal == Some(Refusal::Conflict);
        if busy && cue.has(OpKind::DriverCurrentJob) {
            return self.look(None, 0, cue);
        }
        let wait = cue.patience(LOOK_AGAIN, self.leave_tries);
        cue.wake(wait, self.alarm(AGAIN));
    }

    fn rang(&mut self, rung: Alarm, cue: &mut Cue<'_>) {
        match kind_and_turn(rung) {
            (PING, _) => self.beat(cue),
            (SHIFT_END, _) => self.leave(cue),
            (FUMBLE, _) => self.fumble(cue),
            (SEEK, _) => self.seek(cue),
            (RESTART, _) => self.restart(cue),
            (PHONE, _) => self.reach_for_phone(cue),
            (_, turn) if turn != self.turn => {}
            (AGAIN, _) if matches!(self.state, State::Leaving) => {
                cue.ask(Ask::new(OpKind::DriverGoOffline));
            }
            (AGAIN, _) => self.ask_step(cue),
            (ANSWER, _) => self.answer(cue),
            (LOOK, _) => cue.ask(Ask::new(OpKind::DriverCurrentJob)),
            (kind, _) => self.drive_on(kind, cue),
        }
    }

    fn done(&mut self, op: &Op, cue: &mut Cue<'_>) {
        use OpKind as K;
        if op.ask.probe.is_some() {
            return;
        }
        if op.ask.phone.is_some() {
            return self.done_on_second(op, cue);
        }
        if matches!(op.kind(), K::DriverNextOffer | K::DriverCurrentJob) {
            self.seeking = false;
        }
        match op.kind() {
            K::DriverPing | K::DriverNextOffer => self.pinged(op, cue),
            K::DriverRegister | K::SetupApproveDriver | K::DriverLogin | K::DriverGoOnline => {
                if op.outcome == Outcome::Ok && op.answer.account.is_some() {
                    self.account.clone_from(&op.answer.account);
                }
                self.signing_on(op, cue);
            }
            K::DriverAccept => self.accepted(op, cue),
            K::DriverCurrentJob => self.looked(op, cue),
            K::DriverArrive
            | K::DriverPickUp
            | K::DriverDropOff
            | K::DriverCancel
            | K::DriverNoShow => self.drove(op, cue),
            K::DriverGoOffline => self.left(op, cue),
            _ => {}
        }
    }
}

/// An op about an offer.
fn about(offer: &OfferView, op: OpKind) -> Ask {
    Ask { job: Some(offer.job.clone()), offer: Some(offer.id.clone()), ..Ask::new(op) }
}

/// How often a driver on a job looks at it.
pub(super) fn poll_every(around: &Surroundings) -> Duration {
    seconds(around.habits.driver_poll_s)
}

impl Robot for Driver {
    fn id(&self) -> RobotId {
        RobotId::driver(self.number)
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
            Event::Start => self.start(&mut cue),
            Event::Alarm(alarm) => self.rang(alarm, &mut cue),
            Event::Done(op) => self.done(op, &mut cue),
            Event::SignOff => self.leave(&mut cue),
            Event::Told(answer) => self.told(answer, &mut cue),
            Event::Report => self.report(&mut cue),
            Event::Wish(_) | Event::Known(_) | Event::Overheard(_) | Event::Drain => {}
        }
    }

    fn standing(&self) -> Standing {
        match self.state {
            State::New | State::SigningOn => Standing::Arriving,
            State::Free | State::Thinking(..) | State::Leaving => Standing::Free,
            State::Accepting(_) | State::Looking(..) | State::OnJob(_) => Standing::Busy,
            State::Off => Standing::Gone,
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
