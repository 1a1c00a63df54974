//! The health of a node, as an operator sees it from outside.

use std::time::Duration;

use crate::{
    backend::{
        node::HEALTH,
        platform::rpc::{Policy, Rpc},
        wire::platform::{Health as Answer, HealthAsk},
    },
    base::{name::NodeName, time::Wall},
    chaos::provider::Health,
    world::Env,
};

/// An operator's own way to a node has no fault on it: an answer takes milliseconds, and who cannot
/// be reached is tried again until then.
pub const DIRECT: Duration = Duration::from_millis(500);
/// Through a sick link a look may take that long.
pub const THROUGH_FAULTS: Duration = Duration::from_secs(2);

/// Asks the node how it is.
pub async fn look(rpc: &Rpc, node: &NodeName, within: Duration) -> Health {
    look_with(rpc, node, 0, within).await
}

/// The same, with a question of `load` bytes more than it needs.
pub async fn look_with(rpc: &Rpc, node: &NodeName, load: usize, within: Duration) -> Health {
    match ask(rpc, node, load, within).await {
        Ok(answer) if answer.ready => Health::Up,
        Ok(answer) => Health::Down(answer.why),
        Err(why) => Health::Down(why),
    }
}

/// Whether a broker takes a session.
pub async fn look_at_broker(env: &Env, broker: &NodeName, within: Duration) -> Health {
    match env.timeout(within, env.broker(broker)).await {
        Ok(Ok(_)) => Health::Up,
        Ok(Err(why)) => Health::Down(why.to_string()),
        Err(_) => Health::Down(format!("no session within {within:?}")),
    }
}

/// Asks the node what its wall clock shows.
pub async fn wall(rpc: &Rpc, node: &NodeName, within: Duration) -> Result<Wall, String> {
    ask(rpc, node, 0, within).await.map(|answer| Wall(answer.wall_ms))
}

async fn ask(rpc: &Rpc, node: &NodeName, load: usize, within: Duration) -> Result<Answer, String> {
    let policy = Policy { deadline: within, attempt: within, idempotent: false };
    let question = HealthAsk { padding: vec![0; load].into() };
    let answer = rpc.call_at::<_, Answer>(node, HEALTH, &question, policy).await;
    answer.map_err(|why| why.to_string())
}
