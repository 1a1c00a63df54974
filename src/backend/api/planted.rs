//! Bugs that can be planted in the API, all off by default.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::Response;
use tokio::sync::{mpsc, oneshot};

use super::PING;
use crate::backend::{
    node::Node,
    plants,
    platform::rpc::RpcError,
    wire::{PingAnswer, PingAsk},
};

/// What one ping costs the worker that passes them on.
const WORK: Duration = Duration::from_millis(12);
/// How long a ping waits for the worker before it is tried again.
const PATIENCE: Duration = Duration::from_millis(90);
/// How often a ping is tried.
const TRIES: u32 = 4;
/// Pings that wait for the worker; further ones are dropped.
const WAITING_MAX: usize = 4_096;
/// Places of the pool.
const POOL: usize = 8;
/// How long a request waits for a place.
const POOL_WAIT: Duration = Duration::from_secs(30);

type Answer = Result<PingAnswer, RpcError>;

/// Which bugs are on.
#[derive(Debug, Default)]
pub struct Planted {
    /// Pings go through one worker and are tried again at once.
    pub storm: Option<Storm>,
    /// Places of the pool that failed requests have not given back, where they don't.
    leaked: Option<Cell<usize>>,
}

impl Planted {
    /// Those of that node.
    pub fn of(node: &Node) -> Self {
        Self {
            storm: node.planted(plants::RETRY_STORM).then(|| Storm::start(node)),
            leaked: node.planted(plants::POOL_LEAK).then(Cell::default),
        }
    }

    /// True when nothing stands between a request and its answer.
    pub fn lets_pass(&self) -> bool {
        self.leaked.is_none()
    }

    /// Answers when a place of the pool is free; a request that fails, or whose client
    /// goes away, does not give its own back.
    pub async fn through_pool(
        &self,
        node: &Node,
        reply: LocalBoxFuture<'static, Response<Bytes>>,
    ) -> Response<Bytes> {
        let Some(leaked) = &self.leaked else { return reply.await };
        if leaked.get() >= POOL {
            node.env.sleep(POOL_WAIT).await;
        }
        let mut place = Place { leaked, given_back: false };
        let response = reply.await;
        place.given_back = !response.status().is_server_error();
        response
    }
}

/// A place in the pool; dropped with its request when the client goes away.
struct Place<'a> {
    leaked: &'a Cell<usize>,
    given_back: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.given_back {
            self.leaked.set(self.leaked.get() + 1);
        }
    }
}

/// One worker that passes pings on, and callers who do not wait: what they gave up is done all the
/// same, and asked for again.
#[derive(Debug)]
pub struct Storm(mpsc::Sender<(PingAsk, oneshot::Sender<Answer>)>);

impl Storm {
    fn start(node: &Node) -> Self {
        let (work, mut waiting) = mpsc::channel::<(PingAsk, oneshot::Sender<Answer>)>(WAITING_MAX);
        let own = node.clone();
        node.env.spawn(async move {
            while let Some((ask, to)) = waiting.recv().await {
                own.env.sleep(WORK).await;
                let answer = own.rpc.call("/core/raziel/ping", &ask, PING).await;
                let _gave_up = to.send(answer);
            }
        });
        Self(work)
    }

    /// Passes a ping on, again and again.
    pub async fn ping(&self, node: &Node, ask: PingAsk) -> Answer {
        for _ in 0..TRIES {
            let (to, answer) = oneshot::channel();
            let _full = self.0.try_send((ask, to));
            if let Ok(Ok(Ok(answer))) = node.env.timeout(PATIENCE, answer).await {
                return Ok(answer);
            }
        }
        Err(RpcError::Unavailable("the worker does not answer".to_owned()))
    }
}
