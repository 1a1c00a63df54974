//! Gathering in a virtual world: what is sent, when, and what becomes of each update.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::{
    base::{file::Source, name::NodeName, place::Place},
    engine::{Engine, Sink, target::Target},
    history::{op::Op, record::Record},
    robot::puppet,
    scenario::Load,
    target::mapped::{Compiled, For},
    world::{Env, HttpHandler, virtual_::Sim},
};

const HEAD: &str = "schema = 1\nname = 'fleet'\n[link.api]\nurl = 'embedded'\n\
    [robot.driver]\naccount = 'd-{{ me.number }}'\n[declares]\nping_ttl = '30s'\n";

/// Of one driver: its newest update is the sender's.
const OWN: &str = "[driver.ping]\npost = '/locations/{{ me.number }}'\nopen = true\n\
    json = { driver = '{{ me.account }}', positions = '{{ batch }}' }\n\
    [driver.ping.batch]\nmost = 3\nwithin = '2s'\n\
    each = { lat = '{{ at.lat }}', seq = '{{ ask.seq }}', at = '{{ ask.wall_ms | iso }}' }\n";

/// Of all drivers, with a word on each.
const GATEWAY_STEP: &str = "[driver.ping]\npost = '/locations'\nopen = true\n\
    headers.x-gateway = 'g'\njson = '{{ batch }}'\n\
    [driver.ping.batch]\nmost = 4\nwithin = '1s'\nof = 'all'\nqueue = 8\nat_once = 1\n\
    each = { who = '{{ me.account }}', seq = '{{ ask.seq }}' }\n\
    [driver.ping.batch.results]\neach = '$.results[*]'\nid = '$.who'\nis = '{{ me.account }}'\n\
    refused.invalid = { if = \"body.code == 'stale'\" }\nerror = '$.code'\n";

/// A backend in memory: what it was sent, and how it answers.
struct Toy {
    sim: Sim,
    env: Env,
    mapped: Rc<Mapped>,
    seen: Rc<RefCell<Vec<(Time, String, Value)>>>,
}

type Answers = fn(&str, &Value) -> (u16, Value);

fn compiled(file: &str) -> Result<Compiled, String> {
    let source = Source::new(Path::new("fleet.toml"), file);
    Compiled::new(&source, &For { run: "r".into(), seed: "7".into(), ..For::default() })
        .map_err(|why| why.to_string())
}

fn toy(file: &str, takes: Duration, answers: Answers) -> Toy {
    let sim = Sim::new("batch");
    let name = NodeName::from("a/api-1");
    let server = sim.node(&name);
    let seen: Rc<RefCell<Vec<_>>> = Rc::default();
    let (noted, clock) = (seen.clone(), server.clone());
    let handler: HttpHandler = Rc::new(move |request: Request<Bytes>| {
        let (path, clock) = (request.uri().path().to_owned(), clock.clone());
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        noted.borrow_mut().push((clock.now(), path.clone(), body.clone()));
        Box::pin(async move {
            clock.sleep(takes).await;
            let (status, answer) = answers(&path, &body);
            let mut response = Response::new(Bytes::from(answer.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        })
    });
    server.clone().spawn(async move { server.serve_http(handler).await.unwrap() });
    let env = sim.node(&NodeName::from("robots"));
    let file = compiled(&format!("{HEAD}{file}")).unwrap();
    let mapped = Mapped::new(env.clone(), file, &[name], Duration::from_secs(2)).unwrap();
    Toy { sim, env, mapped, seen }
}

fn yes(_: &str, _: &Value) -> (u16, Value) {
    (200, json!({}))
}

fn ping(seq: u64) -> Ask {
    let at = Some(Place { lat_e6: 53_000_000 + seq as i32, lon_e6: -6_000_000 });
    Ask { at, seq: Some(seq), ..Ask::new(OpKind::DriverPing) }
}

type Told = Rc<RefCell<Vec<(RobotId, u64, Time, Tried)>>>;

impl Toy {
    /// Each driver sends its updates at these milliseconds; what each was told, in that order.
    fn pings(&self, plan: &[(u32, u64)]) -> Told {
        let told = Told::default();
        for (n, (driver, at_ms)) in plan.iter().copied().enumerate() {
            let (mapped, env, told) = (self.mapped.clone(), self.env.clone(), told.clone());
            self.env.spawn(async move {
                // The server listens by then.
                env.sleep_until(Time((at_ms + 10) * 1_000_000)).await;
                let ask = ping(n as u64 + 1);
                let tried = mapped.attempt(RobotId::driver(driver), &ask, 0).await;
                told.borrow_mut().push((RobotId::driver(driver), n as u64 + 1, env.now(), tried));
            });
        }
        told
    }

    fn run(&self, span: Duration) {
        self.sim.run_until(self.sim.now() + span).unwrap();
    }

    fn bodies(&self) -> Vec<Value> {
        self.seen.borrow().iter().map(|(_, _, body)| body.clone()).collect()
    }
}

fn outcomes(told: &Told) -> Vec<(u64, Outcome)> {
    let mut all: Vec<_> =
        told.borrow().iter().map(|(_, seq, _, tried)| (*seq, tried.outcome)).collect();
    all.sort_unstable();
    all
}

fn error(told: &Told, seq: u64) -> String {
    let told = told.borrow();
    let (.., tried) = told.iter().find(|(_, one, ..)| *one == seq).unwrap();
    tried.error.clone().unwrap_or_default()
}

#[test]
fn updates_go_out_by_count_or_by_age_whichever_comes_first() {
    let toy = toy(OWN, Duration::from_millis(5), yes);
    // Three fill a request at once; the fourth waits two seconds, and another driver's beside it.
    let told = toy.pings(&[(1, 0), (1, 100), (1, 200), (1, 300), (2, 300)]);
    toy.run(Duration::from_secs(10));
    let seen = toy.seen.borrow();
    let sent: Vec<_> = seen.iter().map(|(at, path, _)| (at.0 / 1_000_000, path.as_str())).collect();
    // A connection takes its time, too.
    let near =
        |ms: u64, path: &str, n: usize| (ms..ms + 90).contains(&sent[n].0) && sent[n].1 == path;
    assert!(near(210, "/locations/1", 0), "{sent:?}");
    assert!(near(2_310, "/locations/1", 1) && near(2_310, "/locations/2", 2), "{sent:?}");
    let positions = seen[0].2["positions"].as_array().unwrap();
    let seqs: Vec<_> = positions.iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(positions[1]["lat"], json!(53.000_002));
    // Each has the moment at which it was asked, not that of the request.
    let moment = |n: usize| positions[n]["at"].as_str().unwrap()[20..23].parse::<u64>().unwrap();
    assert_eq!((moment(1) + 1_000 - moment(0)) % 1_000, 100);
    assert_eq!(seen[0].2["driver"], "d-1");
    assert_eq!((outcomes(&told).len(), sent.len()), (5, 3));
    assert!(outcomes(&told).iter().all(|(_, outcome)| *outcome == Outcome::Ok));
}

#[test]
fn what_becomes_of_the_request_becomes_of_each() {
    let refused = |_: &str, _: &Value| (409, json!({}));
    let toy = toy(OWN, Duration::from_millis(5), refused);
    let told = toy.pings(&[(1, 0), (1, 1), (1, 2)]);
    toy.run(Duration::from_secs(5));
    assert_eq!(outcomes(&told), [(1, Outcome::Fail), (2, Outcome::Fail), (3, Outcome::Fail)]);
    let conflict = |(.., tried): &(_, _, _, Tried)| {
        tried.answer.refusal == Some(crate::history::answer::Refusal::Conflict)
    };
    assert!(told.borrow().iter().all(conflict));
    assert!(told.borrow().iter().all(|(.., tried)| tried.status == Some(409)));

    let broken = |_: &str, _: &Value| (500, json!({}));
    let toy = self::toy(OWN, Duration::from_millis(5), broken);
    let told = toy.pings(&[(1, 0), (1, 1), (1, 2)]);
    toy.run(Duration::from_secs(5));
    assert_eq!(outcomes(&told), [(1, Outcome::Info), (2, Outcome::Info), (3, Outcome::Info)]);
}

#[test]
fn a_gateway_answers_for_each_of_many_drivers() {
    let answers = |_: &str, body: &Value| {
        // The third is refused, the second forgotten, and they come in another order.
        let entry = |n: usize| {
            let code = if n == 2 { "stale" } else { "ok" };
            json!({ "who": body[n]["who"], "code": code })
        };
        (207, json!({ "results": [entry(3), entry(2), entry(0)] }))
    };
    let toy = toy(GATEWAY_STEP, Duration::from_millis(5), answers);
    let told = toy.pings(&[(1, 0), (2, 1), (3, 2), (4, 3)]);
    toy.run(Duration::from_secs(5));
    assert_eq!(toy.seen.borrow().len(), 1);
    let (ok, fail, info) = (Outcome::Ok, Outcome::Fail, Outcome::Info);
    assert_eq!(outcomes(&told), [(1, ok), (2, info), (3, fail), (4, ok)]);
    assert_eq!(error(&told, 3), "stale");
    assert!(error(&told, 2).contains("does not name this update"));
}

#[test]
fn what_comes_first_comes_before_each_request() {
    let ticket = "[[driver.ping.first]]\npost = '/ticket'\nopen = true\njson = {}\n";
    let toy = toy(&format!("{ticket}{GATEWAY_STEP}"), Duration::from_millis(50), yes);
    let four = |at_ms: u64| (1..=4).map(move |driver| (driver, at_ms));
    let told = toy.pings(&four(0).chain(four(5_000)).collect::<Vec<_>>());
    toy.run(Duration::from_secs(20));
    assert_eq!(told.borrow().len(), 8);
    let paths: Vec<String> = toy.seen.borrow().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, ["/ticket", "/locations", "/ticket", "/locations"]);
}

#[test]
fn what_does_not_fit_the_queue_is_certainly_not_sent() {
    // One request at a time, and each takes more than a second: four are under way, eight wait.
    let slow = |_: &str, body: &Value| {
        let all = body.as_array().unwrap().iter();
        (200, json!({ "results": all.map(|one| json!({ "who": one["who"] })).collect::<Vec<_>>() }))
    };
    let toy = toy(GATEWAY_STEP, Duration::from_millis(1_300), slow);
    let plan: Vec<(u32, u64)> = (1..=14).map(|driver| (driver, u64::from(driver))).collect();
    let told = toy.pings(&plan);
    toy.run(Duration::from_secs(20));
    let ended = outcomes(&told);
    let failed: Vec<u64> =
        ended.iter().filter(|(_, end)| *end == Outcome::Fail).map(|(seq, _)| *seq).collect();
    assert_eq!(failed, [13, 14]);
    let why = error(&told, 13);
    assert!(why.starts_with("not sent: 8 location updates wait already"), "{why}");
    assert_eq!(toy.bodies().iter().map(|body| body.as_array().unwrap().len()).sum::<usize>(), 12);
}

#[test]
fn what_waits_too_long_behind_others_is_certainly_not_sent() {
    let slow = |_: &str, body: &Value| {
        let all = body.as_array().unwrap().iter();
        (200, json!({ "results": all.map(|one| json!({ "who": one["who"] })).collect::<Vec<_>>() }))
    };
    // Twelve updates, and the third request would go out after 3.8 s: beyond 1 s and 2 s.
    let toy = toy(GATEWAY_STEP, Duration::from_millis(1_900), slow);
    let plan: Vec<(u32, u64)> = (1..=12).map(|driver| (driver, u64::from(driver))).collect();
    let told = toy.pings(&plan);
    toy.run(Duration::from_secs(20));
    let ended = outcomes(&told);
    assert!(ended[..8].iter().all(|(_, end)| *end == Outcome::Ok), "{ended:?}");
    assert!(ended[8..].iter().all(|(_, end)| *end == Outcome::Fail), "{ended:?}");
    assert!(error(&told, 12).contains("behind other requests"));
}

#[test]
fn who_goes_off_shift_sends_what_waits_before() {
    let file = format!("{OWN}[driver.go_offline]\npost = '/offline'\nopen = true\njson = {{}}\n");
    let toy = toy(&file, Duration::from_millis(5), yes);
    let told = toy.pings(&[(1, 0), (1, 1)]);
    let (mapped, env) = (toy.mapped.clone(), toy.env.clone());
    toy.env.spawn(async move {
        env.sleep_until(Time(100_000_000)).await;
        let ask = Ask::new(OpKind::DriverGoOffline);
        mapped.attempt(RobotId::driver(1), &ask, 0).await;
    });
    toy.run(Duration::from_secs(1));
    let paths: Vec<_> = toy.seen.borrow().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, ["/locations/1", "/offline"]);
    assert_eq!(outcomes(&told).len(), 2);
}

#[test]
fn a_run_records_every_update_though_few_requests_are_sent() {
    let file = "[driver.login]\npost = '/login'\nopen = true\njson = {}\n\
        [driver.go_online]\npost = '/online'\nopen = true\njson = {}\n\
        [driver.ping]\npost = '/locations'\nopen = true\njson = { all = '{{ batch }}' }\n\
        [driver.ping.batch]\nmost = 25\nwithin = '5s'\nof = 'all'\n\
        each = { who = '{{ me.account }}', seq = '{{ ask.seq }}' }\n";
    let toy = toy(file, Duration::from_millis(20), yes);
    let mut around = puppet::around(puppet::steady());
    around.ops = toy.mapped.declares().asked();
    around.offers = crate::history::declares::Offers::Push;
    around.ping_every = Duration::from_secs(2);
    // The ceiling is on requests: a hundred updates a second go through one of ten.
    let load = Load {
        drivers: 200,
        passengers: 0,
        jobs_per_hour: 0.0,
        ceiling_per_second: Some(50),
        ..Load::default()
    };
    let ops: Rc<RefCell<Vec<Rc<Op>>>> = Rc::default();
    let noted = ops.clone();
    let sink: Rc<dyn Sink> = Rc::new(move |record| {
        if let Record::Op(op) = record
            && op.kind() == OpKind::DriverPing
        {
            noted.borrow_mut().push(op);
        }
    });
    let engine = Engine::new(toy.env.clone(), toy.mapped.clone(), around, load, sink);
    toy.sim.run(engine.fill(Duration::from_secs(20))).unwrap();
    toy.sim.run(engine.load(Duration::from_secs(20))).unwrap();
    assert!(toy.sim.run(engine.sign_off(Duration::from_secs(30))).unwrap());
    let sent: Vec<usize> =
        toy.bodies().iter().filter_map(|body| body["all"].as_array().map(Vec::len)).collect();
    let (ops, counts) = (ops.borrow(), engine.figures().pings);
    assert!(ops.len() > 2_000, "{}", ops.len());
    assert_eq!(ops.len(), sent.iter().sum::<usize>(), "each of them is an op");
    assert_eq!((counts.planned, counts.ok, counts.skipped), (ops.len() as u64, counts.planned, 0));
    assert!(ops.iter().all(|op| op.outcome == Outcome::Ok && op.attempts.len() == 1));
    // Planned by each driver's own pulse, not by the request that took it.
    assert!(ops.iter().all(|op| op.sent == op.planned), "waiting for company is no lag");
    assert!(sent.len() * 20 < ops.len(), "{} requests for {} updates", sent.len(), ops.len());
    assert!(sent.iter().all(|count| *count <= 25));
}

thread_local! {
    static LOGINS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[test]
fn updates_that_meet_an_expired_token_together_cost_one_login() {
    let file = "[auth]\nheaders.authorization = 'Bearer {{ me.token }}'\n\
        [driver.login]\npost = '/login'\nopen = true\njson = {}\nkeep.token = '$.token'\n\
        [driver.go_online]\npost = '/online'\nopen = true\njson = {}\n\
        [driver.ping]\npost = '/locations'\njson = { as = '{{ me.token }}', all = '{{ batch }}' }\n\
        [driver.ping.batch]\nmost = 3\nwithin = '5s'\neach = '{{ ask.seq }}'\n";
    let answers = |path: &str, body: &Value| match path {
        "/login" => {
            LOGINS.set(LOGINS.get() + 1);
            (200, json!({ "token": format!("t{}", LOGINS.get()) }))
        }
        // The first token is of no use any more when the first positions come.
        "/locations" if body["as"] == "t1" => (401, json!({})),
        _ => (200, json!({})),
    };
    let toy = toy(file, Duration::from_millis(5), answers);
    let mut around = puppet::around(puppet::steady());
    around.ops = toy.mapped.declares().asked();
    around.offers = crate::history::declares::Offers::Push;
    around.ping_every = Duration::from_millis(500);
    let load = Load { drivers: 1, passengers: 0, jobs_per_hour: 0.0, ..Load::default() };
    let ops: Rc<RefCell<Vec<Rc<Op>>>> = Rc::default();
    let noted = ops.clone();
    let sink: Rc<dyn Sink> = Rc::new(move |record| {
        if let Record::Op(op) = record {
            noted.borrow_mut().push(op);
        }
    });
    let engine = Engine::new(toy.env.clone(), toy.mapped.clone(), around, load, sink);
    toy.sim.run(engine.fill(Duration::from_secs(1))).unwrap();
    toy.sim.run(engine.load(Duration::from_secs(10))).unwrap();
    assert!(toy.sim.run(engine.sign_off(Duration::from_secs(10))).unwrap());
    let ops = ops.borrow();
    assert_eq!(LOGINS.get(), 2);
    assert_eq!(ops.iter().filter(|op| op.kind() == OpKind::DriverLogin).count(), 2);
    let pings: Vec<_> = ops.iter().filter(|op| op.kind() == OpKind::DriverPing).collect();
    assert!(pings.len() > 10 && pings.iter().all(|op| op.outcome == Outcome::Ok));
    assert_eq!(pings.iter().filter(|op| op.attempts.len() == 2).count(), 3);
}

#[test]
fn what_makes_no_sense_is_said_with_its_key() {
    let wrong = |file: &str| compiled(&format!("{HEAD}{file}")).unwrap_err();
    let changed = |file: &str, from: &str, to: &str| {
        assert!(file.contains(from));
        wrong(&file.replace(from, to))
    };
    for (why, part) in [
        (changed(OWN, "'2s'", "'30s'"), "shorter than `declares.ping_ttl` (30s)"),
        (changed(OWN, "most = 3", "most = 1"), "from 2 to 10000"),
        (changed(OWN, "most = 3", "most = 3\nqueue = 2"), "at least `most`, 3"),
        (changed(OWN, "{{ ask.seq }}", "{{ batch }}"), "there is no `batch` here"),
        (changed(OWN, "driver.ping", "driver.pause"), "only [driver.ping] gathers"),
        (changed(GATEWAY_STEP, "'g'", "'{{ ask.seq }}'"), "say it in `batch.each`"),
        (changed(GATEWAY_STEP, "is = '{{ me.account }}'\n", ""), "`id` and `is` go together"),
        (wrong("[driver.pause]\npost = '/x'\njson = '{{ batch }}'\n"), "there is no `batch` here"),
    ] {
        assert!(why.contains(part) && why.contains("fleet.toml"), "{why}");
    }
}
