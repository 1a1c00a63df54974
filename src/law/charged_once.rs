//! charged-once: a completed journey costs its passenger exactly one charge.

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
    base::{id::Id, time::Time},
    history::{
        answer::{ChargeView, JobState},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "charged-once",
    means: "at rest a completed job has more than one charge (fees and fully refunded ones left \
            out), or none though its payment was acknowledged (or, where `passenger.pay` \
            is automatic, though the bound has passed)",
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
    blind_spot: "a charge that was taken and refunded again before the read-back; a missing one of a job \
                 of which nothing was heard for the horizon",
    rare: false,
    start: |declares, tally| Box::new(ChargedOnce::new(declares, tally)),
};

/// What says that a job is to be charged.
#[derive(Default)]
struct Due {
    paid: Option<Fact>,
    /// The first word that it is completed.
    over: Option<Fact>,
}

struct ChargedOnce {
    /// Passengers pay by an op of their own.
    asked: bool,
    /// The backend takes the fare by itself.
    alone: bool,
    bound: Duration,
    read_delay: Duration,
    jobs: Shelf<Due>,
    seen_until: Time,
    calm: Calm,
    tally: Tally,
}

impl ChargedOnce {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            asked: declares.asked().has(OpKind::PassengerPay),
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
        let pays = op.kind() == OpKind::PassengerPay;
        let over = op.kind() == OpKind::DriverDropOff
            || op.kind() == OpKind::PassengerJobStatus && self.alone && is_completed(op);
        if !pays && !over {
            return;
        }
        if let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) {
            let due = self.jobs.at(job, self.seen_until);
            let fact = if pays { &mut due.paid } else { &mut due.over };
            fact.get_or_insert_with(|| Fact::of(op));
        }
    }

    /// What proves that there must be a charge on the list.
    fn due(&self, rest: &ReadBack, job: &Id) -> Option<&Fact> {
        let (charges, due) = (&rest.charges, self.jobs.peek(job)?);
        if self.asked {
            let paid = due.paid.as_ref();
            return paid.filter(|paid| charges.covers(paid.done + self.read_delay));
        }
        due.over.as_ref().filter(|_| self.alone).filter(|over| {
            let end = over.done + self.bound;
            charges.covers(end) && self.calm.for_at_least(self.bound, end.max(over.sent))
        })
    }

    fn judge_job(
        &self,
        (rest, tally): (&ReadBack, &mut Tally),
        job: &Id,
        read: &Fact,
        charges: &[Charge<'_>],
    ) {
        match (charges, self.due(rest, job)) {
            ([_], _) => tally.opportunities += 1,
            ([], Some(due)) => {
                tally.opportunities += 1;
                let what = format!(
                    "{}; {}; the whole list of charges has none for it",
                    due.tell(),
                    read.tell()
                );
                tally.breach(what, Some(job), &[due, read]);
            }
            // Not paid, as far as anybody knows: another law's matter.
            ([], None) => {}
            (many, _) => {
                tally.opportunities += 1;
                let each: Vec<_> = many
                    .iter()
                    .map(|(charge, _)| format!("{} of {}", charge.id, charge.amount_minor))
                    .collect();
                let (read_as, count, list) = (read.tell(), many.len(), each.join(", "));
                let what = format!("{read_as}; it was charged {count} times: {list}");
                let paid = self.jobs.peek(job).and_then(|due| due.paid.as_ref());
                let proof: Vec<_> = paid
                    .into_iter()
                    .chain([read])
                    .chain(many.iter().map(|(_, fact)| *fact))
                    .collect();
                tally.breach(what, Some(job), &proof);
            }
        }
    }
}

fn is_completed(op: &Op) -> bool {
    op.answer.job.as_deref().is_some_and(|view| view.state == JobState::Completed)
}

type Charge<'a> = (&'a ChargeView, &'a Fact);

impl Law for ChargedOnce {
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
            if view.state != JobState::Completed {
                continue;
            }
            tally.observed += 1;
            let fares: Vec<_> = by_job
                .get(id)
                .into_iter()
                .flatten()
                .filter(|(charge, _)| !charge.fee && charge.amount_minor != 0)
                .copied()
                .collect();
            self.judge_job((&rest, &mut tally), id, read, &fares);
        }
        tally.judge_at_rest(
            complete && rest.has_read(self.jobs.keys()) && rest.charges.is_whole(),
            "no completed job was read back with its charges",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{
        Verdict,
        testkit::{AUDITOR, Tale, Tweak, charge, good_end, good_journey, p},
    };

    const LAW: &str = "charged-once";

    fn journey(charges: Vec<ChargeView>) -> Tale {
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        tale.read_back(100.0, vec![good_end("J1").0], charges);
        tale
    }

    #[test]
    fn one_charge_is_right_and_a_fee_beside_it_is_no_fare() {
        assert_eq!(journey(vec![good_end("J1").1]).judge(LAW).verdict, Verdict::Pass);
        let mut fee = charge("C2", "J1", 300);
        fee.fee = true;
        let refunded = charge("C3", "J1", 0);
        let tale = journey(vec![good_end("J1").1, fee, refunded]);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn charged_twice_and_never_are_caught() {
        let twice = journey(vec![good_end("J1").1, charge("C2", "J1", 1_200)]).judge(LAW);
        assert_eq!(twice.verdict, Verdict::Broken);
        let what = &twice.violations[0].what;
        assert!(what.ends_with("charged 2 times: C2 of 1200, charge of J1 of 1200"), "{what}");
        let never = journey(Vec::new()).judge(LAW);
        assert_eq!(never.verdict, Verdict::Broken);
        assert!(never.violations[0].what.ends_with("list of charges has none for it"));
    }

    #[test]
    fn one_charge_on_two_pages_is_one_charge() {
        let mut tale = journey(vec![good_end("J1").1]);
        tale.op(AUDITOR, OpKind::AuditCharges, (101.0, 101.1)).answer.charges =
            vec![good_end("J1").1];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn an_unknown_payment_or_a_list_cut_short_proves_nothing() {
        let mut tale = Tale::default();
        let pay = tale.op(p(1), OpKind::PassengerPay, (17.0, 19.0)).info();
        pay.ask.job = Some("J1".into());
        tale.read_back(100.0, vec![good_end("J1").0], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut cut = Tale::default();
        good_journey(&mut cut, 10.0, "J1");
        cut.phase(crate::history::record::Phase::ReadBack, 100.0);
        cut.op(AUDITOR, OpKind::AuditJobs, (100.1, 100.2)).answer.jobs = vec![good_end("J1").0];
        let page = cut.op(AUDITOR, OpKind::AuditCharges, (100.3, 100.4));
        page.answer.next = Some("more".into());
        assert_eq!(cut.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn where_nobody_is_asked_to_pay_the_backend_charges_by_itself() {
        let mut tale = journey(Vec::new());
        tale.declares.automatic = vec![OpKind::PassengerPay];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        let mut early = Tale::default();
        early.declares.automatic = vec![OpKind::PassengerPay];
        good_journey(&mut early, 10.0, "J1");
        early.read_back(20.0, vec![good_end("J1").0], Vec::new());
        assert_eq!(early.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_fare_that_nobody_takes_as_far_as_is_declared_is_not_missed() {
        let mut tale = journey(vec![]);
        tale.declares.ops.retain(|op| *op != OpKind::PassengerPay);
        assert_ne!(tale.judge("charged-once").verdict, Verdict::Broken);
        tale.declares.automatic = vec![OpKind::PassengerPay];
        assert_eq!(tale.judge("charged-once").verdict, Verdict::Broken);
    }
}
