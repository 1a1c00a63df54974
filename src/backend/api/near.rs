//! `/v1/customer/neardrivers`: who is near, which kinds of cars there are and what each costs at
//! least, and what is switched on for this account. Two implementations that answer alike: the old
//! one asks one question after another, the new one asks all that depends on nothing at once.

use futures_util::{future::try_join_all, try_join};

use super::{
    Call, READ,
    json::{NearAnswerJson, NearJson, ServiceJson, Spot},
    reply::{Refused, Reply, json},
};
use crate::backend::{
    orchestration::dispatch::certainly_not,
    platform::ids::tenant_of,
    wire::{
        BaseFareAnswer, BaseFareAsk, FeaturesAnswer, FeaturesAsk, HobAnswer, HobAsk, NearAnswer,
        NearestAsk, Place, Service, UpdatedAnswer, UpdatedAsk,
    },
};

/// Drivers that a passenger is shown.
const SHOWN: u32 = 10;

/// The old implementation: each answer is awaited before the next question.
pub async fn one_by_one(call: Call) -> Reply {
    let at = place(&call)?;
    let features = features(&call).await?;
    let mut services = Vec::new();
    for service in hob(&call).await?.services {
        services.push(base_fare(&call, service).await?);
    }
    let near = nearest(&call, at).await?;
    let updated = updated(&call).await?;
    answer(features, services, near, updated)
}

/// The new implementation: as long as its slowest question, and not as all together.
pub async fn side_by_side(call: Call) -> Reply {
    let at = place(&call)?;
    let (features, services, near, updated) = try_join!(
        features(&call),
        async {
            let known = hob(&call).await?.services;
            try_join_all(known.into_iter().map(|service| base_fare(&call, service))).await
        },
        nearest(&call, at),
        updated(&call),
    )?;
    answer(features, services, near, updated)
}

fn place(call: &Call) -> Result<Place, Refused> {
    call.read::<Spot>()?.place()
}

async fn features(call: &Call) -> Result<FeaturesAnswer, Refused> {
    let ask = FeaturesAsk { account: call.account };
    let path = "/core/feature-flags/features";
    Ok(certainly_not(call.node.rpc.call(path, &ask, READ).await)?)
}

async fn hob(call: &Call) -> Result<HobAnswer, Refused> {
    Ok(certainly_not(call.node.rpc.call("/core/hob/list", &HobAsk {}, READ).await)?)
}

async fn base_fare(call: &Call, service: Service) -> Result<ServiceJson, Refused> {
    let ask = BaseFareAsk { service: service.name.clone(), percent: service.percent };
    let asked = call.node.rpc.call("/core/fare/basefare", &ask, READ).await;
    let fare: BaseFareAnswer = certainly_not(asked)?;
    let (base_minor, minimum_minor) = (fare.base_minor, fare.minimum_minor);
    Ok(ServiceJson { name: service.name, base_minor, minimum_minor })
}

async fn nearest(call: &Call, at: Place) -> Result<NearAnswer, Refused> {
    let ask = NearestAsk { at: Some(at), limit: SHOWN, tenant: tenant_of(call.account) };
    let path = "/orchestration/nearest-driver/search";
    Ok(certainly_not(call.node.rpc.call(path, &ask, READ).await)?)
}

async fn updated(call: &Call) -> Result<UpdatedAnswer, Refused> {
    let path = "/core/experiment/readlastupdated";
    Ok(certainly_not(call.node.rpc.call(path, &UpdatedAsk {}, READ).await)?)
}

/// Whatever failed, all of it is refused: an answer without a part that it names would be a guess.
fn answer(
    features: FeaturesAnswer,
    services: Vec<ServiceJson>,
    near: NearAnswer,
    updated: UpdatedAnswer,
) -> Reply {
    let drivers = near.drivers.into_iter().map(|driver| NearJson {
        driver: driver.driver,
        at: driver.at.map(Spot::from),
        eta_s: driver.eta_s,
    });
    json(&NearAnswerJson {
        drivers: drivers.collect(),
        services,
        features: features.on,
        experiments: updated.version,
    })
}
