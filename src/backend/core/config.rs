//! `core/config`: settings by key, as JSON. Holds what the node was started with.

use std::{collections::BTreeMap, rc::Rc};

use super::{Code, Router, refuse};
use crate::backend::{
    boot::Settings,
    node::Node,
    wire::{ConfigAnswer, ConfigAsk},
};

/// Keys in one ask at most.
const KEYS_MAX: usize = 64;

/// Serves `core/config` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let known = Rc::new(known(&node.config.settings));
    router.on_sync("/core/config/compile", move |ask: ConfigAsk| {
        if ask.keys.len() > KEYS_MAX {
            return Err(refuse(Code::Invalid, "too many keys"));
        }
        let mut found = serde_json::Map::new();
        for key in ask.keys {
            let value = known.get(key.as_str()).cloned();
            // A missing key is an error: no service may go on with a guess.
            let value = value.ok_or_else(|| refuse(Code::NotFound, format!("no setting {key}")))?;
            found.insert(key, value);
        }
        Ok(ConfigAnswer { json: serde_json::Value::Object(found).to_string() })
    });
}

fn known(settings: &Settings) -> BTreeMap<&'static str, serde_json::Value> {
    let millis = |span: std::time::Duration| serde_json::json!(span.as_millis() as u64);
    BTreeMap::from([
        ("offer.ttl_ms", millis(settings.offer_ttl)),
        ("offer.at_once", settings.offers_at_once.into()),
        ("search.ttl_ms", millis(settings.search_ttl)),
        ("search.reach_m", settings.reach_m.into()),
        ("ping.ttl_ms", millis(settings.ping_ttl)),
        ("token.ttl_ms", millis(settings.token_ttl)),
        ("city.name", settings.city.name.clone().into()),
    ])
}
