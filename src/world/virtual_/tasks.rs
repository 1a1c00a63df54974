//! The tasks of all nodes and the order in which they run: first woken, first polled. Wakers are
//! made by hand; waking allocates nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Wake, Waker},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::Response;

use crate::base::pool::Key;

/// The key of the root future of a run, which is not in the slab.
pub(super) const ROOT: Key = Key::NOBODY;

/// Who was woken, in order. Behind a lock because a waker must be `Send`; nobody ever waits for it.
#[derive(Default)]
pub(super) struct Ready {
    queue: Mutex<VecDeque<Key>>,
    /// Somebody waits: known without the lock, which is looked for after every event.
    woken: AtomicBool,
}

impl Ready {
    pub(super) fn push(&self, task: Key) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(task);
        self.woken.store(true, Ordering::Relaxed);
    }

    /// Hands all that wait to `empty`, which takes their place.
    pub(super) fn swap(&self, empty: &mut VecDeque<Key>) {
        if self.woken.load(Ordering::Relaxed) {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *queue, empty);
            self.woken.store(false, Ordering::Relaxed);
        }
    }
}

/// How something that happens reaches who waits for it.
pub(super) enum Rouse {
    /// The task itself, without a waker: nearly always.
    Task(Key),
    /// A waker of somebody between: a join or a stream that polls many, or the root.
    Waker(Waker),
}

/// What a waker rings. One for each slot of the slab, used again when nobody else holds it.
pub(super) struct Bell {
    slot: u32,
    generation: AtomicU32,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Bell {
    pub(super) fn new(task: Key, ready: Arc<Ready>) -> Arc<Self> {
        Arc::new(Self {
            slot: task.slot,
            generation: AtomicU32::new(task.generation),
            queued: AtomicBool::new(false),
            ready,
        })
    }

    /// From now on the task may be queued again.
    pub(super) fn answer(&self) {
        self.queued.store(false, Ordering::Relaxed);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A plain load and store: one thread runs a world, and to queue twice only polls twice.
        if !self.queued.load(Ordering::Relaxed) {
            self.queued.store(true, Ordering::Relaxed);
            let generation = self.generation.load(Ordering::Relaxed);
            self.ready.push(Key { slot: self.slot, generation });
        }
    }
}

/// What a task does.
pub(super) enum Work {
    /// Runs to its end.
    Plain(LocalBoxFuture<'static, ()>),
    /// Answers the exchange of that key.
    Answer(LocalBoxFuture<'static, Response<Bytes>>, Key),
}

/// What is taken out of the slab while a task is polled.
pub(super) struct Running {
    pub(super) work: Work,
    pub(super) waker: Waker,
}

struct Slot {
    generation: u32,
    node: u32,
    bell: Arc<Bell>,
    /// Away while the task is polled, and after its end if its waker is still held elsewhere.
    waker: Option<Waker>,
    work: Option<Work>,
    living: bool,
}

/// The slab of tasks.
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: Arc<Ready>,
    /// Nodes that stand still, and their tasks that were woken meanwhile, in order.
    still: BTreeMap<u32, Vec<Key>>,
}

impl Tasks {
    pub(super) fn new(ready: Arc<Ready>) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ready, still: BTreeMap::new() }
    }

    /// From now on no task of that node goes on.
    pub(super) fn pause(&mut self, node: u32) {
        self.still.entry(node).or_default();
    }

    /// Lets the tasks of that node go on; those that were woken meanwhile are queued.
    pub(super) fn resume(&mut self, node: u32) {
        for task in self.still.remove(&node).unwrap_or_default() {
            self.ready.push(task);
        }
    }

    /// Puts in a task of `node`, which nobody has woken yet.
    pub(super) fn insert(&mut self, node: u32, work: Work) -> Key {
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            let slot = self.slots.len() as u32;
            let bell = Bell::new(Key { slot, generation: 0 }, Arc::clone(&self.ready));
            let waker = Some(Waker::from(Arc::clone(&bell)));
            self.slots.push(Slot { generation: 0, node, bell, waker, work: None, living: true });
            slot
        };
        let place = &mut self.slots[slot as usize];
        (place.node, place.work, place.living) = (node, Some(work), true);
        Key { slot, generation: place.generation }
    }

    /// Takes one task out, to be dropped by the caller; `None` when it has ended.
    pub(super) fn cancel(&mut self, task: Key) -> Option<Work> {
        let place = self.slots.get_mut(task.slot as usize)?;
        if place.generation != task.generation {
            return None;
        }
        let work = place.work.take();
        self.free_slot(task.slot);
        work
    }

    /// Takes a woken task out to be polled; its node comes with it. `None` where it has ended, or
    /// its node stands still, which remembers it.
    pub(super) fn take(&mut self, task: Key) -> Option<(u32, Running)> {
        let place = self.slots.get_mut(task.slot as usize)?;
        if place.generation != task.generation {
            return None;
        }
        if let Some(woken) = self.still.get_mut(&place.node) {
            // Its bell is not answered: whoever rings it again changes nothing.
            if !woken.contains(&task) {
                woken.push(task);
            }
            return None;
        }
        place.bell.answer();
        let work = place.work.take()?;
        let waker = place.waker.take().unwrap_or_else(|| Waker::from(Arc::clone(&place.bell)));
        Some((place.node, Running { work, waker }))
    }

    /// Puts a task back that is not done. Comes back if it was killed meanwhile.
    pub(super) fn give_back(&mut self, task: Key, running: Running) -> Option<Running> {
        let place = &mut self.slots[task.slot as usize];
        if place.generation != task.generation {
            return Some(running);
        }
        place.waker = Some(running.waker);
        place.work = Some(running.work);
        None
    }

    /// Ends a task that is done; `waker` is the one it was polled with.
    pub(super) fn end(&mut self, task: Key, waker: Waker) {
        let place = &mut self.slots[task.slot as usize];
        if place.generation == task.generation {
            place.waker = Some(waker);
            self.free_slot(task.slot);
        }
    }

    /// Takes out all tasks of `node`, by slot, to be dropped by the caller.
    pub(super) fn kill(&mut self, node: u32) -> Vec<Work> {
        self.kill_where(|of| of == node)
    }

    /// Takes out all tasks.
    pub(super) fn clear(&mut self) -> Vec<Work> {
        self.kill_where(|_| true)
    }

    fn kill_where(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Work> {
        let mut dropped = Vec::new();
        for slot in 0..self.slots.len() {
            let place = &mut self.slots[slot];
            if place.living && wanted(place.node) {
                dropped.extend(place.work.take());
                self.free_slot(slot as u32);
            }
        }
        dropped
    }

    fn free_slot(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        place.living = false;
        let known = 1 + usize::from(place.waker.is_some());
        if Arc::strong_count(&place.bell) == known {
            place.bell.generation.store(place.generation, Ordering::Relaxed);
            place.bell.answer();
        } else {
            // Somebody still holds a waker of the task that was here; it must not ring for others.
            let key = Key { slot, generation: place.generation };
            place.bell = Bell::new(key, Arc::clone(&self.ready));
            place.waker = None;
        }
        self.free.push(slot);
    }

    /// Slots ever needed at once.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }
}
