//! Fills the queue of a node at its broker, and looks whether that takes one more. What it puts there is
//! no message that a node understands: it is dropped as soon as it is taken over.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    backend::{
        layout::BROKER,
        platform::bus::{CALLS_WAITING_MAX, RPC, ask_key},
    },
    base::name::NodeName,
    chaos::provider::ProviderError,
    world::{
        Env,
        broker::{ExchangeKind, Message, Published, Session},
    },
};

/// Messages that are under way at once.
const AT_ONCE: u32 = 256;
/// A queue that took so many times its length is none that refuses.
const TIMES_MAX: u32 = 4;
/// One that is only to see whether there is room waits no longer.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// Fills it; the text says with how many.
pub async fn fill(
    env: &Env,
    nodes: &[NodeName],
    of: &NodeName,
    lasts: Duration,
) -> Result<String, ProviderError> {
    let wrong = |why: String| ProviderError { victim: of.to_string(), why };
    let session = session(env, nodes, of).await.map_err(wrong)?;
    let mandatory = Message { mandatory: true, ..junk(of, lasts) };
    match session.publish(mandatory).await {
        Published::Confirmed => {}
        Published::Refused => return Ok("its queue was full already".to_owned()),
        Published::Unroutable => return Err(wrong("it is not at its own broker".to_owned())),
        other => return Err(wrong(format!("its broker takes nothing: {other:?}"))),
    }
    let mut taken = 1;
    while taken < CALLS_WAITING_MAX * TIMES_MAX {
        let told = join_all((0..AT_ONCE).map(|_| session.publish(junk(of, lasts)))).await;
        let confirmed = told.iter().filter(|told| **told == Published::Confirmed).count();
        taken += u32::try_from(confirmed).unwrap_or(u32::MAX);
        match told.iter().find(|told| **told != Published::Confirmed) {
            Some(Published::Refused) => return Ok(format!("its queue took {taken} messages")),
            Some(other) => return Err(wrong(format!("after {taken} messages: {other:?}"))),
            None => {}
        }
    }
    Err(wrong(format!("its queue took {taken} messages and refused none")))
}

/// Whether it takes one more.
pub async fn has_room(env: &Env, nodes: &[NodeName], of: &NodeName) -> Result<bool, ProviderError> {
    let wrong = |why: String| ProviderError { victim: of.to_string(), why };
    let session = session(env, nodes, of).await.map_err(wrong)?;
    let probe = Message { mandatory: true, ..junk(of, PROBE_TTL) };
    match session.publish(probe).await {
        Published::Confirmed => Ok(true),
        Published::Refused => Ok(false),
        other => Err(wrong(format!("its broker says {other:?}"))),
    }
}

async fn session(
    env: &Env,
    nodes: &[NodeName],
    of: &NodeName,
) -> Result<std::rc::Rc<dyn Session>, String> {
    let own = |node: &&NodeName| node.role() == BROKER && node.az() == of.az();
    let broker = nodes.iter().find(own).ok_or("its AZ has no broker: --bus rabbitmq")?;
    let session = env.broker(broker).await.map_err(|why| why.to_string())?;
    let declared = session.declare_exchange(RPC, ExchangeKind::Direct).await;
    declared.map_err(|why| why.to_string())?;
    Ok(session)
}

fn junk(of: &NodeName, lasts: Duration) -> Message {
    Message { exchange: RPC.into(), key: ask_key(of), ttl: Some(lasts), ..Message::default() }
}
