//! `core/hob`: the settings of a city that an app shows: its name, and the kinds of cars that can be
//! booked there. In memory, no rows.

use super::Router;
use crate::backend::{
    node::Node,
    wire::{HobAnswer, HobAsk, Service},
};

/// Serves `core/hob` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let config = node.config.clone();
    router.on_sync("/core/hob/list", move |_: HobAsk| {
        let settings = &config.settings;
        let services = settings.product.services.iter();
        Ok(HobAnswer {
            city: settings.city.name.clone(),
            services: services
                .map(|(name, percent)| Service { name: name.clone(), percent: *percent })
                .collect(),
        })
    });
}
