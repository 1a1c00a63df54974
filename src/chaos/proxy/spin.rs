//! Busy polling, while there is something to do again and again: a processor that has gone to sleep takes longer
//! to wake than the next message to come. Whoever waits for the same processor goes first.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// So soon after the last time, it is worth staying awake for. As long as a Linux guest polls before it halts
/// (`guest_halt_poll_ns`).
const SOON: Duration = Duration::from_micros(200);
/// After so many times in a row more will follow. At 1,000 messages a second two in ten come soon, and hardly
/// ever so many in a row.
const ROW: u32 = 16;

/// Who stays awake for a link.
pub(super) struct Spin {
    /// When it was busy last.
    pub last: Cell<Instant>,
    row: Cell<u32>,
    begins: Notify,
}

impl Spin {
    /// One that sleeps.
    pub fn new() -> Self {
        Self { last: Cell::new(Instant::now()), row: Cell::new(0), begins: Notify::new() }
    }

    /// One of its connections has something to do.
    pub fn busy(&self, at: Instant) {
        let soon = at.saturating_duration_since(self.last.replace(at)) < SOON;
        let row = if soon { self.row.get().saturating_add(1) } else { 0 };
        self.row.set(row);
        if row == ROW {
            self.begins.notify_one();
        }
    }

    /// Stays awake whenever it is worth it, for ever.
    pub async fn run(&self) {
        loop {
            self.begins.notified().await;
            loop {
                let last = self.last.get();
                if last.elapsed() >= SOON {
                    break;
                }
                yield_now().await;
                if self.last.get() == last {
                    thread::yield_now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::Relaxed},
        },
        task::{Context, Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// How often one is woken that is looked at twice when it was busy at these times before `last`.
    fn wakes(ago: impl IntoIterator<Item = Duration>, last: Instant) -> u32 {
        let (spin, woken) = (Spin::new(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut running = pin!(spin.run());
        assert!(running.as_mut().poll(&mut cx).is_pending());
        for ago in ago {
            spin.busy(last.checked_sub(ago).unwrap());
        }
        for _ in 0..2 {
            assert!(running.as_mut().poll(&mut cx).is_pending());
        }
        woken.0.load(Relaxed)
    }

    /// So many times, each soon after the one before, the last of them so long ago.
    fn row(times: u32, until: Duration) -> impl Iterator<Item = Duration> {
        (0..times).rev().map(move |n| until + Duration::from_micros(10) * n)
    }

    #[test]
    fn it_stays_awake_only_after_a_row_and_until_nothing_comes_soon() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_mins(1));
        // The first of a row is not soon after anything.
        assert_eq!(wakes(row(ROW, Duration::ZERO), later), 0);
        // Woken by the row, and then by itself at each look.
        assert_eq!(wakes(row(ROW + 1, Duration::ZERO), later), 3);
        let two_rows = row(ROW, SOON * 2).chain(row(ROW, Duration::ZERO));
        assert_eq!(wakes(two_rows, later), 0);
        assert_eq!(wakes((0..ROW * 2).rev().map(|n| SOON * n), later), 0);
        thread::sleep(SOON);
        assert_eq!(wakes(row(ROW + 1, Duration::ZERO), now), 1);
    }
}
