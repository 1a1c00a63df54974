//! nothing-unasked-exists: what nobody asked for is not there.

use std::collections::BTreeMap;

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    tally::Tally,
};
use crate::{
    base::id::{Id, RobotId},
    history::{
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "nothing-unasked-exists",
    means: "the read-back has more jobs of one of our passengers that lived in this run than it was given \
            and may have been given by requests of unknown outcome, or one whose key it never used",
    needs: &[&[OpKind::AuditJobs, OpKind::AuditJob], &[OpKind::PassengerRequestJob]],
    cannot: |_| None,
    watches: &[
        OpKind::PassengerRequestJob,
        OpKind::DriverPing,
        OpKind::DriverNextOffer,
        OpKind::DriverCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a job that nobody was offered, and no driver had, in this run; offers and charges of \
                 jobs that are not on the list; jobs that say whose they are by no account of ours; \
                 once anything is forgotten, every job that nobody was given",
    rare: true,
    start: |declares, tally| Box::new(NothingUnasked::new(declares, tally)),
};

/// What a passenger asked for.
#[derive(Default)]
struct Asked {
    /// Keys, with whether a job is known for it.
    keys: BTreeMap<Id, bool>,
    /// Attempts without a key whose outcome nobody knows.
    vague: usize,
}

struct NothingUnasked {
    keyless: bool,
    accounts: Accounts,
    /// Empty once a job is forgotten: nobody knows then which ones are new.
    asked: BTreeMap<RobotId, Asked>,
    tally: Tally,
}

impl NothingUnasked {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            keyless: declares.keyless.contains(&OpKind::PassengerRequestJob),
            accounts: tally.accounts(),
            asked: BTreeMap::new(),
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        if self.tally.read_back().has_forgotten() {
            self.asked.clear();
            return;
        }
        if op.kind() == OpKind::PassengerRequestJob && op.outcome != Outcome::Fail {
            self.request(op);
        }
    }

    fn request(&mut self, op: &Op) {
        let asked = self.asked.entry(op.robot).or_default();
        let job = job_of(op).filter(|_| op.outcome == Outcome::Ok);
        if let Some(key) = op.ask.key.as_ref().filter(|_| !self.keyless) {
            *asked.keys.entry(key.clone()).or_default() |= job.is_some();
        } else {
            // Each attempt but the one that was answered may have made a job of its own.
            let lost = op.attempts.iter().filter(|one| one.outcome == Outcome::Info);
            asked.vague += lost.count();
        }
    }
}

impl Law for NothingUnasked {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        let none = Asked::default();
        let mut strange: BTreeMap<RobotId, Vec<&Fact>> = BTreeMap::new();
        for (id, (view, read)) in &rest.jobs.by_id {
            let owner =
                view.passenger.as_ref().and_then(|account| self.accounts.passenger(account));
            let Some(owner) = owner.filter(|_| rest.lived(id).is_some()) else { continue };
            tally.observed += 1;
            let asked = self.asked.get(&owner).unwrap_or(&none);
            if rest.gave(id, owner) {
                tally.opportunities += 1;
                continue;
            }
            if rest.has_forgotten() {
                continue;
            }
            match view.key.as_ref().filter(|_| !self.keyless) {
                Some(key) if asked.keys.contains_key(key) => tally.opportunities += 1,
                Some(key) => {
                    tally.opportunities += 1;
                    let what = format!("{}: {owner} never used its key {key}", read.tell());
                    tally.breach(what, Some(id), &[read]);
                }
                None => strange.entry(owner).or_default().push(read),
            }
        }
        for (owner, reads) in strange {
            let asked = self.asked.get(&owner).unwrap_or(&none);
            let vague = asked.keys.values().filter(|known| !**known).count() + asked.vague;
            tally.opportunities += 1;
            if reads.len() > vague {
                let told: Vec<String> = reads.iter().map(|read| read.tell()).collect();
                let what = format!(
                    "{}: {owner} was never told of them, and {vague} of its requests have an \
                     unknown outcome",
                    told.join("; ")
                );
                tally.breach(what, reads[0].job.as_ref(), &reads);
            }
        }
        tally.judge_at_rest(complete, "no job of a passenger of ours was read back")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::{JobState, JobView, OfferView},
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, d, p, view},
        },
    };

    const LAW: &str = "nothing-unasked-exists";

    fn of_p1(job: &str) -> JobView {
        let mut seen = view(job, JobState::Expired, 0, None);
        seen.passenger = Some(account(p(1)));
        seen
    }

    /// Passenger 1 was given J1; a driver was offered J1 and J2.
    fn offered() -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), p(1)]);
        tale.request(p(1), (10.0, 10.1), "K1", "J1");
        for (at, job) in [(12.0, "J1"), (14.0, "J2")] {
            let offer = OfferView {
                id: format!("offer of {job}").as_str().into(),
                job: job.into(),
                pickup: Place::default(),
                dropoff: None,
                expires_in_ms: 1_000,
                fare_minor: None,
            };
            tale.ping(d(1), (at, at + 0.1), Place::default(), Some(offer));
        }
        tale
    }

    #[test]
    fn what_was_asked_for_is_there() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = offered();
        tale.read_back(100.0, vec![of_p1("J1"), of_p1("J0")], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass, "J0 may be older");
    }

    #[test]
    fn a_job_out_of_nowhere_is_caught() {
        let mut tale = offered();
        tale.read_back(100.0, vec![of_p1("J1"), of_p1("J2")], Vec::new());
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "auditor/00000 read back job J2 as expired at 100.200 s (ok, op 6): passenger/00001 was \
             never told of them, and 0 of its requests have an unknown outcome"
        );
        let mut keyed = offered();
        let mut strange = of_p1("J2");
        strange.key = Some("K9".into());
        keyed.read_back(100.0, vec![strange], Vec::new());
        assert_eq!(keyed.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_request_of_unknown_outcome_may_have_made_it() {
        let mut tale = offered();
        tale.request(p(1), (11.0, 13.0), "K2", "").info();
        tale.read_back(100.0, vec![of_p1("J1"), of_p1("J2")], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        tale.declares.keyless = vec![OpKind::PassengerRequestJob];
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn the_jobs_of_strangers_are_theirs() {
        let mut tale = offered();
        let mut other = of_p1("J2");
        other.passenger = Some("somebody".into());
        tale.read_back(100.0, vec![of_p1("J1"), other], Vec::new());
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
        tale.complete = false;
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
    }
}
