//! SIGINT and SIGTERM: the first asks a run to end well, the second to end now.

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
