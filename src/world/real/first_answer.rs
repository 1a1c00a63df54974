//! How long a server takes to say something, whatever protocol it speaks.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// Connects to `address`, says `words`, and waits for the first of the answer, or for a proper end of the
/// connection; an error when it is reset.
pub async fn first_answer(address: SocketAddr, words: &[u8]) -> io::Result<Duration> {
    let mut stream = TcpStream::connect(address).await?;
    let begun = Instant::now();
    stream.write_all(words).await?;
    // However much it is, and nothing is a proper end.
    let _some = stream.read(&mut [0; 512]).await?;
    Ok(begun.elapsed())
}

/// The same until the other side has no more to say, having been told that nothing more is said to it: all
/// of the words have passed then.
pub async fn last_answer(address: SocketAddr, words: &[u8]) -> io::Result<Duration> {
    let mut stream = TcpStream::connect(address).await?;
    let begun = Instant::now();
    stream.write_all(words).await?;
    stream.shutdown().await?;
    while stream.read(&mut [0; 512]).await? > 0 {}
    Ok(begun.elapsed())
}
