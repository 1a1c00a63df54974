//! paid-eventually: a journey is paid for in the end, whatever was broken on the way.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    calm::Calm,
    charge_matches_fare::fares_of,
    fact::{Fact, job_of},
    readback::ReadBack,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::{JobState, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "paid-eventually",
    means: "at rest a completed job is unpaid, though the bound has passed since its end and since the \
            last fault: the backend takes the fare by itself, or refused the passenger's money",
    needs: &[&[OpKind::AuditJobs, OpKind::AuditJob], &[OpKind::AuditCharges]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerPay,
        OpKind::DriverDropOff,
        OpKind::PassengerJobStatus,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "a passenger who never tried to pay after the bound had passed, where the backend does \
                 not take the fare by itself; jobs of which nothing was heard for the horizon",
    rare: false,
    start: |declares, tally| Box::new(PaidEventually::new(declares, tally)),
};

/// What says that a job is to be paid.
#[derive(Default)]
struct Due {
    /// The first word that it is completed.
    over: Option<Fact>,
    /// A payment that was refused in calm weather, long after the journey.
    refused: Option<Fact>,
}

struct PaidEventually {
    alone: bool,
    bound: Duration,
    read_delay: Duration,
    jobs: Shelf<Due>,
    seen_until: Time,
    calm: Calm,
    tally: Tally,
}

impl PaidEventually {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            alone: declares.does_alone(OpKind::PassengerPay),
            bound: declares.settle_bound.0 + declares.read_delay.0,
            read_delay: declares.read_delay.0,
            jobs: tally.shelf(),
            seen_until: Time::ZERO,
            calm: Calm::default(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.tally.forgotten += self.jobs.forget(self.seen_until);
        let Some(job) = job_of(op) else { return };
        let told = op.answer.job.as_deref().map(|view| view.state);
        let done = op.outcome == Outcome::Ok;
        match op.kind() {
            OpKind::DriverDropOff if done => {
                let due = self.jobs.at(job, self.seen_until);
                due.over.get_or_insert_with(|| Fact::of(op));
            }
            OpKind::PassengerJobStatus if done && told == Some(JobState::Completed) => {
                let due = self.jobs.at(job, self.seen_until);
                due.over.get_or_insert_with(|| Fact::of(op));
            }
            OpKind::PassengerPay if op.outcome == Outcome::Fail => {
                // Not the backend's doing: the robot's token, or its haste.
                let own = matches!(
                    op.answer.refusal,
                    None | Some(Refusal::Unauthenticated | Refusal::Limited)
                );
                let Some(due) = self.jobs.get(job, self.seen_until) else { return };
                let late = due.over.as_ref().is_some_and(|over| {
                    over.done + self.bound < op.sent && self.calm.for_at_least(self.bound, op.sent)
                });
                if late && !own {
                    due.refused = Some(Fact::of(op));
                }
            }
            _ => {}
        }
    }

    /// What proves that there ought to be a charge.
    fn due(&self, rest: &ReadBack, job: &Id) -> Option<Vec<&Fact>> {
        let Due { over, refused } = self.jobs.peek(job)?;
        let (over, charges) = (over.as_ref()?, &rest.charges);
        if self.alone {
            let end = over.done + self.bound;
            let long = charges.covers(end) && self.calm.for_at_least(self.bound, end);
            return long.then(|| vec![over]);
        }
        let refused = refused.as_ref()?;
        charges.covers(refused.done + self.read_delay).then(|| vec![over, refused])
    }
}

impl Law for PaidEventually {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        let by_job = rest.charges_by_job();
        for (id, (view, read)) in &rest.jobs.by_id {
            // A free journey needs no payment.
            if view.state != JobState::Completed || view.fare_minor == Some(0) {
                continue;
            }
            tally.observed += 1;
            if by_job.contains_key(id) {
                // A charge that is refunded again was one.
                tally.opportunities += u64::from(!fares_of(&by_job, id).is_empty());
            } else if let Some(due) = self.due(&rest, id) {
                tally.opportunities += 1;
                let proof: Vec<&Fact> = due.into_iter().chain([read]).collect();
                let told: Vec<String> = proof.iter().map(|fact| fact.tell()).collect();
                let what = format!("{}; it was never paid", told.join("; "));
                tally.breach(what, Some(id), &proof);
            }
        }
        tally.judge_at_rest(
            complete && rest.charges.is_whole(),
            "no completed job was read back with its charge",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::record::FaultChange,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, good_end, good_journey, p},
        },
    };

    const LAW: &str = "paid-eventually";

    /// A journey that ended at 16.1 s; its payment at `at` was refused.
    fn refused(at: f64) -> Tale {
        let mut tale = Tale::default();
        tale.moves(d(1), OpKind::DriverDropOff, (16.0, 16.1), "J1", 1);
        let pay = tale.op(p(1), OpKind::PassengerPay, (at, at + 0.1)).refused(Refusal::NotFound);
        pay.ask.job = Some("J1".into());
        tale.read_back(100.0, vec![good_end("J1").0], Vec::new());
        tale
    }

    #[test]
    fn what_is_paid_is_paid() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        let (job, charge) = good_end("J1");
        tale.read_back(100.0, vec![job], vec![charge]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn money_that_is_refused_for_no_reason_is_caught() {
        let judgement = refused(50.0).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 dropped off job J1 at 16.100 s (ok, op 1); passenger/00001 paid job J1 at \
             50.100 s (refused, op 2); auditor/00000 read back job J1 as completed at 100.200 s (ok, \
             op 3); it was never paid"
        );
    }

    #[test]
    fn where_the_backend_charges_by_itself_nobody_needs_to_ask() {
        let mut tale = refused(17.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "early, and nobody asked again");
        tale.declares.automatic = vec![OpKind::PassengerPay];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.fault(FaultChange::Injected, 30.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "it is still broken");
    }

    #[test]
    fn a_fault_or_an_unknown_outcome_explains_it() {
        let mut fault = refused(50.0);
        fault.fault(FaultChange::Injected, 20.0);
        fault.fault(FaultChange::Healed, 40.0);
        assert_eq!(fault.judge(LAW).verdict, Verdict::Unknown);
        let mut unknown = Tale::default();
        unknown.moves(d(1), OpKind::DriverDropOff, (16.0, 16.1), "J1", 1);
        unknown.op(p(1), OpKind::PassengerPay, (50.0, 50.1)).info().ask.job = Some("J1".into());
        unknown.read_back(100.0, vec![good_end("J1").0], Vec::new());
        assert_eq!(unknown.judge(LAW).verdict, Verdict::Unknown);
    }
}
