//! `orchestration/dispatch`: the flows of a job, from the request to the charge. Each begins with
//! one durable move; what follows it is done at once when possible, and by the sweep otherwise.

use futures_util::join;

use super::{
    calls::{MEMORY, ROWS, capture, make, owed},
    events, planted,
    search::seek,
};
use crate::backend::{
    node::Node,
    plants,
    platform::rpc::{Code, Router, RpcError, refuse},
    wire::{
        CaptureAnswer, CreateAsk, Job, JobAnswer, JobAsk, JobState, LocateAnswer, LocateAsk,
        MoveAnswer, MoveAsk, Nothing, PayAsk, QuoteAnswer, QuoteAsk, RateAsk, Rating, RequestAsk,
    },
};

/// Serves `orchestration/dispatch` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let own = node.clone();
    router.on("/orchestration/dispatch/request", move |ask: RequestAsk| {
        let node = own.clone();
        async move { request(&node, ask).await }
    });
    flow(node, router, "/orchestration/dispatch/accept", "/core/job/accept");
    flow(node, router, "/orchestration/dispatch/decline", "/core/job/decline");
    flow(node, router, "/orchestration/dispatch/arrive", "/core/job/arrive");
    flow(node, router, "/orchestration/dispatch/pick_up", "/core/job/pick_up");
    flow(node, router, "/orchestration/dispatch/drop_off", "/core/job/drop_off");
    flow(node, router, "/orchestration/dispatch/driver_cancel", "/core/job/driver_cancel");
    flow(node, router, "/orchestration/dispatch/no_show", "/core/job/no_show");
    flow(node, router, "/orchestration/dispatch/cancel", "/core/job/cancel");
    let own = node.clone();
    router.on("/orchestration/dispatch/pay", move |ask: PayAsk| {
        let node = own.clone();
        async move { pay(&node, ask).await }
    });
    let own = node.clone();
    router.on("/orchestration/dispatch/rate", move |ask: RateAsk| {
        let node = own.clone();
        async move { rate(&node, ask).await }
    });
}

/// One move, and whatever follows from the state that it led to.
fn flow(node: &Node, router: &mut Router, path: &'static str, core: &'static str) {
    let own = node.clone();
    router.on(path, move |ask: MoveAsk| {
        let node = own.clone();
        async move {
            let done = make(&node, core, &ask).await?;
            if let Some(job) = &done.job {
                follow(&node, job);
            }
            Ok::<MoveAnswer, RpcError>(done)
        }
    });
}

/// Goes on with a job in the background: seeks drivers while it is open, takes the money when it is
/// over. The job stays due until that is done, so a node that dies here is replaced by the sweep.
pub fn follow(node: &Node, job: &Job) {
    let (own, job) = (node.clone(), job.clone());
    match job.state() {
        JobState::Requested | JobState::Offered => {
            node.env.spawn(node.rpc.phosphor().carry(async move { seek(&own, job).await }));
        }
        JobState::Completed | JobState::Cancelled if !job.paid => {
            if node.planted(plants::CHARGE_IN_MEMORY) {
                return planted::take_later(node, &job, "");
            }
            node.env.spawn(node.rpc.phosphor().carry(async move {
                let _by_the_sweep = capture(&own, &job, "").await;
            }));
        }
        _ => {}
    }
}

async fn request(node: &Node, ask: RequestAsk) -> Result<MoveAnswer, RpcError> {
    let locate = LocateAsk { at: ask.pickup };
    let quote = QuoteAsk { from: ask.pickup, to: ask.dropoff };
    let (zone, quote) = join!(
        node.rpc.call::<_, LocateAnswer>("/core/zoning/search", &locate, MEMORY),
        node.rpc.call::<_, QuoteAnswer>("/core/fare/quote", &quote, MEMORY),
    );
    let (zone, quote) = (certainly_not(zone)?, certainly_not(quote)?);
    if !zone.in_city {
        return Err(refuse(Code::Invalid, "the pickup is outside of the city"));
    }
    let create = CreateAsk {
        passenger: ask.passenger,
        pickup: ask.pickup,
        dropoff: ask.dropoff,
        key: ask.key,
        quoted_minor: quote.fare_minor,
    };
    let made: MoveAnswer = if node.planted(plants::UNKNOWN_AS_REFUSAL) {
        planted::create_soon(node, &create).await?
    } else {
        node.rpc.call("/core/job/create", &create, ROWS).await?
    };
    if let Some(job) = made.job.as_ref().filter(|_| !made.replayed) {
        events::job(node, job, []);
        follow(node, job);
    }
    Ok(made)
}

/// A question asks for nothing to be done, so without an answer nothing was done.
pub fn certainly_not<T>(answer: Result<T, RpcError>) -> Result<T, RpcError> {
    answer.map_err(|error| match error {
        RpcError::Unknown(why) => RpcError::Unavailable(why),
        other => other,
    })
}

/// The passenger's own job.
async fn own_job(node: &Node, id: u64, passenger: u64) -> Result<Job, RpcError> {
    let answer = node.rpc.call("/core/job/get", &JobAsk { job: id }, ROWS).await;
    let answer: JobAnswer = certainly_not(answer)?;
    let job = answer.job.ok_or_else(|| refuse(Code::NotFound, format!("no job {id}")))?;
    if job.passenger != passenger {
        return Err(refuse(Code::Forbidden, "another passenger's job"));
    }
    Ok(job)
}

async fn pay(node: &Node, ask: PayAsk) -> Result<CaptureAnswer, RpcError> {
    let job = own_job(node, ask.job, ask.passenger).await?;
    if node.planted(plants::CHARGE_IN_MEMORY) && owed(&job).is_some() {
        planted::take_later(node, &job, &ask.key);
        return Ok(CaptureAnswer::default());
    }
    if node.planted(plants::LOST_PAYMENT) && job.paid {
        return Ok(CaptureAnswer::default());
    }
    let taken = capture(node, &job, &ask.key).await?;
    taken.ok_or_else(|| refuse(Code::Conflict, "nothing is owed for the job"))
}

async fn rate(node: &Node, ask: RateAsk) -> Result<Nothing, RpcError> {
    let job = own_job(node, ask.job, ask.passenger).await?;
    if job.state() != JobState::Completed {
        return Err(refuse(Code::Conflict, "only a completed journey is rated"));
    }
    let driver = job.assignments.iter().rev().find(|a| !a.released).map_or(0, |a| a.driver);
    let rating = Rating { job: job.id, passenger: ask.passenger, driver, stars: ask.stars };
    node.rpc.call("/core/customer/rate", &rating, ROWS).await
}
