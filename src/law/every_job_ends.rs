//! every-job-ends: no passenger waits for ever for a backend that has forgotten the job.

use std::time::Duration;

use super::{
    Judgement, Law, LawEntry, Seen,
    calm::Calm,
    fact::{Fact, job_of},
    roll::Roll,
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{id::RobotId, time::Time},
    history::{
        answer::JobState,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "every-job-ends",
    means: "a job is read back as requested or offered though its search was over, no fault was in \
            force, and the bound has passed",
    needs: &[&[OpKind::PassengerRequestJob], &[OpKind::AuditJobs, OpKind::AuditJob]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerRequestJob,
        OpKind::DriverAccept,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::DriverCurrentJob,
        OpKind::DriverGoOffline,
        OpKind::PassengerCancel,
        OpKind::PassengerJobStatus,
        OpKind::PassengerCurrentJob,
        OpKind::CleanupRobot,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "jobs asked for (or given back) so late that their search was not over at the \
                 read-back; jobs that a driver still holds: that is the robot's move; jobs that \
                 ended longer than the horizon before it",
    rare: false,
    start: |declares, tally| Box::new(EveryJobEnds::new(declares, tally)),
};

/// Jobs that nobody saw end are remembered for longer than the horizon, as long as there are no more.
const OPEN_MAX: usize = 20_000;

/// What is known of one acknowledged job.
#[derive(Default)]
struct Pending {
    request: Option<Fact>,
    /// Somebody saw it end.
    ended: bool,
    /// The last moment at which its search may have begun (again).
    since: Time,
    /// An op of unknown outcome may have sent it back at any moment.
    vague: bool,
    takers: Vec<RobotId>,
}

struct EveryJobEnds {
    /// From the begin of a search to the end of its job, when the backend is well.
    due: Duration,
    bound: Duration,
    releases_alone: bool,
    /// Jobs are given to drivers without their asking: nobody knows who had which.
    born_taken: bool,
    jobs: Shelf<Pending>,
    /// When a driver last left, and whether that is certain.
    left: Roll<(Time, bool)>,
    calm: Calm,
    seen_until: Time,
    /// What was said of jobs that are forgotten.
    tally: Tally,
}

impl EveryJobEnds {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            due: declares.search_ttl.0 + declares.offer_ttl.0,
            bound: declares.settle_bound.0 + declares.read_delay.0,
            releases_alone: declares.releases_alone,
            born_taken: !declares.asked().has(OpKind::DriverAccept),
            jobs: tally.shelf(),
            left: Roll::default(),
            calm: Calm::default(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        while let Some((id, job)) = self.jobs.expire(self.seen_until) {
            if !job.ended && self.jobs.len() < OPEN_MAX {
                *self.jobs.at(&id, self.seen_until) = job;
            } else {
                self.tally.forgotten += 1;
            }
        }
        if let Some(job) = job_of(op).filter(|_| op.outcome == Outcome::Ok) {
            let view = op.answer.job.as_deref();
            let over = op.kind() == OpKind::DriverDropOff
                || view.is_some_and(|view| view.state.is_terminal());
            if let Some(job) = self.jobs.get(job, self.seen_until).filter(|_| over) {
                job.ended = true;
            }
        }
        if op.outcome == Outcome::Fail {
            return;
        }
        let vague = op.outcome == Outcome::Info;
        match op.kind() {
            OpKind::PassengerRequestJob => self.request(op),
            OpKind::DriverGoOffline | OpKind::CleanupRobot => {
                let left = self.left.at(op.robot);
                *left = (left.0.max(op.done), left.1 | vague);
            }
            OpKind::DriverAccept => {
                let alone = self.releases_alone;
                if let Some(job) = self.job(op) {
                    job.takers.push(op.robot);
                    job.since = job.since.max(op.done);
                    job.vague |= alone;
                }
            }
            OpKind::DriverCancel | OpKind::DriverNoShow => {
                if let Some(job) = self.job(op) {
                    job.since = job.since.max(op.done);
                    job.vague |= vague;
                }
            }
            _ => {
                if let Some(view) = op.answer.job.as_deref().filter(|view| view.state.is_held())
                    && let Some(job) = self.jobs.get(&view.id, self.seen_until)
                {
                    job.since = job.since.max(op.done);
                }
            }
        }
    }

    fn request(&mut self, op: &Op) {
        let first = op.outcome == Outcome::Ok && !op.answer.replayed && op.ask.again.is_none();
        if let Some(id) = job_of(op).filter(|_| first) {
            let job = self.jobs.at(id, self.seen_until);
            if job.request.is_none() {
                job.request = Some(Fact::of(op));
                job.since = op.done;
                job.vague = self.born_taken && self.releases_alone;
            }
        }
    }

    fn job(&mut self, op: &Op) -> Option<&mut Pending> {
        self.jobs.get(job_of(op)?, self.seen_until)
    }

    /// True when the job must have been over at `read`, whatever happened that nobody saw.
    fn overdue(&self, job: &Pending, read: Time) -> bool {
        let mut since = job.since;
        let mut vague = job.vague;
        let anybody = self.left.iter().filter(|_| self.born_taken).map(|(_, left)| left);
        let takers = job.takers.iter().filter_map(|robot| self.left.get(*robot));
        for (left, unknown) in anybody.chain(takers) {
            since = since.max(*left);
            vague |= unknown;
        }
        !vague && since + self.due + self.bound < read
    }
}

impl Law for EveryJobEnds {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.calm.see(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        tally.observed = self.jobs.len() as u64;
        let rest = self.tally.read_back();
        for (id, job) in self.jobs.iter() {
            let (Some(request), Some((view, read))) = (&job.request, rest.job(id)) else {
                continue;
            };
            if view.state.is_terminal() {
                tally.opportunities += 1;
            } else if matches!(view.state, JobState::Requested | JobState::Offered)
                && self.overdue(job, read.sent)
                && self.calm.for_at_least(self.bound, read.sent)
            {
                tally.opportunities += 1;
                let (asked, read_as, due) = (request.tell(), read.tell(), self.due);
                let what = format!(
                    "{asked}; {read_as}: its search can last {} s, and nothing began it again \
                     after {}",
                    due.as_secs_f64(),
                    job.since
                );
                tally.breach(what, Some(id), &[request, read]);
            }
        }
        tally.judge_at_rest(
            complete && rest.has_read(self.jobs.keys()),
            "no acknowledged job was read back at its end",
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
            testkit::{AUDITOR, Tale, Tweak, d, good_end, good_journey, p, view},
        },
    };

    const LAW: &str = "every-job-ends";

    /// A job asked for at 10 s and read back at 200 s, still looking for a driver.
    fn forgotten() -> Tale {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.read_back(200.0, vec![view("J1", JobState::Offered, 0, None)], Vec::new());
        tale
    }

    #[test]
    fn jobs_that_ended_are_right() {
        let mut tale = Tale::default();
        good_journey(&mut tale, 10.0, "J1");
        tale.read_back(100.0, vec![good_end("J1").0], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        tale.complete = false;
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_forgotten_job_is_caught() {
        let judgement = forgotten().judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 requested job J1 at 10.100 s (ok, op 1); auditor/00000 read back job \
             J1 as offered at 200.200 s (ok, op 2): its search can last 75 s, and nothing began \
             it again after 10.100 s"
        );
    }

    #[test]
    fn a_search_that_may_have_begun_again_is_waited_for() {
        let mut tale = forgotten();
        tale.accept(d(1), (20.0, 20.1), "J1", 1);
        tale.moves(d(1), OpKind::DriverCancel, (150.0, 150.1), "J1", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut tale = forgotten();
        tale.accept(d(1), (20.0, 20.1), "J1", 1);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.op(d(1), OpKind::DriverGoOffline, (30.0, 31.0)).info();
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_backend_that_was_broken_until_just_now_is_given_its_bound() {
        let mut tale = forgotten();
        tale.fault(FaultChange::Injected, 100.0);
        tale.fault(FaultChange::Healed, 150.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.fault(FaultChange::Injected, 160.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        tale.fault(FaultChange::Healed, 185.0);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_job_that_a_driver_keeps_is_not_the_backends_fault() {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        let kept = view("J1", JobState::Accepted, 1, Some(d(1)));
        tale.read_back(200.0, vec![kept], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut info = Tale::default();
        info.request(p(1), (10.0, 10.1), "K1", "J1").info();
        info.read_back(200.0, vec![view("J1", JobState::Offered, 0, None)], Vec::new());
        assert_eq!(info.judge(LAW).verdict, Verdict::Unknown);
    }

    /// The same jobs, read back by name where they cannot be listed.
    fn one_by_one(read: &[&str]) -> Tale {
        let mut tale = Tale::default();
        tale.declares.ops.retain(|op| *op != OpKind::AuditJobs);
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.request(p(2), (10.0, 10.1), "K2", "J2");
        tale.phase(crate::history::record::Phase::ReadBack, 200.0);
        for job in read {
            let ended = view(job, JobState::Expired, 0, None);
            let audit = tale.op(AUDITOR, OpKind::AuditJob, (200.1, 200.2));
            audit.ask.job = Some((*job).into());
            audit.answer.job = Some(std::rc::Rc::new(ended));
        }
        tale
    }

    #[test]
    fn jobs_that_cannot_be_listed_are_all_read_one_by_one_or_nothing_passes() {
        assert_eq!(one_by_one(&["J1", "J2"]).judge(LAW).verdict, Verdict::Pass);
        assert_eq!(one_by_one(&["J1"]).judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(one_by_one(&[]).judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn where_nobody_accepts_any_driver_who_left_may_have_had_it() {
        let mut tale = forgotten();
        tale.declares.automatic = vec![OpKind::DriverAccept];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Broken);
        tale.op(d(1), OpKind::DriverGoOffline, (150.0, 150.1));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
