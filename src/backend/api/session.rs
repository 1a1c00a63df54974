//! `/v1/session/…`: for apps that keep a session and exchange it for tokens.

use serde::Deserialize;
use serde_json::json as value;

use super::{
    Call, FLOW, READ, Route,
    reply::{Refused, Reply, json},
    route,
};
use crate::backend::wire::{
    AccountKind, Credentials, LoginAnswer, SessionAnswer, SessionAsk, SessionClosed,
};

/// Paths of this part.
pub const ROUTES: &[Route] = &[
    route!("/v1/session/open", None, open),
    route!("/v1/session/exchange", None, exchange),
    route!("/v1/session/close", None, close),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    kind: String,
    phone: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionBody {
    session: String,
}

async fn open(call: Call) -> Reply {
    let body: OpenBody = call.read()?;
    let kind = match body.kind.as_str() {
        "driver" => AccountKind::Driver,
        "passenger" => AccountKind::Passenger,
        _ => return Err(Refused::invalid("`kind` must be driver or passenger")),
    };
    let (kind, phone, secret) = (kind.into(), body.phone, body.secret);
    let ask = Credentials { kind, phone, secret, ..Credentials::default() };
    let made: SessionAnswer = call.node.rpc.call("/core/login/open", &ask, FLOW).await?;
    json(&value!({
        "session": made.session,
        "account": made.account.to_string(),
        "expires_in_ms": made.expires_in_ms,
    }))
}

async fn exchange(call: Call) -> Reply {
    let SessionBody { session } = call.read()?;
    let ask = SessionAsk { session };
    let got: LoginAnswer = call.node.rpc.call("/core/login/exchange", &ask, READ).await?;
    // It comes from the issuer, over our own links.
    call.node.verifier.trust(&got.token);
    json(&value!({
        "account": got.account.to_string(),
        "token": got.token,
        "expires_in_ms": got.expires_in_ms,
    }))
}

async fn close(call: Call) -> Reply {
    let SessionBody { session } = call.read()?;
    let ask = SessionAsk { session };
    let done: SessionClosed = call.node.rpc.call("/core/login/close", &ask, FLOW).await?;
    json(&value!({ "replayed": done.replayed }))
}
