//! What an exchange weighs as HTTP/1.1 text. Sums of lengths only: it is asked for on every ping.

use bytes::Bytes;
use http::{HeaderValue, Response};

/// What every request has around its path, its body's length and its token.
const REQUEST_FRAME: usize = "POST  HTTP/1.1\r\n\
    content-type: application/json\r\n\
    host: 127.0.0.1:40000\r\n\
    content-length: \r\n\r\n"
    .len();
/// What a token brings beside itself.
const TOKEN_FRAME: usize = "authorization: \r\n".len();
/// What a trace brings.
const TRACE_FRAME: usize =
    "traceparent: 00-00000000000000000000000000000000-0000000000000000-01\r\n".len();
/// What every answer has around the words of its status, its headers and its body's length; the
/// server adds the date and what the body is.
const ANSWER_FRAME: usize = "HTTP/1.1 200 \r\n\
    content-type: application/json\r\n\
    content-length: \r\n\
    date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
    .len();
/// What a header has around name and value.
const HEADER_FRAME: usize = ": \r\n".len();

/// Bytes of a request.
pub fn request_bytes(path: &str, body: &Bytes, token: Option<&HeaderValue>, traced: bool) -> usize {
    let token = token.map_or(0, |token| TOKEN_FRAME + token.len());
    let trace = if traced { TRACE_FRAME } else { 0 };
    REQUEST_FRAME + path.len() + digits(body.len()) + body.len() + token + trace
}

/// Bytes of an answer.
pub fn answer_bytes(response: &Response<Bytes>) -> usize {
    let words = response.status().canonical_reason().map_or(0, str::len);
    let headers = response.headers().iter();
    let headers: usize =
        headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_FRAME).sum();
    let body = response.body().len();
    ANSWER_FRAME + words + headers + digits(body) + body
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_text() {
        let (body, path) = ("{\"lat\":1,\"lon\":2,\"seq\":3}", "/v1/driver/ping");
        let token = HeaderValue::from_static("Bearer abc");
        let text = format!(
            "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n\
             host: 127.0.0.1:40000\r\ncontent-length: {}\r\nauthorization: Bearer abc\r\n\r\n{body}",
            body.len()
        );
        let body = Bytes::from(body);
        assert_eq!(request_bytes(path, &body, Some(&token), false), text.len());
        let bare = text.len() - "authorization: Bearer abc\r\n".len();
        assert_eq!(request_bytes(path, &body, None, false), bare);
        let trace = crate::history::hop::TraceId::of_op(1, 2, 3).traceparent();
        let traced = bare + format!("traceparent: {trace}\r\n").len();
        assert_eq!(request_bytes(path, &body, None, true), traced);

        let answer = Response::new(Bytes::from_static(b"{}"));
        let text = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
                    date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{}";
        assert_eq!(answer_bytes(&answer), text.len());
    }
}
