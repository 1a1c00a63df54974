//! What a broker does: each case is played at the simulated broker and at a real RabbitMQ. Whatever
//! code above the seam relies on is here, so that the virtual world tells no lies about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "the real world is one of two here")]

use std::{cell::RefCell, collections::BTreeMap, panic::AssertUnwindSafe, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use robot_city::{
    base::{name::NodeName, rng::Rng},
    world::{
        Env,
        broker::{
            BODY_BYTES_MAX, BrokerError, Consumer, Delivery, ExchangeKind, Message, Overflow,
            Published, QueueSpec, Session,
        },
        real::{
            Boot, RealWorld, free_ports,
            rabbitmq::{Config, Rabbit},
            run_local,
        },
        virtual_::{Sim, broker},
    },
};

const NAMES: [&str; 3] = ["a/broker-1", "b/broker-1", "c/broker-1"];
/// Exchanges that the brokers federate.
const FEDERATED: &[&str] = &["fed-direct", "fed-topic"];
/// A real machine may be busy; nothing here takes that long unless it is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

type Work<'a> = LocalBoxFuture<'a, ()>;

/// Three federated brokers of one world.
struct Bench {
    env: Env,
    brokers: Box<dyn Power>,
}

/// Kills and starts brokers.
trait Power {
    fn kill(&self, broker: usize) -> Work<'_>;
    /// Returns when it takes sessions.
    fn start(&self, broker: usize) -> Work<'_>;
}

impl Bench {
    async fn session(&self, broker: usize) -> Rc<dyn Session> {
        self.env.broker(&NAMES[broker].into()).await.unwrap()
    }

    /// Asks again until it is so.
    async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let until = self.env.now() + PATIENCE;
        while !so().await {
            assert!(self.env.now() < until, "{what}: not within {PATIENCE:?}");
            self.env.sleep(Duration::from_millis(20)).await;
        }
    }
}

type Case = (&'static str, for<'a> fn(&'a Bench) -> Work<'a>);

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), |bench| Box::pin($name(bench)))),*] };
}

/// All of them. The last ones kill a broker.
const CASES: &[Case] = cases![
    a_direct_exchange_routes_by_the_very_key,
    a_topic_exchange_routes_by_patterns,
    a_fanout_exchange_routes_to_all,
    a_message_is_confirmed_or_comes_back,
    what_is_told_arrives_in_order_without_the_brokers_word,
    what_is_told_to_nobody_comes_back,
    a_message_arrives_with_all_that_it_carries,
    what_is_too_long_is_not_sent,
    a_consumer_holds_no_more_than_its_prefetch,
    a_delivery_settles_all_before_it,
    what_goes_back_comes_again_in_its_place,
    what_a_lost_session_held_comes_again,
    what_a_dropped_consumer_held_comes_again,
    an_exclusive_queue_is_of_one_session_and_gone_with_it,
    an_auto_delete_queue_goes_with_its_last_consumer,
    a_full_queue_drops_its_oldest,
    a_full_queue_that_refuses_keeps_its_oldest,
    a_message_whose_time_is_over_is_dropped,
    a_consumer_of_a_deleted_queue_is_cancelled,
    consumers_of_a_queue_take_turns,
    what_is_there_and_otherwise_made_is_refused,
    a_binding_needs_both_ends_and_can_be_taken_back,
    federation_copies_to_every_broker_that_binds,
    federation_goes_by_the_key_and_nothing_loops,
    federation_forgets_a_binding_that_is_taken_back,
    a_lost_broker_is_told_and_has_lost_all,
    what_waits_for_a_lost_broker_arrives_unless_its_time_is_over,
];

fn queue(name: &str) -> QueueSpec {
    QueueSpec { name: name.into(), ..QueueSpec::default() }
}

fn message(exchange: &str, key: &str, body: &str) -> Message {
    Message {
        exchange: exchange.into(),
        key: key.into(),
        body: Bytes::from(body.to_owned()),
        ..Message::default()
    }
}

fn mandatory(exchange: &str, key: &str, body: &str) -> Message {
    Message { mandatory: true, ..message(exchange, key, body) }
}

/// A session at the first broker, with an exchange and queues bound to it.
async fn laid_out(
    bench: &Bench,
    exchange: &str,
    kind: ExchangeKind,
    bound: &[(&str, &str)],
) -> Rc<dyn Session> {
    let session = bench.session(0).await;
    session.declare_exchange(exchange, kind).await.unwrap();
    for (name, key) in bound {
        session.declare_queue(&queue(name)).await.unwrap();
        session.bind(name, exchange, key).await.unwrap();
    }
    session
}

async fn say(session: &Rc<dyn Session>, message: Message) {
    assert_eq!(session.publish(message).await, Published::Confirmed);
}

async fn next(bench: &Bench, from: &mut Consumer) -> Delivery {
    bench.env.timeout(PATIENCE, from.deliveries.recv()).await.expect("in time").expect("a message")
}

fn body(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.message.body).unwrap()
}

/// All that is in a queue up to the message `end`.
async fn all(bench: &Bench, session: &Rc<dyn Session>, queue: &str) -> Vec<String> {
    let mut consumer = session.consume(queue, 100).await.unwrap();
    let mut bodies = Vec::new();
    loop {
        let delivery = next(bench, &mut consumer).await;
        delivery.ack();
        if body(&delivery) == "end" {
            return bodies;
        }
        bodies.push(body(&delivery).to_owned());
    }
}

async fn a_direct_exchange_routes_by_the_very_key(bench: &Bench) {
    let bound = [("direct-one", "k.one"), ("direct-star", "k.*"), ("direct-two", "k.one")];
    let session = laid_out(bench, "direct", ExchangeKind::Direct, &bound).await;
    say(&session, message("direct", "k.one", "1")).await;
    say(&session, message("direct", "k.two", "nobody's")).await;
    say(&session, message("direct", "k.one", "end")).await;
    say(&session, message("direct", "k.*", "end")).await;
    assert_eq!(all(bench, &session, "direct-one").await, ["1"]);
    assert_eq!(all(bench, &session, "direct-two").await, ["1"]);
    assert!(all(bench, &session, "direct-star").await.is_empty());
}

async fn a_topic_exchange_routes_by_patterns(bench: &Bench) {
    let patterns = ["a.*.c", "a.#", "#", "*.b", "a.b.c", "#.c", "a.#.c"];
    let bound: Vec<(&str, &str)> = patterns.iter().map(|pattern| (*pattern, *pattern)).collect();
    let session = laid_out(bench, "topic", ExchangeKind::Topic, &bound).await;
    // Twice bound is once delivered.
    session.bind("#", "topic", "a.*").await.unwrap();
    for key in ["a.b.c", "a", "a.b", "a.c", "x.b", "a.x.y.c", ""] {
        say(&session, message("topic", key, key)).await;
    }
    session.declare_exchange("topic-end", ExchangeKind::Fanout).await.unwrap();
    for pattern in patterns {
        session.bind(pattern, "topic-end", "").await.unwrap();
    }
    say(&session, message("topic-end", "", "end")).await;
    let wanted: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("a.*.c", &["a.b.c"][..]),
        ("a.#", &["a.b.c", "a", "a.b", "a.c", "a.x.y.c"]),
        ("#", &["a.b.c", "a", "a.b", "a.c", "x.b", "a.x.y.c", ""]),
        ("*.b", &["a.b", "x.b"]),
        ("a.b.c", &["a.b.c"]),
        ("#.c", &["a.b.c", "a.c", "a.x.y.c"]),
        ("a.#.c", &["a.b.c", "a.c", "a.x.y.c"]),
    ]);
    for (pattern, keys) in wanted {
        assert_eq!(all(bench, &session, pattern).await, keys, "{pattern}");
    }
}

async fn a_fanout_exchange_routes_to_all(bench: &Bench) {
    let bound = [("fanout-one", "x"), ("fanout-two", "")];
    let session = laid_out(bench, "fanout", ExchangeKind::Fanout, &bound).await;
    say(&session, message("fanout", "whatever", "1")).await;
    say(&session, message("fanout", "x", "end")).await;
    for name in ["fanout-one", "fanout-two"] {
        assert_eq!(all(bench, &session, name).await, ["1"]);
    }
}

async fn a_message_is_confirmed_or_comes_back(bench: &Bench) {
    let session = laid_out(bench, "confirm", ExchangeKind::Direct, &[("confirm", "here")]).await;
    // Many at once: each gets the word on itself.
    let keys = |n: usize| if n.is_multiple_of(3) { "nowhere" } else { "here" };
    let sent = (0..60).map(|n| session.publish(mandatory("confirm", keys(n), "x")));
    for (n, outcome) in futures_util::future::join_all(sent).await.into_iter().enumerate() {
        let wanted = if keys(n) == "here" { Published::Confirmed } else { Published::Unroutable };
        assert_eq!(outcome, wanted, "message {n}");
    }
    say(&session, message("confirm", "nowhere", "need not come back")).await;
    let outcome = session.publish(message("never-declared", "k", "x")).await;
    assert!(matches!(outcome, Published::NotSent(_)), "{outcome:?}");
    // It leaves at the call, whether or not anybody waits for the outcome.
    drop(session.publish(message("confirm", "here", "end")));
    assert_eq!(all(bench, &session, "confirm").await.len(), 40);
}

async fn what_is_told_arrives_in_order_without_the_brokers_word(bench: &Bench) {
    let session = laid_out(bench, "told", ExchangeKind::Direct, &[("told", "here")]).await;
    for n in 0..200 {
        session
            .tell(message("told", if n % 4 == 3 { "nowhere" } else { "here" }, &n.to_string()))
            .unwrap();
    }
    assert!(session.tell(message("never-told", "k", "x")).is_err());
    let long = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    assert!(session.tell(Message { body: long, ..message("told", "here", "") }).is_err());
    session.tell(message("told", "here", "end")).unwrap();
    let told: Vec<String> = (0..200).filter(|n| n % 4 != 3).map(|n| n.to_string()).collect();
    assert_eq!(all(bench, &session, "told").await, told);
}

async fn what_is_told_to_nobody_comes_back(bench: &Bench) {
    let session = laid_out(bench, "back", ExchangeKind::Direct, &[("back", "here")]).await;
    let returned: Rc<RefCell<Vec<u64>>> = Rc::default();
    let heard = Rc::clone(&returned);
    session.on_return(Rc::new(move |correlation| heard.borrow_mut().push(correlation)));
    for n in 1..=60 {
        let key = if n % 3 == 0 { "nowhere" } else { "here" };
        let told = Message { correlation: n, ..mandatory("back", key, "x") };
        session.tell(told).unwrap();
    }
    // Need not come back.
    session.tell(Message { correlation: 61, ..message("back", "nowhere", "x") }).unwrap();
    session.tell(Message { correlation: 63, ..mandatory("back", "nowhere", "x") }).unwrap();
    bench.until("all is back", async || returned.borrow().contains(&63)).await;
    let lost: Vec<u64> = (1..=21).map(|n| 3 * n).collect();
    assert_eq!(*returned.borrow(), lost);
    session.tell(message("back", "here", "end")).unwrap();
    assert_eq!(all(bench, &session, "back").await.len(), 40);
}

async fn a_message_arrives_with_all_that_it_carries(bench: &Bench) {
    let session = laid_out(bench, "whole", ExchangeKind::Direct, &[("whole", "k")]).await;
    let sent = Message {
        reply_to: "reply.a.api-1.0".into(),
        correlation: u64::MAX,
        from: "a/api-1".into(),
        body: Bytes::from(vec![0xff; 1_000_000]),
        ..message("whole", "k", "")
    };
    say(&session, sent.clone()).await;
    say(&session, message("whole", "k", "")).await;
    let mut consumer = session.consume("whole", 1).await.unwrap();
    let got = next(bench, &mut consumer).await;
    assert!(got.message == sent && !got.redelivered);
    got.ack();
    let got = next(bench, &mut consumer).await;
    assert_eq!(got.message, message("whole", "k", ""));
}

async fn what_is_too_long_is_not_sent(bench: &Bench) {
    let session = laid_out(bench, "long", ExchangeKind::Direct, &[("long", "k")]).await;
    let body = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    let outcome = session.publish(Message { body, ..message("long", "k", "") }).await;
    assert!(matches!(outcome, Published::NotSent(_)), "{outcome:?}");
    say(&session, message("long", "k", "the session goes on")).await;
}

async fn a_consumer_holds_no_more_than_its_prefetch(bench: &Bench) {
    let session = laid_out(bench, "prefetch", ExchangeKind::Direct, &[("prefetch", "k")]).await;
    let mut slow = session.consume("prefetch", 2).await.unwrap();
    for n in 0..5 {
        say(&session, message("prefetch", "k", &n.to_string())).await;
    }
    let first = next(bench, &mut slow).await;
    let second = next(bench, &mut slow).await;
    assert_eq!((body(&first), body(&second)), ("0", "1"));
    // Whatever it may not hold is there for another.
    let mut other = session.consume("prefetch", 10).await.unwrap();
    for n in 2..5 {
        let delivery = next(bench, &mut other).await;
        assert_eq!(body(&delivery), n.to_string());
        delivery.ack();
    }
    drop(other);
    // Room for one more.
    first.ack();
    say(&session, message("prefetch", "k", "5")).await;
    assert_eq!(body(&next(bench, &mut slow).await), "5");
}

async fn a_delivery_settles_all_before_it(bench: &Bench) {
    let session = laid_out(bench, "to-here", ExchangeKind::Direct, &[("to-here", "k")]).await;
    let mut consumer = session.consume("to-here", 4).await.unwrap();
    for n in 0..8 {
        say(&session, message("to-here", "k", &n.to_string())).await;
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(bench, &mut consumer).await);
    }
    held[2].ack_to_here();
    // Room for three more, and for no fourth.
    for n in ["4", "5", "6"] {
        held.push(next(bench, &mut consumer).await);
        assert_eq!(body(&held[held.len() - 1]), n);
    }
    drop((held, consumer));
    // What was not settled comes again.
    let mut again = session.consume("to-here", 10).await.unwrap();
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.push(body(&next(bench, &mut again).await).to_owned());
    }
    rest.sort();
    assert_eq!(rest, ["3", "4", "5", "6", "7"]);
}

async fn what_goes_back_comes_again_in_its_place(bench: &Bench) {
    let session = laid_out(bench, "requeue", ExchangeKind::Direct, &[("requeue", "k")]).await;
    for n in ["1", "2", "3"] {
        say(&session, message("requeue", "k", n)).await;
    }
    let mut consumer = session.consume("requeue", 2).await.unwrap();
    let (one, two) = (next(bench, &mut consumer).await, next(bench, &mut consumer).await);
    assert!(!one.redelivered && !two.redelivered);
    one.requeue();
    let again = next(bench, &mut consumer).await;
    assert_eq!((body(&again), again.redelivered), ("1", true));
    again.ack();
    two.ack();
    let third = next(bench, &mut consumer).await;
    assert_eq!((body(&third), third.redelivered), ("3", false));
}

async fn what_a_lost_session_held_comes_again(bench: &Bench) {
    let session = laid_out(bench, "lost", ExchangeKind::Direct, &[("lost", "k")]).await;
    for n in ["1", "2", "3"] {
        say(&session, message("lost", "k", n)).await;
    }
    let gone = bench.session(0).await;
    let mut consumer = gone.consume("lost", 2).await.unwrap();
    next(bench, &mut consumer).await.ack();
    let held = next(bench, &mut consumer).await;
    assert_eq!(body(&held), "2");
    drop((consumer, gone));
    let mut consumer = session.consume("lost", 10).await.unwrap();
    let mut got = BTreeMap::new();
    for _ in 0..2 {
        let delivery = next(bench, &mut consumer).await;
        got.insert(body(&delivery).to_owned(), delivery.redelivered);
    }
    // The third may have been on its way to the one that is gone.
    assert_eq!(got.keys().collect::<Vec<_>>(), ["2", "3"]);
    assert!(got["2"]);
}

async fn what_a_dropped_consumer_held_comes_again(bench: &Bench) {
    let session = laid_out(bench, "dropped", ExchangeKind::Direct, &[("dropped", "k")]).await;
    say(&session, message("dropped", "k", "1")).await;
    let mut consumer = session.consume("dropped", 1).await.unwrap();
    let held = next(bench, &mut consumer).await;
    drop(consumer);
    let mut consumer = session.consume("dropped", 1).await.unwrap();
    let again = next(bench, &mut consumer).await;
    assert_eq!((body(&again), again.redelivered), ("1", true));
    // Too late: it was not its any more.
    held.ack();
    again.ack();
}

fn is_refused<T>(outcome: &Result<T, BrokerError>) -> bool {
    matches!(outcome, Err(BrokerError::Refused(_)))
}

async fn an_exclusive_queue_is_of_one_session_and_gone_with_it(bench: &Bench) {
    let session = laid_out(bench, "mine", ExchangeKind::Direct, &[]).await;
    let owner = bench.session(0).await;
    let mine = QueueSpec { exclusive: true, ..queue("mine") };
    owner.declare_queue(&mine).await.unwrap();
    owner.declare_queue(&mine).await.unwrap();
    owner.bind("mine", "mine", "k").await.unwrap();
    assert!(is_refused(&session.declare_queue(&mine).await));
    assert!(is_refused(&session.bind("mine", "mine", "other").await));
    assert!(is_refused(&session.consume("mine", 1).await));
    assert!(is_refused(&session.delete_queue("mine").await));
    say(&session, mandatory("mine", "k", "x")).await;
    drop(owner);
    bench
        .until("the queue is gone", async || {
            session.publish(mandatory("mine", "k", "x")).await == Published::Unroutable
        })
        .await;
    session.declare_queue(&mine).await.unwrap();
}

async fn an_auto_delete_queue_goes_with_its_last_consumer(bench: &Bench) {
    let session = laid_out(bench, "auto", ExchangeKind::Direct, &[]).await;
    let auto = QueueSpec { auto_delete: true, ..queue("auto") };
    session.declare_queue(&auto).await.unwrap();
    session.bind("auto", "auto", "k").await.unwrap();
    // One that never had a consumer stays.
    say(&session, mandatory("auto", "k", "1")).await;
    let one = session.consume("auto", 10).await.unwrap();
    let mut two = session.consume("auto", 10).await.unwrap();
    drop(one);
    assert_eq!(body(&next(bench, &mut two).await), "1");
    say(&session, mandatory("auto", "k", "2")).await;
    drop(two);
    bench
        .until("the queue is gone", async || {
            session.publish(mandatory("auto", "k", "x")).await == Published::Unroutable
        })
        .await;
}

async fn a_full_queue_drops_its_oldest(bench: &Bench) {
    let session = laid_out(bench, "full", ExchangeKind::Direct, &[]).await;
    session.declare_queue(&QueueSpec { length_max: Some(3), ..queue("full") }).await.unwrap();
    session.bind("full", "full", "k").await.unwrap();
    for n in ["1", "2", "3", "4", "end"] {
        say(&session, mandatory("full", "k", n)).await;
    }
    assert_eq!(all(bench, &session, "full").await, ["3", "4"]);
}

async fn a_full_queue_that_refuses_keeps_its_oldest(bench: &Bench) {
    let session = laid_out(bench, "refuses", ExchangeKind::Direct, &[]).await;
    let spec = QueueSpec { length_max: Some(3), overflow: Overflow::Refuse, ..queue("refuses") };
    session.declare_queue(&spec).await.unwrap();
    session.bind("refuses", "refuses", "k").await.unwrap();
    for n in ["1", "2", "end"] {
        say(&session, mandatory("refuses", "k", n)).await;
    }
    for message in [mandatory("refuses", "k", "4"), message("refuses", "k", "5")] {
        assert_eq!(session.publish(message).await, Published::Refused);
    }
    assert_eq!(all(bench, &session, "refuses").await, ["1", "2"]);
    say(&session, mandatory("refuses", "k", "there is room")).await;
}

async fn a_message_whose_time_is_over_is_dropped(bench: &Bench) {
    let session = laid_out(bench, "ttl", ExchangeKind::Direct, &[("ttl", "k")]).await;
    let within = |ms| Some(Duration::from_millis(ms));
    say(&session, Message { ttl: within(50), ..message("ttl", "k", "late") }).await;
    say(&session, Message { ttl: within(3_600_000), ..message("ttl", "k", "in time") }).await;
    // It is the passing of this time that is looked at.
    bench.env.sleep(Duration::from_millis(100)).await;
    say(&session, message("ttl", "k", "end")).await;
    assert_eq!(all(bench, &session, "ttl").await, ["in time"]);
}

async fn a_consumer_of_a_deleted_queue_is_cancelled(bench: &Bench) {
    let session = laid_out(bench, "deleted", ExchangeKind::Direct, &[("deleted", "k")]).await;
    let mut consumer = session.consume("deleted", 1).await.unwrap();
    session.delete_queue("deleted").await.unwrap();
    let end = bench.env.timeout(PATIENCE, consumer.deliveries.recv()).await.unwrap();
    assert!(end.is_none());
    // There is none: no error.
    session.delete_queue("deleted").await.unwrap();
    assert_eq!(session.publish(mandatory("deleted", "k", "x")).await, Published::Unroutable);
    assert!(is_refused(&session.consume("deleted", 1).await));
}

async fn consumers_of_a_queue_take_turns(bench: &Bench) {
    let session = laid_out(bench, "turns", ExchangeKind::Direct, &[("turns", "k")]).await;
    let mut one = session.consume("turns", 10).await.unwrap();
    let mut two = session.consume("turns", 10).await.unwrap();
    for _ in 0..4 {
        say(&session, message("turns", "k", "x")).await;
    }
    for consumer in [&mut one, &mut two] {
        next(bench, consumer).await;
        next(bench, consumer).await;
    }
}

async fn what_is_there_and_otherwise_made_is_refused(bench: &Bench) {
    let session = laid_out(bench, "made", ExchangeKind::Direct, &[("made", "k")]).await;
    session.declare_exchange("made", ExchangeKind::Direct).await.unwrap();
    assert!(is_refused(&session.declare_exchange("made", ExchangeKind::Topic).await));
    session.declare_queue(&queue("made")).await.unwrap();
    let otherwise = [
        QueueSpec { auto_delete: true, ..queue("made") },
        QueueSpec { length_max: Some(1), ..queue("made") },
    ];
    for spec in otherwise {
        assert!(is_refused(&session.declare_queue(&spec).await), "{spec:?}");
    }
    say(&session, mandatory("made", "k", "the session goes on")).await;
}

async fn a_binding_needs_both_ends_and_can_be_taken_back(bench: &Bench) {
    let session = laid_out(bench, "bound", ExchangeKind::Direct, &[("bound", "k")]).await;
    assert!(is_refused(&session.bind("no-queue", "bound", "k").await));
    assert!(is_refused(&session.bind("bound", "no-exchange", "k").await));
    session.bind("bound", "bound", "k").await.unwrap();
    say(&session, mandatory("bound", "k", "x")).await;
    session.unbind("bound", "bound", "k").await.unwrap();
    session.unbind("bound", "bound", "k").await.unwrap();
    assert_eq!(session.publish(mandatory("bound", "k", "x")).await, Published::Unroutable);
}

/// A session at each broker, with a queue bound to a federated exchange at some of them.
async fn federated(
    bench: &Bench,
    (exchange, kind): (&str, ExchangeKind),
    bound: &[(usize, &str, &str)],
) -> Vec<Rc<dyn Session>> {
    let mut sessions = Vec::new();
    for broker in 0..NAMES.len() {
        let session = bench.session(broker).await;
        session.declare_exchange(exchange, kind).await.unwrap();
        for (_, name, key) in bound.iter().filter(|(at, ..)| *at == broker) {
            session.declare_queue(&queue(name)).await.unwrap();
            session.bind(name, exchange, key).await.unwrap();
        }
        sessions.push(session);
    }
    sessions
}

/// Publishes at a broker until each of the consumers has heard it: bindings travel.
async fn warm_up(
    bench: &Bench,
    at: &Rc<dyn Session>,
    (exchange, key): (&str, &str),
    consumers: &mut [Consumer],
) {
    for consumer in consumers {
        bench
            .until("the way is open", async || {
                say(at, message(exchange, key, "warm")).await;
                let heard =
                    bench.env.timeout(Duration::from_millis(100), consumer.deliveries.recv());
                heard.await.is_ok_and(|got| got.inspect(Delivery::ack).is_some())
            })
            .await;
    }
}

/// What comes up to `end`, but for what was sent to warm up.
async fn after_warm_up(bench: &Bench, consumer: &mut Consumer) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let delivery = next(bench, consumer).await;
        delivery.ack();
        match body(&delivery) {
            "warm" => {}
            "end" => return bodies,
            other => bodies.push(other.to_owned()),
        }
    }
}

async fn federation_copies_to_every_broker_that_binds(bench: &Bench) {
    let bound =
        [(1, "copies-b", "copies.#"), (2, "copies-c", "copies.*"), (0, "copies-a", "copies.x")];
    let sessions = federated(bench, ("fed-topic", ExchangeKind::Topic), &bound).await;
    let mut consumers = Vec::new();
    for (at, name, _) in bound {
        consumers.push(sessions[at].consume(name, 100).await.unwrap());
    }
    warm_up(bench, &sessions[0], ("fed-topic", "copies.x"), &mut consumers).await;
    for n in ["1", "2", "end"] {
        say(&sessions[0], mandatory("fed-topic", "copies.x", n)).await;
    }
    // Once each, and in order.
    for consumer in &mut consumers {
        assert_eq!(after_warm_up(bench, consumer).await, ["1", "2"]);
    }
}

async fn federation_goes_by_the_key_and_nothing_loops(bench: &Bench) {
    let bound = [(0, "keys-a", "rpc.a"), (1, "keys-b", "rpc.b"), (2, "keys-c", "rpc.c")];
    let sessions = federated(bench, ("fed-direct", ExchangeKind::Direct), &bound).await;
    for (at, name, key) in bound {
        let mut consumers = [sessions[at].consume(name, 100).await.unwrap()];
        for session in &sessions {
            warm_up(bench, session, ("fed-direct", key), &mut consumers).await;
        }
        for (from, session) in sessions.iter().enumerate() {
            say(session, mandatory("fed-direct", key, &from.to_string())).await;
            say(session, mandatory("fed-direct", key, "end")).await;
            assert_eq!(after_warm_up(bench, &mut consumers[0]).await, [from.to_string()]);
        }
    }
    let nowhere = sessions[0].publish(mandatory("fed-direct", "rpc.nowhere", "x")).await;
    assert_eq!(nowhere, Published::Unroutable, "at once: nobody binds it at any broker");
}

async fn federation_forgets_a_binding_that_is_taken_back(bench: &Bench) {
    let bound = [(1, "back-b", "back")];
    let sessions = federated(bench, ("fed-direct", ExchangeKind::Direct), &bound).await;
    bench
        .until("it is routed", async || {
            sessions[2].publish(mandatory("fed-direct", "back", "x")).await == Published::Confirmed
        })
        .await;
    sessions[1].unbind("back-b", "fed-direct", "back").await.unwrap();
    bench
        .until("it is routed no more", async || {
            sessions[2].publish(mandatory("fed-direct", "back", "x")).await == Published::Unroutable
        })
        .await;
}

async fn a_lost_broker_is_told_and_has_lost_all(bench: &Bench) {
    let session = laid_out(bench, "node", ExchangeKind::Direct, &[("node", "k")]).await;
    say(&session, mandatory("node", "k", "x")).await;
    let idle = bench.session(0).await;
    session.declare_queue(&queue("node-idle")).await.unwrap();
    let mut consumer = session.consume("node-idle", 1).await.unwrap();
    bench.brokers.kill(0).await;
    for session in [&session, &idle] {
        bench.env.timeout(PATIENCE, session.closed()).await.expect("told");
    }
    let end = bench.env.timeout(PATIENCE, consumer.deliveries.recv()).await.unwrap();
    assert!(end.is_none());
    let outcome = session.publish(mandatory("node", "k", "x")).await;
    assert!(matches!(outcome, Published::NotSent(_)), "{outcome:?}");
    let asked = session.declare_queue(&queue("node")).await;
    assert!(matches!(asked, Err(BrokerError::Lost(_))), "{asked:?}");
    let again = bench.env.broker(&NAMES[0].into()).await;
    assert!(matches!(again, Err(BrokerError::Unreachable { .. })), "it is dead");
    bench.brokers.start(0).await;
    let session = bench.session(0).await;
    session.declare_exchange("node", ExchangeKind::Topic).await.unwrap();
    assert_eq!(session.publish(mandatory("node", "k", "x")).await, Published::Unroutable);
    assert!(is_refused(&session.bind("node", "node", "k").await), "the queue is gone");
}

async fn what_waits_for_a_lost_broker_arrives_unless_its_time_is_over(bench: &Bench) {
    let bound = [(1, "waits-b", "waits")];
    let exchange = ("fed-direct", ExchangeKind::Direct);
    let sessions = federated(bench, exchange, &bound).await;
    let mut consumers = [sessions[1].consume("waits-b", 100).await.unwrap()];
    warm_up(bench, &sessions[2], ("fed-direct", "waits"), &mut consumers).await;
    bench.brokers.kill(1).await;
    bench.env.timeout(PATIENCE, sessions[1].closed()).await.expect("told");
    // As far as the broker there knows they have a queue: nobody is told more.
    let short = Some(Duration::from_millis(50));
    let late = Message { ttl: short, ..mandatory("fed-direct", "waits", "late") };
    say(&sessions[2], late).await;
    // It is the passing of this time that is looked at.
    bench.env.sleep(Duration::from_millis(100)).await;
    bench.brokers.start(1).await;
    let session = bench.session(1).await;
    session.declare_exchange(exchange.0, exchange.1).await.unwrap();
    session.declare_queue(&queue("waits-b")).await.unwrap();
    session.bind("waits-b", "fed-direct", "waits").await.unwrap();
    let mut consumers = [session.consume("waits-b", 100).await.unwrap()];
    warm_up(bench, &sessions[2], ("fed-direct", "waits"), &mut consumers).await;
    say(&sessions[2], mandatory("fed-direct", "waits", "in time")).await;
    say(&sessions[2], mandatory("fed-direct", "waits", "end")).await;
    assert_eq!(after_warm_up(bench, &mut consumers[0]).await, ["in time"]);
}

/// Plays all, and then fails if one did: the cases share brokers and nothing else.
async fn play(bench: &Bench) {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        println!("{name}");
        if AssertUnwindSafe(case(bench)).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

/// Brokers of a virtual world.
struct Virtual(Sim);

impl Virtual {
    fn boot(&self, broker: usize) {
        let others: Vec<NodeName> = NAMES
            .iter()
            .filter(|name| **name != NAMES[broker])
            .map(|name| NodeName::from(*name))
            .collect();
        let env = self.0.node(&NAMES[broker].into());
        env.spawn(broker::serve(env.clone(), others, FEDERATED));
    }
}

impl Power for Virtual {
    fn kill(&self, broker: usize) -> Work<'_> {
        assert!(self.0.kill(&NAMES[broker].into()));
        Box::pin(std::future::ready(()))
    }

    fn start(&self, broker: usize) -> Work<'_> {
        self.boot(broker);
        // It listens when its first task has run.
        Box::pin(self.0.sleep(Duration::from_millis(1)))
    }
}

#[test]
fn the_simulated_broker_passes_every_case() {
    for seed in ["1", "2", "3"] {
        let sim = Sim::new(seed);
        let power = Virtual(sim.clone());
        (0..NAMES.len()).for_each(|broker| power.boot(broker));
        let bench = Bench { env: sim.node(&"a/tester-1".into()), brokers: Box::new(power) };
        sim.run(play(&bench)).unwrap();
    }
}

/// Brokers of processes.
struct Real {
    env: Env,
    rabbits: Vec<tokio::sync::Mutex<Rabbit>>,
}

impl Real {
    async fn await_up(&self, broker: usize) {
        let begun = self.env.now();
        while self.env.broker(&NAMES[broker].into()).await.is_err() {
            let rabbit = self.rabbits[broker].lock().await;
            let late = self.env.now() - begun > 2 * PATIENCE;
            assert!(rabbit.pid().is_some() && !late, "{}", rabbit.last_words());
            drop(rabbit);
            self.env.sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Power for Rc<Real> {
    fn kill(&self, broker: usize) -> Work<'_> {
        Box::pin(async move { self.rabbits[broker].lock().await.kill().await.unwrap() })
    }

    fn start(&self, broker: usize) -> Work<'_> {
        Box::pin(async move {
            self.rabbits[broker].lock().await.start().await.unwrap();
            self.await_up(broker).await;
        })
    }
}

#[test]
fn a_real_rabbitmq_passes_every_case() {
    let folder = tempfile::tempdir().unwrap();
    run_local(async {
        let ports = free_ports(NAMES.len()).unwrap();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let dial = NAMES.iter().zip(&ports).map(|(name, port)| (NodeName::from(*name), at(*port)));
        let boot = Boot { dial: dial.collect(), ..Boot::default() };
        let name = NodeName::from("a/tester-1");
        let world = RealWorld::new(name.clone(), boot, std::time::Instant::now());
        let env = Env::new(name, &Rng::from_seed("1"), world);
        let mut rabbits = Vec::new();
        for (own, &port) in NAMES.iter().zip(&ports) {
            let others = NAMES.iter().zip(&ports).filter(|(name, _)| *name != own);
            let config = Config {
                folder: folder.path().join(own.replace('/', "-")),
                port,
                upstreams: others.map(|(name, port)| (name.replace('/', "-"), at(*port))).collect(),
                federated: FEDERATED.iter().map(|&name| name.to_owned()).collect(),
            };
            let mut rabbit = Rabbit::new(config).unwrap();
            rabbit.start().await.unwrap();
            rabbits.push(tokio::sync::Mutex::new(rabbit));
        }
        let real = Rc::new(Real { env: env.clone(), rabbits });
        for broker in 0..NAMES.len() {
            real.await_up(broker).await;
        }
        let bench = Bench { env, brokers: Box::new(Rc::clone(&real)) };
        play(&bench).await;
        drop(bench);
        for rabbit in Rc::into_inner(real).unwrap().rabbits {
            rabbit.into_inner().close().await;
        }
    })
    .unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "the brokers' folders are gone: {left:?}");
}
