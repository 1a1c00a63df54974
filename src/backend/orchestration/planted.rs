//! Bugs that can be planted in the flows of a job: what they do in the place of what is right. All off
//! by default; where each is asked for is where the real one would be.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::{
    calls::{ROWS, capture},
    sweep,
};
use crate::{
    backend::{
        node::Node,
        plants,
        platform::rpc::{Code, Policy, RpcError, refuse},
        wire::{CaptureAnswer, CaptureAsk, CreateAsk, Due, Job, JobState, MoveAnswer},
    },
    base::time::Wall,
};

/// How long money that is owed lies in the memory of a node.
const BATCH_AFTER: Duration = Duration::from_secs(6);
/// How long a request waits for its answer.
const SOON: Duration = Duration::from_millis(250);
/// Of so many jobs one cannot be read.
const POISONED: u64 = 24;
/// Bits of an id below its milliseconds.
const ID_LOW_BITS: u32 = 22;

/// What is taken for a job instead of what is owed.
pub fn sum(node: &Node, job: &Job, owed: Option<CaptureAsk>) -> Option<CaptureAsk> {
    let mut ask = owed;
    if ask.is_none()
        && job.state() == JobState::Cancelled
        && node.planted(plants::CHARGE_AFTER_CANCEL)
    {
        let (job, passenger, amount_minor) = (job.id, job.passenger, job.quoted_minor);
        ask = Some(CaptureAsk { job, passenger, amount_minor, ..CaptureAsk::default() });
    }
    let mut ask = ask?;
    if node.planted(plants::ESTIMATE_CHARGED) && job.state() == JobState::Completed {
        ask.amount_minor = job.quoted_minor;
    }
    if node.planted(plants::FLOAT_MONEY) {
        ask.amount_minor = (ask.amount_minor as f64 / 100.0 * 100.0) as i64;
    }
    Some(ask)
}

/// Takes the money for a job with the next batch, unless the node dies before.
pub fn take_later(node: &Node, job: &Job, key: &str) {
    let (own, job, key) = (node.clone(), job.clone(), key.to_owned());
    node.env.spawn(async move {
        own.env.sleep(BATCH_AFTER).await;
        let _lost = capture(&own, &job, &key).await;
    });
}

/// Tells whoever takes the money, one way, whether anybody is there or not.
pub fn tell_payment(node: &Node, ask: &CaptureAsk) -> CaptureAnswer {
    // The first in the list, for ever.
    if let Some(charge) = node.config.nodes.iter().find(|other| other.role() == "core") {
        node.rpc.tell(charge, "/core/charge/capture", ask);
    }
    CaptureAnswer::default()
}

/// What a request comes to that is not answered soon: it is said not to have been carried out.
pub async fn create_soon(node: &Node, create: &CreateAsk) -> Result<MoveAnswer, RpcError> {
    let soon = Policy { deadline: SOON, ..ROWS };
    let made = node.rpc.call("/core/job/create", create, soon).await;
    made.map_err(|error| match error {
        RpcError::Unknown(why) => {
            refuse(Code::Invalid, format!("it could not be carried out: {why}"))
        }
        other => other,
    })
}

/// Waits in memory for the end of a job's offers, unless the node dies before.
pub fn watch_offers(node: &Node, job: &Job) {
    let Some(ends_ms) = job.offers.iter().map(|offer| offer.expires_ms).min() else { return };
    let (own, due) = (node.clone(), Due { job: job.id, due_ms: job.due_ms });
    // Boxed: to tend a job leads to the next offer, and to another timer.
    let work: LocalBoxFuture<'static, ()> = Box::pin(async move {
        own.env.sleep(own.env.wall().until(Wall(ends_ms))).await;
        sweep::tend(&own, due).await;
    });
    node.env.spawn(work);
}

/// The due jobs before the first that cannot be read; the queue does not go on behind it.
pub fn before_poison(due: Vec<Due>) -> Vec<Due> {
    due.into_iter().take_while(|due| !(due.job >> ID_LOW_BITS).is_multiple_of(POISONED)).collect()
}
