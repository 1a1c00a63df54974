//! waiting-is-served: nobody waits in vain beside an idle car.

use super::{
    Judgement, Law, LawEntry, Seen,
    tally::Tally,
    unserved::{Unserved, WATCHES, Waits, cannot},
};
use crate::history::{declares::Declares, op::OpKind};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "waiting-is-served",
    means: "a job is sought for, and nobody is shown it until the search (or `settle_bound`, if that is \
            shorter) is over, though a driver was certainly free and in reach all along",
    needs: &[
        &[OpKind::PassengerRequestJob],
        &[OpKind::DriverPing],
        &[OpKind::DriverGoOnline],
        &[OpKind::DriverAccept],
    ],
    cannot,
    watches: WATCHES,
    blind_spot: "waits within `settle_bound` and a position's life of a fault; jobs that were given up \
                 early, or given back; histories whose location updates are counted",
    rare: true,
    start: |declares, tally| Box::new(WaitingIsServed::new(declares, tally)),
};

struct WaitingIsServed {
    waits: Waits,
    /// The request that was told of last: one idle driver is enough.
    last: Option<u64>,
    tally: Tally,
}

impl WaitingIsServed {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self { waits: Waits::new(declares, &tally), last: None, tally }
    }
}

fn tell(one: &Unserved, last: &mut Option<u64>, tally: &mut Tally) {
    if last.replace(one.request.op) == Some(one.request.op) {
        return;
    }
    tally.opportunities += 1;
    let what = format!(
        "{}; nobody was shown it until {}, though {} was free since {} and in its reach all along",
        one.request.tell(),
        one.until,
        one.driver,
        one.free_since
    );
    tally.breach(what, one.request.job.as_ref(), &[&one.request]);
}

impl Law for WaitingIsServed {
    fn see(&mut self, seen: Seen<'_>) {
        self.waits.see(seen);
        while let Some(one) = self.waits.ripe() {
            tell(&one, &mut self.last, &mut self.tally);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let (mut tally, mut last) = (self.tally.clone(), self.last);
        tally.opportunities += self.waits.served;
        for one in self.waits.standing(complete) {
            tell(one, &mut last, &mut tally);
        }
        tally.observed = tally.opportunities;
        tally.judge("no job was sought for, in calm weather, beside a driver who was idle for long")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::{
            answer::OfferView,
            op::Outcome,
            record::{FaultChange, Phase},
        },
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, p},
        },
    };

    const LAW: &str = "waiting-is-served";

    /// Driver 1 is on shift from 1.1 s and sends positions until 200 s; passenger 1 asks for a job at
    /// its place at 100 s.
    pub fn idle() -> Tale {
        let mut tale = Tale::default();
        let here = Place::from_degrees(53.35, -6.26);
        tale.op(d(1), OpKind::DriverGoOnline, (1.0, 1.1));
        for beat in 0..40 {
            let at = 2.0 + 5.0 * f64::from(beat);
            tale.ping(d(1), (at, at + 0.1), here, None);
        }
        tale.request(p(1), (100.0, 100.1), "K1", "J1").ask.at = Some(here);
        tale
    }

    /// Somebody is shown the job.
    fn shown(tale: &mut Tale, driver: u32, at: f64) {
        let offer = OfferView {
            id: "O1".into(),
            job: "J1".into(),
            pickup: Place::default(),
            dropoff: None,
            expires_in_ms: 1_000,
            fare_minor: None,
        };
        tale.ping(d(driver), (at, at + 0.1), Place::default(), Some(offer));
    }

    #[test]
    fn a_job_that_is_shown_to_anybody_is_served() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = idle();
        shown(&mut tale, 2, 105.0);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 1));
    }

    #[test]
    fn a_job_that_nobody_is_shown_is_caught() {
        let judgement = idle().judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 requested job J1 at 100.100 s (ok, op 42); nobody was shown it until \
             120.100 s, though driver/00001 was free since 1.100 s and in its reach all along"
        );
    }

    #[test]
    fn faults_doubts_and_early_ends_explain_it() {
        let mut fault = idle();
        fault.fault(FaultChange::Injected, 40.0);
        fault.fault(FaultChange::Healed, 60.0);
        assert_eq!(fault.judge(LAW).verdict, Verdict::Unknown, "it may not have recovered");
        let mut gave_up = idle();
        gave_up.cancel(p(1), (110.0, 130.0), "J1").info();
        assert_eq!(gave_up.judge(LAW).verdict, Verdict::Unknown);
        let mut busy = idle();
        busy.accept(d(1), (110.0, 140.0), "J9", 1).info();
        assert_eq!(busy.judge(LAW).verdict, Verdict::Unknown);
        let mut left = idle();
        left.op(d(3), OpKind::DriverGoOffline, (90.0, 91.0)).info();
        assert_eq!(left.judge(LAW).verdict, Verdict::Unknown, "it may have been shown to nobody");
        let mut deaf = idle();
        deaf.ping(d(3), (110.0, 112.0), Place::default(), None).outcome = Outcome::Info;
        assert_eq!(deaf.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_driver_who_is_silent_or_far_away_is_not_idle_here() {
        let mut far = Tale::default();
        far.op(d(1), OpKind::DriverGoOnline, (1.0, 1.1));
        for beat in 0..40 {
            let at = 2.0 + 5.0 * f64::from(beat);
            far.ping(d(1), (at, at + 0.1), Place::from_degrees(53.45, -6.26), None);
        }
        let here = Place::from_degrees(53.35, -6.26);
        far.request(p(1), (100.0, 100.1), "K1", "J1").ask.at = Some(here);
        assert_eq!(far.judge(LAW).verdict, Verdict::Unknown);
        let mut silent = Tale::default();
        silent.op(d(1), OpKind::DriverGoOnline, (1.0, 1.1));
        silent.ping(d(1), (95.0, 95.1), here, None);
        silent.request(p(1), (100.0, 100.1), "K1", "J1").ask.at = Some(here);
        silent.phase(Phase::Drain, 150.0);
        silent.ping(d(1), (150.0, 150.1), here, None);
        assert_eq!(silent.judge(LAW).verdict, Verdict::Unknown);
    }
}
