//! push-reaches-owner-only: what is told unasked is told to whom it belongs. A passenger hears of its
//! own jobs and of nobody else's.

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    shelf::{OP_LIFE, Shelf},
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        time::Time,
    },
    history::{
        op::{Op, OpKind, Outcome},
        record::Told,
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "push-reaches-owner-only",
    means: "a passenger is told unasked of a job that another passenger asked for, by its account or by \
            the answer to the request",
    needs: &[&[OpKind::PassengerRequestJob]],
    cannot: |_| None,
    watches: &[OpKind::PassengerRequestJob],
    blind_spot: "targets that tell nothing unasked; what drivers are told: a job may be withdrawn by \
                 telling who has it; what ended more than ten minutes ago",
    rare: true,
    start: |_, tally| Box::new(PushToOwner::new(tally)),
};

/// A passenger was told of a job whose owner is not known yet.
struct Heard {
    at: Time,
    robot: RobotId,
    job: Id,
    passenger: Option<Id>,
}

struct PushToOwner {
    accounts: Accounts,
    /// Who asked for a job, and the op.
    owners: Shelf<Option<(RobotId, Fact)>>,
    heard: Vec<Heard>,
    seen_until: Time,
    tally: Tally,
}

impl PushToOwner {
    fn new(tally: Tally) -> Self {
        Self {
            accounts: tally.accounts(),
            owners: tally.shelf(),
            heard: Vec::new(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        if op.kind() == OpKind::PassengerRequestJob
            && op.outcome == Outcome::Ok
            && let Some(job) = job_of(op)
        {
            let owner = self.owners.at(job, self.seen_until);
            owner.get_or_insert_with(|| (op.robot, Fact::of(op)));
        }
        // By now every request that was under way then has been answered.
        let certain = self.seen_until.saturating_sub(OP_LIFE);
        let over = self.heard.iter().take_while(|heard| heard.at < certain).count();
        for heard in self.heard.drain(..over).collect::<Vec<_>>() {
            let mut tally = self.tally.clone();
            self.weigh(&heard, &mut tally);
            self.tally = tally;
        }
        self.owners.forget(self.seen_until);
    }

    fn told(&mut self, told: &Told) {
        let Some(view) = told.answer.job.as_deref().filter(|_| !told.synthetic) else { return };
        if told.robot.kind == RobotKind::Passenger {
            self.heard.push(Heard {
                at: told.at,
                robot: told.robot,
                job: view.id.clone(),
                passenger: view.passenger.clone(),
            });
        }
    }

    fn weigh(&self, heard: &Heard, tally: &mut Tally) {
        let Heard { at, robot, job, passenger } = heard;
        tally.observed += 1;
        let owner = self.owners.peek(job).and_then(Option::as_ref);
        let named = passenger.as_ref().and_then(|account| self.accounts.is(*robot, account));
        tally.opportunities += u64::from(owner.is_some() || named.is_some());
        if let Some((other, request)) = owner.filter(|(owner, _)| owner != robot) {
            let what =
                format!("{}; {robot} was told of it at {at}, and it is {other}'s", request.tell());
            tally.breach(what, Some(job), &[request]);
        } else if owner.is_none() && named == Some(false) {
            let account = passenger.as_ref().map_or("", Id::as_str);
            let what = format!("{robot} was told at {at} of job {job}, which is {account}'s");
            tally.breach(what, Some(job), &[]);
        }
    }
}

impl Law for PushToOwner {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Told(told) => self.told(told),
            Seen::Op(op) => self.op(op),
            Seen::Fault(_) | Seen::Phase(..) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        for heard in self.heard.iter().filter(|_| complete) {
            self.weigh(heard, &mut tally);
        }
        tally.judge("no passenger was told of a job unasked")
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        history::answer::JobState,
        law::{
            Verdict,
            testkit::{Tale, Tweak, account, p, view},
        },
    };

    const LAW: &str = "push-reaches-owner-only";

    /// Passenger 1 asked for a job; that passenger is told of it.
    fn told(who: u32) -> Tale {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 10.5), "K1", "J1");
        tale.told(p(who), 10.2, view("J1", JobState::Offered, 0, None));
        tale
    }

    #[test]
    fn who_asked_is_told() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        assert_eq!(told(1).judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn another_who_is_told_is_caught() {
        let judgement = told(2).judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "passenger/00001 requested job J1 at 10.500 s (ok, op 1); passenger/00002 was told of it \
             at 10.200 s, and it is passenger/00001's"
        );
        let mut named = Tale::default();
        named.robots(&[p(2)]);
        let mut seen = view("J9", JobState::Offered, 0, None);
        seen.passenger = Some(account(p(1)));
        named.told(p(2), 10.0, seen);
        assert_eq!(named.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_job_that_nobody_knows_yet_is_not_anothers() {
        let mut tale = Tale::default();
        tale.request(p(1), (10.0, 12.0), "K1", "J1").info();
        tale.told(p(1), 11.0, view("J1", JobState::Offered, 0, None));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown);
        let mut going_on = told(2);
        going_on.complete = false;
        assert_ne!(going_on.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_the_simulator_tells_is_not_the_backends_word() {
        let mut tale = told(1);
        tale.told_by_us(p(2), 11.0, view("J1", JobState::Offered, 0, None));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }
}
