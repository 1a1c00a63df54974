//! The API tier: HTTP and JSON outside, rpc inside.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Response, StatusCode};

use super::{node::Node, platform::rpc::Router};
use crate::world::HttpHandler;

/// Adds this tier's rpc endpoints.
pub fn mount(_node: &Node, _router: &mut Router) {}

/// What answers HTTP requests at this node; the node itself answers GET /health.
pub fn handler(_node: &Node) -> HttpHandler {
    Rc::new(|_| {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        async move { answer }.boxed_local()
    })
}
