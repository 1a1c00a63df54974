//! Calls of one link that wait for their reply: a bounded table without an allocation and without
//! a timer a call. An id is never given out twice, so a reply that comes too late finds nobody.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_util::future::select;
use tokio::sync::Notify;

use super::envelope::Envelope;
use crate::{base::time::Time, world::Env};

/// Calls that may wait on one link at once; beyond it a call is refused before it is sent.
pub const CALLS_MAX: usize = 4_096;

/// How a wait ended.
#[derive(Debug)]
pub enum Ended {
    /// The reply.
    Reply(Envelope),
    /// The link broke first.
    Broken,
    /// The call's time was over first.
    Late,
    /// It reached nobody.
    Nowhere,
}

enum State {
    Free,
    Waiting(Option<Waker>),
    Done(Ended),
}

struct Slot {
    /// How often the slot was used: the upper half of an id.
    uses: u32,
    state: State,
}

/// The table; a cheap handle.
#[derive(Clone, Default)]
pub struct Calls(Rc<Inner>);

#[derive(Default)]
struct Inner {
    table: RefCell<Table>,
    /// Tells the sweeper that a call ends sooner than it thinks.
    sooner: Notify,
    /// Planted: a reply is matched by its place alone.
    confused: Cell<bool>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When calls are late, soonest first; those that have ended stay until their time.
    ends: BinaryHeap<Reverse<(Time, u64)>>,
    /// When the sweeper looks next.
    sweep_at: Option<Time>,
}

/// Ends of calls that are kept before those of ended calls are thrown out.
const ENDS_MAX: usize = 16 * CALLS_MAX;

impl Calls {
    /// A place for one more call, late at `until`, or none when [`CALLS_MAX`] wait.
    pub fn enter(&self, until: Time) -> Option<Waiting> {
        let mut table = self.0.table.borrow_mut();
        let at = match table.free.pop() {
            Some(at) => at,
            None if table.slots.len() < CALLS_MAX => {
                table.slots.push(Slot { uses: 0, state: State::Free });
                (table.slots.len() - 1) as u32
            }
            None => return None,
        };
        let slot = &mut table.slots[at as usize];
        slot.uses = slot.uses.wrapping_add(1);
        slot.state = State::Waiting(None);
        let id = u64::from(slot.uses) << 32 | u64::from(at);
        table.ends.push(Reverse((until, id)));
        if table.ends.len() > ENDS_MAX {
            let Table { slots, ends, .. } = &mut *table;
            ends.retain(|Reverse((_, id))| waits(slots, *id));
        }
        if table.sweep_at.is_none_or(|at| until < at) {
            // Once is enough until the sweeper has looked.
            table.sweep_at = Some(until);
            self.0.sooner.notify_one();
        }
        Some(Waiting { calls: self.clone(), id })
    }

    /// Ends calls whose time is over, for ever. One timer serves them all: it looks when the call
    /// that was last seen waiting is due, and calls that end in time cost nothing.
    pub async fn sweep(&self, env: &Env) {
        loop {
            let sooner = pin!(self.0.sooner.notified());
            match self.sweep_once(env.now()) {
                Some(at) => drop(select(env.sleep_until(at), sooner).await),
                None => sooner.await,
            }
        }
    }

    /// Ends what is late at `now`; when to look again.
    fn sweep_once(&self, now: Time) -> Option<Time> {
        let mut late = Vec::new();
        let mut table = self.0.table.borrow_mut();
        let Table { slots, ends, sweep_at, .. } = &mut *table;
        *sweep_at = loop {
            match ends.peek() {
                None => break None,
                Some(Reverse((_, id))) if !waits(slots, *id) => {}
                Some(Reverse((until, _))) if *until > now => break Some(*until),
                Some(Reverse((_, id))) => late.extend(slots[place(*id)].end(Ended::Late)),
            }
            ends.pop();
        };
        let at = *sweep_at;
        drop(table);
        late.into_iter().for_each(Waker::wake);
        at
    }

    /// Gives a reply to whoever waits for it; dropped when nobody does any more.
    pub fn reply(&self, reply: Envelope) {
        let id = reply.id;
        let waker = {
            let mut table = self.0.table.borrow_mut();
            if !waits(&table.slots, id) && !self.is_confused(&table, id) {
                return;
            }
            table.slots[place(id)].end(Ended::Reply(reply))
        };
        // Outside the borrow: a waker may run anything.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The call came back: nobody gets it.
    pub fn came_back(&self, id: u64) {
        let waker = {
            let mut table = self.0.table.borrow_mut();
            if !waits(&table.slots, id) {
                return;
            }
            table.slots[place(id)].end(Ended::Nowhere)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Switches the planted bug on: see [`super::planted::Wires`].
    pub(super) fn confuse(&self, on: bool) {
        self.0.confused.set(on);
    }

    fn is_confused(&self, table: &Table, id: u64) -> bool {
        let waits = |slot: &Slot| matches!(slot.state, State::Waiting(_));
        self.0.confused.get() && table.slots.get(place(id)).is_some_and(waits)
    }

    /// Ends every wait: the link broke.
    pub fn broken(&self) {
        let wakers: Vec<Waker> = {
            let mut table = self.0.table.borrow_mut();
            table.slots.iter_mut().filter_map(|slot| slot.end(Ended::Broken)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many wait, or are answered and not yet read.
    pub fn len(&self) -> usize {
        let table = self.0.table.borrow();
        table.slots.len() - table.free.len()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn place(id: u64) -> usize {
    (id & 0xffff_ffff) as usize
}

/// True when the call `id` is known and has not ended.
fn waits(slots: &[Slot], id: u64) -> bool {
    slots.get(place(id)).is_some_and(|slot| {
        u64::from(slot.uses) == id >> 32 && matches!(slot.state, State::Waiting(_))
    })
}

impl Slot {
    fn end(&mut self, how: Ended) -> Option<Waker> {
        match &mut self.state {
            State::Waiting(waker) => {
                let waker = waker.take();
                self.state = State::Done(how);
                waker
            }
            State::Free | State::Done(_) => None,
        }
    }
}

/// One call's wait for its reply. Dropping it gives the place back.
pub struct Waiting {
    calls: Calls,
    /// What the ask must carry.
    pub id: u64,
}

impl Future for Waiting {
    type Output = Ended;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut table = self.calls.0.table.borrow_mut();
        let slot = &mut table.slots[place(self.id)];
        match &mut slot.state {
            State::Done(_) => match std::mem::replace(&mut slot.state, State::Free) {
                State::Done(how) => Poll::Ready(how),
                State::Free | State::Waiting(_) => Poll::Pending,
            },
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Free => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut table = self.calls.0.table.borrow_mut();
        let at = place(self.id);
        let old = std::mem::replace(&mut table.slots[at].state, State::Free);
        table.free.push(at as u32);
        drop(table);
        // Outside the borrow: a waker's drop may run anything.
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::backend::{
        platform::envelope::{Head, Kind, seal},
        wire::platform::HealthAsk,
    };

    fn reply(id: u64) -> Envelope {
        Envelope::open(seal(
            &Head { kind: Kind::Reply, id, ..Head::default() },
            &HealthAsk::default(),
        ))
        .unwrap()
    }

    #[test]
    fn a_late_reply_never_answers_the_next_call_in_the_same_place() {
        let calls = Calls::default();
        let first = calls.enter(Time::MAX).unwrap();
        let id = first.id;
        drop(first);
        let mut second = calls.enter(Time::MAX).unwrap();
        assert_ne!(second.id, id);
        calls.reply(reply(id));
        assert!((&mut second).now_or_never().is_none());
        calls.reply(reply(second.id));
        calls.reply(reply(second.id));
        assert!(matches!((&mut second).now_or_never(), Some(Ended::Reply(_))));
        drop(second);
        assert!(calls.is_empty());
    }

    #[test]
    fn the_planted_bug_gives_a_late_reply_to_the_next_call_in_its_place() {
        let calls = Calls::default();
        calls.confuse(true);
        let id = calls.enter(Time::MAX).unwrap().id;
        let second = calls.enter(Time::MAX).unwrap();
        assert_ne!(second.id, id);
        calls.reply(reply(id));
        assert!(matches!(second.now_or_never(), Some(Ended::Reply(_))));
    }

    #[test]
    fn only_calls_that_still_wait_are_late() {
        let calls = Calls::default();
        let [soon, later] = [Time(10), Time(20)].map(|until| calls.enter(until).unwrap());
        let mut answered = calls.enter(Time(5)).unwrap();
        calls.reply(reply(answered.id));
        assert_eq!(calls.sweep_once(Time(9)), Some(Time(10)));
        assert!(matches!((&mut answered).now_or_never(), Some(Ended::Reply(_))));
        assert_eq!(calls.sweep_once(Time(10)), Some(Time(20)));
        assert!(matches!(soon.now_or_never(), Some(Ended::Late)));
        drop(later);
        assert_eq!(calls.sweep_once(Time(11)), None, "nobody waits any more");
    }

    #[test]
    fn the_table_is_bounded_and_a_broken_link_ends_every_wait() {
        let calls = Calls::default();
        let waits: Vec<Waiting> = (0..CALLS_MAX).map(|_| calls.enter(Time::MAX).unwrap()).collect();
        assert!(calls.enter(Time::MAX).is_none());
        calls.broken();
        for wait in waits {
            assert!(matches!(wait.now_or_never(), Some(Ended::Broken)));
        }
        assert!(calls.is_empty() && calls.enter(Time::MAX).is_some());
    }
}
