//! Seeking drivers for one job: the nearest free ones from the index, an offer to each in the job's
//! row, and a hint to every index so that the next ping of the driver brings it.

use super::{
    calls::{MEMORY, ROWS, mark},
    events, planted,
};
use crate::backend::{
    node::Node,
    plants,
    platform::ids::tenant_of,
    wire::{Job, JobState, MoveAsk, OfferAnswer, SearchAnswer, SearchAsk},
};

/// Candidates of one look; more are taken by the next.
const CANDIDATES: u32 = 8;

/// Offers an open job to as many drivers as may be asked at once. Best effort: while the job is
/// open it stays due, and is looked at again.
pub async fn seek(node: &Node, mut job: Job) {
    let wanted = node.live.settings().offers_at_once.max(1) as usize;
    if !is_wanting(&job, wanted) {
        return;
    }
    let (at, tenant) = (job.pickup, tenant_of(job.passenger));
    let ask = SearchAsk { at, limit: CANDIDATES, tenant, without: job.asked.clone() };
    let found = node.rpc.call("/core/raziel/search", &ask, MEMORY).await;
    let Ok(SearchAnswer { found }) = found else { return };
    for candidate in found {
        let ask = MoveAsk { job: job.id, actor: candidate.driver, ..MoveAsk::default() };
        let made: Result<OfferAnswer, _> = node.rpc.call("/core/job/offer", &ask, ROWS).await;
        // Refused: somebody took it, or enough are asked. No answer: the sweep looks again.
        let Ok(made) = made else { return };
        // Free or not, this is how the driver stands.
        mark(node, made.standing.into_iter().collect());
        if let Some(job) = made.job.as_ref().filter(|_| made.offer.is_some()) {
            events::job(node, job, [candidate.driver]);
            if node.planted(plants::LOST_TIMER) {
                planted::watch_offers(node, job);
            }
        }
        match made.job {
            Some(now) if is_wanting(&now, wanted) => job = now,
            _ => return,
        }
    }
}

fn is_wanting(job: &Job, wanted: usize) -> bool {
    matches!(job.state(), JobState::Requested | JobState::Offered) && job.offers.len() < wanted
}
