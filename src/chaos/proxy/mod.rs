//! The fault proxy: one process that stands on many links and makes them sick when told to.
//!
//! It is told over its standard input, one JSON object a line, and answers each on its standard
//! output. Every rule lives in the memory of this process and nowhere else: when its input ends,
//! because whoever started it asked for that or died, the process ends, and nothing can stay
//! behind.
//!
//! There is no command that measures a link. The proxy knows bytes and no protocol, so all that it
//! could time is its own connect to the upstream, which no toxic holds back: the figure would be
//! good whatever the link is like. The measurement is honest only where an answer comes from the
//! other end *through* the link, so the provider makes it: one small exchange (a health check) with
//! the node behind the proxy, over the proxied address.
#![allow(
    clippy::disallowed_methods,
    reason = "this room is sockets, and belongs to the real world alone"
)]

mod clock;
mod connection;
mod controller;
mod direction;
mod impairment;
mod requests;
mod server;
mod sickness;
mod spin;
pub mod toxiproxy;
mod wire;

use std::io;

use tokio::{
    io::{BufReader, stdin, stdout},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

pub use controller::{ControlError, Controller};
pub use server::serve;

use crate::base::rng::Rng;

/// The life of the child process `robot-city proxy`: serves until standard input ends.
pub fn child(seed: &str) -> io::Result<()> {
    raise_file_limit();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let rng = Rng::from_seed(seed).fork("proxy");
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        // Ctrl-C in a terminal reaches the whole process group, and links must live until the run
        // has healed and signed off: our end is the end of the input, not that signal.
        let _swallowed = signal(SignalKind::interrupt())?;
        serve(BufReader::new(stdin()), stdout(), rng).await
    });
    drop(local);
    // A read of standard input may be under way on a thread of its own; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Files that a proxy can use: two for each connection.
const FILES_WANTED: u64 = 65_536;

/// Lets this process open as many files as a proxy can use, or as many as the system lets it have.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum;
    limit.maximum = maximum.map(|known| known.max(FILES_WANTED));
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        (limit.current, limit.maximum) = (maximum, maximum);
        // Where it is refused we go on with what there is; the accept loop survives running out.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(test)]
mod tests;
