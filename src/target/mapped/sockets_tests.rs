//! Robots' sockets at a server that lets them down.

use std::{path::Path, time::Instant};

use futures_util::{SinkExt as _, StreamExt as _, future::join};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{self, handshake::server},
};

use super::super::{For, Mapped};
use crate::{
    base::{
        file::Source,
        id::{Id, RobotId, RobotKind},
        name::NodeName,
        rng::Rng,
    },
    engine::target::{Ears, Target as _, Told},
    history::op::{Ask, OpKind, Outcome},
    target::wire::testing::{listener, run},
    world::{
        Env,
        real::{Boot, RealWorld},
    },
};

const DRIVER: RobotId = RobotId { kind: RobotKind::Driver, number: 7 };

/// A desk that takes logins over the socket and hands out jobs unasked.
const DESK: &str = r#"
schema = 1
name = "desk"

[link.desk]
url = "ws://127.0.0.1:PORT/ride?v=2&token={{ me.pass }}"

[robot.driver]
pass = "p{{ me.number }}"

[driver.login]
send = { op = "login", pass = "{{ me.pass }}" }
answer_if = "body.op == 'in'"
open = true
keep.badge = "$.badge"
read.account = "$.id"

[driver.go_online]
send = { op = "on" }
answer_if = "body.op == 'on'"

[auth]
expired = { if = "body.why == 'expired'" }

[[push]]
via = "desk"
to = "driver"
if = "body.op == 'job'"
read.job = { id = "$.job", state = "$.state" }

[state]
accepted = ["yours"]
"#;

fn mapped(port: u16) -> std::rc::Rc<Mapped> {
    let source = Source::new(Path::new("desk.toml"), &DESK.replace("PORT", &port.to_string()));
    let file = super::super::Compiled::new(&source, &For::default()).unwrap();
    let name = NodeName::from("robots");
    #[expect(clippy::disallowed_methods, reason = "the origin of a test's time")]
    let world = RealWorld::new(name.clone(), Boot::default(), Instant::now());
    let env = Env::new(name, &Rng::from_seed("sockets"), world);
    Mapped::new(env, file, &[], std::time::Duration::from_secs(5)).unwrap()
}

/// The server's side of the next socket, and what was asked for.
async fn accept(listener: &TcpListener) -> (WebSocketStream<TcpStream>, String) {
    let mut asked = String::new();
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let look = |request: &server::Request, response: server::Response| {
        asked = request.uri().to_string();
        Ok(response)
    };
    let stream = listener.accept().await.unwrap().0;
    (accept_hdr_async(stream, look).await.unwrap(), asked)
}

fn text(text: &str) -> tungstenite::Message {
    tungstenite::Message::text(text)
}

#[test]
fn a_socket_that_breaks_is_opened_again_though_nobody_asks() {
    run(async {
        let (listener, base) = listener("http").await;
        let mapped = mapped(base.port());
        let (heard, mut told) = mpsc::unbounded_channel::<Told>();
        mapped.listen(Ears::new(move |told| drop(heard.send(told)), |_| {}));
        let ask = Ask::new(OpKind::DriverLogin);
        let login = mapped.attempt(DRIVER, &ask, 0);
        let office = async {
            let (mut socket, asked) = accept(&listener).await;
            assert_eq!(asked, "/ride?v=2&token=p7");
            let login = socket.next().await.unwrap().unwrap();
            assert_eq!(login, text(r#"{"op":"login","pass":"p7"}"#));
            socket.send(text(r#"{"op":"in","ok":true,"id":70,"badge":"b"}"#)).await.unwrap();
            socket
        };
        let (tried, first) = join(login, office).await;
        assert_eq!((tried.outcome, tried.answer.account), (Outcome::Ok, Some(Id::from("70"))));
        assert_eq!(mapped.robot_of(RobotKind::Driver, &Id::from("70")), Some(DRIVER));
        assert_eq!(mapped.robot_of(RobotKind::Passenger, &Id::from("70")), None);
        // The office goes down without a word.
        drop(first);
        let (mut second, _) = accept(&listener).await;
        second.send(text(r#"{"op":"job","job":5,"state":"yours"}"#)).await.unwrap();
        let told = told.recv().await.unwrap();
        assert_eq!((told.robot, told.answer.job.unwrap().id.clone()), (DRIVER, Id::from("5")));
        // Who left is not called back.
        mapped.sockets.close(DRIVER);
        assert!(matches!(second.next().await, Some(Ok(tungstenite::Message::Close(_)))));
    });
}

#[test]
fn a_socket_that_was_let_in_by_an_expired_token_is_not_used_again() {
    run(async {
        let (listener, base) = listener("http").await;
        let mapped = mapped(base.port());
        let ask = Ask::new(OpKind::DriverGoOnline);
        let office = async |answer: &str| {
            let (mut socket, _) = accept(&listener).await;
            assert_eq!(socket.next().await.unwrap().unwrap(), text(r#"{"op":"on"}"#));
            socket.send(text(answer)).await.unwrap();
            socket
        };
        let old = office(r#"{"op":"on","why":"expired"}"#);
        let (tried, mut old) = join(mapped.attempt(DRIVER, &ask, 0), old).await;
        assert!(tried.expired && tried.outcome == Outcome::Fail, "{tried:?}");
        assert!(matches!(old.next().await, Some(Ok(tungstenite::Message::Close(_)))));
        let new = office(r#"{"op":"on"}"#);
        let (tried, _) = join(mapped.attempt(DRIVER, &ask, 1), new).await;
        assert_eq!(tried.outcome, Outcome::Ok);
    });
}
