//! `/v1/customer/…`.

use super::{
    Call, FLOW, READ, Route, driver,
    json::{ChargeJson, JobAnswerJson, JobBody, JobJson, JourneyBody, PaidJson, QuoteJson},
    near,
    reply::{Refused, Reply, done, json},
    route,
};
use crate::backend::{
    plants,
    platform::token::Role,
    wire::{
        AccountKind, CaptureAnswer, JobAnswer, JobAsk, JourneyQuote, MoveAnswer, MoveAsk, Nothing,
        PayAsk, QuoteAsk, RateAsk, RequestAsk, WhoseAsk,
    },
};

const PASSENGER: Option<Role> = Some(Role::Passenger);

/// Its paths; the most frequent first.
pub const ROUTES: &[Route] = &[
    route!("/v1/customer/job", PASSENGER, job),
    route!("/v1/customer/currentjob", PASSENGER, current_job),
    route!("/v1/customer/neardrivers", PASSENGER, near::one_by_one => near::side_by_side),
    route!("/v1/customer/quote", PASSENGER, quote),
    route!("/v1/customer/request", PASSENGER, request),
    route!("/v1/customer/cancel", PASSENGER, cancel),
    route!("/v1/customer/pay", PASSENGER, pay),
    route!("/v1/customer/rate", PASSENGER, rate),
    route!("/v1/customer/login", None, login),
    route!("/v1/customer/register", None, register),
];

async fn register(call: Call) -> Reply {
    driver::sign_up(&call, AccountKind::Passenger, "/core/customer/put").await
}

async fn login(call: Call) -> Reply {
    driver::log_in(&call, AccountKind::Passenger).await
}

async fn quote(call: Call) -> Reply {
    let body: JourneyBody = call.read()?;
    let ask = QuoteAsk { from: Some(body.from.place()?), to: Some(body.to.place()?) };
    let quote: JourneyQuote = call.node.rpc.call("/orchestration/near/quote", &ask, READ).await?;
    json(&QuoteJson { fare_minor: quote.fare_minor, trip_s: quote.trip_s, eta_s: quote.eta_s })
}

async fn request(call: Call) -> Reply {
    let body: JourneyBody = call.read()?;
    if body.key.is_empty() {
        return Err(Refused::invalid("an idempotency key is needed: `key`"));
    }
    let ask = RequestAsk {
        passenger: call.account,
        pickup: Some(body.from.place()?),
        dropoff: Some(body.to.place()?),
        key: body.key,
    };
    let path = "/orchestration/dispatch/request";
    let made: MoveAnswer = call.node.rpc.call(path, &ask, FLOW).await?;
    json(&JobAnswerJson { job: made.job.as_ref().map(JobJson::of), replayed: made.replayed })
}

async fn job(call: Call) -> Reply {
    let body: JobBody = call.read()?;
    let ask = JobAsk { job: body.job };
    let found: JobAnswer = call.node.rpc.call("/core/job/get", &ask, READ).await?;
    let job = found.job.filter(|job| {
        job.passenger == call.account || call.node.planted(plants::OTHERS_JOB_READABLE)
    });
    let job = job.ok_or_else(|| Refused::forbidden("another passenger's job"))?;
    let mut seen = JobJson::of(&job);
    if call.node.planted(plants::ID_AS_FLOAT) {
        seen.with_id_as_float();
    }
    json(&JobAnswerJson { job: Some(seen), replayed: false })
}

async fn current_job(call: Call) -> Reply {
    let ask = WhoseAsk { account: call.account };
    let live: JobAnswer = call.node.rpc.call("/core/job/of_passenger", &ask, READ).await?;
    json(&JobAnswerJson { job: live.job.as_ref().map(JobJson::of), replayed: false })
}

async fn cancel(call: Call) -> Reply {
    let body: JobBody = call.read()?;
    let actor = if call.node.planted(plants::CANCEL_FOR_OTHERS) {
        owner(&call, body.job).await?
    } else {
        call.account
    };
    let ask = MoveAsk { job: body.job, actor, ..MoveAsk::default() };
    let path = "/orchestration/dispatch/cancel";
    let made: MoveAnswer = call.node.rpc.call(path, &ask, FLOW).await?;
    json(&JobAnswerJson { job: made.job.as_ref().map(JobJson::of), replayed: made.replayed })
}

/// Planted: who asked for a job, taken for who asks now.
async fn owner(call: &Call, job: u64) -> Result<u64, Refused> {
    let found: JobAnswer = call.node.rpc.call("/core/job/get", &JobAsk { job }, READ).await?;
    Ok(found.job.map_or(call.account, |job| job.passenger))
}

async fn pay(call: Call) -> Reply {
    let body: JobBody = call.read()?;
    if body.key.is_empty() {
        return Err(Refused::invalid("an idempotency key is needed: `key`"));
    }
    let ask = PayAsk { job: body.job, passenger: call.account, key: body.key };
    let path = "/orchestration/dispatch/pay";
    let paid: CaptureAnswer = call.node.rpc.call(path, &ask, FLOW).await?;
    let charge = paid.charge.as_ref().map(ChargeJson::of);
    json(&PaidJson { charge, replayed: paid.replayed })
}

async fn rate(call: Call) -> Reply {
    let body: JobBody = call.read()?;
    if !(1..=5).contains(&body.stars) {
        return Err(Refused::invalid("`stars` must be 1 to 5"));
    }
    let ask = RateAsk { job: body.job, passenger: call.account, stars: body.stars };
    let path = "/orchestration/dispatch/rate";
    let _rated: Nothing = call.node.rpc.call(path, &ask, FLOW).await?;
    done()
}
