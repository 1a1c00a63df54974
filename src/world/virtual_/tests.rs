//! What the virtual world promises to everything above it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};

use super::*;
use crate::world::{
    HttpError, HttpHandler, TimedOut,
    link::{DialError, FRAME_BYTES_MAX, FRAMES_MAX, Link, SendError},
    store::{Ack, Txn},
};

pub(super) const A: &str = "a/core-1";
pub(super) const B: &str = "b/core-1";

pub(super) fn name(text: &str) -> NodeName {
    NodeName::from(text)
}

/// A network without jitter: 1 ms within an AZ, 10 ms between, 100 ms from outside.
pub(super) fn plain(seed: &str) -> Sim {
    let fixed = |ms: u64| Span::micros(ms * 1_000, ms * 1_000);
    let network = NetworkSettings {
        local: fixed(1),
        within_az: fixed(1),
        between_az: fixed(10),
        outside: fixed(100),
        jitter_percent: 0,
    };
    Sim::with_settings(seed, Settings { network, ..Settings::default() })
}

/// Whole milliseconds; the plain network knows nothing smaller.
pub(super) fn ms(time: Time) -> u64 {
    assert_eq!(time.0 % 1_000_000, 0);
    time.0 / 1_000_000
}

/// A node that sends every frame back, `prefix` before it.
pub(super) fn echo(sim: &Sim, node: &str) -> Env {
    let env = sim.node(&name(node));
    let here = env.clone();
    env.spawn(async move {
        let mut listener = here.listen().await.unwrap();
        while let Some(mut link) = listener.recv().await {
            here.spawn(async move {
                while let Some(frame) = link.incoming.recv().await {
                    let _ = link.outgoing.send(frame);
                }
            });
        }
    });
    env
}

/// A node that answers `GET /` after `work`.
pub(super) fn serve(sim: &Sim, node: &str, work: Duration) -> Env {
    let env = sim.node(&name(node));
    let here = env.clone();
    let handler: HttpHandler = Rc::new(move |request: Request<Bytes>| {
        let here = here.clone();
        Box::pin(async move {
            here.sleep(work).await;
            Response::new(request.into_body())
        })
    });
    let there = env.clone();
    env.spawn(async move { there.serve_http(handler).await.unwrap() });
    env
}

pub(super) fn ask(body: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(body.as_bytes()))
}

async fn round(link: &mut Link, text: &'static str) -> Option<Bytes> {
    link.outgoing.send(Bytes::from_static(text.as_bytes())).unwrap();
    link.incoming.recv().await
}

#[test]
fn ping_pong_takes_exactly_what_the_network_takes() {
    let sim = plain("42");
    echo(&sim, A);
    let b = sim.node(&name(B));
    let times = sim.run(async {
        let mut link = b.dial(&name(A)).await.unwrap();
        let dialled = sim.now();
        let frame = round(&mut link, "ping").await.unwrap();
        (dialled, sim.now(), frame)
    });
    let (dialled, answered, frame) = times.unwrap();
    assert_eq!((ms(dialled), ms(answered), &frame[..]), (20, 40, &b"ping"[..]));
    // Within the AZ it is nearer.
    let near = sim.node(&name("a/api-1"));
    let start = sim.now();
    sim.run(async { near.dial(&name(A)).await.map(drop) }).unwrap().unwrap();
    assert_eq!(sim.now() - start, Duration::from_millis(2));
}

#[test]
fn frames_keep_their_order_under_jitter() {
    let sim = Sim::new("jitter");
    echo(&sim, A);
    let b = sim.node(&name(B));
    let fault = LinkFault::slow(Duration::from_millis(100), Duration::from_millis(80));
    assert!(sim.impair(&name(B), &name(A), fault));
    let (numbers, gaps) = sim
        .run(async {
            let mut link = b.dial(&name(A)).await.unwrap();
            for number in 0..500_u32 {
                link.outgoing.send(Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
                b.sleep(Duration::from_micros(700)).await;
            }
            let (mut numbers, mut gaps) = (Vec::new(), 0);
            let mut last = sim.now();
            while numbers.len() < 500 {
                let frame = link.incoming.recv().await.unwrap();
                numbers.push(u32::from_be_bytes(frame[..].try_into().unwrap()));
                gaps += u32::from(sim.now() > last);
                last = sim.now();
            }
            (numbers, gaps)
        })
        .unwrap();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    assert!(gaps > 5, "jitter spreads the arrivals: {gaps}");
}

/// Sends when it is dropped: nothing may come of it when its node is killed.
struct Loud(Rc<dyn crate::world::link::Outgoing>, Env, Rc<Cell<u32>>);

impl Drop for Loud {
    fn drop(&mut self) {
        self.2.set(self.2.get() + 1);
        assert_eq!(self.0.send(Bytes::from_static(b"last words")), Err(SendError::Closed));
        let (env, dropped) = (self.1.clone(), Rc::clone(&self.2));
        self.1.spawn(async move {
            dropped.set(100);
            env.sleep(Duration::ZERO).await;
        });
    }
}

#[test]
fn a_killed_node_says_nothing_more_and_its_peers_see_the_end() {
    let sim = plain("kill");
    let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
    let dropped = Rc::new(Cell::new(0));
    let (env, count) = (a.clone(), Rc::clone(&dropped));
    a.spawn(async move {
        let mut listener = env.listen().await.unwrap();
        let link = listener.recv().await.unwrap();
        let _loud = Loud(link.outgoing.clone(), env.clone(), count);
        link.outgoing.send(Bytes::from_static(b"hello")).unwrap();
        env.sleep(Duration::from_secs(5)).await;
        link.outgoing.send(Bytes::from_static(b"never")).unwrap();
    });
    let (seen, ended) = sim
        .run(async {
            let mut link = b.dial(&name(A)).await.unwrap();
            // The greeting is under way when its sender dies: it still arrives.
            assert!(sim.kill(&name(A)));
            assert!(!sim.kill(&name(A)), "dead already");
            assert_eq!(link.outgoing.send(Bytes::new()), Ok(()), "nobody has told us yet");
            let mut seen = Vec::new();
            while let Some(frame) = link.incoming.recv().await {
                seen.push(frame);
            }
            let ended = sim.now();
            assert_eq!(link.outgoing.send(Bytes::new()), Err(SendError::Closed));
            (seen, ended)
        })
        .unwrap();
    assert_eq!((seen, ms(ended)), (vec![Bytes::from_static(b"hello")], 30));
    assert_eq!(dropped.get(), 1, "dropped once, and what it spawned never ran");
    sim.run_until(Time::from_secs_f64(60.0)).unwrap();
    assert_eq!(sim.core().links.borrow().len(), 0);
}

#[test]
fn a_task_may_kill_its_own_node() {
    let sim = plain("suicide");
    let a = sim.node(&name(A));
    let (here, after) = (sim.clone(), Rc::new(Cell::new(false)));
    let (env, reached) = (a.clone(), Rc::clone(&after));
    a.spawn(async move {
        here.kill(&name(A));
        env.sleep(Duration::from_millis(1)).await;
        reached.set(true);
    });
    sim.run_until(Time::from_secs_f64(1.0)).unwrap();
    assert!(!after.get() && !sim.is_alive(&name(A)));
    assert_eq!(sim.core().agenda.borrow().len(), 0);
}

#[test]
fn dials_are_refused_after_a_round_trip() {
    let sim = plain("dials");
    let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
    let refused = |from: &Env, to: &str| {
        let start = sim.now();
        let outcome = sim.run(from.dial(&name(to))).unwrap();
        assert!(matches!(outcome, Err(DialError::Unreachable { .. })));
        ms(Time::ZERO + (sim.now() - start))
    };
    assert_eq!(refused(&b, A), 20, "nobody listens");
    let listener = sim.run(a.listen()).unwrap().unwrap();
    assert!(sim.run(a.listen()).unwrap().is_err(), "once a node");
    assert!(sim.run(b.dial(&name(A))).unwrap().is_ok());
    drop(listener);
    assert_eq!(refused(&b, A), 20, "nobody listens any more");
    sim.kill(&name(A));
    assert_eq!(refused(&b, A), 20, "dead");
    let unknown = sim.run(b.dial(&name("x/core-9"))).unwrap();
    assert!(matches!(unknown, Err(DialError::UnknownName(_))));
    let again = sim.node(&name(A));
    let _listener = sim.run(again.listen()).unwrap().unwrap();
    assert!(sim.run(b.dial(&name(A))).unwrap().is_ok());
}

#[test]
fn a_link_that_is_full_refuses() {
    let sim = plain("full");
    let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
    let mut listener = sim.run(a.listen()).unwrap().unwrap();
    let link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let mut far = sim.run(async { listener.recv().await }).unwrap().unwrap();
    let fill = || {
        let taken = (0..FRAMES_MAX * 2).take_while(|_| link.outgoing.send(Bytes::new()).is_ok());
        taken.count()
    };
    assert_eq!(fill(), FRAMES_MAX, "under way");
    assert_eq!(link.outgoing.send(Bytes::new()), Err(SendError::Full));
    sim.run_until(Time::from_secs_f64(1.0)).unwrap();
    assert_eq!(fill(), 0, "all arrived, nobody reads");
    for _ in 0..10 {
        sim.run(far.incoming.recv()).unwrap().unwrap();
    }
    assert_eq!(fill(), 10);
    let link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let large = Bytes::from(vec![0; FRAME_BYTES_MAX]);
    assert_eq!((0..9).take_while(|_| link.outgoing.send(large.clone()).is_ok()).count(), 4);
}

#[test]
fn closing_a_link_lets_its_frames_arrive_and_ends_both_ways() {
    let sim = plain("close");
    let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
    let mut listener = sim.run(a.listen()).unwrap().unwrap();
    let Link { outgoing, mut incoming } = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let mut far = sim.run(async { listener.recv().await }).unwrap().unwrap();
    outgoing.send(Bytes::from_static(b"1")).unwrap();
    outgoing.send(Bytes::from_static(b"2")).unwrap();
    drop(outgoing);
    let seen = sim
        .run(async {
            let mut seen = 0;
            while far.incoming.recv().await.is_some() {
                seen += 1;
            }
            seen
        })
        .unwrap();
    assert_eq!(seen, 2);
    assert_eq!(far.outgoing.send(Bytes::new()), Err(SendError::Closed));
    assert_eq!(sim.run(incoming.recv()).unwrap(), None);
    drop((a, b));
    assert_eq!(sim.core().links.borrow().len(), 0);
}

#[test]
fn a_black_hole_stalls_and_keeps_the_order() {
    let sim = plain("hole");
    echo(&sim, A);
    let b = sim.node(&name(B));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    sim.impair_way(&name(B), &name(A), Direction::There, LinkFault::BLACK_HOLE);
    let cut = sim.now();
    for text in ["1", "2", "3"] {
        link.outgoing.send(Bytes::from_static(text.as_bytes())).unwrap();
    }
    let waited = sim.run(b.timeout(Duration::from_secs(3), link.incoming.recv())).unwrap();
    assert_eq!(waited, Err(TimedOut));
    assert_eq!(sim.now() - cut, Duration::from_secs(3));
    let hung = sim.run(b.timeout(Duration::from_secs(1), b.dial(&name(A)))).unwrap();
    assert!(hung.is_err(), "new connections hang");
    sim.impair_way(&name(B), &name(A), Direction::There, LinkFault::NONE);
    link.outgoing.send(Bytes::from_static(b"4")).unwrap();
    let healed = sim.now();
    for text in ["1", "2", "3", "4"] {
        assert_eq!(sim.run(link.incoming.recv()).unwrap().unwrap(), text.as_bytes());
    }
    assert_eq!(sim.now() - healed, Duration::from_millis(20));
    // The other way round nothing was wrong.
    let back = sim.run(sim.round_trip(&name(A), &name(B))).unwrap();
    assert_eq!(back, Ok(Duration::from_millis(20)));
}

#[test]
fn a_reset_cuts_what_is_open_and_what_opens() {
    let sim = plain("reset");
    echo(&sim, A);
    serve(&sim, A, Duration::from_secs(1));
    let b = sim.node(&name(B));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let (here, ways) = (sim.clone(), (name(B), name(A)));
    b.spawn(async move {
        here.sleep(Duration::from_millis(500)).await;
        here.impair(&ways.0, &ways.1, LinkFault::RESET);
        assert_eq!(here.round_trip(&ways.0, &ways.1).await, Err(NoTrip::Reset));
        assert!(here.round_trip(&ways.1, &ways.0).await.is_ok(), "the other way round");
    });
    let outcome = sim.run(b.http(&name(A), ask("x"))).unwrap();
    assert!(matches!(outcome, Err(HttpError::Broken(_))));
    assert_eq!(sim.run(link.incoming.recv()).unwrap(), None);
    assert_eq!(link.outgoing.send(Bytes::new()), Err(SendError::Closed));
    let mut dead = sim.run(b.dial(&name(A))).unwrap().unwrap();
    assert_eq!(sim.run(dead.incoming.recv()).unwrap(), None);
    let outcome = sim.run(b.http(&name(A), ask("x"))).unwrap();
    assert!(matches!(outcome, Err(HttpError::Broken(_))));
    sim.impair(&name(B), &name(A), LinkFault::NONE);
    assert!(sim.run(b.http(&name(A), ask("x"))).unwrap().is_ok());
    sim.run_until(Time::from_secs_f64(30.0)).unwrap();
    assert_eq!((sim.core().exchanges.borrow().len(), sim.core().links.borrow().len()), (0, 0));
}

#[test]
fn time_outs_and_answers_at_the_deadline() {
    let sim = plain("timeouts");
    let a = sim.node(&name(A));
    let start = sim.now();
    let late = sim.run(a.timeout(Duration::from_secs(1), std::future::pending::<()>())).unwrap();
    assert_eq!((late, sim.now() - start), (Err(TimedOut), Duration::from_secs(1)));
    let work = a.sleep(Duration::from_secs(1));
    assert_eq!(sim.run(a.timeout(Duration::from_secs(1), work)).unwrap(), Ok(()));
    let work = async {
        a.sleep(Duration::from_millis(10)).await;
        7
    };
    assert_eq!(sim.run(a.timeout(Duration::from_secs(100), work)).unwrap(), Ok(7));
    assert_eq!(sim.core().agenda.borrow().len(), 0, "the alarm is taken back");
    let idle = sim.run(std::future::pending::<()>());
    assert_eq!(idle, Err(Stuck::Idle(sim.now())));
}

#[test]
fn tasks_run_in_the_order_of_their_waking() {
    let sim = plain("order");
    let a = sim.node(&name(A));
    let log = Rc::new(RefCell::new(Vec::new()));
    for number in 0..100_u64 {
        let (env, log) = (a.clone(), Rc::clone(&log));
        a.spawn(async move {
            log.borrow_mut().push(number);
            env.sleep_until(Time(1_000 + number / 10)).await;
            log.borrow_mut().push(1_000 + number);
        });
    }
    sim.run_until(Time(1_000_000)).unwrap();
    let expected: Vec<u64> = (0..100).chain(1_000..1_100).collect();
    assert_eq!(*log.borrow(), expected);
}

#[test]
fn a_storm_of_tasks_leaves_nothing_behind() {
    let sim = plain("storm");
    let a = sim.node(&name(A));
    let ended = Rc::new(Cell::new(0_u32));
    for _ in 0..20 {
        for _ in 0..5_000 {
            let (env, ended) = (a.clone(), Rc::clone(&ended));
            a.spawn(async move {
                env.sleep(Duration::from_micros(3)).await;
                ended.set(ended.get() + 1);
            });
        }
        sim.run_until(sim.now() + Duration::from_secs(1)).unwrap();
    }
    assert_eq!((ended.get(), sim.core().tasks.borrow().slots()), (100_000, 5_000));
}

#[test]
fn a_stale_waker_wakes_nobody_else() {
    let sim = plain("stale");
    let a = sim.node(&name(A));
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let keep = Rc::clone(&kept);
    a.spawn(std::future::poll_fn(move |context| {
        *keep.borrow_mut() = Some(context.waker().clone());
        std::task::Poll::Ready(())
    }));
    sim.run_until(Time(1)).unwrap();
    let polls = Rc::new(Cell::new(0));
    let count = Rc::clone(&polls);
    a.spawn(std::future::poll_fn(move |_| {
        count.set(count.get() + 1);
        std::task::Poll::<()>::Pending
    }));
    sim.run_until(Time(2)).unwrap();
    kept.borrow().as_ref().unwrap().wake_by_ref();
    sim.run_until(Time(3)).unwrap();
    assert_eq!((polls.get(), sim.core().tasks.borrow().slots()), (1, 1));
}

#[test]
fn a_node_that_comes_back_has_a_new_life_and_the_clock_of_its_machine() {
    let sim = plain("back");
    let a = sim.node(&name(A));
    let first = a.rng("ids").u64();
    assert_eq!(a.wall().0, Settings::default().epoch_ms);
    a.skew(-1_500, Time::from_secs_f64(9.0));
    sim.run_until(Time::from_secs_f64(2.0)).unwrap();
    assert_eq!(a.wall().0, Settings::default().epoch_ms + 500);
    sim.kill(&name(A));
    let again = sim.node(&name(A));
    assert_ne!(again.rng("ids").u64(), first);
    assert_eq!(again.wall().0, Settings::default().epoch_ms + 2_000);
    assert_eq!(sim.node(&name(A)).rng("ids").u64(), again.rng("ids").u64(), "the same life");
    // The old handle is of no more use.
    assert!(sim.run(a.listen()).unwrap().is_err());
    assert!(sim.run(a.store("jobs")).unwrap().is_err());
    assert!(sim.run(a.http(&name(A), ask(""))).unwrap().is_err());
    assert!(sim.run(a.dial(&name(A))).unwrap().is_err());
    assert_eq!(sim.names(), [name(A)]);
}

#[test]
fn a_link_is_closed_when_its_receiving_half_is_dropped() {
    let sim = plain("half");
    let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
    let mut listener = sim.run(a.listen()).unwrap().unwrap();
    let Link { outgoing, incoming } = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let mut far = sim.run(async { listener.recv().await }).unwrap().unwrap();
    let start = sim.now();
    outgoing.send(Bytes::from_static(b"still leaves")).unwrap();
    drop(incoming);
    assert_eq!(sim.run(far.incoming.recv()).unwrap().unwrap(), "still leaves");
    assert_eq!(sim.run(far.incoming.recv()).unwrap(), None);
    assert_eq!(sim.now() - start, Duration::from_millis(10));
    assert_eq!(outgoing.send(Bytes::new()), Err(SendError::Closed));
    assert_eq!(far.outgoing.send(Bytes::new()), Err(SendError::Closed));
    sim.run_until(sim.now() + Duration::from_secs(1)).unwrap();
    assert_eq!(sim.core().links.borrow().len(), 0);
    // The same when the dialler's whole end goes.
    let link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let mut far = sim.run(async { listener.recv().await }).unwrap().unwrap();
    drop(link);
    assert_eq!(sim.run(far.incoming.recv()).unwrap(), None);
}

#[test]
fn connects_have_a_time_out() {
    let sim = plain("connect");
    echo(&sim, A);
    serve(&sim, A, Duration::ZERO);
    let b = sim.node(&name(B));
    sim.partition(&name(A), &name(B));
    let start = sim.now();
    assert!(matches!(sim.run(b.dial(&name(A))).unwrap(), Err(DialError::Unreachable { .. })));
    let outcome = sim.run(b.http(&name(A), ask(""))).unwrap();
    assert!(matches!(outcome, Err(HttpError::NotConnected(_))));
    assert_eq!(sim.now() - start, Duration::from_secs(4));
    sim.impair(&name(B), &name(A), LinkFault::NONE);
    sim.run_until(Time::from_secs_f64(10.0)).unwrap();
    assert_eq!((sim.core().exchanges.borrow().len(), sim.core().links.borrow().len()), (0, 0));
}

/// Writes one row.
pub(super) fn put(key: &str, value: &str) -> Txn {
    let writes = vec![(key.into(), Some(Bytes::copy_from_slice(value.as_bytes())))];
    Txn { expects: vec![], writes }
}

/// A small city of nodes that ping one another, are slowed and killed and come back.
fn busy(seed: &str) -> (u64, u64, String) {
    let sim = Sim::new(seed);
    let log = Rc::new(RefCell::new(String::new()));
    for node in ["a/core-1", "b/core-1", "c/core-1"] {
        echo(&sim, node);
        serve(&sim, node, Duration::from_micros(50));
    }
    let robots = sim.node(&name("robots"));
    for number in 0..30 {
        let (env, log) = (robots.clone(), Rc::clone(&log));
        robots.spawn(async move {
            let mut rng = env.rng(&format!("robot/{number}"));
            let to = name(["a/core-1", "b/core-1", "c/core-1"][rng.below(3)]);
            for _ in 0..50 {
                env.sleep(Duration::from_nanos(rng.u64() >> 38)).await;
                let outcome =
                    env.timeout(Duration::from_millis(80), env.http(&to, ask("ping"))).await;
                let line =
                    format!("{} {number} {}\n", env.now().0, outcome.is_ok_and(|r| r.is_ok()));
                log.borrow_mut().push_str(&line);
            }
        });
    }
    sim.run(async {
        sim.sleep(Duration::from_millis(200)).await;
        let fault = LinkFault::slow(Duration::from_millis(30), Duration::from_millis(20));
        sim.impair(&name("robots"), &name("b/core-1"), fault);
        sim.kill(&name("a/core-1"));
        sim.sleep(Duration::from_millis(300)).await;
        serve(&sim, "a/core-1", Duration::from_micros(50));
        sim.partition(&name("robots"), &name("c/core-1"));
        let store = sim.node(&name("b/core-1")).store("x").await.unwrap();
        store.commit(put("k", "v"), Ack::Synced).await.unwrap();
        sim.sleep(Duration::from_millis(300)).await;
    })
    .unwrap();
    sim.run_until(Time::from_secs_f64(20.0)).unwrap();
    let log = log.borrow().clone();
    (sim.trace_hash(), sim.events(), log)
}

#[test]
fn one_seed_one_history() {
    let (first, again, other) = (busy("42"), busy("42"), busy("43"));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.2, other.2);
    let oks = first.2.matches("true").count();
    assert!(oks > 500 && oks < 1_500, "faults bit and healed: {oks}");
}

#[test]
fn memory_is_flat_over_a_million_timers() {
    let sim = plain("flat");
    let a = sim.node(&name(A));
    for number in 0..100_u64 {
        let env = a.clone();
        a.spawn(async move {
            for round in 0..10_000_u64 {
                let work = env.sleep(Duration::from_nanos(1 + (round * 7 + number) % 5_000));
                env.timeout(Duration::from_secs(10), work).await.unwrap();
            }
        });
    }
    sim.run_until(Time::from_secs_f64(9.0)).unwrap();
    assert_eq!(sim.core().agenda.borrow().len(), 0);
    assert_eq!(sim.core().agenda.borrow().slots(), 200);
}

#[test]
fn a_world_that_is_closed_leaves_nothing() {
    let sim = plain("close");
    let alive = Rc::new(());
    let a = echo(&sim, A);
    let (held, env, here) = (Rc::clone(&alive), a.clone(), sim.clone());
    a.spawn(async move {
        let _link = env.dial(&name(A)).await;
        let _store = env.store("x").await;
        let _held = (held, here);
        std::future::pending::<()>().await;
    });
    let handler_holds = Rc::clone(&alive);
    let b = sim.node(&name(B));
    let env = b.clone();
    b.spawn(async move {
        let handler: HttpHandler = Rc::new(move |_| {
            let held = Rc::clone(&handler_holds);
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
                Response::new(Bytes::new())
            })
        });
        env.serve_http(handler).await.unwrap();
    });
    let env = a.clone();
    a.spawn(async move { drop(env.http(&name(B), ask("")).await) });
    sim.run_until(Time::from_secs_f64(1.0)).unwrap();
    assert!(Rc::strong_count(&alive) > 2);
    let core = Rc::downgrade(sim.core());
    sim.close();
    assert_eq!(Rc::strong_count(&alive), 1);
    drop((a, b, sim));
    assert!(core.upgrade().is_none(), "no cycle keeps the world");
}

#[test]
fn time_that_stands_still_is_noticed() {
    let sim = plain("spin");
    let a = sim.node(&name(A));
    let nested = sim.clone();
    let inner = sim.run(async move { nested.run_until(Time::MAX) }).unwrap();
    assert_eq!(inner, Err(Stuck::Nested));
    a.spawn(std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }));
    assert_eq!(sim.run_until(Time(1)), Err(Stuck::Spinning(Time::ZERO)));
}
