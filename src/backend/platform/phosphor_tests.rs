//! Tracing over both worlds: what is recorded, what is dropped, and that nobody waits for it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message as _;

use super::{
    directory::{Directory, Instance},
    phosphor::{COLLECTOR, Counts, HOPS_MAX, Mark, Phosphor},
    rpc::{Code, Policy, Router, Rpc, RpcError, refuse},
    server::Server,
};
use crate::{
    backend::wire::{phosphor::HopBatch, platform::Row},
    base::{name::NodeName, rng::Rng},
    world::{
        Env,
        real::{Boot, RealWorld, datagram::Receiver, free_ports, run_local},
        virtual_::Sim,
    },
};

const FRONT: &str = "/orchestration/job/front";
const BACK: &str = "/core/job/back";
const NODES: [&str; 3] = ["a/api-1", "a/orchestration-1", "b/core-1"];
const ASK: Policy = Policy {
    deadline: Duration::from_secs(10),
    attempt: Duration::from_secs(10),
    idempotent: false,
};
const MARK: Mark = Mark { trace: 77, message: 77 };

fn row(key: &str) -> Row {
    Row { key: key.to_owned(), ..Row::default() }
}

/// A traced node that knows who serves what.
fn node(env: &Env) -> Rpc {
    let names = NODES.map(NodeName::from);
    let machine = names.iter().position(|name| name == env.name()).unwrap() + 1;
    let directory = Directory::new(env.name(), &mut env.rng("directory"));
    let instance = |name: &str, service: &str| Instance::new(name.into(), vec![service.to_owned()]);
    directory.replace([instance(NODES[1], "orchestration/job"), instance(NODES[2], "core/job")]);
    let phosphor = Phosphor::start(env, &names, machine as u16, 0);
    Rpc::with(env, &directory, None, phosphor)
}

fn serve(env: &Env, rpc: &Rpc, fill: impl FnOnce(&mut Router)) {
    let mut router = Router::default();
    router.phosphor = rpc.phosphor().clone();
    fill(&mut router);
    let server = Server::new(env, router, &Rc::new(Cell::new(true)), rpc.meter());
    let world = env.clone();
    env.spawn(async move {
        let listener = world.listen().await.unwrap();
        server.run(listener).await;
    });
}

/// The two services: the front asks the back, which refuses the key `bad`.
fn serve_both(front: &Env, back: &Env) {
    let rpc = node(front);
    let own = rpc.clone();
    serve(front, &rpc, |router| {
        router.on(FRONT, move |ask: Row| {
            let rpc = own.clone();
            async move { rpc.call::<_, Row>(BACK, &ask, ASK).await }
        });
    });
    serve(back, &node(back), |router| {
        router.on_sync(BACK, |ask: Row| match ask.key.as_str() {
            "bad" => Err(refuse(Code::Conflict, "it is bad")),
            _ => Ok(ask),
        });
    });
}

/// A request from outside at the first node, traced or not.
async fn request(rpc: &Rpc, mark: Option<Mark>, key: &str) -> Result<String, RpcError> {
    let (own, key) = (rpc.clone(), key.to_owned());
    let said = Rc::new(RefCell::new(None));
    let told = Rc::clone(&said);
    let work = async move {
        let answer = own.call::<_, Row>(FRONT, &row(&key), ASK).await;
        *told.borrow_mut() = Some(answer.map(|row| row.key));
        Response::new(Bytes::new())
    };
    rpc.phosphor().answers(mark, "/v1/front", Box::pin(work)).await;
    said.take().unwrap()
}

/// A virtual world in which all is heard that is handed over.
fn world() -> (Sim, Rpc, Rc<RefCell<Vec<HopBatch>>>) {
    let sim = Sim::new("phosphor");
    let [api, front, back] = NODES.map(|name| sim.node(&name.into()));
    serve_both(&front, &back);
    (sim, node(&api), Rc::default())
}

#[test]
fn every_end_of_every_message_is_recorded_with_its_parent() {
    let (sim, rpc, heard) = world();
    let ears = Rc::clone(&heard);
    sim.receive(&COLLECTOR.into(), move |bytes| {
        ears.borrow_mut().push(HopBatch::decode(bytes).unwrap());
    });
    sim.run(async {
        assert_eq!(request(&rpc, Some(MARK), "good").await.unwrap(), "good");
        assert_eq!(request(&rpc, None, "good").await.unwrap(), "good", "nobody traces this one");
        sim.sleep(Duration::from_millis(300)).await;
    })
    .unwrap();
    let mut hops: Vec<_> = heard.borrow().iter().flat_map(|batch| batch.hops.clone()).collect();
    hops.sort_by_key(|hop| hop.at_ns);
    let told: Vec<_> = hops
        .iter()
        .map(|hop| format!("{} {} {} > {}", hop.kind().as_str_name(), hop.path, hop.from, hop.to))
        .collect();
    assert_eq!(
        told,
        [
            "IN /v1/front robots > a/api-1",
            "REQ /orchestration/job/front a/api-1 > a/orchestration-1",
            "IN /orchestration/job/front a/api-1 > a/orchestration-1",
            "REQ /core/job/back a/orchestration-1 > b/core-1",
            "IN /core/job/back a/orchestration-1 > b/core-1",
            "OUT /core/job/back a/orchestration-1 > b/core-1",
            "REP /core/job/back a/orchestration-1 > b/core-1",
            "OUT /orchestration/job/front a/api-1 > a/orchestration-1",
            "REP /orchestration/job/front a/api-1 > a/orchestration-1",
            "OUT /v1/front robots > a/api-1",
        ]
    );
    assert!(hops.iter().all(|hop| hop.trace == 77 && hop.error.is_empty()));
    assert_eq!((hops[1].parent, hops[3].parent), (77, hops[1].message));
    assert_eq!((hops[2].parent, hops[4].parent), (77, hops[1].message), "the callee knows it too");
    assert_eq!(hops[8].took_ns, hops[8].at_ns - hops[1].at_ns);
}

#[test]
fn an_error_is_told_at_both_ends_of_the_call_that_made_it() {
    let (sim, rpc, heard) = world();
    let ears = Rc::clone(&heard);
    sim.receive(&COLLECTOR.into(), move |bytes| {
        ears.borrow_mut().push(HopBatch::decode(bytes).unwrap());
    });
    sim.run(async {
        request(&rpc, Some(MARK), "bad").await.unwrap_err();
        sim.sleep(Duration::from_millis(300)).await;
    })
    .unwrap();
    let hops: Vec<_> = heard.borrow().iter().flat_map(|batch| batch.hops.clone()).collect();
    let errors: Vec<_> =
        hops.iter().filter(|hop| hop.path == BACK && !hop.error.is_empty()).collect();
    assert_eq!(errors.len(), 2, "OUT and REP");
    assert!(errors.iter().all(|hop| hop.error.contains("it is bad")), "{errors:?}");
}

#[test]
fn without_a_collector_requests_are_as_fast_and_every_hop_is_counted_as_dropped() {
    let times = |collected: bool| {
        let (sim, rpc, heard) = world();
        if collected {
            let ears = Rc::clone(&heard);
            sim.receive(&COLLECTOR.into(), move |bytes| {
                ears.borrow_mut().push(HopBatch::decode(bytes).unwrap());
            });
        }
        sim.run(async {
            let mut times = Vec::new();
            for _ in 0..50 {
                let begun = sim.now();
                request(&rpc, Some(MARK), "good").await.unwrap();
                times.push(sim.now() - begun);
            }
            sim.sleep(Duration::from_secs(1)).await;
            (times, rpc.phosphor().counts())
        })
        .unwrap()
    };
    // At the first node an IN, a REQ, a REP and an OUT for each request.
    let (with, without) = (times(true), times(false));
    assert_eq!(with.0, without.0, "to the nanosecond");
    assert_eq!(with.1, Counts { handed: 200, dropped: 0 });
    assert_eq!(without.1, Counts { handed: 0, dropped: 200 });
}

#[test]
fn a_full_buffer_drops_and_does_not_wait() {
    let (sim, rpc, _) = world();
    let begun = sim.now();
    sim.run(async {
        let phosphor = rpc.phosphor().clone();
        let work = async move {
            // All in one moment: nobody comes to hand anything over.
            for _ in 0..HOPS_MAX {
                phosphor.asks(BACK, &NODES[2].into()).unwrap().end(None);
            }
            Response::new(Bytes::new())
        };
        rpc.phosphor().answers(Some(MARK), "/v1/front", Box::pin(work)).await;
    })
    .unwrap();
    assert_eq!(sim.now(), begun, "no time has passed");
    let all = 2 * HOPS_MAX as u64 + 2;
    assert_eq!(rpc.phosphor().counts(), Counts { handed: 0, dropped: all - HOPS_MAX as u64 });
}

/// Real nodes, whose collector is at that address.
async fn real(collector: String) -> Counts {
    let ports = free_ports(NODES.len()).unwrap();
    let at: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let dial: BTreeMap<_, _> = NODES.map(NodeName::from).into_iter().zip(at.clone()).collect();
    #[expect(clippy::disallowed_methods, reason = "the origin of a run in the real world")]
    let origin = std::time::Instant::now();
    let envs: Vec<Env> = NODES
        .iter()
        .zip(&at)
        .map(|(name, at)| {
            let boot = Boot {
                listen: Some(at.clone()),
                dial: dial.clone(),
                datagrams: BTreeMap::from([(COLLECTOR.into(), collector.clone())]),
                ..Boot::default()
            };
            let name = NodeName::from(*name);
            let world = RealWorld::new(name.clone(), boot, origin);
            Env::new(name, &Rng::from_seed("42"), world)
        })
        .collect();
    serve_both(&envs[1], &envs[2]);
    let rpc = node(&envs[0]);
    for _ in 0..500 {
        assert_eq!(request(&rpc, Some(MARK), "good").await.unwrap(), "good");
    }
    while rpc.phosphor().counts().handed + rpc.phosphor().counts().dropped < 2_000 {
        envs[0].sleep(Duration::from_millis(5)).await;
    }
    rpc.phosphor().counts()
}

#[test]
fn a_dead_collector_leaves_requests_alone_and_its_hops_are_counted() {
    // Bound and let go: nobody is there.
    let gone = Receiver::bind(Duration::from_millis(1)).unwrap().address().unwrap().to_string();
    let counts = run_local(real(gone)).unwrap();
    // The system may tell of the first one a moment late.
    assert!(counts.dropped > 0 && counts.handed + counts.dropped == 2_000, "{counts:?}");
}

#[test]
fn a_collector_that_never_looks_leaves_requests_alone() {
    let stuck = Receiver::bind(Duration::from_millis(1)).unwrap();
    let counts = run_local(real(stuck.address().unwrap().to_string())).unwrap();
    assert_eq!(counts.handed + counts.dropped, 2_000);
    // What the system kept for it comes in the order in which it was sent, and says what came before.
    let mut buffer = vec![0; 65_536];
    let length = stuck.receive(&mut buffer).unwrap();
    let first = HopBatch::decode(&buffer[..length]).unwrap();
    assert_eq!((first.handed, first.dropped), (0, 0));
    assert!(!first.hops.is_empty());
}

#[test]
fn a_traceparent_is_read_and_its_sampled_flag_honoured() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(text).unwrap());
        Mark::of_headers(&headers)
    };
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mark = Mark { trace: 0x8448_eb21_1c80_319c, message: 0xb7ad_6b71_6920_3331 };
    assert_eq!(read(&format!("00-{trace}-b7ad6b7169203331-01")), Some(mark));
    assert_eq!(read(&format!("00-{trace}-b7ad6b7169203331-00")), None);
    for wrong in ["", "00", "00-xyz-1-01", "00-0af7-b7ad6b7169203331-01", "00-?-1-1"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
    assert_eq!(Mark::of_headers(&HeaderMap::new()), None);
}
