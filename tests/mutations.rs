//! The laws are not fitted to the planted bugs: histories of healthy runs are changed by code that
//! knows nothing of any backend, and the laws are asked what they think of them. The tables in
//! `docs/mutations.md` say which laws catch which changes, which escape, and why.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unnecessary_wraps, // each change has one shape
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    process::Command,
    rc::Rc,
    time::Duration,
};

use robot_city::{
    base::{id::Id, time::Time},
    history::{
        answer::{Answer, JobState, Refusal},
        declares::Declares,
        op::{Op, OpKind, Outcome},
        reader::Reader,
        record::Record,
    },
    law::{Verdict, judge::Judge, known::Known, registry::LAWS, shelf::HORIZON},
};

/// Changes of one kind to ops of one kind that are tried in one history.
const EACH: usize = 3;
const SEEDS: [&str; 3] = ["3", "7", "11"];

/// A healthy evening, played in virtual time.
fn recorded(seed: &str) -> Vec<Record> {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["run", "scenarios/smoke.toml", "--time", "virtual", "--ui", "none"])
        .args(["--set", "time.duration=30s", "--set", "robots.browses=0.6"])
        .args(["--set", "robots.push=0.3", "--set", "robots.cancels_after_match=0.2"])
        .args(["--set", "robots.cancels_before_match=0.2", "--seed", seed, "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(0 | 2)), "{:?}: {told}", output.status);
    read(&out.path().join("latest").canonicalize().unwrap())
}

fn read(run: &Path) -> Vec<Record> {
    Reader::open(run).unwrap().map(Result::unwrap).collect()
}

/// The laws of which that is said.
fn said(records: &[Record], wanted: Verdict) -> BTreeSet<&'static str> {
    let declares = records.iter().find_map(|record| match record {
        Record::Run(header) => Some(header.declares.clone()),
        _ => None,
    });
    let declares: Declares = declares.unwrap();
    let mut judge = Judge::new(&declares, &[], &Known::default(), HORIZON);
    for record in records {
        judge.see(record);
    }
    let said = judge.verdicts(true);
    let those = said.iter().filter(|(_, said)| said.verdict == wanted);
    those.map(|(law, _)| law.name).collect()
}

fn broken(records: &[Record]) -> BTreeSet<&'static str> {
    said(records, Verdict::Broken)
}

/// A kind of change: given the ops of a history and the place of one, the ops as they are instead;
/// none where it would change nothing.
struct Change {
    name: &'static str,
    means: &'static str,
    make: Make,
}

type Make = fn(&[Rc<Op>], usize) -> Option<Vec<Rc<Op>>>;

const CHANGES: &[Change] = &[
    Change { name: "drop", means: "an op is missing", make: drop_op },
    Change {
        name: "double",
        means: "an op is there twice, the second a second later",
        make: double,
    },
    Change {
        name: "double by another",
        means: "another robot of the kind does the same a second later, and is answered the same",
        make: by_another,
    },
    Change {
        name: "late",
        means: "an op happens 40 s later than it did",
        make: |ops, at| shift(ops, at, Duration::from_secs(40)),
    },
    Change {
        name: "swap times",
        means: "two ops of one robot change their places in time",
        make: swap_times,
    },
    Change {
        name: "swap answers",
        means: "two ops of the kind, of different robots, are given each other's answers",
        make: swap_answers,
    },
    Change {
        name: "swap jobs",
        means: "two ops of the kind are about each other's jobs, in question and answer",
        make: swap_jobs,
    },
    Change { name: "swap states", means: "two reads show each other's state", make: swap_states },
    Change {
        name: "swap drivers",
        means: "two reads show each other's driver",
        make: swap_drivers,
    },
    Change {
        name: "swap sums",
        means: "two charges, fares or prices are each other's",
        make: swap_sums,
    },
    Change {
        name: "swap places",
        means: "latitude and longitude change places in an answer",
        make: swap_places,
    },
    Change {
        name: "refuse",
        means: "an op that was ok is said to have been refused",
        make: refuse,
    },
    Change {
        name: "stale",
        means: "a read shows a job as it was when somebody first read it",
        make: stale,
    },
    Change {
        name: "misbook",
        means: "a charge is booked on another job: one that nobody took, where there is one",
        make: misbook,
    },
    Change {
        name: "drop a line",
        means: "a page of a list lacks one of its lines",
        make: drop_a_line,
    },
    Change {
        name: "double a line",
        means: "a page of a list has a line twice, the second time under another id",
        make: double_a_line,
    },
    Change {
        name: "swap outcomes",
        means: "a refused op and one that was ok (of the kind) each end as the other did",
        make: swap_outcomes,
    },
];

fn with(ops: &[Rc<Op>], changed: Vec<(usize, Op)>) -> Vec<Rc<Op>> {
    let mut all = ops.to_vec();
    for (at, op) in changed {
        all[at] = Rc::new(op);
    }
    all
}

/// The next op of the same kind of which that holds.
fn partner(ops: &[Rc<Op>], at: usize, fits: impl Fn(&Op) -> bool) -> Option<usize> {
    let kind = ops[at].kind();
    let after = (at + 1..ops.len()).chain(0..at);
    after.into_iter().find(|other| ops[*other].kind() == kind && fits(&ops[*other]))
}

fn moved(op: &Op, by: Duration) -> Op {
    let mut op = op.clone();
    for time in [&mut op.planned, &mut op.sent, &mut op.done] {
        *time += by;
    }
    for attempt in &mut op.attempts {
        attempt.sent += by;
        attempt.done += by;
    }
    op
}

fn drop_op(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut all = ops.to_vec();
    all.remove(at);
    Some(all)
}

fn double(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut all = ops.to_vec();
    let second = moved(&ops[at], Duration::from_secs(1));
    all.push(Rc::new(Op { id: 1_000_000, ..second }));
    Some(all)
}

fn by_another(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let other = partner(ops, at, |op| op.robot != ops[at].robot)?;
    let mut all = ops.to_vec();
    let second = moved(&ops[at], Duration::from_secs(1));
    all.push(Rc::new(Op { id: 1_000_000, robot: ops[other].robot, ..second }));
    Some(all)
}

fn shift(ops: &[Rc<Op>], at: usize, by: Duration) -> Option<Vec<Rc<Op>>> {
    Some(with(ops, vec![(at, moved(&ops[at], by))]))
}

fn swap_times(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let own = |op: &Op| op.robot == ops[at].robot;
    let next = (at + 1..ops.len()).find(|next| own(&ops[*next]))?;
    let (first, second) = (&ops[at], &ops[next]);
    let take = |op: &Op, of: &Op| {
        let mut op = op.clone();
        (op.planned, op.sent, op.done) = (of.planned, of.sent, of.done);
        op.attempts.truncate(1);
        for attempt in &mut op.attempts {
            (attempt.sent, attempt.done, attempt.outcome) = (of.sent, of.done, op.outcome);
        }
        op
    };
    Some(with(ops, vec![(at, take(first, second)), (next, take(second, first))]))
}

fn swap_answers(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let own = &ops[at];
    let other = partner(ops, at, |op| {
        op.robot != own.robot && op.outcome == own.outcome && op.answer != own.answer
    })?;
    let (mut first, mut second) = ((**own).clone(), (*ops[other]).clone());
    std::mem::swap(&mut first.answer, &mut second.answer);
    Some(with(ops, vec![(at, first), (other, second)]))
}

fn job_of(op: &Op) -> Option<Id> {
    op.ask.job.clone().or_else(|| op.answer.job.as_deref().map(|view| view.id.clone()))
}

fn swap_jobs(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let job = job_of(&ops[at])?;
    let other = partner(ops, at, |op| job_of(op).is_some_and(|of| of != job))?;
    let of_other = job_of(&ops[other])?;
    let name = |op: &Op, job: &Id| {
        let mut op = op.clone();
        op.ask.job = op.ask.job.map(|_| job.clone());
        if let Some(view) = &mut op.answer.job {
            Rc::make_mut(view).id = job.clone();
        }
        for charge in &mut op.answer.charges {
            charge.job = job.clone();
        }
        op
    };
    Some(with(ops, vec![(at, name(&ops[at], &of_other)), (other, name(&ops[other], &job))]))
}

/// Every job in an answer.
fn views(op: &mut Op) -> Vec<&mut robot_city::history::answer::JobView> {
    let one = op.answer.job.as_mut().map(Rc::make_mut);
    one.into_iter().chain(&mut op.answer.jobs).collect()
}

/// Swaps something between the first job of one answer and a job of another (or of the same list).
fn swap_in_views<T: Clone + PartialEq>(
    ops: &[Rc<Op>],
    at: usize,
    get: fn(&robot_city::history::answer::JobView) -> T,
    set: fn(&mut robot_city::history::answer::JobView, T),
) -> Option<Vec<Rc<Op>>> {
    let mut first = (*ops[at]).clone();
    let own = get(views(&mut first).first()?);
    let mut list = views(&mut first);
    if let Some(other) = list.iter().position(|view| get(view) != own) {
        let theirs = get(list[other]);
        set(list[0], theirs);
        set(list[other], own);
        return Some(with(ops, vec![(at, first)]));
    }
    let other =
        partner(ops, at, |op| views(&mut op.clone()).first().is_some_and(|view| get(view) != own))?;
    let mut second = (*ops[other]).clone();
    let theirs = get(views(&mut second).first()?);
    set(views(&mut first).remove(0), theirs);
    set(views(&mut second).remove(0), own);
    Some(with(ops, vec![(at, first), (other, second)]))
}

fn swap_states(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    swap_in_views(ops, at, |view| view.state, |view, state: JobState| view.state = state)
}

fn swap_drivers(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let get = |view: &robot_city::history::answer::JobView| {
        (view.driver.clone(), view.assignments.clone())
    };
    swap_in_views(ops, at, get, |view, (driver, assignments)| {
        (view.driver, view.assignments) = (driver, assignments);
    })
}

fn swap_sums(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut first = (*ops[at]).clone();
    let charges = &mut first.answer.charges;
    if let Some(own) = charges.first().map(|charge| charge.amount_minor)
        && let Some(other) = charges.iter().position(|charge| charge.amount_minor != own)
    {
        charges[0].amount_minor = charges[other].amount_minor;
        charges[other].amount_minor = own;
        return Some(with(ops, vec![(at, first)]));
    }
    if let Some(quote) = &mut first.answer.quote {
        let other = partner(ops, at, |op| op.answer.quote.is_some_and(|other| other != *quote))?;
        let mut second = (*ops[other]).clone();
        let theirs = second.answer.quote.as_mut()?;
        std::mem::swap(&mut quote.fare_minor, &mut theirs.fare_minor);
        return Some(with(ops, vec![(at, first), (other, second)]));
    }
    swap_in_views(ops, at, |view| view.fare_minor, |view, fare| view.fare_minor = fare)
}

fn swap_places(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    let turn = |place: &mut robot_city::base::place::Place| {
        (place.lat_e6, place.lon_e6) = (place.lon_e6, place.lat_e6);
    };
    op.answer.drivers.iter_mut().for_each(|near| turn(&mut near.at));
    if let Some(offer) = &mut op.answer.offer {
        turn(&mut Rc::make_mut(offer).pickup);
    }
    for view in views(&mut op) {
        view.pickup.iter_mut().chain(&mut view.dropoff).for_each(turn);
    }
    (op != *ops[at]).then(|| with(ops, vec![(at, op)]))
}

fn refuse(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    if op.outcome != Outcome::Ok {
        return None;
    }
    op.ask.job = job_of(&op);
    op.outcome = Outcome::Fail;
    for attempt in &mut op.attempts {
        attempt.outcome = Outcome::Fail;
    }
    op.answer = Answer { refusal: Some(Refusal::NotFound), ..Answer::default() };
    Some(with(ops, vec![(at, op)]))
}

fn stale(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    let mut list = views(&mut op);
    let shown = list.first()?.id.clone();
    let first = ops[..at].iter().find_map(|op| {
        let view = op.answer.job.as_deref().filter(|view| view.id == shown)?;
        Some(view.clone())
    })?;
    if first.state == list[0].state {
        return None;
    }
    *list[0] = first;
    Some(with(ops, vec![(at, op)]))
}

fn misbook(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    let booked: Vec<Id> = op.answer.charges.iter().map(|charge| charge.job.clone()).collect();
    let taken = |job: &Id| {
        let mut accepts = ops.iter().filter(|op| op.kind() == OpKind::DriverAccept);
        accepts.any(|op| job_of(op).as_ref() == Some(job))
    };
    // One that was given up before anybody took it, where there is one.
    let cancels = ops.iter().filter(|op| op.kind() == OpKind::PassengerCancel);
    let ok = cancels.filter(|op| op.outcome == Outcome::Ok);
    let free = ok.filter_map(|op| job_of(op)).find(|job| !booked.contains(job) && !taken(job));
    let any = || ops.iter().find_map(|op| job_of(op).filter(|job| !booked.contains(job)));
    let other = free.or_else(any)?;
    op.answer.charges.first_mut()?.job = other;
    Some(with(ops, vec![(at, op)]))
}

fn drop_a_line(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    let answer = &mut op.answer;
    if !answer.jobs.is_empty() {
        answer.jobs.remove(answer.jobs.len() / 2);
    } else if !answer.charges.is_empty() {
        answer.charges.remove(answer.charges.len() / 2);
    } else {
        let far = answer.drivers.len().checked_sub(2)?;
        answer.drivers.remove(far / 2);
    }
    Some(with(ops, vec![(at, op)]))
}

fn double_a_line(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let mut op = (*ops[at]).clone();
    let answer = &mut op.answer;
    if let Some(job) = answer.jobs.first().cloned() {
        answer.jobs.push(robot_city::history::answer::JobView { id: "999999".into(), ..job });
    } else {
        let charge = answer.charges.first().cloned()?;
        let again = robot_city::history::answer::ChargeView { id: "999999".into(), ..charge };
        answer.charges.push(again);
    }
    Some(with(ops, vec![(at, op)]))
}

fn swap_outcomes(ops: &[Rc<Op>], at: usize) -> Option<Vec<Rc<Op>>> {
    let own = &ops[at];
    let known = |op: &Op| op.outcome != Outcome::Info && op.attempts.len() == 1;
    let other = partner(ops, at, |op| known(op) && op.outcome != own.outcome)?;
    if !known(own) {
        return None;
    }
    let take = |op: &Op, of: &Op| {
        let mut op = op.clone();
        op.outcome = of.outcome;
        op.attempts.clone_from(&of.attempts);
        for attempt in &mut op.attempts {
            (attempt.sent, attempt.done) = (op.sent, op.done);
        }
        op.answer.clone_from(&of.answer);
        // The answer of another job, told of this one.
        let job = job_of(&op);
        if let (Some(view), Some(job)) = (&mut op.answer.job, job) {
            Rc::make_mut(view).id = job;
        }
        op
    };
    let (first, second) = (take(own, &ops[other]), take(&ops[other], own));
    Some(with(ops, vec![(at, first), (other, second)]))
}

/// The history with these ops instead, in the order in which they are done.
fn with_ops(records: &[Record], ops: Vec<Rc<Op>>) -> Vec<Record> {
    let at = |record: &Record| match record {
        Record::Op(op) | Record::Recalled(op) => op.done,
        Record::Phase { at, .. } | Record::Skipped { at, .. } => *at,
        Record::Told(told) => told.at,
        Record::Fault(event) => event.at,
        Record::End(_) => Time::MAX,
        _ => Time::ZERO,
    };
    let others = records.iter().filter(|record| !matches!(record, Record::Op(_))).cloned();
    let mut all: Vec<Record> = others.chain(ops.into_iter().map(Record::Op)).collect();
    all.sort_by_key(at);
    all
}

/// What came of the changes of one kind to ops of one kind.
#[derive(Default)]
struct Came {
    tried: usize,
    caught: usize,
    by: BTreeSet<&'static str>,
}

type Table = BTreeMap<(usize, OpKind), Came>;

fn try_all(records: &[Record], table: &mut Table) {
    let ops: Vec<Rc<Op>> = records
        .iter()
        .filter_map(|record| match record {
            Record::Op(op) => Some(Rc::clone(op)),
            _ => None,
        })
        .collect();
    let mut places: BTreeMap<OpKind, Vec<usize>> = BTreeMap::new();
    for (at, op) in ops.iter().enumerate() {
        places.entry(op.kind()).or_default().push(at);
    }
    for (number, change) in CHANGES.iter().enumerate() {
        for (kind, places) in &places {
            // Of updates those that carry an offer, first of all.
            let carry = |at: &&usize| ops[**at].answer.offer.is_some();
            let offers: Vec<usize> = places.iter().filter(carry).copied().collect();
            let places = if offers.len() < EACH { places } else { &offers };
            // Evenly over the evening; where a change changes nothing the next op is taken.
            let step = (places.len() / EACH).max(1);
            for chosen in places.chunks(step).take(EACH) {
                let mut changed = chosen.iter().filter_map(|at| (change.make)(&ops, *at));
                let Some(ops) = changed.next() else { continue };
                let caught = broken(&with_ops(records, ops));
                let came = table.entry((number, *kind)).or_default();
                came.tried += 1;
                came.caught += usize::from(!caught.is_empty());
                came.by.extend(caught);
            }
        }
    }
}

/// Laws that judge these evenings, and that no such change can break, and why.
const BEYOND: &[(&str, &str)] = &[
    ("no-server-error", "it looks at the status of an answer, which no change touches"),
    ("every-job-ends", "its bound is longer than so short an evening"),
    (
        "paid-eventually",
        "passengers pay by themselves here, and it wants one who was refused long after",
    ),
    (
        "waiting-is-served",
        "it wants a job that nobody is shown for long: a change of one op leaves the offers of others",
    ),
    (
        "driver-freed",
        "it wants a driver who is shown nothing for long: a change of one op leaves the other offers",
    ),
    (
        "near-drivers-fresh",
        "it wants a driver long gone on a list, and the lists of a short evening are too early",
    ),
    ("push-reaches-owner-only", "pushes are no ops, and stay as they are"),
];

/// Why a change of that kind to ops of that kind is rightly, or unavoidably, not noticed.
fn why(change: &str, kind: OpKind) -> &'static str {
    use OpKind as K;
    let looks = matches!(
        kind,
        K::DriverNextOffer
            | K::DriverCurrentJob
            | K::PassengerJobStatus
            | K::PassengerCurrentJob
            | K::PassengerNearDrivers
            | K::PassengerQuote
            | K::AuditIssues
    );
    match (change, kind) {
        ("drop" | "late" | "swap times" | "double", _) if looks => {
            "one look fewer, later or more: what it showed was true then, or the backend may take its time"
        }
        (_, K::DriverPing) => {
            "an update that did not come, came late, or came from elsewhere is what updates do; only \
             those that carry an offer promise anything"
        }
        (_, K::DriverRegister | K::PassengerRegister | K::DriverLogin | K::PassengerLogin) => {
            "who has which account is learnt from these, and what is not learnt accuses nobody"
        }
        (_, K::DriverGoOnline | K::DriverGoOffline | K::DriverPause | K::DriverResume) => {
            "a driver comes and goes as it likes; what it is offered meanwhile is seldom certain"
        }
        (_, K::DriverDecline | K::PassengerRate | K::CleanupRobot | K::SetupApproveDriver) => {
            "nothing is promised by it that anybody reads back"
        }
        (_, K::PassengerQuote | K::PassengerNearDrivers) => {
            "a price, or a list of cars, is right within wide bounds"
        }
        ("drop", _) => {
            "what was not recorded was not asked for, and the rest explains itself without it"
        }
        ("double", _) => "a repeat that is answered alike is what repeats should be",
        ("late" | "swap times", _) => "another order of these ops, or a later one, is as good",
        ("swap sums", _) => "sums that are read during the run may change; the read-back decides",
        ("swap places", _) => "no declared bound says where that place must be",
        ("swap drivers" | "swap states", _) => "another driver, or state, may have been there then",
        _ => "one more answer of its kind, which other ops of the evening explain",
    }
}

fn document(table: &Table, judged: &BTreeSet<&str>) -> String {
    let mut by_law: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ((number, _), came) in table {
        for law in &came.by {
            by_law.entry(law).or_default().insert(CHANGES[*number].name);
        }
    }
    let mut text = String::from("| law | changes that it catches |\n|---|---|\n");
    for law in LAWS {
        let caught = by_law.get(law.name).map_or_else(
            || {
                let beyond = BEYOND.iter().find(|(name, _)| *name == law.name);
                match beyond {
                    Some((_, why)) => format!("none: {why}"),
                    None if !judged.contains(law.name) => "none: these evenings give it no \
                         opportunity (too short, too healthy, or nothing of the kind is asked)"
                        .into(),
                    None => "none yet".into(),
                }
            },
            |names| names.iter().copied().collect::<Vec<_>>().join(", "),
        );
        let _ = writeln!(text, "| {} | {caught} |", law.name);
    }
    text.push_str(
        "\n| change | what | caught always | sometimes | never, and why |\n|---|---|---|---|---|\n",
    );
    for (number, change) in CHANGES.iter().enumerate() {
        let rows: Vec<_> = table.iter().filter(|((n, _), _)| *n == number).collect();
        let of = |fits: &dyn Fn(&Came) -> bool| {
            let kinds = rows.iter().filter(|(_, came)| fits(came));
            kinds.map(|((_, kind), _)| format!("`{kind}`")).collect::<Vec<_>>().join(" ")
        };
        let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((_, kind), _) in rows.iter().filter(|(_, came)| came.caught == 0) {
            reasons.entry(why(change.name, *kind)).or_default().push(format!("`{kind}`"));
        }
        let never: Vec<String> =
            reasons.iter().map(|(why, kinds)| format!("{}: {why}", kinds.join(" "))).collect();
        let always = of(&|came| came.caught == came.tried);
        let sometimes = of(&|came| came.caught > 0 && came.caught < came.tried);
        let (name, means, never) = (change.name, change.means, never.join("; "));
        let _ = writeln!(text, "| {name} | {means} | {always} | {sometimes} | {never} |");
    }
    text
}

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->";

#[test]
fn laws_catch_changes_to_healthy_histories_that_no_plant_makes() {
    let (mut table, mut judged) = (Table::new(), BTreeSet::new());
    for seed in SEEDS {
        let records = recorded(seed);
        assert_eq!(broken(&records), BTreeSet::new(), "seed {seed} is healthy");
        judged.extend(said(&records, Verdict::Pass));
        try_all(&records, &mut table);
    }
    let caught: BTreeSet<&str> = table.values().flat_map(|came| came.by.iter().copied()).collect();
    let blind: Vec<&str> = LAWS
        .iter()
        .map(|law| law.name)
        .filter(|law| judged.contains(law) && !caught.contains(law))
        .filter(|law| !BEYOND.iter().any(|(name, _)| name == law))
        .collect();
    let text = document(&table, &judged);
    let path = "docs/mutations.md";
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
    }
    assert!(blind.is_empty(), "these laws catch none of the changes: {blind:#?}\n{text}");
    // The tables are of one state of the backend; which laws and changes there are is of all.
    for name in LAWS.iter().map(|law| law.name).chain(CHANGES.iter().map(|change| change.name)) {
        let row = format!("| {name} |");
        assert!(document.contains(&row), "docs/mutations.md lacks {name}: run with UPDATE_DOCS=1");
    }
}
