//! `core/feature-flags`: which features are on for an account. A flag is on for a share of the
//! accounts, always the same ones. In memory, no rows.

use super::Router;
use crate::backend::{
    node::Node,
    product::is_in,
    wire::{FeaturesAnswer, FeaturesAsk},
};

/// Serves `core/feature-flags` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let config = node.config.clone();
    router.on_sync("/core/feature-flags/features", move |ask: FeaturesAsk| {
        let flags = config.settings.product.flags.iter();
        let on = flags.filter(|(name, share)| is_in(name, ask.account, **share));
        Ok(FeaturesAnswer { on: on.map(|(name, _)| name.clone()).collect() })
    });
}
