//! charge-matches-fare: the passenger pays what the journey cost, not what was guessed before it.

use super::{Judgement, Law, LawEntry, Seen, fact::Fact, readback::SumsByJob, tally::Tally};
use crate::{
    base::id::Id,
    history::{
        answer::{ChargeView, JobState},
        declares::Declares,
        op::OpKind,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "charge-matches-fare",
    means: "at rest the one charge of a completed job differs from its final fare by more than \
            `money.rounding_minor` (where the target knows refunds: exceeds it)",
    needs: &[&[OpKind::AuditJobs, OpKind::AuditJob], &[OpKind::AuditCharges]],
    cannot: |_| None,
    watches: &[OpKind::AuditJob, OpKind::AuditJobs, OpKind::AuditCharges],
    blind_spot: "fares that are wrong themselves; jobs that are read back without a fare; of \
                 jobs of which nothing was heard for the horizon, all but some thousands",
    rare: true,
    start: |declares, tally| Box::new(ChargeMatchesFare::new(declares, tally)),
};

struct ChargeMatchesFare {
    rounding: i64,
    /// Charges are net of refunds: less than the fare may be right.
    refunds: bool,
    tally: Tally,
}

impl ChargeMatchesFare {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            rounding: declares.money.rounding_minor.max(0),
            refunds: declares.asked().has(OpKind::AuditRefunds),
            tally,
        }
    }
}

/// The charges of a job that took something, fees aside.
pub fn fares_of<'a>(by_job: &SumsByJob<'a>, job: &Id) -> Vec<(&'a ChargeView, &'a Fact)> {
    let all = by_job.get(job).into_iter().flatten().copied();
    all.filter(|(charge, _)| !charge.fee && charge.amount_minor != 0).collect()
}

impl Law for ChargeMatchesFare {
    fn see(&mut self, _: Seen<'_>) {}

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        let by_job = rest.charges_by_job();
        for (id, (view, read)) in &rest.jobs.by_id {
            let Some(fare) = view.fare_minor.filter(|_| view.state == JobState::Completed) else {
                continue;
            };
            tally.observed += 1;
            // None or many is another law's matter.
            let fares = fares_of(&by_job, id);
            let [(charge, taken)] = fares[..] else { continue };
            tally.opportunities += 1;
            let over = charge.amount_minor.saturating_sub(fare);
            if over > self.rounding || (over < -self.rounding && !self.refunds) {
                let what = format!(
                    "{}: its fare was {fare}, and charge {} took {}",
                    read.tell(),
                    charge.id,
                    charge.amount_minor
                );
                tally.breach(what, Some(id), &[read, taken]);
            }
        }
        tally.judge_at_rest(complete, "no completed job was read back with its fare and its charge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{AUDITOR, Tale, Tweak, charge, good_end, good_journey},
    };

    const LAW: &str = "charge-matches-fare";

    /// A journey of 12.00, and what was taken for it.
    fn charged(amounts: &[i64]) -> Tale {
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        let charges = amounts.iter().enumerate();
        let charges = charges.map(|(n, amount)| charge(&format!("C{n}"), "J1", *amount)).collect();
        tale.read_back(100.0, vec![good_end("J1").0], charges);
        tale
    }

    #[test]
    fn the_fare_is_what_is_paid() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(charged(&[1_200]).judge(LAW).verdict, Verdict::Pass);
        let mut cut = charged(&[1_200]);
        cut.complete = false;
        assert_eq!(cut.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn another_sum_is_caught() {
        let judgement = charged(&[1_250]).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("its fare was 1200, and charge C0 took 1250"), "{what}");
    }

    #[test]
    fn rounding_and_refunds_are_as_declared() {
        let mut rounded = charged(&[1_201]);
        assert_eq!(rounded.judge(LAW).verdict, Verdict::Broken);
        rounded.declares.money.rounding_minor = 1;
        assert_eq!(rounded.judge(LAW).verdict, Verdict::Pass);
        let mut refunded = charged(&[700]);
        assert_eq!(refunded.judge(LAW).verdict, Verdict::Pass, "a refund may have been given");
        refunded.declares.ops.retain(|op| *op != OpKind::AuditRefunds);
        assert_eq!(refunded.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn without_one_charge_nothing_is_said() {
        assert_eq!(charged(&[]).judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(charged(&[1_200, 1_300]).judge(LAW).verdict, Verdict::Unknown);
        let mut unread = Tale::default();
        good_journey(&mut unread, 10.0, "J1");
        unread.read_back(100.0, vec![good_end("J1").0], Vec::new());
        unread.op(AUDITOR, OpKind::AuditCharges, (101.0, 102.0)).info();
        assert_eq!(unread.judge(LAW).verdict, Verdict::Unknown);
    }
}
