//! A node that stands still, and ways that are narrow or swallow.

use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::{
    tests::{A, B, ask, echo, name, plain, serve},
    *,
};
use crate::world::HttpError;

type Outcome = Result<Response<Bytes>, HttpError>;

/// Asks now; the outcome comes when it comes.
fn asks(env: &Env, body: &'static str) -> oneshot::Receiver<Outcome> {
    let (done, outcome) = oneshot::channel();
    let here = env.clone();
    env.spawn(async move { drop(done.send(here.http(&name(A), ask(body)).await)) });
    outcome
}

#[test]
fn what_is_sent_to_a_node_that_stands_still_waits_in_order() {
    let sim = plain("still");
    echo(&sim, A);
    serve(&sim, A, Duration::from_millis(1));
    let b = sim.node(&name(B));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    assert!(sim.run(b.http(&name(A), ask("warm"))).unwrap().is_ok());
    assert!(sim.pause(&name(A)));
    assert!(sim.is_alive(&name(A)));
    for text in ["1", "2", "3"] {
        link.outgoing.send(Bytes::from_static(text.as_bytes())).unwrap();
    }
    let asked = asks(&b, "later");
    let waited = sim.run(b.timeout(Duration::from_secs(3), link.incoming.recv())).unwrap();
    assert!(waited.is_err(), "{waited:?}");
    assert!(sim.resume(&name(A)));
    let resumed = sim.now();
    for text in ["1", "2", "3"] {
        assert_eq!(sim.run(link.incoming.recv()).unwrap().unwrap(), text.as_bytes());
    }
    assert_eq!(sim.now() - resumed, Duration::from_millis(10), "only the way back is left");
    assert_eq!(sim.run(asked).unwrap().unwrap().unwrap().body(), "later");
}

#[test]
fn its_own_tasks_find_that_time_has_passed() {
    let sim = plain("still");
    let a = sim.node(&name(A));
    let (done, when) = oneshot::channel();
    let here = a.clone();
    a.spawn(async move {
        for _ in 0..3 {
            here.sleep(Duration::from_secs(1)).await;
        }
        done.send(here.now()).unwrap();
    });
    sim.run_until(Time::from_secs_f64(1.5)).unwrap();
    assert!(sim.pause(&name(A)));
    sim.run_until(Time::from_secs_f64(9.0)).unwrap();
    assert!(sim.resume(&name(A)));
    // The second sleep had ended long ago; the third begins now.
    assert_eq!(sim.run(when).unwrap().unwrap(), Time::from_secs_f64(10.0));
}

#[test]
fn one_that_is_killed_while_it_stands_still_comes_back_moving() {
    let sim = plain("still");
    echo(&sim, A);
    let b = sim.node(&name(B));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    assert!(sim.pause(&name(A)));
    link.outgoing.send(Bytes::from_static(b"lost")).unwrap();
    sim.run(sim.sleep(Duration::from_secs(1))).unwrap();
    assert!(sim.kill(&name(A)));
    assert!(!sim.resume(&name(A)));
    assert_eq!(sim.run(link.incoming.recv()).unwrap(), None);
    echo(&sim, A);
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    link.outgoing.send(Bytes::from_static(b"again")).unwrap();
    assert_eq!(sim.run(link.incoming.recv()).unwrap().unwrap(), "again");
}

#[test]
fn a_narrow_way_takes_its_time_for_every_byte_and_is_shared() {
    let sim = plain("narrow");
    echo(&sim, A);
    let b = sim.node(&name(B));
    let narrow = LinkFault { rate: 10_000, ..LinkFault::NONE };
    sim.impair(&name(B), &name(A), narrow);
    let trip = |load| sim.run(sim.round_trip_of(&name(B), &name(A), load)).unwrap().unwrap();
    // 200 bytes of its own each way, and 10 ms of the network.
    assert_eq!(trip(0), Duration::from_millis(60));
    assert_eq!(trip(1_000), Duration::from_millis(160));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    let begun = sim.now();
    link.outgoing.send(Bytes::from(vec![0; 5_000])).unwrap();
    link.outgoing.send(Bytes::from(vec![0; 5_000])).unwrap();
    for _ in 0..2 {
        assert_eq!(sim.run(link.incoming.recv()).unwrap().unwrap().len(), 5_000);
    }
    assert_eq!(sim.now() - begun, Duration::from_millis(1_520));
    sim.impair(&name(B), &name(A), LinkFault::NONE);
    assert_eq!(trip(1_000_000), Duration::from_millis(20));
}

#[test]
fn what_is_swallowed_never_arrives_and_its_connections_end_with_the_fault() {
    let sim = plain("swallowed");
    echo(&sim, A);
    serve(&sim, A, Duration::from_millis(1));
    let b = sim.node(&name(B));
    let mut link = sim.run(b.dial(&name(A))).unwrap().unwrap();
    assert!(sim.run(b.http(&name(A), ask("warm"))).unwrap().is_ok());
    sim.impair(&name(B), &name(A), LinkFault { stalled: true, swallows: true, ..LinkFault::NONE });
    link.outgoing.send(Bytes::from_static(b"lost")).unwrap();
    let asked = asks(&b, "lost");
    let waited = sim.run(b.timeout(Duration::from_secs(3), link.incoming.recv())).unwrap();
    assert!(waited.is_err(), "{waited:?}");
    sim.impair(&name(B), &name(A), LinkFault::NONE);
    assert_eq!(sim.run(link.incoming.recv()).unwrap(), None);
    assert!(sim.run(asked).unwrap().unwrap().is_err());
    assert!(sim.run(b.http(&name(A), ask("again"))).unwrap().is_ok());
}

#[test]
fn a_share_of_the_exchanges_meets_a_fault_and_the_others_do_not() {
    let sim = plain("share");
    serve(&sim, A, Duration::from_millis(1));
    let b = sim.node(&name(B));
    let late = LinkFault {
        share: MILLION / 4,
        ..LinkFault::slow(Duration::from_millis(200), Duration::ZERO)
    };
    sim.impair(&name(B), &name(A), late);
    let count = sim
        .run(async move {
            let mut met = 0;
            for _ in 0..200 {
                let begun = b.now();
                b.http(&name(A), ask("one")).await.unwrap();
                met += u32::from(b.now() - begun >= Duration::from_millis(400));
            }
            met
        })
        .unwrap();
    assert!((25..=75).contains(&count), "about a quarter: {count}");
}

#[test]
fn a_share_that_is_cut_leaves_the_connection_to_the_others() {
    let sim = plain("cut share");
    serve(&sim, A, Duration::from_millis(1));
    let b = sim.node(&name(B));
    sim.impair(&name(B), &name(A), LinkFault { share: MILLION / 2, ..LinkFault::RESET });
    let count = sim
        .run(async move {
            let mut cut = 0;
            for _ in 0..100 {
                cut += u32::from(b.http(&name(A), ask("one")).await.is_err());
            }
            cut
        })
        .unwrap();
    assert!((30..=70).contains(&count), "about half: {count}");
}

#[test]
fn what_is_lost_comes_later_and_nothing_is_gone() {
    let sim = plain("loss");
    serve(&sim, A, Duration::from_millis(1));
    let b = sim.node(&name(B));
    let lossy =
        LinkFault { lost: MILLION / 10, again: Duration::from_millis(300), ..LinkFault::NONE };
    sim.impair(&name(B), &name(A), lossy);
    let count = sim
        .run(async move {
            let mut late = 0;
            for _ in 0..200 {
                let begun = b.now();
                b.http(&name(A), ask("one")).await.unwrap();
                late += u32::from(b.now() - begun >= Duration::from_millis(300));
            }
            late
        })
        .unwrap();
    assert!((15..=65).contains(&count), "a packet each way, one in ten lost: {count}");
}
