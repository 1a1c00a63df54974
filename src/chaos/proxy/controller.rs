//! The run's end of the talk with its proxy.

use std::{collections::BTreeMap, future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::wire::{Command, Reply, Request};
use crate::chaos::provider::{LinkName, Toxic};

/// Commands that may wait to be written; whoever comes then waits in turn.
const COMMANDS_MAX: usize = 64;
/// How long the proxy may take to answer.
const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// The proxy did not do as told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It said no.
    #[error("the proxy refused: {0}")]
    Refused(String),
    /// Its process has ended.
    #[error("the proxy has ended")]
    Ended,
    /// It did not answer.
    #[error("the proxy did not answer within {REPLY_LIMIT:?}")]
    Silent,
    /// It answered something else.
    #[error("the proxy answered without an address")]
    NoAddress,
}

/// Commands one proxy; clone it freely. When the last one is dropped the talk ends, and with it
/// the proxy.
#[derive(Clone)]
pub struct Controller {
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    command: Command,
    reply: oneshot::Sender<Reply>,
}

impl Controller {
    /// A controller that reads `replies` and writes `commands`, and the work that carries both: it
    /// has to be polled (spawned) for as long as the proxy is wanted. Callers may be dropped at any
    /// moment without harm to the talk.
    pub fn new<R, W>(replies: R, commands: W) -> (Self, impl Future<Output = ()>)
    where
        R: AsyncBufRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let (asks, queue) = mpsc::channel(COMMANDS_MAX);
        (Self { asks }, talk(replies, commands, queue))
    }

    /// Stands on a link; the address is where its dialler is to connect. For a link that is known
    /// the address stays, and new connections go to the new `upstream`.
    pub async fn add(
        &self,
        link: &LinkName,
        upstream: SocketAddr,
    ) -> Result<SocketAddr, ControlError> {
        self.stand(Command::Add { link: link.clone(), upstream, listen: None }).await
    }

    /// The same for a dialler that was pointed at `listen` beforehand.
    pub async fn add_at(
        &self,
        link: &LinkName,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<SocketAddr, ControlError> {
        self.stand(Command::Add { link: link.clone(), upstream, listen: Some(listen) }).await
    }

    async fn stand(&self, add: Command) -> Result<SocketAddr, ControlError> {
        self.ask(add).await?.listen.ok_or(ControlError::NoAddress)
    }

    /// Makes a link sick, instead of what was wrong with it before; an empty list heals it.
    pub async fn impair(&self, link: &LinkName, toxics: &[Toxic]) -> Result<(), ControlError> {
        let command = Command::Impair { link: link.clone(), toxics: toxics.to_vec() };
        self.ask(command).await.map(drop)
    }

    async fn ask(&self, command: Command) -> Result<Reply, ControlError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask { command, reply }).await.map_err(|_| ControlError::Ended)?;
            answer.await.map_err(|_| ControlError::Ended)
        };
        let reply = timeout(REPLY_LIMIT, asked).await.map_err(|_| ControlError::Silent)??;
        match reply.error {
            Some(why) => Err(ControlError::Refused(why)),
            None => Ok(reply),
        }
    }
}

/// Writes what is asked and hands out what is answered, until either side ends.
async fn talk<R, W>(replies: R, mut commands: W, mut asks: mpsc::Receiver<Ask>)
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut lines = replies.lines();
    let mut waiting: BTreeMap<u64, oneshot::Sender<Reply>> = BTreeMap::new();
    let mut next = 0;
    loop {
        tokio::select! {
            biased;
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                // A line that is no reply belongs to nobody: whoever waits finds the time is up.
                let Ok(reply) = serde_json::from_str::<Reply>(&line) else { continue };
                if let Some(asker) = reply.id.and_then(|id| waiting.remove(&id)) {
                    // The asker may have gone.
                    let _ = asker.send(reply);
                }
            }
            ask = asks.recv() => {
                let Some(Ask { command, reply }) = ask else { return };
                waiting.retain(|_, asker| !asker.is_closed());
                waiting.insert(next, reply);
                if write(&mut commands, &Request { id: next, command }).await.is_err() {
                    return;
                }
                next += 1;
            }
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(to: &mut W, request: &Request) -> std::io::Result<()> {
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    to.write_all(text.as_bytes()).await?;
    to.flush().await
}
