//! Calls that several flows make, with their deadlines.

use std::time::Duration;

use super::{events, planted};
use crate::backend::{
    node::Node,
    plants,
    platform::rpc::{Policy, RpcError},
    wire::{
        CaptureAnswer, CaptureAsk, End, Job, JobState, MoveAnswer, MoveAsk, Standing, Standings,
    },
};

/// A look at a job for which the backend itself owes a move.
pub const TEND: &str = "/core/job/tend";
/// Moves and reads of rows: safe to repeat, since every move recognises its repetition.
pub const ROWS: Policy = Policy {
    deadline: Duration::from_millis(1_600),
    attempt: Duration::from_millis(1_300),
    idempotent: true,
};

/// Questions that are answered from memory.
pub const MEMORY: Policy = Policy {
    deadline: Duration::from_secs(1),
    attempt: Duration::from_millis(400),
    idempotent: true,
};

/// Makes one move of a job and tells the indexes what became of the drivers.
pub async fn make(node: &Node, path: &'static str, ask: &MoveAsk) -> Result<MoveAnswer, RpcError> {
    let done: MoveAnswer = node.rpc.call(path, ask, ROWS).await?;
    mark(node, done.standings.clone());
    if let Some(job) = done.job.as_ref().filter(|_| is_news(path, &done)) {
        events::job(node, job, done.standings.iter().map(|standing| standing.driver));
    }
    Ok(done)
}

/// A repetition is no news, nor is a look at a job that changed no more than when to look again.
fn is_news(path: &str, done: &MoveAnswer) -> bool {
    let expired = done.job.as_ref().is_some_and(|job| job.state() == JobState::Expired);
    !done.replayed && (path != TEND || expired || !done.standings.is_empty())
}

/// Tells every index how drivers stand; best effort, since truth is in the roster.
pub fn mark(node: &Node, standings: Vec<Standing>) {
    if !standings.is_empty() {
        node.rpc.publish("/core/raziel/mark", &Standings { standings }, false);
    }
}

/// What the passenger of a job owes: the fare of a completed one, the fee of a cancelled one.
pub fn owed(job: &Job) -> Option<CaptureAsk> {
    let (amount_minor, fee) = match job.state() {
        JobState::Completed => (job.fare_minor?, false),
        JobState::Cancelled if job.end() != End::Live => (job.fee_minor, true),
        _ => return None,
    };
    let ask = CaptureAsk {
        job: job.id,
        passenger: job.passenger,
        amount_minor,
        fee,
        ..Default::default()
    };
    (amount_minor > 0).then_some(ask)
}

/// Takes what is owed for a job and notes on the job that it was taken. Whatever fails here is made
/// good by the sweep, for the job stays due.
pub async fn capture(node: &Node, job: &Job, key: &str) -> Result<Option<CaptureAnswer>, RpcError> {
    let Some(mut ask) = planted::sum(node, job, owed(job)) else { return Ok(None) };
    key.clone_into(&mut ask.key);
    let taken: CaptureAnswer = if node.planted(plants::LOST_PAYMENT) {
        planted::tell_payment(node, &ask)
    } else {
        node.rpc.call("/core/charge/capture", &ask, ROWS).await?
    };
    if !job.paid {
        let paid = MoveAsk { job: job.id, ..MoveAsk::default() };
        // Not told to the caller: the money is taken, and the sweep repeats this.
        if let Some(charge) = &taken.charge {
            events::charge(node, charge);
        }
        let _noted = node.rpc.call::<_, MoveAnswer>("/core/job/paid", &paid, ROWS).await;
    }
    Ok(Some(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fares_and_fees_are_owed() {
        let job = |state: JobState, fare, fee| Job {
            id: 1,
            state: state.into(),
            fare_minor: fare,
            fee_minor: fee,
            end: End::ByPassenger.into(),
            ..Job::default()
        };
        let amount = |job: &Job| owed(job).map(|ask| (ask.amount_minor, ask.fee));
        assert_eq!(amount(&job(JobState::Completed, Some(900), 0)), Some((900, false)));
        assert_eq!(amount(&job(JobState::Cancelled, None, 500)), Some((500, true)));
        assert_eq!(amount(&job(JobState::Cancelled, None, 0)), None);
        assert_eq!(amount(&job(JobState::PickedUp, None, 500)), None);
        assert_eq!(amount(&job(JobState::Expired, None, 0)), None);
    }
}
