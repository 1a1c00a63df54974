//! `core/charge`: money that was taken. One row a job, so that whoever asks again finds the charge
//! that is there; idempotency keys are remembered on the row.

use std::rc::Rc;

use super::{
    Code, Router, RpcError, refuse, serve, table,
    table::{Plan, Read, Table, after_prefix, change, decode},
};
use crate::{
    backend::{
        node::Node,
        plants,
        wire::{CaptureAnswer, CaptureAsk, Charge, ChargesAnswer, JobAsk, PageAsk},
    },
    world::store::Txn,
};

/// Charges of one page at most.
const PAGE_MAX: usize = 500;
/// Idempotency keys remembered on one charge; beyond it the oldest is forgotten.
const KEYS_MAX: usize = 8;

/// The service.
pub struct Charges {
    table: Rc<dyn Table>,
    now_ms: Box<dyn Fn() -> u64>,
    new_id: Box<dyn Fn() -> u64>,
    /// Planted: nobody looks whether a charge is there.
    charge_twice: bool,
}

/// Serves `core/charge` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let (clock, ids) = (node.env.clone(), node.clone());
    let charges = Rc::new(Charges {
        table: table(node),
        now_ms: Box::new(move || clock.wall().0),
        new_id: Box::new(move || ids.next_id()),
        charge_twice: node.planted(plants::CHARGE_TWICE),
    });
    serve!(router, charges, "/core/charge/capture", CaptureAsk, |charges, ask| {
        charges.capture(&ask).await
    });
    serve!(router, charges, "/core/charge/of_job", JobAsk, |charges, ask| {
        Ok::<_, RpcError>(ChargesAnswer {
            charges: charges.of_job(ask.job).await?,
            next: String::new(),
        })
    });
    serve!(router, charges, "/core/charge/page", PageAsk, |charges, ask| {
        charges.page(&ask.after, ask.limit as usize).await
    });
}

impl Charges {
    /// Takes the money for a job once, however often it is asked.
    pub async fn capture(&self, ask: &CaptureAsk) -> Result<CaptureAnswer, RpcError> {
        if ask.job == 0 || ask.amount_minor <= 0 {
            return Err(refuse(Code::Invalid, "a charge needs a job and an amount"));
        }
        if ask.key.len() > 128 {
            return Err(refuse(Code::Invalid, "the idempotency key is too long"));
        }
        let id = (self.new_id)();
        let (answer, _) = change(&self.table, || self.plan(id, ask)).await?;
        Ok(answer)
    }

    async fn plan(&self, id: u64, ask: &CaptureAsk) -> Result<Plan<CaptureAnswer>, RpcError> {
        let at = at_charge(ask.job, if self.charge_twice { id } else { 0 });
        let mut read = Read::default();
        read.more(&*self.table, vec![at.clone()]).await?;
        let known = read.row::<Charge>(&at)?;
        let replayed = known
            .as_ref()
            .is_some_and(|charge| !ask.key.is_empty() && charge.keys.contains(&ask.key));
        let mut charge = known.clone().unwrap_or_else(|| Charge {
            id,
            job: ask.job,
            passenger: ask.passenger,
            amount_minor: ask.amount_minor,
            fee: ask.fee,
            made_ms: (self.now_ms)(),
            keys: Vec::new(),
        });
        if !ask.key.is_empty() && !replayed {
            if charge.keys.len() >= KEYS_MAX {
                charge.keys.remove(0);
            }
            charge.keys.push(ask.key.clone());
        }
        let mut txn = Txn::default();
        if known.as_ref() != Some(&charge) {
            read.put(&mut txn, at, &charge);
        }
        Ok(Plan { txn, answer: CaptureAnswer { charge: Some(charge), replayed } })
    }

    /// Every charge for a job.
    pub async fn of_job(&self, job: u64) -> Result<Vec<Charge>, RpcError> {
        let prefix = format!("charge/{job:020}/");
        let rows = self.table.scan(prefix.clone(), after_prefix(&prefix), PAGE_MAX).await?;
        rows.iter().map(decode).collect()
    }

    /// A page of all charges, by job; `after` is the `next` of the page before.
    pub async fn page(&self, after: &str, limit: usize) -> Result<ChargesAnswer, RpcError> {
        let wrong = || refuse(Code::Invalid, "`after` must be a `next` of a page");
        let from = match after.split_once('.') {
            Some((job, part)) => {
                let job = job.parse().map_err(|_| wrong())?;
                format!("{}!", at_charge(job, part.parse().map_err(|_| wrong())?))
            }
            None if after.is_empty() => "charge/".to_owned(),
            None => return Err(wrong()),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let rows = self.table.scan(from, after_prefix("charge/"), limit).await?;
        let charges = rows.iter().map(decode::<Charge>).collect::<Result<Vec<_>, _>>()?;
        let next = match rows.last() {
            Some(last) if rows.len() == limit => next_of(&last.key).unwrap_or_default(),
            _ => String::new(),
        };
        Ok(ChargesAnswer { charges, next })
    }
}

fn at_charge(job: u64, part: u64) -> String {
    format!("charge/{job:020}/{part:020}")
}

fn next_of(key: &str) -> Option<String> {
    let (job, part) = key.strip_prefix("charge/")?.split_once('/')?;
    Some(format!("{}.{}", job.parse::<u64>().ok()?, part.parse::<u64>().ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;
    use crate::backend::core::table::tests::{Memory, Mishap};

    fn service(charge_twice: bool) -> (Charges, Rc<Memory>) {
        let (memory, next) = (Rc::new(Memory::default()), Cell::new(100));
        let new_id = move || next.replace(next.get() + 1);
        let table = Rc::clone(&memory) as Rc<dyn Table>;
        (Charges { table, now_ms: Box::new(|| 5), new_id: Box::new(new_id), charge_twice }, memory)
    }

    fn ask(job: u64, key: &str) -> CaptureAsk {
        CaptureAsk { job, passenger: 2, amount_minor: 950, fee: false, key: key.into() }
    }

    fn now<T>(work: impl Future<Output = T>) -> T {
        work.now_or_never().expect("memory never waits")
    }

    #[test]
    fn a_job_is_charged_once_however_often_it_is_asked() {
        let (charges, memory) = service(false);
        let first = now(charges.capture(&ask(1, ""))).unwrap().charge.unwrap();
        let paid = now(charges.capture(&ask(1, "k"))).unwrap();
        assert_eq!((paid.charge.as_ref().unwrap().id, paid.replayed), (first.id, false));
        assert!(now(charges.capture(&ask(1, "k"))).unwrap().replayed);
        memory.next.set(Mishap::AnswerLost);
        now(charges.capture(&ask(2, "j"))).unwrap();
        memory.next.set(Mishap::AskLost);
        now(charges.capture(&ask(3, "i"))).unwrap();
        let page = now(charges.page("", 2)).unwrap();
        assert_eq!(page.charges.iter().map(|c| c.job).collect::<Vec<_>>(), [1, 2]);
        let rest = now(charges.page(&page.next, 2)).unwrap();
        assert_eq!((rest.charges.len(), rest.next.as_str()), (1, ""));
        assert!(now(charges.page("x", 2)).is_err());
    }

    #[test]
    fn the_planted_bug_charges_again() {
        let (charges, _) = service(true);
        now(charges.capture(&ask(1, "k"))).unwrap();
        now(charges.capture(&ask(1, "k"))).unwrap();
        assert_eq!(now(charges.of_job(1)).unwrap().len(), 2);
    }
}
