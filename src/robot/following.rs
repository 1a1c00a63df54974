//! A passenger's job: watches it, may give it up, pays for it and rates the driver.

use std::time::Duration;

use super::{
    cue::{Cue, seconds},
    passenger::{self, Passenger, State},
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::{Answer, JobState, JobView, Refusal},
        op::{Ask, Op, OpKind, Outcome},
    },
};

/// Tries of one payment, each with the same key, before it is given up.
const PAYMENTS_MAX: u32 = 15;
/// Between two of them, times their number.
const PAY_AGAIN: Duration = Duration::from_secs(1);
/// Reads in a row that know no such job, before the passenger looks for it elsewhere.
const MISSES_MAX: u32 = 3;
/// A passenger who can only wait to be told goes on with other things after so long without a word,
/// beyond the time that a search may take.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The same (in seconds of the city) for a passenger with a driver, whose journey may be long.
const RIDE_MAX_S: f64 = 3_600.0;
/// Share of completed jobs that are rated.
const RATES: f64 = 0.5;

/// A job as its passenger sees it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on one another")]
pub(super) struct Following {
    job: Id,
    key: Id,
    seen: JobState,
    stage: Stage,
    /// The draw on giving it up after the match was made.
    matched: bool,
    polling: bool,
    cancelling: bool,
    /// Reads that were sent before this moment tell of the past.
    since: Time,
    misses: u32,
    payments: u32,
    /// A payment may have taken effect.
    pay_unsure: bool,
    /// That it is completed is a guess: it had a driver, and is not the live job any more.
    guessed: bool,
    /// When something new was heard of it.
    heard: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Watching,
    Paying,
    Rating,
}

impl Following {
    /// A job with the key of the wish that it came from.
    pub fn new(job: Id, key: Id) -> Self {
        Self {
            job,
            key,
            seen: JobState::Requested,
            stage: Stage::Watching,
            matched: false,
            polling: false,
            cancelling: false,
            since: Time::ZERO,
            misses: 0,
            payments: 0,
            pay_unsure: false,
            guessed: false,
            heard: Time::ZERO,
        }
    }
}

/// The op by which a passenger reads how its job stands, where the target has one.
fn reads_by(cue: &Cue<'_>) -> Option<OpKind> {
    [OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob].into_iter().find(|op| cue.has(*op))
}

/// How long nothing may be heard of a job, with a driver and without one.
fn silence_max(matched: bool, cue: &Cue<'_>) -> Duration {
    let ride = if matched { cue.city(RIDE_MAX_S) } else { Duration::ZERO };
    cue.around.search_ttl + SILENCE_MAX + ride
}

impl Passenger {
    fn following(&mut self) -> Option<&mut Following> {
        match &mut self.state {
            State::Following(job) => Some(job),
            _ => None,
        }
    }

    /// The job is known: watches it, and may lose patience.
    pub(super) fn begin_following(&mut self, view: &JobView, cue: &mut Cue<'_>) {
        if let Some(job) = self.following() {
            job.heard = cue.now;
        }
        if reads_by(cue).is_some() {
            cue.wake(seconds(cue.around.habits.poll_s), self.alarm(passenger::POLL));
        } else {
            cue.wake(silence_max(false, cue), self.alarm(passenger::GIVE_UP));
        }
        if cue.rng.chance(cue.around.habits.cancels_before_match) {
            let patience = cue.around.habits.patience_s.draw(cue.rng);
            cue.wake(patience, self.alarm(passenger::IMPATIENT));
        }
        if cue.mishap(cue.around.habits.mishaps.restarts) {
            let soon = Duration::from_secs_f64(cue.rng.between(0.2, 8.0));
            cue.wake(soon, self.alarm(passenger::RESTART));
        }
        if cue.mishap(cue.around.second_phones) {
            let soon = Duration::from_secs_f64(cue.rng.between(0.2, 4.0));
            cue.wake(soon, self.alarm(passenger::PHONE));
        }
        self.see(view.state, cue);
    }

    fn see(&mut self, state: JobState, cue: &mut Cue<'_>) {
        let Some(job) = self.following() else { return };
        if job.stage != Stage::Watching {
            return;
        }
        if job.seen != state {
            job.heard = cue.now;
        }
        let asked = state == JobState::Offered && job.seen != state;
        job.seen = state;
        let first_match = state.is_held() && !job.matched;
        job.matched |= first_match;
        match state {
            JobState::Completed => {
                job.stage = Stage::Paying;
                self.pay(cue);
            }
            JobState::Cancelled | JobState::Expired => self.be_idle(cue),
            _ if asked && cue.mishap(cue.around.habits.mishaps.cancels_on_offer) => {
                self.cancel("saw a driver being asked", cue);
            }
            _ if first_match && cue.rng.chance(cue.around.habits.cancels_after_match) => {
                let regret = cue.around.habits.regret_s.seconds(cue.rng);
                cue.wake(cue.city(regret), self.alarm(passenger::REGRET));
            }
            _ => {}
        }
    }

    /// An alarm of the job rang.
    pub(super) fn go_on_following(&mut self, kind: u32, cue: &mut Cue<'_>) {
        use JobState::{Accepted, Arrived, Offered, Requested};
        let again = self.alarm(passenger::POLL);
        let Some(job) = self.following() else { return };
        match (kind, job.stage, job.seen) {
            (passenger::POLL, Stage::Watching, _) => {
                if self.waits_in_vain(cue) {
                    return self.be_idle(cue);
                }
                cue.wake(seconds(cue.around.habits.poll_s), again);
                self.poll(cue);
                self.poll_on_second(cue);
            }
            (passenger::IMPATIENT, Stage::Watching, Requested | Offered) => {
                self.cancel("waited too long", cue);
            }
            (passenger::REGRET, Stage::Watching, Accepted | Arrived) => {
                self.cancel("other plans", cue);
            }
            (passenger::RESTART, Stage::Watching, _) => self.restart(cue),
            (passenger::PHONE, Stage::Watching, _) => {
                self.phone.take_out(OpKind::PassengerLogin, cue);
            }
            (passenger::PAY, Stage::Paying, _) => self.pay(cue),
            (passenger::GIVE_UP, Stage::Watching, _) => {
                let patient = job.heard + silence_max(job.matched, cue);
                if patient <= cue.now {
                    return self.be_idle(cue);
                }
                cue.wake(patient - cue.now, self.alarm(passenger::GIVE_UP));
            }
            _ => {}
        }
    }

    fn poll(&mut self, cue: &mut Cue<'_>) {
        if let Some(job) = self.following()
            && !job.polling
            && let Some(op) = reads_by(cue)
        {
            job.polling = true;
            // The live job is asked for without its name.
            let id = (op == OpKind::PassengerJobStatus).then(|| job.job.clone());
            cue.ask(Ask { job: id, ..Ask::new(op) });
        }
    }

    /// The second phone is looked at as often as the first.
    fn poll_on_second(&mut self, cue: &mut Cue<'_>) {
        let job = self.following().map(|job| job.job.clone());
        if let Some(op) = reads_by(cue) {
            let job = job.filter(|_| op == OpKind::PassengerJobStatus);
            self.phone.look(Ask { job, ..Ask::new(op) }, cue);
        }
    }

    /// Nothing has happened to a job with a driver for long, on a target that is to drive it in
    /// part by itself. (Where robots do all of it, the wait is what shows that something is lost.)
    fn waits_in_vain(&mut self, cue: &Cue<'_>) -> bool {
        let whole = cue.around.is_whole_journey();
        self.following().is_some_and(|job| {
            !whole && job.matched && job.heard + silence_max(true, cue) <= cue.now
        })
    }

    /// A look at the job ended.
    pub(super) fn read(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Some(job) = self.following() else { return };
        let live = op.kind() == OpKind::PassengerCurrentJob;
        if !live && op.ask.job.as_ref() != Some(&job.job) {
            return;
        }
        job.polling = false;
        let view = op.answer.job.as_ref().filter(|view| view.id == job.job || !live);
        match (op.outcome, view) {
            (Outcome::Ok, None) if live => self.missed(cue),
            (Outcome::Fail, _) if live && op.answer.refusal == Some(Refusal::NotFound) => {
                self.missed(cue);
            }
            (Outcome::Ok, Some(view)) => {
                job.misses = 0;
                if op.sent >= job.since {
                    let state = view.state;
                    return self.see(state, cue);
                }
                self.poll(cue);
            }
            (Outcome::Fail, _) if op.answer.refusal == Some(Refusal::NotFound) => {
                job.misses += 1;
                if job.misses >= MISSES_MAX && job.stage == Stage::Watching {
                    self.look_for_lost(cue);
                }
            }
            _ => {}
        }
    }

    /// The job is not the live one any more, and nobody told how it ended.
    fn missed(&mut self, cue: &mut Cue<'_>) {
        let Some(job) = self.following() else { return };
        job.misses += 1;
        if job.misses < MISSES_MAX || job.stage != Stage::Watching {
            return;
        }
        if job.matched {
            job.guessed = true;
            return self.see(JobState::Completed, cue);
        }
        self.be_idle(cue);
    }

    fn cancel(&mut self, reason: &str, cue: &mut Cue<'_>) {
        if let Some(job) = self.following()
            && !job.cancelling
            && cue.has(OpKind::PassengerCancel)
        {
            job.cancelling = true;
            let (id, reason) = (Some(job.job.clone()), Some(Id::from(reason)));
            let cancel = Ask { job: id, reason, ..Ask::new(OpKind::PassengerCancel) };
            cue.ask(cancel.clone());
            self.phone.tap(cancel, cue);
        }
    }

    /// It was told how a job stands: it looks, or believes it where it cannot.
    pub(super) fn told(&mut self, answer: &Answer, cue: &mut Cue<'_>) {
        let Some(view) = &answer.job else { return };
        let Some(job) = self.following().filter(|job| job.job == view.id) else { return };
        if job.stage != Stage::Watching {
            return;
        }
        if reads_by(cue).is_some() {
            return self.poll(cue);
        }
        // Late ones do not take it back.
        if view.state > job.seen {
            self.see(view.state, cue);
        }
    }

    /// A cancellation ended. Whatever came of it, the next look tells.
    pub(super) fn cancelled(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let Some(job) = self.following() else { return };
        if op.ask.job.as_ref() != Some(&job.job) {
            return;
        }
        job.cancelling = false;
        job.since = op.done;
        if op.outcome == Outcome::Ok && !cue.has(OpKind::PassengerJobStatus) {
            // One that was over already may be answered with the job as it is.
            let told = op.answer.job.as_deref().map(|view| view.state);
            let over = told.filter(|state| state.is_terminal());
            return self.see(over.unwrap_or(JobState::Cancelled), cue);
        }
        self.poll(cue);
    }

    fn pay(&mut self, cue: &mut Cue<'_>) {
        if !cue.has(OpKind::PassengerPay) {
            // It is paid by itself.
            return self.rate(cue);
        }
        let phone = self.phone;
        let Some(job) = self.following() else { return };
        job.payments += 1;
        // Each phone has a key of its own: what the one is refused, the other may have paid.
        job.pay_unsure |= phone.is_on();
        let key = |phone: &str| Some(Id(compact_str::format_compact!("{}-pay{phone}", job.key)));
        let pay = |key| Ask { job: Some(job.job.clone()), key, ..Ask::new(OpKind::PassengerPay) };
        cue.ask(pay(key("")));
        phone.tap(pay(key("-2")), cue);
    }

    /// A payment ended: it is tried again with the same key until somebody says yes.
    pub(super) fn paid(&mut self, op: &Op, cue: &mut Cue<'_>) {
        let again = self.alarm(passenger::PAY);
        let Some(job) = self.following() else { return };
        if job.stage != Stage::Paying || op.ask.job.as_ref() != Some(&job.job) {
            return;
        }
        if op.outcome == Outcome::Ok {
            return self.rate(cue);
        }
        job.pay_unsure |= op.outcome == Outcome::Info;
        // "Paid already", after a payment whose fate nobody knew, is as good as a yes.
        let settled = job.pay_unsure && op.answer.refusal == Some(Refusal::Conflict);
        let guessed_wrong = job.guessed && op.outcome == Outcome::Fail;
        if settled || guessed_wrong || job.payments >= PAYMENTS_MAX {
            return self.be_idle(cue);
        }
        let tries = job.payments;
        let wait = cue.patience(PAY_AGAIN, tries);
        cue.wake(wait, again);
    }

    fn rate(&mut self, cue: &mut Cue<'_>) {
        let Some(job) = self.following() else { return };
        if !cue.rng.chance(RATES) || !cue.has(OpKind::PassengerRate) {
            return self.be_idle(cue);
        }
        job.stage = Stage::Rating;
        let stars = 3 + cue.rng.below(3) as u8;
        let id = Some(job.job.clone());
        cue.ask(Ask { job: id, stars: Some(stars), ..Ask::new(OpKind::PassengerRate) });
    }

    /// A rating ended; nobody minds how.
    pub(super) fn rated(&mut self, cue: &mut Cue<'_>) {
        if self.following().is_some_and(|job| job.stage == Stage::Rating) {
            self.be_idle(cue);
        }
    }
}
