//! `core/fare`: what a journey would cost and take. In memory, no rows.

use super::{
    Router,
    tariff::{Road, from_wire},
};
use crate::backend::{
    node::Node,
    wire::{QuoteAnswer, QuoteAsk},
};

/// Serves `core/fare` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let (road, env) = (Road::new(&node.config.settings.city), node.env.clone());
    router.on_sync("/core/fare/quote", move |ask: QuoteAsk| {
        let metres = road.metres(from_wire(ask.from.as_ref())?, from_wire(ask.to.as_ref())?);
        let trip_s = road.seconds(metres, env.now());
        Ok(QuoteAnswer { fare_minor: road.fare_minor(metres, trip_s), trip_s, metres })
    });
}
