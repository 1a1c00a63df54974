//! Answers that say that all went well: what is read out of them, and kept. One that cannot be read
//! tells nothing. Sends nothing.

use serde_json::Value;

use super::{
    Judged, Mapped,
    judge::{Raw, answered},
    scope::Scope,
    step::Step,
};
use crate::history::{
    answer::{Answer, JobView},
    op::{Ask, OpKind, Outcome},
};

impl Mapped {
    /// What came of it.
    pub(super) fn accepted(&self, step: &Step, scope: &Scope<'_>, raw: &Raw) -> Judged {
        let scope = answered(scope, raw);
        let own = scope.ask.filter(|ask| self.is_own(step, ask));
        let told_apart = step.batch.as_ref().is_some_and(|gather| gather.results.is_some());
        if raw.status == 204
            && raw.is_empty()
            && !told_apart
            && own.is_some_and(|ask| may_find_nothing(ask.op))
        {
            return Judged::new(Outcome::Ok, None);
        }
        // What comes of a probe changes no session.
        let probes = scope.ask.is_some_and(|ask| ask.probe.is_some());
        let keep = || if probes { Ok(()) } else { self.keep(step, &scope, &raw.body) };
        let kept = readable(step, own, raw).and_then(|()| keep());
        if let Some(parcel) = scope.batch
            && kept.is_ok()
            && let Some(judged) = self.share_out(step, parcel, &scope, raw)
        {
            return judged;
        }
        let read = kept.and_then(|()| {
            let answer = step.reader.read(&self.around(scope), &raw.body)?;
            if own.is_some_and(|ask| lacks(ask.op, &answer)) {
                return Err("it lacks the job that it is about".to_owned());
            }
            if let Some(ask) = scope.ask {
                self.note(step, &scope, ask, answer.job.as_deref(), &raw.body)?;
            }
            Ok(answer)
        });
        match read {
            Ok(answer) => {
                if let Some(job) = &answer.job {
                    self.relay(step, &scope, job, &raw.body);
                }
                Judged { answer, ..Judged::new(Outcome::Ok, None) }
            }
            // It was done, but what came of it cannot be read: nobody can go on from here. What is
            // read back may be asked for again.
            Err(why) => {
                let why = self.hide(scope.robot, &format!("`{}`: {why}", step.key));
                let retry = scope.ask.is_some_and(|ask| is_read_back(ask.op));
                let unknown = Judged::unknown(format!("unreadable answer: {why}"));
                // The mapping or the backend is at fault, and no instance.
                Judged { retry, instance_failed: false, ..unknown }
            }
        }
    }

    /// Whether it is the step of the op itself, and none that comes before it.
    fn is_own(&self, step: &Step, ask: &Ask) -> bool {
        self.file.step(ask.op).is_some_and(|own| std::ptr::eq(own, step))
    }

    /// Keeps what is known of a job.
    fn note(
        &self,
        step: &Step,
        scope: &Scope<'_>,
        ask: &Ask,
        job: Option<&JobView>,
        body: &Value,
    ) -> Result<(), String> {
        let Some(job) = job.map(|job| &job.id).or(ask.job.as_ref()) else { return Ok(()) };
        for (name, pick) in &step.keep_job {
            match pick.text(scope, body)? {
                Some(value) => self.book.keep(job, name, &value),
                None => return Err(pick.missing()),
            }
        }
        if let (OpKind::PassengerRequestJob, Some(from), Some(to)) = (ask.op, ask.at, ask.to) {
            self.book.set_trip(job, from, to);
        }
        Ok(())
    }
}

/// Whether there is a body, where something is to be read out of it.
fn readable(step: &Step, own: Option<&Ask>, raw: &Raw) -> Result<(), String> {
    if let Some(what) = own.and_then(|ask| step.reader.is_blind(ask.op)) {
        return Err(format!("it tells nothing: the step has no `{what}`"));
    }
    if !step.reads_body() {
        return Ok(());
    }
    if let Some(why) = raw.garbled() {
        // Without its words: they may be what lets one in.
        return Err(why.to_owned());
    }
    if raw.is_empty() && own.is_some_and(|ask| may_find_nothing(ask.op)) {
        let why = "it has no body: say `none = { empty = true }` if that means that there is \
                   nothing";
        return Err(why.to_owned());
    }
    Ok(())
}

/// True when the very thing that the op is about is missing.
fn lacks(op: OpKind, answer: &Answer) -> bool {
    let one_job =
        matches!(op, OpKind::PassengerRequestJob | OpKind::PassengerJobStatus | OpKind::AuditJob);
    one_job && answer.job.is_none()
}

/// True for ops that ask for whatever there is.
fn may_find_nothing(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::DriverPing
            | OpKind::DriverNextOffer
            | OpKind::DriverCurrentJob
            | OpKind::PassengerCurrentJob
    )
}

/// True for ops that only read what others did.
pub(super) fn is_read_back(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::AuditJob
            | OpKind::AuditJobs
            | OpKind::AuditCharges
            | OpKind::AuditEarnings
            | OpKind::AuditRefunds
            | OpKind::AuditIssues
    )
}
