//! RPC between services: protobuf over links, found through discovery; correlation, deadlines,
//! retries and backoff live here, above the seam.

use std::{future::Future, rc::Rc, time::Duration};

use prost::Message;

use crate::{base::name::NodeName, world::Env};

/// Why a call gave no answer, told apart by what the callee can have done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The service refused: it certainly did nothing.
    #[error("{code:?}: {why}")]
    Refused {
        /// The kind of refusal.
        code: Code,
        /// In the service's words.
        why: String,
    },
    /// Nobody could be asked: certainly nothing was done.
    #[error("{0}: nobody there")]
    Unavailable(String),
    /// The call may have been executed: no answer in time, or the link broke.
    #[error("{0}: no answer")]
    Unknown(String),
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The input is wrong.
    Invalid,
    /// Token missing, expired or wrong.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// No such thing.
    NotFound,
    /// The state does not allow it; somebody was first.
    Conflict,
    /// The handler failed.
    Internal,
}

/// A refusal by a handler: shorthand.
pub fn refuse(code: Code, why: impl Into<String>) -> RpcError {
    RpcError::Refused { code, why: why.into() }
}

/// How to call an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The whole call, retries included, ends by then.
    pub deadline: Duration,
    /// One attempt ends by then.
    pub attempt: Duration,
    /// May be executed twice without harm: tried again after an unknown outcome, on another
    /// instance. Without it only calls that certainly did nothing are tried again.
    pub idempotent: bool,
}

/// The client side: one a node, cheap to clone.
#[derive(Clone)]
pub struct Rpc {
    env: Env,
    // directory, open links, pending calls
}

impl Rpc {
    /// Calls `/{tier}/{service}/{endpoint}` at whichever live instance discovery knows (own AZ
    /// first) and waits for its answer.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        _path: &'static str,
        _ask: &Q,
        _policy: Policy,
    ) -> Result<A, RpcError> {
        let _ = &self.env;
        Err(RpcError::Unavailable("not wired".into()))
    }

    /// The same at one instance, by name.
    pub async fn call_at<Q: Message, A: Message + Default>(
        &self,
        _node: &NodeName,
        _path: &'static str,
        _ask: &Q,
        _policy: Policy,
    ) -> Result<A, RpcError> {
        Err(RpcError::Unavailable("not wired".into()))
    }

    /// One way, best effort, to every live instance that serves `path`, except this node itself
    /// when `others_only`: nothing comes back.
    pub fn publish<Q: Message>(&self, _path: &'static str, _news: &Q, _others_only: bool) {}
}

/// The server side: endpoints by path, filled by the services of a node before it listens.
#[derive(Default)]
pub struct Router {
    // path -> handler
}

impl Router {
    /// Serves `path` with `handler`.
    pub fn on<Q, A, F, Fut>(&mut self, _path: &'static str, _handler: F)
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Q) -> Fut + 'static,
        Fut: Future<Output = Result<A, RpcError>> + 'static,
    {
        let _ = Rc::new(());
    }
}
