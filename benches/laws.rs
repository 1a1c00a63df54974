//! What judging costs: `cargo bench --bench laws`. 50,000 jobs of twelve ops each, many of them under
//! way at once, before the search for an order alone, before the other laws, and before every law; and
//! four minutes of a city's busiest hour, in which most ops are location updates. From memory, and from
//! the files of a history.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::rc::Rc;

use divan::{Bencher, counter::ItemsCount};
use robot_city::{
    base::{
        id::{Id, RobotId},
        place::Place,
        time::Time,
    },
    history::{
        answer::{Answer, JobState, JobView, Refusal},
        declares::Declares,
        op::{Ask, Attempt, Op, OpKind, Outcome},
        reader::Reader,
        record::Record,
        writer::Writer,
    },
    law::{judge::Judge, known::Known, registry::entry, shelf::HORIZON},
};

/// That of the tool.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// The law that is a search, and no fold.
const SEARCH: &str = "job-register-linearizable";
const JOBS: u32 = 50_000;
/// Jobs that begin in one second.
const JOBS_PER_S: f64 = 500.0;
const OPS: usize = 12;

/// One op of job `job`, so many seconds after its begin.
fn op(job: u32, who: RobotId, kind: OpKind, (sent, took): (f64, f64)) -> Op {
    let begin = f64::from(job) / JOBS_PER_S;
    let (sent, done) =
        (Time::from_secs_f64(begin + sent), Time::from_secs_f64(begin + sent + took));
    let outcome = Outcome::Ok;
    let attempt = Attempt { sent, done, outcome, node: None, status: Some(200), error: None };
    let ask = Ask { job: Some(Id::from(u64::from(job))), ..Ask::new(kind) };
    Op {
        id: u64::from(job) * OPS as u64,
        robot: who,
        ask,
        planned: sent,
        sent,
        done,
        outcome,
        attempts: vec![attempt],
        answer: Answer::default(),
    }
}

fn seen(mut op: Op, job: u32, state: JobState, number: u32) -> Op {
    op.answer.job = Some(Rc::new(JobView {
        id: Id::from(u64::from(job)),
        state,
        assignment: number,
        driver: None,
        passenger: None,
        key: None,
        pickup: None,
        dropoff: None,
        fare_minor: None,
        assignments: Vec::new(),
    }));
    op
}

/// Twelve ops of one job; reads and writes overlap, and a second driver loses a race.
fn journey(job: u32) -> [Op; OPS] {
    use JobState::{Accepted, Arrived, Completed, Offered, PickedUp, Requested};
    use OpKind as K;
    let (rider, driver) = (RobotId::passenger(job), RobotId::driver(job));
    let look = |at, state, number| {
        seen(op(job, rider, K::PassengerJobStatus, (at, 0.5)), job, state, number)
    };
    let moves = |kind, at| {
        let mut op = op(job, driver, kind, (at, 0.6));
        op.ask.assignment = Some(1);
        op
    };
    let mut lost = op(job, RobotId::driver(JOBS + job), K::DriverAccept, (3.0, 0.4));
    lost.outcome = Outcome::Fail;
    lost.answer.refusal = Some(Refusal::Conflict);
    let current = op(job, driver, K::DriverCurrentJob, (3.7, 0.3));
    [
        seen(op(job, rider, K::PassengerRequestJob, (0.0, 0.4)), job, Requested, 0),
        look(1.0, Offered, 0),
        seen(op(job, driver, K::DriverAccept, (3.0, 0.6)), job, Accepted, 1),
        lost,
        look(3.2, Accepted, 1),
        seen(current, job, Accepted, 1),
        moves(K::DriverArrive, 5.0),
        look(5.3, Arrived, 1),
        moves(K::DriverPickUp, 7.0),
        look(7.2, PickedUp, 1),
        moves(K::DriverDropOff, 9.0),
        look(9.4, Completed, 1),
    ]
}

fn in_order(mut ops: Vec<Op>) -> Vec<Record> {
    ops.sort_by_key(|op| op.done);
    ops.into_iter().map(|op| Record::Op(Rc::new(op))).collect()
}

fn history() -> Vec<Record> {
    in_order((0..JOBS).flat_map(journey).collect())
}

/// A hundred places, 111 m apart.
fn spot(number: u32) -> Place {
    Place::from_degrees(53.3 + f64::from(number % 100) * 0.001, -6.3)
}

/// The busiest hour of the published day, for four minutes: 12,000 drivers, each of whom tells where it is
/// every 7.5 s, and 15,000 jobs an hour.
fn rush_hour() -> Vec<Record> {
    const SECONDS: f64 = 240.0;
    const DRIVERS: u32 = 12_000;
    const PINGS_PER_S: f64 = 1_600.0;
    let jobs = (SECONDS * 15_000.0 / 3_600.0) as u32;
    let slower = |op: Op| {
        // The ops of a job keep their distances, and the jobs are further apart.
        let begin = op.ask.job.as_ref().map_or(0.0, |job| job.as_str().parse().unwrap_or(0.0));
        let later = Time::from_secs_f64(begin * (3_600.0 / 15_000.0 - 1.0 / JOBS_PER_S));
        let shift = |at: Time| Time(at.0 + later.0);
        let attempts = op.attempts.into_iter();
        let attempts =
            attempts.map(|one| Attempt { sent: shift(one.sent), done: shift(one.done), ..one });
        let (planned, sent, done) = (shift(op.planned), shift(op.sent), shift(op.done));
        // Whoever asks for a journey says from where.
        let asks = op.ask.op == OpKind::PassengerRequestJob;
        let ask = Ask { at: asks.then_some(spot(7)), ..op.ask };
        Op { planned, sent, done, attempts: attempts.collect(), ask, ..op }
    };
    let online = |number| {
        let mut op = op(0, RobotId::driver(number), OpKind::DriverGoOnline, (0.0, 0.1));
        op.ask = Ask { at: Some(spot(number)), ..Ask::new(OpKind::DriverGoOnline) };
        op
    };
    let ping = |number: u32| {
        let mut op = op(0, RobotId::driver(number % DRIVERS), OpKind::DriverPing, (0.0, 0.02));
        let sent = Time::from_secs_f64(f64::from(number) / PINGS_PER_S);
        let done = Time(sent.0 + 20_000_000);
        (op.planned, op.sent, op.done) = (sent, sent, done);
        (op.attempts[0].sent, op.attempts[0].done) = (sent, done);
        op.ask = Ask {
            at: Some(spot(number % DRIVERS)),
            seq: Some(u64::from(number / DRIVERS + 1)),
            ..Ask::new(OpKind::DriverPing)
        };
        op
    };
    let pings = (0..(SECONDS * PINGS_PER_S) as u32).map(ping);
    let jobs = (0..jobs).flat_map(journey).map(slower);
    in_order((0..DRIVERS).map(online).chain(jobs).chain(pings).collect())
}

fn judge(bencher: Bencher<'_, '_>, records: &[Record], start: impl Fn() -> Judge) {
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        let mut judge = start();
        for record in records {
            judge.see(record);
        }
        judge.verdicts(true)
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn an_order_for_each_of_50_000_jobs(bencher: Bencher<'_, '_>) {
    let law = entry(SEARCH).expect("it is in the registry");
    let search = || Judge::of(std::iter::once(law), &Declares::default(), &Known::default());
    judge(bencher, &history(), search);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_other_law(bencher: Bencher<'_, '_>) {
    let skip = [SEARCH.to_owned()];
    let folds = || Judge::new(&Declares::default(), &skip, &Known::default(), HORIZON);
    judge(bencher, &history(), folds);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law(bencher: Bencher<'_, '_>) {
    judge(bencher, &history(), every);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law_at_rush_hour(bencher: Bencher<'_, '_>) {
    judge(bencher, &rush_hour(), every);
}

/// From the disk: unpacking and parsing alone, and with every law.
fn from_files(bencher: Bencher<'_, '_>, records: &[Record], laws: bool) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut writer = Writer::create(folder.path()).expect("a history");
    for record in records {
        writer.append(record).expect("a record");
    }
    writer.finish().expect("the end of a history");
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        let mut judge = laws.then(every);
        let mut read = 0;
        for record in Reader::open(folder.path()).expect("a history") {
            let record = record.expect("a record");
            read += 1;
            if let Some(judge) = &mut judge {
                judge.see(&record);
            }
        }
        (read, judge.map(|judge| judge.verdicts(true)))
    });
}

fn every() -> Judge {
    Judge::new(&Declares::default(), &[], &Known::default(), HORIZON)
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn reading_files(bencher: Bencher<'_, '_>) {
    from_files(bencher, &history(), false);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law_from_files(bencher: Bencher<'_, '_>) {
    from_files(bencher, &history(), true);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law_at_rush_hour_from_files(bencher: Bencher<'_, '_>) {
    from_files(bencher, &rush_hour(), true);
}
