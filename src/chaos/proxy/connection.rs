//! One connection through the proxy: two directions, each a short queue of what is held back.
//!
//! With nothing wrong there is no queue and no memory of its own: what is read into a buffer shared
//! by all connections is written on in the same breath, one read and one write a chunk. The order
//! within a direction is always kept, the end of a stream and a reset included.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::Notify,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::impairment::Impairment;
use crate::base::rng::Rng;

/// Bytes that one read may bring.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes held back in one direction of one connection before its sender has to wait.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// What a held chunk costs beside its bytes, so that many tiny ones count too.
const HELD_OVERHEAD_BYTES: usize = 128;
/// How long the upstream may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What all connections of one link share.
pub(super) struct LinkState {
    pub upstream: Cell<SocketAddr>,
    impairment: RefCell<Rc<Impairment>>,
    changed: Notify,
    rng: Rng,
    connections: Cell<u64>,
    /// When the line is free again, each way: all connections share it.
    lines: [Rc<Cell<Instant>>; 2],
    scratch: Rc<RefCell<Box<[u8]>>>,
}

impl LinkState {
    pub fn new(upstream: SocketAddr, rng: Rng, scratch: Rc<RefCell<Box<[u8]>>>) -> Self {
        Self {
            upstream: Cell::new(upstream),
            impairment: RefCell::default(),
            changed: Notify::new(),
            rng,
            connections: Cell::new(0),
            lines: [(); 2].map(|()| Rc::new(Cell::new(Instant::now()))),
            scratch,
        }
    }

    /// From now on this is wrong with the link, for open connections as well.
    pub fn impair(&self, impairment: Impairment) {
        *self.impairment.borrow_mut() = Rc::new(impairment);
        for line in &self.lines {
            line.set(Instant::now());
        }
        self.changed.notify_waiters();
    }

    fn impairment(&self) -> Rc<Impairment> {
        self.impairment.borrow().clone()
    }

    /// Connects to the upstream; a black hole swallows that, too, until it is healed.
    async fn connect(&self) -> io::Result<TcpStream> {
        loop {
            // Before the look at the impairment, so that a change in between is not missed.
            let changed = self.changed.notified();
            let impairment = self.impairment();
            if impairment.reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if !impairment.lets_nothing_out() {
                break;
            }
            changed.await;
        }
        let upstream = timeout(CONNECT_LIMIT, TcpStream::connect(self.upstream.get())).await??;
        upstream.set_nodelay(true)?;
        Ok(upstream)
    }

    /// What decides when the bytes of a new connection's two directions go out.
    fn gates(&self) -> [Gate; 2] {
        let number = self.connections.replace(self.connections.get() + 1);
        let rng = self.rng.fork(&format!("connection/{number}"));
        let gate = |name: &str, line: &Rc<Cell<Instant>>| Gate {
            rng: rng.fork(name),
            line: Rc::clone(line),
            next_piece: Instant::now(),
        };
        [gate("up", &self.lines[0]), gate("down", &self.lines[1])]
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Both sides have said all they had to say.
    Closed,
    /// One side, or a toxic, tore it down: both sides are to see that.
    Torn,
}

/// Carries one accepted connection until its end.
pub(super) async fn carry(mut client: TcpStream, link: Rc<LinkState>) {
    let (Ok(mut upstream), Ok(())) = (link.connect().await, client.set_nodelay(true)) else {
        // What would have been refused is torn down: the nearest that a proxy has.
        tear(&client);
        return;
    };
    let [up, down] = link.gates();
    let end = {
        let (client_reads, client_writes) = client.split();
        let (upstream_reads, upstream_writes) = upstream.split();
        let mut pair = [
            Direction::new(client_reads, upstream_writes, up),
            Direction::new(upstream_reads, client_writes, down),
        ];
        pump(&mut pair, &link).await
    };
    if end == End::Torn {
        tear(&client);
        tear(&upstream);
    }
}

/// Makes the close that follows a reset (RST) rather than a polite end (FIN).
pub(super) fn tear(stream: &TcpStream) {
    // It fails only where the socket is gone already.
    let _ = stream.set_zero_linger();
}

async fn pump(pair: &mut [Direction<'_>; 2], link: &LinkState) -> End {
    loop {
        let mut changed = pin!(link.changed.notified());
        let impairment = link.impairment();
        // A stream never loses a part of what was said: one that did has no way to go on.
        let goes_on = impairment.swallows || pair.iter().all(|direction| !direction.lost);
        if impairment.reset || !goes_on {
            return End::Torn;
        }
        for direction in pair.iter_mut() {
            direction.restamp(&impairment);
        }
        let end = poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            poll_pair(pair, cx, &impairment, &mut link.scratch.borrow_mut()).map(Some)
        });
        if let Some(end) = end.await {
            return end;
        }
    }
}

fn poll_pair(
    pair: &mut [Direction<'_>; 2],
    cx: &mut Context<'_>,
    impairment: &Impairment,
    scratch: &mut [u8],
) -> Poll<End> {
    let mut finished = 0;
    for direction in pair.iter_mut() {
        match direction.poll(cx, impairment, scratch) {
            Poll::Ready(Ok(())) => finished += 1,
            Poll::Ready(Err(Broken)) => return Poll::Ready(End::Torn),
            Poll::Pending => {}
        }
    }
    if finished == pair.len() { Poll::Ready(End::Closed) } else { Poll::Pending }
}

/// One of the two sockets is of no use any more.
struct Broken;

/// Something that came in and has not gone out.
struct Held {
    arrived: Instant,
    /// When it may go out; `None` while nothing passes.
    due: Option<Instant>,
    what: What,
}

enum What {
    /// Bytes, and how many of them have gone out.
    Data(Vec<u8>, usize),
    /// The sender has no more to say.
    End,
    /// The sender's side broke.
    Broken,
}

/// From one socket to the other.
struct Direction<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Nothing more comes in.
    ended: bool,
    /// Nothing more goes out.
    finished: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Something that came in went nowhere.
    lost: bool,
    /// Bytes that may still pass, where that is limited.
    allowance: Option<u64>,
    gate: Gate,
}

/// Decides when something goes out.
struct Gate {
    rng: Rng,
    /// When the link's line is free again.
    line: Rc<Cell<Instant>>,
    /// The next piece goes no sooner.
    next_piece: Instant,
}

impl Gate {
    /// When what came in goes out; `None` while nothing does.
    fn due(&mut self, arrived: Instant, what: &What, impairment: &Impairment) -> Option<Instant> {
        if impairment.lets_nothing_out() {
            return None;
        }
        let due = arrived + impairment.delay(&mut self.rng);
        Some(match what {
            What::Data(bytes, gone) => self.pace(due, bytes.len() - gone, impairment),
            What::End => due + impairment.close_delay,
            What::Broken => due,
        })
    }

    fn pace(&mut self, mut due: Instant, bytes: usize, impairment: &Impairment) -> Instant {
        if let Some((_, pause)) = impairment.pieces()
            && !pause.is_zero()
        {
            due = due.max(self.next_piece);
            self.next_piece = due + pause;
        }
        if let Some(rate) = impairment.rate {
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            due = due.max(self.line.get()) + takes;
            self.line.set(due);
        }
        due
    }
}

impl<'a> Direction<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, gate: Gate) -> Self {
        Self {
            from,
            to,
            held: VecDeque::new(),
            held_bytes: 0,
            ended: false,
            finished: false,
            alarm: None,
            lost: false,
            allowance: None,
            gate,
        }
    }

    /// The link has changed: what is held goes out when the new state of things says so.
    fn restamp(&mut self, impairment: &Impairment) {
        self.allowance = impairment.limit.map(|limit| self.allowance.unwrap_or(limit));
        self.gate.next_piece = Instant::now();
        for held in &mut self.held {
            held.due = self.gate.due(held.arrived, &held.what, impairment);
        }
    }

    /// Moves all that can move; ready once the stream has ended and everything went out.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        impairment: &Impairment,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(broken)) = self.poll_let_out(cx) {
                return Poll::Ready(Err(broken));
            }
            if self.finished {
                continue;
            }
            if self.ended || self.held_bytes >= HELD_BYTES_MAX {
                return Poll::Pending;
            }
            ready!(self.poll_take_in(cx, impairment, scratch))?;
        }
    }

    /// Reads once. Where nothing is wrong and nothing waits, what was read goes out at once.
    fn poll_take_in(
        &mut self,
        cx: &mut Context<'_>,
        impairment: &Impairment,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Broken>> {
        let most = scratch.len().min(impairment.read_max());
        let mut chunk = ReadBuf::new(&mut scratch[..most]);
        match ready!(Pin::new(&mut self.from).poll_read(cx, &mut chunk)) {
            Err(_) => self.hold(What::Broken, impairment),
            Ok(()) if chunk.filled().is_empty() => self.hold(What::End, impairment),
            Ok(()) if impairment.swallows => self.lost = true,
            Ok(()) => {
                let mut rest = chunk.filled();
                if self.held.is_empty() && impairment.is_clear() {
                    match Pin::new(&mut self.to).poll_write(cx, rest) {
                        Poll::Ready(Ok(written)) => rest = &rest[written..],
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                        Poll::Pending => {}
                    }
                    if rest.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                self.hold_data(rest, impairment);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Holds as much as may pass, in pieces where they are asked for.
    fn hold_data(&mut self, bytes: &[u8], impairment: &Impairment) {
        let passes = self.allowance.map_or(bytes.len(), |left| {
            usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
        });
        self.allowance = self.allowance.map(|left| left - passes as u64);
        let size = impairment.pieces().map_or(CHUNK_BYTES, |(size, _)| size);
        for piece in bytes[..passes].chunks(size) {
            self.hold(What::Data(piece.to_vec(), 0), impairment);
        }
        if passes < bytes.len() {
            self.hold(What::Broken, impairment);
        }
    }

    fn hold(&mut self, what: What, impairment: &Impairment) {
        self.ended = !matches!(what, What::Data(..));
        self.held_bytes += what.cost();
        let arrived = Instant::now();
        let due = self.gate.due(arrived, &what, impairment);
        self.held.push_back(Held { arrived, due, what });
    }

    /// Writes what is due, in order. Pending is no reason not to read on.
    fn poll_let_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while let Some(held) = self.held.front_mut() {
            let Some(due) = held.due else { return Poll::Pending };
            if due > Instant::now() {
                ready!(ring(&mut self.alarm, due, cx));
            }
            match &mut held.what {
                What::Data(bytes, gone) => {
                    match ready!(Pin::new(&mut self.to).poll_write(cx, &bytes[*gone..])) {
                        Ok(0) | Err(_) => return Poll::Ready(Err(Broken)),
                        Ok(written) => *gone += written,
                    }
                    if *gone < bytes.len() {
                        continue;
                    }
                }
                What::End => {
                    if ready!(Pin::new(&mut self.to).poll_shutdown(cx)).is_err() {
                        return Poll::Ready(Err(Broken));
                    }
                    self.finished = true;
                }
                What::Broken => return Poll::Ready(Err(Broken)),
            }
            self.held_bytes -= held.what.cost();
            self.held.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl What {
    fn cost(&self) -> usize {
        match self {
            Self::Data(bytes, _) => bytes.len() + HELD_OVERHEAD_BYTES,
            Self::End | Self::Broken => HELD_OVERHEAD_BYTES,
        }
    }
}

/// Ready at `due`, never before.
fn ring(alarm: &mut Option<Pin<Box<Sleep>>>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
    if alarm.deadline() != due {
        alarm.as_mut().reset(due);
    }
    alarm.as_mut().poll(cx)
}
