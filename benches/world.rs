//! What an event of the virtual world costs. Each figure is for one item: a timer that fires, a
//! frame that reaches a waiting task, an HTTP exchange, a ping over two hops.

#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use http::{Request, Response};
use robot_city::{
    base::{name::NodeName, time::Time},
    world::{
        Env, HttpHandler,
        link::Outgoing,
        store::{Ack, Txn},
        virtual_::Sim,
    },
};
use tokio::sync::oneshot;

fn main() {
    divan::main();
}

/// A day, or longer than anything here takes.
const LONG: Duration = Duration::from_hours(24);

fn node(sim: &Sim, name: &str) -> Env {
    sim.node(&NodeName::from(name))
}

fn run(sim: &Sim) {
    sim.run_until(sim.now() + LONG).unwrap();
}

/// `tasks` robots that sleep `times` times each.
#[divan::bench(args = [10, 1_000, 12_000])]
fn timer(bencher: Bencher, tasks: u64) {
    let times = 200_000 / tasks;
    bencher.counter(ItemsCount::new(tasks * times)).bench_local(|| {
        let sim = Sim::new("timers");
        let env = node(&sim, "robots");
        for task in 0..tasks {
            let env = env.clone();
            env.clone().spawn(async move {
                for time in 0..times {
                    env.sleep(Duration::from_nanos(7_500_000 + (task * 7 + time) % 1_000)).await;
                }
            });
        }
        run(&sim);
    });
}

/// Time-outs that are taken back because the work was in time.
#[divan::bench(args = [10, 12_000])]
fn timeout_not_needed(bencher: Bencher, tasks: u64) {
    let times = 200_000 / tasks;
    bencher.counter(ItemsCount::new(tasks * times)).bench_local(|| {
        let sim = Sim::new("timeouts");
        let env = node(&sim, "robots");
        for task in 0..tasks {
            let env = env.clone();
            env.clone().spawn(async move {
                for time in 0..times {
                    let work = env.sleep(Duration::from_nanos(500_000 + (task * 7 + time) % 1_000));
                    env.timeout(Duration::from_secs(2), work).await.unwrap();
                }
            });
        }
        run(&sim);
    });
}

fn echo(sim: &Sim, name: &str) {
    let env = node(sim, name);
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
}

/// Frames to and fro, each to a task that waits for it.
#[divan::bench(args = [1, 100])]
fn link_frame(bencher: Bencher, links: u64) {
    let times = 100_000 / links;
    bencher.counter(ItemsCount::new(links * times * 2)).bench_local(|| {
        let sim = Sim::new("frames");
        echo(&sim, "a/core-1");
        let env = node(&sim, "b/core-1");
        for _ in 0..links {
            let env = env.clone();
            env.clone().spawn(async move {
                let mut link = env.dial(&NodeName::from("a/core-1")).await.unwrap();
                for _ in 0..times {
                    link.outgoing.send(Bytes::from_static(b"ping")).unwrap();
                    link.incoming.recv().await.unwrap();
                }
            });
        }
        run(&sim);
    });
}

fn request() -> Request<Bytes> {
    Request::new(Bytes::from_static(b"ping"))
}

/// Exchanges with a handler that answers at once.
#[divan::bench(args = [1, 1_000])]
fn http_exchange(bencher: Bencher, callers: u64) {
    let times = 100_000 / callers;
    bencher.counter(ItemsCount::new(callers * times)).bench_local(|| {
        let sim = Sim::new("http");
        let server = node(&sim, "a/api-1");
        let handler: HttpHandler =
            Rc::new(|request| Box::pin(async move { Response::new(request.into_body()) }));
        server.clone().spawn(async move { server.serve_http(handler).await.unwrap() });
        let env = node(&sim, "robots");
        for _ in 0..callers {
            let env = env.clone();
            env.clone().spawn(async move {
                let to = NodeName::from("a/api-1");
                env.sleep(Duration::from_millis(1)).await;
                for _ in 0..times {
                    env.http(&to, request()).await.unwrap();
                }
            });
        }
        run(&sim);
    });
}

/// Calls of the API that wait for the answer of the node behind it, in their order.
#[derive(Clone, Default)]
struct Calls(Rc<RefCell<VecDeque<oneshot::Sender<Bytes>>>>);

/// An API node that passes each request on to the echo over one link.
fn api(sim: &Sim) {
    let env = node(sim, "a/api-1");
    env.clone().spawn(async move {
        let mut link = env.dial(&NodeName::from("a/core-1")).await.unwrap();
        let (calls, outgoing): (Calls, Rc<dyn Outgoing>) = (Calls::default(), link.outgoing);
        let (asked, here) = (calls.clone(), env.clone());
        let handler: HttpHandler = Rc::new(move |request| {
            let (answer, answered) = oneshot::channel();
            asked.0.borrow_mut().push_back(answer);
            outgoing.send(request.into_body()).unwrap();
            let env = here.clone();
            Box::pin(async move {
                let answer = env.timeout(Duration::from_secs(1), answered).await;
                Response::new(answer.unwrap().unwrap())
            })
        });
        env.serve_http(handler).await.unwrap();
        while let Some(frame) = link.incoming.recv().await {
            let waiting = calls.0.borrow_mut().pop_front();
            drop(waiting.map(|answer| answer.send(frame)));
        }
    });
}

/// Pings over two hops: robot, API, core, and back, with a time-out on each.
#[divan::bench(args = [1, 1_000, 12_000])]
fn ping_of_two_hops(bencher: Bencher, robots: u64) {
    let times = 100_000 / robots;
    bencher.counter(ItemsCount::new(robots * times)).bench_local(|| {
        let sim = Sim::new("pings");
        echo(&sim, "a/core-1");
        api(&sim);
        let env = node(&sim, "robots");
        for robot in 0..robots {
            let env = env.clone();
            env.clone().spawn(async move {
                let to = NodeName::from("a/api-1");
                env.sleep(Duration::from_millis(10 + robot)).await;
                for _ in 0..times {
                    let exchange = env.http(&to, request());
                    env.timeout(Duration::from_secs(2), exchange).await.unwrap().unwrap();
                    env.sleep(Duration::from_millis(7_500)).await;
                }
            });
        }
        sim.run_until(Time::ZERO + LONG * 365).unwrap();
    });
}

/// Commits one after the other, each with its sync.
#[divan::bench]
fn commit(bencher: Bencher) {
    let times = 500_u32;
    bencher.counter(ItemsCount::new(times)).bench_local(|| {
        let sim = Sim::new("commits");
        let env = node(&sim, "b/storage-1");
        env.clone().spawn(async move {
            let store = env.store("jobs").await.unwrap();
            for number in 0..times {
                let value = Some(Bytes::from(vec![7; 300]));
                let writes = vec![(format!("job/{number}"), value)];
                store.commit(Txn { expects: vec![], writes }, Ack::Synced).await.unwrap();
            }
        });
        run(&sim);
    });
}
