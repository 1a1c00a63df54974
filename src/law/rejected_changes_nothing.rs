//! rejected-changes-nothing: who was told no, got nothing. A refusal behind which the thing was done
//! all the same is an answer that lies, and the robot that believes it asks once more.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::{Accounts, TELL_ACCOUNTS},
    fact::{Fact, job_of},
    lived::Lived,
    readback::{ReadBack, jobs_by_key},
    tally::Tally,
};
use crate::{
    base::id::{Id, RobotId},
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
        TELL_ACCOUNTS[0],
        TELL_ACCOUNTS[1],
        TELL_ACCOUNTS[2],
        TELL_ACCOUNTS[3],
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
                 refused cancels and moves; a refusal that says that somebody was first",
    rare: true,
    start: |declares, tally| Box::new(RejectedChangesNothing::new(declares, tally)),
};

/// The attempts at one thing.
#[derive(Default)]
struct Tries {
    /// The last op of which an attempt was refused.
    refused: Option<Fact>,
    /// Attempts that were refused.
    refusals: usize,
    /// Attempts that took effect, or may have.
    others: usize,
}

impl Tries {
    fn count(&mut self, op: &Op) {
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

struct RejectedChangesNothing {
    /// Who has a job is asked for, and so are payments: what happens by itself is no effect of them.
    accepts_asked: bool,
    pays_asked: bool,
    requests: BTreeMap<(RobotId, Id), Tries>,
    accepts: BTreeMap<(Id, RobotId), Tries>,
    payments: BTreeMap<Id, Tries>,
    fresh: BTreeSet<RobotId>,
    accounts: Accounts,
    lived: Lived,
    read_back: ReadBack,
    /// Empty: each judgement counts anew.
    blank: Tally,
}

impl RejectedChangesNothing {
    fn new(declares: &Declares, blank: Tally) -> Self {
        Self {
            accepts_asked: declares.asked().has(OpKind::DriverAccept),
            pays_asked: declares.asked().has(OpKind::PassengerPay),
            requests: BTreeMap::new(),
            accepts: BTreeMap::new(),
            payments: BTreeMap::new(),
            fresh: BTreeSet::new(),
            accounts: Accounts::default(),
            lived: Lived::default(),
            read_back: ReadBack::default(),
            blank,
        }
    }

    fn op(&mut self, op: &Op) {
        self.accounts.see(op);
        self.lived.see(op);
        match op.kind() {
            OpKind::PassengerRegister if op.outcome == Outcome::Ok && !op.answer.replayed => {
                self.fresh.insert(op.robot);
            }
            OpKind::PassengerRequestJob => {
                if let Some(key) = &op.ask.key {
                    self.requests.entry((op.robot, key.clone())).or_default().count(op);
                }
            }
            OpKind::DriverAccept | OpKind::PassengerPay => self.about_job(op),
            _ => {}
        }
    }

    fn about_job(&mut self, op: &Op) {
        let Some(job) = job_of(op) else { return };
        let tries = if op.kind() == OpKind::DriverAccept {
            self.accepts.entry((job.clone(), op.robot)).or_default()
        } else {
            self.payments.entry(job.clone()).or_default()
        };
        tries.count(op);
        // "It is done already" is no lie when it is.
        tries.others += usize::from(op.answer.refusal == Some(Refusal::Conflict));
    }

    fn judge_requests(&self, tally: &mut Tally) {
        let by_key = jobs_by_key(&self.read_back);
        let shown = !by_key.is_empty() && self.read_back.jobs.is_whole();
        for ((robot, key), tries) in &self.requests {
            let Some(refused) = &tries.refused else { continue };
            let Some(account) = self.accounts.of(*robot) else { continue };
            tally.opportunities += u64::from(shown);
            let new = |id: &Id| self.fresh.contains(robot) || self.lived.has(id);
            let made: Vec<_> = by_key
                .get(&(account, key))
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

    fn judge_accepts(&self, tally: &mut Tally) {
        for ((job, driver), tries) in self.accepts.iter().filter(|_| self.accepts_asked) {
            let (Some(refused), Some(account)) = (tries.always(), self.accounts.of(*driver)) else {
                continue;
            };
            let Some((view, read)) = self.read_back.job(job) else { continue };
            tally.opportunities += 1;
            if has_had(view, account) {
                let what = format!(
                    "{}; {}: it is, or was, in the hands of {driver}",
                    refused.tell(),
                    read.tell()
                );
                tally.breach(what, Some(job), &[refused, read]);
            }
        }
    }

    fn judge_payments(&self, tally: &mut Tally) {
        let by_job = self.read_back.charges_by_job();
        for (job, tries) in self.payments.iter().filter(|_| self.pays_asked) {
            let Some(refused) = tries.always() else { continue };
            tally.opportunities += u64::from(self.read_back.charges.is_whole());
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
        self.read_back.see(seen);
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.blank.clone();
        let all = self.requests.values().chain(self.accepts.values()).chain(self.payments.values());
        tally.observed = all.map(|tries| tries.refusals as u64).sum();
        self.judge_requests(&mut tally);
        self.judge_accepts(&mut tally);
        self.judge_payments(&mut tally);
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
