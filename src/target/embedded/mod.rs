//! The adapter to the reference backend: robots' asks to HTTP requests, answers to outcomes. Works
//! over [`Env::http`], so in both worlds. Keeps each robot's session; knows nothing of the
//! backend's inside but its API.

mod answer;
mod probe;
mod request;
mod sessions;
mod stream;
mod wire;

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};

use crate::{
    base::{
        id::{Id, RobotId, RobotKind},
        name::NodeName,
    },
    engine::target::{Ears, Target, Traffic, Tried},
    history::{
        answer::{Answer, Refusal},
        declares::Declares,
        hop::{TraceId, Tracing},
        op::{Ask, OpKind, Outcome},
    },
    scenario::Scenario,
    target::app::App,
    world::{Env, HttpError, TimedOut},
};
use answer::Judged;
pub use request::PAGE as AUDIT_PAGE;
use request::{Credentials, Form};
use sessions::Sessions;
use stream::Pushes;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Operations of the contract that the reference backend does not have.
const LACKS: [OpKind; 4] =
    [OpKind::AuditEarnings, OpKind::AuditRefunds, OpKind::SetupApproveDriver, OpKind::CleanupRobot];

/// What the adapter needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The seed of the run: credentials are derived from it.
    pub seed: String,
    /// The instances of the API, by name.
    pub apis: Vec<NodeName>,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// The share of robots that are told over a stream as well.
    pub push: f64,
    /// What is declared.
    pub declares: Declares,
}

impl Settings {
    /// For a scenario, on a backend with these nodes.
    pub fn of(scenario: &Scenario, seed: &str, nodes: &[NodeName]) -> Self {
        let backend = &scenario.backend;
        let declares = Declares {
            name: "embedded".into(),
            environment: "local".into(),
            ops: OpKind::ALL.iter().copied().filter(|op| !LACKS.contains(op)).collect(),
            offer_ttl: backend.offer_ttl,
            search_ttl: backend.search_ttl,
            token_ttl: backend.token_ttl,
            ping_ttl: backend.ping_ttl,
            reach_m: backend.reach_m,
            drift_m_per_s: 0.0,
            scaled_time: true,
            probes: probe::sent(scenario),
            second_phones: scenario.robots.mishaps.second_phones > 0.0,
            ..Declares::default()
        };
        Self {
            seed: seed.to_owned(),
            apis: nodes.iter().filter(|node| node.role() == "api").cloned().collect(),
            attempt_timeout: scenario.robots.attempt_timeout.0,
            push: scenario.robots.push,
            declares,
        }
    }
}

/// The reference backend as a target.
pub struct Embedded {
    env: Env,
    settings: Settings,
    sessions: Sessions,
    pushes: Pushes,
    traffic: Traffic,
    /// Paths as they are put into requests: parsed once.
    uris: RefCell<Vec<(&'static str, Uri)>>,
    tracing: Cell<Option<Tracing>>,
    /// The op that the next attempt is one at.
    op: Cell<u64>,
}

impl Embedded {
    /// Speaks through `env`.
    pub fn new(env: Env, settings: Settings) -> Self {
        let sessions = Sessions::new(&env, &settings.apis);
        let pushes = Pushes::new(&env, &sessions, &settings);
        Self {
            env,
            settings,
            sessions,
            pushes,
            traffic: Traffic::default(),
            uris: RefCell::default(),
            tracing: Cell::default(),
            op: Cell::default(),
        }
    }

    /// The account of a robot at the backend, once it has one.
    pub fn account(&self, robot: RobotId) -> Option<Id> {
        self.sessions.of(robot, |session| session.account.clone())
    }

    fn uri(&self, path: &'static str) -> Uri {
        let mut uris = self.uris.borrow_mut();
        if let Some((_, uri)) = uris.iter().find(|(known, _)| *known == path) {
            return uri.clone();
        }
        let uri = Uri::from_static(path);
        uris.push((path, uri.clone()));
        uri
    }

    async fn exchange(&self, app: impl Into<App>, form: Form, trace: Option<TraceId>) -> Tried {
        let app = app.into();
        let (token, token_number) = self.sessions.of(app, |session| {
            (session.token.clone().filter(|_| form.with_token), session.token_number)
        });
        let op = form.op;
        let Some((away, sent)) = self.send(app, form, token, trace).await else {
            return fail("the target has no API instance");
        };
        if sent.judged.instance_failed {
            self.sessions.move_on(app, away);
        }
        self.sessions.remember(app, token_number, &sent.judged);
        // Streams are of first phones.
        if sent.judged.outcome == Outcome::Ok && !app.second {
            self.pushes.after(app.robot, op);
        }
        sent.tried()
    }

    /// Sends a request to the app's instance, with that token; to the next one where no connection
    /// can be had, as any client does that was given several addresses. `None` where there is none.
    async fn send(
        &self,
        app: impl Into<App>,
        form: Form,
        token: Option<HeaderValue>,
        trace: Option<TraceId>,
    ) -> Option<(usize, Sent)> {
        let bytes = wire::request_bytes(form.path, &form.body, token.as_ref(), trace.is_some());
        let app = app.into();
        let until = self.env.now() + self.settings.attempt_timeout;
        let mut others = self.settings.apis.len();
        loop {
            let (away, node) = self.sessions.instance(app)?;
            let (uri, body) = (self.uri(form.path), form.body.clone());
            let sent = self.env.http(&node, to_http(uri, body, token.clone(), trace));
            let ended = self.env.timeout(until.since(self.env.now()), sent).await;
            others = others.saturating_sub(1);
            if others > 0 && matches!(ended, Ok(Err(HttpError::NotConnected(_)))) {
                self.sessions.move_on(app, away);
                continue;
            }
            return Some((away, self.judged(form.op, bytes, node, ended)));
        }
    }

    /// What became of a request to `node`.
    fn judged(
        &self,
        op: OpKind,
        bytes: usize,
        node: NodeName,
        ended: Result<Result<Response<Bytes>, HttpError>, TimedOut>,
    ) -> Sent {
        match &ended {
            Ok(Ok(response)) => self.traffic.count(op, bytes, wire::answer_bytes(response)),
            Ok(Err(HttpError::NotConnected(_))) => {}
            Ok(Err(HttpError::Broken(_))) | Err(_) => self.traffic.count(op, bytes, 0),
        }
        let (judged, status) = match ended {
            Ok(Ok(response)) => (judge(op, &response), Some(response.status().as_u16())),
            Ok(Err(HttpError::NotConnected(why))) => (Judged::not_sent(why), None),
            Ok(Err(HttpError::Broken(why))) => (Judged::unknown(why), None),
            Err(_) => (Judged::unknown("no answer in time".to_owned()), None),
        };
        Sent { judged, node, status }
    }

    /// The auditor has no op to log in with: it does so as needed.
    async fn audit(&self, robot: RobotId, form: Form, trace: Option<TraceId>) -> Tried {
        if self.sessions.of(robot, |session| session.token.is_none()) {
            let login = request::audit_login(&self.settings.seed);
            let entered = self.exchange(robot, login, None).await;
            if entered.outcome != Outcome::Ok {
                // Whatever became of the login, nothing was read.
                return Tried { outcome: Outcome::Fail, retry: true, ..entered };
            }
        }
        let tried = self.exchange(robot, form, trace).await;
        Tried { retry: tried.retry || tried.expired, expired: false, ..tried }
    }
}

impl Target for Embedded {
    fn forget(&self, robot: RobotId) {
        self.sessions.of(robot, |session| session.token = None);
    }

    fn declares(&self) -> &Declares {
        &self.settings.declares
    }

    fn listen(&self, ears: Ears) {
        self.pushes.listen(ears);
    }

    fn traffic(&self) -> Option<&Traffic> {
        Some(&self.traffic)
    }

    fn traced(&self, tracing: Tracing) {
        self.tracing.set(Some(tracing));
    }

    fn next_op(&self, number: u64) {
        self.op.set(number);
    }

    fn attempt<'a>(
        &'a self,
        robot: RobotId,
        ask: &'a Ask,
        attempt: u32,
    ) -> LocalBoxFuture<'a, Tried> {
        let trace = self.tracing.get().and_then(|how| how.of(ask.op, self.op.get(), attempt));
        Box::pin(async move {
            let form = match Form::of(ask, || Credentials::of(robot, &self.settings.seed)) {
                Ok(form) => form,
                Err(why) => return fail(&why),
            };
            if let Some(probe) = ask.probe {
                Box::pin(self.probe(robot, probe, form, trace)).await
            } else if robot.kind == RobotKind::Auditor {
                Box::pin(self.audit(robot, form, trace)).await
            } else {
                self.exchange(App::of(robot, ask), form, trace).await
            }
        })
    }
}

/// The request; that its body is JSON is said at the edge of the world.
fn to_http(
    uri: Uri,
    body: Bytes,
    token: Option<HeaderValue>,
    trace: Option<TraceId>,
) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    if let Some(token) = token {
        *request.headers_mut() = HeaderMap::with_capacity(1);
        request.headers_mut().insert(header::AUTHORIZATION, token);
    }
    if let Some(parent) = trace.and_then(|trace| trace.traceparent().try_into().ok()) {
        request.headers_mut().insert(TRACEPARENT, parent);
    }
    request
}

fn judge(op: OpKind, response: &Response<Bytes>) -> Judged {
    let mut judged = answer::judge(op, response.status().as_u16(), response.body());
    if judged.answer.refusal == Some(Refusal::Limited) {
        let told = response.headers().get(header::RETRY_AFTER);
        let seconds = told.and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        judged.answer.retry_after_ms = seconds.map(|seconds| seconds.saturating_mul(1_000));
    }
    judged
}

/// What came of a request.
struct Sent {
    judged: Judged,
    node: NodeName,
    status: Option<u16>,
}

impl Sent {
    fn tried(self) -> Tried {
        let Self { judged, node, status } = self;
        Tried {
            outcome: judged.outcome,
            answer: judged.answer,
            node: Some(node),
            status,
            error: judged.error,
            expired: judged.expired,
            retry: judged.retry,
        }
    }
}

/// Nothing was sent, and nothing will be.
fn fail(why: &str) -> Tried {
    Tried {
        outcome: Outcome::Fail,
        answer: Answer { refusal: Some(Refusal::Other), ..Answer::default() },
        node: None,
        status: None,
        error: Some(why.to_owned()),
        expired: false,
        retry: false,
    }
}

#[cfg(test)]
mod tests;
