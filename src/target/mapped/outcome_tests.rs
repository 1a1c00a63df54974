//! What becomes of an op, in a virtual world: a small backend answers as each case wants it to.

use std::{cell::RefCell, collections::VecDeque, path::Path, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::*;
use crate::{
    base::{file::Source, place::Place},
    history::answer::JobState,
    world::{HttpHandler, virtual_::Sim},
};

const HEAD: &str = "schema = 1\nname = 'toy'\n[link.api]\nurl = 'embedded'\n\
    [auth]\nheaders.authorization = 'Bearer {{ me.token }}'\n\
    [state]\nrequested = ['OPEN']\naccepted = ['TAKEN']\ncompleted = ['DONE']\n\
    [driver.login]\npost = '/login'\nopen = true\njson = {}\nkeep.token = '$.token'\n";

/// How the backend answers: path, status, headers, body, and how long it takes.
#[derive(Clone)]
struct Says {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    takes_ms: u64,
}

fn says(status: u16, body: &'static str) -> Says {
    Says { status, headers: &[], body, takes_ms: 5 }
}

/// A backend in memory.
struct Toy {
    sim: Sim,
    env: Env,
    mapped: Rc<Mapped>,
    /// Paths, and the headers with which they were asked for.
    seen: Rc<RefCell<Vec<(Time, String, HeaderMap)>>>,
    /// What it says next, by path; the last of a path stays.
    script: Rc<RefCell<HashMap<String, VecDeque<Says>>>>,
}

fn compiled(file: &str) -> Result<Compiled, String> {
    let source = Source::new(Path::new("toy.toml"), file);
    Compiled::new(&source, &For { run: "r".into(), seed: "7".into(), ..For::default() })
        .map_err(|why| why.to_string())
}

fn toy(file: &str) -> Toy {
    let sim = Sim::new("outcomes");
    let name = NodeName::from("a/api-1");
    let server = sim.node(&name);
    let seen: Rc<RefCell<Vec<_>>> = Rc::default();
    let script: Rc<RefCell<HashMap<String, VecDeque<Says>>>> = Rc::default();
    let (noted, plan, clock) = (seen.clone(), script.clone(), server.clone());
    let handler: HttpHandler = Rc::new(move |request: Request<Bytes>| {
        let path = request.uri().path().to_owned();
        noted.borrow_mut().push((clock.now(), path.clone(), request.headers().clone()));
        let said = {
            let mut plan = plan.borrow_mut();
            let left = plan.get_mut(&path).unwrap_or_else(|| panic!("nothing is said at {path}"));
            if left.len() > 1 { left.pop_front() } else { left.front().cloned() }.unwrap()
        };
        let clock = clock.clone();
        Box::pin(async move {
            clock.sleep(Duration::from_millis(said.takes_ms)).await;
            let mut response = Response::new(Bytes::from_static(said.body.as_bytes()));
            *response.status_mut() = StatusCode::from_u16(said.status).unwrap();
            for (name, value) in said.headers {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            response
        })
    });
    server.clone().spawn(async move { server.serve_http(handler).await.unwrap() });
    let env = sim.node(&NodeName::from("robots"));
    let file = compiled(&format!("{HEAD}{file}")).unwrap();
    let mapped = Mapped::new(env.clone(), file, &[name], Duration::from_secs(2)).unwrap();
    Toy { sim, env, mapped, seen, script }
}

const D: RobotId = RobotId::driver(1);
const P: RobotId = RobotId::passenger(1);
const A: RobotId = RobotId { kind: RobotKind::Auditor, number: 0 };

impl Toy {
    fn will(&self, path: &str, said: &[Says]) -> &Self {
        self.script.borrow_mut().insert(path.to_owned(), said.iter().cloned().collect());
        self
    }

    fn tries(&self, robot: RobotId, ask: &Ask, attempt: u32) -> Tried {
        let (mapped, ask, env) = (self.mapped.clone(), ask.clone(), self.env.clone());
        let work = async move {
            // The server listens by then.
            env.sleep(Duration::from_millis(10)).await;
            mapped.attempt(robot, &ask, attempt).await
        };
        self.sim.run(work).unwrap()
    }

    fn asks(&self, robot: RobotId, op: OpKind) -> Tried {
        self.tries(robot, &Ask::new(op), 0)
    }

    fn paths(&self) -> Vec<String> {
        self.seen.borrow().iter().map(|(_, path, _)| path.clone()).collect()
    }
}

fn of_job(op: OpKind) -> Ask {
    Ask { job: Some("7".into()), ..Ask::new(op) }
}

fn why(tried: &Tried) -> &str {
    tried.error.as_deref().unwrap_or("")
}

#[test]
fn a_robot_without_a_token_logs_in_and_its_op_is_not_taken_for_refused() {
    let toy = toy("[driver.go_online]\npost = '/online'\n");
    toy.will(
        "/login",
        &[says(200, r#"{"token":"t1"}"#), Says { takes_ms: 5_000, ..says(200, "") }],
    );
    toy.will("/online", &[says(401, "{}"), says(200, "{}")]);
    assert_eq!(toy.asks(D, OpKind::DriverLogin).outcome, Outcome::Ok);
    assert!(toy.asks(D, OpKind::DriverGoOnline).expired);
    // The new login is lost.
    assert_eq!(toy.asks(D, OpKind::DriverLogin).outcome, Outcome::Info);
    let tried = toy.asks(D, OpKind::DriverGoOnline);
    assert!(tried.expired, "{tried:?}");
    assert_eq!((tried.outcome, tried.status), (Outcome::Fail, None));
    assert_eq!(toy.paths(), ["/login", "/online", "/login"]);
    toy.will("/login", &[says(200, r#"{"token":"t2"}"#)]);
    toy.asks(D, OpKind::DriverLogin);
    assert_eq!(toy.asks(D, OpKind::DriverGoOnline).outcome, Outcome::Ok);
}

#[test]
fn a_second_phone_has_a_token_of_its_own_and_what_is_known_on_the_first() {
    let toy = toy("[driver.register]\npost = '/register'\nopen = true\nkeep.badge = '$.badge'\n\
        [driver.ping]\npost = '/ping'\nheaders.phone = '{{ me.badge }}-{{ ask.phone }}'\n");
    toy.will("/register", &[says(200, r#"{"badge":"b7"}"#)]);
    toy.will("/login", &[says(200, r#"{"token":"t1"}"#), says(200, r#"{"token":"t2"}"#)]);
    toy.will("/ping", &[says(200, "{}"), says(200, "{}"), says(401, "{}"), says(200, "{}")]);
    let second = |op| toy.tries(D, &Ask { phone: Some(2), ..Ask::new(op) }, 0);
    toy.asks(D, OpKind::DriverRegister);
    toy.asks(D, OpKind::DriverLogin);
    let early = second(OpKind::DriverPing);
    assert!(early.expired && early.status.is_none(), "it is not signed on: {early:?}");
    assert_eq!(second(OpKind::DriverLogin).outcome, Outcome::Ok);
    assert_eq!(toy.asks(D, OpKind::DriverPing).outcome, Outcome::Ok);
    assert_eq!(second(OpKind::DriverPing).outcome, Outcome::Ok);
    let sent: Vec<_> = toy.seen.borrow()[3..]
        .iter()
        .map(|(_, _, headers)| (headers["authorization"].clone(), headers["phone"].clone()))
        .collect();
    assert_eq!(sent[0], (HeaderValue::from_static("Bearer t1"), HeaderValue::from_static("b7-1")));
    assert_eq!(sent[1], (HeaderValue::from_static("Bearer t2"), HeaderValue::from_static("b7-2")));
    assert!(second(OpKind::DriverPing).expired);
    assert_eq!(
        toy.asks(D, OpKind::DriverPing).outcome,
        Outcome::Ok,
        "the first is signed on still"
    );
    assert_eq!(second(OpKind::DriverPing).status, None);
}

#[test]
fn a_token_that_nobody_gives_is_kept() {
    // Of the file itself: there is no other to be had.
    let file = "schema = 1\nname = 'toy'\n[link.api]\nurl = 'embedded'\n[robot.driver]\ntoken = 'x'\n\
        [driver.go_online]\npost = '/online'\nheaders.authorization = '{{ me.token }}'\n";
    let toy = toy("");
    let env = toy.env.clone();
    let name = NodeName::from("a/api-1");
    let mapped =
        Mapped::new(env, compiled(file).unwrap(), &[name], Duration::from_secs(2)).unwrap();
    let toy = Toy { mapped, ..toy };
    toy.will("/online", &[says(401, "{}"), says(200, "{}")]);
    assert!(toy.asks(D, OpKind::DriverGoOnline).expired);
    assert_eq!(toy.asks(D, OpKind::DriverGoOnline).outcome, Outcome::Ok);
}

const READS: &str = "[driver.ping]\npost = '/ping'\n[driver.accept]\npost = '/accept'\nopen = true\n\
    keep_job.trip = '$.trip'\nread.job = { id = '$.id', state = '$.state' }\n\
    [driver.current_job]\nget = '/current'\nopen = true\nread.job = { id = '$.id', state = '$.state' }\n\
    [passenger.job_status]\nget = '/job'\nopen = true\nread.job = { id = '$.id', state = '$.state' }\n\
    [passenger.pay]\npost = '/pay'\nopen = true\nread.charges = { id = '$.id', amount = '$.sum' }\n\
    [audit.jobs]\nget = '/jobs'\nopen = true\n\
    read.jobs = { each = '$.jobs[*]', id = '$.id', state = '$.state' }\n\
    [audit.charges]\nget = '/charges'\nopen = true\n\
    read.charges = { each = '$.charges', id = '$.id', job = '$.job', amount = '$.sum' }\n";

#[test]
fn what_cannot_be_read_is_unknown_and_says_which_pick_of_which_step() {
    const HTML: &str = "<html>try again later</html>";
    let accept = of_job(OpKind::DriverAccept);
    let status = of_job(OpKind::PassengerJobStatus);
    let pay = of_job(OpKind::PassengerPay);
    let (jobs, charges) = (Ask::new(OpKind::AuditJobs), Ask::new(OpKind::AuditCharges));
    let current = Ask::new(OpKind::DriverCurrentJob);
    let login = Ask::new(OpKind::DriverLogin);
    for (robot, ask, path, body, words) in [
        (A, &jobs, "/jobs", HTML, "`audit.jobs`: its body cannot be decoded"),
        (A, &jobs, "/jobs", r#"{"list":[]}"#, "`audit.jobs.read.jobs.each` matched nothing"),
        (A, &jobs, "/jobs", r#"{"jobs":[{"state":"OPEN"}]}"#, "`audit.jobs.read.jobs.id`"),
        (A, &jobs, "/jobs", r#"{"jobs":[{"id":1}]}"#, "`audit.jobs.read.jobs.state`"),
        (A, &charges, "/charges", HTML, "`audit.charges`: its body"),
        (A, &charges, "/charges", "{}", "`audit.charges.read.charges.each`"),
        (
            A,
            &charges,
            "/charges",
            r#"{"charges":[{"id":1,"job":7}]}"#,
            "`audit.charges.read.charges.amount`",
        ),
        (D, &accept, "/accept", HTML, "`driver.accept`: its body"),
        (D, &accept, "/accept", r#"{"trip":1,"state":"TAKEN"}"#, "`driver.accept.read.job.id`"),
        (D, &accept, "/accept", r#"{"trip":1,"id":7}"#, "`driver.accept.read.job.state`"),
        (D, &accept, "/accept", r#"{"id":7,"state":"TAKEN"}"#, "`driver.accept.keep_job.trip`"),
        (D, &accept, "/accept", "", "`driver.accept.read.job.id`"),
        (P, &status, "/job", "{}", "`passenger.job_status.read.job.id`"),
        (P, &pay, "/pay", r#"{"id":1}"#, "`passenger.pay.read.charges.amount`"),
        (D, &current, "/current", HTML, "`driver.current_job`: its body"),
        (D, &current, "/current", "", "say `none = { empty = true }`"),
        (D, &login, "/login", r#"{"jwt":"t"}"#, "`driver.login.keep.token` matched nothing"),
    ] {
        let toy = toy(READS);
        toy.will(path, &[says(200, body)]);
        let tried = toy.tries(robot, ask, 0);
        assert_eq!(tried.outcome, Outcome::Info, "{body}: {tried:?}");
        assert!(why(&tried).contains(words), "{words}: {}", why(&tried));
        // What is read back may be asked for again; all else may have taken effect.
        assert_eq!(tried.retry, robot == A, "{body}");
    }
}

#[test]
fn nothing_is_an_answer_where_it_may_be() {
    for (file, status, body) in [
        ("", 204, ""),
        ("", 200, "null"),
        ("", 200, "{}"),
        ("none = { empty = true }\n", 200, " "),
        ("none = { status = [404] }\n", 404, "<html>not here</html>"),
        ("none = { if = 'body.free' }\n", 200, r#"{"free":true,"id":9}"#),
    ] {
        let toy = toy(&format!(
            "[driver.current_job]\nget = '/current'\nopen = true\n{file}\
             read.job = {{ id = '$.id', state = '$.state' }}\n"
        ));
        toy.will("/current", &[says(status, body)]);
        let tried = toy.asks(D, OpKind::DriverCurrentJob);
        assert_eq!(tried.outcome, Outcome::Ok, "{file}{body}: {tried:?}");
        assert_eq!(tried.answer.job, None);
    }
    let toy = toy(READS);
    toy.will("/jobs", &[says(200, r#"{"jobs":[]}"#)])
        .will("/charges", &[says(200, r#"{"charges":null}"#)]);
    for op in [OpKind::AuditJobs, OpKind::AuditCharges] {
        let tried = toy.asks(A, op);
        assert_eq!((tried.outcome, tried.answer.is_empty()), (Outcome::Ok, true), "{tried:?}");
    }
    let tried = self::toy("[driver.current_job]\nget = '/x'\nopen = true\n");
    tried.will("/x", &[says(200, "{}")]);
    let tried = tried.asks(D, OpKind::DriverCurrentJob);
    assert!(why(&tried).contains("the step has no `read.job`"), "{tried:?}");
}

#[test]
fn a_job_of_another_name_that_nobody_knows_is_listed_under_that() {
    let toy = toy(
        "[passenger.request_job]\npost = '/ask'\nopen = true\nkeep_job.trip = '$.trip'\n\
         read.job = { id = '$.id' }\n\
         [driver.current_job]\nget = '/current'\nopen = true\n\
         read.job = { id = { path = '$.trip', of = 'trip' }, state = { is = 'OPEN' } }\n\
         [audit.jobs]\nget = '/jobs'\nopen = true\n\
         read.jobs = { each = '$', id = { path = '$.trip', of = 'trip' }, state = { is = 'OPEN' } }\n",
    );
    toy.will("/ask", &[says(200, r#"{"id":"j1","trip":"t1"}"#)]);
    toy.will("/jobs", &[says(200, r#"[{"trip":"t1"},{"trip":"t2"}]"#)]);
    toy.will("/current", &[says(200, r#"{"trip":"t9"}"#)]);
    let at = Some(Place::default());
    let ask = Ask { at, to: at, ..Ask::new(OpKind::PassengerRequestJob) };
    assert_eq!(toy.tries(P, &ask, 0).outcome, Outcome::Ok);
    let tried = toy.asks(A, OpKind::AuditJobs);
    let ids: Vec<_> = tried.answer.jobs.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(ids, ["j1", "t2"]);
    let tried = toy.asks(D, OpKind::DriverCurrentJob);
    assert_eq!(tried.outcome, Outcome::Info);
    assert!(why(&tried).contains("t9 is the `trip` of no job that is known"), "{tried:?}");
}

#[test]
fn a_command_that_may_have_run_is_unknown_and_a_read_back_is_only_a_failed_read() {
    let file = "[passenger.pay]\ncommand = ['sh', '-c', 'exit 3']\n\
        [audit.charges]\ncommand = ['sh', '-c', 'exit 3']\n\
        read.charges = { each = '$', id = '$.id', job = '$.job', amount = '$.sum' }\n\
        [passenger.rate]\ncommand = ['/no/such/program']\n\
        [passenger.cancel]\ncommand = ['sleep', '60']\n";
    let file = compiled(&format!("{HEAD}{file}")).unwrap();
    let asked = |op| (op, of_job(op));
    let found: Vec<_> = crate::target::wire::testing::run(async move {
        let env = real();
        let mapped = Mapped::new(env, file, &[], Duration::from_millis(300)).unwrap();
        let mut found = Vec::new();
        for (op, ask) in [
            asked(OpKind::PassengerPay),
            asked(OpKind::AuditCharges),
            asked(OpKind::PassengerRate),
            asked(OpKind::PassengerCancel),
        ] {
            let robot = if op == OpKind::AuditCharges { A } else { P };
            let tried = mapped.attempt(robot, &ask, 0).await;
            found.push((tried.outcome, tried.retry));
        }
        found
    });
    let (info, fail) = (Outcome::Info, Outcome::Fail);
    assert_eq!(found, [(info, true), (fail, true), (fail, true), (info, true)]);
}

#[expect(clippy::disallowed_methods, reason = "the origin of a test's time")]
fn real() -> Env {
    use crate::{
        base::rng::Rng,
        world::real::{Boot, RealWorld},
    };
    let name = NodeName::from("robots");
    let world = RealWorld::new(name.clone(), Boot::default(), std::time::Instant::now());
    Env::new(name, &Rng::from_seed("x"), world)
}

#[test]
fn what_nobody_answers_for_is_unknown_but_for_a_location_update() {
    let ping = Ask::new(OpKind::DriverPing);
    assert_eq!(Judged::unanswered(Some(&ping), "x").outcome, Outcome::Ok);
    let judged = Judged::unanswered(Some(&of_job(OpKind::DriverAccept)), "x");
    assert_eq!((judged.outcome, judged.retry), (Outcome::Info, false));
}

const DRAFT: &str = "[[passenger.request_job.first]]\npost = '/draft'\nkeep.draft = '$.id'\n\
    [passenger.request_job]\npost = '/ask/{{ me.draft }}'\nread.job = { id = '$.id' }\n\
    [passenger.login]\npost = '/login'\nopen = true\njson = {}\nkeep.token = '$.token'\n";

#[test]
fn what_came_first_and_took_effect_is_not_done_again() {
    let toy = toy(DRAFT);
    toy.will("/login", &[says(200, r#"{"token":"t"}"#)])
        .will("/draft", &[says(200, r#"{"id":"d"}"#)]);
    toy.will("/ask/d", &[says(401, "{}"), says(200, r#"{"id":"j"}"#)]);
    toy.asks(P, OpKind::PassengerLogin);
    let ask = Ask { key: Some("k".into()), ..Ask::new(OpKind::PassengerRequestJob) };
    assert!(toy.tries(P, &ask, 0).expired);
    toy.asks(P, OpKind::PassengerLogin);
    assert_eq!(toy.tries(P, &ask, 1).outcome, Outcome::Ok);
    assert_eq!(toy.paths(), ["/login", "/draft", "/ask/d", "/login", "/ask/d"]);
    // Another op begins from the start.
    assert_eq!(toy.tries(P, &ask, 0).outcome, Outcome::Ok);
    assert_eq!(toy.paths()[5..], ["/draft", "/ask/d"]);
}

#[test]
fn what_goes_wrong_before_is_not_the_word_on_the_op() {
    let two = "[[passenger.job_status.first]]\npost = '/a'\nopen = true\n\
        [[passenger.job_status.first]]\nget = '/b'\nopen = true\n\
        [passenger.job_status]\nget = '/job'\nopen = true\nread.job = { id = '$.id', state = '$.s' }\n";
    let ask = of_job(OpKind::PassengerJobStatus);
    let toy = toy(two);
    toy.will("/a", &[says(404, "gone")]);
    let tried = toy.tries(P, &ask, 0);
    assert_eq!(tried.answer.refusal, Some(Refusal::Other), "{tried:?}");
    assert_eq!(why(&tried), "`passenger.job_status.first[0]`: gone");
    // A part of it was done.
    toy.will("/a", &[says(200, "")]).will("/b", &[says(404, "")]);
    let tried = toy.tries(P, &ask, 0);
    assert_eq!((tried.outcome, tried.answer.refusal), (Outcome::Info, None));
}

#[test]
fn one_deadline_holds_for_all_of_an_attempt() {
    let toy = toy("[[passenger.job_status.first]]\nget = '/a'\nopen = true\n\
         [[passenger.job_status.first]]\nget = '/b'\nopen = true\n\
         [passenger.job_status]\nget = '/job'\nopen = true\nread.job = { id = '$.id', state = '$.s' }\n");
    let slow = Says { takes_ms: 1_500, ..says(200, "") };
    toy.will("/a", std::slice::from_ref(&slow)).will("/b", &[slow]).will("/job", &[says(200, "")]);
    let before = toy.sim.now();
    let tried = toy.tries(P, &of_job(OpKind::PassengerJobStatus), 0);
    assert!(toy.sim.now() - before <= Duration::from_millis(2_011), "{tried:?}");
    assert_eq!(toy.paths(), ["/a", "/b"]);
}

#[test]
fn a_pause_is_waited_for_outside_of_the_attempt_and_to_its_end() {
    let toy = toy("[driver.go_online]\npost = '/online'\nopen = true\n");
    let limited = Says { headers: &[("retry-after", "90")], ..says(429, "") };
    toy.will("/online", &[limited, says(200, "")]);
    let tried = toy.asks(D, OpKind::DriverGoOnline);
    assert_eq!(tried.answer.refusal, Some(Refusal::Limited));
    let paused = toy.sim.now();
    // Within an attempt there is no time for it.
    let tried = toy.asks(D, OpKind::DriverGoOnline);
    assert_eq!((tried.answer.refusal, tried.retry), (Some(Refusal::Limited), true));
    assert_eq!(toy.paths().len(), 1);
    let (mapped, back) = (toy.mapped.clone(), Rc::new(RefCell::new(Vec::new())));
    for _ in 0..5 {
        let (mapped, env, back) = (mapped.clone(), toy.env.clone(), back.clone());
        toy.env.spawn(async move {
            mapped.held().unwrap().await;
            back.borrow_mut().push(env.now());
        });
    }
    toy.sim.run_until(toy.sim.now() + Duration::from_secs(200)).unwrap();
    let back = back.borrow();
    let least = paused + Duration::from_secs(89);
    assert!(back.len() == 5 && back.iter().all(|at| *at >= least), "{back:?}");
    assert!(back.windows(2).all(|two| two[0] != two[1]), "{back:?}");
    assert!(mapped.held().is_none());
}

#[test]
fn whether_a_key_is_sent_is_seen() {
    let keyless = |step: &str| {
        let file = format!("{HEAD}[passenger.request_job]\npost = '/ask'\n{step}");
        compiled(&file).unwrap().declares.keyless
    };
    assert_eq!(keyless("json = { a = 1 }\n"), [OpKind::PassengerRequestJob]);
    assert_eq!(keyless("ok = { if = 'body.key == ask.key' }\n"), [OpKind::PassengerRequestJob]);
    assert_eq!(keyless("headers.idempotency-key = '{{ ask.key }}'\n"), []);
    assert_eq!(keyless("json = { k = \"{{ 'rc-' ~ ask.key }}\" }\n"), []);
    assert_eq!(keyless("query.key = '{{ ask.key }}'\n"), []);
}

#[test]
fn pushes_and_other_names_that_never_match_are_errors() {
    const LINKS: &str = "schema = 1\nname = 'x'\n[link.api]\nurl = 'http://127.0.0.1:1'\n\
        [link.ws]\nurl = 'ws://127.0.0.1:1'\n";
    for (file, words) in [
        ("[[push]]\nvia = 'api'\n", "x.toml:8: `push[0].via`: nothing is told unasked over HTTP"),
        (
            "[[push]]\nvia = 'ws'\nevent = 'x'\n",
            "x.toml:9: `push[0].event`: has no effect here: only Socket.IO",
        ),
        (
            "[[push]]\nvia = 'ws'\nread.job = { id = { path = '$.t', of = 'trpi' } }\n",
            "`push[0].read.job.id.of`: there is no `job.trpi`",
        ),
        (
            "[driver.accept]\npost = '/a'\nread.job = { id = '$.a', fare = { path = '$.b', of = 'c' } }\n",
            "`driver.accept.read.job.fare.of`: only a job's id",
        ),
        (
            "[driver.accept]\npost = '/a'\n[offers]\nhow = 'push'\n[[push]]\nvia = 'ws'\n\
             read.job = { id = '$.t', state = '$.s' }\n",
            "`offers.how`: `push` needs a [[push]] for drivers that reads an offer",
        ),
    ] {
        let source = Source::new(Path::new("x.toml"), &format!("{LINKS}{file}"));
        let why = Compiled::new(&source, &For::default()).unwrap_err().to_string();
        assert!(why.contains(words), "{words}\n{why}");
    }
}

#[test]
fn a_state_is_read_for_whoever_asks() {
    let toy = toy(READS);
    toy.will("/current", &[says(200, r#"{"id":7,"state":"TAKEN"}"#)]);
    let tried = toy.asks(D, OpKind::DriverCurrentJob);
    assert_eq!(tried.answer.job.unwrap().state, JobState::Accepted);
}
