//! cancelled-charged-by-rule: who does not travel pays what the rules say, and no more. What was a race
//! is decided by the read-back.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    calm::Calm,
    fact::{Fact, job_of},
    readback::ReadBack,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::time::Time,
    history::{
        answer::{ChargeView, JobState, JobView},
        declares::{Declares, Fees},
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "cancelled-charged-by-rule",
    means: "at rest a job that expired, or that was cancelled before it ever had a driver, has a charge; \
            a cancelled one has two, or one of a sum that `fees` does not name, or lacks the fee that it \
            names",
    needs: &[&[OpKind::AuditJobs, OpKind::AuditJob], &[OpKind::AuditCharges]],
    cannot: |_| None,
    watches: &[
        OpKind::DriverAccept,
        OpKind::DriverNoShow,
        OpKind::PassengerCancel,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "the sum that is charged for a cancelled job that had a driver, where `fees` names none",
    rare: true,
    start: |declares, tally| Box::new(CancelledCharged::new(declares, tally)),
};

/// What is known of one job.
#[derive(Default)]
struct Ended {
    /// A driver took it, or may have taken it.
    taken: bool,
    /// A no-show that was acknowledged, or a passenger's cancel.
    by: Option<Fact>,
}

struct CancelledCharged {
    fees: Fees,
    rounding: i64,
    bound: Duration,
    jobs: Shelf<Ended>,
    seen_until: Time,
    calm: Calm,
    tally: Tally,
}

type Charge<'a> = (&'a ChargeView, &'a Fact);

impl CancelledCharged {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            fees: declares.fees,
            rounding: declares.money.rounding_minor.max(0),
            bound: declares.settle_bound.0 + declares.read_delay.0,
            jobs: tally.shelf(),
            seen_until: Time::ZERO,
            calm: Calm::default(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.tally.forgotten += self.jobs.forget(self.seen_until);
        let Some(job) = job_of(op).filter(|_| op.outcome != Outcome::Fail) else { return };
        let told = op.answer.job.as_deref().map(|view| view.state);
        match op.kind() {
            OpKind::DriverAccept => {
                self.jobs.at(job, self.seen_until).taken = true;
            }
            OpKind::DriverNoShow | OpKind::PassengerCancel
                if op.outcome == Outcome::Ok && told == Some(JobState::Cancelled) =>
            {
                self.jobs.at(job, self.seen_until).by = Some(Fact::of(op));
            }
            _ => {}
        }
    }

    /// What is wrong with these charges of a job that came to nothing, in words.
    fn wrong(
        &self,
        rest: &ReadBack,
        view: &JobView,
        charges: &[Charge<'_>],
        numbers: bool,
    ) -> Option<String> {
        let known = self.jobs.peek(&view.id);
        let had_driver = view.assignment > 0
            || !view.assignments.is_empty()
            || view.driver.is_some()
            || known.is_some_and(|job| job.taken)
            || self.jobs.has_forgotten() && known.is_none()
            || !numbers;
        match charges {
            [] => self.missing_fee(rest, view),
            [_] if view.state == JobState::Expired => Some("nobody came for it".to_owned()),
            [_] if !had_driver => Some("it never had a driver".to_owned()),
            [(charge, _)] => {
                let named = [self.fees.cancel_minor, self.fees.no_show_minor];
                let fits = |fee: &i64| (charge.amount_minor - fee).abs() <= self.rounding;
                let any = named.iter().flatten().next().is_some();
                (any && !named.iter().flatten().any(fits))
                    .then(|| "`fees` names no such sum".to_owned())
            }
            many => Some(format!("that is {} times", many.len())),
        }
    }

    fn missing_fee(&self, rest: &ReadBack, view: &JobView) -> Option<String> {
        let ended = self.jobs.peek(&view.id)?.by.as_ref()?;
        let fee = match ended.kind {
            OpKind::DriverNoShow => self.fees.no_show_minor,
            // Who had it at the end is shown; one who gave it back is not.
            _ => self.fees.cancel_minor.filter(|_| view.driver.is_some()),
        }?;
        let end = ended.done + self.bound;
        let due = fee > self.rounding
            && rest.charges.covers(end)
            && self.calm.for_at_least(self.bound, end);
        due.then(|| format!("{}: the fee of {fee} is not among the charges", ended.tell()))
    }
}

impl Law for CancelledCharged {
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
        // A target that numbers assignments shows that there was none.
        let numbers = rest.jobs.by_id.values().any(|(view, _)| view.assignment > 0);
        for (id, (view, read)) in &rest.jobs.by_id {
            if !matches!(view.state, JobState::Cancelled | JobState::Expired) {
                continue;
            }
            tally.observed += 1;
            tally.opportunities += 1;
            let charges: Vec<Charge<'_>> = by_job
                .get(id)
                .into_iter()
                .flatten()
                .filter(|(charge, _)| charge.amount_minor != 0)
                .copied()
                .collect();
            if let Some(how) = self.wrong(&rest, view, &charges, numbers) {
                let sums: Vec<_> = charges
                    .iter()
                    .map(|(charge, _)| format!("{} of {}", charge.id, charge.amount_minor))
                    .collect();
                let sums = if sums.is_empty() { "nothing".to_owned() } else { sums.join(", ") };
                let what = format!("{}; charged: {sums}; {how}", read.tell());
                let proof: Vec<&Fact> =
                    [read].into_iter().chain(charges.iter().map(|(_, fact)| *fact)).collect();
                tally.breach(what, Some(id), &proof);
            }
        }
        tally.judge_at_rest(
            complete && rest.charges.is_whole(),
            "no job that came to nothing was read back",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{Tale, Tweak, charge, d, good_end, p, view},
    };

    const LAW: &str = "cancelled-charged-by-rule";

    /// A job that ended so, beside a good one, and what was charged for it.
    fn ended(state: JobState, number: u32, amounts: &[i64]) -> Tale {
        let mut tale = Tale::default();
        let driver = (number > 0).then(|| d(1));
        let charges = amounts.iter().enumerate();
        let mut charges: Vec<_> =
            charges.map(|(n, amount)| charge(&format!("C{n}"), "J1", *amount)).collect();
        let (good, paid) = good_end("J2");
        charges.push(paid);
        tale.read_back(100.0, vec![view("J1", state, number, driver), good], charges);
        tale
    }

    #[test]
    fn who_does_not_travel_does_not_pay() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        for state in [JobState::Cancelled, JobState::Expired] {
            assert_eq!(ended(state, 0, &[]).judge(LAW).verdict, Verdict::Pass);
            assert_eq!(ended(state, 0, &[0]).judge(LAW).verdict, Verdict::Pass, "refunded");
        }
        assert_eq!(ended(JobState::Cancelled, 1, &[500]).judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn a_charge_for_nothing_is_caught() {
        let judgement = ended(JobState::Expired, 0, &[500]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert_eq!(
            judgement.violations[0].what,
            "auditor/00000 read back job J1 as expired at 100.200 s (ok, op 1); charged: C0 of 500; \
             nobody came for it"
        );
        for (number, amounts) in [(0, &[500][..]), (1, &[500, 500][..])] {
            let tale = ended(JobState::Cancelled, number, amounts);
            assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        }
    }

    #[test]
    fn the_fee_is_the_one_that_is_declared() {
        let mut tale = ended(JobState::Cancelled, 1, &[500]);
        tale.declares.fees.cancel_minor = Some(500);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        tale.declares.fees.cancel_minor = Some(300);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut unpaid = ended(JobState::Cancelled, 1, &[]);
        unpaid.declares.fees.no_show_minor = Some(300);
        assert_eq!(unpaid.judge(LAW).verdict, Verdict::Pass);
        let gone = Some(std::rc::Rc::new(view("J1", JobState::Cancelled, 1, Some(d(1)))));
        unpaid.moves(d(1), OpKind::DriverNoShow, (20.0, 20.1), "J1", 1).answer.job = gone;
        assert_eq!(unpaid.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_driver_who_may_have_had_it_is_reason_enough() {
        let mut tale = ended(JobState::Cancelled, 0, &[500]);
        tale.accept(d(1), (10.0, 12.0), "J1", 1).info().ask.job = Some("J1".into());
        tale.cancel(p(1), (11.0, 11.1), "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        let mut cut = ended(JobState::Cancelled, 0, &[]);
        cut.complete = false;
        assert_eq!(cut.judge(LAW).verdict, Verdict::Unknown);
    }
}
