//! Calls of one link that wait for their reply: a bounded table without an allocation a call. An
//! id is never given out twice, so a reply that comes too late finds nobody.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::envelope::Envelope;

/// Calls that may wait on one link at once; beyond it a call is refused before it is sent.
pub const CALLS_MAX: usize = 4_096;

/// How a wait ended.
#[derive(Debug)]
pub enum Ended {
    /// The reply.
    Reply(Envelope),
    /// The link broke first.
    Broken,
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
pub struct Calls(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Calls {
    /// A place for one more call, or none when [`CALLS_MAX`] wait.
    pub fn enter(&self) -> Option<Waiting> {
        let mut table = self.0.borrow_mut();
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
        Some(Waiting { calls: self.clone(), id })
    }

    /// Gives a reply to whoever waits for it; dropped when nobody does any more.
    pub fn reply(&self, reply: Envelope) {
        let id = reply.id;
        let waker = {
            let mut table = self.0.borrow_mut();
            let Some(slot) = table.slots.get_mut((id & 0xffff_ffff) as usize) else { return };
            if u64::from(slot.uses) != id >> 32 {
                return;
            }
            slot.end(Ended::Reply(reply))
        };
        // Outside the borrow: a waker may run anything.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends every wait: the link broke.
    pub fn broken(&self) {
        let wakers: Vec<Waker> = {
            let mut table = self.0.borrow_mut();
            table.slots.iter_mut().filter_map(|slot| slot.end(Ended::Broken)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many wait, or are answered and not yet read.
    pub fn len(&self) -> usize {
        let table = self.0.borrow();
        table.slots.len() - table.free.len()
    }

    /// True when nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
        let mut table = self.calls.0.borrow_mut();
        let slot = &mut table.slots[(self.id & 0xffff_ffff) as usize];
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
        let mut table = self.calls.0.borrow_mut();
        let at = (self.id & 0xffff_ffff) as u32;
        let old = std::mem::replace(&mut table.slots[at as usize].state, State::Free);
        table.free.push(at);
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
        Envelope::open(seal(&Head { kind: Kind::Reply, id, ..Head::default() }, &HealthAsk {}))
            .unwrap()
    }

    #[test]
    fn a_late_reply_never_answers_the_next_call_in_the_same_place() {
        let calls = Calls::default();
        let first = calls.enter().unwrap();
        let id = first.id;
        drop(first);
        let mut second = calls.enter().unwrap();
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
    fn the_table_is_bounded_and_a_broken_link_ends_every_wait() {
        let calls = Calls::default();
        let waits: Vec<Waiting> = (0..CALLS_MAX).map(|_| calls.enter().unwrap()).collect();
        assert!(calls.enter().is_none());
        calls.broken();
        for wait in waits {
            assert!(matches!(wait.now_or_never(), Some(Ended::Broken)));
        }
        assert!(calls.is_empty() && calls.enter().is_some());
    }
}
