//! SIGINT and SIGTERM: the first asks a run to end well, the second to end now.

use std::sync::{
    Arc, Mutex, PoisonError,
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

/// The signals of this process, for worlds that know none: one thread hears them as long as the
/// process lives, so that one that falls between two runs is not lost. Where it cannot listen, it is
/// tried anew the next time.
pub fn of_process() -> std::io::Result<Arc<Stops>> {
    static HEARD: Mutex<Option<Arc<Stops>>> = Mutex::new(None);
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stops) = &*heard {
        return Ok(Arc::clone(stops));
    }
    let stops = Arc::new(Stops::default());
    listen(&stops)?;
    Ok(Arc::clone(heard.insert(stops)))
}

/// Hears the signals on a thread of its own; comes back when it listens. A world that does not look
/// any more cannot be asked to end: from the third on, the process ends at once.
fn listen(stops: &Arc<Stops>) -> std::io::Result<()> {
    let stops = Arc::clone(stops);
    let (tell, told) = std::sync::mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "outside of the virtual world")]
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let listened = crate::world::real::run_local(async {
            let signals = match Signals::take() {
                Ok(signals) => signals,
                Err(why) => return drop(tell.send(Err(why))),
            };
            drop(tell.send(Ok(())));
            for n in 1.. {
                let heard = stops.hear(signals.wait_for(n).await);
                if let (3.., Some(exit)) = (heard, stops.exit()) {
                    std::process::exit(i32::from(exit.code()));
                }
            }
        });
        drop(listened);
    })?;
    // Nobody tells anything where the thread had no runtime.
    told.recv().unwrap_or_else(|_| Err(std::io::Error::other("no thread hears the signals")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads of this process with that name.
    fn threads(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.trim() == name).count()
    }

    #[test]
    fn one_thread_hears_for_the_whole_process() {
        let first = of_process().unwrap();
        let again: Vec<_> = (0..20).map(|_| of_process().unwrap()).collect();
        assert!(again.iter().all(|stops| Arc::ptr_eq(stops, &first)));
        assert_eq!(threads("signals"), 1);
    }

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
