//! Datagrams of the real world: UDP on loopback. Sending never waits; what the system has no room
//! for, or nobody receives, was not sent.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use crate::base::name::NodeName;

/// The sockets of one process, one for each receiver, opened when first used.
pub(super) struct Sender {
    addresses: BTreeMap<NodeName, SocketAddr>,
    sockets: RefCell<BTreeMap<NodeName, UdpSocket>>,
}

impl Sender {
    /// Sends to these; an address that cannot be read has no receiver.
    pub(super) fn to(receivers: &BTreeMap<NodeName, String>) -> Self {
        let readable = |(name, at): (&NodeName, &String)| Some((name.clone(), at.parse().ok()?));
        let addresses = receivers.iter().filter_map(readable).collect();
        Self { addresses, sockets: RefCell::default() }
    }

    /// False when it was certainly not sent.
    pub(super) fn send(&self, to: &NodeName, bytes: &[u8]) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        if !sockets.contains_key(to) {
            let Some(Ok(socket)) = self.addresses.get(to).map(|address| open(*address)) else {
                return false;
            };
            sockets.insert(to.clone(), socket);
        }
        let Some(socket) = sockets.get(to) else { return false };
        let sent = socket.send(bytes).is_ok();
        // On loopback the system knows at once that nobody is there, and tells it after the fact.
        sent && matches!(socket.take_error(), Ok(None))
    }
}

/// Connected: only so does the system tell that nobody is there.
fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Receives datagrams, on a thread that may wait.
pub struct Receiver(UdpSocket);

impl Receiver {
    /// At a free port of 127.0.0.1; one wait for a datagram lasts `patience` at most.
    pub fn bind(patience: Duration) -> io::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.set_read_timeout(Some(patience))?;
        Ok(Self(socket))
    }

    /// Where it receives.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The length of the next datagram, which is in `buffer` then; `None` when none came in time.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        self.0.recv(buffer).ok()
    }
}
