//! What judging costs: `cargo bench --bench laws`. 50,000 jobs of twelve ops each, many of them under
//! way at once, before the search for an order alone and before every law; from memory, and from the
//! files of a history.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::rc::Rc;

use divan::{Bencher, counter::ItemsCount};
use robot_city::{
    base::{
        id::{Id, RobotId},
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

fn history() -> Vec<Record> {
    let mut ops: Vec<Op> = (0..JOBS).flat_map(journey).collect();
    ops.sort_by_key(|op| op.done);
    ops.into_iter().map(|op| Record::Op(Rc::new(op))).collect()
}

fn judge(bencher: Bencher<'_, '_>, start: impl Fn() -> Judge) {
    let records = history();
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        let mut judge = start();
        for record in &records {
            judge.see(record);
        }
        judge.verdicts(true)
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn an_order_for_each_of_50_000_jobs(bencher: Bencher<'_, '_>) {
    let law = entry("job-register-linearizable").expect("it is in the registry");
    judge(bencher, || Judge::of(std::iter::once(law), &Declares::default(), &Known::default()));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law(bencher: Bencher<'_, '_>) {
    judge(bencher, every);
}

/// From the disk: unpacking and parsing alone, and with every law.
fn from_files(bencher: Bencher<'_, '_>, laws: bool) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut writer = Writer::create(folder.path()).expect("a history");
    let records = history();
    for record in &records {
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
    from_files(bencher, false);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn every_law_from_files(bencher: Bencher<'_, '_>) {
    from_files(bencher, true);
}
