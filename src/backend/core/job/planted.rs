//! Bugs that can be planted in the service of jobs: looked up once, when it starts, and all off by
//! default. What each does stands where the real one would be; here is what they need besides.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{Job, Jobs, RpcError, Table, no_such_job};
use crate::{
    backend::{node::Node, plants},
    world::{
        Env,
        store::{Committed, Row, Txn},
    },
};

/// How long a copy of a job is handed out.
const COPY_MS: u64 = 4_000;
/// How long the list in which jobs are looked up is behind.
const BEHIND_MS: u64 = 3_000;
/// What a timer that is kept in memory leaves in the row: nobody looks before.
const NEVER_MS: u64 = 86_400_000;
/// How long a cancel sees to its fee.
const FEE_TAKES: Duration = Duration::from_secs(1);
const DAY_S: f64 = 86_400.0;

/// Which bugs are on.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "bugs that do not depend on one another")]
pub struct Planted {
    /// Accept looks neither at the state nor at the version of the job.
    pub double_dispatch: bool,
    /// An expired offer can be accepted.
    pub late_accept: bool,
    /// A passenger's cancel leaves the driver busy.
    pub busy_leak: bool,
    /// An offer of a job that its passenger has cancelled can be accepted.
    pub revived_cancel: bool,
    /// A cancel of a job that is offered is answered and not written.
    pub lost_cancel: bool,
    /// A cancel does not insist on the version of what it read.
    pub blind_cancel: bool,
    /// The timer of the offers fires although one was accepted.
    pub late_timer: bool,
    /// No search ends.
    pub endless_search: bool,
    /// The end of the offers is known to a timer in memory only.
    pub lost_timer: bool,
    /// That money is owed is known to the memory of a node only.
    pub forgets_debts: bool,
    /// A request that comes twice is carried out twice.
    pub redelivered: bool,
    /// Jobs are read from copies.
    pub stale_read: bool,
    /// A job is looked up in a list that is behind.
    pub unborn_read: bool,
    /// When the local clock starts anew, where a journey is timed by it.
    pub midnight_ms: Option<u64>,
}

impl Planted {
    /// Those of that node.
    pub fn of(node: &Node) -> Self {
        let on = |bug| node.planted(bug);
        Self {
            double_dispatch: on(plants::DOUBLE_DISPATCH),
            late_accept: on(plants::LATE_ACCEPT),
            busy_leak: on(plants::BUSY_LEAK),
            revived_cancel: on(plants::REVIVED_CANCEL),
            lost_cancel: on(plants::LOST_CANCEL),
            blind_cancel: on(plants::BLIND_CANCEL),
            late_timer: on(plants::LATE_TIMER),
            endless_search: on(plants::ENDLESS_SEARCH),
            lost_timer: on(plants::LOST_TIMER),
            forgets_debts: on(plants::CHARGE_IN_MEMORY),
            redelivered: on(plants::REDELIVERED_REQUEST),
            stale_read: on(plants::STALE_READ),
            unborn_read: on(plants::UNBORN_READ),
            midnight_ms: on(plants::MIDNIGHT_FARE).then(|| midnight_ms(node)),
        }
    }

    /// Until when nobody looks after a job whose search ends then.
    pub fn never(search_ends_ms: u64) -> u64 {
        search_ends_ms + NEVER_MS
    }

    /// City seconds by which a journey between two moments is reckoned too short.
    pub fn lost_s(&self, from_ms: u64, to_ms: u64) -> i64 {
        let over = |midnight_ms: u64| (from_ms..to_ms).contains(&midnight_ms);
        if self.midnight_ms.is_some_and(over) { DAY_S as i64 } else { 0 }
    }
}

/// When the local clock of the city shows midnight for the first time, on the wall of that node.
fn midnight_ms(node: &Node) -> u64 {
    let (city, env) = (&node.config.settings.city, &node.env);
    let left_s = (DAY_S - city.clock_start_s) / city.time_scale.max(f64::MIN_POSITIVE);
    let origin_ms = (city.clock_origin.0 / 1_000_000) as f64;
    let began_ms = env.wall().0 - env.now().0 / 1_000_000;
    began_ms + (origin_ms + left_s * 1_000.0) as u64
}

/// The way to the rows of a service whose cancels insist on nothing: such a write comes late.
pub fn slow(node: &Node, table: Rc<dyn Table>) -> Rc<dyn Table> {
    if !node.planted(plants::BLIND_CANCEL) {
        return table;
    }
    Rc::new(Slow { env: node.env.clone(), table })
}

struct Slow {
    env: Env,
    table: Rc<dyn Table>,
}

impl Table for Slow {
    fn get(&self, keys: Vec<String>) -> LocalBoxFuture<'_, Result<Vec<Option<Row>>, RpcError>> {
        self.table.get(keys)
    }

    fn scan(
        &self,
        from: String,
        to: String,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>> {
        self.table.scan(from, to, limit)
    }

    fn commit(&self, txn: Txn) -> LocalBoxFuture<'_, Result<Committed, RpcError>> {
        Box::pin(async move {
            if txn.expects.is_empty() {
                self.env.sleep(FEE_TAKES).await;
            }
            self.table.commit(txn).await
        })
    }
}

/// Copies of jobs, with when they were made.
#[derive(Debug, Default)]
pub struct Copies(RefCell<BTreeMap<u64, (u64, Job)>>);

impl Copies {
    /// A job as it is shown, which is as it is unless a bug is on.
    pub async fn job(&self, jobs: &Jobs, id: u64) -> Result<Job, RpcError> {
        let planted = jobs.rules.planted;
        if !planted.stale_read && !planted.unborn_read {
            return jobs.job(id).await;
        }
        let now_ms = (jobs.now_ms)();
        let copy = self.0.borrow().get(&id).cloned();
        if let Some((made_ms, job)) = copy
            && made_ms + COPY_MS > now_ms
        {
            return Ok(job);
        }
        let job = jobs.job(id).await?;
        if planted.unborn_read && job.requested_ms + BEHIND_MS > now_ms {
            return Err(no_such_job(id));
        }
        if planted.stale_read {
            self.0.borrow_mut().insert(id, (now_ms, job.clone()));
        }
        Ok(job)
    }
}
