//! rejected-changes-nothing: who was told no, got nothing. A refusal behind which the thing was done
//! all the same is an answer that lies, and the robot that believes it asks once more.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    idempotent_requests::lives_since,
    readback::{ReadBack, jobs_by_key},
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::{JobView, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "rejected-changes-nothing",
    means: "the read-back has more jobs of one key than attempts with it that were not refused, or \
            an accept or a payment that was refused every time (and not as a conflict) took place",
    needs: &[
        &[OpKind::AuditJobs, OpKind::AuditJob],
        &[OpKind::PassengerRequestJob, OpKind::DriverAccept, OpKind::PassengerPay],
    ],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerRegister,
        OpKind::DriverPing,
        OpKind::DriverNextOffer,
        OpKind::DriverCurrentJob,
        OpKind::PassengerRequestJob,
        OpKind::DriverAccept,
        OpKind::PassengerPay,
        OpKind::AuditJob,
        OpKind::AuditJobs,
        OpKind::AuditCharges,
    ],
    blind_spot: "requests, where the read-back does not show the key by which a job was asked for; \
                 refused cancels and moves; a refusal that says that somebody was first; keys that were \
                 not used, and jobs of which nothing was heard, for the horizon",
    rare: true,
    start: |declares, tally| Box::new(RejectedChangesNothing::new(declares, tally)),
};

/// The attempts at one thing.
#[derive(Default)]
struct Tries {
    /// When the first of them was sent.
    since: Option<Time>,
    /// The last op of which an attempt was refused.
    refused: Option<Fact>,
    /// Attempts that were refused.
    refusals: usize,
    /// Attempts that took effect, or may have.
    others: usize,
}

impl Tries {
    fn count(&mut self, op: &Op) {
        // One more of something that nobody remembers may have been done long ago.
        let older = self.since.is_none() && op.ask.again.is_some();
        self.others += usize::from(older);
        self.since.get_or_insert(op.sent);
        let refused = op.attempts.iter().filter(|one| one.outcome == Outcome::Fail).count();
        self.refusals += refused;
        self.others += op.attempts.len() - refused;
        if refused > 0 {
            self.refused = Some(Fact::of(op));
        }
    }

    /// The last refusal, where nothing but refusals came back.
    fn always(&self) -> Option<&Fact> {
        self.refused.as_ref().filter(|_| self.others == 0)
    }
}

/// The attempts at one job.
#[derive(Default)]
struct AboutJob {
    accepts: BTreeMap<RobotId, Tries>,
    payments: Tries,
}

struct RejectedChangesNothing {
    /// Who has a job is asked for, and so are payments: what happens by itself is no effect of them.
    accepts_asked: bool,
    pays_asked: bool,
    requests: Shelf<Tries, (RobotId, Id)>,
    jobs: Shelf<AboutJob>,
    fresh: BTreeSet<RobotId>,
    accounts: Accounts,
    seen_until: Time,
    tally: Tally,
}

impl RejectedChangesNothing {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            accepts_asked: declares.asked().has(OpKind::DriverAccept),
            pays_asked: declares.asked().has(OpKind::PassengerPay),
            requests: Shelf::new(tally.horizon()),
            jobs: tally.shelf(),
            fresh: BTreeSet::new(),
            accounts: tally.accounts(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.forget();
        match op.kind() {
            OpKind::PassengerRegister if op.outcome == Outcome::Ok && !op.answer.replayed => {
                self.fresh.insert(op.robot);
            }
            OpKind::PassengerRequestJob => {
                if let Some(key) = &op.ask.key {
                    self.requests.at(&(op.robot, key.clone()), self.seen_until).count(op);
                }
            }
            OpKind::DriverAccept | OpKind::PassengerPay => self.about_job(op),
            _ => {}
        }
    }

    fn about_job(&mut self, op: &Op) {
        let Some(job) = job_of(op) else { return };
        let about = self.jobs.at(job, self.seen_until);
        let tries = if op.kind() == OpKind::DriverAccept {
            about.accepts.entry(op.robot).or_default()
        } else {
            &mut about.payments
        };
        tries.count(op);
        // "It is done already" is no lie when it is.
        tries.others += usize::from(op.answer.refusal == Some(Refusal::Conflict));
    }

    /// What was tried with a job is remembered as long as the job is.
    fn forget(&mut self) {
        self.tally.forgotten += self.requests.forget(self.seen_until);
        while let Some((job, about)) = self.jobs.expire(self.seen_until) {
            if self.tally.read_back().hears(&job) {
                *self.jobs.at(&job, self.seen_until) = about;
            } else {
                self.tally.forgotten += 1;
            }
        }
    }

    fn judge_requests(&self, rest: &ReadBack, tally: &mut Tally) {
        let by_key = jobs_by_key(rest);
        let shown = !by_key.is_empty() && rest.jobs.is_whole();
        for ((robot, key), tries) in self.requests.iter() {
            let (Some(refused), Some(since)) = (&tries.refused, tries.since) else { continue };
            let Some(account) = self.accounts.of(*robot) else { continue };
            tally.opportunities += u64::from(shown);
            let fresh = !rest.has_forgotten() && self.fresh.contains(robot);
            let new = |id: &Id| fresh || lives_since(rest, id, since);
            let made: Vec<_> = by_key
                .get(&(&account, key))
                .into_iter()
                .flatten()
                .filter(|(view, _)| new(&view.id))
                .collect();
            let [.., (view, read)] = made.as_slice() else { continue };
            if made.len() <= tries.others {
                continue;
            }
            let jobs: Vec<_> = made.iter().map(|(view, _)| view.id.to_string()).collect();
            let what = format!(
                "{}: of its attempts with key {key} {} were refused, and {} not; jobs made with that \
                 key: {}",
                refused.tell(),
                tries.refusals,
                tries.others,
                jobs.join(", "),
            );
            tally.breach(what, Some(&view.id), &[refused, read]);
        }
    }

    /// The jobs of which everything that was tried is remembered.
    fn known<'a>(&'a self, rest: &'a ReadBack) -> impl Iterator<Item = (&'a Id, &'a AboutJob)> {
        self.jobs.iter().filter(|(job, _)| rest.remembers(job))
    }

    fn judge_accepts(&self, rest: &ReadBack, tally: &mut Tally) {
        let all = self.known(rest).filter(|_| self.accepts_asked);
        let each = all.flat_map(|(job, about)| {
            about.accepts.iter().map(move |(driver, tries)| (job, driver, tries))
        });
        for (job, driver, tries) in each {
            let (Some(refused), Some(account)) = (tries.always(), self.accounts.of(*driver)) else {
                continue;
            };
            let Some((view, read)) = rest.job(job) else { continue };
            tally.opportunities += 1;
            if has_had(view, &account) {
                let what = format!(
                    "{}; {}: it is, or was, in the hands of {driver}",
                    refused.tell(),
                    read.tell()
                );
                tally.breach(what, Some(job), &[refused, read]);
            }
        }
    }

    fn judge_payments(&self, rest: &ReadBack, tally: &mut Tally) {
        let by_job = rest.charges_by_job();
        for (job, about) in self.known(rest).filter(|_| self.pays_asked) {
            let Some(refused) = about.payments.always() else { continue };
            tally.opportunities += u64::from(rest.charges.is_whole());
            let mut charges = by_job.get(job).into_iter().flatten();
            if let Some((charge, read)) = charges.find(|(charge, _)| !charge.fee) {
                let what =
                    format!("{}; the list of charges has {} for it", refused.tell(), charge.id);
                tally.breach(what, Some(job), &[refused, read]);
            }
        }
    }
}

/// Whether that driver has the job at rest, or had it.
fn has_had(view: &JobView, account: &Id) -> bool {
    view.assignments.iter().any(|one| one.driver == *account)
        || view.driver.as_ref() == Some(account)
}

impl Law for RejectedChangesNothing {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        let of_job = |about: &AboutJob| -> usize {
            about.accepts.values().chain([&about.payments]).map(|tries| tries.refusals).sum()
        };
        let requests: usize = self.requests.iter().map(|(_, tries)| tries.refusals).sum();
        let jobs: usize = self.jobs.iter().map(|(_, about)| of_job(about)).sum();
        tally.observed += (requests + jobs) as u64;
        self.judge_requests(&rest, &mut tally);
        self.judge_accepts(&rest, &mut tally);
        self.judge_payments(&rest, &mut tally);
        tally.judge_at_rest(complete, "nothing that was refused could be looked for at rest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{answer::JobState, op::Attempt},
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, charge, d, good_end, good_journey, p, view},
        },
    };

    const LAW: &str = "rejected-changes-nothing";

    fn tale() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1)]);
        tale
    }

    fn keyed(job: &str, key: &str) -> JobView {
        JobView {
            passenger: Some(account(p(1))),
            key: Some(key.into()),
            ..view(job, JobState::Completed, 1, Some(d(1)))
        }
    }

    /// A request that was refused as often as this before it was ok.
    fn refused_first(tale: &mut Tale, times: usize, outcome: Outcome) {
        let op = tale.request(p(1), (10.0, 12.0), "K1", "J2");
        for _ in 0..times {
            let no = Attempt { outcome, status: Some(429), ..op.attempts[0].clone() };
            op.attempts.insert(0, no);
        }
    }

    #[test]
    fn a_refused_request_that_made_nothing_is_right() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = tale();
        refused_first(&mut tale, 2, Outcome::Fail);
        tale.read_back(100.0, vec![keyed("J2", "K1")], Vec::new());
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.observed), (Verdict::Pass, 2));
    }

    #[test]
    fn a_request_that_was_refused_and_made_a_job_is_caught() {
        let mut again = tale();
        refused_first(&mut again, 1, Outcome::Fail);
        again.read_back(100.0, vec![keyed("J1", "K1"), keyed("J2", "K1")], Vec::new());
        let judgement = again.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        let what = &judgement.violations[0].what;
        let end = "with key K1 1 were refused, and 1 not; jobs made with that key: J1, J2";
        assert!(what.ends_with(end), "{what}");
        let mut never = tale();
        never.request(p(1), (10.0, 10.1), "K1", "J1").refused(Refusal::Limited);
        never.read_back(100.0, vec![keyed("J1", "K1")], Vec::new());
        assert_eq!(never.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn an_attempt_of_unknown_outcome_may_have_made_the_job() {
        let mut lost = tale();
        refused_first(&mut lost, 1, Outcome::Info);
        lost.read_back(100.0, vec![keyed("J1", "K1"), keyed("J2", "K1")], Vec::new());
        // Two of one key are another law's matter.
        assert_eq!(lost.judge(LAW).verdict, Verdict::Unknown);
        let mut tapped = tale();
        tapped.request(p(1), (10.0, 10.1), "K1", "J1").refused(Refusal::Conflict);
        tapped.request(p(1), (10.0, 10.2), "K1", "J1");
        tapped.read_back(100.0, vec![keyed("J1", "K1")], Vec::new());
        assert_eq!(tapped.judge(LAW).verdict, Verdict::Pass);
        let mut older = Tale::default();
        older.op(p(1), OpKind::PassengerLogin, (1.0, 1.1)).answer.account = Some(account(p(1)));
        older.request(p(1), (10.0, 10.1), "K1", "J1").refused(Refusal::Limited);
        older.read_back(100.0, vec![keyed("J1", "K1")], Vec::new());
        assert_ne!(older.judge(LAW).verdict, Verdict::Broken, "nobody saw it live in this run");
    }

    #[test]
    fn a_refused_accept_that_took_the_job_is_caught() {
        let refused = |why: Refusal| {
            let mut tale = tale();
            let no = tale.accept(d(1), (10.0, 10.1), "J1", 1).refused(why);
            no.ask.job = Some("J1".into());
            tale.read_back(100.0, vec![view("J1", JobState::Accepted, 1, Some(d(1)))], Vec::new());
            tale
        };
        let judgement = refused(Refusal::NotFound).judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("it is, or was, in the hands of driver/00001"), "{what}");
        assert_ne!(refused(Refusal::Conflict).judge(LAW).verdict, Verdict::Broken);
        let mut vague = refused(Refusal::NotFound);
        vague.accept(d(1), (8.0, 9.0), "J1", 1).info();
        assert_ne!(vague.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_refused_payment_that_was_charged_is_caught() {
        let refused = |vague: bool| {
            let mut tale = tale();
            tale.request(p(1), (10.0, 10.1), "K1", "J1");
            for at in [20.0, 30.0] {
                let pay = tale.op(p(1), OpKind::PassengerPay, (at, at + 0.1));
                pay.refused(Refusal::Limited);
                pay.ask.job = Some("J1".into());
                if vague {
                    pay.info();
                }
            }
            tale.read_back(100.0, vec![good_end("J1").0], vec![charge("C1", "J1", 1_200)]);
            tale.judge(LAW)
        };
        let judgement = refused(false);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert!(judgement.violations[0].what.ends_with("the list of charges has C1 for it"));
        assert_ne!(refused(true).verdict, Verdict::Broken);
        let mut fine = tale();
        good_journey(&mut fine, 10.0, "J1");
        fine.read_back(100.0, vec![good_end("J1").0], vec![good_end("J1").1]);
        assert_ne!(fine.judge(LAW).verdict, Verdict::Broken);
    }
}
