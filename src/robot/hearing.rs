//! How a driver hears of work: it asks, it looks, or it is told unasked. What it is told may be late,
//! doubled, or meant for another: a hint, never a read.

use std::{rc::Rc, time::Duration};

use super::{
    cue::{Cue, alarm},
    driver::{self, Driver, State},
    driving::Job,
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::{Answer, JobState, JobView, OfferView},
        declares::Offers,
        op::{Ask, OpKind},
    },
};

/// However often a file says: a free driver asks for work no more often than that.
const SEEK_MIN: Duration = Duration::from_millis(50);

/// Something that it was told unasked.
#[derive(Debug, Clone)]
pub(super) struct Hint {
    at: Time,
    offer: Option<Rc<OfferView>>,
    job: Option<Rc<JobView>>,
}

impl Driver {
    /// What a free driver asks, now and then, to hear of work; `None` where it hears by itself.
    fn seeks(cue: &Cue<'_>) -> Option<(OpKind, Duration)> {
        if !cue.has(OpKind::DriverAccept) {
            // Jobs are born with a driver: it finds them by looking.
            let looks = cue.has(OpKind::DriverCurrentJob);
            return looks.then(|| (OpKind::DriverCurrentJob, driver::poll_every(cue.around)));
        }
        match cue.around.offers {
            Offers::Poll { every } => Some((OpKind::DriverNextOffer, every.0)),
            _ => None,
        }
    }

    pub(super) fn seek_again(cue: &mut Cue<'_>) {
        if let Some((_, every)) = Self::seeks(cue) {
            let wait = every.mul_f64(cue.rng.between(0.75, 1.25)).max(SEEK_MIN);
            cue.wake(wait, alarm(driver::SEEK, 0));
        }
    }

    pub(super) fn seek(&mut self, cue: &mut Cue<'_>) {
        if matches!(self.state, State::Off) {
            return;
        }
        Self::seek_again(cue);
        if matches!(self.state, State::Free)
            && let Some((op, _)) = Self::seeks(cue)
        {
            self.ask_for_work(op, cue);
        }
    }

    /// One question at a time: answers that take long must not pile up.
    fn ask_for_work(&mut self, op: OpKind, cue: &mut Cue<'_>) {
        if !std::mem::replace(&mut self.seeking, true) {
            cue.ask(Ask::new(op));
        }
    }

    /// A hint: it is kept until there is something to do about it, the newest only.
    pub(super) fn told(&mut self, answer: &Answer, cue: &mut Cue<'_>) {
        let job = answer.job.clone().filter(|view| !self.is_of_another(view));
        if let Some(view) = &job
            && matches!(&self.state, State::OnJob(job) if job.id == view.id)
        {
            return self.told_of_job(view, cue);
        }
        let hint = Hint { at: cue.now, offer: answer.offer.clone(), job };
        if hint.offer.is_none() && !hint.job.as_ref().is_some_and(|view| view.state.is_held()) {
            return;
        }
        if matches!(self.state, State::Free) {
            return self.hear(&hint, cue);
        }
        self.hint = Some(Box::new(hint));
    }

    /// A free driver acts on a hint: an offer is as good as one that was asked for.
    pub(super) fn hear(&mut self, hint: &Hint, cue: &mut Cue<'_>) {
        if let Some(offer) = &hint.offer
            && cue.now - hint.at < Duration::from_millis(offer.expires_in_ms)
        {
            self.offered(offer, cue);
        }
        if let Some(view) = hint.job.clone()
            && matches!(self.state, State::Free)
            && !self.is_over(&view.id)
        {
            self.told_of_work(&view, cue);
        }
    }

    /// A free driver was told that it has a job.
    fn told_of_work(&mut self, view: &JobView, cue: &mut Cue<'_>) {
        let born = !cue.has(OpKind::DriverAccept);
        let own = view.driver.is_some() && view.driver == self.account;
        match (cue.has(OpKind::DriverCurrentJob), born) {
            (true, true) => self.ask_for_work(OpKind::DriverCurrentJob, cue),
            (true, false) if own => self.look(None, 0, cue),
            (false, born) if born || own => self.begin(view, cue),
            _ => {}
        }
    }

    /// Goes on with a job that it got without taking it.
    pub(super) fn begin(&mut self, view: &JobView, cue: &mut Cue<'_>) {
        let job = Job::found(view, None);
        if view.state == JobState::Accepted {
            return self.take(job, cue);
        }
        self.go_on_with(job, view.state, cue);
    }

    /// True when a job is certainly in the hands of another driver.
    fn is_of_another(&self, view: &JobView) -> bool {
        view.driver.is_some() && self.account.is_some() && view.driver != self.account
    }

    /// Nothing that is told of this job from here on matters.
    pub(super) fn put_away(&mut self, job: Id) {
        self.over[self.over_next] = Some(job);
        self.over_next = (self.over_next + 1) % driver::PASSED_MAX;
    }

    pub(super) fn is_over(&self, job: &Id) -> bool {
        self.over.iter().flatten().any(|over| over == job)
    }
}
