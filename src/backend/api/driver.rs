//! `/v1/driver/…`.

use super::{
    Call, Counted, FLOW, PING, READ, Route,
    json::{
        AccountAnswer, CredentialsBody, JobAnswerJson, JobBody, JobJson, OfferAnswerJson,
        OfferBody, OfferJson, PingBody, PlainPing, SessionAnswer, Spot,
    },
    reply::{Refused, Reply, done, json},
    route,
};
use crate::backend::{
    plants,
    platform::token::Role,
    wire::{
        AccountKind, Credentials, JobAnswer, LoginAnswer, MoveAnswer, MoveAsk, Nothing, OnlineAsk,
        Pending, PingAnswer, PingAsk, Profile, RegisterAnswer, ShiftAnswer, ShiftAsk, Standing,
        Standings, Status, WhoseAsk,
    },
};

const DRIVER: Option<Role> = Some(Role::Driver);
/// Rosters that one node asks at once about drivers whom an index does not know; others wait for
/// their next ping.
const ADMITTING_MAX: usize = 32;

/// Its paths; the most frequent first.
pub const ROUTES: &[Route] = &[
    route!("/v1/driver/ping", DRIVER, ping),
    route!("/v1/driver/job", DRIVER, job),
    route!("/v1/driver/offer", DRIVER, offer),
    route!("/v1/driver/accept", DRIVER, accept),
    route!("/v1/driver/decline", DRIVER, decline),
    route!("/v1/driver/arrive", DRIVER, arrive),
    route!("/v1/driver/pickup", DRIVER, pick_up),
    route!("/v1/driver/dropoff", DRIVER, drop_off),
    route!("/v1/driver/cancel", DRIVER, cancel),
    route!("/v1/driver/noshow", DRIVER, no_show),
    route!("/v1/driver/online", DRIVER, online),
    route!("/v1/driver/offline", DRIVER, offline),
    route!("/v1/driver/pause", DRIVER, pause),
    route!("/v1/driver/resume", DRIVER, resume),
    route!("/v1/driver/login", None, login),
    route!("/v1/driver/register", None, register),
];

async fn register(call: Call) -> Reply {
    sign_up(&call, AccountKind::Driver, "/core/driver/put").await
}

/// Opens an account and its profile; both may be repeated.
pub async fn sign_up(call: &Call, kind: AccountKind, profile_path: &'static str) -> Reply {
    let body: CredentialsBody = call.read()?;
    if body.name.len() > 256 {
        return Err(Refused::invalid("`name` has at most 256 bytes"));
    }
    let rpc = &call.node.rpc;
    let tenant = u32::from(!body.tenant.is_empty());
    let ask =
        Credentials { kind: kind.into(), phone: body.phone.clone(), secret: body.secret, tenant };
    let made: RegisterAnswer = rpc.call("/core/login/register", &ask, FLOW).await?;
    let profile = Profile { account: made.account, name: body.name, phone: body.phone };
    let _put: Nothing = rpc
        .call(profile_path, &profile, FLOW)
        .await
        .map_err(|error| Refused::from(error).after_a_part())?;
    json(&AccountAnswer { account: made.account, replayed: made.replayed })
}

async fn login(call: Call) -> Reply {
    log_in(&call, AccountKind::Driver).await
}

/// Credentials for a token.
pub async fn log_in(call: &Call, kind: AccountKind) -> Reply {
    let body: CredentialsBody = call.read()?;
    let (kind, phone, secret) = (kind.into(), body.phone, body.secret);
    let ask = Credentials { kind, phone, secret, ..Credentials::default() };
    let LoginAnswer { account, token, expires_in_ms } =
        call.node.rpc.call("/core/login/login", &ask, READ).await?;
    // It comes from the issuer, over our own links.
    call.node.verifier.trust(&token);
    json(&SessionAnswer { account, token, expires_in_ms })
}

async fn online(call: Call) -> Reply {
    let spot: Spot = call.read()?;
    let ask = OnlineAsk { driver: call.account, at: Some(spot.place()?) };
    let path = "/orchestration/shift/online";
    let _stands: ShiftAnswer = call.node.rpc.call(path, &ask, FLOW).await?;
    done()
}

async fn offline(call: Call) -> Reply {
    shift(&call, "/orchestration/shift/offline").await
}

async fn pause(call: Call) -> Reply {
    shift(&call, "/orchestration/shift/pause").await
}

async fn resume(call: Call) -> Reply {
    shift(&call, "/orchestration/shift/resume").await
}

async fn shift(call: &Call, path: &'static str) -> Reply {
    let ask = ShiftAsk { driver: call.account };
    let _stands: ShiftAnswer = call.node.rpc.call(path, &ask, FLOW).await?;
    done()
}

/// Two hops: this node, and the index of this AZ.
async fn ping(call: Call) -> Reply {
    let (at, seq) = if let Some(plain) = PlainPing::read(&call.body) {
        (plain.at, plain.seq)
    } else {
        let body: PingBody = call.read()?;
        (Spot { lat: body.lat, lon: body.lon }.place()?, body.seq)
    };
    let ask = PingAsk { driver: call.account, lat_e6: at.lat_e6, lon_e6: at.lon_e6, seq };
    let answer: PingAnswer = match &call.shared.planted.storm {
        None => call.node.rpc.call("/core/raziel/ping", &ask, PING).await?,
        Some(storm) => Box::pin(storm.ping(&call.node, ask)).await?,
    };
    let pending = match answer.status() {
        // Rare, and large: most pings need no room for it.
        Status::Unknown => Box::pin(admit(&call)).await,
        Status::Free | Status::Busy | Status::Away => answer.pending,
    };
    match pending {
        Some(pending) => offered(&call, Some(&pending)),
        None => done(),
    }
}

/// The index does not know how the driver stands: the roster is asked, and every index told. When
/// that cannot be done now, the next ping tries again: the position counts all the same.
async fn admit(call: &Call) -> Option<Pending> {
    if call.shared.admitting.get() >= ADMITTING_MAX {
        return None;
    }
    let guard = Counted::new(&call.shared, |shared| &shared.admitting);
    let standing = standing(call).await.ok()?;
    drop(guard);
    let marks = Standings { standings: vec![standing] };
    call.node.rpc.publish("/core/raziel/mark", &marks, false);
    standing.pending
}

async fn standing(call: &Call) -> Result<Standing, Refused> {
    let ask = WhoseAsk { account: call.account };
    Ok(call.node.rpc.call("/core/job/standing", &ask, PING).await?)
}

/// The truth about a pending offer: from the roster, not from an index.
async fn offer(call: Call) -> Reply {
    let ask = WhoseAsk { account: call.account };
    let standing: Standing = call.node.rpc.call("/core/job/standing", &ask, READ).await?;
    offered(&call, standing.pending.as_ref())
}

fn offered(call: &Call, pending: Option<&Pending>) -> Reply {
    let wall_ms = call.node.env.wall().0;
    let offer = pending.map(|pending| OfferJson::of(pending, wall_ms));
    let offer = match offer {
        Some(offer) if call.node.planted(plants::LAT_LON_SWAPPED) => Some(offer.swapped()),
        offer => offer,
    };
    json(&OfferAnswerJson { offer })
}

async fn accept(call: Call) -> Reply {
    answer_offer(&call, "/orchestration/dispatch/accept").await
}

async fn decline(call: Call) -> Reply {
    answer_offer(&call, "/orchestration/dispatch/decline").await
}

async fn answer_offer(call: &Call, path: &'static str) -> Reply {
    let body: OfferBody = call.read()?;
    let ask =
        MoveAsk { job: body.job, actor: call.account, offer: body.offer, ..MoveAsk::default() };
    moved(call, path, &ask).await
}

async fn arrive(call: Call) -> Reply {
    step(&call, "/orchestration/dispatch/arrive").await
}

async fn pick_up(call: Call) -> Reply {
    step(&call, "/orchestration/dispatch/pick_up").await
}

async fn drop_off(call: Call) -> Reply {
    step(&call, "/orchestration/dispatch/drop_off").await
}

async fn cancel(call: Call) -> Reply {
    step(&call, "/orchestration/dispatch/driver_cancel").await
}

async fn no_show(call: Call) -> Reply {
    step(&call, "/orchestration/dispatch/no_show").await
}

async fn step(call: &Call, path: &'static str) -> Reply {
    let body: JobBody = call.read()?;
    let ask = MoveAsk {
        job: body.job,
        actor: call.account,
        assignment: body.assignment,
        ..MoveAsk::default()
    };
    moved(call, path, &ask).await
}

async fn moved(call: &Call, path: &'static str, ask: &MoveAsk) -> Reply {
    let made: MoveAnswer = call.node.rpc.call(path, ask, FLOW).await?;
    let job = made.job.as_ref().map(|job| JobJson::of_driver(job, call.account));
    json(&JobAnswerJson { job, replayed: made.replayed })
}

async fn job(call: Call) -> Reply {
    let ask = WhoseAsk { account: call.account };
    let live: JobAnswer = call.node.rpc.call("/core/job/of_driver", &ask, READ).await?;
    let job = live.job.as_ref().map(|job| JobJson::of_driver(job, call.account));
    json(&JobAnswerJson { job, replayed: false })
}
