//! The sweep: jobs for which the backend itself owes a move (an offer or a search that ends, money
//! not taken) are in an index of core. Every orchestration node looks there; whoever tends a job
//! first has it for the length of a lease, so a job never waits for a dead node.

use std::time::Duration;

use super::{
    calls::{ROWS, TEND, capture, make},
    planted,
    search::seek,
};
use crate::backend::{
    node::Node,
    plants,
    wire::{Due, DueAnswer, DueAsk, JobState, MoveAsk},
};

/// A look comes after a pause between these two, so that nodes do not look in step.
const LOOK_AFTER_S: (f64, f64) = (0.20, 0.35);
/// Jobs that one look takes.
const BATCH: u32 = 64;
/// Jobs that are tended at one moment.
const AT_ONCE: usize = 8;

/// Looks for due jobs until the node dies.
pub fn start(node: &Node) {
    let own = node.clone();
    node.env.spawn(async move {
        let mut rng = own.env.rng("sweep").fork(&own.config.incarnation.to_string());
        loop {
            let pause = rng.between(LOOK_AFTER_S.0, LOOK_AFTER_S.1);
            own.env.sleep(Duration::from_secs_f64(pause)).await;
            let ask = DueAsk { limit: BATCH };
            let due = own.rpc.call::<_, DueAnswer>("/core/job/due", &ask, ROWS).await;
            let Ok(DueAnswer { due }) = due else { continue };
            // Each node begins elsewhere: fewer of them meet at one job.
            let from = rng.below(due.len());
            let (late, early) = due.split_at(from);
            let mut all: Vec<Due> = early.iter().chain(late).copied().collect();
            if own.planted(plants::POISON_JOB) {
                all = planted::before_poison(due);
            }
            for some in all.chunks(AT_ONCE) {
                let tend = |due: &Due| own.rpc.phosphor().of_job(due.job, tend(&own, *due));
                futures_util::future::join_all(some.iter().map(tend)).await;
            }
        }
    });
}

/// Looks after one job, unless another node was first.
pub(super) async fn tend(node: &Node, due: Due) {
    let ask = MoveAsk { job: due.job, due_ms: due.due_ms, ..MoveAsk::default() };
    // Refused: another node was first.
    let Ok(done) = make(node, TEND, &ask).await else { return };
    let Some(job) = done.job else { return };
    match job.state() {
        JobState::Requested | JobState::Offered => seek(node, job).await,
        JobState::Completed | JobState::Cancelled if !job.paid => {
            let _by_the_next_look = capture(node, &job, "").await;
        }
        _ => {}
    }
}
