//! A whole backend in one virtual world, driven through its API by the adapter of the embedded
//! target: one job from request to payment, and what must survive the death of nodes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test: what it helps with must be there")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Uri};
use robot_city::{
    backend::{
        boot::{CityFacts, NodeConfig, Settings, Tariff},
        core::login::audit_secret,
        layout::{BROKER, Layout},
        node,
        platform::bus::FEDERATED,
        product::Product,
    },
    base::{
        id::{Id, RobotId, RobotKind},
        name::NodeName,
        place::Place,
        rng::Rng,
        time::Time,
    },
    engine::target::{Ears, Gap, Target, Told, Tried},
    history::{
        answer::{JobState, JobView, OfferView, Refusal},
        declares::Declares,
        op::{Ask, OpKind, Outcome},
    },
    target::embedded::{self, Embedded},
    world::{
        Env,
        stream::{MESSAGES_MAX, StreamError},
        virtual_::{Sim, broker},
    },
};

const SEED: &str = "42";
const OFFER_TTL: Duration = Duration::from_secs(10);
const ATTEMPTS_MAX: u32 = 8;

fn spire() -> Place {
    Place::from_degrees(53.349_8, -6.260_3)
}

fn city() -> CityFacts {
    let corner = |lat: i32, lon: i32| Place { lat_e6: lat, lon_e6: lon };
    let boundary = vec![
        corner(53_200_000, -6_500_000),
        corner(53_200_000, -6_000_000),
        corner(53_500_000, -6_000_000),
        corner(53_500_000, -6_500_000),
    ];
    CityFacts {
        name: "dublin".into(),
        zones: vec![("centre".into(), boundary.clone())],
        boundary,
        detour: 1.2,
        speed_kmh: vec![30.0; 24],
        tariff: Tariff {
            base_minor: 400,
            per_km_minor: 120,
            per_minute_minor: 40,
            minimum_minor: 500,
            no_show_fee_minor: 350,
        },
        clock_start_s: 0.0,
        clock_origin: Time::ZERO,
        time_scale: 10.0,
    }
}

fn settings() -> Settings {
    Settings {
        offer_ttl: OFFER_TTL,
        search_ttl: Duration::from_secs(40),
        offers_at_once: 2,
        token_ttl: Duration::from_secs(30),
        ping_ttl: Duration::from_secs(30),
        reach_m: 3_000.0,
        product: Product::default(),
        city: city(),
    }
}

/// How the services talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    Links,
    Brokers,
}

/// Plays the same in a city of each bus.
fn on_both(seed: &str, play: impl Fn(City)) {
    for bus in [Bus::Links, Bus::Brokers] {
        println!("{bus:?}");
        play(City::over(bus, seed, &[]));
    }
}

/// A backend of ten nodes, with robots outside.
struct City {
    sim: Sim,
    nodes: Vec<NodeName>,
    plants: Vec<String>,
    product: Product,
    robots: Env,
    target: Embedded,
    seq: Cell<u64>,
}

impl City {
    fn new(seed: &str, plants: &[&str]) -> Self {
        Self::over(Bus::Links, seed, plants)
    }

    fn over(bus: Bus, seed: &str, plants: &[&str]) -> Self {
        Self::built(bus, seed, plants, Product::default(), 0.0)
    }

    fn with(seed: &str, plants: &[&str], product: Product, push: f64) -> Self {
        Self::built(Bus::Links, seed, plants, product, push)
    }

    fn built(bus: Bus, seed: &str, plants: &[&str], product: Product, push: f64) -> Self {
        let sim = Sim::new(seed);
        let azs = ["a", "b", "c"].map(str::to_owned);
        let mut nodes = Layout::of(&azs, 1, 1, 1, Layout::storage(&azs, "b", 3));
        if bus == Bus::Brokers {
            nodes = [Layout::brokers(&azs), nodes].concat();
        }
        let robots = sim.node(&"robots".into());
        let settings = embedded::Settings {
            seed: SEED.into(),
            apis: nodes.iter().filter(|node| node.role() == "api").cloned().collect(),
            attempt_timeout: Duration::from_secs(2),
            push,
            declares: Declares::default(),
        };
        let target = Embedded::new(robots.clone(), settings);
        let plants = plants.iter().map(|&plant| plant.to_owned()).collect();
        let city = Self { sim, nodes, plants, product, robots, target, seq: Cell::new(0) };
        for node in &city.nodes {
            city.boot(node.as_str(), 0);
        }
        // Brokers tell each other of their bindings first.
        city.pass(if bus == Bus::Brokers { 4.0 } else { 2.0 });
        city
    }

    fn boot(&self, name: &str, incarnation: u32) {
        let name = NodeName::from(name);
        let env = self.sim.node(&name);
        if name.role() == BROKER {
            let others = self.nodes.iter().filter(|other| other.role() == BROKER);
            let others = others.filter(|other| **other != name).cloned().collect();
            env.spawn(broker::serve(env.clone(), others, FEDERATED));
            return;
        }
        let config = NodeConfig {
            machine: Layout::machine(&self.nodes, &name),
            incarnation,
            version: 1,
            config: BTreeMap::new(),
            seed: SEED.into(),
            nodes: self.nodes.clone(),
            settings: Settings { product: self.product.clone(), ..settings() },
            plants: self.plants.clone(),
            name: name.clone(),
            traced: false,
        };
        env.spawn(node::serve(env.clone(), config));
    }

    fn kill(&self, name: &str) {
        assert!(self.sim.kill(&name.into()), "{name} lived");
    }

    fn pass(&self, seconds: f64) {
        self.sim.run_until(self.sim.now() + Duration::from_secs_f64(seconds)).unwrap();
    }

    /// One op, tried again as a robot would, with a new login when the token has expired.
    async fn op(&self, robot: RobotId, ask: &Ask) -> Tried {
        let mut attempt = 0;
        loop {
            let tried = self.target.attempt(robot, ask, attempt).await;
            attempt += 1;
            if attempt == ATTEMPTS_MAX || tried.outcome == Outcome::Ok {
                return tried;
            }
            if tried.expired {
                self.target.attempt(robot, &Ask::new(login(robot.kind)), 0).await;
            } else if tried.retry {
                self.robots.sleep(Duration::from_millis(100 << attempt.min(4))).await;
            } else {
                return tried;
            }
        }
    }

    fn ask(&self, robot: RobotId, ask: &Ask) -> Tried {
        self.sim.run(self.op(robot, ask)).unwrap()
    }

    fn ok(&self, robot: RobotId, ask: &Ask) -> Tried {
        let tried = self.ask(robot, ask);
        assert_eq!(tried.outcome, Outcome::Ok, "{robot} {}: {:?}", ask.op, tried.error);
        tried
    }

    fn refused(&self, robot: RobotId, ask: &Ask) -> Refusal {
        let tried = self.ask(robot, ask);
        assert_eq!(tried.outcome, Outcome::Fail, "{robot} {}: {:?}", ask.op, tried.error);
        tried.answer.refusal.unwrap()
    }

    fn sign_on(&self, driver: RobotId, at: Place) {
        self.ok(driver, &Ask::new(OpKind::DriverRegister));
        self.ok(driver, &Ask::new(OpKind::DriverLogin));
        self.ok(driver, &Ask { at: Some(at), ..Ask::new(OpKind::DriverGoOnline) });
        self.ping(driver, at);
    }

    fn welcome(&self, passenger: RobotId) {
        self.ok(passenger, &Ask::new(OpKind::PassengerRegister));
        self.ok(passenger, &Ask::new(OpKind::PassengerLogin));
    }

    fn ping(&self, driver: RobotId, at: Place) -> Option<OfferView> {
        self.seq.set(self.seq.get() + 1);
        let seq = Some(self.seq.get());
        let ask = Ask { at: Some(at), seq, ..Ask::new(OpKind::DriverPing) };
        self.ok(driver, &ask).answer.offer.map(|offer| (*offer).clone())
    }

    fn request(&self, passenger: RobotId, key: &str) -> JobView {
        let job = self.ok(passenger, &wish(key)).answer.job.unwrap();
        (*job).clone()
    }

    fn step(&self, driver: RobotId, op: OpKind, job: &Id) -> JobView {
        let ask = Ask { job: Some(job.clone()), ..Ask::new(op) };
        (*self.ok(driver, &ask).answer.job.unwrap()).clone()
    }

    fn state(&self, passenger: RobotId, job: &Id) -> JobState {
        self.step(passenger, OpKind::PassengerJobStatus, job).state
    }

    /// Pings of these drivers, once a second, until one of them brings an offer.
    fn await_offer(&self, drivers: &[RobotId], seconds: u32) -> (RobotId, OfferView) {
        for _ in 0..seconds {
            for driver in drivers {
                if let Some(offer) = self.ping(*driver, spire()) {
                    return (*driver, offer);
                }
            }
            self.pass(1.0);
        }
        panic!("no offer within {seconds} s");
    }

    fn audit(&self) -> (Vec<JobView>, BTreeMap<Id, Vec<i64>>) {
        let auditor = RobotId { kind: RobotKind::Auditor, number: 0 };
        let jobs = self.ok(auditor, &Ask::new(OpKind::AuditJobs)).answer.jobs;
        let mut charges: BTreeMap<Id, Vec<i64>> = BTreeMap::new();
        for charge in self.ok(auditor, &Ask::new(OpKind::AuditCharges)).answer.charges {
            charges.entry(charge.job).or_default().push(charge.amount_minor);
        }
        (jobs, charges)
    }

    /// One exchange as it is: status and body.
    fn raw(&self, path: &str, token: Option<&str>, body: &[u8]) -> (u16, String) {
        let mut request = Request::new(Bytes::copy_from_slice(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse::<Uri>().unwrap();
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(http::header::AUTHORIZATION, bearer);
        }
        let answer = self.sim.run(self.robots.http(&"a/api-1".into(), request)).unwrap().unwrap();
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
    }

    fn token(&self, path: &str, phone: &str) -> String {
        let body = format!(r#"{{"phone":"{phone}","secret":"s"}}"#);
        assert_eq!(self.raw(&format!("{path}/register"), None, body.as_bytes()).0, 200);
        let (status, answer) = self.raw(&format!("{path}/login"), None, body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }
}

fn login(kind: RobotKind) -> OpKind {
    match kind {
        RobotKind::Passenger => OpKind::PassengerLogin,
        RobotKind::Driver | RobotKind::Auditor | RobotKind::Rogue => OpKind::DriverLogin,
    }
}

fn wish(key: &str) -> Ask {
    Ask {
        at: Some(spire()),
        to: Some(spire().offset(4_000.0, 0.0)),
        key: Some(key.into()),
        ..Ask::new(OpKind::PassengerRequestJob)
    }
}

fn about(op: OpKind, offer: &OfferView) -> Ask {
    Ask { job: Some(offer.job.clone()), offer: Some(offer.id.clone()), ..Ask::new(op) }
}

const D0: RobotId = RobotId::driver(0);
const D1: RobotId = RobotId::driver(1);
const D2: RobotId = RobotId::driver(2);
const P0: RobotId = RobotId::passenger(0);

#[test]
fn one_job_runs_from_request_to_payment() {
    on_both("flow", |city| {
        city.sign_on(D0, spire().offset(300.0, 0.0));
        city.sign_on(D1, spire().offset(600.0, 0.0));
        city.sign_on(D2, spire().offset(5_000.0, 0.0));
        city.welcome(P0);
        city.pass(1.0);
        let near =
            city.ok(P0, &Ask { at: Some(spire()), ..Ask::new(OpKind::PassengerNearDrivers) });
        let drivers: Vec<_> = near.answer.drivers.iter().map(|near| near.driver.clone()).collect();
        assert_eq!(drivers[..2], [D0, D1].map(|driver| city.target.account(driver).unwrap()));
        let quote = Ask { op: OpKind::PassengerQuote, ..wish("q") };
        assert!(city.ok(P0, &quote).answer.quote.is_some_and(|quote| quote.eta_s.is_some()));

        let job = city.request(P0, "k");
        let again = city.ok(P0, &wish("k"));
        assert!(again.answer.replayed && again.answer.job.unwrap().id == job.id);
        assert_eq!(city.refused(P0, &wish("another")), Refusal::Conflict);
        city.pass(0.1);
        let first = city.ping(D0, spire()).expect("an offer comes with the next ping");
        let second = city.ping(D1, spire()).expect("two are asked at once");
        assert!(city.ping(D2, spire().offset(5_000.0, 0.0)).is_none(), "out of reach");
        assert_eq!((first.job.clone(), second.job.clone()), (job.id.clone(), job.id.clone()));
        assert!(first.expires_in_ms <= 10_000 && first.pickup == spire());

        let accepted = city.ok(D0, &about(OpKind::DriverAccept, &first)).answer.job.unwrap();
        assert_eq!((accepted.state, accepted.assignment), (JobState::Accepted, 1));
        assert!(city.ok(D0, &about(OpKind::DriverAccept, &first)).answer.replayed);
        assert_eq!(city.refused(D1, &about(OpKind::DriverAccept, &second)), Refusal::Conflict);
        city.pass(0.1);
        assert!(city.ping(D1, spire()).is_none(), "the other offer is withdrawn");
        assert_eq!(city.refused(D0, &Ask::new(OpKind::DriverGoOffline)), Refusal::Conflict);
        let current = city.ok(D0, &Ask::new(OpKind::DriverCurrentJob)).answer.job.unwrap();
        assert_eq!(current.driver, city.target.account(D0));

        assert_eq!(city.step(D0, OpKind::DriverArrive, &job.id).state, JobState::Arrived);
        assert_eq!(city.step(D0, OpKind::DriverPickUp, &job.id).state, JobState::PickedUp);
        city.pass(60.0);
        let done = city.step(D0, OpKind::DriverDropOff, &job.id);
        // 4.8 km on the road and about ten minutes of the city.
        let fare = done.fare_minor.unwrap();
        assert!((1_370..1_400).contains(&fare), "{fare}");
        let pay = Ask {
            job: Some(job.id.clone()),
            key: Some("p".into()),
            ..Ask::new(OpKind::PassengerPay)
        };
        assert_eq!(city.ok(P0, &pay).answer.charges[0].amount_minor, fare);
        assert!(city.ok(P0, &pay).answer.replayed);
        let rate =
            Ask { job: Some(job.id.clone()), stars: Some(5), ..Ask::new(OpKind::PassengerRate) };
        city.ok(P0, &rate);
        assert!(city.ok(P0, &Ask::new(OpKind::PassengerCurrentJob)).answer.job.is_none());
        // A position from before the journey is too old to be used.
        city.ping(D0, spire());
        city.pass(0.5);
        city.request(P0, "next");
        city.pass(0.1);
        assert!(city.ping(D0, spire()).is_some(), "the driver is free again");

        let (jobs, charges) = city.audit();
        let audited = jobs.iter().find(|audited| audited.id == job.id).unwrap();
        assert_eq!((audited.state, audited.assignments.len()), (JobState::Completed, 1));
        assert_eq!(charges[&job.id], [fare]);
    });
}

#[test]
fn an_offer_that_nobody_answers_goes_to_the_next_and_a_search_ends() {
    on_both("expiry", |city| {
        for driver in [D0, D1, D2] {
            city.sign_on(driver, spire());
        }
        city.welcome(P0);
        city.pass(1.0);
        let job = city.request(P0, "k").id;
        city.pass(0.1);
        let asked: Vec<RobotId> =
            [D0, D1, D2].into_iter().filter(|d| city.ping(*d, spire()).is_some()).collect();
        assert_eq!(asked.len(), 2);
        let (decliner, third) =
            (asked[0], [D0, D1, D2].into_iter().find(|d| !asked.contains(d)).unwrap());
        let offer = city.ping(decliner, spire()).unwrap();
        city.ok(decliner, &about(OpKind::DriverDecline, &offer));
        city.pass(0.1);
        let next = city.ping(third, spire()).expect("declined: the next is asked at once");
        city.pass(11.0);
        assert_eq!(city.refused(third, &about(OpKind::DriverAccept, &next)), Refusal::Conflict);
        assert_eq!(city.state(P0, &job), JobState::Requested, "everybody was asked");
        city.pass(30.0);
        assert_eq!(city.state(P0, &job), JobState::Expired);
        let (_, charges) = city.audit();
        assert!(charges.is_empty());
    });
}

#[test]
fn a_search_goes_on_when_its_node_dies() {
    on_both("takeover", |city| {
        city.sign_on(D0, spire());
        city.welcome(P0);
        city.pass(0.5);
        // Nobody is free: the search is in the hands of the sweep.
        city.ok(D0, &Ask::new(OpKind::DriverPause));
        city.pass(0.2);
        let job = city.request(P0, "k").id;
        for az in ["a", "b"] {
            city.kill(&format!("{az}/orchestration-1"));
        }
        city.ok(D0, &Ask::new(OpKind::DriverResume));
        let (driver, offer) = city.await_offer(&[D0], 6);
        city.kill("c/orchestration-1");
        city.boot("a/orchestration-1", 1);
        city.ok(driver, &about(OpKind::DriverAccept, &offer));
        assert_eq!(city.state(P0, &job), JobState::Accepted);
    });
}

#[test]
fn an_index_that_lost_its_memory_learns_again() {
    on_both("index", |city| {
        city.sign_on(D0, spire());
        city.welcome(P0);
        for az in ["a", "b", "c"] {
            city.kill(&format!("{az}/core-1"));
        }
        for az in ["a", "b", "c"] {
            city.boot(&format!("{az}/core-1"), 1);
        }
        city.pass(4.0);
        city.ping(D0, spire());
        let job = city.request(P0, "k").id;
        let (driver, offer) = city.await_offer(&[D0], 5);
        assert_eq!((driver, &offer.job), (D0, &job));
    });
}

#[test]
fn money_and_moves_survive_the_death_of_storage() {
    on_both("storage", |city| {
        city.sign_on(D0, spire());
        city.welcome(P0);
        city.pass(0.5);
        let job = city.request(P0, "k").id;
        let (_, offer) = city.await_offer(&[D0], 3);
        // The accept is on its way when storage dies; it is tried until storage is back.
        let accept = about(OpKind::DriverAccept, &offer);
        let tried = city.sim.run(async {
            let conduct = async {
                city.sim.sleep(Duration::from_micros(1_500)).await;
                city.kill("b/storage-1");
                city.sim.sleep(Duration::from_secs(3)).await;
                city.boot("b/storage-1", 1);
            };
            futures_util::join!(city.op(D0, &accept), conduct).0
        });
        assert_eq!(tried.unwrap().outcome, Outcome::Ok);
        city.step(D0, OpKind::DriverArrive, &job);
        city.step(D0, OpKind::DriverPickUp, &job);
        city.step(D0, OpKind::DriverDropOff, &job);
        // The node that would take the money dies at once: the sweep of another takes it.
        for az in ["a", "b", "c"] {
            city.kill(&format!("{az}/orchestration-1"));
        }
        city.boot("c/orchestration-1", 1);
        city.pass(6.0);
        let (jobs, charges) = city.audit();
        assert_eq!((jobs.len(), jobs[0].assignments.len()), (1, 1));
        assert_eq!(charges[&job].len(), 1);
    });
}

#[test]
fn a_job_runs_to_its_end_whichever_storage_node_is_dead() {
    for victim in ["a/storage-1", "b/storage-1", "c/storage-1"] {
        let city = City::new(&format!("without {victim}"), &[]);
        city.sign_on(D0, spire());
        city.welcome(P0);
        city.pass(0.5);
        let job = city.request(P0, "k").id;
        let (_, offer) = city.await_offer(&[D0], 3);
        city.kill(victim);
        city.ok(D0, &about(OpKind::DriverAccept, &offer));
        city.step(D0, OpKind::DriverArrive, &job);
        city.step(D0, OpKind::DriverPickUp, &job);
        city.step(D0, OpKind::DriverDropOff, &job);
        city.pass(6.0);
        let (jobs, charges) = city.audit();
        assert_eq!((jobs.len(), jobs[0].assignments.len()), (1, 1), "without {victim}");
        assert_eq!(charges[&job].len(), 1, "without {victim}");
    }
}

#[test]
fn a_job_that_is_given_back_goes_to_another_and_fees_follow_the_rules() {
    on_both("back", |city| {
        city.sign_on(D0, spire());
        city.welcome(P0);
        city.pass(0.5);
        let job = city.request(P0, "k").id;
        let (_, offer) = city.await_offer(&[D0], 3);
        city.ok(D0, &about(OpKind::DriverAccept, &offer));
        city.step(D0, OpKind::DriverCancel, &job);
        city.sign_on(D1, spire());
        let (driver, offer) = city.await_offer(&[D0, D1], 5);
        assert_eq!(driver, D1, "who gave it back is not asked again");
        city.ok(D1, &about(OpKind::DriverAccept, &offer));
        city.step(D1, OpKind::DriverArrive, &job);
        city.step(D1, OpKind::DriverNoShow, &job);
        city.pass(3.0);
        let (jobs, charges) = city.audit();
        let all: Vec<_> = jobs[0].assignments.iter().map(|a| (a.number, a.released)).collect();
        assert_eq!(all, [(1, true), (2, false)]);
        assert_eq!(
            (jobs[0].state, charges[&job].as_slice()),
            (JobState::Cancelled, [350].as_slice())
        );
        city.ok(D1, &Ask::new(OpKind::DriverGoOffline));
    });
}

#[test]
fn bad_input_is_told_and_never_a_failure_of_the_server() {
    let city = City::new("bad", &[]);
    let (driver, passenger) = (city.token("/v1/driver", "d"), city.token("/v1/customer", "p"));
    let oversized = format!(r#"{{"job":"{}"}}"#, "9".repeat(20_000));
    let (d, p) = (Some(driver.as_str()), Some(passenger.as_str()));
    for (path, token, body, status) in [
        ("/v1/driver/ping", d, r#"{"lat":NaN,"lon":1}"#, 400),
        ("/v1/driver/ping", d, r#"{"lat":91,"lon":1}"#, 400),
        ("/v1/driver/ping", d, r#"{"lat":1e999,"lon":1}"#, 400),
        ("/v1/driver/ping", d, r#"{"lat":"53"}"#, 400),
        ("/v1/driver/ping", d, r#"{"lat":1,"lon":1,"seq":-1}"#, 400),
        ("/v1/driver/ping", d, "", 400),
        ("/v1/driver/ping", None, "{}", 401),
        ("/v1/driver/ping", Some("forged"), "{}", 401),
        ("/v1/driver/ping", p, "{}", 403),
        ("/v1/driver/arrive", d, r#"{"job":"1"}"#, 404),
        ("/v1/driver/arrive", d, r#"{"job":1}"#, 400),
        ("/v1/driver/arrive", d, r#"{"job":"99999999999999999999999"}"#, 400),
        ("/v1/driver/accept", d, r#"{"job":"1","offer":"2"}"#, 404),
        ("/v1/driver/arrive", d, &oversized, 413),
        ("/v1/driver/resume", d, "{}", 409),
        ("/v1/driver/login", None, r#"{"phone":"d","secret":"wrong"}"#, 401),
        ("/v1/driver/register", None, r#"{"phone":"d","secret":"other"}"#, 409),
        ("/v1/driver/register", None, r#"{"phone":"","secret":"s"}"#, 400),
        ("/v1/customer/request", p, r#"{"from":{"lat":53.3,"lon":-6.2}}"#, 400),
        (
            "/v1/customer/request",
            p,
            r#"{"from":{"lat":10,"lon":10},"to":{"lat":53.3,"lon":-6.2},"key":"k"}"#,
            400,
        ),
        ("/v1/customer/job", p, r#"{"job":"1"}"#, 404),
        ("/v1/customer/rate", p, r#"{"job":"1","stars":6}"#, 400),
        ("/v1/customer/pay", p, r#"{"job":"1"}"#, 400),
        ("/v1/audit/jobs", p, "{}", 403),
        ("/v1/audit/login", None, r#"{"secret":"guess"}"#, 401),
        ("/v1/nowhere", d, "{}", 404),
    ] {
        let (found, answer) = city.raw(path, token, body.as_bytes());
        assert_eq!(found, status, "{path} {}: {answer}", &body[..body.len().min(60)]);
        assert!(answer.contains(r#""happened":"no""#), "{answer}");
    }
    assert_eq!(city.audit().0.len(), 0, "nothing was changed");
}

#[test]
fn a_token_ends_and_a_new_login_goes_on() {
    let city = City::new("token", &[]);
    city.sign_on(D0, spire());
    city.pass(31.0);
    let ask = Ask::new(OpKind::DriverCurrentJob);
    let tried = city.sim.run(city.target.attempt(D0, &ask, 0)).unwrap();
    assert!(tried.expired && tried.outcome == Outcome::Fail);
    city.ok(D0, &ask);
}

#[test]
fn planted_double_dispatch_gives_one_job_to_two() {
    let city = City::new("plant", &["double-dispatch"]);
    city.sign_on(D0, spire());
    city.sign_on(D1, spire());
    city.welcome(P0);
    city.pass(0.5);
    city.request(P0, "k");
    city.pass(0.1);
    let offers = [D0, D1].map(|driver| city.ping(driver, spire()).unwrap());
    city.ok(D0, &about(OpKind::DriverAccept, &offers[0]));
    city.ok(D1, &about(OpKind::DriverAccept, &offers[1]));
    for driver in [D0, D1] {
        let held = city.ok(driver, &Ask::new(OpKind::DriverCurrentJob)).answer.job.unwrap();
        assert_eq!(held.driver, city.target.account(driver), "both believe it");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let run = |bus| {
        let city = City::over(bus, "same", &[]);
        city.sign_on(D0, spire());
        city.welcome(P0);
        city.pass(0.5);
        city.request(P0, "k");
        let (_, offer) = city.await_offer(&[D0], 3);
        city.ok(D0, &about(OpKind::DriverAccept, &offer));
        city.sim.trace_hash()
    };
    for bus in [Bus::Links, Bus::Brokers] {
        assert_eq!(run(bus), run(bus), "{bus:?}");
    }
}

#[test]
fn the_job_flow_goes_on_while_brokers_die_and_come_back() {
    let city = City::over(Bus::Brokers, "brokers", &[]);
    city.sign_on(D0, spire());
    city.welcome(P0);
    city.pass(0.5);
    let job = city.request(P0, "k").id;
    let (_, offer) = city.await_offer(&[D0], 3);
    city.kill("b/broker-1");
    city.ok(D0, &about(OpKind::DriverAccept, &offer));
    city.step(D0, OpKind::DriverArrive, &job);
    city.boot("b/broker-1", 1);
    city.kill("a/broker-1");
    city.step(D0, OpKind::DriverPickUp, &job);
    city.pass(3.0);
    city.boot("a/broker-1", 1);
    city.kill("c/broker-1");
    city.step(D0, OpKind::DriverDropOff, &job);
    city.boot("c/broker-1", 1);
    city.pass(6.0);
    assert_eq!(city.state(P0, &job), JobState::Completed);
    let (jobs, charges) = city.audit();
    assert_eq!((jobs.len(), jobs[0].assignments.len()), (1, 1));
    assert_eq!(charges[&job].len(), 1);
}

#[test]
fn the_old_and_the_new_near_drivers_answer_alike_and_the_new_one_sooner() {
    let told = |share: f64| {
        let path = "/v1/customer/neardrivers";
        let routes = BTreeMap::from([(path.to_owned(), share)]);
        let city = City::with("near", &[], Product { routes, ..Product::default() }, 0.0);
        for (driver, metres) in [(D0, 300.0), (D1, 600.0), (D2, 900.0)] {
            city.sign_on(driver, spire().offset(metres, 0.0));
        }
        let token = city.token("/v1/customer", "1");
        let mut bodies = [
            r#"{"lat":53.3498,"lon":-6.2603}"#,
            r#"{"lat":53.21,"lon":-6.01}"#,
            r#"{"lat":10.0,"lon":-6.2603}"#,
            r#"{"lat":"x"}"#,
        ]
        .map(str::to_owned)
        .to_vec();
        let mut rng = Rng::from_seed("places");
        bodies.extend((0..40).map(|_| {
            let at = spire().offset(rng.between(-4e3, 4e3), rng.between(-4e3, 4e3));
            format!(r#"{{"lat":{},"lon":{}}}"#, at.lat(), at.lon())
        }));
        let ask = |body: &String| city.raw(path, Some(&token), body.as_bytes());
        let answers: Vec<_> = bodies.iter().map(ask).collect();
        let begun = city.sim.now();
        ask(&bodies[0]);
        (answers, city.sim.now() - begun)
    };
    let ((old, old_took), (new, new_took)) = (told(0.0), told(1.0));
    assert_eq!(old, new);
    let statuses: Vec<u16> = old[..5].iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 400, 400, 200]);
    let first: serde_json::Value = serde_json::from_str(&old[0].1).unwrap();
    assert_eq!(
        (first["drivers"].as_array().unwrap().len(), &first["services"][1]["base_minor"]),
        (3, &serde_json::json!(460))
    );
    assert!(new_took < old_took, "{new_took:?} {old_took:?}");
}

/// What robots were told, and which streams broke.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<Told>>>, Rc<RefCell<Vec<Gap>>>);

impl Heard {
    fn by(&self, city: &City) {
        let (told, gaps) = (Rc::clone(&self.0), Rc::clone(&self.1));
        let hear = move |one| told.borrow_mut().push(one);
        city.target.listen(Ears::new(hear, move |gap| gaps.borrow_mut().push(gap)));
    }

    fn offer(&self, robot: RobotId) -> Option<OfferView> {
        let told = self.0.borrow();
        let mut offers = told
            .iter()
            .filter(|one| one.robot == robot)
            .filter_map(|one| one.answer.offer.as_deref());
        offers.next_back().cloned()
    }

    fn state(&self, robot: RobotId) -> Option<JobState> {
        let told = self.0.borrow();
        let mut jobs = told
            .iter()
            .filter(|one| one.robot == robot)
            .filter_map(|one| one.answer.job.as_deref());
        jobs.next_back().map(|job| job.state)
    }
}

#[test]
fn a_stream_tells_offers_and_changes_and_comes_back_after_its_node() {
    let city = City::with("streams", &[], Product::default(), 1.0);
    let heard = Heard::default();
    heard.by(&city);
    city.sign_on(D0, spire().offset(300.0, 0.0));
    city.sign_on(D2, spire().offset(9_000.0, 0.0));
    city.welcome(P0);
    city.pass(1.0);
    let job = city.request(P0, "k");
    city.pass(1.0);
    let offer = heard.offer(D0).expect("told without a ping");
    assert_eq!((&offer.job, offer.pickup), (&job.id, spire()));
    assert_eq!(heard.state(P0), Some(JobState::Offered));
    city.ok(D0, &about(OpKind::DriverAccept, &offer));
    city.pass(0.5);
    assert_eq!(heard.state(P0), Some(JobState::Accepted));
    assert!(heard.offer(D2).is_none() && heard.state(D2).is_none(), "it is not concerned");

    // P0 and D0 are at home at a/api-1.
    city.kill("a/api-1");
    city.pass(1.0);
    assert!(!heard.1.borrow().is_empty(), "a gap is told");
    city.step(D0, OpKind::DriverArrive, &job.id);
    city.boot("a/api-1", 1);
    city.pass(20.0);
    assert_eq!(heard.state(P0), Some(JobState::Arrived), "told on its return");
    let cancel = Ask { job: Some(job.id), ..Ask::new(OpKind::PassengerCancel) };
    city.ok(P0, &cancel);
    city.pass(0.5);
    assert_eq!(heard.state(D0), Some(JobState::Cancelled));
}

#[test]
fn a_stream_needs_a_token_of_its_own_kind() {
    let city = City::new("stream tokens", &[]);
    let token = city.token("/v1/driver", "1");
    let open = |path: &str, token: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Bytes::new()).unwrap();
        match city.sim.run(city.robots.stream(&"a/api-1".into(), request)).unwrap() {
            Ok(_) => 101,
            Err(StreamError::Refused(status)) => status,
            Err(StreamError::NotConnected(why)) => panic!("{why}"),
        }
    };
    assert_eq!(open("/v1/driver/stream", Some(&token)), 101);
    assert_eq!(open("/v1/customer/stream", Some(&token)), 403);
    assert_eq!(open("/v1/driver/stream", Some("x.y")), 401);
    assert_eq!(open("/v1/driver/stream", None), 401);
    assert_eq!(open("/v1/stream", Some(&token)), 404);
    city.pass(31.0);
    assert_eq!(open("/v1/driver/stream", Some(&token)), 401, "it has expired");
}

#[test]
fn live_issues_come_and_go_with_what_is_wrong() {
    let city = City::new("issues", &[]);
    let issues = || {
        let secret = format!(r#"{{"secret":"{}"}}"#, audit_secret(SEED));
        let entered = city.raw("/v1/audit/login", None, secret.as_bytes()).1;
        let entered: serde_json::Value = serde_json::from_str(&entered).unwrap();
        let (status, text) = city.raw("/v1/audit/issues", entered["token"].as_str(), b"{}");
        assert_eq!(status, 200, "{text}");
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rules = told["issues"].as_array().unwrap().iter().map(|issue| {
            (issue["rule"].as_str().unwrap().to_owned(), Id::from(issue["job"].as_str().unwrap()))
        });
        (rules.collect::<Vec<_>>(), told["watched"].as_u64().unwrap())
    };
    city.welcome(P0);
    let job = city.request(P0, "k").id;
    city.pass(15.0);
    assert_eq!(issues(), (vec![], 1), "not yet too long");
    city.pass(8.0);
    assert_eq!(issues(), (vec![("no-driver".to_owned(), job.clone())], 1));
    city.sign_on(D0, spire().offset(300.0, 0.0));
    let (_, offer) = city.await_offer(&[D0], 5);
    city.ok(D0, &about(OpKind::DriverAccept, &offer));
    city.pass(2.0);
    assert_eq!(issues(), (vec![], 1));
    // Nobody hears of D0 any more, and it should long have been there.
    city.pass(60.0);
    let wrong =
        [("silent-driver".to_owned(), job.clone()), ("late-pickup".to_owned(), job.clone())];
    assert_eq!(issues(), (wrong.to_vec(), 1));
    city.ping(D0, spire());
    city.step(D0, OpKind::DriverArrive, &job);
    city.pass(1.0);
    assert_eq!(issues(), (vec![], 1));
    city.step(D0, OpKind::DriverPickUp, &job);
    city.step(D0, OpKind::DriverDropOff, &job);
    city.pass(0.5);
    assert_eq!(issues(), (vec![], 0));
}

#[test]
fn a_client_that_does_not_read_is_let_go_of() {
    let city = City::new("deaf", &[]);
    let token = city.token("/v1/customer", "1");
    let request = Request::get("/v1/customer/stream");
    let request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Bytes::new()).unwrap();
    let mut link = city.sim.run(city.robots.stream(&"a/api-1".into(), request)).unwrap().unwrap();
    for n in 0..=MESSAGES_MAX / 2 {
        let body = format!(
            r#"{{"from":{{"lat":53.35,"lon":-6.26}},"to":{{"lat":53.36,"lon":-6.26}},"key":"{n}"}}"#
        );
        let (status, made) = city.raw("/v1/customer/request", Some(&token), body.as_bytes());
        assert_eq!(status, 200, "{made}");
        city.pass(0.1);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let cancel = format!(r#"{{"job":{}}}"#, made["job"]["id"]);
        assert_eq!(city.raw("/v1/customer/cancel", Some(&token), cancel.as_bytes()).0, 200);
        city.pass(0.1);
    }
    let mut told = 0;
    while city.sim.run(link.incoming.recv()).unwrap().is_some() {
        told += 1;
    }
    assert_eq!(told, MESSAGES_MAX, "what was sent before, and then the end");
}
