//! Links over TCP: frames behind a length of four bytes, bounded queues both ways. The reader stops
//! reading while the node is slow, so the peer's queue fills and its senders are refused.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{
    future::{Either, select},
    pin_mut,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, mpsc},
};

use crate::world::link::{FRAME_BYTES_MAX, FRAMES_MAX, Link, Listener, Outgoing, SendError};

/// Bytes that may wait on a link to be sent; beyond it the link counts as full.
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Frames that were read and wait for the node; the reader stops beyond it.
const INCOMING_MAX: usize = 256;
/// Accepted links that wait for the node; accepting stops beyond it.
const ACCEPTED_MAX: usize = 64;
/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// Small frames are copied together up to this many bytes and written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// Frames from this size on are written as they lie, not copied.
const LARGE_FRAME_BYTES: usize = 16 * 1024;
/// What the reader makes room for at least.
const READ_BYTES_MIN: usize = 8 * 1024;
/// How long a link whose node has let go of it may take to send what waits.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long accepting rests after the system refused a socket (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The sending half.
struct TcpOutgoing {
    queue: mpsc::Sender<Bytes>,
    state: Rc<State>,
}

/// What both halves and the task of a link share.
#[derive(Default)]
struct State {
    queued_bytes: Cell<usize>,
    closed: Cell<bool>,
    /// A frame was too large: the link ends at once.
    close: Notify,
    /// The node takes no more frames: the link ends when what is queued has left.
    drain: Notify,
}

impl Outgoing for TcpOutgoing {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        let state = &self.state;
        if state.closed.get() {
            return Err(SendError::Closed);
        }
        if frame.len() > FRAME_BYTES_MAX {
            state.closed.set(true);
            state.close.notify_one();
            return Err(SendError::Closed);
        }
        let queued_bytes = state.queued_bytes.get() + frame.len();
        if queued_bytes > QUEUED_BYTES_MAX {
            return Err(SendError::Full);
        }
        self.queue.try_send(frame).map_err(|why| match why {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })?;
        state.queued_bytes.set(queued_bytes);
        Ok(())
    }
}

/// Makes a link of a connected stream; its task runs until either side lets go.
pub fn over(stream: TcpStream) -> io::Result<Link> {
    stream.set_nodelay(true)?;
    let (queue, queued) = mpsc::channel(FRAMES_MAX);
    let (received, incoming) = mpsc::channel(INCOMING_MAX);
    let state = Rc::new(State::default());
    tokio::task::spawn_local(run(stream, queued, received, Rc::clone(&state)));
    Ok(Link { outgoing: Rc::new(TcpOutgoing { queue, state }), incoming })
}

/// Accepts links for as long as the node wants them.
pub fn accept_from(listener: TcpListener) -> Listener {
    let (accepted, links) = mpsc::channel(ACCEPTED_MAX);
    tokio::task::spawn_local(async move {
        // A place first, so that no accepted link waits outside of the bound.
        while let Ok(place) = accepted.reserve().await {
            let next = listener.accept();
            pin_mut!(next);
            let ended = accepted.closed();
            pin_mut!(ended);
            match select(next, ended).await {
                Either::Left((Ok((stream, _)), _)) => {
                    // A stream that cannot be set up is gone already; its peer sees that.
                    if let Ok(link) = over(stream) {
                        place.send(link);
                    }
                }
                Either::Left((Err(_), _)) => tokio::time::sleep(ACCEPT_PAUSE).await,
                Either::Right(_) => break,
            }
        }
    });
    links
}

/// Why the reading half ended.
#[derive(PartialEq, Eq)]
enum ReadEnd {
    /// The peer has closed, broke the framing, or the way is cut.
    Peer,
    /// The node does not want frames any more.
    Node,
}

/// The life of a link: ends when the node or the peer lets go of it, in either direction.
async fn run(
    mut stream: TcpStream,
    mut queued: mpsc::Receiver<Bytes>,
    received: mpsc::Sender<Bytes>,
    state: Rc<State>,
) {
    let (reading, mut writing) = stream.split();
    {
        let write = write_frames(&mut writing, &mut queued, &state);
        pin_mut!(write);
        let read_end = {
            let close = state.close.notified();
            let read = read_frames(reading, &received);
            pin_mut!(close, read);
            match select(select(write.as_mut(), close), read).await {
                Either::Left(_) => ReadEnd::Peer,
                Either::Right((end, _)) => end,
            }
        };
        state.closed.set(true);
        if read_end == ReadEnd::Node {
            // What the node sent before it let go still leaves, unless the peer is too slow.
            state.drain.notify_one();
            let _ = tokio::time::timeout(DRAIN_MAX, write).await;
        }
    }
    let _ = writing.shutdown().await;
}

/// Writes what is queued until the queue has ended or the stream has.
async fn write_frames(
    writing: &mut WriteHalf<'_>,
    queued: &mut mpsc::Receiver<Bytes>,
    state: &State,
) {
    let mut batch = BytesMut::new();
    while let Some(first) = next_frame(queued, state).await {
        let mut next = Some(first);
        while let Some(frame) = next {
            state.queued_bytes.set(state.queued_bytes.get().saturating_sub(frame.len()));
            batch.put_u32(frame.len() as u32);
            if frame.len() >= LARGE_FRAME_BYTES {
                if flush(writing, &mut batch).await.is_err()
                    || writing.write_all(&frame).await.is_err()
                {
                    return;
                }
            } else {
                batch.put_slice(&frame);
            }
            next = if batch.len() < BATCH_BYTES { queued.try_recv().ok() } else { None };
        }
        if flush(writing, &mut batch).await.is_err() {
            return;
        }
    }
}

async fn next_frame(queued: &mut mpsc::Receiver<Bytes>, state: &State) -> Option<Bytes> {
    {
        let (next, drain) = (queued.recv(), state.drain.notified());
        pin_mut!(next, drain);
        if let Either::Left((frame, _)) = select(next, drain).await {
            return frame;
        }
    }
    // From here on the queue ends behind its last frame.
    queued.close();
    queued.recv().await
}

async fn flush(writing: &mut WriteHalf<'_>, batch: &mut BytesMut) -> io::Result<()> {
    writing.write_all(batch).await?;
    batch.clear();
    Ok(())
}

/// Reads frames and hands them on until either side lets go.
async fn read_frames(mut reading: ReadHalf<'_>, received: &mpsc::Sender<Bytes>) -> ReadEnd {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(length) = whole_frame(&buffer) {
            let Ok(length) = length else { return ReadEnd::Peer };
            buffer.advance(LENGTH_BYTES);
            if received.send(buffer.split_to(length).freeze()).await.is_err() {
                return ReadEnd::Node;
            }
        }
        buffer.reserve(missing(&buffer));
        let read = reading.read_buf(&mut buffer);
        let ended = received.closed();
        pin_mut!(read, ended);
        match select(read, ended).await {
            Either::Left((Ok(1..), _)) => {}
            Either::Left(_) => return ReadEnd::Peer,
            Either::Right(_) => return ReadEnd::Node,
        }
    }
}

/// The length of the frame at the front, if all of it is there.
fn whole_frame(buffer: &BytesMut) -> Option<Result<usize, SendError>> {
    let length = announced(buffer)?;
    if length > FRAME_BYTES_MAX {
        return Some(Err(SendError::Closed));
    }
    (buffer.len() >= LENGTH_BYTES + length).then_some(Ok(length))
}

fn announced(buffer: &BytesMut) -> Option<usize> {
    let length = buffer.first_chunk::<LENGTH_BYTES>()?;
    Some(u32::from_be_bytes(*length) as usize)
}

/// How much room to make before the next read.
fn missing(buffer: &BytesMut) -> usize {
    let whole = announced(buffer).map_or(0, |length| LENGTH_BYTES + length);
    whole.saturating_sub(buffer.len()).max(READ_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::real::run_local;

    async fn pair() -> (Link, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut links = accept_from(listener);
        let dialled = over(TcpStream::connect(address).await.unwrap()).unwrap();
        (dialled, links.recv().await.unwrap())
    }

    /// A frame that tells its number, of a size that crosses every boundary now and then.
    fn frame(number: u32) -> Bytes {
        let size = match number % 7 {
            0 => 0,
            1 => LARGE_FRAME_BYTES,
            2 => 3 * BATCH_BYTES + 1,
            other => other as usize * 100,
        };
        let mut bytes = BytesMut::new();
        bytes.put_u32(number);
        bytes.resize(LENGTH_BYTES + size, number as u8);
        bytes.freeze()
    }

    #[test]
    fn frames_arrive_whole_and_in_order_both_ways() {
        const COUNT: u32 = 1_000;
        async fn talk(mut link: Link) {
            let outgoing = Rc::clone(&link.outgoing);
            for number in 0..COUNT {
                outgoing.send(frame(number)).unwrap();
            }
            for number in 0..COUNT {
                assert!(link.incoming.recv().await.unwrap() == frame(number), "frame {number}");
            }
            // Held until the peer has all of its own.
            outgoing.send(Bytes::from_static(b"done")).unwrap();
            assert_eq!(link.incoming.recv().await.unwrap(), "done");
        }
        run_local(async {
            let (one, other) = pair().await;
            futures_util::future::join(talk(one), talk(other)).await;
        })
        .unwrap();
    }

    #[test]
    fn the_largest_frame_passes_and_a_larger_one_closes() {
        run_local(async {
            let (one, mut other) = pair().await;
            one.outgoing.send(Bytes::from(vec![1; FRAME_BYTES_MAX])).unwrap();
            assert_eq!(other.incoming.recv().await.unwrap().len(), FRAME_BYTES_MAX);
            let larger = Bytes::from(vec![1; FRAME_BYTES_MAX + 1]);
            assert_eq!(one.outgoing.send(larger), Err(SendError::Closed));
            assert_eq!(other.incoming.recv().await, None);
            assert_eq!(one.outgoing.send(Bytes::new()), Err(SendError::Closed));
        })
        .unwrap();
    }

    #[test]
    fn a_peer_that_breaks_the_framing_is_cut() {
        run_local(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut links = accept_from(listener);
            let mut raw = TcpStream::connect(address).await.unwrap();
            raw.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
            let mut link = links.recv().await.unwrap();
            assert_eq!(link.incoming.recv().await, None);
            assert_eq!(link.outgoing.send(Bytes::new()), Err(SendError::Closed));
        })
        .unwrap();
    }

    #[test]
    fn dropping_the_sending_half_flushes_and_ends_both_ways() {
        run_local(async {
            let (one, mut other) = pair().await;
            let Link { outgoing, mut incoming } = one;
            outgoing.send(Bytes::from_static(b"last")).unwrap();
            drop(outgoing);
            assert_eq!(other.incoming.recv().await.unwrap(), "last");
            assert_eq!(other.incoming.recv().await, None);
            assert_eq!(incoming.recv().await, None);
            assert_eq!(other.outgoing.send(Bytes::new()), Err(SendError::Closed));
        })
        .unwrap();
    }

    #[test]
    fn dropping_the_receiving_half_flushes_and_ends_both_ways() {
        run_local(async {
            let (one, mut other) = pair().await;
            let Link { outgoing, incoming } = one;
            for number in 0..20 {
                outgoing.send(frame(number)).unwrap();
            }
            drop(incoming);
            for number in 0..20 {
                assert!(other.incoming.recv().await.unwrap() == frame(number));
            }
            assert_eq!(other.incoming.recv().await, None);
            // The peer saw the end, so this side's task has ended too.
            assert_eq!(outgoing.send(Bytes::new()), Err(SendError::Closed));
        })
        .unwrap();
    }

    #[test]
    fn a_slow_peer_fills_the_queue_and_loses_nothing() {
        run_local(async {
            let (one, mut other) = pair().await;
            // The peer does not read: first the sockets fill, then the queue, then senders are
            // refused. Yielding lets the writer move what it can.
            let frame = Bytes::from(vec![7; 8 * 1024]);
            let mut sent = 0;
            let refused = loop {
                match one.outgoing.send(frame.clone()) {
                    Ok(()) => sent += 1,
                    Err(why) => break why,
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(refused, SendError::Full);
            assert!(sent >= FRAMES_MAX, "only {sent} taken");
            for _ in 0..sent {
                assert_eq!(other.incoming.recv().await.unwrap(), frame);
            }
            // Room again: the peer's end of the queue has moved on.
            one.outgoing.send(Bytes::from_static(b"again")).unwrap();
            assert_eq!(other.incoming.recv().await.unwrap(), "again");
        })
        .unwrap();
    }

    #[test]
    fn queued_bytes_are_bounded_too() {
        run_local(async {
            let (one, _other) = pair().await;
            let frame = Bytes::from(vec![7; FRAME_BYTES_MAX]);
            let taken = (0..10).take_while(|_| one.outgoing.send(frame.clone()).is_ok()).count();
            assert_eq!(taken, QUEUED_BYTES_MAX / FRAME_BYTES_MAX);
        })
        .unwrap();
    }
}
