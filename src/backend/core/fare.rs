//! `core/fare`: what a journey would cost and take, and what each kind of car costs at least. In
//! memory, no rows.

use std::time::Duration;

use super::{
    Code, Router, refuse,
    tariff::{Road, from_wire},
};
use crate::{
    backend::{
        node::Node,
        plants,
        wire::{BaseFareAnswer, BaseFareAsk, QuoteAnswer, QuoteAsk},
    },
    base::time::Time,
};

/// Planted: how long the prices take.
const PRICES_AFTER: Duration = Duration::from_secs(15);
/// No kind of car costs more than so many percent of the tariff.
const PERCENT_MAX: u32 = 1_000;

/// Serves `core/fare` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let (road, env) = (Road::new(&node.config.settings.city), node.env.clone());
    // Planted: the new version rounds fares off.
    let rounds = node.config.version > 1 && node.planted(plants::NEW_VERSION_ROUNDS);
    // Planted: a node that comes back serves before it has its prices.
    let late = node.planted(plants::HALF_APPLIED_CONFIG) && node.config.incarnation > 0;
    let priced_at = if late { env.now() + PRICES_AFTER } else { Time::ZERO };
    router.on_sync("/core/fare/quote", move |ask: QuoteAsk| {
        let metres = road.metres(from_wire(ask.from.as_ref())?, from_wire(ask.to.as_ref())?);
        let trip_s = road.seconds(metres, env.now());
        let priced = env.now() >= priced_at;
        let fare_minor = if priced { road.fare_minor(metres, trip_s) } else { 0 };
        let fare_minor = if rounds { fare_minor - fare_minor % 10 } else { fare_minor };
        Ok(QuoteAnswer { fare_minor, trip_s, metres })
    });
    let tariff = node.config.settings.city.tariff;
    router.on_sync("/core/fare/basefare", move |ask: BaseFareAsk| {
        if !(1..=PERCENT_MAX).contains(&ask.percent) {
            let why = format!("{}: percent must be 1 to {PERCENT_MAX}", ask.service);
            return Err(refuse(Code::Invalid, why));
        }
        Ok(BaseFareAnswer {
            base_minor: part(tariff.base_minor, ask.percent),
            minimum_minor: part(tariff.minimum_minor, ask.percent),
        })
    });
}

/// So many percent, rounded half up to a minor unit.
fn part(minor: i64, percent: u32) -> i64 {
    (minor * i64::from(percent) + 50) / 100
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parts_are_whole_minor_units() {
        assert_eq!([part(420, 100), part(421, 150), part(430, 115)], [420, 632, 495]);
    }
}
