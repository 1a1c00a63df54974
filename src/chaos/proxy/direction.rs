//! One direction of a connection: from one socket to the other, with a short queue of what is held
//! back. Its order is always kept, the end of the stream and a reset included.

use std::{
    cell::Cell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::tcp::{ReadHalf, WriteHalf},
    time::Instant,
};

use super::{
    clock::Alarm,
    impairment::Impairment,
    requests::Requests,
    sickness::{End, Sickness},
};
use crate::base::rng::Rng;

/// Bytes that one read may bring.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes held back in one direction of one connection before its sender has to wait.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// What a held chunk costs beside its bytes, so that many tiny ones count too.
const HELD_OVERHEAD_BYTES: usize = 128;

/// The direction from the dialler.
const UP: usize = 0;

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
    Finish,
    /// Nothing passes after that, and the connection ends like this.
    Cut(End),
}

impl What {
    fn cost(&self) -> usize {
        match self {
            Self::Data(bytes, _) => bytes.len() + HELD_OVERHEAD_BYTES,
            Self::Finish | Self::Cut(_) => HELD_OVERHEAD_BYTES,
        }
    }
}

/// How far a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// More may come in.
    Open,
    /// Nothing more comes in; what is held goes out.
    Ended,
    /// Nothing more goes out.
    Finished,
}

/// From one socket to the other.
pub(super) struct Direction<'a> {
    /// Which of the two of its connection.
    number: usize,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    held: VecDeque<Held>,
    held_bytes: usize,
    stream: Stream,
    alarm: Alarm,
    /// Something that came in went nowhere.
    pub lost: bool,
    /// Bytes that have passed since that is limited.
    passed: u64,
    requests: Requests,
    /// All that came in was looked at for requests.
    in_step: bool,
    gate: Gate,
}

/// Decides when something goes out.
pub(super) struct Gate {
    pub rng: Rng,
    /// When the link's line is free again.
    pub line: Rc<Cell<Instant>>,
    /// When the connection's own line is free again.
    own_line: Instant,
    /// The next piece goes no sooner.
    next_piece: Instant,
}

impl Gate {
    pub fn new(rng: Rng, line: Rc<Cell<Instant>>) -> Self {
        let now = Instant::now();
        Self { rng, line, own_line: now, next_piece: now }
    }

    /// When what came in goes out; `None` while nothing does.
    fn due(&mut self, arrived: Instant, what: &What, impairment: &Impairment) -> Option<Instant> {
        if impairment.lets_nothing_out() {
            return None;
        }
        let bytes = if let What::Data(bytes, gone) = what { bytes.len() - gone } else { 0 };
        let due = arrived + impairment.delay(bytes, &mut self.rng);
        Some(match what {
            What::Data(..) => self.pace(due, bytes, impairment),
            What::Finish => due + impairment.close_delay,
            What::Cut(_) => due,
        })
    }

    fn pace(&mut self, mut due: Instant, bytes: usize, impairment: &Impairment) -> Instant {
        let takes = |rate: u64| Duration::from_secs_f64(bytes as f64 / rate as f64);
        if let Some(pause) = impairment.pause() {
            due = due.max(self.next_piece);
            self.next_piece = due + pause;
        }
        if let Some(rate) = impairment.rate_each {
            due = due.max(self.own_line) + takes(rate);
            self.own_line = due;
        }
        if let Some(rate) = impairment.rate {
            due = due.max(self.line.get()) + takes(rate);
            self.line.set(due);
        }
        due
    }
}

impl<'a> Direction<'a> {
    pub fn new(
        number: usize,
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
        gate: Gate,
        alarm: Alarm,
    ) -> Self {
        Self {
            number,
            from,
            to,
            held: VecDeque::new(),
            held_bytes: 0,
            stream: Stream::Open,
            alarm,
            lost: false,
            passed: 0,
            requests: Requests::default(),
            in_step: true,
            gate,
        }
    }

    /// The link has changed: what is held goes out when the new state of things says so.
    pub fn restamp(&mut self, sickness: &Sickness) {
        let impairment = sickness.way(self.number);
        if impairment.limit.is_none() {
            self.passed = 0;
        }
        let now = Instant::now();
        (self.gate.next_piece, self.gate.own_line) = (now, now);
        for held in &mut self.held {
            held.due = self.gate.due(held.arrived, &held.what, impairment);
        }
    }

    /// Moves all that can move; ready once the stream has ended and everything went out, or with
    /// the end of the whole connection.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sickness: &mut Sickness,
        scratch: &mut [u8],
    ) -> Poll<Result<(), End>> {
        loop {
            if self.stream == Stream::Finished {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(end)) = self.poll_let_out(cx) {
                return Poll::Ready(Err(end));
            }
            if self.stream == Stream::Finished {
                continue;
            }
            if self.stream == Stream::Ended || self.held_bytes >= HELD_BYTES_MAX {
                return Poll::Pending;
            }
            ready!(self.poll_take_in(cx, sickness, scratch))?;
        }
    }

    /// Reads once. Where nothing is wrong and nothing waits, what was read goes out at once.
    fn poll_take_in(
        &mut self,
        cx: &mut Context<'_>,
        sickness: &mut Sickness,
        scratch: &mut [u8],
    ) -> Poll<Result<(), End>> {
        let way = sickness.way(self.number);
        let most = if way.is_clear() { scratch.len() } else { scratch.len().min(way.read_max()) };
        let mut chunk = ReadBuf::new(&mut scratch[..most]);
        match ready!(Pin::new(&mut self.from).poll_read(cx, &mut chunk)) {
            Err(_) => self.hold(What::Cut(End::Torn), sickness.way(self.number)),
            Ok(()) if chunk.filled().is_empty() => {
                self.hold(What::Finish, sickness.way(self.number));
            }
            Ok(()) if sickness.tells_requests && self.number == UP => {
                if !self.in_step {
                    (self.requests, self.in_step) = (Requests::out_of_step(), true);
                }
                let mut rest = chunk.filled();
                while !rest.is_empty() && self.stream == Stream::Open {
                    let (len, begins) = self.requests.split(rest);
                    if begins {
                        self.begin_request(sickness)?;
                    }
                    let (request, more) = rest.split_at(len);
                    self.pass(request, cx, sickness.way(self.number))?;
                    rest = more;
                }
            }
            Ok(()) => {
                self.in_step = false;
                self.pass(chunk.filled(), cx, sickness.way(self.number))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Draws anew for a request. One that was lost is answered by nobody: what comes after it on
    /// the same stream has no way to go on, and one that is to be reset is reset before it is seen.
    fn begin_request(&self, sickness: &mut Sickness) -> Result<(), End> {
        sickness.next_request();
        match sickness.ended() {
            Some(end) => Err(end),
            None if self.lost && !sickness.way(self.number).swallows => Err(End::Torn),
            None => Ok(()),
        }
    }

    /// Lets bytes go: at once where nothing is wrong and nothing waits, otherwise in their time.
    fn pass(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
        impairment: &Impairment,
    ) -> Result<(), End> {
        if impairment.swallows {
            self.lost = true;
            return Ok(());
        }
        let mut rest = bytes;
        if self.held.is_empty() && impairment.is_clear() {
            match Pin::new(&mut self.to).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) => rest = &rest[written..],
                Poll::Ready(Err(_)) => return Err(End::Torn),
                Poll::Pending => {}
            }
            if rest.is_empty() {
                return Ok(());
            }
        }
        self.hold_data(rest, impairment);
        Ok(())
    }

    /// Holds as much as may pass, in pieces where they are asked for.
    fn hold_data(&mut self, bytes: &[u8], impairment: &Impairment) {
        let left = impairment.limit.map(|(limit, _)| limit.saturating_sub(self.passed));
        let passes = left.map_or(bytes.len(), |left| {
            usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
        });
        let mut rest = &bytes[..passes];
        while !rest.is_empty() {
            let size = impairment.pieces(&mut self.gate.rng).map_or(CHUNK_BYTES, |(size, _)| size);
            let (piece, more) = rest.split_at(size.min(rest.len()));
            self.hold(What::Data(piece.to_vec(), 0), impairment);
            rest = more;
        }
        let Some((limit, politely)) = impairment.limit else { return };
        self.passed = self.passed.saturating_add(passes as u64);
        // A polite end follows the last byte that may pass, a reset the first that may not.
        if politely && self.passed >= limit {
            self.hold(What::Cut(End::Closed), impairment);
        } else if passes < bytes.len() {
            self.hold(What::Cut(End::Torn), impairment);
        }
    }

    fn hold(&mut self, what: What, impairment: &Impairment) {
        if !matches!(what, What::Data(..)) {
            self.stream = Stream::Ended;
        }
        self.held_bytes += what.cost();
        let arrived = Instant::now();
        let due = self.gate.due(arrived, &what, impairment);
        self.held.push_back(Held { arrived, due, what });
    }

    /// Writes what is due, in order. Pending is no reason not to read on.
    fn poll_let_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        while let Some(held) = self.held.front_mut() {
            let Some(due) = held.due else { return Poll::Pending };
            if due > Instant::now() {
                ready!(self.alarm.ring(due, cx));
            }
            match &mut held.what {
                What::Data(bytes, gone) => {
                    match ready!(Pin::new(&mut self.to).poll_write(cx, &bytes[*gone..])) {
                        Ok(0) | Err(_) => return Poll::Ready(Err(End::Torn)),
                        Ok(written) => *gone += written,
                    }
                    if *gone < bytes.len() {
                        continue;
                    }
                }
                What::Finish => {
                    if ready!(Pin::new(&mut self.to).poll_shutdown(cx)).is_err() {
                        return Poll::Ready(Err(End::Torn));
                    }
                    self.stream = Stream::Finished;
                }
                What::Cut(end) => return Poll::Ready(Err(*end)),
            }
            self.held_bytes -= held.what.cost();
            self.held.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}
