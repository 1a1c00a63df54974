//! When what is held back may go. tokio's wheel turns once a millisecond and epoll waits for whole
//! ones, which makes a short latency late by more than it may be; the kernel's own timers are right to
//! some tens of microseconds. One of them serves all connections of a link.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::pending,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// A timer of zero would be none.
const SOON: Duration = Duration::from_nanos(1);

/// The clock of a link.
pub(super) struct Clock {
    timer: AsyncFd<OwnedFd>,
    /// Who waits, the first to be woken first.
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    alarms: Cell<u64>,
}

impl Clock {
    /// One that nobody waits for, within the runtime. The error: no file can be opened any more.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "what is to take its place is unsafe; an owned file stays open"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer, waiting: RefCell::default(), alarms: Cell::new(0) })
    }

    /// Wakes whoever waits, for ever.
    pub async fn run(&self) {
        loop {
            // Neither fails while the runtime lives.
            let Ok(mut ready) = self.timer.readable().await else { return pending().await };
            let _ = rustix::io::read(&self.timer, &mut [0; 8]);
            ready.clear_ready();
            let now = Instant::now();
            while let Some(first) = self.waiting.borrow_mut().first_entry()
                && first.key().0 <= now
            {
                first.remove().wake();
            }
            self.set();
        }
    }

    /// Sets the timer to whoever is to be woken first.
    fn set(&self) {
        let Some((at, _)) = self.waiting.borrow().keys().next().copied() else { return };
        let left = at.saturating_duration_since(Instant::now()).max(SOON);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            },
        };
        // A time that is in range is never refused.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

/// One who waits; dropped, it waits no longer.
pub(super) struct Alarm {
    clock: Rc<Clock>,
    at: Option<(Instant, u64)>,
}

impl Alarm {
    /// One that is not set.
    pub fn of(clock: &Rc<Clock>) -> Self {
        Self { clock: Rc::clone(clock), at: None }
    }

    /// Ready at `due`, never before.
    pub fn ring(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if due <= Instant::now() {
            self.unset();
            return Poll::Ready(());
        }
        if self.at.is_none_or(|(at, _)| at != due) {
            self.unset();
        }
        let clock = &self.clock;
        let key =
            *self.at.get_or_insert_with(|| (due, clock.alarms.replace(clock.alarms.get() + 1)));
        clock.waiting.borrow_mut().insert(key, cx.waker().clone());
        if clock.waiting.borrow().keys().next() == Some(&key) {
            clock.set();
        }
        Poll::Pending
    }

    fn unset(&mut self) {
        if let Some(key) = self.at.take() {
            self.clock.waiting.borrow_mut().remove(&key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.unset();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Instant as StdInstant};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn alarms_ring_in_their_order_and_never_before_their_time() {
        let clock = Rc::new(Clock::new().unwrap());
        let begun = StdInstant::now();
        let order = RefCell::new(Vec::new());
        let wait = |ms: u64| {
            let (mut alarm, order) = (Alarm::of(&clock), &order);
            let due = Instant::now() + Duration::from_millis(ms);
            async move {
                poll_fn(|cx| alarm.ring(due, cx)).await;
                assert!(Instant::now() >= due);
                order.borrow_mut().push(ms);
            }
        };
        // Dropped before its time: nobody is woken for it.
        let mut gone = Alarm::of(&clock);
        poll_fn(|cx| {
            assert!(gone.ring(Instant::now() + Duration::from_millis(1), cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(gone);
        tokio::select! {
            () = clock.run() => {}
            _ = async { tokio::join!(wait(7), wait(3), wait(5), wait(0)) } => {}
        }
        assert_eq!(*order.borrow(), [0, 3, 5, 7]);
        assert!(begun.elapsed() >= Duration::from_millis(7));
        assert!(clock.waiting.borrow().is_empty());
    }
}
