//! RPC over the virtual world: dead peers, lost replies, overload. Time here is virtual, so that
//! what must happen "at once" can be checked to the millisecond.

use std::{cell::Cell, cell::RefCell, future::pending, rc::Rc, time::Duration};

use futures_util::future::join_all;

use super::{
    directory::{Directory, Instance},
    rpc::{Code, Policy, Router, Rpc, RpcError, refuse},
    server::Server,
};
use crate::{
    backend::wire::platform::Row,
    base::{name::NodeName, time::Time},
    world::{
        Env,
        virtual_::{Direction, LinkFault, Sim},
    },
};

const WHO: &str = "/core/job/who";
const ONCE: Policy = Policy {
    deadline: Duration::from_secs(2),
    attempt: Duration::from_millis(500),
    idempotent: false,
};
const AGAIN: Policy = Policy { idempotent: true, ..ONCE };
const CORES: [&str; 3] = ["a/core-1", "b/core-1", "c/core-1"];

/// A node that serves what `fill` mounts, with a limit of `in_flight`.
fn serve_with(
    sim: &Sim,
    name: &str,
    ready: bool,
    in_flight: usize,
    fill: impl FnOnce(&mut Router),
) {
    let env = sim.node(&name.into());
    let mut router = Router::default();
    fill(&mut router);
    let ready = Rc::new(Cell::new(ready));
    let server = Server::with_limit(&env, router, &ready, in_flight);
    let world = env.clone();
    env.spawn(async move {
        let listener = world.listen().await.unwrap();
        server.run(listener).await;
    });
}

fn serve(sim: &Sim, name: &str, fill: impl FnOnce(&mut Router)) {
    serve_with(sim, name, true, 100, fill);
}

/// A node that says its own name, and counts how often it was asked.
fn serve_name(sim: &Sim, name: &'static str) -> Rc<Cell<u32>> {
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    serve(sim, name, |router| {
        router.on(WHO, move |_: Row| {
            count.set(count.get() + 1);
            async move { Ok(row(name)) }
        });
    });
    asked
}

fn row(key: &str) -> Row {
    Row { key: key.to_owned(), ..Row::default() }
}

/// The client `a/api-1`, which knows that all of [`CORES`] serve.
fn client(sim: &Sim) -> (Env, Rpc, Directory) {
    let env = sim.node(&"a/api-1".into());
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    directory.replace(CORES.map(|name| Instance::new(name.into(), vec!["core/job".to_owned()])));
    (env.clone(), Rpc::new(&env, &directory), directory)
}

async fn who(rpc: &Rpc, policy: Policy) -> Result<String, RpcError> {
    rpc.call(WHO, &row(""), policy).await.map(|said: Row| said.key)
}

#[test]
fn a_dead_instance_is_passed_over_by_a_retry() {
    let sim = Sim::new("dead");
    serve_name(&sim, "b/core-1");
    serve_name(&sim, "c/core-1");
    // It is known to discovery and does not listen: certainly nothing was done there.
    sim.node(&"a/core-1".into());
    sim.kill(&"a/core-1".into());
    let (_, rpc, _) = client(&sim);
    sim.run(async {
        assert_ne!(who(&rpc, ONCE).await.unwrap(), "a/core-1");
        assert_eq!(rpc.counts().retries, 1, "one retry, though it was not idempotent");
        assert_ne!(who(&rpc, ONCE).await.unwrap(), "a/core-1");
        assert_eq!(rpc.counts().retries, 1, "a suspect is not even tried");
    })
    .unwrap();
}

#[test]
fn our_own_az_answers_while_it_lives_and_again_when_it_is_back() {
    let sim = Sim::new("own az");
    let own = NodeName::from("a/core-1");
    for name in CORES {
        serve_name(&sim, name);
    }
    let (_, rpc, _) = client(&sim);
    sim.run(async {
        for _ in 0..5 {
            assert_eq!(who(&rpc, ONCE).await.unwrap(), "a/core-1");
        }
        sim.kill(&own);
        sim.sleep(Duration::from_millis(10)).await;
        assert_ne!(who(&rpc, ONCE).await.unwrap(), "a/core-1");
        serve_name(&sim, "a/core-1");
        sim.sleep(Duration::from_secs(2)).await;
        assert_eq!(who(&rpc, ONCE).await.unwrap(), "a/core-1", "suspected for a while only");
    })
    .unwrap();
}

#[test]
fn a_lost_reply_is_tried_again_only_where_that_is_harmless() {
    for (policy, asks) in [(ONCE, 1), (AGAIN, 2)] {
        let sim = Sim::new("lost reply");
        let asked: Vec<_> = CORES.iter().map(|name| serve_name(&sim, name)).collect();
        let (env, rpc, _) = client(&sim);
        sim.run(async {
            who(&rpc, ONCE).await.unwrap();
            for count in &asked {
                count.set(0);
            }
            let hole = LinkFault::BLACK_HOLE;
            assert!(sim.impair_way(env.name(), &CORES[0].into(), Direction::Back, hole));
            let answer = who(&rpc, policy).await;
            if policy.idempotent {
                assert_ne!(answer.unwrap(), CORES[0]);
            } else {
                assert!(matches!(answer, Err(RpcError::Unknown(_))), "{answer:?}");
            }
            assert_eq!(asked.iter().map(|count| count.get()).sum::<u32>(), asks);
        })
        .unwrap();
    }
}

#[test]
fn a_broken_link_ends_its_calls_at_once() {
    let sim = Sim::new("broken");
    serve(&sim, CORES[0], |router| router.on(WHO, |_: Row| pending::<Result<Row, RpcError>>()));
    let (env, rpc, _) = client(&sim);
    let patient =
        Policy { deadline: Duration::from_mins(1), attempt: Duration::from_mins(1), ..ONCE };
    let world = sim.clone();
    env.spawn(async move {
        world.sleep_until(Time::from_secs_f64(3.0)).await;
        world.kill(&CORES[0].into());
    });
    let answer = sim.run(who(&rpc, patient)).unwrap();
    assert!(matches!(answer, Err(RpcError::Unknown(_))), "{answer:?}");
    assert!(sim.now() < Time::from_secs_f64(3.1), "at {}", sim.now());
}

#[test]
fn a_silent_peer_costs_one_attempt_and_the_call_ends_by_its_deadline() {
    let sim = Sim::new("silent");
    for name in CORES {
        serve(&sim, name, |router| router.on(WHO, |_: Row| pending::<Result<Row, RpcError>>()));
    }
    let (_, rpc, _) = client(&sim);
    assert!(matches!(sim.run(who(&rpc, ONCE)).unwrap(), Err(RpcError::Unknown(_))));
    let once = sim.now();
    assert_eq!(once, Time::ZERO + ONCE.attempt);
    assert!(matches!(sim.run(who(&rpc, AGAIN)).unwrap(), Err(RpcError::Unknown(_))));
    let took = sim.now() - once;
    assert!(took > Duration::from_millis(1_500) && took <= ONCE.deadline, "{took:?}");
}

#[test]
fn nobody_there_is_unavailable_and_waited_for_no_longer_than_the_deadline() {
    let sim = Sim::new("nobody");
    let (_, rpc, directory) = client(&sim);
    directory.replace([]);
    let answer = sim.run(who(&rpc, ONCE)).unwrap();
    assert!(matches!(answer, Err(RpcError::Unavailable(_))), "{answer:?}");
    assert!(sim.now() <= Time::ZERO + ONCE.deadline);
}

#[test]
fn overloaded_and_starting_instances_send_the_caller_elsewhere() {
    let sim = Sim::new("overload");
    let slow = |router: &mut Router| {
        router.on(WHO, |_: Row| pending::<Result<Row, RpcError>>());
    };
    serve_with(&sim, CORES[0], true, 3, slow);
    serve_with(&sim, CORES[1], false, 100, |router| {
        router.on(WHO, |_: Row| async { Ok(row(CORES[1])) });
    });
    serve_name(&sim, CORES[2]);
    let (_, rpc, _) = client(&sim);
    let calls = (0..10).map(|_| who(&rpc, ONCE));
    let answers = sim.run(join_all(calls)).unwrap();
    let unknown = answers.iter().filter(|a| matches!(a, Err(RpcError::Unknown(_)))).count();
    let answered = answers.iter().filter(|a| a.as_deref() == Ok(CORES[2])).count();
    assert_eq!((unknown, answered), (3, 7), "{answers:?}");
}

#[test]
fn refusals_and_other_errors_of_a_handler_arrive_as_they_are() {
    let sim = Sim::new("refused");
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    serve(&sim, CORES[0], |router| {
        router.on_sync(WHO, move |ask: Row| -> Result<Row, RpcError> {
            count.set(count.get() + 1);
            Err(match ask.version {
                0 => refuse(Code::Conflict, "somebody was first"),
                1 => RpcError::Unknown("storage".to_owned()),
                _ => RpcError::Unavailable("storage".to_owned()),
            })
        });
    });
    let (_, rpc, _) = client(&sim);
    let ask = |version| {
        let rpc = rpc.clone();
        let ask = Row { version, ..Row::default() };
        async move { rpc.call_at::<_, Row>(&CORES[0].into(), WHO, &ask, ONCE).await.unwrap_err() }
    };
    assert_eq!(sim.run(ask(0)).unwrap(), refuse(Code::Conflict, "somebody was first"));
    assert!(matches!(sim.run(ask(1)).unwrap(), RpcError::Unknown(_)));
    assert_eq!(asked.get(), 2, "neither was tried again");
    assert!(matches!(sim.run(ask(2)).unwrap(), RpcError::Unavailable(_)));
    assert!(asked.get() > 4, "nothing was done: tried again until the deadline");
}

#[test]
fn many_calls_share_a_link_and_each_gets_its_own_answer_in_any_order() {
    let sim = Sim::new("shared");
    let env = sim.node(&CORES[0].into());
    serve_with(&sim, CORES[0], true, 1_000, move |router| {
        router.on(WHO, move |ask: Row| {
            let env = env.clone();
            async move {
                env.sleep(Duration::from_millis(300 - ask.version)).await;
                Ok(ask)
            }
        });
    });
    let (_, rpc, _) = client(&sim);
    let calls = (0..300).map(|version| {
        let rpc = rpc.clone();
        async move {
            let ask = Row { version, ..Row::default() };
            (version, rpc.call::<_, Row>(WHO, &ask, ONCE).await.unwrap().version)
        }
    });
    for (asked, answered) in sim.run(join_all(calls)).unwrap() {
        assert_eq!(asked, answered);
    }
    assert_eq!(rpc.counts().retries, 0);
}

#[test]
fn news_reach_every_instance_but_ourselves() {
    let sim = Sim::new("news");
    let heard = Rc::new(RefCell::new(Vec::new()));
    for name in CORES {
        let heard = Rc::clone(&heard);
        serve(&sim, name, |router| {
            router.on_sync(WHO, move |news: Row| {
                heard.borrow_mut().push((name, news.version));
                Ok(row(""))
            });
        });
    }
    let env = sim.node(&CORES[1].into());
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    let known = |name: &str| Instance::new(name.into(), vec!["core/job".to_owned()]);
    directory.replace(CORES.map(known));
    let rpc = Rpc::new(&env, &directory);
    sim.run(async {
        rpc.publish(WHO, &Row { version: 1, ..Row::default() }, true);
        sim.sleep(Duration::from_millis(50)).await;
        rpc.publish(WHO, &Row { version: 2, ..Row::default() }, false);
        sim.sleep(Duration::from_millis(50)).await;
    })
    .unwrap();
    let mut heard = heard.take();
    heard.sort_unstable();
    let all = [(CORES[0], 1), (CORES[0], 2), (CORES[1], 2), (CORES[2], 1), (CORES[2], 2)];
    assert_eq!(heard, all);
    assert_eq!(rpc.counts().news_dropped, 0);
}
