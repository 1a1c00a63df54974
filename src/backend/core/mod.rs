//! Core: leaf services. Each owns its rows under its own prefix of the store (or its own memory)
//! and never calls another service; flows across services belong to `orchestration`.

pub mod charge;
pub mod config;
pub mod eta;
pub mod experiment;
pub mod fare;
pub mod features;
pub mod hob;
pub mod job;
pub mod login;
pub mod profile;
pub mod raziel;
pub mod session;
pub mod table;
pub mod tariff;
pub mod zoning;

use std::{rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;

use self::table::Table;
use super::node::Node;
pub use super::platform::rpc::{Code, Policy, Router, Rpc, RpcError, refuse};
use crate::world::store::{Committed, Row, Txn};

/// A read that takes longer is given up: nothing was done, and the caller may still try elsewhere.
const READ_WITHIN: Duration = Duration::from_millis(900);

/// Serves every core service on this node.
pub fn mount(node: &Node, router: &mut Router) {
    charge::mount(node, router);
    config::mount(node, router);
    eta::mount(node, router);
    experiment::mount(node, router);
    fare::mount(node, router);
    features::mount(node, router);
    hob::mount(node, router);
    job::mount(node, router);
    login::mount(node, router);
    profile::mount(node, router);
    raziel::mount(node, router);
    zoning::mount(node, router);
}

/// The rows of this node's services.
pub fn table(node: &Node) -> Rc<dyn Table> {
    Rc::new(Remote(node.clone()))
}

/// Rows on the storage nodes.
struct Remote(Node);

impl Table for Remote {
    fn get(&self, keys: Vec<String>) -> LocalBoxFuture<'_, Result<Vec<Option<Row>>, RpcError>> {
        Box::pin(async move { read(&self.0, self.0.kv.get_many(&keys)).await })
    }

    fn scan(
        &self,
        from: String,
        to: String,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>> {
        Box::pin(async move { read(&self.0, self.0.kv.scan(&from, &to, limit)).await })
    }

    fn scan_stale(
        &self,
        from: String,
        to: String,
        limit: usize,
        stale: Duration,
    ) -> LocalBoxFuture<'_, Result<Vec<Row>, RpcError>> {
        Box::pin(async move { read(&self.0, self.0.kv.scan_stale(&from, &to, limit, stale)).await })
    }

    fn commit(&self, txn: Txn) -> LocalBoxFuture<'_, Result<Committed, RpcError>> {
        Box::pin(self.0.kv.commit(txn))
    }
}

/// A read changes nothing: however it fails, that is certain.
async fn read<T>(
    node: &Node,
    work: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    match node.env.timeout(READ_WITHIN, work).await {
        Ok(Err(RpcError::Unknown(why))) => Err(RpcError::Unavailable(why)),
        Ok(done) => done,
        Err(_) => Err(RpcError::Unavailable("the store does not answer".to_owned())),
    }
}

/// Handlers that share one service.
macro_rules! serve {
    ($router:ident, $service:ident, $path:expr, $ask:ty, |$s:ident, $a:ident| $body:expr) => {
        let shared = std::rc::Rc::clone(&$service);
        $router.on($path, move |$a: $ask| {
            let $s = std::rc::Rc::clone(&shared);
            async move { $body }
        });
    };
}
pub(crate) use serve;
