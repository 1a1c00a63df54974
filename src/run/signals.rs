//! SIGINT and SIGTERM: the first asks a run to end well, the second to end now.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

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
                    _ = interrupt.recv() => "INT",
                    _ = terminate.recv() => "TERM",
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

/// Counts the signals on a thread of its own, for a world that knows no signals. A world that does
/// not look any more cannot be asked to end: from the third on, the process ends at once.
pub fn count_into(count: &Arc<AtomicUsize>) -> std::io::Result<()> {
    let count = Arc::clone(count);
    #[expect(clippy::disallowed_methods, reason = "outside of the virtual world")]
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let listened = crate::world::real::run_local(async {
            let signals = Signals::take()?;
            for n in 1.. {
                let word = signals.wait_for(n).await;
                if count.fetch_add(1, Ordering::Relaxed) >= 2 {
                    std::process::exit(if word == "TERM" { 143 } else { 130 });
                }
            }
            std::io::Result::Ok(())
        });
        drop(listened);
    })?;
    Ok(())
}
