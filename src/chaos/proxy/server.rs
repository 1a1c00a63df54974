//! The proxy itself: a table of links, each with a listener of its own on loopback, and the loop
//! that obeys commands.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    connection::{LinkState, Scratch, carry, tear},
    direction::CHUNK_BYTES,
    sickness::Rule,
    wire::{Command, Reply, Request},
};
use crate::{
    base::rng::Rng,
    chaos::provider::{LinkName, Toxic},
};

/// Links of one proxy at most.
pub(super) const LINKS_MAX: usize = 4_096;
/// Connections of one link at most; those beyond are torn down.
const CONNECTIONS_MAX: usize = 32_768;
/// Bytes of one command at most; a longer one ends the proxy.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Pause after an accept that failed: out of files, most likely, and some may be closed soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Obeys commands until they end; then every link and connection is dropped. Has to run within a
/// `LocalSet`: connections are local tasks.
pub async fn serve(
    mut commands: impl AsyncBufRead + Unpin,
    mut replies: impl AsyncWrite + Unpin,
    rng: Rng,
) -> io::Result<()> {
    let mut table = Table::new(rng);
    while let Some(line) = next_line(&mut commands).await? {
        let reply = table.obey(&line).await;
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        replies.write_all(text.as_bytes()).await?;
        replies.flush().await?;
    }
    Ok(())
}

/// The next command; `None` at their end. One that is cut short by the end counts, too.
async fn next_line(commands: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = String::new();
    commands.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with('\n') {
        // The rest of it would be taken for a command of its own.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a command is too long"));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Every link that the proxy stands on.
struct Table {
    rng: Rng,
    links: BTreeMap<LinkName, (SocketAddr, Rc<LinkState>)>,
    /// The accept loops; dropping them drops their connections.
    loops: JoinSet<()>,
    scratch: Scratch,
    /// Commands so far that made links sick: their draws have names of their own.
    impaired: Cell<u64>,
}

impl Table {
    fn new(rng: Rng) -> Self {
        Self {
            rng,
            links: BTreeMap::new(),
            loops: JoinSet::new(),
            scratch: scratch(),
            impaired: Cell::new(0),
        }
    }

    async fn obey(&mut self, line: &str) -> Reply {
        let request: Request = match serde_json::from_str(line) {
            Ok(request) => request,
            Err(error) => {
                let error = Some(format!("this is no command: {error}"));
                return Reply { error, ..Reply::default() };
            }
        };
        let done = match request.command {
            Command::Add { link, upstream, listen } => {
                self.add(link, upstream, listen).await.map(Some)
            }
            Command::Impair { link, toxics } => self.impair(&link, toxics).map(|()| None),
        };
        let (listen, error) = match done {
            Ok(listen) => (listen, None),
            Err(why) => (None, Some(why)),
        };
        Reply { id: Some(request.id), listen, error }
    }

    async fn add(
        &mut self,
        link: LinkName,
        upstream: SocketAddr,
        listen: Option<SocketAddr>,
    ) -> Result<SocketAddr, String> {
        if let Some((listen, state)) = self.links.get(&link) {
            state.upstream.set(upstream);
            return Ok(*listen);
        }
        if self.links.len() >= LINKS_MAX {
            return Err(format!("there are {LINKS_MAX} links already"));
        }
        let wrong = |error: io::Error| format!("cannot listen for {link}: {error}");
        let listen = listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = TcpListener::bind(listen).await.map_err(wrong)?;
        let listen = listener.local_addr().map_err(wrong)?;
        let rng = self.rng.fork(&link.to_string());
        let state = LinkState::new(upstream, rng, self.scratch.clone()).map_err(wrong)?;
        let state = Rc::new(state);
        self.loops.spawn_local(accept(listener, state.clone()));
        self.links.insert(link, (listen, state));
        Ok(listen)
    }

    fn impair(&self, link: &LinkName, toxics: Vec<Toxic>) -> Result<(), String> {
        let Some((_, state)) = self.links.get(link) else {
            return Err(format!("no proxy stands on {link}"));
        };
        let (since, turn) = (Instant::now(), self.impaired.replace(self.impaired.get() + 1));
        let rule = |(n, toxic)| Rule { name: format!("impair/{turn}/{n}"), since, toxic };
        state.impair(toxics.into_iter().enumerate().map(rule).collect());
        Ok(())
    }
}

/// A buffer for all connections of a process.
pub(super) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; CHUNK_BYTES].into_boxed_slice()))
}

/// Accepts connections of one link for ever, keeps their time, and stays awake for them. Dropping it drops
/// them all.
pub(super) async fn accept(listener: TcpListener, link: Rc<LinkState>) {
    tokio::join!(take_in(listener, &link), link.clock.run(), link.spin.run());
}

async fn take_in(listener: TcpListener, link: &Rc<LinkState>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                while connections.try_join_next().is_some() {}
                if connections.len() >= CONNECTIONS_MAX {
                    tear(&client);
                } else {
                    connections.spawn_local(carry(client, link.clone()));
                }
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}
