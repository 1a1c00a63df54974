//! A driver's journey: to the pickup, the wait at the kerb, the trip, the drop-off; and what it does
//! when the backend sees the job otherwise.

use std::time::Duration;

use super::{
    cue::{Cue, alarm},
    driver::{self, Driver, State},
};
use crate::{
    base::{id::Id, place::Place, time::Time},
    history::{
        answer::{JobState, JobView, OfferView, Refusal},
        op::{Ask, Op, OpKind, Outcome},
    },
};

/// Nearer than this is there.
const THERE_M: f64 = 30.0;
/// A journey without a known end goes at most this far.
const ANYWHERE_M: f64 = 2_000.0;
/// Between two looks, or two tries of a refused op, times their number.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Tries of one op of a journey on a target that cannot tell how the job stands.
const BLIND_TRIES_MAX: u32 = 8;
/// Tries of a journey that the backend drives in part by itself, and that does not go on.
const STUBBORN_TRIES_MAX: u32 = 20;
/// How long a driver watches a job that the backend is to end by itself.
const ENDS_ALONE_MAX: Duration = Duration::from_mins(1);

/// A job in a driver's hands.
#[derive(Debug)]
pub(super) struct Job {
    /// The job.
    pub id: Id,
    assignment: Option<u32>,
    pickup: Option<Place>,
    dropoff: Option<Place>,
    leg: Leg,
    /// Reads that were sent before this moment tell nothing about the present leg.
    since: Time,
    /// The passenger is not at the kerb.
    no_show: bool,
    /// A look at the job is in flight.
    polling: bool,
    tries: u32,
    /// An earlier try of the present op may have worked.
    vague: bool,
}

/// Where a driver is with its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    ToPickup,
    Arriving,
    AtKerb,
    PickingUp,
    ToDropoff,
    AtDropoff,
    DroppingOff,
    GivingBack,
    ReportingNoShow,
    /// All is driven, and the backend ends the job by itself.
    Ending,
    /// An op went wrong: a look at the job tells how it goes on.
    Unsure,
}

impl Leg {
    /// The leg that it ends.
    fn before(self) -> Self {
        match self {
            Self::Arriving | Self::GivingBack => Self::ToPickup,
            Self::PickingUp | Self::ReportingNoShow => Self::AtKerb,
            Self::DroppingOff => Self::AtDropoff,
            other => other,
        }
    }

    /// The op that ends it, while one is in flight.
    fn op(self) -> Option<OpKind> {
        match self {
            Self::Arriving => Some(OpKind::DriverArrive),
            Self::PickingUp => Some(OpKind::DriverPickUp),
            Self::DroppingOff => Some(OpKind::DriverDropOff),
            Self::GivingBack => Some(OpKind::DriverCancel),
            Self::ReportingNoShow => Some(OpKind::DriverNoShow),
            _ => None,
        }
    }
}

impl Job {
    /// The job of an offer that was taken with `op`.
    pub fn accepted(offer: &OfferView, op: &Op) -> Self {
        let view = op.answer.job.as_deref().filter(|view| view.id == offer.job);
        Self {
            id: offer.job.clone(),
            assignment: view.map(|view| view.assignment).filter(|number| *number > 0),
            pickup: Some(offer.pickup),
            dropoff: offer.dropoff.or_else(|| view.and_then(|view| view.dropoff)),
            leg: Leg::ToPickup,
            since: op.done,
            no_show: false,
            polling: false,
            tries: 0,
            vague: false,
        }
    }

    /// A job that was found by looking.
    pub fn found(view: &JobView, offer: Option<&OfferView>) -> Self {
        let offer = offer.filter(|offer| offer.job == view.id);
        Self {
            id: view.id.clone(),
            assignment: Some(view.assignment).filter(|number| *number > 0),
            pickup: view.pickup.or_else(|| offer.map(|offer| offer.pickup)),
            dropoff: view.dropoff.or_else(|| offer.and_then(|offer| offer.dropoff)),
            leg: Leg::ToPickup,
            since: Time::ZERO,
            no_show: false,
            polling: false,
            tries: 0,
            vague: false,
        }
    }
}

impl Driver {
    fn job(&mut self) -> Option<&mut Job> {
        match &mut self.state {
            State::OnJob(job) => Some(job),
            _ => None,
        }
    }

    /// An accept was acknowledged: confirms the hold by a read, and drives.
    pub(super) fn take(&mut self, job: Job, cue: &mut Cue<'_>) {
        self.enter(State::OnJob(Box::new(job)));
        self.watch(cue);
        if cue.mishap(cue.around.habits.mishaps.restarts) {
            let soon = Duration::from_secs_f64(cue.rng.between(0.2, 8.0));
            cue.wake(soon, alarm(driver::RESTART, 0));
        }
        let there = self.set_out(Leg::ToPickup, Duration::ZERO, cue);
        if cue.rng.chance(cue.around.habits.driver_cancels) && cue.has(OpKind::DriverCancel) {
            let on_the_way = (there - cue.now).mul_f64(cue.rng.between(0.1, 0.9));
            cue.wake(on_the_way, self.alarm(driver::GIVE_BACK));
        }
    }

    /// Goes on with a job that was found in that state.
    pub(super) fn go_on_with(&mut self, job: Job, state: JobState, cue: &mut Cue<'_>) {
        self.enter(State::OnJob(Box::new(job)));
        self.resume(state, cue);
    }

    fn resume(&mut self, state: JobState, cue: &mut Cue<'_>) {
        let tries = self.job().map_or(0, |job| {
            job.tries += 1;
            job.tries
        });
        let wait = cue.patience(TRY_AGAIN, tries);
        match state {
            JobState::Arrived => self.at_kerb(wait, cue),
            JobState::PickedUp => {
                self.set_out(Leg::ToDropoff, wait, cue);
            }
            _ => {
                self.set_out(Leg::ToPickup, wait, cue);
            }
        }
    }

    /// Another leg: its alarms are set anew, the poll among them.
    fn leg(&mut self, leg: Leg, cue: &mut Cue<'_>) {
        self.new_turn();
        let now = cue.now;
        if let Some(job) = self.job() {
            job.leg = leg;
            job.since = job.since.max(now);
        }
        cue.wake(driver::poll_every(cue.around), self.alarm(driver::POLL));
    }

    /// Drives to where `leg` ends; `at_least` holds back one who is there already.
    fn set_out(&mut self, leg: Leg, at_least: Duration, cue: &mut Cue<'_>) -> Time {
        let here = self.motion.place(cue.now);
        let known = self.job().and_then(|job| match leg {
            Leg::ToPickup => job.pickup,
            _ => job.dropoff,
        });
        let to = known.unwrap_or_else(|| cue.around.city.draw_near(here, ANYWHERE_M, cue.rng));
        let there = if here.metres_to(to) < THERE_M {
            self.motion.stop(cue.now);
            cue.now
        } else {
            self.motion.drive(to, cue.now, cue.around)
        };
        self.leg(leg, cue);
        let there = there.max(cue.now + at_least);
        cue.wake(there - cue.now, self.alarm(driver::MOVE));
        there
    }

    fn at_kerb(&mut self, at_least: Duration, cue: &mut Cue<'_>) {
        let habits = cue.around.habits.clone();
        let no_show = cue.rng.chance(habits.no_shows) && cue.has(OpKind::DriverNoShow);
        let dwell =
            if no_show { habits.no_show_wait_s } else { habits.pickup_dwell_s.seconds(cue.rng) };
        self.motion.stop(cue.now);
        self.leg(Leg::AtKerb, cue);
        if let Some(job) = self.job() {
            job.no_show = no_show;
        }
        cue.wake(cue.city(dwell).max(at_least), self.alarm(driver::MOVE));
    }

    /// An alarm of the journey rang.
    pub(super) fn drive_on(&mut self, kind: u32, cue: &mut Cue<'_>) {
        let Some(job) = self.job() else { return };
        let (leg, no_show) = (job.leg, job.no_show);
        match (kind, leg) {
            (driver::POLL, _) => {
                cue.wake(driver::poll_every(cue.around), self.alarm(driver::POLL));
                self.watch(cue);
            }
            (driver::GIVE_BACK, Leg::ToPickup) => self.ask_leg(Leg::GivingBack, cue),
            (driver::MOVE, Leg::ToPickup) if !cue.has(OpKind::DriverArrive) => {
                self.at_kerb(Duration::ZERO, cue);
            }
            (driver::MOVE, Leg::ToPickup) => self.ask_leg(Leg::Arriving, cue),
            (driver::MOVE, Leg::AtKerb) if no_show => self.ask_leg(Leg::ReportingNoShow, cue),
            (driver::MOVE, Leg::AtKerb) if !cue.has(OpKind::DriverPickUp) => {
                self.set_out(Leg::ToDropoff, Duration::ZERO, cue);
            }
            (driver::MOVE, Leg::AtKerb) => self.ask_leg(Leg::PickingUp, cue),
            (driver::MOVE, Leg::ToDropoff) => {
                let dwell = cue.around.habits.dropoff_dwell_s.seconds(cue.rng);
                self.leg(Leg::AtDropoff, cue);
                cue.wake(cue.city(dwell), self.alarm(driver::MOVE));
            }
            (driver::MOVE, Leg::AtDropoff) if !cue.has(OpKind::DriverDropOff) => {
                self.see_it_end(cue);
            }
            (driver::MOVE, Leg::Ending) => self.done_with(cue),
            (driver::MOVE, Leg::AtDropoff) => self.ask_leg(Leg::DroppingOff, cue),
            (driver::MOVE, Leg::Unsure) => self.watch(cue),
            _ => {}
        }
    }

    fn ask_leg(&mut self, leg: Leg, cue: &mut Cue<'_>) {
        self.leg(leg, cue);
        let Some(job) = self.job() else { return };
        if let Some(op) = leg.op() {
            let (id, assignment) = (Some(job.id.clone()), job.assignment);
            let gives_back = op == OpKind::DriverCancel;
            let reason = gives_back.then(|| Id::from("driver changed their mind"));
            cue.ask(Ask { job: id, assignment, reason, ..Ask::new(op) });
        }
    }

    /// Looks at the job, unless a look is in flight.
    fn watch(&mut self, cue: &mut Cue<'_>) {
        if let Some(job) = self.job()
            && !job.polling
            && cue.has(OpKind::DriverCurrentJob)
        {
            job.polling = true;
            cue.ask(Ask::new(OpKind::DriverCurrentJob));
        }
    }

    /// An op of the journey ended.
    pub(super) fn drove(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Some(job) = self.job() else { return };
        if op.ask.job.as_ref() != Some(&job.id) || job.leg.op() != Some(op.kind()) {
            return;
        }
        if op.outcome != Outcome::Ok {
            if !cue.has(OpKind::DriverCurrentJob) {
                return self.blind(op, cue);
            }
            self.leg(Leg::Unsure, cue);
            return self.watch(cue);
        }
        self.advance(op.kind(), cue);
    }

    /// An op of the journey is behind it.
    fn advance(&mut self, op: OpKind, cue: &mut Cue<'_>) {
        if let Some(job) = self.job() {
            (job.tries, job.vague) = (0, false);
        }
        match op {
            OpKind::DriverArrive => self.at_kerb(Duration::ZERO, cue),
            OpKind::DriverPickUp => {
                self.set_out(Leg::ToDropoff, Duration::ZERO, cue);
            }
            // Given back, it may come again.
            OpKind::DriverCancel => self.be_free(cue),
            _ => self.done_with(cue),
        }
    }

    /// The job is over for this driver, whatever is told of it from here on.
    fn done_with(&mut self, cue: &mut Cue<'_>) {
        if let Some(id) = self.job().map(|job| job.id.clone()) {
            self.put_away(id);
        }
        self.be_free(cue);
    }

    /// All is driven, and no op ends the job: it watches it to its end where it can, for a while.
    fn see_it_end(&mut self, cue: &mut Cue<'_>) {
        if !cue.has(OpKind::DriverCurrentJob) {
            return self.done_with(cue);
        }
        self.leg(Leg::Ending, cue);
        cue.wake(ENDS_ALONE_MAX, self.alarm(driver::MOVE));
        self.watch(cue);
    }

    /// An op of the journey went wrong, and the target cannot tell how the job stands: it is tried
    /// again for a while, unless the job is certainly not this driver's any more.
    fn blind(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let refusal = op.answer.refusal;
        let gone =
            matches!(refusal, Some(Refusal::Conflict | Refusal::NotFound | Refusal::Forbidden));
        let Some(job) = self.job() else { return };
        job.tries += 1;
        job.vague |= op.outcome == Outcome::Info;
        let (leg, tries) = (job.leg.before(), job.tries);
        if job.vague && refusal == Some(Refusal::Conflict) {
            // Its own first try may be what is in the way: the next op tells.
            return self.advance(op.kind(), cue);
        }
        if gone || tries >= BLIND_TRIES_MAX {
            return self.done_with(cue);
        }
        // One who could not give it back is still on the way.
        let wait = cue.patience(TRY_AGAIN, tries).max(self.motion.ends() - cue.now);
        self.leg(leg, cue);
        cue.wake(wait, self.alarm(driver::MOVE));
    }

    /// It was told how its job stands. It looks where it can; where it cannot, it believes in an
    /// end only: everything else may be old news.
    pub(super) fn told_of_job(&mut self, view: &JobView, cue: &mut Cue<'_>) {
        let ending = self.job().is_some_and(|job| job.leg == Leg::Ending);
        if cue.has(OpKind::DriverCurrentJob) {
            if ending || !view.state.is_held() {
                self.watch(cue);
            }
        } else if view.state.is_terminal() && self.job().is_some_and(|job| job.leg.op().is_none()) {
            // Under way with an op, it hears from that.
            self.done_with(cue);
        }
    }

    /// A look at the job ended.
    pub(super) fn watched(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Some(job) = self.job() else { return };
        job.polling = false;
        let unsure = job.leg == Leg::Unsure;
        if op.sent < job.since {
            // Sent before the last op of the journey was: it tells of the past.
            if unsure {
                self.watch(cue);
            }
            return;
        }
        let none = op.answer.refusal == Some(Refusal::NotFound);
        match (op.outcome, op.answer.job.as_deref()) {
            (Outcome::Ok, Some(view)) if view.state.is_held() => {
                let view = view.clone();
                self.still_held(&view, unsure, cue);
            }
            (Outcome::Ok, Some(view)) if view.state.is_terminal() => self.done_with(cue),
            (Outcome::Ok, _) => self.be_free(cue),
            (Outcome::Fail, _) if none => self.be_free(cue),
            _ if unsure => {
                job.tries += 1;
                let wait = cue.patience(TRY_AGAIN, job.tries);
                cue.wake(wait, self.alarm(driver::MOVE));
            }
            _ => {}
        }
    }

    fn still_held(&mut self, view: &JobView, unsure: bool, cue: &mut Cue<'_>) {
        let Some(job) = self.job() else { return };
        if job.id != view.id {
            let job = Job::found(view, None);
            return self.go_on_with(job, view.state, cue);
        }
        if view.assignment > 0 {
            job.assignment = Some(view.assignment);
        }
        job.dropoff = job.dropoff.or(view.dropoff);
        if unsure && job.tries >= STUBBORN_TRIES_MAX && !cue.around.is_whole_journey() {
            return self.done_with(cue);
        }
        if unsure {
            self.resume(view.state, cue);
        }
    }
}
