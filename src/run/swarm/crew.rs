//! The threads of a swarm: each plays one seed after the other in a world of its own, and takes the
//! next from a counter. Results come out in the order of the seeds, whoever played them.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, ScopedJoinHandle},
    time::Duration,
};

use super::{seeds::Seeds, trial::Trial, vary::Base};
use crate::{
    base::file::FileError,
    run::{RunError, signals::Stops, virtual_::panic_words},
};

/// A world polls deep stacks of futures.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Between two looks at the clock of the person who watches.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who plays.
pub struct Crew<'a> {
    base: &'a Base,
    seeds: Seeds,
    threads: usize,
    keep_going: bool,
    /// Signals of people.
    signals: &'a Stops,
    /// Seeds that were handed out.
    taken: AtomicU64,
    stop: AtomicBool,
}

/// What the crew tells while it works.
#[derive(Debug)]
pub enum News {
    /// A seed was played; in the order of the seeds.
    Played(Trial),
    /// Time passed.
    Tick,
}

impl<'a> Crew<'a> {
    /// A crew for those seeds; nobody works yet.
    pub fn new(
        base: &'a Base,
        seeds: Seeds,
        threads: usize,
        keep_going: bool,
        signals: &'a Stops,
    ) -> Self {
        let (taken, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { base, seeds, threads, keep_going, signals, taken, stop }
    }

    /// Plays until no seed is left, one has failed (unless told to keep going), or a signal came;
    /// seeds that are in work then are played to their end.
    pub fn play(&self, mut see: impl FnMut(News)) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let (send, receive) = channel();
            let mut threads = Vec::new();
            for number in 0..self.threads {
                let send = send.clone();
                let thread = Builder::new()
                    .name(format!("swarm-{number}"))
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || self.work(&send));
                match thread {
                    Ok(thread) => threads.push(thread),
                    // With fewer it is only slower.
                    Err(_) if number > 0 => break,
                    Err(why) => return Err(why.into()),
                }
            }
            drop(send);
            self.collect(&receive, &mut see);
            threads.into_iter().try_for_each(ended)
        })
    }

    /// What one thread does.
    fn work(&self, send: &Sender<Trial>) -> Result<(), FileError> {
        let city = Rc::new(self.base.plan.city_in_memory()?);
        while let Some(seed) = self.next() {
            let trial = Trial::play(self.base, &city, seed);
            if trial.is_failure() && !self.keep_going {
                self.stop.store(true, Ordering::Relaxed);
            }
            // Nobody listens any more: then nobody wants more.
            if send.send(trial).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<u64> {
        if self.stop.load(Ordering::Relaxed) || self.signals.count() > 0 {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.seeds.count()).then(|| self.seeds.first + number)
    }

    /// Seeds are handed out without a gap, so each that was played comes up in its turn.
    fn collect(&self, receive: &Receiver<Trial>, see: &mut impl FnMut(News)) {
        let (mut due, mut early) = (0, BTreeMap::new());
        loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok(trial) => {
                    early.insert(trial.seed - self.seeds.first, trial);
                    while let Some(trial) = early.remove(&due) {
                        due += 1;
                        see(News::Played(trial));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            see(News::Tick);
        }
    }
}

fn ended(thread: ScopedJoinHandle<'_, Result<(), FileError>>) -> anyhow::Result<()> {
    match thread.join() {
        Ok(worked) => Ok(worked?),
        Err(why) => Err(RunError::Crash(panic_words(why.as_ref())).into()),
    }
}
