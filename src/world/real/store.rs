//! The store of a real node: a storage thread that joins the commits that wait into one sync
//! (group commit). Reads go past it and see what is committed.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::world::store::{Ack, Committed, Disk, Row, StoreError, Txn, engine::Engine};

/// Transactions that may wait for the storage thread; more are refused at once.
const QUEUE_MAX: usize = 8_192;
/// Transactions that one sync carries at most.
const GROUP_MAX: usize = 1_024;
/// How long after an early acknowledgement its sync comes: the window of the planted bug.
const EARLY_SYNC_AFTER: Duration = Duration::from_millis(250);

/// A commit on its way to the storage thread.
struct Waiting {
    txn: Txn,
    ack: Ack,
    reply: oneshot::Sender<Result<Committed, StoreError>>,
}

/// An open store. Dropping it ends the storage thread and closes the file.
pub struct RealStore {
    name: String,
    engine: Arc<Engine>,
    queue: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl RealStore {
    /// Starts the storage thread over an open engine.
    pub fn start(name: &str, engine: Engine) -> Result<Self, StoreError> {
        Self::start_with(name, engine, EARLY_SYNC_AFTER)
    }

    fn start_with(
        name: &str,
        engine: Engine,
        early_sync_after: Duration,
    ) -> Result<Self, StoreError> {
        let engine = Arc::new(engine);
        let (queue, commits) = sync_channel(QUEUE_MAX);
        let storage = Storage { engine: Arc::clone(&engine), early_sync_after, sync_due: None };
        let thread = std::thread::Builder::new()
            .name(format!("store {name}"))
            .spawn(move || storage.run(&commits))
            .map_err(|why| StoreError::new(name, format!("no storage thread: {why}")))?;
        Ok(Self { name: name.to_owned(), engine, queue: Some(queue), thread: Some(thread) })
    }

    fn failed(&self, why: &str) -> StoreError {
        StoreError::new(&self.name, why)
    }
}

impl Disk for RealStore {
    fn commit(&self, txn: Txn, ack: Ack) -> LocalBoxFuture<'static, Result<Committed, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let gone = self.failed("the storage thread has ended");
        let sent = match &self.queue {
            Some(queue) => queue.try_send(Waiting { txn, ack, reply }).map_err(|why| match why {
                TrySendError::Full(_) => {
                    self.failed(&format!("{QUEUE_MAX} commits wait already: the disk is slow"))
                }
                TrySendError::Disconnected(_) => gone.clone(),
            }),
            None => Err(gone.clone()),
        };
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or(Err(gone))
        })
    }

    fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.engine.get(key)
    }

    fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.engine.scan(from, to, limit)
    }
}

impl Drop for RealStore {
    fn drop(&mut self) {
        // Ends the thread's loop; joined so that the file is closed when the store is gone.
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the storage thread owns.
struct Storage {
    engine: Arc<Engine>,
    early_sync_after: Duration,
    /// When commits that were acknowledged early must be synced.
    sync_due: Option<Instant>,
}

impl Storage {
    fn run(mut self, commits: &Receiver<Waiting>) {
        loop {
            match self.next(commits) {
                Ok(first) => self.serve(first, commits),
                Err(RecvTimeoutError::Timeout) => self.sync_now(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.sync_due.is_some_and(|due| due <= Instant::now()) {
                self.sync_now();
            }
        }
        // An orderly end loses nothing; a kill never comes by here.
        if self.sync_due.is_some() {
            self.sync_now();
        }
    }

    fn next(&self, commits: &Receiver<Waiting>) -> Result<Waiting, RecvTimeoutError> {
        match self.sync_due {
            Some(due) => commits.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => commits.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Takes all that waits behind `first`, and applies runs of equal `ack` as one group each.
    fn serve(&mut self, first: Waiting, commits: &Receiver<Waiting>) {
        let waiting = std::iter::once(first).chain(commits.try_iter().take(GROUP_MAX - 1));
        let mut group: Vec<Waiting> = Vec::new();
        for next in waiting {
            if group.last().is_some_and(|last| last.ack != next.ack) {
                self.apply(std::mem::take(&mut group));
            }
            group.push(next);
        }
        self.apply(group);
    }

    fn apply(&mut self, group: Vec<Waiting>) {
        let Some(ack) = group.first().map(|first| first.ack) else { return };
        let (txns, replies): (Vec<_>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.txn, waiting.reply)).unzip();
        let outcomes = match ack {
            Ack::Synced => self.engine.apply(&txns),
            Ack::Early => {
                self.sync_due.get_or_insert_with(|| Instant::now() + self.early_sync_after);
                self.engine.apply_unsynced(&txns)
            }
        };
        // Whoever does not wait any more has dropped the receiver: nothing to tell them.
        match outcomes {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(why) => {
                for reply in replies {
                    let _ = reply.send(Err(why.clone()));
                }
            }
        }
    }

    fn sync_now(&mut self) {
        self.sync_due = None;
        if let Err(why) = self.engine.sync() {
            // Nobody waits for it: they were acknowledged before. The next commit will fail too.
            eprintln!("store: the late sync failed: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::*;
    use crate::world::{
        real::{
            disk::{FileDisk, Syncing},
            run_local,
        },
        store::Expect,
    };

    /// So long that no test waits for it.
    const NEVER: Duration = Duration::from_hours(1);

    fn open(path: &Path) -> (FileDisk, RealStore) {
        open_with(path, NEVER)
    }

    fn open_with(path: &Path, early_sync_after: Duration) -> (FileDisk, RealStore) {
        let disk = FileDisk::open(path, Syncing::Honest).unwrap();
        let engine = Engine::open(disk.clone(), 1 << 20).unwrap().called("test");
        (disk, RealStore::start_with("test", engine, early_sync_after).unwrap())
    }

    fn put(key: &str, expects: Option<Expect>) -> Txn {
        Txn {
            expects: expects.map(|expect| (key.into(), expect)).into_iter().collect(),
            writes: vec![(key.into(), Some(Bytes::from_static(b"x")))],
        }
    }

    #[test]
    fn of_many_that_expect_nothing_there_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (_, store) = open(&folder.path().join("s"));
        let outcomes = run_local(async {
            let commits =
                (0..200).map(|_| store.commit(put("k", Some(Expect::Absent)), Ack::Synced));
            join_all(commits).await
        })
        .unwrap();
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Committed::Done(_))));
        assert_eq!(won.count(), 1);
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(store.get("k").unwrap().unwrap().version, 1);
    }

    #[test]
    fn whatever_was_acknowledged_survives_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (disk, store) = open(&path);
        run_local(async {
            let commits = (0..500).map(|n| store.commit(put(&format!("k/{n}"), None), Ack::Synced));
            assert!(join_all(commits).await.iter().all(Result::is_ok));
        })
        .unwrap();
        disk.kill();
        drop(store);
        let (_, store) = open(&path);
        assert_eq!(store.scan("k/", "k0", 1_000).unwrap().len(), 500);
    }

    #[test]
    fn an_early_acknowledgement_is_lost_in_a_kill_and_kept_in_an_orderly_end() {
        let folder = tempfile::tempdir().unwrap();
        for (name, killed) in [("killed", true), ("ended", false)] {
            let path = folder.path().join(name);
            let (disk, store) = open(&path);
            run_local(store.commit(put("k", None), Ack::Early)).unwrap().unwrap();
            assert!(store.get("k").unwrap().is_some());
            if killed {
                disk.kill();
            }
            drop(store);
            let (_, store) = open(&path);
            assert_eq!(store.get("k").unwrap().is_none(), killed);
        }
    }

    #[test]
    fn the_late_sync_comes_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (disk, store) = open_with(&path, Duration::ZERO);
        run_local(store.commit(put("k", None), Ack::Early)).unwrap().unwrap();
        // A conflict writes and syncs nothing; its answer comes after the thread's late sync.
        let conflict = store.commit(put("k", Some(Expect::Absent)), Ack::Synced);
        assert_eq!(run_local(conflict).unwrap().unwrap(), Committed::Conflict("k".into()));
        disk.kill();
        drop(store);
        let (_, store) = open(&path);
        assert!(store.get("k").unwrap().is_some());
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(
            FileDisk::open(&folder.path().join("s"), Syncing::Honest).unwrap(),
            1 << 20,
        );
        // A queue that nobody empties.
        let (queue, _commits) = sync_channel(1);
        let store = RealStore {
            name: "test".into(),
            engine: Arc::new(engine.unwrap()),
            queue: Some(queue),
            thread: None,
        };
        let _waits = store.commit(put("a", None), Ack::Synced);
        let refused = run_local(store.commit(put("b", None), Ack::Synced)).unwrap();
        assert!(refused.unwrap_err().why.contains("commits wait already"));
    }
}
