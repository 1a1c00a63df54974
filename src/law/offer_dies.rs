//! offer-dies: an offer has an end, and who comes after it comes too late. The end is what the backend
//! itself said: whoever is told "8 s left" may count on it that nobody can take the job by it in 9 s.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Judgement, Law, LawEntry, Seen,
    fact::{Fact, job_of},
    shelf::Shelf,
    suspicion::Suspicions,
    tally::Tally,
};
use crate::{
    base::{
        id::{Id, RobotId},
        time::Time,
    },
    history::{
        answer::OfferView,
        declares::{Declares, Offers},
        op::{Op, OpKind, Outcome},
        record::{FaultChange, FaultEvent},
    },
};

/// The law's entry.
pub const ENTRY: LawEntry = LawEntry {
    name: "offer-dies",
    means: "an accept is ok that was sent certainly after the offer's end, by the backend's own word, \
            and nothing that the driver sent before can have taken the job",
    needs: &[&[OpKind::DriverAccept], &[OpKind::DriverPing, OpKind::DriverNextOffer]],
    cannot,
    watches: &[OpKind::DriverPing, OpKind::DriverNextOffer, OpKind::DriverAccept],
    blind_spot: "offers that are pushed; offers whose end was put off; all of a run from when on clocks \
                 are set wrong; accepts of jobs that the driver first took, and of offers that it read, longer than the horizon ago",
    rare: true,
    start: |_, tally| Box::new(OfferDies::new(tally)),
};

/// It judges offers that came as answers, and accepts that say which offer they mean.
fn cannot(declares: &Declares) -> Option<&'static str> {
    match declares.offers {
        Offers::Push => Some("offers are pushed: a push is a hint, never a read"),
        Offers::Relay => Some("offers are synthetic: no offer of the backend's own is seen"),
        _ if !declares.named_offers => {
            Some("an accept does not say which offer it means: another may have been open")
        }
        Offers::Ping | Offers::Poll { .. } => None,
    }
}

/// Clocks of the backend's parts that are a little apart.
const SLACK: Duration = Duration::from_millis(100);
/// Offers of one driver that are remembered.
const OFFERS_MAX: usize = 16;
/// The fault after which nobody's word about time counts.
const SKEW: &str = "skew";

/// One offer, as its driver read it.
struct Told {
    id: Id,
    read: Fact,
    /// It was over by then.
    end: Time,
    /// Two reads do not agree: its end was put off, and may be again.
    moves: bool,
}

/// An accept that was ok, after the end of its offer.
struct Late {
    accept: Fact,
    job: Id,
    read: Fact,
    end: Time,
}

struct OfferDies {
    offers: BTreeMap<RobotId, VecDeque<Told>>,
    /// When a driver first sent an accept that may have taken that job.
    taken: Shelf<Option<Time>, (RobotId, Id)>,
    /// The others may have been taken by an accept that is still under way.
    late: Suspicions<Late>,
    skewed: bool,
    seen_until: Time,
    tally: Tally,
}

impl OfferDies {
    fn new(tally: Tally) -> Self {
        Self {
            offers: BTreeMap::new(),
            taken: Shelf::new(tally.horizon()),
            late: Suspicions::default(),
            skewed: false,
            seen_until: Time::ZERO,
            tally,
        }
    }

    fn fault(&mut self, event: &FaultEvent) {
        let bites = matches!(event.change, FaultChange::Injected | FaultChange::Bit);
        self.skewed |= event.kind == SKEW && bites;
    }

    fn op(&mut self, op: &Op) {
        self.seen_until = self.seen_until.max(op.done);
        self.taken.forget(self.seen_until);
        while let Some(late) = self.late.ripe(self.seen_until) {
            let mut tally = self.tally.clone();
            self.weigh(&late, &mut tally);
            self.tally = tally;
        }
        if op.kind() == OpKind::DriverAccept {
            return self.accept(op);
        }
        if let Some(offer) = op.answer.offer.as_deref().filter(|_| op.outcome == Outcome::Ok) {
            self.offered(op, offer);
        }
    }

    fn offered(&mut self, op: &Op, offer: &OfferView) {
        if offer.id == offer.job {
            // An offer without a name of its own.
            return;
        }
        let left = Duration::from_millis(offer.expires_in_ms);
        let (earliest, latest) = (op.sent + left, op.done + left);
        let told = self.offers.entry(op.robot).or_default();
        let old = op.done.saturating_sub(self.tally.horizon());
        while told.front().is_some_and(|first| first.read.done < old && first.end < old) {
            told.pop_front();
        }
        if let Some(known) = told.iter_mut().find(|one| one.id == offer.id) {
            known.moves |= earliest > known.end + SLACK;
            known.end = known.end.max(latest);
            return;
        }
        self.tally.observed += 1;
        if told.len() == OFFERS_MAX {
            told.pop_front();
        }
        told.push_back(Told {
            id: offer.id.clone(),
            read: Fact::of(op),
            end: latest,
            moves: false,
        });
    }

    fn accept(&mut self, op: &Op) {
        let Some(job) = job_of(op) else { return };
        if op.outcome != Outcome::Fail {
            let first = self.taken.at(&(op.robot, job.clone()), self.seen_until);
            *first = Some(first.map_or(op.sent, |first| first.min(op.sent)));
        }
        let told = self.offers.get(&op.robot).into_iter().flatten();
        let meant = |one: &&Told| Some(&one.id) == op.ask.offer.as_ref() && !one.moves;
        let Some(offer) = told.into_iter().find(meant) else { return };
        if op.sent <= offer.end + SLACK {
            return;
        }
        // Acknowledged, and over again by the same answer: that tells of the past.
        let holds = op.answer.job.as_deref().is_none_or(|view| view.state.is_held());
        match op.outcome {
            Outcome::Fail => self.tally.opportunities += 1,
            Outcome::Ok if holds => {
                let (accept, job, read) = (Fact::of(op), job.clone(), offer.read.clone());
                self.late.push(op.done, Late { accept, job, read, end: offer.end });
            }
            _ => {}
        }
    }

    /// Nothing that was sent while the offer was open can have taken the job.
    fn stands(&self, late: &Late) -> bool {
        let first = self.taken.peek(&(late.accept.robot, late.job.clone())).copied().flatten();
        first.is_none_or(|first| first > late.end + SLACK)
    }

    fn weigh(&self, late: &Late, tally: &mut Tally) {
        if self.skewed || !self.stands(late) {
            return;
        }
        tally.opportunities += 1;
        let (accept, sent, read) = (&late.accept, late.accept.sent, late.read.op);
        let what = format!(
            "{}, sent at {sent}: the offer (op {read}) was over by {}",
            accept.tell(),
            late.end
        );
        tally.breach(what, Some(&late.job), &[&late.read, accept]);
    }
}

impl Law for OfferDies {
    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Op(op) => self.op(op),
            Seen::Fault(event) => self.fault(event),
            Seen::Phase(..) | Seen::Told(_) | Seen::Probe(_) => {}
        }
    }

    fn judge(&self, complete: bool) -> Judgement {
        let mut tally = self.tally.clone();
        if self.skewed {
            tally.opportunities = 0;
            return tally.judge("clocks were set wrong: nobody knows when an offer ended");
        }
        for late in self.late.standing(complete) {
            self.weigh(late, &mut tally);
        }
        tally.judge("no driver answered an offer after its end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::place::Place,
        history::answer::Refusal,
        law::{
            Verdict,
            testkit::{Tale, Tweak, d},
        },
    };

    const LAW: &str = "offer-dies";

    /// Driver 1 is told at 10.1 s of an offer that is open for ten seconds more.
    fn offered() -> Tale {
        let mut tale = Tale::default();
        told(&mut tale, 10.0, 10_000);
        tale
    }

    fn told(tale: &mut Tale, at: f64, expires_in_ms: u64) {
        let offer = OfferView {
            id: "O1".into(),
            job: "J1".into(),
            pickup: Place::default(),
            dropoff: None,
            expires_in_ms,
            fare_minor: None,
        };
        tale.ping(d(1), (at, at + 0.1), Place::default(), Some(offer));
    }

    fn accept(tale: &mut Tale, at: (f64, f64)) -> &mut Op {
        let op = tale.accept(d(1), at, "J1", 1);
        op.ask.offer = Some("O1".into());
        op
    }

    #[test]
    fn an_accept_in_time_or_refused_when_late_is_right() {
        assert_eq!(Tale::default().judge(LAW).verdict, Verdict::Unknown);
        let mut tale = offered();
        accept(&mut tale, (20.15, 20.2));
        assert_eq!(tale.judge(LAW).verdict, Verdict::Unknown, "too near to the end to tell");
        let mut tale = offered();
        accept(&mut tale, (20.5, 20.6)).refused(Refusal::Conflict);
        assert_eq!(tale.judge(LAW).verdict, Verdict::Pass);
    }

    #[test]
    fn an_accept_after_the_end_is_caught() {
        let mut tale = offered();
        accept(&mut tale, (20.5, 20.6));
        let judgement = tale.judge(LAW);
        assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
        assert_eq!(
            judgement.violations[0].what,
            "driver/00001 accepted job J1 at 20.600 s (ok, op 2), sent at 20.500 s: the offer (op 1) \
             was over by 20.100 s"
        );
        tale.declares.named_offers = false;
        assert_eq!(tale.judge(LAW).verdict, Verdict::NotApplicable);
    }

    #[test]
    fn an_earlier_tap_an_end_that_moves_or_no_answer_explain_it() {
        let mut tapped = offered();
        accept(&mut tapped, (19.0, 21.0)).info();
        accept(&mut tapped, (20.5, 20.6));
        assert_ne!(tapped.judge(LAW).verdict, Verdict::Broken);
        let mut moved = offered();
        told(&mut moved, 15.0, 10_000);
        accept(&mut moved, (40.0, 40.1));
        assert_ne!(moved.judge(LAW).verdict, Verdict::Broken);
        let mut same = offered();
        told(&mut same, 15.0, 5_050);
        accept(&mut same, (20.5, 20.6));
        assert_eq!(same.judge(LAW).verdict, Verdict::Broken, "the same end, told twice");
        let mut unsure = offered();
        accept(&mut unsure, (20.5, 20.6)).info();
        assert_ne!(unsure.judge(LAW).verdict, Verdict::Broken);
    }

    #[test]
    fn where_clocks_were_set_wrong_nothing_is_said() {
        let mut law = OfferDies::new(Tally::new(
            crate::law::known::Sieve::default(),
            crate::law::common::Common::default(),
        ));
        let mut tale = offered();
        accept(&mut tale, (20.5, 20.6));
        for record in tale.records() {
            if let crate::history::record::Record::Op(op) = record {
                law.see(Seen::Op(&op));
            }
        }
        assert_eq!(law.judge(true).verdict, Verdict::Broken);
        law.see(Seen::Fault(&FaultEvent {
            fault: 0,
            kind: SKEW.into(),
            victims: Vec::new(),
            change: FaultChange::Injected,
            planned: Time::ZERO,
            at: Time::ZERO,
            more_updates_per_s: 0.0,
            effect: String::new(),
        }));
        assert_eq!(law.judge(true).verdict, Verdict::Unknown);
    }
}
