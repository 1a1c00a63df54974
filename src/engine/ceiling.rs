//! The most attempts a second that a target is ever sent, whatever the robots want. Who comes too
//! early waits in line; its lag grows, and shows.

use std::num::NonZeroU32;

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::sync::Mutex;

use crate::world::Env;

/// The limiter's clock is the world's.
#[derive(Clone)]
struct WorldClock(Env);

impl Clock for WorldClock {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        Nanos::new(self.0.now().0)
    }
}

/// A ceiling on the rate of attempts.
pub struct Ceiling {
    env: Env,
    limiter: RateLimiter<NotKeyed, InMemoryState, WorldClock, NoOpMiddleware<Nanos>>,
    /// Fair: first come, first served.
    line: Mutex<()>,
}

impl Ceiling {
    /// At most `per_second`, with bursts of no more than a hundredth of that.
    pub fn new(env: Env, per_second: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_second.get() / 100).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, WorldClock(env.clone()));
        Self { env, limiter, line: Mutex::new(()) }
    }

    /// Waits until one more attempt may be sent.
    pub async fn pass(&self) {
        let _place = self.line.lock().await;
        while let Err(early) = self.limiter.check() {
            let wait = early.wait_time_from(Nanos::new(self.env.now().0));
            self.env.sleep(wait).await;
        }
    }
}
