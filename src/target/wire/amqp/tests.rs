//! Against a real broker: what happens when all is well, at the limits, and when it dies.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use futures_util::future::join_all;
use lapin::{Connection, ConnectionProperties, options::*, types::FieldTable};
use serde_json::json;

use super::*;
use crate::{target::wire::testing::Authority, world::real::run_local};

#[path = "../../../../tests/broker/mod.rs"]
mod broker;

use broker::RabbitMq;

/// Long enough that only a mistake reaches it.
const LONG: Duration = Duration::from_mins(1);

fn limits() -> Limits {
    Limits { confirm_within: LONG, connect_within: LONG, ..Limits::default() }
}

async fn connect(limits: Limits) -> Broker {
    Broker::connect(&broker::shared().uri(), limits, None).await.unwrap()
}

fn message(exchange: &str, key: &str, body: &str) -> Message {
    Message {
        exchange: exchange.into(),
        routing_key: key.into(),
        body: body.to_owned().into(),
        ..Message::default()
    }
}

/// What is told in callbacks, to wait for.
struct Heard<T> {
    items: RefCell<Vec<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T: Clone + 'static> Heard<T> {
    fn new() -> Rc<Self> {
        Rc::new(Self { items: RefCell::default(), waker: RefCell::default() })
    }

    fn tell(self: &Rc<Self>) -> Rc<dyn Fn(T)> {
        let this = Rc::clone(self);
        Rc::new(move |item| {
            this.items.borrow_mut().push(item);
            if let Some(waker) = this.waker.borrow_mut().take() {
                waker.wake();
            }
        })
    }

    /// The first so many, once they came.
    async fn first(&self, count: usize) -> Vec<T> {
        poll_fn(|context| {
            if let Some(items) = self.items.borrow().get(..count) {
                return Poll::Ready(items.to_vec());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The other side: a connection of the test's own, that declares and serves.
struct Backend {
    channel: lapin::Channel,
    _connection: Connection,
}

impl Backend {
    async fn connect(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        Self { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }

    async fn shared() -> Self {
        Self::connect(&broker::shared().uri()).await
    }

    async fn queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions::exclusive();
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
    }

    async fn count(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions::default().passive();
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        declared.await.unwrap().message_count()
    }

    /// Serves a queue: `answer` says what to send back now, to whom and with which correlation id.
    async fn serve(&self, queue: &str, answer: impl FnMut(Asked) -> Vec<Asked> + 'static) {
        use futures_util::StreamExt as _;
        self.queue(queue, FieldTable::default()).await;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consume =
            self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = consume.await.unwrap();
        let (channel, mut answer) = (self.channel.clone(), answer);
        tokio::task::spawn_local(async move {
            while let Some(Ok(request)) = consumer.next().await {
                let asked = Asked {
                    body: String::from_utf8_lossy(&request.data).into_owned(),
                    id: request.properties.correlation_id().clone().map(String::from),
                    to: request.properties.reply_to().clone().unwrap(),
                };
                for answer in answer(asked) {
                    let mut properties = lapin::BasicProperties::default();
                    if let Some(id) = answer.id {
                        properties = properties.with_correlation_id(id.into());
                    }
                    let (body, options) = (answer.body.as_bytes(), BasicPublishOptions::default());
                    let sent =
                        channel.basic_publish("".into(), answer.to, options, body, properties);
                    sent.await.unwrap();
                }
            }
        });
    }
}

/// A request, or the answer to it.
#[derive(Clone)]
struct Asked {
    body: String,
    id: Option<String>,
    to: lapin::types::ShortString,
}

#[test]
fn a_published_message_is_in_its_queue_with_all_it_had() {
    run_local(async {
        let backend = Backend::shared().await;
        backend.queue("published", FieldTable::default()).await;
        let broker = connect(limits()).await;
        let mut message = message("", "published", "{}");
        message.headers = json!({"traceparent": "00-1", "n": 7}).as_object().unwrap().clone();
        message.properties.kind = Some("ride.requested".into());
        message.properties.content_type = Some("application/json".into());
        for mandatory in [true, false] {
            assert_eq!(broker.publish(&message, mandatory).await, Ok(Published));
        }
        let got = backend.channel.basic_get("published".into(), BasicGetOptions::default()).await;
        let got = got.unwrap().unwrap();
        assert_eq!(got.message_count, 1);
        assert_eq!(got.delivery.data, b"{}");
        assert_eq!(got.delivery.properties.kind().as_ref().unwrap().as_str(), "ride.requested");
        assert_eq!(got.delivery.properties.headers().as_ref().unwrap().inner().len(), 2);
        broker.close().await;
        let why = broker.publish(&message, true).await.unwrap_err();
        assert!(why.certainly_not() && why.to_string().contains("closed"), "{why}");
    })
    .unwrap();
}

#[test]
fn of_many_mandatory_messages_exactly_those_without_a_queue_come_back() {
    run_local(async {
        let backend = Backend::shared().await;
        backend.queue("somewhere", FieldTable::default()).await;
        let broker = connect(limits()).await;
        let publish = async |n: usize| {
            let key =
                if n.is_multiple_of(3) { format!("nowhere-{n}") } else { "somewhere".to_owned() };
            broker.publish(&message("", &key, "x"), true).await
        };
        let outcomes = join_all((0..600).map(publish)).await;
        for (n, outcome) in outcomes.into_iter().enumerate() {
            if n % 3 != 0 {
                assert_eq!(outcome, Ok(Published));
                continue;
            }
            let expected = AmqpError::Returned {
                code: 312,
                text: "NO_ROUTE".into(),
                exchange: String::new(),
                routing_key: format!("nowhere-{n}"),
            };
            assert!(expected.certainly_not());
            assert_eq!(outcome, Err(expected));
        }
        assert_eq!(backend.count("somewhere").await, 400);
        // Not mandatory: the broker took it over, and nobody got it.
        assert_eq!(broker.publish(&message("", "nowhere", "x"), false).await, Ok(Published));
    })
    .unwrap();
}

#[test]
fn a_wrong_exchange_is_certain_and_harms_nobody_else() {
    run_local(async {
        let backend = Backend::shared().await;
        backend.queue("unharmed", FieldTable::default()).await;
        let broker = connect(limits()).await;
        let publish = async |n: usize| {
            let exchange = if n.is_multiple_of(2) { "no-such-exchange" } else { "" };
            broker.publish(&message(exchange, "unharmed", "x"), n % 4 < 2).await
        };
        let outcomes = join_all((0..100).map(publish)).await;
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(Published) => assert_eq!(n % 2, 1),
                Err(why) => {
                    assert_eq!(n % 2, 0, "{why}");
                    assert!(why.certainly_not() && why.to_string().contains("no-such-exchange"));
                }
            }
        }
        assert_eq!(backend.count("unharmed").await, 50);
        let call = broker.rpc(&message("no-such-exchange", "x", "x"), LONG).await.unwrap_err();
        assert!(matches!(&call, AmqpError::NotSent(why) if why.contains("no-such-exchange")));
    })
    .unwrap();
}

#[test]
fn an_exchange_that_goes_and_comes_back_is_found_again() {
    run_local(async {
        let backend = Backend::shared().await;
        let declare = async || {
            let (kind, options) = (lapin::ExchangeKind::Fanout, ExchangeDeclareOptions::default());
            let none = FieldTable::default();
            backend.channel.exchange_declare("fleeting".into(), kind, options, none).await.unwrap();
        };
        declare().await;
        let broker = connect(limits()).await;
        let fleeting = message("fleeting", "", "x");
        assert_eq!(broker.publish(&fleeting, false).await, Ok(Published));
        let options = ExchangeDeleteOptions::default();
        backend.channel.exchange_delete("fleeting".into(), options).await.unwrap();
        // Alone on its channel: the refusal can only be for this one.
        let why = broker.publish(&fleeting, false).await.unwrap_err();
        assert!(matches!(&why, AmqpError::NotSent(why) if why.contains("NOT_FOUND")), "{why}");
        let why = broker.publish(&fleeting, false).await.unwrap_err();
        assert!(matches!(&why, AmqpError::NotSent(why) if why.contains("NOT_FOUND")), "{why}");
        declare().await;
        assert_eq!(broker.publish(&fleeting, false).await, Ok(Published));
    })
    .unwrap();
}

#[test]
fn a_message_that_a_full_queue_refuses_is_unknown() {
    run_local(async {
        let backend = Backend::shared().await;
        let mut full = FieldTable::default();
        full.insert("x-max-length".into(), lapin::types::AMQPValue::LongInt(1));
        let reject = lapin::types::AMQPValue::LongString("reject-publish".into());
        full.insert("x-overflow".into(), reject);
        backend.queue("full", full).await;
        let broker = connect(limits()).await;
        let mut last = Ok(Published);
        // The queue takes one, and perhaps one more before it says that it is full.
        for _ in 0..10 {
            last = broker.publish(&message("", "full", "x"), true).await;
        }
        assert!(matches!(&last, Err(AmqpError::Unknown(why)) if why.contains("nack")), "{last:?}");
    })
    .unwrap();
}

#[test]
fn what_does_not_fit_the_limits_is_refused_at_once() {
    run_local(async {
        let backend = Backend::shared().await;
        backend.serve("silent", |_| Vec::new()).await;
        let small = Limits { unconfirmed: 2, body_bytes: 4, calls: 1, ..limits() };
        let broker = connect(small).await;
        let why = broker.publish(&message("", "x", "12345"), true).await.unwrap_err();
        assert!(why.certainly_not() && why.to_string().contains("5 bytes"), "{why}");
        let publish = async |_| broker.publish(&message("", "nowhere", "x"), false).await;
        let outcomes = join_all((0..5).map(publish)).await;
        assert_eq!(outcomes[..2], [Ok(Published), Ok(Published)]);
        for outcome in &outcomes[2..] {
            let why = outcome.as_ref().unwrap_err();
            assert!(why.certainly_not() && why.to_string().contains("2 messages wait"), "{why}");
        }
        let request = message("", "silent", "x");
        let call = broker.rpc(&request, LONG);
        let mut waiting = Box::pin(call);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let why = broker.rpc(&request, LONG).await.unwrap_err();
        assert!(why.certainly_not() && why.to_string().contains("1 calls wait"), "{why}");
        drop(waiting);
        // The place is free again, whoever gave it up.
        let why = broker.rpc(&message("", "nowhere", "x"), LONG).await.unwrap_err();
        assert!(matches!(why, AmqpError::Returned { .. }), "{why}");
    })
    .unwrap();
}

#[test]
fn calls_get_their_own_answers_in_whatever_order() {
    for replies in [Replies::Direct, Replies::Queue] {
        run_local(async {
            let backend = Backend::shared().await;
            let queue = format!("echo-{replies:?}");
            // Two at a time, the later one first.
            let mut held = None;
            let echo = move |mut asked: Asked| {
                asked.body = asked.body.to_uppercase();
                if let Some(before) = held.take() {
                    return vec![asked, before];
                }
                held = Some(asked);
                Vec::new()
            };
            backend.serve(&queue, echo).await;
            let broker = connect(Limits { replies, ..limits() }).await;
            let call = async |n: usize| {
                let key = if n % 5 == 4 { "nobody-serves-this" } else { queue.as_str() };
                broker.rpc(&message("", key, &format!("ride {n}")), LONG).await
            };
            let outcomes = join_all((0..100).map(call)).await;
            for (n, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(answer) => assert_eq!(answer.body, format!("RIDE {n}").as_bytes()),
                    Err(AmqpError::Returned { .. }) => assert_eq!(n % 5, 4),
                    Err(why) => panic!("{n}: {why}"),
                }
            }
        })
        .unwrap();
    }
}

#[test]
fn a_call_without_an_answer_is_unknown_and_says_what_may_be_wrong() {
    run_local(async {
        let backend = Backend::shared().await;
        backend.serve("forgetful", |asked| vec![Asked { id: None, ..asked }]).await;
        let broker = connect(limits()).await;
        let request = message("", "forgetful", "x");
        // On a slow machine the first may be lost before its answer comes.
        loop {
            let why = broker.rpc(&request, Duration::from_millis(200)).await.unwrap_err();
            if why.certainly_not() {
                continue;
            }
            assert!(why.to_string().contains("no answer within 200ms"), "{why}");
            if why.to_string().contains("answers without a correlation id so far: ") {
                break;
            }
        }
        let mut own = request.clone();
        own.properties.reply_to = Some("mine".into());
        assert!(broker.rpc(&own, LONG).await.unwrap_err().certainly_not());
    })
    .unwrap();
}

#[test]
fn a_call_keeps_the_correlation_id_of_its_caller() {
    run_local(async {
        let backend = Backend::shared().await;
        let name = |asked: Asked| vec![Asked { body: asked.id.clone().unwrap(), ..asked }];
        backend.serve("named", name).await;
        let broker = connect(Limits { body_bytes: 8, ..limits() }).await;
        let mut request = message("", "named", "x");
        request.properties.correlation_id = Some("ride-77".into());
        assert_eq!(broker.rpc(&request, LONG).await.unwrap().body, "ride-77");
        request.properties.correlation_id = Some("much-too-long".into());
        let why = broker.rpc(&request, LONG).await.unwrap_err();
        assert!(matches!(&why, AmqpError::Unknown(why) if why.contains("13 bytes")), "{why}");
    })
    .unwrap();
}

#[test]
fn a_tap_hears_what_its_keys_match_in_order() {
    run_local(async {
        let broker = connect(Limits { prefetch: 4, body_bytes: 8, ..limits() }).await;
        let (heard, gaps) = (Heard::<Received>::new(), Heard::<Gap>::new());
        let keys = ["tap.ride.*".to_owned(), "tap.driver.#".to_owned()];
        let tap = broker.tap("amq.topic", &keys, heard.tell(), gaps.tell()).await.unwrap();
        for n in 0..50 {
            for key in ["tap.ride.new", "tap.ride.new.not", "tap.driver.a.b"] {
                let sent = message("amq.topic", key, &n.to_string());
                assert_eq!(broker.publish(&sent, false).await, Ok(Published));
            }
        }
        let got = heard.first(100).await;
        let expected = (0..50).flat_map(|n| [("tap.ride.new", n), ("tap.driver.a.b", n)]);
        for (got, (key, n)) in got.iter().zip(expected) {
            assert_eq!((got.routing_key.as_str(), got.exchange.as_str()), (key, "amq.topic"));
            assert_eq!(got.body, n.to_string().as_bytes());
        }
        let other = connect(limits()).await;
        other.publish(&message("amq.topic", "tap.ride.x", "too long!"), false).await.unwrap();
        broker.publish(&message("amq.topic", "tap.ride.x", "short"), false).await.unwrap();
        assert_eq!(heard.first(101).await[100].body, "short");
        let told = Gap::TooLong { routing_key: "tap.ride.x".into(), bytes: 9 };
        assert_eq!(gaps.first(1).await, [told]);
        let expected = TapCounts { seen: 101, too_long: 1, ..TapCounts::default() };
        assert_eq!(tap.counts(), expected);
    })
    .unwrap();
}

#[test]
fn a_tap_of_nothing_is_refused() {
    run_local(async {
        let broker = connect(limits()).await;
        let tap = async |exchange: &str, keys: &[String]| {
            let (messages, gaps) = (Heard::<Received>::new(), Heard::<Gap>::new());
            let tap = broker.tap(exchange, keys, messages.tell(), gaps.tell());
            tap.await.unwrap_err().to_string()
        };
        let key = ["#".to_owned()];
        assert!(tap("no-such-exchange", &key).await.contains("no-such-exchange"));
        assert!(tap("", &key).await.contains("name of an exchange"));
        assert!(tap("amq.topic", &[]).await.contains("at least one binding key"));
        assert!(broker.state().is_ok());
    })
    .unwrap();
}

#[test]
fn a_slow_tap_never_fills_the_broker_and_knows_what_it_missed() {
    run_local(async {
        let slow = Limits { prefetch: 1, tap_queue: 5, ..limits() };
        let broker = connect(slow).await;
        let (heard, gaps) = (Heard::<Received>::new(), Heard::<Gap>::new());
        let tell = heard.tell();
        // While the first message is looked at, a hundred more are taken over by the broker.
        let busy = Cell::new(true);
        let on_message: OnMessage = Rc::new(move |message| {
            if busy.take() {
                std::thread::scope(|scope| scope.spawn(flood).join().unwrap());
            }
            tell(message);
        });
        let keys = ["slow.tap".to_owned()];
        let tap = broker.tap("amq.topic", &keys, on_message, gaps.tell()).await.unwrap();
        broker.publish(&message("amq.topic", "slow.tap", "first"), false).await.unwrap();
        let got: Vec<_> = heard.first(6).await.into_iter().map(|got| got.body).collect();
        assert_eq!(got, ["first", "95", "96", "97", "98", "99"]);
        let mut dropped = 0;
        for count in 1.. {
            let Gap::Dropped { at_least } = gaps.first(count).await[count - 1] else {
                panic!("another gap")
            };
            dropped += at_least;
            if dropped >= 95 {
                break;
            }
        }
        let expected = TapCounts { seen: 6, dropped: 95, ..TapCounts::default() };
        assert_eq!(tap.counts(), expected);
    })
    .unwrap();
}

/// A hundred messages for the slow tap, from a thread with a connection of its own.
fn flood() {
    run_local(async {
        let broker = connect(limits()).await;
        for n in 0..100 {
            let sent = message("amq.topic", "slow.tap", &n.to_string());
            broker.publish(&sent, true).await.unwrap();
        }
    })
    .unwrap();
}

#[test]
fn a_login_that_is_refused_is_told_without_the_password() {
    run_local(async {
        let port = broker::shared().port();
        let wrong = format!("amqp://city:wrong-password@127.0.0.1:{port}");
        let why = Broker::connect(&wrong, limits(), None).await.unwrap_err().to_string();
        assert!(why.contains("ACCESS_REFUSED") && why.contains("city@127.0.0.1"), "{why}");
        assert!(!why.contains("wrong-password"), "{why}");
        let nameless = format!("{}/", broker::shared().uri());
        let why = Broker::connect(&nameless, limits(), None).await.unwrap_err().to_string();
        assert!(why.contains("leave it out for `/`"), "{why}");
        assert!(!why.contains(broker::PASSWORD), "{why}");
        let broker = connect(limits()).await;
        assert_eq!(format!("{broker:?}"), format!("Broker(amqp://city@127.0.0.1:{port})"));
    })
    .unwrap();
}

#[test]
fn a_broker_behind_tls_is_verified_and_then_spoken_to_as_any_other() {
    run_local(async {
        let authority = Authority::new("City");
        let acceptor = authority.accepts(authority.signs("localhost"), &[], false);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = broker::shared().port();
        // Ends TLS, as a proxy before a broker does.
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut secure) = acceptor.accept(stream).await else { continue };
                let mut plain =
                    tokio::net::TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                tokio::task::spawn_local(async move {
                    let _ = tokio::io::copy_bidirectional(&mut secure, &mut plain).await;
                });
            }
        });
        let uri = format!("amqps://city:{}@localhost:{port}", broker::PASSWORD);
        let over = |tls| Broker::connect_over(&uri, limits(), None, tls);
        let why = over(None).await.unwrap_err().to_string();
        assert!(why.contains("which is not set up"), "{why}");
        let stranger = Authority::new("Elsewhere").trusted();
        let why = over(Some(stranger)).await.unwrap_err().to_string();
        assert!(why.contains("unknown issuer") && !why.contains(broker::PASSWORD), "{why}");

        let broker = over(Some(authority.trusted())).await.unwrap();
        let heard = Heard::new();
        let (keys, miss) = (vec!["tls.*".to_owned()], Rc::new(|gap| panic!("{gap:?}")));
        let _tap = broker.tap("amq.topic", &keys, heard.tell(), miss).await.unwrap();
        broker.publish(&message("amq.topic", "tls.tap", "hello"), true).await.unwrap();
        let received: Vec<Received> = heard.first(1).await;
        assert_eq!(received[0].body, "hello");
        broker.close().await;
    })
    .unwrap();
}

#[test]
fn where_nobody_listens_or_nobody_speaks_connecting_ends() {
    run_local(async {
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = mute.local_addr().unwrap().port();
        let uri = format!("amqp://u:p@127.0.0.1:{port}");
        let soon = Limits { connect_within: Duration::from_millis(200), ..limits() };
        let why = Broker::connect(&uri, soon.clone(), None).await.unwrap_err().to_string();
        assert!(why.contains("no answer within 200ms"), "{why}");
        // Hung up on: of the two connections (the first only looks) none stays open.
        for _ in 0..2 {
            let (mut stream, _) = mute.accept().await.unwrap();
            let mut rest = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.unwrap();
        }
        drop(mute);
        let why = Broker::connect(&uri, soon, None).await.unwrap_err().to_string();
        assert!(why.contains("refused"), "{why}");
        let why = Broker::connect("amqp://192.0.2.1", limits(), None).await.unwrap_err();
        assert!(why.to_string().contains("not on loopback"), "{why}");
    })
    .unwrap();
}

#[test]
fn a_broker_that_dies_and_comes_back() {
    let mut rabbit = RabbitMq::start();
    run_local(async move {
        let broker = Broker::connect(&rabbit.uri(), limits(), None).await.unwrap();
        let (heard, gaps) = (Heard::<Received>::new(), Heard::<Gap>::new());
        let keys = ["phoenix.#".to_owned()];
        let tap = broker.tap("amq.topic", &keys, heard.tell(), gaps.tell()).await.unwrap();
        let backend = Backend::connect(&rabbit.uri()).await;
        let asked = Heard::<()>::new();
        let tell = asked.tell();
        let silent = move |_| {
            tell(());
            Vec::new()
        };
        backend.serve("silent", silent).await;
        let first = message("amq.topic", "phoenix.1", "1");
        for mandatory in [true, false] {
            assert_eq!(broker.publish(&first, mandatory).await, Ok(Published));
        }
        heard.first(2).await;

        // Written, and never confirmed: it may or may not be there.
        let hasty = Limits { confirm_within: Duration::from_secs(1), ..limits() };
        let hasty = Broker::connect(&rabbit.uri(), hasty, None).await.unwrap();
        let nobodys = message("amq.topic", "nobodys", "x");
        while hasty.publish(&nobodys, false).await.is_err() {}
        while !matches!(hasty.publish(&nobodys, true).await, Err(AmqpError::Returned { .. })) {}
        rabbit.pause();
        for mandatory in [true, false] {
            let why = hasty.publish(&first, mandatory).await.unwrap_err();
            assert!(matches!(&why, AmqpError::Unknown(why) if why.contains("within 1s")), "{why}");
        }
        // No channel, no message.
        let why = hasty.publish(&message("amq.direct", "x", "x"), false).await.unwrap_err();
        assert!(why.certainly_not() && why.to_string().contains("its turn"), "{why}");
        rabbit.resume();
        // Those two after all.
        heard.first(4).await;

        // On their way when the broker dies.
        let request = message("", "silent", "x");
        let (caller, asks) = (broker.clone(), request.clone());
        let call = tokio::task::spawn_local(async move { caller.rpc(&asks, LONG).await });
        asked.first(1).await;
        assert_eq!(broker.publish(&first, true).await, Ok(Published));
        heard.first(5).await;
        rabbit.pause();
        let lost = message("amq.topic", "phoenix.lost", "x");
        let mut publish = Box::pin(broker.publish(&lost, true));
        assert!(futures_util::poll!(&mut publish).is_pending());
        // Its task has run, and written it.
        tokio::task::yield_now().await;
        rabbit.kill();
        // Whether all of it was written by then, nobody here can know.
        let why = publish.await.unwrap_err();
        assert!(why.to_string().contains("lost"), "{why}");
        let why = call.await.unwrap().unwrap_err();
        assert!(matches!(&why, AmqpError::Unknown(why) if why.contains("lost")), "{why}");
        let told = gaps.first(1).await;
        assert!(matches!(&told[0], Gap::Lost { .. }), "{told:?}");
        let why = broker.publish(&first, true).await.unwrap_err();
        assert!(why.certainly_not() && why.to_string().contains("no connection"), "{why}");
        assert!(broker.state().is_err());

        rabbit.start_again().unwrap();
        assert_eq!(gaps.first(2).await[1], Gap::Back);
        let back = message("amq.topic", "phoenix.back", "2");
        assert_eq!(broker.publish(&back, true).await, Ok(Published));
        assert_eq!(heard.first(6).await[5].body, "2");
        assert_eq!(broker.state(), Ok(()));
        assert_eq!(tap.counts(), TapCounts { seen: 6, lost: 1, ..TapCounts::default() });
        let why = broker.rpc(&request, LONG).await.unwrap_err();
        assert!(matches!(why, AmqpError::Returned { .. }), "{why}");
    })
    .unwrap();
}
