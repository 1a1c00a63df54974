//! One connection through the proxy: two directions, and what they share.
//!
//! With nothing wrong there is no queue and no memory of its own: what is read into a buffer shared
//! by all connections is written on in the same breath, one read and one write a chunk.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt as _;
use rustix::net::sockopt::set_tcp_congestion;
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    clock::{Alarm, Clock},
    direction::{Direction, Gate},
    sickness::{End, Rule, Sickness},
    spin::Spin,
};
use crate::base::rng::Rng;

/// How long the upstream may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Between two looks whether who waits at a wrong address is still there: who has gone keeps no file open.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The buffer that all connections share.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// What all connections of one link share.
pub(super) struct LinkState {
    pub upstream: Cell<SocketAddr>,
    rules: RefCell<Rc<[Rule]>>,
    changed: Notify,
    rng: Rng,
    connections: Cell<u64>,
    /// When the line is free again, each way: all connections share it.
    lines: [Rc<Cell<Instant>>; 2],
    scratch: Scratch,
    /// When what is held back may go.
    pub clock: Rc<Clock>,
    /// Stays awake while its connections are busy.
    pub spin: Spin,
}

impl LinkState {
    /// Within the runtime; the error says that no file can be opened any more.
    pub fn new(upstream: SocketAddr, rng: Rng, scratch: Scratch) -> io::Result<Self> {
        Ok(Self {
            upstream: Cell::new(upstream),
            rules: RefCell::new(Rc::new([])),
            changed: Notify::new(),
            rng,
            connections: Cell::new(0),
            lines: [(); 2].map(|()| Rc::new(Cell::new(Instant::now()))),
            scratch,
            clock: Rc::new(Clock::new()?),
            spin: Spin::new(),
        })
    }

    /// From now on this is wrong with the link, for open connections as well.
    pub fn impair(&self, rules: Vec<Rule>) {
        *self.rules.borrow_mut() = rules.into();
        for line in &self.lines {
            line.set(Instant::now());
        }
        self.changed.notify_waiters();
    }

    fn rules(&self) -> Rc<[Rule]> {
        self.rules.borrow().clone()
    }

    /// Connects to the upstream; a black hole swallows that, too, until it is healed, and a name may be
    /// looked up late, or in vain.
    async fn connect(&self, client: &TcpStream, sickness: &mut Sickness) -> io::Result<TcpStream> {
        let reset = || Err(io::ErrorKind::ConnectionReset.into());
        let mut astray = false;
        loop {
            // Before the look at the rules, so that a change in between is not missed.
            let changed = self.changed.notified();
            sickness.take(self.rules());
            // Who was led to a wrong address finds nobody there later on.
            let lost = astray && !sickness.leads_astray();
            astray = sickness.leads_astray();
            if sickness.ended().is_some() || sickness.knows_no_way() || lost {
                return reset();
            }
            let (known_at, stalls) = (sickness.knows_the_way_at(), sickness.lets_nobody_in());
            if !stalls && known_at <= Instant::now() {
                break;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = end_of(sickness) => {}
                () = sleep_until(known_at), if !stalls => if has_gone(client) { return reset() },
                () = sleep(LOOK_EVERY), if astray => if has_gone(client) { return reset() },
            }
        }
        let upstream = timeout(CONNECT_LIMIT, TcpStream::connect(self.upstream.get())).await??;
        hurry(&upstream)?;
        Ok(upstream)
    }

    /// The random stream of a new connection.
    fn next_stream(&self) -> Rng {
        let number = self.connections.replace(self.connections.get() + 1);
        self.rng.fork(&format!("connection/{number}"))
    }
}

/// Ready when the connection is to end; never where it is not.
async fn end_of(sickness: &Sickness) {
    match sickness.ends {
        Some((at, _)) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Whoever dialled has ended the connection meanwhile, or at least its own side of it.
fn has_gone(client: &TcpStream) -> bool {
    let ready = client.ready(Interest::READABLE).now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
}

/// Carries one accepted connection until its end.
pub(super) async fn carry(mut client: TcpStream, link: Rc<LinkState>) {
    let rng = link.next_stream();
    let mut sickness = Sickness::new(rng.fork("toxics"));
    let connected = link.connect(&client, &mut sickness).await;
    let (Ok(mut upstream), Ok(())) = (connected, hurry(&client)) else {
        // What would have been refused is torn down: the nearest that a proxy has.
        tear(&client);
        return;
    };
    let gate = |name: &str, line: &Rc<Cell<Instant>>| Gate::new(rng.fork(name), Rc::clone(line));
    let gates = [gate("up", &link.lines[0]), gate("down", &link.lines[1])];
    let end = {
        let (client_reads, client_writes) = client.split();
        let (upstream_reads, upstream_writes) = upstream.split();
        let [up, down] = gates;
        let mut pair = [
            Direction::new(0, client_reads, upstream_writes, up, Alarm::of(&link.clock)),
            Direction::new(1, upstream_reads, client_writes, down, Alarm::of(&link.clock)),
        ];
        pump(&mut pair, &mut sickness, &link).await
    };
    if end == End::Torn {
        tear(&client);
        tear(&upstream);
    }
}

/// Nothing waits for company, nor, on loopback, for the pace of a congestion control (BBR lets a timer
/// send): only what a fault says is late.
fn hurry(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        // A system that has no other way is paced.
        let _ = set_tcp_congestion(stream, "reno");
    }
    Ok(())
}

/// Makes the close that follows a reset (RST) rather than a polite end (FIN).
pub(super) fn tear(stream: &TcpStream) {
    // It fails only where the socket is gone already.
    let _ = stream.set_zero_linger();
}

async fn pump(pair: &mut [Direction<'_>; 2], sickness: &mut Sickness, link: &LinkState) -> End {
    loop {
        let mut changed = pin!(link.changed.notified());
        sickness.take(link.rules());
        if let Some(end) = sickness.ended() {
            return end;
        }
        // A stream never loses a part of what was said: one that did has no way to go on.
        let goes_on = |n: usize| sickness.way(n).swallows || !pair[n].lost;
        if !(goes_on(0) && goes_on(1)) {
            return End::Torn;
        }
        for direction in pair.iter_mut() {
            direction.restamp(sickness);
        }
        let (mut alarm, mut listens) = (Alarm::of(&link.clock), false);
        let end = poll_fn(|cx| {
            // To listen once is enough: who is woken by a change finds other rules.
            let changed = if listens {
                !sickness.obeys(&link.rules.borrow())
            } else {
                changed.as_mut().poll(cx).is_ready()
            };
            if changed {
                return Poll::Ready(None);
            }
            listens = true;
            link.spin.busy(Instant::now().into_std());
            if let Poll::Ready(end) = poll_pair(pair, cx, sickness, &mut link.scratch.borrow_mut())
            {
                return Poll::Ready(Some(end));
            }
            match sickness.ends {
                Some((at, how)) => alarm.ring(at, cx).map(|()| Some(how)),
                None => Poll::Pending,
            }
        });
        if let Some(end) = end.await {
            return end;
        }
    }
}

fn poll_pair(
    pair: &mut [Direction<'_>; 2],
    cx: &mut Context<'_>,
    sickness: &mut Sickness,
    scratch: &mut [u8],
) -> Poll<End> {
    let mut finished = 0;
    for direction in pair.iter_mut() {
        match direction.poll(cx, sickness, scratch) {
            Poll::Ready(Ok(())) => finished += 1,
            Poll::Ready(Err(end)) => return Poll::Ready(end),
            Poll::Pending => {}
        }
    }
    if finished == pair.len() { Poll::Ready(End::Closed) } else { Poll::Pending }
}
