//! `core/job`: owns every job and the roster (who is on shift, who holds what), so that each move
//! is one transaction. Pure decisions live in [`moves`]; this file reads, writes and tries again.

pub mod board;
pub mod moves;
pub mod planted;
mod serve;
mod shift;

use std::{rc::Rc, time::Duration};

pub use serve::mount;

use board::{Board, Rules, is_held_by, is_over};
use moves::{Move, Moved, decide, drivers_around};

use super::{
    Code, RpcError, refuse,
    table::{Plan, Read, Table, after_prefix, change, decode, put_blind},
};
use crate::{
    backend::wire::{
        CreateAsk, DriverRow, Due, Job, JobState, JobsAnswer, KeyRow, MoveAnswer, Offer,
        PassengerRow, Pending, Shift, Standing, Status,
    },
    world::store::Txn,
};

/// Jobs of one page at most.
const PAGE_MAX: usize = 200;
/// Due jobs told at once at most; the rest waits for the next look.
const DUE_MAX: usize = 128;
/// How old the list of due jobs may be: whoever tends one finds out whether it still is, and most
/// looks find nothing.
const DUE_STALE: Duration = Duration::from_secs(1);

/// The service: rows, rules, clock and ids are handed in.
pub struct Jobs {
    table: Rc<dyn Table>,
    rules: Rules,
    now_ms: Box<dyn Fn() -> u64>,
    new_id: Box<dyn Fn() -> u64>,
}

/// What a move led to.
#[derive(Debug)]
pub struct Done {
    /// The board as it is now.
    pub board: Board,
    /// Repetition, offer.
    pub moved: Moved,
    /// What became of the drivers that it touched.
    pub standings: Vec<Standing>,
}

impl From<Done> for MoveAnswer {
    fn from(done: Done) -> Self {
        Self { job: Some(done.board.job), replayed: done.moved.replayed, standings: done.standings }
    }
}

impl Jobs {
    /// A service on these rows.
    pub fn new(
        table: Rc<dyn Table>,
        rules: Rules,
        now_ms: Box<dyn Fn() -> u64>,
        new_id: Box<dyn Fn() -> u64>,
    ) -> Self {
        Self { table, rules, now_ms, new_id }
    }

    /// A new job, or the one that the idempotency key led to before.
    pub async fn create(&self, ask: &CreateAsk) -> Result<MoveAnswer, RpcError> {
        if ask.key.is_empty() || ask.key.len() > 128 {
            return Err(refuse(Code::Invalid, "the idempotency key must have 1 to 128 characters"));
        }
        let id = (self.new_id)();
        let (answer, _) = change(&self.table, || self.plan_create(id, ask)).await?;
        Ok(answer)
    }

    async fn plan_create(&self, id: u64, ask: &CreateAsk) -> Result<Plan<MoveAnswer>, RpcError> {
        let (key, passenger) =
            (idempotency_key(ask.passenger, &ask.key), at_passenger(ask.passenger));
        let mut read = Read::default();
        read.more(&*self.table, vec![key.clone(), passenger.clone()]).await?;
        let known = read.row::<KeyRow>(&key)?.filter(|_| !self.rules.planted.redelivered);
        if let Some(known) = known {
            let job = self.job(known.job).await?;
            // The answer to a commit of this very call may have been lost: that is no repetition.
            let replayed = job.id != id;
            let answer = MoveAnswer { job: Some(job), replayed, standings: Vec::new() };
            return Ok(Plan { txn: Txn::default(), answer });
        }
        let mut board = Board {
            now_ms: (self.now_ms)(),
            job: Job::default(),
            drivers: std::collections::BTreeMap::new(),
            passenger: read
                .row(&passenger)?
                .unwrap_or(PassengerRow { passenger: ask.passenger, job: 0 }),
        };
        moves::create(&mut board, id, ask, &self.rules)?;
        let mut txn = Txn::default();
        read.put(&mut txn, key, &KeyRow { job: id });
        read.put(&mut txn, passenger, &board.passenger);
        read.put(&mut txn, at_job(id), &board.job);
        move_due(&mut txn, &Job::default(), &board.job);
        let answer = MoveAnswer { job: Some(board.job), replayed: false, standings: Vec::new() };
        Ok(Plan { txn, answer })
    }

    /// Makes one move, or refuses it.
    pub async fn make(&self, job: u64, a_move: Move) -> Result<Done, RpcError> {
        let (mut done, version) = change(&self.table, || self.plan_move(job, a_move)).await?;
        for standing in &mut done.standings {
            // Rows that this commit wrote carry its version.
            standing.version = if standing.version == 0 { version } else { standing.version };
        }
        Ok(done)
    }

    async fn plan_move(&self, job: u64, a_move: Move) -> Result<Plan<Done>, RpcError> {
        let (read, before) = self.board(job, &a_move).await?;
        let mut board = before.clone();
        let moved = decide(&mut board, &a_move, &self.rules)?;
        let mut txn = Txn::default();
        let mut standings = Vec::new();
        let (planted, cancels) = (&self.rules.planted, matches!(a_move, Move::Cancel { .. }));
        if planted.lost_cancel && cancels && before.job.state() == JobState::Offered {
            return Ok(Plan { txn, answer: Done { board, moved, standings } });
        }
        let blind = planted.blind_cancel && cancels;
        if board.job != before.job {
            if blind || planted.double_dispatch && matches!(a_move, Move::Accept { .. }) {
                put_blind(&mut txn, at_job(job), &board.job);
            } else {
                read.put(&mut txn, at_job(job), &board.job);
            }
            move_due(&mut txn, &before.job, &board.job);
        }
        for (driver, row) in &board.drivers {
            let key = at_driver(*driver);
            let same = before.drivers.get(driver) == Some(row);
            let version = if same { read.version(&key) } else { 0 };
            standings.push(standing(row, version, Some(&board.job)));
            if !same && blind {
                put_blind(&mut txn, key, row);
            } else if !same {
                read.put(&mut txn, key, row);
            }
        }
        if board.passenger != before.passenger {
            let key = at_passenger(board.passenger.passenger);
            if blind {
                put_blind(&mut txn, key, &board.passenger);
            } else {
                read.put(&mut txn, key, &board.passenger);
            }
        }
        Ok(Plan { txn, answer: Done { board, moved, standings } })
    }

    /// Reads the job and everybody around it.
    async fn board(&self, id: u64, a_move: &Move) -> Result<(Read, Board), RpcError> {
        let mut read = Read::default();
        read.more(&*self.table, vec![at_job(id)]).await?;
        let job = read.row::<Job>(&at_job(id))?.ok_or_else(|| no_such_job(id))?;
        let around = drivers_around(&job, a_move);
        let mut keys: Vec<String> = around.iter().map(|driver| at_driver(*driver)).collect();
        keys.push(at_passenger(job.passenger));
        read.more(&*self.table, keys).await?;
        let mut drivers = std::collections::BTreeMap::new();
        for driver in around {
            let row = read.row(&at_driver(driver))?;
            drivers.insert(driver, row.unwrap_or(DriverRow { driver, ..DriverRow::default() }));
        }
        let passenger = read.row(&at_passenger(job.passenger))?;
        let passenger =
            passenger.unwrap_or(PassengerRow { passenger: job.passenger, ..Default::default() });
        Ok((read, Board { now_ms: (self.now_ms)(), job, drivers, passenger }))
    }

    /// One job.
    pub async fn job(&self, id: u64) -> Result<Job, RpcError> {
        let mut read = Read::default();
        read.more(&*self.table, vec![at_job(id)]).await?;
        read.row(&at_job(id))?.ok_or_else(|| no_such_job(id))
    }

    /// The live job of a driver, if any.
    pub async fn of_driver(&self, driver: u64) -> Result<Option<Job>, RpcError> {
        let (_, row) = self.driver_row(driver).await?;
        if row.job == 0 {
            return Ok(None);
        }
        let job = self.job(row.job).await?;
        Ok(is_held_by(&job, driver).then_some(job))
    }

    /// The live job of a passenger, if any.
    pub async fn of_passenger(&self, passenger: u64) -> Result<Option<Job>, RpcError> {
        let key = at_passenger(passenger);
        let mut read = Read::default();
        read.more(&*self.table, vec![key.clone()]).await?;
        match read.row::<PassengerRow>(&key)? {
            Some(row) if row.job != 0 => {
                let job = self.job(row.job).await?;
                Ok((!is_over(&job)).then_some(job))
            }
            _ => Ok(None),
        }
    }

    /// What the roster says of a driver; a pending offer comes with its job.
    pub async fn standing(&self, driver: u64) -> Result<Standing, RpcError> {
        let (version, row) = self.driver_row(driver).await?;
        let open = row.offer != 0 && row.offer_ends_ms > (self.now_ms)();
        let job = if open { Some(self.job(row.offer_job).await?) } else { None };
        Ok(standing(&row, version, job.as_ref()))
    }

    async fn driver_row(&self, driver: u64) -> Result<(u64, DriverRow), RpcError> {
        let key = at_driver(driver);
        let mut read = Read::default();
        read.more(&*self.table, vec![key.clone()]).await?;
        let row = read.row(&key)?.unwrap_or(DriverRow { driver, ..DriverRow::default() });
        Ok((read.version(&key), row))
    }

    /// Jobs that wait for a move of the backend itself, the longest due first.
    pub async fn due(&self, limit: usize) -> Result<Vec<Due>, RpcError> {
        let to = format!("due/{:013}/", (self.now_ms)() + 1);
        let limit = limit.clamp(1, DUE_MAX);
        let rows = self.table.scan_stale("due/".to_owned(), to, limit, DUE_STALE).await?;
        Ok(rows.iter().filter_map(|row| parse_due(&row.key)).collect())
    }

    /// A page of all jobs, by id; `after` is the `next` of the page before.
    pub async fn page(&self, after: &str, limit: usize) -> Result<JobsAnswer, RpcError> {
        let from = match after.parse::<u64>() {
            Ok(last) => format!("{}!", at_job(last)),
            Err(_) if after.is_empty() => "job/".to_owned(),
            Err(_) => return Err(refuse(Code::Invalid, "`after` must be a `next` of a page")),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let rows = self.table.scan(from, after_prefix("job/"), limit).await?;
        let jobs = rows.iter().map(decode::<Job>).collect::<Result<Vec<_>, _>>()?;
        let next = match jobs.last() {
            Some(last) if jobs.len() == limit => last.id.to_string(),
            _ => String::new(),
        };
        Ok(JobsAnswer { jobs, next })
    }
}

/// What others may know of a driver; `job` is the one that an open offer is about.
fn standing(row: &DriverRow, version: u64, job: Option<&Job>) -> Standing {
    let status = match row.shift() {
        Shift::On if row.job == 0 => Status::Free,
        Shift::On => Status::Busy,
        Shift::Off | Shift::Paused => Status::Away,
    };
    let pending = job
        .filter(|job| row.offer != 0 && row.offer_job == job.id && status == Status::Free)
        .and_then(|job| {
            let offer = job.offers.iter().find(|offer| offer.id == row.offer)?;
            Some(pending(job, offer))
        });
    Standing { driver: row.driver, version, status: status.into(), pending, at: None }
}

/// A job as it is shown to one driver.
fn pending(job: &Job, offer: &Offer) -> Pending {
    Pending {
        offer: offer.id,
        job: job.id,
        pickup: job.pickup,
        dropoff: job.dropoff,
        expires_ms: offer.expires_ms,
        fare_minor: job.quoted_minor,
    }
}

/// Keeps the index of due jobs true, in the same transaction.
fn move_due(txn: &mut Txn, before: &Job, after: &Job) {
    if before.due_ms == after.due_ms {
        return;
    }
    if before.due_ms != 0 {
        txn.writes.push((at_due(before.due_ms, before.id), None));
    }
    if after.due_ms != 0 {
        txn.writes.push((at_due(after.due_ms, after.id), Some(bytes::Bytes::new())));
    }
}

fn no_such_job(id: u64) -> RpcError {
    refuse(Code::NotFound, format!("no job {id}"))
}

fn at_job(id: u64) -> String {
    format!("job/{id:020}")
}

fn at_driver(id: u64) -> String {
    format!("roster/driver/{id:020}")
}

fn at_passenger(id: u64) -> String {
    format!("roster/passenger/{id:020}")
}

fn idempotency_key(passenger: u64, key: &str) -> String {
    format!("jobkey/{passenger:020}/{key}")
}

fn at_due(due_ms: u64, job: u64) -> String {
    format!("due/{due_ms:013}/{job:020}")
}

fn parse_due(key: &str) -> Option<Due> {
    let (due, job) = key.strip_prefix("due/")?.split_once('/')?;
    Some(Due { due_ms: due.parse().ok()?, job: job.parse().ok()? })
}

#[cfg(test)]
mod tests;
