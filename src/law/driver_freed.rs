//! driver-freed: whose job is over is offered the next one.

use std::collections::BTreeMap;

use super::{
    Judgement, Law, LawEntry, Seen,
    tally::Tally,
    unserved::{Unserved, WATCHES, Waits, cannot},
};
use crate::{
    base::id::RobotId,
    history::{declares::Declares, op::OpKind},
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "driver-freed",
    means: "a driver whose job ended is shown nothing from then on, though the bound has passed and a \
            job in its reach was sought for that nobody was shown",
    needs: &[
        &[OpKind::PassengerRequestJob],
        &[OpKind::DriverPing],
        &[OpKind::DriverGoOnline],
        &[OpKind::DriverAccept],
        &[OpKind::DriverCurrentJob, OpKind::DriverDropOff],
    ],
    cannot,
    watches: WATCHES,
    blind_spot: "a driver whom nobody misses, since others are free; the first `settle_bound` and a \
                 position's life after a job, or after a fault; histories whose location updates are \
                 counted",
    rare: true,
    start: |declares, tally| Box::new(DriverFreed::new(declares, tally)),
};

/// Of each driver that was told of, the op that had ended its job.
type ToldOf = BTreeMap<RobotId, u64>;

struct DriverFreed {
    waits: Waits,
    told: ToldOf,
    tally: Tally,
}

impl DriverFreed {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self { waits: Waits::new(declares, &tally), told: ToldOf::new(), tally }
    }
}

fn tell(one: &Unserved, told: &mut ToldOf, tally: &mut Tally) {
    let Some(ended) = &one.ended else { return };
    if told.insert(one.driver, ended.op) == Some(ended.op) {
        return;
    }
    tally.opportunities += 1;
    let what = format!(
        "{}, and was free from {} on; {}, in its reach, and nobody was shown it until {}: {} was \
         shown nothing since its job ended",
        ended.tell(),
        one.free_since,
        one.request.tell(),
        one.until,
        one.driver
    );
    tally.breach(what, one.request.job.as_ref(), &[ended, &one.request]);
}

impl Law for DriverFreed {
    fn see(&mut self, seen: Seen<'_>) {
        self.waits.see(seen);
        while let Some(one) = self.waits.ripe() {
            tell(&one, &mut self.told, &mut self.tally);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let (mut tally, mut told) = (self.tally.clone(), self.told.clone());
        tally.opportunities += self.waits.offered_again();
        for one in self.waits.standing(complete) {
            tell(one, &mut told, &mut tally);
        }
        tally.observed = tally.opportunities;
        tally.judge("no driver whose job had ended was shown another")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::OfferView,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d},
            waiting_is_served::tests::idle,
        },
    };

    const LAW: &str = "driver-freed";

    /// The passenger of its job gave up, and driver 1 saw so at 20.1 s.
    fn freed() -> Tale {
        let mut tale = idle();
        tale.accept(d(1), (10.0, 10.1), "J0", 1);
        tale.op(d(1), OpKind::DriverCurrentJob, (20.0, 20.1));
        tale
    }

    fn shown(tale: &mut Tale, job: &str, at: f64) {
        let offer = OfferView {
            id: "O1".into(),
            job: job.into(),
            pickup: Place::from_degrees(53.35, -6.26),
            dropoff: None,
            expires_in_ms: 1_000,
            fare_minor: None,
        };
        tale.ping(d(1), (at, at + 0.1), Place::from_degrees(53.35, -6.26), Some(offer));
    }

    #[test]
    fn who_is_shown_another_job_is_free() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = freed();
        shown(&mut tale, "J1", 101.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn who_is_never_shown_another_is_missed() {
        let judgement = freed().judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 read at 20.100 s (ok, op 44), and was free from 20.100 s on; \
             passenger/00001 requested job J1 at 100.100 s (ok, op 42), in its reach, and nobody was \
             shown it until 120.100 s: driver/00001 was shown nothing since its job ended"
        );
    }

    #[test]
    fn who_was_shown_something_or_never_worked_is_not_meant() {
        assert_eq!(idle().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = freed();
        shown(&mut tale, "J5", 50.0);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn an_accept_of_unknown_outcome_may_be_what_it_is_busy_with() {
        let mut tale = idle();
        tale.accept(d(1), (10.0, 10.1), "J0", 1).info();
        tale.op(d(1), OpKind::DriverCurrentJob, (20.0, 20.1));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut late = freed();
        late.op(d(1), OpKind::DriverGoOffline, (110.0, 150.0)).info();
        assert_eq!(late.judge(LAW).verdict, Verdict::Unknown);
    }
}
