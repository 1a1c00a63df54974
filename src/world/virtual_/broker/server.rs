//! A simulated broker as a program: takes connections, hears what they ask, says what the state
//! machine decides.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{Notify, futures::Notified};

use super::{
    federation,
    frames::{Confirm, Done, FromBroker, Message, ToBroker, Verb, WORDLESS, Word},
    state::{Connection, Outcome, Routed, State},
};
use crate::{
    base::name::NodeName,
    world::{
        Env,
        broker::HEARTBEAT,
        link::{Link, Outgoing},
    },
};

/// Connections that a broker has at most; further ones are closed.
const CONNECTIONS_MAX: usize = 1_024;

/// A broker that runs.
#[derive(Clone)]
pub(super) struct Broker(Rc<Inner>);

struct Inner {
    env: Env,
    state: RefCell<State>,
    connections: RefCell<BTreeMap<Connection, Rc<dyn Outgoing>>>,
    next: Cell<Connection>,
    /// Bindings changed.
    changed: Notify,
}

/// Runs a broker at the node of that environment, until the node dies. The exchanges called
/// `federated` get a copy of what is published to those of the same name at `upstreams`.
pub async fn serve(env: Env, upstreams: Vec<NodeName>, federated: &'static [&'static str]) {
    let Ok(mut listener) = env.listen().await else { return };
    let broker = Broker(Rc::new(Inner {
        env: env.clone(),
        state: RefCell::default(),
        connections: RefCell::default(),
        next: Cell::new(1),
        changed: Notify::new(),
    }));
    for upstream in upstreams {
        env.spawn(federation::follow(broker.clone(), upstream, federated));
    }
    while let Some(link) = listener.recv().await {
        if broker.0.connections.borrow().len() < CONNECTIONS_MAX {
            env.spawn(broker.clone().talk(link));
        }
    }
}

impl Broker {
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// Asks the state machine something that changes nothing.
    pub fn look<T>(&self, at: impl FnOnce(&State) -> T) -> T {
        at(&self.0.state.borrow())
    }

    /// Ends when a binding has changed since this call.
    pub fn bindings_changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Takes in a message that another broker had first.
    pub fn take_in(&self, message: &Message) {
        self.change(|state, now_ns| state.publish(message, true, now_ns));
    }

    /// Changes the state, and says what follows from that.
    fn change<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.0.state.borrow_mut();
        let before = state.bindings_version();
        let outcome = change(&mut state, self.0.env.now().0);
        if state.bindings_version() != before {
            self.0.changed.notify_waiters();
        }
        let out = state.take_out();
        drop(state);
        for (to, word) in out {
            self.say(to, word);
        }
        outcome
    }

    fn say(&self, to: Connection, word: Word) {
        let link = self.0.connections.borrow().get(&to).cloned();
        if let Some(link) = link
            && link.send(FromBroker::frame(Some(word))).is_err()
        {
            // One that does not keep up is cut off: its task sees the end of the link.
            self.0.connections.borrow_mut().remove(&to);
        }
    }

    async fn talk(self, link: Link) {
        let me = self.0.next.replace(self.0.next.get() + 1);
        let Link { outgoing, mut incoming } = link;
        self.0.connections.borrow_mut().insert(me, outgoing);
        while let Ok(Some(frame)) = self.0.env.timeout(2 * HEARTBEAT, incoming.recv()).await {
            if !self.hear(me, frame) {
                break;
            }
        }
        let gone = self.0.connections.borrow_mut().remove(&me);
        drop(gone);
        self.change(|state, now_ns| state.lost(me, now_ns));
    }

    /// False for what is no frame of a session.
    fn hear(&self, me: Connection, frame: Bytes) -> bool {
        let Ok(ToBroker { number, verb }) = ToBroker::decode(frame) else { return false };
        let done = |outcome: Outcome| {
            let refused = outcome.err().unwrap_or_default();
            self.say(me, Word::Done(Done { number, refused }));
        };
        match verb {
            None => {
                let link = self.0.connections.borrow().get(&me).cloned();
                return link.is_some_and(|link| link.send(FromBroker::frame(None)).is_ok());
            }
            Some(Verb::Publish(message)) => {
                let mandatory = message.mandatory;
                let routed = self.change(|state, now_ns| state.publish(&message, false, now_ns));
                let returned = mandatory && routed == Routed::Nowhere;
                let refused = routed == Routed::Refused;
                if number != WORDLESS {
                    self.say(me, Word::Confirm(Confirm { number, returned, refused }));
                } else if returned {
                    self.say(me, Word::Returned(message.correlation));
                }
            }
            Some(Verb::Settle(settle)) => {
                self.change(|state, now_ns| state.settle(me, &settle, now_ns));
            }
            Some(Verb::Cancel(consumer)) => {
                self.change(|state, now_ns| state.cancel(me, consumer, now_ns));
            }
            Some(Verb::DeclareExchange(exchange)) => {
                done(self.change(|state, _| state.declare_exchange(&exchange)));
            }
            Some(Verb::DeclareQueue(queue)) => {
                done(self.change(|state, _| state.declare_queue(me, queue)));
            }
            Some(Verb::DeleteQueue(name)) => {
                done(self.change(|state, _| state.delete_queue(me, &name)));
            }
            Some(Verb::Bind(binding)) => done(self.change(|state, _| state.bind(me, binding))),
            Some(Verb::Unbind(binding)) => {
                done(self.change(|state, _| state.unbind(me, &binding)));
            }
            // Its first deliveries may be said before it is: a session waits for both.
            Some(Verb::Consume(ask)) => done(self.change(|state, now_ns| {
                state.consume(me, &ask.queue, (ask.consumer, ask.prefetch), now_ns)
            })),
        }
        true
    }
}
