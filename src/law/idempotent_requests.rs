//! idempotent-requests: asking again with the same key is not asking for more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Judgement, Law, LawEntry, Seen,
    accounts::Accounts,
    fact::{Fact, job_of},
    readback::{ReadBack, jobs_by_key},
    shelf::Shelf,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        place::Place,
        time::Time,
    },
    history::{
        answer::JobView,
        declares::Declares,
        op::{Op, OpKind, Outcome},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "idempotent-requests",
    means: "one key within its life gives two ids, or the read-back has two jobs of one key, or more \
            jobs of one trip of one passenger than the passenger used keys for it",
    needs: &[&[OpKind::PassengerRequestJob]],
    cannot,
    watches: &[
        OpKind::PassengerRegister,
        OpKind::PassengerRequestJob,
        OpKind::PassengerPay,
        OpKind::DriverPing,
        OpKind::DriverNextOffer,
        OpKind::DriverCurrentJob,
        OpKind::AuditJob,
        OpKind::AuditJobs,
    ],
    blind_spot: "a second job that nobody was offered, and no driver had, in this run; keys that were not \
                 used for the horizon, and trips once anything is forgotten",
    rare: false,
    start: |declares, tally| Box::new(IdempotentRequests::new(declares, tally)),
};

/// Who was sent no key cannot know that it was asked again.
fn cannot(declares: &Declares) -> Option<&'static str> {
    declares.keyless.contains(&OpKind::PassengerRequestJob).then_some(
        "no idempotency key is sent: give {{ ask.key }} in passenger.request_job, where the backend \
         knows such keys",
    )
}

/// What one key gave.
#[derive(Default)]
struct Use {
    first_sent: Time,
    last: Option<Fact>,
    gave: Option<(Id, Fact)>,
    may_have_worked: bool,
    /// It was first used longer ago than anybody remembers.
    older: bool,
}

/// The requests of one passenger for one trip.
#[derive(Default)]
struct Trip {
    keys: BTreeSet<Id>,
    facts: Vec<Fact>,
}

type From = Place;
type To = Place;
/// By the passenger's account and the trip.
type Effects<'a> = BTreeMap<(&'a Id, From, To), Vec<(&'a JobView, &'a Fact)>>;

struct IdempotentRequests {
    life: Duration,
    /// Payments carry a key.
    pays_by_key: bool,
    keys: Shelf<Use, (RobotId, OpKind, Id)>,
    /// Empty once a job is forgotten: nobody knows then which ones are new.
    trips: BTreeMap<(RobotId, From, To), Trip>,
    /// Passengers whose accounts were opened in this run: they have no older jobs.
    fresh: BTreeSet<RobotId>,
    accounts: Accounts,
    seen_until: Time,
    tally: Tally,
}

impl IdempotentRequests {
    fn new(declares: &Declares, tally: Tally) -> Self {
        Self {
            life: declares.idempotency_ttl.0,
            pays_by_key: !declares.keyless.contains(&OpKind::PassengerPay),
            keys: Shelf::new(tally.horizon()),
            trips: BTreeMap::new(),
            fresh: BTreeSet::new(),
            accounts: tally.accounts(),
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.tally.forgotten += self.keys.forget(self.seen_until);
        if self.tally.read_back().has_forgotten() {
            self.trips.clear();
        }
        match op.kind() {
            OpKind::PassengerRegister if op.outcome == Outcome::Ok && !op.answer.replayed => {
                self.fresh.insert(op.robot);
            }
            OpKind::PassengerRequestJob if op.outcome != Outcome::Fail => {
                self.trip(op);
                self.key(op, job_of(op));
            }
            OpKind::PassengerPay if self.pays_by_key && op.outcome != Outcome::Fail => {
                let charge = match op.answer.charges.as_slice() {
                    [charge] => Some(&charge.id),
                    _ => None,
                };
                self.key(op, charge);
            }
            _ => {}
        }
    }

    fn trip(&mut self, op: &Op) {
        if self.tally.read_back().has_forgotten() {
            return;
        }
        if let (Some(from), Some(to), Some(key)) = (op.ask.at, op.ask.to, &op.ask.key) {
            let trip = self.trips.entry((op.robot, from, to)).or_default();
            trip.keys.insert(key.clone());
            trip.facts.push(Fact::of(op));
        }
    }

    fn key(&mut self, op: &Op, gave: Option<&Id>) {
        let Some(key) = &op.ask.key else { return };
        self.tally.observed += 1;
        let gave = gave.filter(|_| op.outcome == Outcome::Ok);
        let tried_again = op.attempts.split_last().is_some_and(|(_, earlier)| {
            earlier.iter().any(|attempt| attempt.outcome != Outcome::Fail)
        });
        let known = self.keys.at(&(op.robot, op.kind(), key.clone()), self.seen_until);
        if known.last.is_none() {
            (known.first_sent, known.older) = (op.sent, op.ask.again.is_some());
        }
        let again = tried_again || known.may_have_worked;
        self.tally.opportunities += u64::from(again && op.outcome == Outcome::Ok);
        known.may_have_worked = true;
        known.last = Some(Fact::of(op));
        let Some(gave) = gave else { return };
        match &known.gave {
            None => known.gave = Some((gave.clone(), Fact::of(op))),
            Some((before, fact)) if before != gave && op.done - known.first_sent < self.life => {
                let second = Fact::of(op);
                let (one, other) = (fact.tell(), second.tell());
                let what = format!(
                    "{one} with key {key} and was given {before}; {other} with the same key and \
                     was given {gave}"
                );
                self.tally.breach(what, second.job.as_ref(), &[fact, &second]);
            }
            Some(_) => {}
        }
    }

    /// The jobs at rest of each trip of each passenger.
    fn effects(rest: &ReadBack) -> Effects<'_> {
        let mut effects = Effects::new();
        for (view, fact) in rest.jobs.by_id.values() {
            if let (Some(who), Some(from), Some(to)) = (&view.passenger, view.pickup, view.dropoff)
                && rest.lived(&view.id).is_some()
            {
                effects.entry((who, from, to)).or_default().push((view, fact));
            }
        }
        effects
    }

    /// Two jobs of one key at rest, where the backend shows by which key a job was asked for.
    fn judge_keys(&self, rest: &ReadBack, tally: &mut Tally) {
        let by_key = jobs_by_key(rest);
        let forgot = rest.has_forgotten();
        for ((robot, kind, key), used) in self.keys.iter() {
            let Some(last) = &used.last else { continue };
            let past = last.done - used.first_sent >= self.life || forgot && used.older;
            if *kind != OpKind::PassengerRequestJob || past {
                continue;
            }
            let Some(account) = self.accounts.of(*robot) else { continue };
            let fresh = !forgot && self.fresh.contains(robot);
            let new = |id: &Id| fresh || lives_since(rest, id, used.first_sent);
            let made: Vec<_> = by_key
                .get(&(&account, key))
                .into_iter()
                .flatten()
                .filter(|(view, _)| new(&view.id))
                .collect();
            let [.., (view, read)] = made.as_slice() else { continue };
            if made.len() > 1 {
                let found: Vec<_> = made.iter().map(|(view, _)| view.id.to_string()).collect();
                let (asked, found) = (last.tell(), found.join(", "));
                let what = format!("{asked}; jobs made with its key {key}: {found}");
                tally.breach(what, Some(&view.id), &[last, read]);
            }
        }
    }

    fn judge_effects(&self, rest: &ReadBack, tally: &mut Tally) {
        if rest.has_forgotten() {
            return;
        }
        let effects = Self::effects(rest);
        for ((who, from, to), trip) in &self.trips {
            let Some(account) = self.accounts.of(*who).filter(|_| self.fresh.contains(who)) else {
                continue;
            };
            let Some(jobs) = effects.get(&(&account, *from, *to)) else { continue };
            if jobs.len() <= trip.keys.len() {
                continue;
            }
            let asked: Vec<_> = trip.facts.iter().map(Fact::tell).collect();
            let found: Vec<_> = jobs.iter().map(|(view, _)| view.id.to_string()).collect();
            let (asked, keys, found) = (asked.join("; "), trip.keys.len(), found.join(", "));
            let what = format!("{asked}; keys used for this trip: {keys}, jobs made: {found}");
            let read = jobs.last().map(|(_, fact)| *fact);
            let proof: Vec<_> = trip.facts.iter().chain(read).collect();
            tally.breach(what, jobs.last().map(|(view, _)| &view.id), &proof);
        }
    }
}

/// Whether a job is one of this run; once anything is forgotten, one that is no older than its key.
pub fn lives_since(rest: &ReadBack, job: &Id, first_sent: Time) -> bool {
    rest.lived(job).is_some_and(|lived| !rest.has_forgotten() || lived >= first_sent)
}

impl Law for IdempotentRequests {
    fn see(&mut self, seen: Seen<'_>) {
        if let Seen::Op(op) = seen {
            self.op(op);
        }
    }

    fn judge(&self, _complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        let rest = self.tally.read_back();
        self.judge_keys(&rest, &mut tally);
        self.judge_effects(&rest, &mut tally);
        tally.judge("no request was sent again that may have worked the first time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::span::Span,
        history::{
            answer::{JobState, OfferView},
            op::Attempt,
        },
        law::{
            Verdict,
            testkit::{self, Tale, Tweak, account, d, p, view},
        },
    };

    const LAW: &str = "idempotent-requests";
    const HERE: Place = Place { lat_e6: 53_000_000, lon_e6: -6_000_000 };
    const THERE: Place = Place { lat_e6: 53_010_000, lon_e6: -6_000_000 };

    fn request<'a>(tale: &'a mut Tale, at: (f64, f64), key: &str, job: &str) -> &'a mut Op {
        let op = tale.request(p(1), at, key, job);
        (op.ask.at, op.ask.to) = (Some(HERE), Some(THERE));
        op
    }

    fn read_back(tale: &mut Tale, jobs: &[&str]) {
        let trip = |job: &&str| JobView {
            passenger: Some(account(p(1))),
            pickup: Some(HERE),
            dropoff: Some(THERE),
            ..view(job, JobState::Expired, 0, None)
        };
        tale.read_back(100.0, jobs.iter().map(trip).collect(), Vec::new());
    }

    fn offered(tale: &mut Tale, job: &str) {
        let offer = OfferView {
            id: format!("offer of {job}").as_str().into(),
            job: job.into(),
            pickup: HERE,
            dropoff: None,
            expires_in_ms: 10_000,
            fare_minor: None,
        };
        tale.ping(d(1), (20.0, 20.1), HERE, Some(offer));
    }

    #[test]
    fn asked_twice_and_given_once_is_right() {
        let mut tale = Tale::default();
        tale.robots(&[p(1)]);
        request(&mut tale, (10.0, 10.1), "K1", "J1");
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "nothing was asked twice");
        request(&mut tale, (11.0, 11.1), "K1", "J1").answer.replayed = true;
        // The same trip with another key is another job.
        request(&mut tale, (30.0, 30.1), "K2", "J2");
        offered(&mut tale, "J1");
        offered(&mut tale, "J2");
        read_back(&mut tale, &["J1", "J2"]);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.opportunities), (Verdict::Pass, 1));
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_backend_that_is_sent_no_key_is_not_judged() {
        let keyless = |op| Declares { keyless: vec![op], ..Declares::default() };
        let why = ENTRY.not_applicable(&keyless(OpKind::PassengerRequestJob)).unwrap();
        assert!(why.contains("no idempotency key is sent"), "{why}");
        assert_eq!(ENTRY.not_applicable(&Declares::default()), None);
        assert_eq!(ENTRY.not_applicable(&keyless(OpKind::PassengerPay)), None);
        // Two charges for one key are two requests where the key was kept to oneself.
        let paid = |declares: Declares| {
            let mut tale = Tale::default();
            tale.declares = declares;
            tale.robots(&[p(1)]);
            for (at, charge) in [(10.0, "C1"), (12.0, "C2")] {
                let op = tale.op(p(1), OpKind::PassengerPay, (at, at + 0.1));
                op.ask.key = Some("K1".into());
                op.answer.charges = vec![testkit::charge(charge, "J1", 5)];
            }
            tale.judge(LAW).verdict
        };
        assert_eq!(paid(Declares::default()), Verdict::Broken);
        assert_ne!(paid(keyless(OpKind::PassengerPay)), Verdict::Broken);
    }

    #[test]
    fn one_key_with_two_ids_is_caught_within_its_life() {
        let mut tale = Tale::default();
        request(&mut tale, (10.0, 10.1), "K1", "J1");
        request(&mut tale, (11.0, 11.1), "K1", "J2");
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("with the same key and was given J2"), "{what}");
        tale.declares.idempotency_ttl = Span::millis(500);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn a_retry_that_made_a_second_job_is_caught_at_rest() {
        let mut tale = Tale::default();
        tale.robots(&[p(1)]);
        let op = request(&mut tale, (10.0, 13.0), "K1", "J2");
        let lost = Attempt { outcome: Outcome::Info, ..op.attempts[0].clone() };
        op.attempts.insert(0, lost);
        offered(&mut tale, "J1");
        read_back(&mut tale, &["J1", "J2"]);
        let judgement = tale.judge(LAW);
        assert_eq!(judgement.verdict, Verdict::Broken);
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("keys used for this trip: 1, jobs made: J1, J2"), "{what}");
    }

    #[test]
    fn two_jobs_of_one_key_are_caught_where_the_list_shows_keys() {
        let mut tale = Tale::default();
        // An account that is older than the run.
        tale.op(p(1), OpKind::PassengerLogin, (1.0, 1.1)).answer.account = Some(account(p(1)));
        tale.request(p(1), (10.0, 10.1), "K1", "J2");
        let keyed = |job: &str| JobView {
            passenger: Some(account(p(1))),
            key: Some("K1".into()),
            ..view(job, JobState::Completed, 0, Some(d(1)))
        };
        tale.read_back(100.0, vec![keyed("J1"), keyed("J2")], Vec::new());
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken, "J1 may be of an older run");
        let live = view("J1", JobState::PickedUp, 0, Some(d(1)));
        tale.read(d(1), OpKind::DriverCurrentJob, (20.0, 20.1), live);
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        let what = &judgement.violations[0].what;
        assert!(what.ends_with("jobs made with its key K1: J1, J2"), "{what}");
        tale.declares.idempotency_ttl = Span::millis(50);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn what_may_be_older_than_the_run_or_asked_by_an_unknown_op_proves_nothing() {
        // A job that nobody was offered in this run may be of another run.
        let mut tale = Tale::default();
        tale.robots(&[p(1)]);
        request(&mut tale, (10.0, 13.0), "K1", "J2");
        read_back(&mut tale, &["J1", "J2"]);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
        // Another key whose outcome is unknown explains the second job.
        let mut tale = Tale::default();
        tale.robots(&[p(1)]);
        request(&mut tale, (10.0, 13.0), "K1", "J2");
        request(&mut tale, (14.0, 16.0), "K2", "J1").info();
        offered(&mut tale, "J1");
        read_back(&mut tale, &["J1", "J2"]);
        assert_ne!(tale.judge(LAW).verdict, Verdict::Broken);
    }
}
