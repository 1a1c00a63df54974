//! How an answer leaves: status, JSON, and for errors whether anything can have happened.

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::backend::platform::rpc::{Code, RpcError, refuse};

/// A body, or why not.
pub type Reply = Result<Bytes, Refused>;

/// An error as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    happened: Happened,
}

/// Whether what was asked for may have happened all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// Certainly not.
    No,
    /// Nobody knows.
    Unknown,
}

impl Refused {
    fn no(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned(), happened: Happened::No }
    }

    /// True when the backend failed, and not the client.
    pub fn is_failure(&self) -> bool {
        self.status.is_server_error()
    }

    /// 400.
    pub fn invalid(message: &str) -> Self {
        Self::no(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// 401.
    pub fn unauthenticated(message: &str) -> Self {
        Self::no(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    /// 403.
    pub fn forbidden(message: &str) -> Self {
        Self::no(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404.
    pub fn not_found(message: &str) -> Self {
        Self::no(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405.
    pub fn method() -> Self {
        Self::no(StatusCode::METHOD_NOT_ALLOWED, "method", "every path but /health takes POST")
    }

    /// 413.
    pub fn too_large(bytes_max: usize) -> Self {
        let message = format!("a body has at most {bytes_max} bytes");
        Self::no(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message)
    }

    /// 429.
    pub fn limited() -> Self {
        let message = "too many requests at once: try again in a second";
        Self::no(StatusCode::TOO_MANY_REQUESTS, "limited", message)
    }

    /// The same error of a flow of which a part is done already: nothing is certain any more.
    #[must_use]
    pub fn after_a_part(self) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            Self { happened: Happened::Unknown, status: StatusCode::GATEWAY_TIMEOUT, ..self }
        } else {
            self
        }
    }
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Refused { code, why } => match code {
                Code::Invalid => Self::invalid(&why),
                Code::Unauthenticated => Self::unauthenticated(&why),
                Code::Forbidden => Self::forbidden(&why),
                Code::NotFound => Self::not_found(&why),
                Code::Conflict => Self::no(StatusCode::CONFLICT, "conflict", &why),
                Code::Internal => Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    code: "internal",
                    message: why,
                    happened: Happened::Unknown,
                },
            },
            RpcError::Unavailable(why) => {
                Self::no(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &why)
            }
            RpcError::Unknown(why) => Self {
                status: StatusCode::GATEWAY_TIMEOUT,
                code: "unknown",
                message: why,
                happened: Happened::Unknown,
            },
        }
    }
}

/// A value as a body.
pub fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => Ok(body.into()),
        Err(error) => Err(RpcError::Unknown(format!("cannot be written: {error}")).into()),
    }
}

/// Nothing more to say than that it was done.
pub fn done() -> Reply {
    Ok(Bytes::from_static(b"{}"))
}

/// The HTTP response; that it is JSON is said at the edge of the world.
pub fn to_http(reply: Reply) -> Response<Bytes> {
    let (status, body, limited) = match reply {
        Ok(body) => (StatusCode::OK, body, false),
        Err(refused) => {
            let limited = refused.status == StatusCode::TOO_MANY_REQUESTS;
            (refused.status, error_body(&refused), limited)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if limited {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Planted: an answer that is another than it should be. What was one too many is refused when it is
/// done; what does not exist makes the server fail.
pub async fn spoiled(
    answer: LocalBoxFuture<'static, Response<Bytes>>,
    too_many: bool,
) -> Response<Bytes> {
    let right = answer.await;
    if too_many {
        return to_http(Err(Refused::limited()));
    }
    if right.status() == StatusCode::NOT_FOUND {
        return to_http(Err(refuse(Code::Internal, "nothing is known of it").into()));
    }
    right
}

fn error_body(refused: &Refused) -> Bytes {
    let error = serde_json::json!({ "error": {
        "code": refused.code, "message": refused.message, "happened": refused.happened,
    } });
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_anything_can_have_happened() {
        let of = |error: RpcError| {
            let response = to_http(Err(error.into()));
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            (response.status().as_u16(), body["error"]["happened"].as_str().unwrap().to_owned())
        };
        assert_eq!(of(RpcError::Unavailable("x".into())), (503, "no".into()));
        assert_eq!(of(RpcError::Unknown("x".into())), (504, "unknown".into()));
        assert_eq!(of(refuse(Code::Conflict, "x")), (409, "no".into()));
        assert_eq!(of(refuse(Code::Internal, "x")), (500, "unknown".into()));
        let part = Refused::from(RpcError::Unavailable("x".into())).after_a_part();
        assert_eq!(part.happened, Happened::Unknown);
    }
}
