//! Shifts: a driver goes on and off, pauses and comes back. Asking twice is no harm.

use super::{Jobs, at_driver, at_job, standing};
use crate::{
    backend::{
        core::{
            Code, RpcError,
            job::board::is_held_by,
            refuse,
            table::{Plan, Read, change},
        },
        wire::{DriverRow, Job, Shift, ShiftAnswer},
    },
    world::store::Txn,
};

/// What a driver wants of its shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Start working.
    Online,
    /// Stop working; refused while a job is on hand.
    Offline,
    /// No offers for a while.
    Pause,
    /// Offers again; refused when off shift.
    Resume,
}

impl Jobs {
    /// Changes the shift of a driver.
    pub async fn shift(&self, driver: u64, wish: Wish) -> Result<ShiftAnswer, RpcError> {
        let (mut answer, version) = change(&self.table, || self.plan_shift(driver, wish)).await?;
        if let Some(standing) = &mut answer.standing {
            standing.version = if standing.version == 0 { version } else { standing.version };
        }
        Ok(answer)
    }

    async fn plan_shift(&self, driver: u64, wish: Wish) -> Result<Plan<ShiftAnswer>, RpcError> {
        let key = at_driver(driver);
        let mut read = Read::default();
        read.more(&*self.table, vec![key.clone()]).await?;
        let before = read.row(&key)?.unwrap_or(DriverRow { driver, ..DriverRow::default() });
        let mut row = before;
        if row.job != 0 {
            read.more(&*self.table, vec![at_job(row.job)]).await?;
            let job = read.row::<Job>(&at_job(row.job))?;
            // A row that names a job which the driver does not hold is put right on the way.
            if !job.is_some_and(|job| is_held_by(&job, driver)) {
                row.job = 0;
            }
        }
        decide(&mut row, wish)?;
        let mut answer = ShiftAnswer { replayed: row == before, ..ShiftAnswer::default() };
        if row.shift() != Shift::On && row.offer != 0 {
            (answer.offer, answer.offer_job) = (row.offer, row.offer_job);
        }
        let mut txn = Txn::default();
        if row == before {
            answer.standing = Some(standing(&row, read.version(&key), None));
        } else {
            answer.standing = Some(standing(&row, 0, None));
            read.put(&mut txn, key, &row);
        }
        Ok(Plan { txn, answer })
    }
}

fn decide(row: &mut DriverRow, wish: Wish) -> Result<(), RpcError> {
    match (wish, row.shift()) {
        // Online means working, however it was before.
        (Wish::Online, Shift::Off | Shift::Paused) | (Wish::Resume, Shift::Paused) => {
            row.set_shift(Shift::On);
        }
        (Wish::Pause, Shift::On) => row.set_shift(Shift::Paused),
        (Wish::Offline, Shift::On | Shift::Paused) if row.job == 0 => row.set_shift(Shift::Off),
        (Wish::Offline, Shift::On | Shift::Paused) => {
            return Err(refuse(Code::Conflict, "the driver has a live job"));
        }
        (Wish::Pause | Wish::Resume, Shift::Off) => {
            return Err(refuse(Code::Conflict, "the driver is not on shift"));
        }
        (Wish::Online | Wish::Resume, Shift::On)
        | (Wish::Pause, Shift::Paused)
        | (Wish::Offline, Shift::Off) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_with_a_job_cannot_leave() {
        let mut row = DriverRow { driver: 1, ..DriverRow::default() };
        assert!(decide(&mut row, Wish::Pause).is_err());
        decide(&mut row, Wish::Online).unwrap();
        row.job = 7;
        assert!(decide(&mut row, Wish::Offline).is_err());
        decide(&mut row, Wish::Pause).unwrap();
        assert_eq!(row.shift(), Shift::Paused);
        row.job = 0;
        decide(&mut row, Wish::Offline).unwrap();
        decide(&mut row, Wish::Offline).unwrap();
        assert_eq!(row.shift(), Shift::Off);
    }
}
