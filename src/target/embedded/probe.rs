//! Requests that are wrong on purpose: how a right one is spoiled. What such a request brings changes
//! no session: a robot goes on with its own token afterwards.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Value, json};

use super::{
    Embedded, Sent, Tried, fail,
    request::{Credentials, Form},
};
use crate::{
    base::id::RobotId,
    history::{
        hop::TraceId,
        op::{OpKind, Outcome},
        probe::Probe,
    },
    scenario::Scenario,
    target::spoil,
};

const BEARER: &str = "Bearer ";

/// The probes that a run of that scenario sends.
pub fn sent(scenario: &Scenario) -> Vec<Probe> {
    // Two versions that never run beside each other have nothing to agree on.
    let versions = !scenario.backend.versions.is_empty();
    let known = Probe::ALL.iter().copied().filter(|probe| versions || *probe != Probe::Twin);
    spoil::sent(known, &scenario.robots)
}

impl Embedded {
    /// One request that is wrong in that way.
    pub(super) async fn probe(
        &self,
        robot: RobotId,
        probe: Probe,
        form: Form,
        trace: Option<TraceId>,
    ) -> Tried {
        if probe == Probe::Outside {
            // Right in all but whose it is: it opens an account and a session like any other.
            let body = outside(&form);
            return self.exchange(robot, Form { body, ..form }, trace).await;
        }
        let own = self.sessions.of(robot, |session| session.token.clone());
        let token = match probe {
            Probe::TokenRevoked => match self.revoked(robot).await {
                Ok(token) => Some(token),
                Err(tried) => return *tried,
            },
            Probe::TokenAbsent => None,
            Probe::TokenMalformed => Some(HeaderValue::from_static("Bearer of bad news")),
            _ if own.is_none() && form.with_token => {
                return fail("nothing was sent: the robot has no token of its own");
            }
            Probe::TokenForged => own.as_ref().and_then(forged),
            _ => own.filter(|_| form.with_token),
        };
        let body = spoil::body(&form.body, probe).unwrap_or_else(|| form.body.clone());
        match self.send(robot, Form { body, ..form }, token, trace).await {
            Some((away, sent)) => {
                if sent.judged.instance_failed {
                    self.sessions.move_on(robot, away);
                }
                sent.tried()
            }
            None => fail("the target has no API instance"),
        }
    }

    /// A token from a session that was closed before, should there be one to be had; or else how it
    /// was refused.
    async fn revoked(&self, robot: RobotId) -> Result<HeaderValue, Box<Tried>> {
        let who = Credentials::of(robot, &self.settings.seed);
        let kind = if robot.rides() { "passenger" } else { "driver" };
        let opened = self.step("/v1/session/open", who.session(kind), robot).await?;
        let Some(session) = opened.judged.session else {
            return Err(Box::new(fail("nothing was sent: there is no session to be closed")));
        };
        let body = json!({ "session": session });
        self.step("/v1/session/exchange", body.clone(), robot).await?;
        self.step("/v1/session/close", body.clone(), robot).await?;
        let form = form("/v1/session/exchange", &body);
        let Some((_, again)) = self.send(robot, form, None, None).await else {
            return Err(Box::new(fail("the target has no API instance")));
        };
        let bearer = |token: &String| HeaderValue::try_from(format!("{BEARER}{token}")).ok();
        match again.judged.token.as_ref().and_then(bearer) {
            Some(token) => Ok(token),
            None => Err(Box::new(again.tried())),
        }
    }

    /// A step of the way that must be ok, or nothing is known of the session.
    async fn step(
        &self,
        path: &'static str,
        body: Value,
        robot: RobotId,
    ) -> Result<Sent, Box<Tried>> {
        let sent = self.send(robot, form(path, &body), None, None).await;
        match sent {
            Some((_, sent)) if sent.judged.outcome == Outcome::Ok => Ok(sent),
            _ => Err(Box::new(fail("nothing was sent: no session could be opened and closed"))),
        }
    }
}

/// A request of a session: an op of nobody, which reads what it is told.
fn form(path: &'static str, body: &Value) -> Form {
    let op = OpKind::PassengerCurrentJob;
    Form { op, path, body: body.to_string().into(), with_token: false }
}

/// Of an account that is opened it is said that it is another tenant's.
fn outside(form: &Form) -> Bytes {
    match serde_json::from_slice(&form.body) {
        Ok(Value::Object(mut body)) if form.op == OpKind::DriverRegister => {
            body.insert("tenant".into(), "outside".into());
            Value::Object(body).to_string().into()
        }
        _ => form.body.clone(),
    }
}

/// The same with another letter in its middle.
fn forged(bearer: &HeaderValue) -> Option<HeaderValue> {
    let token = bearer.to_str().ok()?.strip_prefix(BEARER)?;
    HeaderValue::try_from(format!("{BEARER}{}", spoil::forged(token)?)).ok()
}
