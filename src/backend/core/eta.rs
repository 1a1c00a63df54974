//! `core/eta`: how long the way takes. In memory, no rows.

use super::{
    Code, Router, refuse,
    tariff::{Road, from_wire},
};
use crate::backend::{
    node::Node,
    wire::{TravelAnswer, TravelAsk},
};

/// Places in one ask at most.
const PLACES_MAX: usize = 100;

/// Serves `core/eta` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let (road, env) = (Road::new(&node.config.settings.city), node.env.clone());
    router.on_sync("/core/eta/multitraveltime", move |ask: TravelAsk| {
        if ask.from.len() > PLACES_MAX {
            return Err(refuse(Code::Invalid, "too many places"));
        }
        let to = from_wire(ask.to.as_ref())?;
        let mut seconds = Vec::with_capacity(ask.from.len());
        for from in &ask.from {
            let metres = road.metres(from_wire(Some(from))?, to);
            seconds.push(road.seconds(metres, env.now()));
        }
        Ok(TravelAnswer { seconds })
    });
}
