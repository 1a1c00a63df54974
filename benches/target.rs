//! What one ping costs an adapter, over a world that answers at once: `cargo bench --bench target`.
//! The built-in adapter beside the same words on the wire by `targets/embedded.toml`.
//!
//! `PINGS=N PINGS_BY=built_in` (or `mapped`, or `nobody`) plays N of them and no bench, to be counted
//! from outside: `perf stat -e instructions:u`. With `OFFER=1` each answer has an offer.

#![expect(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::{cell::Cell, env, future::ready, path::Path, rc::Rc, time::Duration};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use futures_util::{
    FutureExt as _,
    future::{LocalBoxFuture, pending},
};
use http::{Request, Response};
use robot_city::{
    base::{
        file::Source,
        id::RobotId,
        name::NodeName,
        place::Place,
        rng::Rng,
        time::{Time, Wall},
    },
    engine::target::Target,
    history::{
        declares::Declares,
        op::{Ask, OpKind, Outcome},
    },
    target::{
        embedded::{Embedded, Settings},
        mapped::{Compiled, For, Mapped},
    },
    world::{
        Env, HttpError, HttpHandler, World,
        link::{DialError, Link, Listener},
        store::{Store, StoreError},
    },
};

/// That of the tool.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    match env::var("PINGS").ok().and_then(|pings| pings.parse().ok()) {
        Some(pings) => play(pings),
        None => divan::main(),
    }
}

const DRIVERS: u32 = 1_000;
const WITHIN: Duration = Duration::from_secs(2);
const LOGIN: &[u8] = br#"{"account":"a-1","token":"eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlIG9m"}"#;
const OFFER: &[u8] = br#"{"offer":{"id":"9","job":"7","pickup":{"lat":53.3498,"lon":-6.2603},
    "dropoff":{"lat":53.3398,"lon":-6.2503},"expires_in_ms":15000,"fare_minor":1250}}"#;

/// Answers every request at once.
struct AtOnce {
    now: Cell<u64>,
    offers: bool,
}

impl World for AtOnce {
    fn now(&self) -> Time {
        self.now.set(self.now.get() + 1);
        Time(self.now.get())
    }
    fn wall(&self) -> Wall {
        Wall(1_700_000_000_000)
    }
    fn sleep_until(&self, _: Time) -> LocalBoxFuture<'static, ()> {
        Box::pin(pending())
    }
    fn spawn(&self, _: LocalBoxFuture<'static, ()>) {}
    fn dial(&self, to: &NodeName) -> LocalBoxFuture<'static, Result<Link, DialError>> {
        Box::pin(ready(Err(DialError::UnknownName(to.clone()))))
    }
    fn listen(&self) -> LocalBoxFuture<'static, Result<Listener, DialError>> {
        Box::pin(pending())
    }
    fn serve_http(&self, _: HttpHandler) -> LocalBoxFuture<'static, Result<(), DialError>> {
        Box::pin(pending())
    }
    fn http(
        &self,
        _: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        let body = match request.uri().path() {
            "/v1/driver/login" => LOGIN,
            _ if self.offers => OFFER,
            _ => b"{}",
        };
        Box::pin(ready(Ok(Response::new(Bytes::from_static(body)))))
    }
    fn store(&self, name: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        let error = StoreError::new(name, "none here");
        Box::pin(ready(Err(error)))
    }
}

fn env(offers: bool) -> Env {
    let world = Rc::new(AtOnce { now: Cell::new(0), offers });
    Env::new("robots".into(), &Rng::from_seed("7"), world)
}

fn nodes() -> Vec<NodeName> {
    ["a/api-1", "b/api-1", "c/api-1"].map(NodeName::from).to_vec()
}

fn built_in(offers: bool) -> Rc<dyn Target> {
    let settings = Settings {
        seed: "7".into(),
        apis: nodes(),
        attempt_timeout: WITHIN,
        push: 0.0,
        declares: Declares::default(),
    };
    ready_to_ping(Rc::new(Embedded::new(env(offers), settings)))
}

fn mapped(offers: bool) -> Rc<dyn Target> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/embedded.toml");
    let source = Source::read(&path).expect("the checked-in mapping is there");
    let run = For { run: "20260101-evening".into(), seed: "7".into(), ..For::default() };
    let file = Compiled::new(&source, &run).expect("the checked-in mapping is valid");
    ready_to_ping(Mapped::new(env(offers), file, &nodes(), WITHIN).expect("it is embedded"))
}

/// Every driver has a token.
fn ready_to_ping(target: Rc<dyn Target>) -> Rc<dyn Target> {
    for number in 0..DRIVERS {
        let login = Ask::new(OpKind::DriverLogin);
        let tried = target.attempt(RobotId::driver(number), &login, 0).now_or_never();
        assert_eq!(tried.expect("the world never waits").outcome, Outcome::Ok);
    }
    target
}

fn ask(number: u64) -> Ask {
    let at = Place { lat_e6: 53_349_800 + (number % 1_000) as i32, lon_e6: -6_260_300 };
    Ask { at: Some(at), seq: Some(number), ..Ask::new(OpKind::DriverPing) }
}

fn ping(target: &dyn Target, number: u64, offers: bool) {
    let robot = RobotId::driver((number % u64::from(DRIVERS)) as u32);
    let ask = ask(number);
    let tried = target.attempt(robot, &ask, 0).now_or_never().expect("the world never waits");
    assert!(tried.outcome == Outcome::Ok && tried.answer.offer.is_some() == offers);
    black_box(tried);
}

fn by(name: &str, offers: bool) -> Option<Rc<dyn Target>> {
    match name {
        "built_in" => Some(built_in(offers)),
        "mapped" => Some(mapped(offers)),
        _ => None,
    }
}

fn play(pings: u64) {
    let offers = env::var_os("OFFER").is_some();
    let target = by(&env::var("PINGS_BY").unwrap_or_default(), offers);
    for number in 0..pings {
        match &target {
            Some(target) => ping(target.as_ref(), number, offers),
            None => drop(black_box(ask(number))),
        }
    }
}

/// An answer that tells nothing, as nearly all of them.
#[divan::bench(args = ["built_in", "mapped"])]
fn one_ping(bencher: Bencher, name: &str) {
    bench(bencher, name, false);
}

/// An answer with an offer.
#[divan::bench(args = ["built_in", "mapped"])]
fn one_ping_with_an_offer(bencher: Bencher, name: &str) {
    bench(bencher, name, true);
}

fn bench(bencher: Bencher, name: &str, offers: bool) {
    let target = by(name, offers).expect("one of the two");
    let mut number = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        number += 1;
        ping(target.as_ref(), number, offers);
    });
}
