//! Each fold against its definition: on thousands of small random histories a law says "broken"
//! exactly where a naive reading of its definition, over the whole history at once and over all pairs
//! of ops, says so.

use std::collections::BTreeSet;

use super::{
    Verdict,
    fact::{is_read, job_of},
    testkit::{AUDITOR, Tale, Tweak, account, charge, d, p, view},
};
use crate::{
    base::{
        id::{Id, RobotId},
        rng::Rng,
        time::Time,
    },
    history::{
        answer::{ChargeView, JobState, JobView, OfferView, Quote, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
        record::{Record, Told},
    },
};

/// Histories of each law.
const ROUNDS: u32 = 3_000;
/// Of them at least so many are broken, and so many are not.
const EACH_WAY: u32 = 30;

struct Story {
    ops: Vec<Op>,
    told: Vec<Told>,
    declares: Declares,
}

impl Story {
    fn of(tale: &Tale) -> Self {
        let (mut ops, mut told) = (Vec::new(), Vec::new());
        for record in tale.records() {
            match record {
                Record::Op(op) => ops.push((*op).clone()),
                Record::Told(one) => told.push(*one),
                _ => {}
            }
        }
        Self { ops, told, declares: tale.declares.clone() }
    }

    fn ok(&self, kinds: &[OpKind]) -> Vec<&Op> {
        let fits = |op: &&Op| op.outcome == Outcome::Ok && kinds.contains(&op.kind());
        self.ops.iter().filter(fits).collect()
    }

    /// Every job that an op that was ok read, with the op.
    fn reads(&self) -> Vec<(&Op, &JobView)> {
        let ok = self.ops.iter().filter(|op| op.outcome == Outcome::Ok && is_read(op.kind()));
        ok.flat_map(|op| {
            op.answer.jobs.iter().chain(op.answer.job.as_deref()).map(move |v| (op, v))
        })
        .collect()
    }

    /// Whether a job can get from one state to another; within one assignment, without its release.
    fn reaches(&self, from: JobState, to: JobState, held: bool) -> bool {
        let open = [JobState::Requested, JobState::Offered];
        let mut seen = BTreeSet::from([from]);
        loop {
            let moves = self.declares.transitions.iter();
            let more: Vec<_> = moves
                .filter(|(one, other)| !(held && one.is_held() && open.contains(other)))
                .filter(|(one, other)| seen.contains(one) && !seen.contains(other))
                .map(|(_, other)| *other)
                .collect();
            if more.is_empty() {
                return seen.contains(&to);
            }
            seen.extend(more);
        }
    }

    /// How the jobs, and sums, were read back.
    fn rest(&self, kind: OpKind) -> Vec<&Op> {
        self.ok(&[kind])
    }

    fn listed(&self) -> Vec<&JobView> {
        self.rest(OpKind::AuditJobs).into_iter().flat_map(|op| &op.answer.jobs).collect()
    }

    fn sums(&self, kind: OpKind, job: &Id) -> Vec<&ChargeView> {
        let all = self.rest(kind).into_iter().flat_map(|op| &op.answer.charges);
        all.filter(|sum| sum.job == *job).collect()
    }

    fn says(&self, kind: OpKind, job: &Id) -> bool {
        self.ok(&[kind]).iter().any(|op| job_of(op) == Some(job))
    }
}

/// Draws histories.
struct Pen {
    rng: Rng,
}

impl Pen {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len())].clone()
    }

    fn job(&mut self) -> &'static str {
        self.one(&["J1", "J2", "J3"])
    }

    fn when(&mut self) -> (f64, f64) {
        let sent = 10.0 + self.rng.below(40) as f64 * 0.5;
        (sent, sent + 0.1 + self.rng.below(5) as f64 * 0.4)
    }

    fn view(&mut self) -> JobView {
        let (job, number) = (self.job(), self.rng.below(3) as u32);
        let state = self.one(&JobState::ALL);
        let driver = if number > 0 { Some(d(1 + self.rng.below(2) as u32)) } else { None };
        view(job, state, number, driver)
    }

    fn robot(&mut self, kind: OpKind) -> RobotId {
        let number = 1 + self.rng.below(2) as u32;
        if kind.word().starts_with("driver") { d(number) } else { p(number) }
    }

    /// A tale of `count` ops of these kinds.
    fn tale(&mut self, kinds: &[OpKind], count: usize) -> Tale {
        let mut tale = Tale::default();
        tale.robots(&[d(1), d(2), p(1), p(2)]);
        for _ in 0..count {
            let kind = self.one(kinds);
            self.op(&mut tale, kind);
        }
        tale
    }

    fn op(&mut self, tale: &mut Tale, kind: OpKind) {
        use OpKind as K;
        let (who, when, seen) = (self.robot(kind), self.when(), self.view());
        let (job, other) = (self.job(), self.job());
        let fare = 100 * self.rng.below(3) as i64;
        let (chance, key) = (self.rng.unit(), self.one(&["K1", "K2"]));
        let offer = self.one(&["O1", "O2", "O3"]);
        let left = 1_000 * (1 + self.rng.below(8) as u64);
        let op = tale.op(who, kind, when);
        match kind {
            K::PassengerQuote => {
                op.answer.quote =
                    (chance < 0.9).then_some(Quote { fare_minor: fare, trip_s: 60, eta_s: None });
            }
            K::PassengerPay => {
                op.ask.job = Some(job.into());
                let about = if chance < 0.9 { job } else { other };
                op.answer.charges = vec![charge(offer, about, 100)];
            }
            K::PassengerRequestJob => {
                op.ask.key = Some(key.into());
                op.answer.job = Some(view(job, JobState::Requested, 0, None).into());
            }
            K::DriverAccept => {
                op.ask.job = Some(job.into());
                op.ask.offer = Some(offer.into());
                let number = if chance < 0.5 { 1 } else { 2 };
                op.answer.job = Some(view(job, JobState::Accepted, number, Some(who)).into());
            }
            K::DriverArrive | K::DriverPickUp | K::DriverDropOff | K::DriverCancel => {
                op.ask.job = Some(job.into());
                op.ask.assignment = Some(if chance < 0.5 { 1 } else { 2 });
            }
            K::PassengerCancel => {
                op.ask.job = Some(job.into());
                op.answer.job =
                    (chance < 0.7).then(|| view(job, JobState::Cancelled, 0, None).into());
            }
            K::PassengerJobStatus => {
                op.ask.job = Some(if chance < 0.95 { seen.id.clone() } else { other.into() });
                op.answer.job = (chance < 0.9).then(|| seen.into());
            }
            K::DriverCurrentJob | K::PassengerCurrentJob => {
                op.answer.job = (chance < 0.8).then(|| seen.into());
            }
            K::DriverNextOffer | K::DriverPing => {
                op.answer.offer = Some(std::rc::Rc::new(OfferView {
                    id: offer.into(),
                    job: job.into(),
                    pickup: crate::base::place::Place::default(),
                    dropoff: None,
                    expires_in_ms: left,
                    fare_minor: None,
                }));
            }
            _ => {}
        }
        match self.rng.below(10) {
            0 => {
                op.info();
                let status = [500, 503][self.rng.below(2)];
                op.attempts[0].status = Some(status);
            }
            1 => {
                op.refused([Refusal::Conflict, Refusal::NotFound][self.rng.below(2)]);
            }
            _ => {}
        }
    }

    /// The evening ends: each job is read back somehow, with some sums.
    fn rest(&mut self, tale: &mut Tale) {
        let (mut jobs, mut charges) = (Vec::new(), Vec::new());
        let (mut earned, mut refunds) = (Vec::new(), Vec::new());
        for job in ["J1", "J2", "J3"] {
            let mut end = view(job, self.one(&JobState::ALL), 0, None);
            if self.rng.chance(0.7) {
                end = view(job, end.state, 1, Some(d(1)));
            }
            end.fare_minor = Some(100);
            for at in 0..self.one(&[0, 1, 1, 1, 2]) {
                let id = format!("charge {at} of {job}");
                let mut sum = charge(&id, job, self.one(&[0, 100, 100, 100, 120]));
                sum.fee = self.rng.chance(0.1);
                charges.push(sum);
            }
            earned.push(charge(&format!("part of {job}"), job, self.one(&[80, 80, 81, 95])));
            if self.rng.chance(0.2) {
                refunds.push(charge(&format!("back of {job}"), job, 20));
            }
            jobs.push(end);
        }
        tale.read_back(100.0, jobs, charges);
        tale.op(AUDITOR, OpKind::AuditEarnings, (100.5, 100.6)).answer.charges = earned;
        tale.op(AUDITOR, OpKind::AuditRefunds, (100.7, 100.8)).answer.charges = refunds;
    }
}

/// Compares a law with its naive definition on histories drawn like this.
fn agree(law: &str, draw: impl Fn(&mut Pen) -> Tale, naive: impl Fn(&Story) -> bool) {
    let mut pen = Pen { rng: Rng::from_seed(law) };
    let mut counts = [0_u32; 2];
    for round in 0..ROUNDS {
        let tale = draw(&mut pen);
        let said = tale.judge(law);
        let expected = naive(&Story::of(&tale));
        counts[usize::from(expected)] += 1;
        assert_eq!(
            said.verdict == Verdict::Broken,
            expected,
            "{law}, round {round}: {said:#?}\n{:#?}",
            tale.records()
        );
    }
    assert!(counts.iter().all(|count| *count >= EACH_WAY), "{law} is {counts:?}");
}

/// Any two of them, one before the other in the list of those that fit.
fn any_pair<T>(all: &[T], fits: impl Fn(&T, &T) -> bool) -> bool {
    all.iter().enumerate().any(|(at, one)| {
        all.iter().enumerate().any(|(other_at, other)| at != other_at && fits(one, other))
    })
}

const LOOKS: [OpKind; 3] =
    [OpKind::DriverCurrentJob, OpKind::PassengerJobStatus, OpKind::PassengerCurrentJob];

#[test]
fn legal_transitions() {
    agree(
        "legal-transitions",
        |pen| {
            let count = 1 + pen.rng.below(4);
            pen.tale(&LOOKS, count)
        },
        |story| {
            any_pair(&story.reads(), |(one, was), (other, is)| {
                was.id == is.id
                    && one.done < other.sent
                    && !story.reaches(was.state, is.state, false)
            })
        },
    );
}

fn goes_back(story: &Story, was: (JobState, u32), is: &JobView) -> bool {
    let stays = is.state.is_held() || is.state == JobState::Completed;
    let same = was.1 == is.assignment && stays && was.0.is_held();
    is.assignment != 0
        && was.1 != 0
        && (is.assignment < was.1 || same && !story.reaches(was.0, is.state, true))
}

#[test]
fn state_never_goes_back() {
    agree(
        "state-never-goes-back",
        |pen| {
            let count = 2 + pen.rng.below(5);
            pen.tale(&LOOKS, count)
        },
        |story| {
            any_pair(&story.reads(), |(one, was), (other, is)| {
                was.id == is.id
                    && one.done < other.sent
                    && goes_back(story, (was.state, was.assignment), is)
            })
        },
    );
}

#[test]
fn event_then_read() {
    agree(
        "event-then-read",
        |pen| {
            let count = 1 + pen.rng.below(4);
            let mut tale = pen.tale(&LOOKS, count);
            for _ in 0..=pen.rng.below(2) {
                let (seen, (at, _)) = (pen.view(), pen.when());
                tale.told(p(1), at, seen);
            }
            tale
        },
        |story| {
            story.told.iter().any(|told| {
                let was = told.answer.job.as_deref().unwrap();
                story.reads().iter().any(|(op, is)| {
                    let back = was.assignment == is.assignment
                        && is.assignment != 0
                        && was.state.is_held()
                        && is.state.is_held()
                        && !story.reaches(was.state, is.state, true);
                    let older = is.assignment != 0 && is.assignment < was.assignment;
                    let never = !story.reaches(was.state, is.state, false);
                    was.id == is.id && told.at < op.sent && (back || older || never)
                })
            })
        },
    );
}

#[test]
fn unique_ids() {
    use OpKind::{DriverNextOffer, DriverPing, PassengerPay, PassengerRequestJob};
    agree(
        "unique-ids",
        |pen| {
            let count = 1 + pen.rng.below(4);
            pen.tale(&[DriverNextOffer, DriverPing, PassengerPay, PassengerRequestJob], count)
        },
        |story| {
            let mut claims: Vec<(&str, Id, String)> = Vec::new();
            for op in story.ok(OpKind::ALL) {
                let request = op.kind() == PassengerRequestJob;
                let job = job_of(op).filter(|_| request);
                claims.extend(job.map(|job| ("job", job.clone(), op.robot.to_string())));
                let offer = op.answer.offer.as_deref();
                claims.extend(offer.map(|o| ("offer", o.id.clone(), o.job.to_string())));
                let charges = op.answer.charges.iter();
                claims.extend(charges.map(|c| ("charge", c.id.clone(), c.job.to_string())));
            }
            any_pair(&claims, |one, other| {
                (one.0, &one.1) == (other.0, &other.1) && one.2 != other.2
            })
        },
    );
}

#[test]
fn answers_match_questions() {
    use OpKind::{DriverCurrentJob, PassengerJobStatus, PassengerPay};
    agree(
        "answers-match-questions",
        |pen| {
            let count = 1 + pen.rng.below(4);
            pen.tale(&[DriverCurrentJob, PassengerJobStatus, PassengerPay], count)
        },
        |story| {
            story.ok(OpKind::ALL).iter().any(|op| {
                let told = op.answer.job.as_deref();
                let about = told.map(|view| &view.id).into_iter();
                let mut about = about.chain(op.answer.charges.iter().map(|charge| &charge.job));
                let other = op.ask.job.as_ref().is_some_and(|job| about.any(|told| told != job));
                let driver = told.and_then(|view| view.driver.as_ref());
                let strange = op.kind() == DriverCurrentJob
                    && driver.is_some_and(|driver| *driver != account(op.robot));
                other || strange
            })
        },
    );
}

#[test]
fn no_server_error() {
    agree(
        "no-server-error",
        |pen| {
            let count = 1 + pen.rng.below(12);
            pen.tale(&LOOKS, count)
        },
        |story| {
            let bad = |op: &Op| op.outcome == Outcome::Info && op.attempts[0].status == Some(500);
            story.ops.iter().any(bad)
        },
    );
}

#[test]
fn no_silent_degradation() {
    use OpKind::{PassengerJobStatus, PassengerQuote};
    agree(
        "no-silent-degradation",
        |pen| {
            let count = 1 + pen.rng.below(3);
            pen.tale(&[PassengerJobStatus, PassengerQuote], count)
        },
        |story| {
            let part = |kind: OpKind, has: &dyn Fn(&Op) -> Option<bool>| {
                let found: BTreeSet<bool> = story.ok(&[kind]).into_iter().filter_map(has).collect();
                found.len() == 2
            };
            part(PassengerQuote, &|op| Some(op.answer.quote.is_some()))
                || part(PassengerQuote, &|op| op.answer.quote.map(|quote| quote.fare_minor > 0))
                || part(PassengerJobStatus, &|op| Some(op.answer.job.is_some()))
        },
    );
}

#[test]
fn idempotent_requests() {
    agree(
        "idempotent-requests",
        |pen| {
            let count = 1 + pen.rng.below(4);
            pen.tale(&[OpKind::PassengerRequestJob], count)
        },
        |story| {
            any_pair(&story.ok(&[OpKind::PassengerRequestJob]), |one, other| {
                (one.robot, &one.ask.key) == (other.robot, &other.ask.key)
                    && job_of(one) != job_of(other)
            })
        },
    );
}

/// The certain stretch of each accept that something of the driver's own confirmed later.
fn stretches(story: &Story) -> Vec<(RobotId, Id, Time, Time)> {
    use OpKind as K;
    let mut holds: Vec<(&Op, &Id, u32)> = Vec::new();
    for op in story.ok(&[K::DriverAccept]) {
        let (job, number) = (job_of(op).unwrap(), op.answer.job.as_deref().unwrap().assignment);
        let known =
            |(one, of, n): &(&Op, &Id, u32)| (one.robot, *of, *n) == (op.robot, job, number);
        if !holds.iter().any(known) {
            holds.push((op, job, number));
        }
    }
    let own = [K::DriverArrive, K::DriverPickUp, K::DriverDropOff];
    let moves = story.ok(&own);
    let confirmed = |(accept, job, number): &(&Op, &Id, u32)| {
        moves.iter().any(|op| {
            (op.robot, job_of(op), op.ask.assignment) == (accept.robot, Some(*job), Some(*number))
                && accept.done < op.sent
        })
    };
    let ends = |op: &Op, (accept, job, number): &(&Op, &Id, u32)| {
        let this = job_of(op) == Some(*job);
        let concerns = match op.kind() {
            K::DriverDropOff | K::DriverCancel => this && op.ask.assignment == Some(*number),
            K::PassengerCancel => this,
            K::DriverGoOffline => op.robot == accept.robot,
            _ => false,
        };
        let late = op.outcome == Outcome::Info || op.done >= accept.sent;
        concerns && op.outcome != Outcome::Fail && late
    };
    let held = holds.iter().filter(|hold| confirmed(hold)).map(|hold| {
        let enders = story.ops.iter().filter(|op| ends(op, hold)).map(|op| op.sent);
        let until = enders.min().unwrap_or(Time::MAX);
        (hold.0.robot, hold.1.clone(), hold.0.done, until)
    });
    held.filter(|(_, _, from, until)| from < until).collect()
}

const HOLDS: [OpKind; 8] = [
    OpKind::DriverAccept,
    OpKind::DriverAccept,
    OpKind::DriverArrive,
    OpKind::DriverArrive,
    OpKind::DriverPickUp,
    OpKind::DriverDropOff,
    OpKind::DriverCancel,
    OpKind::PassengerCancel,
];

#[test]
fn one_job_per_driver() {
    agree(
        "one-job-per-driver",
        |pen| {
            let count = 6 + pen.rng.below(14);
            pen.tale(&HOLDS, count)
        },
        |story| {
            let all = stretches(story);
            all.iter().any(|(driver, _, moment, _)| {
                let at_once: BTreeSet<&Id> = all
                    .iter()
                    .filter(|(who, _, from, until)| {
                        who == driver && from <= moment && moment < until
                    })
                    .map(|(_, job, _, _)| job)
                    .collect();
                at_once.len() > 1
            })
        },
    );
}

#[test]
fn one_driver_per_job() {
    agree(
        "one-driver-per-job",
        |pen| {
            let count = 2 + pen.rng.below(5);
            pen.tale(&HOLDS, count)
        },
        |story| {
            let at_once = any_pair(&stretches(story), |one, other| {
                one.0 != other.0 && one.1 == other.1 && one.2.max(other.2) < one.3.min(other.3)
            });
            let number = |op: &Op| op.answer.job.as_deref().unwrap().assignment;
            let twice = any_pair(&story.ok(&[OpKind::DriverAccept]), |one, other| {
                one.robot != other.robot
                    && job_of(one) == job_of(other)
                    && number(one) == number(other)
            });
            at_once || twice
        },
    );
}

#[test]
fn accept_cancel_one_winner() {
    use OpKind as K;
    let drives = [K::DriverAccept, K::DriverArrive, K::DriverPickUp, K::DriverDropOff];
    let kinds = [drives.as_slice(), &[K::PassengerCancel, K::DriverCurrentJob]].concat();
    agree(
        "accept-cancel-one-winner",
        |pen| {
            let count = 1 + pen.rng.below(5);
            pen.tale(&kinds, count)
        },
        |story| {
            let told = |op: &&&Op| op.answer.job.is_some();
            let cancels: Vec<&Op> =
                story.ok(&[K::PassengerCancel]).iter().filter(told).copied().collect();
            let same = |one: &Op, other: &Op| job_of(one) == job_of(other);
            cancels.iter().any(|cancel| {
                let went = story.ok(&drives);
                let later = went.iter().any(|op| same(op, cancel) && cancel.done < op.sent);
                let far = story.ok(&[K::DriverPickUp, K::DriverDropOff]);
                let too_far = far.iter().any(|op| same(op, cancel) && op.done < cancel.sent);
                let reads = story.reads();
                let read = reads.iter().any(|(op, view)| {
                    Some(&view.id) == job_of(cancel)
                        && view.state.is_held()
                        && cancel.done < op.sent
                });
                later || too_far || read
            })
        },
    );
}

#[test]
fn offer_dies() {
    let slack = std::time::Duration::from_millis(100);
    agree(
        "offer-dies",
        |pen| {
            let count = 2 + pen.rng.below(4);
            pen.tale(&[OpKind::DriverNextOffer, OpKind::DriverAccept], count)
        },
        |story| {
            story.ops.iter().enumerate().any(|(at, accept)| {
                if accept.kind() != OpKind::DriverAccept || accept.outcome != Outcome::Ok {
                    return false;
                }
                let (mut end, mut moves) = (None, false);
                for read in story.ops[..at].iter().filter(|op| op.robot == accept.robot) {
                    let offer = read.answer.offer.as_deref();
                    let Some(offer) = offer.filter(|o| Some(&o.id) == accept.ask.offer.as_ref())
                    else {
                        continue;
                    };
                    let left = std::time::Duration::from_millis(offer.expires_in_ms);
                    moves |= end.is_some_and(|end| read.sent + left > end + slack);
                    end = Some(end.unwrap_or(Time::ZERO).max(read.done + left));
                }
                let Some(end) = end.filter(|_| !moves) else { return false };
                let first = story.ops.iter().filter(|op| {
                    op.kind() == OpKind::DriverAccept
                        && op.outcome != Outcome::Fail
                        && op.robot == accept.robot
                        && job_of(op) == job_of(accept)
                });
                accept.sent > end + slack && first.map(|op| op.sent).min() > Some(end + slack)
            })
        },
    );
}

/// The laws about the city at rest.
#[path = "naive_rest_tests.rs"]
mod rest;
