//! SIGINT and SIGTERM: the first asks a run to end well, the second to end now.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::report::verdict::Exit;

/// How the two are called in histories.
const INT: &str = "INT";
const TERM: &str = "TERM";

/// The signals that came so far: none is ever missed, whoever waits when.
#[derive(Clone)]
pub struct Signals {
    seen: watch::Receiver<Vec<&'static str>>,
}

impl Signals {
    /// Takes the signals over from the system's default (to end the process at once).
    pub fn take() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (send, seen) = watch::channel(Vec::new());
        #[expect(clippy::disallowed_methods, reason = "a run's signals come from the real world")]
        tokio::task::spawn_local(async move {
            loop {
                let word = tokio::select! {
                    biased;
                    _ = interrupt.recv() => INT,
                    _ = terminate.recv() => TERM,
                };
                send.send_modify(|seen| seen.push(word));
            }
        });
        Ok(Self { seen })
    }

    /// Waits until `count` signals came in all; the last of them, `INT` or `TERM`.
    pub async fn wait_for(&self, count: usize) -> &'static str {
        let mut seen = self.seen.clone();
        match seen.wait_for(|seen| seen.len() >= count).await {
            Ok(seen) => seen[count - 1],
            // The task that listens lives as long as the runtime.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The wishes of people to stop, for a world that knows no signals: a thread outside of it hears
/// them. Nobody ever takes one back.
#[derive(Debug, Default)]
pub struct Stops {
    count: AtomicUsize,
    /// The last of them was SIGTERM.
    terminate: AtomicBool,
}

impl Stops {
    /// Takes in `INT` or `TERM`; how many there are now.
    pub fn hear(&self, word: &str) -> usize {
        self.terminate.store(word == TERM, Ordering::Relaxed);
        // Whoever sees the count sees its word, too.
        self.count.fetch_add(1, Ordering::Release) + 1
    }

    /// How many came so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The last of them, once one came: `INT` or `TERM`.
    pub fn word(&self) -> Option<&'static str> {
        let word = || if self.terminate.load(Ordering::Relaxed) { TERM } else { INT };
        (self.count() > 0).then(word)
    }

    /// The exit code that the last of them asks for.
    pub fn exit(&self) -> Option<Exit> {
        self.word().map(|word| if word == TERM { Exit::Terminated } else { Exit::Interrupted })
    }
}

/// Hears the signals on a thread of its own, for a world that knows no signals. A world that does
/// not look any more cannot be asked to end: from the third on, the process ends at once.
pub fn hear_into(stops: &Arc<Stops>) -> std::io::Result<()> {
    let stops = Arc::clone(stops);
    #[expect(clippy::disallowed_methods, reason = "outside of the virtual world")]
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let listened = crate::world::real::run_local(async {
            let signals = Signals::take()?;
            for n in 1.. {
                let heard = stops.hear(signals.wait_for(n).await);
                if let (3.., Some(exit)) = (heard, stops.exit()) {
                    std::process::exit(i32::from(exit.code()));
                }
            }
            std::io::Result::Ok(())
        });
        drop(listened);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let stops = Stops::default();
        assert_eq!((stops.count(), stops.word(), stops.exit()), (0, None, None));
        stops.hear(INT);
        assert_eq!((stops.word(), stops.exit()), (Some(INT), Some(Exit::Interrupted)));
        assert_eq!(stops.hear(TERM), 2);
        assert_eq!((stops.word(), stops.exit()), (Some(TERM), Some(Exit::Terminated)));
    }
}
