//! `orchestration/nearest-driver`: who is near, and how soon one could be there; `orchestration/near`:
//! what a journey would cost. Questions to core, asked side by side.

use futures_util::join;

use super::{calls::MEMORY, dispatch::certainly_not};
use crate::backend::{
    node::Node,
    platform::rpc::{Code, Router, RpcError, refuse},
    wire::{
        JourneyQuote, LocateAnswer, LocateAsk, NearAnswer, NearDriver, NearestAsk, QuoteAnswer,
        QuoteAsk, SearchAnswer, SearchAsk, TravelAnswer, TravelAsk,
    },
};

/// Drivers of one answer at most.
const LIMIT_MAX: u32 = 50;

/// Serves `orchestration/nearest-driver` and `orchestration/near` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let own = node.clone();
    router.on("/orchestration/nearest-driver/search", move |ask: NearestAsk| {
        let node = own.clone();
        async move { certainly_not(near(&node, &ask).await) }
    });
    let own = node.clone();
    router.on("/orchestration/near/quote", move |ask: QuoteAsk| {
        let node = own.clone();
        async move { certainly_not(quote(&node, &ask).await) }
    });
}

/// The nearest free drivers, and how long each would take.
async fn near(node: &Node, ask: &NearestAsk) -> Result<NearAnswer, RpcError> {
    let (at, tenant, limit) = (ask.at, ask.tenant, ask.limit.clamp(1, LIMIT_MAX));
    let search = SearchAsk { at, limit, tenant, without: Vec::new() };
    let locate = LocateAsk { at };
    let (zone, found) = join!(
        node.rpc.call::<_, LocateAnswer>("/core/zoning/search", &locate, MEMORY),
        node.rpc.call::<_, SearchAnswer>("/core/raziel/search", &search, MEMORY),
    );
    if !zone?.in_city {
        return Err(refuse(Code::Invalid, "the place is outside of the city"));
    }
    let found = found?.found;
    if found.is_empty() {
        return Ok(NearAnswer::default());
    }
    let ask = TravelAsk { from: found.iter().filter_map(|found| found.at).collect(), to: at };
    let travel: TravelAnswer = node.rpc.call("/core/eta/multitraveltime", &ask, MEMORY).await?;
    if travel.seconds.len() != found.len() {
        return Err(RpcError::Unavailable("eta left out drivers".to_owned()));
    }
    let drivers = found.iter().zip(travel.seconds).map(|(found, eta_s)| NearDriver {
        driver: found.driver,
        at: found.at,
        eta_s,
    });
    Ok(NearAnswer { drivers: drivers.collect() })
}

async fn quote(node: &Node, ask: &QuoteAsk) -> Result<JourneyQuote, RpcError> {
    let nearest = NearestAsk { at: ask.from, limit: 1, tenant: 0 };
    let (fare, near) = join!(
        node.rpc.call::<_, QuoteAnswer>("/core/fare/quote", ask, MEMORY),
        near(node, &nearest),
    );
    let (fare, near) = (fare?, near?);
    Ok(JourneyQuote {
        fare_minor: fare.fare_minor,
        trip_s: fare.trip_s,
        eta_s: near.drivers.first().map(|driver| driver.eta_s),
    })
}
