//! Tells a node of the reference backend what to do to messages, as its operator.

use std::time::Duration;

use crate::{
    backend::{
        layout::BROKER,
        platform::{
            meddler::{How, MEDDLE},
            rpc::{Policy, Rpc},
        },
        wire::platform as wire,
    },
    base::name::NodeName,
    chaos::provider::{Meddle, Meddled, Meddling, Of, ProviderError},
};

/// The way of an operator has no fault on it.
const WITHIN: Duration = Duration::from_secs(1);

/// Has it begin.
pub async fn begin(rpc: &Rpc, node: &NodeName, what: &Meddling) -> Result<(), ProviderError> {
    let begin = wire::MeddleAsk { begin: Some(on_the_wire(what)), end: false };
    ask(rpc, node, &begin).await.map(drop)
}

/// What it did so far; with `end` it does nothing more.
pub async fn look(rpc: &Rpc, node: &NodeName, end: bool) -> Result<Meddled, ProviderError> {
    ask(rpc, node, &wire::MeddleAsk { begin: None, end }).await
}

async fn ask(rpc: &Rpc, node: &NodeName, ask: &wire::MeddleAsk) -> Result<Meddled, ProviderError> {
    let wrong = |why: String| ProviderError { victim: node.to_string(), why };
    if node.role() == BROKER {
        let why = "a broker serves no endpoint: aim at the services that talk over it";
        return Err(wrong(why.to_owned()));
    }
    let policy = Policy { deadline: WITHIN, attempt: WITHIN, idempotent: false };
    let answer = rpc.call_at::<_, wire::MeddleAnswer>(node, MEDDLE, ask, policy).await;
    let wire::MeddleAnswer { on, met, touched, asks, in_flight } =
        answer.map_err(|why| wrong(why.to_string()))?;
    Ok(Meddled { on, met, touched, asks, in_flight })
}

fn on_the_wire(what: &Meddling) -> wire::Meddling {
    let ms = |span: Duration| span.as_millis() as u64;
    let (how, delay, jitter) = match what.how {
        Meddle::Lost => (How::Lost, Duration::ZERO, Duration::ZERO),
        Meddle::Late(delay, jitter) => (How::Late, delay, jitter),
        Meddle::Twice => (How::Twice, Duration::ZERO, Duration::ZERO),
        Meddle::Overtaken => (How::Overtaken, Duration::ZERO, Duration::ZERO),
        Meddle::Refused => (How::Refused, Duration::ZERO, Duration::ZERO),
        Meddle::Slow(delay, jitter) => (How::Slow, delay, jitter),
        Meddle::SlowSync(delay, jitter) => (How::SlowSync, delay, jitter),
        Meddle::NoRoom => (How::NoRoom, Duration::ZERO, Duration::ZERO),
        Meddle::Skewed(_) => (How::Skewed, Duration::ZERO, Duration::ZERO),
        Meddle::Leaves => (How::Leaves, Duration::ZERO, Duration::ZERO),
        Meddle::Stuck => (How::Stuck, Duration::ZERO, Duration::ZERO),
        Meddle::Misled => (How::Misled, Duration::ZERO, Duration::ZERO),
    };
    wire::Meddling {
        endpoint: what.endpoint.clone(),
        asks: what.of.contains(&Of::Requests),
        replies: what.of.contains(&Of::Replies),
        news: what.of.contains(&Of::News),
        how: how as u32,
        delay_ms: ms(delay),
        jitter_ms: ms(jitter),
        toxicity: what.toxicity,
        for_ms: ms(what.lasts),
        as_version: what.as_version.unwrap_or_default(),
        ahead_ms: if let Meddle::Skewed(ahead_ms) = what.how { ahead_ms } else { 0 },
    }
}
