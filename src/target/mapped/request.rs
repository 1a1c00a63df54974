//! Requests as the mapping wants them: path, query, headers and body, filled in for one robot.
//! Sends nothing.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};

use super::{
    Mapped,
    scope::Scope,
    step::{Body, Step, Way},
};
use crate::base::id::RobotId;

impl Mapped {
    /// The request of a step.
    pub(super) fn to_http(
        &self,
        robot: RobotId,
        step: &Step,
        link: usize,
        scope: &Scope<'_>,
    ) -> Result<Request<Bytes>, String> {
        let Way::Http { method, path, body, .. } = &step.way else {
            return Err("it is no request".to_owned());
        };
        let mut target = path.render_path(scope)?;
        for (name, text) in &step.query {
            // What has no value is left out, as in a JSON body.
            let Some(value) = text.render_maybe(scope)? else { continue };
            target.push(if target.contains('?') { '&' } else { '?' });
            let mut pair = form_urlencoded::Serializer::new(String::new());
            target.push_str(&pair.append_pair(name, &value).finish());
        }
        let (content, bytes) = body.render(scope)?;
        let mut request = Request::new(bytes);
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.parse().map_err(|why| format!("`{target}`: {why}"))?;
        let headers = request.headers_mut();
        if let Some(content) = content {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
        }
        self.identify(robot, headers);
        for (name, text) in self.file.links[link].headers.iter().chain(&step.headers) {
            headers.insert(name.clone(), header_value(name, &text.render(scope)?)?);
        }
        Ok(request)
    }

    /// Who asks: in every request, so that a backend's logs can be matched with a run.
    pub(super) fn identify(&self, robot: RobotId, headers: &mut http::HeaderMap) {
        let request = self.session(robot, |session| {
            session.requests += 1;
            session.requests
        });
        let put = |headers: &mut http::HeaderMap, name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put(headers, "user-agent", concat!("robot-city/", env!("CARGO_PKG_VERSION")));
        put(headers, "x-robot-city-run", &self.file.run.id);
        put(headers, "x-robot-city-robot", &robot.to_string());
        put(headers, "traceparent", &traceparent(&self.file.run.id, robot, request));
    }
}

/// W3C trace context: a trace for each request of each robot, whose first half is the run's.
fn traceparent(run: &str, robot: RobotId, request: u64) -> String {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    // FNV-1a: all that is asked of it is to tell runs apart.
    let run = run.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
    let kind = (robot.kind as u64 + 1) << 60;
    let own = kind | u64::from(robot.number) << 32 | request & 0xFFFF_FFFF;
    format!("00-{run:016x}{own:016x}-{own:016x}-01")
}

/// A header's value; one that lets the robot in is marked so.
pub(super) fn header_value(name: &HeaderName, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
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
                let mut json = String::with_capacity(96);
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
