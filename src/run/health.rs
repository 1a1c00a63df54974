//! The health of a node, as an operator sees it from outside.

use std::time::Duration;

use crate::{
    backend::{
        node::HEALTH,
        platform::rpc::{Policy, Rpc},
        wire::platform::{Health as Answer, HealthAsk},
    },
    base::name::NodeName,
    chaos::provider::Health,
};

/// One health check may take that long.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

/// Asks the node how it is, once.
pub async fn look(rpc: &Rpc, node: &NodeName) -> Health {
    let policy = Policy { deadline: CHECK_WITHIN, attempt: CHECK_WITHIN, idempotent: false };
    match rpc.call_at::<_, Answer>(node, HEALTH, &HealthAsk {}, policy).await {
        Ok(answer) if answer.ready => Health::Up,
        Ok(answer) => Health::Down(answer.why),
        Err(why) => Health::Down(why.to_string()),
    }
}
