//! Errors of the API, as Toxiproxy writes them: `{"error": "…", "status": 404}`.

use bytes::Bytes;
use http::{Response, StatusCode, header};

/// Something that was not done, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub what: String,
}

impl Refusal {
    pub fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into() }
    }

    /// The request makes no sense.
    pub fn bad(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("bad request body: {what}"))
    }

    pub fn missing(field: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("missing required field: {field}"))
    }

    pub fn no_proxy() -> Self {
        Self::new(StatusCode::NOT_FOUND, "proxy not found")
    }

    pub fn no_toxic() -> Self {
        Self::new(StatusCode::NOT_FOUND, "toxic not found")
    }

    /// As the answer says it.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.what, "status": self.status.as_u16() })
    }
}

impl From<Refusal> for Response<Bytes> {
    fn from(refusal: Refusal) -> Self {
        json(refusal.status, refusal.json().to_string())
    }
}

/// An answer with a body of JSON.
pub(super) fn json(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
