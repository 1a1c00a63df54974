//! The clocks of a real node. The origin of a run is one moment for all processes of the machine:
//! the kernel's monotonic clock is shared, so a parent can hand its origin to its children.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::base::time::{Time, Wall, nanos};

/// Farther away than anything waits for; keeps tokio's arithmetic from overflowing.
const FAR: Duration = Duration::from_hours(30 * 365 * 24);

/// Timers ring on a grid this wide: what is due within it costs one wake-up of the process instead
/// of several, which is most of what a generator of some thousand ops a second costs. Nothing rings
/// early, and at most this much late; the robots' lag shows it.
const GRID: Duration = Duration::from_millis(2);

/// The clocks of one process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    wall_at_origin_ms: u64,
}

impl Clock {
    /// The clocks of a run that began at `origin`. The wall clock is read once: it then runs on
    /// with the monotonic one, so it never jumps.
    pub fn new(origin: Instant) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = wall.saturating_sub(origin.elapsed());
        Self { origin, wall_at_origin_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Monotonic time since the origin.
    pub fn now(&self) -> Time {
        Time(nanos(self.origin.elapsed()))
    }

    /// What the clock on the wall shows.
    pub fn wall(&self) -> Wall {
        Wall(self.wall_at_origin_ms).plus(self.origin.elapsed())
    }

    /// The moment `at`, or the next one of the grid, for tokio's timers.
    pub fn instant(&self, at: Time) -> tokio::time::Instant {
        let grid = nanos(GRID);
        let since_origin = Duration::from_nanos(at.0.div_ceil(grid).saturating_mul(grid));
        let instant = self.origin.checked_add(since_origin.min(FAR)).unwrap_or(self.origin);
        tokio::time::Instant::from_std(instant)
    }
}

/// `origin` as nanoseconds of the machine's monotonic clock, to hand to another process.
pub fn origin_to_machine(origin: Instant) -> u64 {
    machine_now().saturating_sub(nanos(origin.elapsed()))
}

/// The origin that another process wrote with [`origin_to_machine`].
pub fn origin_from_machine(machine: u64) -> Instant {
    let ago = Duration::from_nanos(machine_now().saturating_sub(machine));
    let now = Instant::now();
    now.checked_sub(ago).unwrap_or(now)
}

fn machine_now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_travels_between_processes() {
        let origin = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let there = origin_from_machine(origin_to_machine(origin));
        let apart = there.max(origin) - there.min(origin);
        // Two readings of the clock lie between the two; a wrong unit would be off by far more.
        assert!(apart < Duration::from_millis(500), "{apart:?} apart");
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let clock = Clock::new(Instant::now());
        assert!(clock.instant(Time::MAX) > clock.instant(clock.now()));
        assert!(clock.wall().0 > 1_700_000_000_000);
    }
}
