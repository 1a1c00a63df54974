//! TLS to a broker. The library beneath speaks to a plain socket, so this opens one for it on
//! loopback, for that one connection and nobody else, and passes on what goes over it within TLS. The
//! certificate is verified as that of any other backend, before anything of AMQP is said.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::AbortHandle,
};
use tokio_rustls::client::TlsStream;

use crate::target::wire::tls::{Speaks, Tls};

/// Connections of others that are turned away, at most: whoever looks for open ports.
const STRANGERS_MAX: usize = 100;

/// A way into TLS; dropping it ends the connection.
pub(super) struct Relay {
    /// Where the library connects to.
    pub address: SocketAddr,
    task: AbortHandle,
}

/// Says who it is that connects, once.
pub(super) struct Guest(Mutex<Option<oneshot::Sender<SocketAddr>>>);

impl Relay {
    /// Connects to `broker`, which must prove that it is `host`. Has no deadline of its own.
    pub async fn open(tls: &Tls, host: &str, broker: SocketAddr) -> Result<(Self, Guest), String> {
        let stream = TcpStream::connect(broker).await.map_err(|why| why.to_string())?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        let secure = tls.handshake(host, stream, Speaks::Nothing).await?;
        let here = |why: io::Error| format!("no socket on loopback: {why}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(here)?;
        let address = listener.local_addr().map_err(here)?;
        let (guest, expected) = oneshot::channel();
        let task = tokio::task::spawn_local(pass(listener, expected, secure)).abort_handle();
        Ok((Self { address, task }, Guest(Mutex::new(Some(guest)))))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Guest {
    /// It connected from there.
    pub fn is(&self, from: SocketAddr) {
        let guest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(guest) = guest {
            // Where the relay is gone, the connection is of no use, and ends by itself.
            let _ = guest.send(from);
        }
    }
}

async fn pass(
    listener: TcpListener,
    expected: oneshot::Receiver<SocketAddr>,
    mut secure: TlsStream<TcpStream>,
) {
    // It has connected by then: the listener's queue holds it.
    let Ok(expected) = expected.await else { return };
    for _ in 0..STRANGERS_MAX {
        let Ok((mut plain, from)) = listener.accept().await else { return };
        if from == expected {
            drop(listener);
            let _ = plain.set_nodelay(true);
            // However it ends, both sides are hung up on, and each says so itself.
            let _ = copy_bidirectional(&mut plain, &mut secure).await;
            return;
        }
    }
}
