//! nothing-acknowledged-is-lost: what a robot was told has happened is still there at the end.

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    graph::Graph,
    readback::{ReadBack, SumsByJob},
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::{JobState, JobView, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "nothing-acknowledged-is-lost",
    means: "the read-back shows neither an acknowledged write nor a state reachable after it, or a \
            passenger is told that its acknowledged job does not exist",
    needs: &[
        &[OpKind::PassengerRequestJob],
        &[OpKind::AuditJobs, OpKind::AuditJob, OpKind::PassengerJobStatus],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerRequestJob,
        OpKind::DriverAccept,
        OpKind::DriverArrive,
        OpKind::DriverPickUp,
        OpKind::DriverDropOff,
        OpKind::DriverCancel,
        OpKind::DriverNoShow,
        OpKind::PassengerCancel,
        OpKind::PassengerPay,
        OpKind::PassengerJobStatus,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "positions, ratings and profiles; a write that was lost and made again before the \
                 read-back; jobs of which nothing was heard for the horizon before it",
    rare: false,
    start: |declares, tally| Box::new(NothingLost::new(declares, tally)),
};

/// What an acknowledged write promises.
enum Promise {
    /// The job exists.
    Exists,
    /// This driver has that assignment.
    Assigned,
    /// The job has come to that state, in that assignment.
    Moved(JobState),
    /// The driver is rid of that assignment.
    Released,
    /// A charge was taken.
    Charged(Option<Id>),
}

struct Ack {
    fact: Fact,
    promise: Promise,
}

/// What was promised about one job.
#[derive(Default)]
struct Promised {
    /// Who asked for it, and the op.
    owner: Option<(RobotId, Fact)>,
    acks: Vec<Ack>,
}

/// How one promise was found at rest.
enum Found {
    Kept,
    /// Nobody read what would tell.
    NotRead,
    Lost(String),
}

/// What there is to compare promises with.
struct AtRest<'a> {
    read_back: &'a ReadBack,
    charges: SumsByJob<'a>,
    /// This target names assignments in its read-back, so that none means none.
    lists: bool,
}

struct NothingLost {
    graph: Graph,
    has_audit: bool,
    read_delay: std::time::Duration,
    accounts: Accounts,
    jobs: Shelf<Promised>,
    polls: u64,
    seen_until: Time,
    /// Breaches during the run.
    tally: Tally,
}

impl NothingLost {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            graph: Graph::new(&declares.transitions),
            has_audit: [OpKind::AuditJobs, OpKind::AuditJob]
                .iter()
                .any(|op| declares.asked().has(*op)),
            read_delay: declares.read_delay.0,
            accounts: tally.accounts(),
            jobs: tally.shelf(),
            polls: 0,
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.tally.forgotten += self.jobs.forget(self.seen_until);
        if op.kind() == OpKind::PassengerJobStatus {
            self.poll(op);
        } else if let Some(promise) = promise_of(op)
            && let Some(job) = job_of(op)
        {
            self.tally.observed += 1;
            let fact = Fact::of(op).numbered(self.number(op));
            let promised = self.jobs.at(job, self.seen_until);
            if matches!(promise, Promise::Exists) {
                promised.owner.get_or_insert_with(|| (op.robot, Fact::of(op)));
            }
            promised.acks.push(Ack { fact, promise });
        }
    }

    /// The assignment that a write is about; an accept may be answered with another driver's.
    fn number(&self, op: &Op) -> u32 {
        let driver = op.answer.job.as_deref().and_then(|view| view.driver.as_ref());
        let others = driver.and_then(|driver| self.accounts.is(op.robot, driver)) == Some(false);
        if others && op.kind() == OpKind::DriverAccept { 0 } else { Fact::of(op).number }
    }

    /// A passenger looks at its job during the run.
    fn poll(&mut self, op: &Op) {
        let Some(job) = op.ask.job.as_ref() else { return };
        let promised = self.jobs.get(job, self.seen_until);
        let Some((owner, request)) = promised.and_then(|promised| promised.owner.as_ref()) else {
            return;
        };
        if *owner != op.robot || !request.before(op.sent.saturating_sub(self.read_delay)) {
            return;
        }
        self.polls += u64::from(op.outcome != Outcome::Info);
        if op.outcome == Outcome::Fail && op.answer.refusal == Some(Refusal::NotFound) {
            let poll = Fact::of(op);
            let what = format!("{}; {}: there is no such job", request.tell(), poll.tell());
            self.tally.breach(what, op.ask.job.as_ref(), &[request, &poll]);
        }
    }

    fn check(&self, at_rest: &AtRest<'_>, job: &Id, ack: &Ack) -> Found {
        if let Promise::Charged(charge) = &ack.promise {
            return self.check_charge(at_rest, job, ack, charge.as_ref());
        }
        let rest = at_rest.read_back;
        let Some((view, read)) = rest.job(job) else {
            let listing = &rest.jobs;
            let asked = rest.missing.get(job);
            if asked.is_some_and(|asked| ack.fact.done + self.read_delay < asked.sent) {
                return Found::Lost("asked for by name, there is no such job".to_owned());
            }
            return if listing.covers(ack.fact.done + self.read_delay) {
                Found::Lost(format!("the whole list has {} jobs, not this", listing.by_id.len()))
            } else {
                Found::NotRead
            };
        };
        if read.sent <= ack.fact.done + self.read_delay {
            // Written while it was read: not at rest.
            return Found::NotRead;
        }
        if !ack.fact.before(read.sent) {
            // Written while, or after, the list was read.
            return Found::NotRead;
        }
        match &ack.promise {
            Promise::Exists | Promise::Charged(_) => Found::Kept,
            Promise::Assigned => self.check_assigned(ack, view, at_rest.lists),
            Promise::Moved(state) => self.check_moved(*state, ack.fact.number, view),
            Promise::Released => check_released(ack.fact.number, view),
        }
    }

    fn check_assigned(&self, ack: &Ack, view: &JobView, lists: bool) -> Found {
        let number = ack.fact.number;
        let Some(account) = self.accounts.of(ack.fact.robot).filter(|_| lists) else {
            return Found::NotRead;
        };
        let kept = view
            .assignments
            .iter()
            .any(|one| (number == 0 || one.number == number) && one.driver == account);
        if kept {
            return Found::Kept;
        }
        let listed: Vec<_> = view
            .assignments
            .iter()
            .map(|one| format!("assignment {} of {}", one.number, one.driver))
            .collect();
        let listed = if listed.is_empty() { "no assignment".to_owned() } else { listed.join(", ") };
        Found::Lost(format!("it has {listed}, and not assignment {number} of {account}"))
    }

    fn check_moved(&self, state: JobState, number: u32, view: &JobView) -> Found {
        let newest = view.assignment;
        let known = number != 0 && newest != 0;
        let same = known && newest == number;
        let stays = view.state.is_held() || view.state == JobState::Completed;
        let lost = !self.graph.reaches(state, view.state)
            || same && stays && !self.graph.reaches_held(state, view.state)
            || known && newest > number && !self.graph.releases(state)
            || known && newest < number;
        if !lost {
            return Found::Kept;
        }
        let (to, word) = (view.state.word(), state.word());
        Found::Lost(format!("it is {to} in assignment {newest}, which cannot follow {word}"))
    }

    fn check_charge(
        &self,
        at_rest: &AtRest<'_>,
        job: &Id,
        ack: &Ack,
        charge: Option<&Id>,
    ) -> Found {
        let rest = at_rest.read_back;
        let charges = &rest.charges;
        let completed = rest.job(job).is_some_and(|(view, _)| view.state == JobState::Completed);
        match charge {
            Some(charge) if charges.by_id.contains_key(charge) => Found::Kept,
            None if at_rest.charges.contains_key(job) => Found::Kept,
            // Acknowledged without a charge: only of a completed job do we know that one is due.
            None if !completed => Found::NotRead,
            _ if !charges.covers(ack.fact.done + self.read_delay) => Found::NotRead,
            Some(charge) => Found::Lost(format!("the whole list of charges lacks {charge}")),
            None => Found::Lost("the whole list of charges has none for it".to_owned()),
        }
    }
}

/// What an op promises when it was acknowledged.
fn promise_of(op: &Op) -> Option<Promise> {
    if op.outcome != Outcome::Ok {
        return None;
    }
    let told = op.answer.job.as_deref().map(|view| view.state);
    Some(match op.kind() {
        OpKind::PassengerRequestJob => Promise::Exists,
        OpKind::DriverAccept => Promise::Assigned,
        OpKind::DriverArrive => Promise::Moved(JobState::Arrived),
        OpKind::DriverPickUp => Promise::Moved(JobState::PickedUp),
        OpKind::DriverDropOff => Promise::Moved(JobState::Completed),
        OpKind::DriverCancel | OpKind::DriverNoShow => Promise::Released,
        // A cancel of a job that is over already may be answered with the job as it is.
        OpKind::PassengerCancel => {
            let over = told.filter(|state| state.is_terminal());
            Promise::Moved(over.unwrap_or(JobState::Cancelled))
        }
        OpKind::PassengerPay => {
            Promise::Charged(op.answer.charges.first().map(|charge| charge.id.clone()))
        }
        _ => return None,
    })
}

fn check_released(number: u32, view: &JobView) -> Found {
    if number == 0 || view.assignment == 0 {
        return Found::NotRead;
    }
    let stays = view.state.is_held() || view.state == JobState::Completed;
    if view.assignment == number && stays {
        return Found::Lost(format!("it is {} in that assignment", view.state.word()));
    }
    Found::Kept
}

impl Law for NothingLost {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        let listed = &rest.jobs;
        let at_rest = AtRest {
            read_back: &rest,
            charges: rest.charges_by_job(),
            lists: listed.by_id.values().any(|(view, _)| !view.assignments.is_empty()),
        };
        // Before the read-back there is nothing to compare with.
        let missing = &rest.missing;
        let begun = listed.is_whole() || !listed.by_id.is_empty() || !missing.is_empty();
        for (job, ack) in self
            .jobs
            .iter()
            .filter(|_| begun)
            .flat_map(|(job, all)| all.acks.iter().map(move |ack| (job, ack)))
        {
            match self.check(&at_rest, job, ack) {
                Found::NotRead => {}
                Found::Kept => tally.opportunities += 1,
                Found::Lost(how) => {
                    tally.opportunities += 1;
                    let read = rest.job(job).map(|(_, fact)| fact);
                    let read = read.or_else(|| missing.get(job));
                    let when = read.map_or(String::new(), |fact| format!("{}: ", fact.tell()));
                    let what = format!("{}; at rest it is lost: {when}{how}", ack.fact.tell());
                    let proof: Vec<_> = std::iter::once(&ack.fact).chain(read).collect();
                    tally.breach(what, Some(job), &proof);
                }
            }
        }
        let unread = "no acknowledged write was read back";
        if self.has_audit {
            let all = rest.has_read(self.jobs.keys());
            return tally.judge_at_rest(complete && all, unread);
        }
        tally.opportunities = self.polls;
        tally.judge(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::answer::{Assignment, ChargeView},
        law::{
            Verdict,
            testkit::{AUDITOR, Tale, Tweak, account, charge, d, good_end, good_journey, p, view},
        },
    };
    use JobState::{Accepted, Arrived, Cancelled, Completed, Expired, Offered};

    const LAW: &str = "nothing-acknowledged-is-lost";

    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale
    }

    /// A good journey that is read back like this (beside another job, that lists assignments).
    fn read_as(job: Option<JobView>, charges: Vec<ChargeView>) -> Judgement {
        let mut tale = tale();
        good_journey(&mut tale, 10.0, "J1");
        let other = view("J0", Completed, 1, Some(d(2)));
        tale.read_back(100.0, job.into_iter().chain([other]).collect(), charges);
        tale.judge(LAW)
    }

    fn lost(judgement: &Judgement) -> Vec<&str> {
        judgement.violations.iter().map(|v| v.what.as_str()).collect()
    }

    #[test]
    fn a_journey_that_is_all_there_is_right() {
        let judgement = read_as(Some(good_end("J1").0), vec![good_end("J1").1]);
        // Request, accept, arrive, pick up, drop off, pay.
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 6));
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_lost_job_move_accept_and_charge_are_caught() {
        let gone = read_as(None, vec![good_end("J1").1]);
        assert_eq!((gone.verdict, gone.violations_total), (Verdict::Broken, 5));
        let back = read_as(Some(view("J1", Arrived, 1, Some(d(1)))), vec![good_end("J1").1]);
        assert_eq!(back.violations_total, 2, "{:#?}", lost(&back));
        assert!(lost(&back)[0].contains("it is arrived in assignment 1, which cannot follow"));
        let other = read_as(Some(view("J1", Completed, 1, Some(d(2)))), vec![good_end("J1").1]);
        assert_eq!(other.violations_total, 1, "{:#?}", lost(&other));
        assert!(lost(&other)[0].contains("and not assignment 1 of account of driver/00001"));
        let unpaid = read_as(Some(good_end("J1").0), Vec::new());
        assert_eq!(unpaid.violations_total, 1);
        assert!(lost(&unpaid)[0].contains("the whole list of charges lacks charge of J1"));
        let forgotten = read_as(Some(view("J1", Expired, 0, None)), vec![good_end("J1").1]);
        assert!(lost(&forgotten)[0].contains("it has no assignment"), "{:#?}", lost(&forgotten));
    }

    #[test]
    fn what_others_did_later_is_no_loss() {
        let mut tale = tale();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.accept(d(1), (12.0, 12.1), "J1", 1);
        tale.moves(d(1), OpKind::DriverArrive, (13.0, 13.1), "J1", 1);
        tale.moves(d(1), OpKind::DriverCancel, (14.0, 14.1), "J1", 1);
        tale.accept(d(2), (15.0, 15.1), "J1", 2);
        tale.cancel(p(1), (16.0, 16.1), "J1");
        let mut end = view("J1", Cancelled, 2, Some(d(2)));
        let first = Assignment { number: 1, driver: account(d(1)), released: true };
        end.assignments.insert(0, first);
        tale.read_back(100.0, vec![end.clone()], Vec::new());
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 6));
        // The passenger's cancel undone, and the first driver back at the wheel on his way: what he
        // had given back, and that he had arrived, are lost as well.
        end.state = Accepted;
        end.assignment = 1;
        tale.read_back(101.0, vec![end], Vec::new());
        assert_eq!(tale.judge(LAW).violations_total, 3);
    }

    #[test]
    fn a_passenger_told_that_its_job_does_not_exist() {
        let mut tale = tale();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        let ask = |tale: &mut Tale, who, at| {
            let op = tale.op(who, OpKind::PassengerJobStatus, at).refused(Refusal::NotFound);
            op.ask.job = Some("J1".into());
        };
        // Another passenger, and a question that was under way with the request: both may not know.
        ask(&mut tale, p(2), (11.0, 11.1));
        ask(&mut tale, p(1), (10.05, 11.1));
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        ask(&mut tale, p(1), (12.0, 12.1));
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        assert!(lost(&judgement)[0].ends_with("(refused, op 7): there is no such job"));
    }

    #[test]
    fn unknown_writes_and_lists_cut_short_prove_nothing() {
        let mut tale = tale();
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        tale.accept(d(1), (12.0, 14.0), "J1", 1).info();
        tale.moves(d(1), OpKind::DriverArrive, (15.0, 16.0), "J1", 1).info();
        tale.read_back(100.0, vec![view("J1", Offered, 0, None)], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        let mut late = Tale::default();
        late.read_back(10.0, Vec::new(), Vec::new());
        late.request(p(1), (10.0, 10.3), "K1", "J1");
        assert_eq!(late.judge(LAW).verdict, Verdict::Unknown);
        let mut busy = self::tale();
        good_journey(&mut busy, 10.0, "J1");
        let page = busy.op(crate::law::testkit::AUDITOR, OpKind::AuditJobs, (15.5, 15.6));
        page.answer.jobs = vec![view("J1", JobState::PickedUp, 1, Some(d(1)))];
        busy.phase(crate::history::record::Phase::ReadBack, 9.0);
        assert_eq!(busy.judge(LAW).verdict, Verdict::Pass, "the drop-off came after the reading");
        // A target that never lists assignments cannot be said to have lost one.
        let mut plain = self::tale();
        good_journey(&mut plain, 10.0, "J1");
        let mut end = view("J1", Completed, 0, None);
        end.assignments.clear();
        plain.read_back(100.0, vec![end], vec![charge("charge of J1", "J1", 1)]);
        assert_eq!(plain.judge(LAW).verdict, Verdict::Pass);
        assert_eq!(plain.judge(LAW).opportunities, 5);
    }

    #[test]
    fn a_job_that_is_asked_for_by_name_and_does_not_exist_is_lost() {
        for why in [Refusal::NotFound, Refusal::Limited] {
            let mut tale = tale();
            tale.declares.ops.retain(|op| *op != OpKind::AuditJobs);
            tale.request(p(1), (10.0, 10.1), "K1", "J1");
            tale.phase(crate::history::record::Phase::ReadBack, 100.0);
            let audit = tale.op(AUDITOR, OpKind::AuditJob, (100.1, 100.2));
            audit.ask.job = Some("J1".into());
            audit.refused(why);
            let broken = why == Refusal::NotFound;
            let verdict = if broken { Verdict::Broken } else { Verdict::Unknown };
            assert_eq!(tale.judge(LAW).verdict, verdict);
        }
    }
}
