//! Golden requests, what each status means, and which instance a robot goes to.

use std::{cell::Cell, collections::VecDeque, future::ready, rc::Rc};

use futures_util::{FutureExt, future::pending};
use http::StatusCode;

use super::*;
use crate::{
    base::{
        place::Place,
        rng::Rng,
        time::{Time, Wall},
    },
    world::{
        HttpHandler, World,
        link::{DialError, Link, Listener},
        store::{Store, StoreError},
    },
};

type Scripted = Result<(u16, &'static str), HttpError>;

/// A world in which HTTP follows a script; without one it never answers.
#[derive(Default)]
struct Script {
    now: Cell<u64>,
    answers: RefCell<VecDeque<Scripted>>,
    seen: RefCell<Vec<String>>,
}

impl World for Script {
    fn now(&self) -> Time {
        Time(self.now.get())
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn sleep_until(&self, _: Time) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
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
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, HttpError>> {
        let token = request.headers().get(header::AUTHORIZATION);
        let token = token.map_or("-", |token| token.to_str().unwrap());
        let body = std::str::from_utf8(request.body()).unwrap();
        let line = format!("{to} {} {} {token} {body}", request.method(), request.uri());
        self.seen.borrow_mut().push(line);
        match self.answers.borrow_mut().pop_front() {
            Some(Ok((status, body))) => {
                let mut response = Response::new(Bytes::from_static(body.as_bytes()));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                Box::pin(ready(Ok(response)))
            }
            Some(Err(error)) => Box::pin(ready(Err(error))),
            None => Box::pin(pending()),
        }
    }
    fn store(&self, name: &str) -> LocalBoxFuture<'static, Result<Store, StoreError>> {
        let error = StoreError::new(name, "none here");
        Box::pin(ready(Err(error)))
    }
}

fn target() -> (Embedded, Rc<Script>) {
    let script = Rc::new(Script::default());
    let world = Rc::clone(&script) as Rc<dyn World>;
    let env = Env::new("robots".into(), &Rng::from_seed("7"), world);
    let settings = Settings {
        seed: "7".into(),
        apis: ["a/api-1", "b/api-1", "c/api-1"].map(NodeName::from).to_vec(),
        attempt_timeout: Duration::from_secs(2),
        push: 0.0,
        declares: Declares::default(),
    };
    (Embedded::new(env, settings), script)
}

impl Script {
    fn will(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.answers.borrow_mut().extend(answers);
    }
    fn last(&self) -> String {
        self.seen.borrow().last().unwrap().clone()
    }
    fn last_node(&self) -> String {
        self.last().split(' ').next().unwrap().to_owned()
    }
}

fn attempt(target: &Embedded, robot: RobotId, ask: &Ask) -> Tried {
    target.attempt(robot, ask, 0).now_or_never().expect("the script never waits")
}

fn full(op: OpKind) -> Ask {
    Ask {
        job: Some("77".into()),
        assignment: Some(2),
        offer: Some("88".into()),
        at: Some(Place::from_degrees(53.349_8, -6.260_3)),
        to: Some(Place::from_degrees(53.421_3, -6.270_1)),
        key: Some("k-1".into()),
        seq: Some(12),
        stars: Some(5),
        reason: Some("late".into()),
        ..Ask::new(op)
    }
}

#[test]
fn requests_are_written_as_agreed() {
    let at = r#"{"lat":53.3498,"lon":-6.2603}"#;
    let journey = format!(r#"{{"from":{at},"to":{{"lat":53.4213,"lon":-6.2701}}"#);
    let step = r#"{"assignment":2,"job":"77","reason":"late"}"#.to_owned();
    let offer = r#"{"job":"77","offer":"88"}"#.to_owned();
    let golden = [
        (OpKind::DriverPing, "driver/ping", r#"{"lat":53.349800,"lon":-6.260300,"seq":12}"#.into()),
        (OpKind::DriverGoOnline, "driver/online", at.to_owned()),
        (OpKind::DriverGoOffline, "driver/offline", "{}".into()),
        (OpKind::DriverNextOffer, "driver/offer", "{}".into()),
        (OpKind::DriverAccept, "driver/accept", offer.clone()),
        (OpKind::DriverDecline, "driver/decline", offer),
        (OpKind::DriverArrive, "driver/arrive", step.clone()),
        (OpKind::DriverNoShow, "driver/noshow", step.clone()),
        (OpKind::PassengerCancel, "customer/cancel", step),
        (OpKind::PassengerQuote, "customer/quote", format!("{journey}}}")),
        (
            OpKind::PassengerRequestJob,
            "customer/request",
            format!(
                r#"{},"key":"k-1",{}"#,
                &journey[..journey.find(",\"to\"").unwrap()],
                &journey[journey.find("\"to\"").unwrap()..]
            ) + "}",
        ),
        (OpKind::PassengerPay, "customer/pay", r#"{"job":"77","key":"k-1"}"#.into()),
        (OpKind::PassengerRate, "customer/rate", r#"{"job":"77","stars":5}"#.into()),
        (OpKind::AuditCharges, "audit/charges", r#"{"after":"k-1","limit":200}"#.into()),
    ];
    for (op, path, body) in golden {
        let form = Form::of(&full(op), || unreachable!()).unwrap();
        assert_eq!(form.path, format!("/v1/{path}"));
        assert_eq!(std::str::from_utf8(&form.body).unwrap(), body, "{op}");
        assert!(form.with_token);
    }
}

#[test]
fn every_declared_op_has_a_request_and_the_others_none() {
    let who = || Credentials::of(RobotId::driver(1), "7");
    for op in OpKind::ALL {
        assert_eq!(Form::of(&full(*op), who).is_ok(), !LACKS.contains(op), "{op}");
    }
    // What an ask lacks is told, and nothing is sent.
    let (target, script) = target();
    let tried = attempt(&target, RobotId::driver(1), &Ask::new(OpKind::DriverAccept));
    assert_eq!((tried.outcome, tried.retry), (Outcome::Fail, false));
    assert!(script.seen.borrow().is_empty());
}

#[test]
fn a_session_is_kept_by_robot_and_dropped_when_it_expires() {
    let (target, script) = target();
    let robot = RobotId::driver(4);
    script.will([
        Ok((200, r#"{"account":"9","replayed":true}"#)),
        Ok((200, r#"{"account":"9","token":"t0k","expires_in_ms":5}"#)),
        Ok((200, "{}")),
        Ok((401, r#"{"error":{"code":"unauthenticated","message":"expired","happened":"no"}}"#)),
        Ok((401, "{}")),
    ]);
    let registered = attempt(&target, robot, &Ask::new(OpKind::DriverRegister));
    assert!(registered.answer.replayed);
    assert_eq!(target.account(robot), Some("9".into()));
    assert!(script.last().contains("\"phone\":\"driver-00004\""), "{}", script.last());
    attempt(&target, robot, &Ask::new(OpKind::DriverLogin));
    attempt(&target, robot, &full(OpKind::DriverPing));
    assert!(script.last().contains(" Bearer t0k "), "{}", script.last());
    let expired = attempt(&target, robot, &full(OpKind::DriverPing));
    assert!(expired.expired && expired.outcome == Outcome::Fail);
    assert_eq!(expired.answer.refusal, Some(Refusal::Unauthenticated));
    // Wrong credentials are no expiry: a login that leads to a login would never end.
    assert!(!attempt(&target, robot, &Ask::new(OpKind::DriverLogin)).expired);
    assert!(script.last().contains(" - "), "no token is left");
}

#[test]
fn each_status_means_one_thing() {
    use Outcome::{Fail, Info};
    let no = r#"{"error":{"code":"unavailable","message":"m","happened":"no"}}"#;
    for (status, body, outcome, retry, refusal) in [
        (400, no, Fail, false, Some(Refusal::Invalid)),
        (403, no, Fail, false, Some(Refusal::Forbidden)),
        (404, no, Fail, false, Some(Refusal::NotFound)),
        (409, no, Fail, false, Some(Refusal::Conflict)),
        (413, no, Fail, false, Some(Refusal::Invalid)),
        (429, no, Fail, true, Some(Refusal::Limited)),
        (503, no, Fail, true, None),
        (503, "busy", Info, true, None),
        (504, no, Info, true, None),
        (500, no, Info, true, None),
        (302, "", Info, true, None),
        (200, "not json", Info, false, None),
    ] {
        let judged = answer::judge(OpKind::DriverAccept, status, body.as_bytes());
        assert_eq!((judged.outcome, judged.retry), (outcome, retry), "{status}");
        assert_eq!(judged.answer.refusal, refusal, "{status}");
    }
}

#[test]
fn what_was_not_connected_certainly_failed_and_the_rest_is_unknown() {
    let (target, script) = target();
    let (robot, ping) = (RobotId::driver(0), full(OpKind::DriverPing));
    let refused = || Err(HttpError::NotConnected("refused".into()));
    // Of three instances none can be had.
    script.will([refused(), refused(), refused(), Err(HttpError::Broken("reset".into()))]);
    let of = |tried: Tried| (tried.outcome, tried.retry);
    assert_eq!(of(attempt(&target, robot, &ping)), (Outcome::Fail, true));
    assert_eq!(of(attempt(&target, robot, &ping)), (Outcome::Info, true));
    assert_eq!(of(attempt(&target, robot, &ping)), (Outcome::Info, true), "no answer in time");
}

#[test]
fn a_robot_leaves_an_instance_that_fails_and_comes_home_later() {
    let (target, script) = target();
    let (robot, ping) = (RobotId::driver(4), full(OpKind::DriverPing));
    let next = |answer: Scripted| {
        script.will([answer]);
        attempt(&target, robot, &ping);
        script.last_node()
    };
    assert_eq!(next(Ok((200, "{}"))), "b/api-1", "robot 4 of three instances");
    assert_eq!(next(Err(HttpError::Broken("reset".into()))), "b/api-1");
    assert_eq!(next(Ok((409, "{}"))), "c/api-1");
    assert_eq!(next(Ok((200, "{}"))), "c/api-1", "stays with what works");
    script.will([Err(HttpError::NotConnected("x".into()))]);
    assert_eq!(next(Ok((200, "{}"))), "a/api-1", "within the attempt");
    assert_eq!(next(Ok((200, "{}"))), "a/api-1");
    script.now.set(11_000_000_000);
    assert_eq!(next(Ok((200, "{}"))), "b/api-1", "home again");
}

#[test]
fn answers_are_read_into_our_words() {
    let body = r#"{"job":{"id":"1","state":"picked_up","assignment":2,"driver":"5",
        "passenger":"6","pickup":{"lat":53.3498,"lon":-6.2603},"dropoff":null,"quoted_minor":900},
        "replayed":true}"#;
    let judged = answer::judge(OpKind::DriverPickUp, 200, body.as_bytes());
    let job = judged.answer.job.unwrap();
    assert_eq!((job.state.word(), job.assignment), ("picked_up", 2));
    assert_eq!(job.pickup, Some(Place::from_degrees(53.349_8, -6.260_3)));
    assert!(judged.answer.replayed && job.driver == Some("5".into()));
    let body = r#"{"offer":{"id":"3","job":"1","pickup":{"lat":1.5,"lon":2.0},"dropoff":null,
        "expires_in_ms":900,"fare_minor":700}}"#;
    let offer = answer::judge(OpKind::DriverPing, 200, body.as_bytes()).answer.offer.unwrap();
    assert_eq!((offer.expires_in_ms, offer.fare_minor), (900, Some(700)));
    let body = r#"{"fare_minor":700,"trip_s":60}"#;
    let quote = answer::judge(OpKind::PassengerQuote, 200, body.as_bytes()).answer.quote;
    assert_eq!(quote.map(|quote| quote.trip_s), Some(60));
    let body = r#"{"charges":[{"id":"1","job":"2","amount_minor":5,"fee":true}],"next":"2.0"}"#;
    let page = answer::judge(OpKind::AuditCharges, 200, body.as_bytes()).answer;
    assert_eq!((page.charges.len(), page.next), (1, Some("2.0".into())));
}

#[test]
fn the_auditor_logs_in_by_itself() {
    let (target, script) = target();
    let robot = RobotId { kind: RobotKind::Auditor, number: 0 };
    script.will([
        Ok((200, r#"{"account":"1","token":"aud","expires_in_ms":5}"#)),
        Ok((200, r#"{"jobs":[],"next":""}"#)),
        Ok((401, "{}")),
    ]);
    let ask = Ask::new(OpKind::AuditJobs);
    assert_eq!(attempt(&target, robot, &ask).outcome, Outcome::Ok);
    assert!(script.seen.borrow()[0].contains("/v1/audit/login"));
    assert!(script.last().contains("Bearer aud"));
    let expired = attempt(&target, robot, &ask);
    assert!(expired.retry && !expired.expired, "the next attempt logs in again");
}
