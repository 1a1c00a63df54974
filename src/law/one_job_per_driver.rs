//! one-job-per-driver: nobody drives two passengers at once.

use std::collections::BTreeSet;

use super::{
    Judgement, Law, LawEntry, Seen,
    holds::{Certain, Holds, WATCHES},
    tally::Tally,
};
use crate::{
    base::id::{Id, RobotId},
    history::{declares::Declares, op::OpKind},
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "one-job-per-driver",
    means: "more than `jobs_per_driver` witnessed holds of one driver overlap certainly",
    needs: &[&[
        OpKind::DriverAccept,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::DriverCurrentJob,
    ]],
    cannot: |_| None,
    watches: WATCHES,
    blind_spot: "a hold that no later op or read confirmed; overlaps shorter than the answers took; \
                 a hold of a job of which nothing was heard for the horizon before the other began",
    rare: false,
    start: |declares, tally| Box::new(OneJobPerDriver::new(declares, tally)),
};

struct OneJobPerDriver {
    holds: Holds,
    jobs_per_driver: usize,
    /// What was said of jobs that are forgotten.
    tally: Tally,
}

impl OneJobPerDriver {
    fn new(declares: &Declares, tally: Tally) -> Self {
        let jobs_per_driver = declares.jobs_per_driver.max(1) as usize;
        Self { holds: Holds::new(declares, &tally), jobs_per_driver, tally }
    }

    /// The others that stood when `last` began, one for each other job.
    fn beside<'a>(last: &Certain<'_>, all: &'a [Certain<'a>]) -> Vec<&'a Certain<'a>> {
        let mut jobs = BTreeSet::from([&last.hold.job]);
        all.iter()
            .filter(|other| other.from <= last.from && last.from < other.until)
            // Of two that begin together only the one with the later accept counts the other.
            .filter(|other| other.from < last.from || other.hold.accept.op < last.hold.accept.op)
            .filter(|other| jobs.insert(&other.hold.job))
            .collect()
    }

    /// Looks at one driver; the holds that it told of, by their accepts.
    fn look(&self, driver: RobotId, complete: bool, tally: &mut Tally) -> Vec<(Id, u64)> {
        let all = self.holds.certain_of_driver(driver, complete);
        let mut told = Vec::new();
        for last in all.iter().filter(|last| !last.hold.told) {
            let beside = Self::beside(last, &all);
            if beside.len() >= self.jobs_per_driver {
                tell(tally, last, &beside);
                told.push((last.hold.job.clone(), last.hold.accept.op));
            }
        }
        told
    }

    /// Before a job is forgotten its drivers are looked at.
    fn forget(&mut self) {
        while let Some(job) = self.holds.due() {
            let mut tally = self.tally.clone();
            for driver in self.holds.drivers(&job) {
                for (job, accept) in self.look(driver, false, &mut tally) {
                    self.holds.tell(&job, accept);
                }
            }
            count(&self.holds, &job, false, &mut tally);
            self.tally = tally;
            self.holds.forget();
        }
    }
}

/// Counts the holds of one job.
pub fn count(holds: &Holds, job: &Id, complete: bool, tally: &mut Tally) {
    tally.observed += holds.of_job(job).len() as u64;
    tally.opportunities += holds.certain_of_job(job, complete).len() as u64;
}

impl Law for OneJobPerDriver {
    fn see(&mut self, seen: Seen<'_>) {
        self.holds.see(seen);
        self.forget();
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for (job, _) in self.holds.by_job() {
            count(&self.holds, job, complete, &mut tally);
        }
        for driver in self.holds.all_drivers() {
            self.look(driver, complete, &mut tally);
        }
        tally.judge("no driver certainly held a job")
    }
}

fn tell(tally: &mut Tally, last: &Certain<'_>, beside: &[&Certain<'_>]) {
    let mut words = Vec::new();
    let mut proof = Vec::new();
    for one in beside.iter().copied().chain([last]) {
        words.push(format!("{}: {}", one.hold.tell_begin(), one.tell_end()));
        proof.extend([Some(&one.hold.accept), one.hold.witness.as_ref(), one.ender]);
    }
    let jobs = beside.len() + 1;
    let what = format!("{}; {jobs} live jobs at once from {}", words.join("; "), last.from);
    let proof: Vec<_> = proof.into_iter().flatten().collect();
    tally.breach(what, Some(&last.hold.job), &proof);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, good_journey, p, view},
        },
    };

    const LAW: &str = "one-job-per-driver";

    fn held(tale: &mut Tale, job: &str, accepted: f64, read: f64) {
        tale.accept(d(1), (accepted, accepted + 0.2), job, 1);
        let job = view(job, JobState::Accepted, 1, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (read, read + 0.1), job);
    }

    /// Jobs of a target whose jobs are born with their drivers, as passengers saw them.
    fn sighted(reads: &[(&str, f64, JobState)]) -> Tale {
        let mut tale = Tale::default();
        tale.declares.automatic = vec![OpKind::DriverAccept];
        tale.declares.reassigns = false;
        tale.robots(&[d(1), p(1)]);
        for (job, at, state) in reads {
            let seen = view(job, *state, 0, Some(d(1)));
            tale.read(p(1), OpKind::PassengerJobStatus, (*at, at + 0.1), seen);
        }
        tale
    }

    #[test]
    fn where_nobody_accepts_reads_that_name_a_driver_tell_who_has_a_job() {
        use JobState::{Accepted, Completed, PickedUp};
        let seen = [("J1", 10.0, Accepted), ("J1", 14.0, PickedUp), ("J1", 20.0, Completed)];
        let one = sighted(&[seen[0], seen[1], seen[2], ("J2", 15.0, Accepted)]);
        assert_eq!(one.judge(LAW).verdict, Verdict::Pass, "J1 may be over by then");
        let two = [("J2", 12.0, Accepted), ("J2", 13.0, Accepted)];
        let mut both = sighted(&[seen[0], seen[1], seen[2], two[0], two[1]]);
        let judgement = both.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        let what = &judgement.violations[0].what;
        assert!(
            what.contains(
                "read job J2 as accepted at 12.100 s (ok, op 6) in the hands of driver/00001"
            ),
            "{what}"
        );
        both.declares.reassigns = true;
        assert_eq!(both.judge(LAW).verdict, Verdict::Unknown, "it may have gone and come back");
    }

    #[test]
    fn one_job_after_the_other_is_right() {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        good_journey(&mut tale, 10.0, "J1");
        good_journey(&mut tale, 20.0, "J2");
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 2));
    }

    #[test]
    fn two_jobs_at_once_are_told_in_words() {
        let mut tale = Tale::default();
        held(&mut tale, "J7", 31.0, 32.0);
        held(&mut tale, "J9", 33.0, 34.0);
        tale.moves(d(1), OpKind::DriverDropOff, (58.1, 58.2), "J7", 1);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 accepted job J7 at 31.200 s (ok, op 1): nothing could end it before \
             58.100 s; driver/00001 accepted job J9 at 33.200 s (ok, op 3): nothing ever ended \
             it; 2 live jobs at once from 33.200 s"
        );
        assert_eq!(judgement.violations[0].ops, ["1", "2", "5", "3", "4"]);
        tale.declares.jobs_per_driver = 2;
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn whatever_may_have_ended_the_first_excuses_the_second() {
        for kind in [OpKind::DriverCancel, OpKind::DriverNoShow, OpKind::DriverDropOff] {
            let mut tale = Tale::default();
            held(&mut tale, "J7", 31.0, 32.0);
            tale.moves(d(1), kind, (32.5, 40.0), "J7", 1).info();
            held(&mut tale, "J9", 33.0, 34.0);
            assert_ne!(tale.judge(LAW).verdict, Verdict::Broken, "{kind}");
        }
        let mut tale = Tale::default();
        held(&mut tale, "J7", 31.0, 32.0);
        // The passenger's cancel began before the accept was answered, and nobody knows its end.
        tale.cancel(p(1), (30.9, 36.0), "J7").info();
        held(&mut tale, "J9", 33.0, 34.0);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        // But a read that shows the job after the second accept takes the excuse away.
        held(&mut tale, "J7", 31.0, 34.5);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_hold_that_nobody_confirmed_proves_nothing() {
        let mut tale = Tale::default();
        held(&mut tale, "J7", 31.0, 32.0);
        tale.accept(d(1), (33.0, 33.2), "J9", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn while_the_run_goes_on_an_op_under_way_may_be_the_end() {
        let mut tale = Tale::default();
        tale.complete = false;
        held(&mut tale, "J7", 31.0, 32.0);
        held(&mut tale, "J9", 33.0, 34.0);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        held(&mut tale, "J9", 33.0, 100.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_the_backend_may_release_alone_is_certain_only_as_far_as_it_was_read() {
        let mut tale = Tale::default();
        tale.declares.releases_alone = true;
        held(&mut tale, "J7", 31.0, 32.0);
        held(&mut tale, "J9", 33.0, 34.0);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        held(&mut tale, "J7", 31.0, 35.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_journey_that_ends_by_itself_ends_when_nobody_looks() {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        held(&mut tale, "J7", 31.0, 32.0);
        held(&mut tale, "J9", 93.0, 94.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.declares.automatic = vec![OpKind::DriverDropOff];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        let late = view("J7", JobState::PickedUp, 1, Some(d(1)));
        tale.read(p(1), OpKind::PassengerJobStatus, (95.0, 95.1), late);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken, "a read says that it still stood");
    }
}
