//! one-driver-per-job: no two cars come for one passenger.

use super::{
    Judgement, Law, LawEntry, Seen,
    holds::{Certain, Hold, Holds, WATCHES},
    one_job_per_driver::count,
    tally::Tally,
};
use crate::{base::id::Id, history::op::OpKind};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "one-driver-per-job",
    means: "witnessed holds of one job by two drivers overlap certainly, or one numbered \
            assignment was acknowledged to two drivers, each by name",
    needs: &[&[
        OpKind::DriverAccept,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::DriverCurrentJob,
    ]],
    cannot: |_| None,
    watches: WATCHES,
    blind_spot: "a second accept whose answer was lost and that no later op or read confirmed",
    rare: false,
    start: |declares, tally| {
        Box::new(OneDriverPerJob { holds: Holds::new(declares, &tally), tally })
    },
};

struct OneDriverPerJob {
    holds: Holds,
    /// What was said of jobs that are forgotten.
    tally: Tally,
}

impl OneDriverPerJob {
    fn look(&self, job: &Id, complete: bool, tally: &mut Tally) {
        count(&self.holds, job, complete, tally);
        let holds = self.holds.of_job(job);
        for (at, second) in holds.iter().enumerate() {
            if let Some(first) = holds[..at].iter().find(|first| same_number(first, second)) {
                tell_number(tally, first, second);
            }
        }
        let certain = self.holds.certain_of_job(job, complete);
        for (at, second) in certain.iter().enumerate() {
            if let Some(first) = certain[..at].iter().find(|first| overlap(first, second)) {
                tell(tally, first, second);
            }
        }
    }
}

impl Law for OneDriverPerJob {
    fn see(&mut self, seen: Seen<'_>) {
        self.holds.see(seen);
        while let Some(job) = self.holds.due() {
            let mut tally = self.tally.clone();
            self.look(&job, false, &mut tally);
            self.tally = tally;
            self.holds.forget();
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for (job, _) in self.holds.by_job() {
            self.look(job, complete, &mut tally);
        }
        tally.judge("no driver certainly held a job")
    }
}

fn same_number(one: &Hold, other: &Hold) -> bool {
    let told = one.named && other.named && one.number != 0;
    told && one.driver != other.driver && one.number == other.number
}

fn overlap(one: &Certain<'_>, other: &Certain<'_>) -> bool {
    one.hold.driver != other.hold.driver
        && one.from.max(other.from) < one.until.min(other.until)
        // Told already, with less to explain.
        && !same_number(one.hold, other.hold)
}

fn tell_number(tally: &mut Tally, first: &Hold, second: &Hold) {
    let (one, other, number) = (first.tell_begin(), second.tell_begin(), second.number);
    let what = format!("{one}; {other}: both were told that assignment {number} is theirs");
    tally.breach(what, Some(&second.job), &[&first.accept, &second.accept]);
}

fn tell(tally: &mut Tally, first: &Certain<'_>, second: &Certain<'_>) {
    let what = format!(
        "{}: {}; {}: {}; two drivers at once from {}",
        first.hold.tell_begin(),
        first.tell_end(),
        second.hold.tell_begin(),
        second.tell_end(),
        first.from.max(second.from),
    );
    let proof: Vec<_> = [first, second]
        .into_iter()
        .flat_map(|one| [Some(&one.hold.accept), one.hold.witness.as_ref(), one.ender])
        .flatten()
        .collect();
    tally.breach(what, Some(&second.hold.job), &proof);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::id::RobotId,
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d, good_journey, p, view},
        },
    };

    const LAW: &str = "one-driver-per-job";

    fn held(tale: &mut Tale, driver: RobotId, number: u32, accepted: f64, read: f64) {
        tale.accept(driver, (accepted, accepted + 0.2), "J1", number);
        let job = view("J1", JobState::Accepted, number, Some(driver));
        tale.read(driver, OpKind::DriverCurrentJob, (read, read + 0.1), job);
    }

    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale
    }

    #[test]
    fn a_race_with_one_winner_is_right() {
        let mut tale = tale();
        good_journey(&mut tale, 10.0, "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn two_drivers_of_one_job_are_caught() {
        let mut tale = tale();
        held(&mut tale, d(1), 1, 10.0, 11.0);
        held(&mut tale, d(2), 2, 10.1, 11.0);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert!(judgement.violations[0].what.ends_with("two drivers at once from 10.300 s"));
    }

    #[test]
    fn one_assignment_told_to_two_is_caught_without_any_witness() {
        let mut tale = tale();
        tale.accept(d(1), (10.0, 10.2), "J1", 1);
        tale.accept(d(2), (10.1, 10.3), "J1", 1);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert!(judgement.violations[0].what.contains("both were told that assignment 1"));
    }

    #[test]
    fn a_job_given_back_goes_to_another_driver() {
        let mut tale = tale();
        held(&mut tale, d(1), 1, 10.0, 11.0);
        // Answered only long after it took effect.
        tale.moves(d(1), OpKind::DriverCancel, (12.0, 20.0), "J1", 1);
        held(&mut tale, d(2), 2, 13.0, 14.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn an_unknown_end_of_the_first_or_an_unknown_second_proves_nothing() {
        let mut first = tale();
        held(&mut first, d(1), 1, 10.0, 11.0);
        first.op(d(1), OpKind::DriverGoOffline, (12.0, 14.0)).info();
        held(&mut first, d(2), 2, 13.0, 14.0);
        assert_eq!(first.judge(LAW).verdict, Verdict::Pass);
        let mut second = tale();
        held(&mut second, d(1), 1, 10.0, 11.0);
        second.accept(d(2), (10.1, 12.0), "J1", 1).info();
        second.accept(d(1), (10.1, 12.0), "J1", 1);
        assert_eq!(second.judge(LAW).verdict, Verdict::Pass);
    }
}
