//! The endpoints of the API, as Toxiproxy's documentation lists them.

use bytes::Bytes;
use http::{Method, Response, StatusCode, Uri};
use serde::Serialize;
use serde_json::json;

use super::{
    VERSION,
    proxies::Proxies,
    refusal::{Refusal, json},
};

/// A request to the API.
pub(super) struct Asked<'a> {
    pub method: Method,
    pub uri: Uri,
    /// Who asks.
    pub agent: &'a str,
    pub body: Bytes,
}

/// The answer, whatever is asked.
pub(super) async fn answer(proxies: &Proxies, asked: Asked<'_>) -> Response<Bytes> {
    // A page in somebody's browser must not break links, however it got this address.
    if asked.agent.starts_with("Mozilla/") {
        return Refusal::new(StatusCode::FORBIDDEN, "User agent not allowed").into();
    }
    route(proxies, &asked).await.unwrap_or_else(Into::into)
}

async fn route(proxies: &Proxies, asked: &Asked<'_>) -> Result<Response<Bytes>, Refusal> {
    let _turn = proxies.turn.lock().await;
    let (path, body) = (words(asked.uri.path())?, &asked.body[..]);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["version"]) => ok(&json!({ "version": VERSION })),
        ("POST", ["reset"]) => proxies.reset().await.map(|()| nothing()),
        ("POST", ["populate"]) => {
            let made = proxies.populate(body).await?;
            shown(StatusCode::CREATED, &json!({ "proxies": made }))
        }
        ("GET", ["proxies"]) => ok(&proxies.all()),
        ("POST", ["proxies"]) => shown(StatusCode::CREATED, &proxies.create(body).await?),
        ("GET", ["proxies", proxy]) => ok(&proxies.show(proxy)?),
        ("POST" | "PATCH", ["proxies", proxy]) => ok(&proxies.update(proxy, body).await?),
        ("DELETE", ["proxies", proxy]) => proxies.delete(proxy).await.map(|()| nothing()),
        ("GET", ["proxies", proxy, "toxics"]) => ok(&proxies.toxics(proxy)?),
        ("POST", ["proxies", proxy, "toxics"]) => ok(&proxies.add_toxic(proxy, body)?),
        ("GET", ["proxies", proxy, "toxics", toxic]) => ok(&proxies.toxic(proxy, toxic)?),
        ("POST" | "PATCH", ["proxies", proxy, "toxics", toxic]) => {
            ok(&proxies.update_toxic(proxy, toxic, body)?)
        }
        ("DELETE", ["proxies", proxy, "toxics", toxic]) => {
            proxies.remove_toxic(proxy, toxic).map(|()| nothing())
        }
        (
            _,
            ["version" | "reset" | "populate" | "proxies"]
            | ["proxies", _]
            | ["proxies", _, "toxics"]
            | ["proxies", _, "toxics", _],
        ) => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "404 page not found")),
    }
}

/// The words of a path, with what is escaped in them.
fn words(path: &str) -> Result<Vec<String>, Refusal> {
    path.split('/').filter(|word| !word.is_empty()).map(plain).collect()
}

fn plain(word: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::bad(format!("`{word}` in the path is not text"));
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let (high, low) = (high.ok_or_else(wrong)?, low.ok_or_else(wrong)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn ok(body: &impl Serialize) -> Result<Response<Bytes>, Refusal> {
    shown(StatusCode::OK, body)
}

fn shown(status: StatusCode, body: &impl Serialize) -> Result<Response<Bytes>, Refusal> {
    let wrong =
        |why: serde_json::Error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string());
    Ok(json(status, serde_json::to_string(body).map_err(wrong)?))
}

fn nothing() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
