//! money-is-conserved: what the passenger paid went to the driver, to the house, or back.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    calm::Calm,
    fact::{Fact, job_of},
    readback::{ReadBack, SumsByJob},
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{id::Id, time::Time},
    history::{
        answer::JobState,
        declares::{Declares, Money},
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "money-is-conserved",
    means: "at rest, after the bound, a completed job's charge less the declared commission is not what \
            its driver got, by more than a minor unit and the declared rounding: neither with its refunds \
            nor without",
    needs: &[
        &[OpKind::AuditJobs, OpKind::AuditJob],
        &[OpKind::AuditCharges],
        &[OpKind::AuditEarnings],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::DriverDropOff,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
        OpKind::AuditEarnings,
        OpKind::AuditRefunds,
    ],
    blind_spot: "tips and bonuses, where they are among the earnings of a job; jobs that are not charged, \
                 or charged twice; a driver who got too little, where no commission is declared; jobs of which nothing \
                 was heard for the horizon",
    rare: true,
    start: |declares, tally| Box::new(MoneyIsConserved::new(declares, tally)),
};

struct MoneyIsConserved {
    money: Money,
    bound: Duration,
    refunds: bool,
    /// When each job was over.
    over: Shelf<Option<Time>>,
    seen_until: Time,
    calm: Calm,
    tally: Tally,
}

impl MoneyIsConserved {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            money: declares.money,
            bound: declares.settle_bound.0 + declares.read_delay.0,
            refunds: declares.asked().has(OpKind::AuditRefunds),
            over: tally.shelf(),
            seen_until: Time::ZERO,
            calm: Calm::default(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.tally.forgotten += self.over.forget(self.seen_until);
        if op.kind() == OpKind::DriverDropOff
            && op.outcome == Outcome::Ok
            && let Some(job) = job_of(op)
        {
            self.over.at(job, self.seen_until).get_or_insert(op.done);
        }
    }

    /// True when every sum of that job must be on the lists.
    fn is_due(&self, rest: &ReadBack, job: &Id) -> bool {
        self.over.peek(job).copied().flatten().is_some_and(|over| {
            let end = over + self.bound;
            let lists = [&rest.charges, &rest.earnings];
            lists.iter().all(|list| list.covers(end)) && self.calm.for_at_least(self.bound, end)
        })
    }

    /// Whether a driver who got `earned` got its part of `paid`. A commission of nothing may be one
    /// that nobody declared: then the driver got no more than all of it.
    fn fits(&self, paid: i64, earned: i64) -> bool {
        let over = earned as f64 - paid as f64 * (1.0 - self.money.commission);
        let slack = (self.money.rounding_minor.max(0) + 1) as f64;
        over <= slack && (self.money.commission == 0.0 || over >= -slack)
    }
}

fn sum(by_job: &SumsByJob<'_>, job: &Id) -> i64 {
    by_job.get(job).into_iter().flatten().map(|(sum, _)| sum.amount_minor).sum()
}

impl Law for MoneyIsConserved {
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
        let (charges, earnings) = (rest.charges_by_job(), rest.earnings.by_job());
        let refunds = rest.refunds.by_job();
        let refunds_known = !self.refunds || rest.refunds.is_whole();
        for (id, (view, read)) in &rest.jobs.by_id {
            let once = charges.get(id).is_some_and(|charges| charges.len() == 1);
            if view.state != JobState::Completed
                || !once
                || !refunds_known
                || !self.is_due(&rest, id)
            {
                continue;
            }
            let (paid, earned) = (sum(&charges, id), sum(&earnings, id));
            let back = sum(&refunds, id);
            tally.observed += 1;
            tally.opportunities += 1;
            if !self.fits(paid, earned) && !self.fits(paid + back, earned) {
                let what = format!(
                    "{}: {paid} was paid (and {back} given back), its driver got {earned}, and the \
                     commission is {} %",
                    read.tell(),
                    self.money.commission * 100.0
                );
                let of = |sums: &SumsByJob<'_>| -> Vec<Fact> {
                    sums.get(id).into_iter().flatten().map(|(_, fact)| (*fact).clone()).collect()
                };
                let proof: Vec<Fact> = of(&charges).into_iter().chain(of(&earnings)).collect();
                let proof: Vec<&Fact> = [read].into_iter().chain(&proof).collect();
                tally.breach(what, Some(id), &proof);
            }
        }
        tally.judge_at_rest(
            complete && rest.earnings.is_whole(),
            "no completed job was read back with its charge and its driver's earnings",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{AUDITOR, Tale, Tweak, charge, good_end, good_journey},
    };

    const LAW: &str = "money-is-conserved";

    /// A journey of 12.00; its driver got `earned`, and the passenger got `back`.
    fn earned(earned: i64, back: i64) -> Tale {
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        let (job, paid) = good_end("J1");
        tale.read_back(100.0, vec![job], vec![paid]);
        let mut list = |kind, at: f64, sum| {
            tale.op(AUDITOR, kind, (at, at + 0.1)).answer.charges = vec![charge("S1", "J1", sum)];
        };
        list(OpKind::AuditEarnings, 100.5, earned);
        list(OpKind::AuditRefunds, 100.7, back);
        tale
    }

    /// The same where the house keeps a fifth.
    fn with_share(sum: i64) -> Tale {
        let mut tale = earned(sum, 0);
        tale.declares.money.commission = 0.2;
        tale
    }

    #[test]
    fn what_is_paid_is_earned() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(earned(1_200, 0).judge(LAW).verdict, Verdict::Pass);
        assert_eq!(earned(1_000, 0).judge(LAW).verdict, Verdict::Pass, "a share is not declared");
        assert_eq!(with_share(960).judge(LAW).verdict, Verdict::Pass);
        assert_eq!(earned(1_500, 300).judge(LAW).verdict, Verdict::Pass, "the house gave it back");
    }

    #[test]
    fn money_that_is_nowhere_is_caught() {
        assert_eq!(earned(1_300, 0).judge(LAW).verdict, Verdict::Broken);
        let judgement = with_share(900).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        let what = &judgement.violations[0].what;
        assert!(
            what.ends_with(
                "1200 was paid (and 0 given back), its driver got 900, and the commission is 20 %"
            ),
            "{what}"
        );
    }

    #[test]
    fn lists_that_were_not_read_prove_nothing() {
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        let (job, paid) = good_end("J1");
        tale.read_back(100.0, vec![job], vec![paid]);
        tale.op(AUDITOR, OpKind::AuditEarnings, (100.5, 100.6)).info();
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        tale.declares.ops.retain(|op| *op != OpKind::AuditEarnings);
        assert_eq!(tale.judge(LAW).verdict, Verdict::NotApplicable);
    }

    #[test]
    fn what_ended_just_now_may_not_be_booked_yet() {
        let mut tale = Tale::default();
        good_journey(&mut tale, 90.0, "J1");
        let (job, paid) = good_end("J1");
        tale.read_back(100.0, vec![job], vec![paid]);
        tale.op(AUDITOR, OpKind::AuditEarnings, (100.5, 100.6));
        tale.op(AUDITOR, OpKind::AuditRefunds, (100.7, 100.8));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
