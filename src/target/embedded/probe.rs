//! Requests that are wrong on purpose: how a right one is spoiled. What such a request brings changes
//! no session: a robot goes on with its own token afterwards.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};

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
};

/// More than the API reads of one request.
const OVERSIZED_BYTES: usize = 20_000;
/// Stands for a number until the body is text: JSON has no word for what is none.
const NONE_YET: &str = "@NaN@";

/// The probes that a run of that scenario sends.
pub fn sent(scenario: &Scenario) -> Vec<Probe> {
    let rogues = scenario.robots.rogue.share > 0.0;
    let versions = !scenario.backend.versions.is_empty();
    let wanted = |probe: &Probe| match probe {
        // Two versions that never run beside each other have nothing to agree on.
        Probe::Twin => rogues && versions,
        Probe::PingReplay => scenario.robots.mishaps.replays > 0.0,
        _ => rogues,
    };
    Probe::ALL.iter().copied().filter(wanted).collect()
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
        let body = spoiled(&form.body, probe);
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
        let bearer = |token: &String| HeaderValue::try_from(format!("Bearer {token}")).ok();
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

/// The same with another letter in the middle.
fn forged(token: &HeaderValue) -> Option<HeaderValue> {
    let mut letters = token.as_bytes().to_vec();
    let middle = letters.len() / 2;
    let letter = letters.get_mut(middle)?;
    *letter = if *letter == b'A' { b'B' } else { b'A' };
    HeaderValue::from_bytes(&letters).ok()
}

/// The body as it is sent.
fn spoiled(right: &Bytes, probe: Probe) -> Bytes {
    if !probe.is_of_input() {
        return right.clone();
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(right) else { return right.clone() };
    match probe {
        Probe::InputNan => put_number(&mut body, &NONE_YET.into()),
        Probe::InputRange => put_number(&mut body, &json!(191)),
        Probe::InputMissing => {
            if let Some(first) = body.keys().next().cloned() {
                body.remove(&first);
            }
        }
        Probe::InputType => {
            if let Some((_, value)) = body.iter_mut().next() {
                *value = if value.is_string() { json!(7.5) } else { json!("much") };
            }
        }
        Probe::InputOversized => {
            body.insert("padding".into(), "x".repeat(OVERSIZED_BYTES).into());
        }
        Probe::InputGarbled => return right.slice(..right.len() / 2),
        _ => {}
    }
    let text = Value::Object(body).to_string();
    text.replace(&format!("\"{NONE_YET}\""), "NaN").into()
}

/// Puts a value in the place of the first number that a body has, however deep.
fn put_number(body: &mut Map<String, Value>, put: &Value) {
    for value in body.values_mut() {
        match value {
            Value::Number(_) => {
                *value = put.clone();
                return;
            }
            Value::Object(inner) if inner.values().any(Value::is_number) => {
                return put_number(inner, put);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(right: &str, probe: Probe) -> String {
        String::from_utf8(spoiled(&Bytes::from(right.to_owned()), probe).to_vec()).unwrap()
    }

    #[test]
    fn each_input_probe_spoils_a_body_in_its_way() {
        let right = r#"{"from":{"lat":53.3,"lon":-6.2},"key":"k","to":{"lat":53.4,"lon":-6.1}}"#;
        assert_eq!(told(right, Probe::JobOther), right);
        let none = told(right, Probe::InputNan);
        assert!(none.starts_with(r#"{"from":{"lat":NaN,"lon":-6.2}"#), "{none}");
        let range = told(right, Probe::InputRange);
        assert!(range.starts_with(r#"{"from":{"lat":191,"lon":-6.2}"#), "{range}");
        assert!(told(right, Probe::InputMissing).starts_with(r#"{"key""#));
        assert!(told(right, Probe::InputType).starts_with(r#"{"from":"much""#));
        assert_eq!(told(r#"{"job":"7"}"#, Probe::InputType), r#"{"job":7.5}"#);
        assert_eq!(
            told(r#"{"job":"7","stars":1}"#, Probe::InputRange),
            r#"{"job":"7","stars":191}"#
        );
        assert!(told(right, Probe::InputOversized).len() > OVERSIZED_BYTES);
        assert_eq!(told(right, Probe::InputGarbled).len(), right.len() / 2);
        for probe in Probe::ALL.iter().filter(|probe| probe.is_of_input()) {
            let same = *probe == Probe::InputUnknownId;
            assert_eq!(told(right, *probe) == right, same, "{probe}");
        }
    }

    #[test]
    fn a_forged_token_differs_in_one_letter() {
        let own = HeaderValue::from_static("Bearer AAAABBBBCCCC");
        let other = forged(&own).unwrap();
        let pairs = own.as_bytes().iter().zip(other.as_bytes());
        assert_eq!(pairs.filter(|(one, two)| one != two).count(), 1);
    }
}
