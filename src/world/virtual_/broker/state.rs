//! What a simulated broker knows and decides: exchanges, queues, bindings, consumers. A pure state
//! machine: it is told the time and says what is to be delivered; it sends nothing itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::frames::{
    Binding, Deliver, Exchange as DeclareExchange, Message, Queue as Spec, Settle, Word,
};

/// Queues that a broker holds at most.
const QUEUES_MAX: usize = 10_000;
/// Messages that wait in one queue at most, where it sets no limit itself.
const LENGTH_MAX: usize = 100_000;

/// The number of a connection.
pub(super) type Connection = u64;
/// A consumer: its connection and its number there.
type Consumer = (Connection, u64);

/// The outcome of a verb: refused for that reason.
pub(super) type Outcome = Result<(), String>;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Routed {
    /// No queue is bound so.
    Nowhere,
    /// Every queue that is took it.
    Taken,
    /// One of them was full.
    Refused,
}

#[derive(Default)]
pub(super) struct State {
    exchanges: BTreeMap<String, Exchange>,
    queues: BTreeMap<String, Queue>,
    consumers: BTreeMap<Consumer, Taker>,
    /// What is to be said, and to whom.
    out: Vec<(Connection, Word)>,
    /// Rises with every change of a binding.
    bindings: u64,
}

struct Exchange {
    kind: u32,
    /// Queues by key.
    bound: BTreeMap<String, BTreeSet<String>>,
}

struct Queue {
    spec: Spec,
    /// Whose it is, if it is exclusive.
    owner: Option<Connection>,
    ready: VecDeque<Held>,
    /// Messages that ever came.
    came: u64,
    /// In the order of their turns.
    consumers: VecDeque<Consumer>,
}

/// A message in a queue.
struct Held {
    message: Message,
    redelivered: bool,
    expires_ns: Option<u64>,
    /// Its place in the queue, to go back to.
    place: u64,
}

/// A consumer.
struct Taker {
    queue: String,
    prefetch: usize,
    next_tag: u64,
    unsettled: BTreeMap<u64, Held>,
}

impl State {
    /// What is to be said since the last call.
    pub fn take_out(&mut self) -> Vec<(Connection, Word)> {
        std::mem::take(&mut self.out)
    }

    /// A number that changes whenever a binding does.
    pub fn bindings_version(&self) -> u64 {
        self.bindings
    }

    /// The kind of an exchange and the keys with which queues of this broker's own users are bound
    /// to it; `None` when there is no such exchange.
    pub fn wanted(&self, exchange: &str) -> Option<(u32, BTreeSet<String>)> {
        let found = self.exchanges.get(exchange)?;
        let own = |queue: &String| self.queues.get(queue).is_some_and(|q| !q.spec.upstream);
        let keys = found.bound.iter().filter(|(_, queues)| queues.iter().any(own));
        Some((found.kind, keys.map(|(key, _)| key.clone()).collect()))
    }

    pub fn declare_exchange(&mut self, wanted: &DeclareExchange) -> Outcome {
        let kind = wanted.kind;
        let fresh = Exchange { kind, bound: BTreeMap::new() };
        let known = self.exchanges.entry(wanted.name.clone()).or_insert(fresh);
        self.bindings += 1;
        if known.kind == kind {
            return Ok(());
        }
        Err(format!("exchange `{}` is of another kind", wanted.name))
    }

    pub fn declare_queue(&mut self, by: Connection, spec: Spec) -> Outcome {
        if let Some(known) = self.queues.get(&spec.name) {
            known.is_for(by)?;
            if known.spec == spec {
                return Ok(());
            }
            return Err(format!("queue `{}` was made otherwise", spec.name));
        }
        if self.queues.len() >= QUEUES_MAX {
            return Err(format!("{QUEUES_MAX} queues are the limit"));
        }
        let owner = spec.exclusive.then_some(by);
        let name = spec.name.clone();
        let (ready, consumers) = (VecDeque::new(), VecDeque::new());
        self.queues.insert(name, Queue { spec, owner, ready, came: 0, consumers });
        Ok(())
    }

    pub fn delete_queue(&mut self, by: Connection, name: &str) -> Outcome {
        let Some(queue) = self.queues.get(name) else { return Ok(()) };
        queue.is_for(by)?;
        self.drop_queue(name);
        Ok(())
    }

    fn drop_queue(&mut self, name: &str) {
        let Some(queue) = self.queues.remove(name) else { return };
        for consumer in queue.consumers {
            self.consumers.remove(&consumer);
            self.out.push((consumer.0, Word::Cancelled(consumer.1)));
        }
        for exchange in self.exchanges.values_mut() {
            exchange.bound.retain(|_, queues| {
                queues.remove(name);
                !queues.is_empty()
            });
        }
        self.bindings += 1;
    }

    pub fn bind(&mut self, by: Connection, binding: Binding) -> Outcome {
        let Binding { queue, exchange, key } = binding;
        let missing = |what: &str, name: &str| format!("no {what} `{name}`");
        self.queues.get(&queue).ok_or_else(|| missing("queue", &queue))?.is_for(by)?;
        let to = self.exchanges.get_mut(&exchange).ok_or_else(|| missing("exchange", &exchange))?;
        to.bound.entry(key).or_default().insert(queue);
        self.bindings += 1;
        Ok(())
    }

    pub fn unbind(&mut self, by: Connection, binding: &Binding) -> Outcome {
        if let Some(queue) = self.queues.get(&binding.queue) {
            queue.is_for(by)?;
        }
        if let Some(exchange) = self.exchanges.get_mut(&binding.exchange)
            && let Some(queues) = exchange.bound.get_mut(&binding.key)
        {
            queues.remove(&binding.queue);
            if queues.is_empty() {
                exchange.bound.remove(&binding.key);
            }
            self.bindings += 1;
        }
        Ok(())
    }

    /// Routes a message, which came `from_afar` or was published here.
    pub fn publish(&mut self, message: &Message, from_afar: bool, now_ns: u64) -> Routed {
        let Some(exchange) = self.exchanges.get(&message.exchange) else { return Routed::Nowhere };
        let mut queues = exchange.route(&message.key);
        queues.retain(|name| {
            self.queues.get(name).is_some_and(|queue| !(from_afar && queue.spec.upstream))
        });
        let mut refused = false;
        for name in &queues {
            let Some(queue) = self.queues.get_mut(name) else { continue };
            refused |= !queue.put(message.clone(), now_ns);
            self.serve(name, now_ns);
        }
        match queues.is_empty() {
            true => Routed::Nowhere,
            false if refused => Routed::Refused,
            false => Routed::Taken,
        }
    }

    pub fn consume(
        &mut self,
        by: Connection,
        name: &str,
        (consumer, prefetch): (u64, u32),
        now_ns: u64,
    ) -> Outcome {
        let queue = self.queues.get_mut(name).ok_or_else(|| format!("no queue `{name}`"))?;
        queue.is_for(by)?;
        queue.consumers.push_back((by, consumer));
        let taker = Taker {
            queue: name.to_owned(),
            prefetch: prefetch.max(1) as usize,
            next_tag: 1,
            unsettled: BTreeMap::new(),
        };
        self.consumers.insert((by, consumer), taker);
        self.serve(name, now_ns);
        Ok(())
    }

    /// A consumer goes; what it did not settle goes back.
    pub fn cancel(&mut self, by: Connection, consumer: u64, now_ns: u64) {
        let Some(taker) = self.consumers.remove(&(by, consumer)) else { return };
        let Some(queue) = self.queues.get_mut(&taker.queue) else { return };
        queue.consumers.retain(|known| *known != (by, consumer));
        for held in taker.unsettled.into_values() {
            queue.put_back(held);
        }
        if queue.spec.auto_delete && queue.consumers.is_empty() {
            self.drop_queue(&taker.queue);
        } else {
            self.serve(&taker.queue, now_ns);
        }
    }

    pub fn settle(&mut self, by: Connection, settle: &Settle, now_ns: u64) {
        let Some(taker) = self.consumers.get_mut(&(by, settle.consumer)) else { return };
        if settle.to_here {
            let later = taker.unsettled.split_off(&settle.tag);
            taker.unsettled = later;
        }
        let Some(held) = taker.unsettled.remove(&settle.tag) else { return };
        let name = taker.queue.clone();
        if settle.requeue
            && let Some(queue) = self.queues.get_mut(&name)
        {
            queue.put_back(held);
        }
        self.serve(&name, now_ns);
    }

    /// A connection is lost: its consumers and its own queues go with it.
    pub fn lost(&mut self, connection: Connection, now_ns: u64) {
        let own = |(name, queue): (&String, &Queue)| {
            (queue.owner == Some(connection)).then(|| name.clone())
        };
        let queues: Vec<String> = self.queues.iter().filter_map(own).collect();
        for name in queues {
            self.drop_queue(&name);
        }
        let consumers = self.consumers.range((connection, 0)..=(connection, u64::MAX));
        let consumers: Vec<u64> = consumers.map(|((_, consumer), _)| *consumer).collect();
        for consumer in consumers {
            self.cancel(connection, consumer, now_ns);
        }
        self.out.retain(|(to, _)| *to != connection);
    }

    /// Gives what waits in a queue to its consumers, each in turn, as far as they take it.
    fn serve(&mut self, name: &str, now_ns: u64) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        while !queue.ready.is_empty() {
            let room = |consumer: &&Consumer| {
                self.consumers
                    .get(consumer)
                    .is_some_and(|taker| taker.unsettled.len() < taker.prefetch)
            };
            let Some(&next) = queue.consumers.iter().find(room) else { return };
            let Some(held) = queue.ready.pop_front() else { return };
            if held.expires_ns.is_some_and(|at| at <= now_ns) {
                continue;
            }
            let Some(taker) = self.consumers.get_mut(&next) else { return };
            queue.consumers.retain(|consumer| *consumer != next);
            queue.consumers.push_back(next);
            let tag = taker.next_tag;
            taker.next_tag += 1;
            let (redelivered, message) = (held.redelivered, Some(held.message.clone()));
            taker.unsettled.insert(tag, held);
            let deliver = Deliver { consumer: next.1, tag, redelivered, message };
            self.out.push((next.0, Word::Deliver(deliver)));
        }
    }
}

impl Exchange {
    /// Queues that get a message with that key, each once.
    fn route(&self, key: &str) -> BTreeSet<String> {
        match self.kind {
            0 => self.bound.get(key).cloned().unwrap_or_default(),
            1 => {
                let fits = self.bound.iter().filter(|(pattern, _)| fits(pattern, key));
                fits.flat_map(|(_, queues)| queues.iter().cloned()).collect()
            }
            _ => self.bound.values().flatten().cloned().collect(),
        }
    }
}

impl Queue {
    fn is_for(&self, connection: Connection) -> Outcome {
        match self.owner {
            Some(owner) if owner != connection => {
                Err(format!("queue `{}` is another session's own", self.spec.name))
            }
            _ => Ok(()),
        }
    }

    /// Takes a message in; false where it has no room for one more and drops none for it.
    fn put(&mut self, message: Message, now_ns: u64) -> bool {
        let most = self.spec.length_max.map_or(LENGTH_MAX, |most| most as usize);
        if self.spec.refuses && self.ready.len() >= most {
            return false;
        }
        let expires_ns = message.ttl_ms.map(|ms| now_ns.saturating_add(ms * 1_000_000));
        self.came += 1;
        self.ready.push_back(Held { message, redelivered: false, expires_ns, place: self.came });
        while self.ready.len() > most {
            self.ready.pop_front();
        }
        true
    }

    fn put_back(&mut self, held: Held) {
        let at = self.ready.partition_point(|other| other.place < held.place);
        self.ready.insert(at, Held { redelivered: true, ..held });
    }
}

/// Whether a key fits a topic's pattern.
fn fits(pattern: &str, key: &str) -> bool {
    fn words_fit(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                (0..=key.len()).any(|skipped| words_fit(rest, &key[skipped..]))
            }
            (Some((&"*", rest)), Some((_, key_rest))) => words_fit(rest, key_rest),
            (Some((word, rest)), Some((first, key_rest))) if word == first => {
                words_fit(rest, key_rest)
            }
            _ => false,
        }
    }
    let words = |text| str::split(text, '.').collect::<Vec<_>>();
    words_fit(&words(pattern), &words(key))
}
