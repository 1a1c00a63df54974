//! Requests as the mapping wants them: path, query, headers and body, filled in for one robot.
//! Sends nothing.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::{
    Mapped,
    batch::compiled::STEP,
    robots::Prepared,
    scope::Scope,
    step::{Body, Step, Way},
    template::Text,
};
use crate::{
    base::id::RobotId,
    history::{hop::half_of_run, op::OpKind},
};

/// What every request of a run says of itself, made once.
pub struct Marks {
    run: Option<HeaderValue>,
    trace: [u8; 16],
}

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("robot-city/", env!("CARGO_PKG_VERSION")));
const RUN: HeaderName = HeaderName::from_static("x-robot-city-run");
const ROBOT: HeaderName = HeaderName::from_static("x-robot-city-robot");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Headers that most requests have, so that none is made room for twice.
const HEADERS: usize = 8;
/// Bytes of most bodies.
const BODY_BYTES: usize = 96;

impl Marks {
    /// Of the run with that id.
    pub fn new(run: &str) -> Self {
        Self { run: HeaderValue::from_str(run).ok(), trace: trace_of(run) }
    }
}

impl Mapped {
    /// The request of a step.
    pub(super) fn to_http(
        &self,
        robot: RobotId,
        step: &Step,
        link: usize,
        scope: &Scope<'_>,
    ) -> Result<Request<Bytes>, String> {
        let Way::Http { method, path, uri, body, .. } = &step.way else {
            return Err("it is no request".to_owned());
        };
        let uri = match uri {
            Some(uri) if step.query.is_empty() => uri.clone(),
            _ => target(path, step, scope)?,
        };
        let (content, bytes) = body.render(scope)?;
        let mut headers = self.headers(robot, step, link, scope, content)?;
        let request = self.session(robot, |session| {
            session.requests += 1;
            session.requests
        });
        headers.insert(TRACEPARENT, traceparent(&self.marks.trace, robot, request));
        let mut request = Request::new(bytes);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The headers but for the trace, which has its place among them. Those of a ping are made anew
    /// when something else is known of its robot, and else taken as they were.
    fn headers(
        &self,
        robot: RobotId,
        step: &Step,
        link: usize,
        scope: &Scope<'_>,
        content: Option<&'static str>,
    ) -> Result<HeaderMap, String> {
        let own = &self.file.links[link];
        let ping = scope.ask.is_some_and(|ask| ask.op == OpKind::DriverPing);
        let same = ping && step.same_headers && own.same_headers && step.key == STEP;
        if same {
            let known = self.session(scope.app(), |session| {
                let known = session.prepared.as_ref()?;
                std::ptr::eq(Rc::as_ptr(&known.of), scope.me).then(|| known.headers.clone())
            });
            if let Some(known) = known {
                return Ok(known);
            }
        }
        let mut headers = HeaderMap::with_capacity(HEADERS);
        if let Some(content) = content {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        }
        self.name(robot, &mut headers);
        headers.insert(TRACEPARENT, HeaderValue::from_static(""));
        for (name, text) in own.headers.iter().chain(&step.headers) {
            headers.insert(name.clone(), header_value(name, text.render(scope)?)?);
        }
        if same {
            self.session(scope.app(), |session| {
                let of = Rc::clone(&session.fields);
                session.prepared = std::ptr::eq(Rc::as_ptr(&of), scope.me)
                    .then(|| Prepared { of, headers: headers.clone() });
            });
        }
        Ok(headers)
    }

    /// Who asks: in every request, so that a backend's logs can be matched with a run.
    pub(super) fn identify(&self, robot: RobotId, headers: &mut HeaderMap) {
        self.name(robot, headers);
        let request = self.session(robot, |session| {
            session.requests += 1;
            session.requests
        });
        headers.insert(TRACEPARENT, traceparent(&self.marks.trace, robot, request));
    }

    fn name(&self, robot: RobotId, headers: &mut HeaderMap) {
        headers.insert(header::USER_AGENT, AGENT);
        if let Some(run) = &self.marks.run {
            headers.insert(RUN, run.clone());
        }
        if let Ok(robot) = HeaderValue::try_from(robot.to_string()) {
            headers.insert(ROBOT, robot);
        }
    }
}

/// Path and query, filled in.
fn target(path: &Text, step: &Step, scope: &Scope<'_>) -> Result<Uri, String> {
    let mut target = path.render_path(scope)?;
    for (name, text) in &step.query {
        // What has no value is left out, as in a JSON body.
        let Some(value) = text.render_maybe(scope)? else { continue };
        target.push(if target.contains('?') { '&' } else { '?' });
        let mut pair = form_urlencoded::Serializer::new(String::new());
        target.push_str(&pair.append_pair(name, &value).finish());
    }
    target.parse().map_err(|why| format!("`{target}`: {why}"))
}

/// The part of a trace that is the run's.
fn trace_of(run: &str) -> [u8; 16] {
    hex(half_of_run(run))
}

fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| {
        let digit = (number >> (60 - 4 * place)) & 0xF;
        b"0123456789abcdef"[digit as usize]
    })
}

/// W3C trace context: a trace for each request of each robot, whose first half is the run's.
fn traceparent(run: &[u8; 16], robot: RobotId, request: u64) -> HeaderValue {
    let kind = (robot.kind as u64 + 1) << 60;
    let own = hex(kind | u64::from(robot.number) << 32 | request & 0xFFFF_FFFF);
    let mut text = *b"00-rrrrrrrrrrrrrrrroooooooooooooooo-oooooooooooooooo-01";
    text[3..19].copy_from_slice(run);
    text[19..35].copy_from_slice(&own);
    text[36..52].copy_from_slice(&own);
    // Digits and dashes are good in every header.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A header's value; one that lets the robot in is marked so.
pub(super) fn header_value(name: &HeaderName, text: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("the header `{name}` cannot hold what was made for it"))?;
    value.set_sensitive(*name == header::AUTHORIZATION);
    Ok(value)
}

impl Body {
    /// The content type and the bytes.
    pub(super) fn render(
        &self,
        scope: &Scope<'_>,
    ) -> Result<(Option<&'static str>, Bytes), String> {
        match self {
            Self::None => Ok((None, Bytes::new())),
            Self::Json(tree) => {
                let mut json = String::with_capacity(BODY_BYTES);
                tree.render(scope, &mut json)?;
                Ok((Some("application/json"), json.into()))
            }
            Self::Form(pairs) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, text) in pairs {
                    form.append_pair(name, &text.render(scope)?);
                }
                Ok((Some("application/x-www-form-urlencoded"), form.finish().into()))
            }
            Self::Proto { tree, message } => {
                let mut json = String::new();
                tree.render(scope, &mut json)?;
                let json: serde_json::Value =
                    serde_json::from_str(&json).map_err(|why| why.to_string())?;
                let bytes = message.encode(&json).map_err(|why| why.to_string())?;
                Ok((Some("application/x-protobuf"), bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_names_run_robot_and_request() {
        let trace = traceparent(&trace_of("evening-7"), RobotId::driver(0x1234), 9);
        let text = trace.to_str().unwrap().to_owned();
        let parts: Vec<&str> = text.split('-').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"));
        assert!(parts[1].ends_with(parts[2]) && parts[2].ends_with("000123400000009"), "{text}");
        assert_ne!(trace, traceparent(&trace_of("evening-8"), RobotId::driver(0x1234), 9));
    }
}
