//! Busy polling, while messages come thick and fast: a processor that has gone to sleep takes longer to wake
//! than the next message to come. Between them whoever else has something to do goes first.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// So near to the one before, a message is worth staying awake for. As long as a Linux guest polls before it
/// halts (`guest_halt_poll_ns`).
const SOON: Duration = Duration::from_micros(200);
/// So many messages in a row came soon, and more will. At 1,000 a second by chance, one in five comes soon: a row of
/// them is one in a million millions.
const ROW: u32 = 16;

/// Who stays awake for a link.
pub(super) struct Spin {
    last: Cell<Instant>,
    row: Cell<u32>,
    begins: Notify,
}

impl Spin {
    /// One that sleeps.
    pub fn new() -> Self {
        Self { last: Cell::new(Instant::now()), row: Cell::new(0), begins: Notify::new() }
    }

    /// A message has come.
    pub fn message(&self, at: Instant) {
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
            while self.last.get().elapsed() < SOON {
                thread::yield_now();
                yield_now().await;
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

    /// How often one is woken that is looked at twice after messages that came `apart`, the last of them at
    /// `last`.
    fn wakes(messages: u32, apart: Duration, last: Instant) -> u32 {
        let (spin, woken) = (Spin::new(), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut running = pin!(spin.run());
        assert!(running.as_mut().poll(&mut cx).is_pending());
        spin.last.set(last.checked_sub(apart * messages).unwrap());
        for n in (0..messages).rev() {
            spin.message(last.checked_sub(apart * n).unwrap());
        }
        for _ in 0..2 {
            assert!(running.as_mut().poll(&mut cx).is_pending());
        }
        woken.0.load(Relaxed)
    }

    #[test]
    fn it_stays_awake_only_after_a_row_and_until_none_comes_soon() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_mins(1));
        let soon = Duration::from_micros(10);
        assert_eq!(wakes(ROW - 1, soon, later), 0);
        assert_eq!(wakes(ROW * 2, SOON, later), 0);
        // Woken by the row, and then by itself at each look.
        assert_eq!(wakes(ROW, soon, later), 3);
        std::thread::sleep(SOON);
        assert_eq!(wakes(ROW, soon, now), 1);
    }
}
