//! How long a connection takes to end, and how long an idle one lives: what nobody notices until it
//! takes long.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// Connects to `address`, says that it has nothing to say, and waits until the other side has no more
/// to say either. For as long as that takes; an error when it is reset.
pub async fn closing(address: &str) -> io::Result<Duration> {
    let mut stream = TcpStream::connect(address).await?;
    let begun = Instant::now();
    stream.shutdown().await?;
    while stream.read(&mut [0; 512]).await? > 0 {}
    Ok(begun.elapsed())
}

/// Connects to `address`, says nothing, and waits until the connection ends, whatever way. For as long
/// as it lived.
pub async fn lifetime(address: &str) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    // A reset is an end like any other.
    while stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {}
    Ok(begun.elapsed())
}
