//! The real world: one node's share of tokio, sockets and disks, on one current-thread runtime.
//! The only room below the command line that may read the machine's clocks, open sockets and start
//! threads or processes.

// What clippy.toml forbids elsewhere is this room's purpose.
#![allow(clippy::disallowed_methods)]

mod broker;
pub mod clock;
pub mod closing;
pub mod datagram;
pub mod disk;
pub mod first_answer;
pub mod http_body;
pub mod http_client;
mod http_server;
mod link;
pub mod ports;
pub mod process;
pub mod rabbitmq;
mod store;
mod stream;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    rc::{Rc, Weak},
    time::Instant,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime,
    task::LocalSet,
};

use super::{
    HttpError, HttpHandler, World,
    broker::{BrokerError, Session},
    link::{DialError, Link, Listener},
    store::{Store, StoreError, engine::Engine},
    stream::{StreamError, StreamHandler},
};
use crate::base::{
    name::NodeName,
    time::{Time, Wall},
};
use clock::Clock;
use disk::{FileDisk, Syncing};
pub use ports::free_ports;
use store::RealStore;

/// Connections that may wait to be accepted: a whole fleet may come back at once.
const BACKLOG: u32 = 4_096;
/// Bytes of pages that an open store keeps in memory at most.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Where a node lives and where the others do. Plain data: it travels as JSON to its process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// `127.0.0.1:port` at which it accepts links.
    pub listen: Option<String>,
    /// `127.0.0.1:port` at which it serves HTTP.
    pub http: Option<String>,
    /// Where to dial each node for links: its own address, or a proxy before it.
    pub dial: BTreeMap<NodeName, String>,
    /// Where to reach each node's HTTP.
    pub dial_http: BTreeMap<NodeName, String>,
    /// Where each receiver of datagrams is.
    #[serde(default)]
    pub datagrams: BTreeMap<NodeName, String>,
    /// The folder of its stores; made when the first is opened.
    pub data: PathBuf,
    /// A planted bug: its disk does nothing at a sync.
    #[serde(default)]
    pub skip_sync: bool,
}

/// The real world as one node sees it.
pub struct RealWorld {
    name: NodeName,
    boot: Boot,
    clock: Clock,
    pools: RefCell<BTreeMap<NodeName, Rc<http_client::Pool<TcpStream>>>>,
    stores: RefCell<BTreeMap<String, Weak<RealStore>>>,
    streams: RefCell<Option<StreamHandler>>,
    datagrams: datagram::Sender,
}

impl RealWorld {
    /// The world of the node called `name`, in a run that began at `origin`.
    pub fn new(name: NodeName, boot: Boot, origin: Instant) -> Rc<Self> {
        Rc::new(Self {
            name,
            clock: Clock::new(origin),
            pools: RefCell::default(),
            stores: RefCell::default(),
            streams: RefCell::default(),
            datagrams: datagram::Sender::to(&boot.datagrams),
            boot,
        })
    }

    fn pool(&self, to: &NodeName) -> Option<Rc<http_client::Pool<TcpStream>>> {
        if let Some(pool) = self.pools.borrow().get(to) {
            return Some(Rc::clone(pool));
        }
        let address = self.boot.dial_http.get(to)?;
        let pool = Rc::new(http_client::Pool::new(address, http_client::Limits::default()));
        self.pools.borrow_mut().insert(to.clone(), Rc::clone(&pool));
        Some(pool)
    }

    fn open_store(&self, name: &str) -> Result<Store, StoreError> {
        if let Some(open) = self.stores.borrow().get(name).and_then(Weak::upgrade) {
            return Ok(open);
        }
        let folder = &self.boot.data;
        let path = folder.join(format!("{name}.redb"));
        let failed = |why: io::Error| StoreError::new(name, format!("{}: {why}", path.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let syncing = if self.boot.skip_sync { Syncing::Skipped } else { Syncing::Honest };
        let disk = FileDisk::open(&path, syncing).map_err(failed)?;
        let engine = Engine::open(disk, CACHE_BYTES)?.called(name);
        let store = Rc::new(RealStore::start(name, engine)?);
        self.stores.borrow_mut().insert(name.to_owned(), Rc::downgrade(&store));
        Ok(store)
    }

    fn cannot_listen(&self, address: Option<&String>, why: &str) -> DialError {
        let address = address.map_or_else(|| self.name.to_string(), Clone::clone);
        DialError::CannotListen { address, why: why.to_owned() }
    }

    /// Binds at once, so that a port in use is known before anything else happens.
    fn bind(&self, address: Option<&String>) -> Result<TcpListener, DialError> {
        let Some(wanted) = address else {
            return Err(self.cannot_listen(None, "no address was given to it"));
        };
        bind(wanted).map_err(|why| self.cannot_listen(address, &why.to_string()))
    }
}

impl World for RealWorld {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn wall(&self) -> Wall {
        self.clock.wall()
    }

    fn sleep_until(&self, at: Time) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.clock.instant(at)))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(process::noting_panics(task));
    }

    fn dial(&self, to: &NodeName) -> LocalBoxFuture<'static, Result<Link, DialError>> {
        let to = to.clone();
        let Some(address) = self.boot.dial.get(&to).cloned() else {
            return Box::pin(async move { Err(DialError::UnknownName(to)) });
        };
        Box::pin(async move {
            match http_client::connect(&address).await {
                Ok(stream) => link::over(stream)
                    .map_err(|why| DialError::Unreachable { to, why: why.to_string() }),
                Err(why) => Err(DialError::Unreachable { to, why }),
            }
        })
    }

    fn listen(&self) -> LocalBoxFuture<'static, Result<Listener, DialError>> {
        let listener = self.bind(self.boot.listen.as_ref()).map(link::accept_from);
        Box::pin(async { listener })
    }

    fn serve_http(&self, handler: HttpHandler) -> LocalBoxFuture<'static, Result<(), DialError>> {
        let listener = self.bind(self.boot.http.as_ref());
        let streams = self.streams.borrow().clone();
        Box::pin(async { listener.map(|listener| http_server::serve(listener, handler, streams)) })
    }

    fn http(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        let Some(pool) = self.pool(to) else {
            let why = format!("no node is called {to}");
            return Box::pin(async { Err(HttpError::NotConnected(why)) });
        };
        Box::pin(async move {
            pool.exchange(request, async || http_client::connect(pool.address()).await).await
        })
    }

    fn serve_streams(&self, handler: StreamHandler) -> Result<(), DialError> {
        if self.streams.borrow().is_some() {
            return Err(self.cannot_listen(self.boot.http.as_ref(), "this node serves already"));
        }
        self.streams.replace(Some(handler));
        Ok(())
    }

    fn stream(
        &self,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Link, StreamError>> {
        let Some(address) = self.boot.dial_http.get(to).cloned() else {
            let why = format!("no node is called {to}");
            return Box::pin(async { Err(StreamError::NotConnected(why)) });
        };
        Box::pin(async move { stream::open(&address, request).await })
    }

    fn store(&self, name: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        // Blocks for the repair after a crash: a node opens its stores before it serves.
        let opened = self.open_store(name);
        Box::pin(async { opened })
    }

    fn broker(
        &self,
        to: &NodeName,
    ) -> LocalBoxFuture<'static, Result<Rc<dyn Session>, BrokerError>> {
        let to = to.clone();
        match self.boot.dial.get(&to).cloned() {
            Some(address) => broker::open(to, address),
            None => Box::pin(async move {
                Err(BrokerError::Unreachable { why: "nobody is called that".into(), to })
            }),
        }
    }

    fn datagram(&self, to: &NodeName, bytes: &[u8]) -> bool {
        self.datagrams.send(to, bytes)
    }
}

fn bind(address: &str) -> io::Result<TcpListener> {
    let address: SocketAddr = address
        .parse()
        .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("{why}")))?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node comes back to its port while connections of the one before it linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs `work` to its end on a runtime of this thread, where a [`RealWorld`] can live.
pub fn run_local<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let output = LocalSet::new().block_on(&runtime, work);
    // Blocking threads (reading stdin, say) may never end: do not wait for them.
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests;
