//! Streams to backends: a name becomes addresses, each is checked before it is connected to, and TLS
//! goes on top. Whatever fails here, the server has seen nothing of a request.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;

use super::{
    base::Base,
    tls::{Speaks, Tls},
};

/// Whether an address, which the host name behind it led to, may be connected to; if not, why.
pub type Allowed = Rc<dyn Fn(IpAddr, &str) -> Result<(), String>>;

/// How streams are opened.
#[derive(Clone)]
pub struct Dialer {
    /// For what is spoken to over TLS.
    pub tls: Option<Tls>,
    /// How long it may take from the name to the end of the TLS handshake.
    pub connect_within: Duration,
    /// Asked for each address before anything is sent there.
    pub allowed: Allowed,
}

/// An open stream.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// Opens a stream; tells why not in words, with host and port.
    pub async fn dial(&self, base: &Base, speaks: Speaks) -> Result<Stream, String> {
        self.open(base, speaks)
            .await
            .map_err(|why| format!("{}:{}: {why}", base.host(), base.port()))
    }

    async fn open(&self, base: &Base, speaks: Speaks) -> Result<Stream, String> {
        let until = Instant::now() + self.connect_within;
        let tls = match (&self.tls, base.secure()) {
            (_, false) => None,
            (Some(tls), true) => Some(tls),
            (None, true) => return Err("it is spoken to over TLS, which is not set up".to_owned()),
        };
        let addresses = self.resolve(base, until).await?;
        let stream = self.connect(&addresses, until).await?;
        stream.set_nodelay(true).map_err(|why| why.to_string())?;
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        match timeout_at(until, tls.handshake(base.host(), stream, speaks)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no TLS handshake within {:?}", self.connect_within)),
        }
    }

    /// Every address of the host. One that is not allowed spoils them all: whoever answers for the
    /// name cannot be trusted to lead elsewhere next time.
    async fn resolve(&self, base: &Base, until: Instant) -> Result<Vec<SocketAddr>, String> {
        let (host, port) = (base.host(), base.port());
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![(address, port).into()],
            Err(_) => match timeout_at(until, lookup_host((host, port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(why)) => return Err(format!("its name does not resolve: {why}")),
                Err(_) => {
                    return Err(format!(
                        "its name does not resolve within {:?}",
                        self.connect_within
                    ));
                }
            },
        };
        for address in &addresses {
            (self.allowed)(address.ip(), host)?;
        }
        Ok(addresses)
    }

    /// The first address that answers; each gets its share of the time that is left.
    async fn connect(&self, addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, String> {
        let mut failed = "its name has no address".to_owned();
        for (tried, address) in addresses.iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => failed = why.to_string(),
                Err(_) => failed = format!("no answer within {share:.1?}"),
            }
            if addresses.len() > 1 {
                failed = format!("{}: {failed}", address.ip());
            }
        }
        Err(failed)
    }
}

impl Stream {
    /// Whether both sides agreed in the handshake to speak HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
