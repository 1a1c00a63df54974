//! Whole bodies out of hyper's pieces, within a limit; and what bodies are unless their headers say
//! otherwise.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

/// A body that was read to its end, or why it was not.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// More than the limit.
    TooLarge,
    /// The connection broke before its end.
    Broken(hyper::Error),
}

/// Reads `body` to its end. One piece, as nearly all are, is not copied.
pub async fn whole(mut body: Incoming, bytes_max: usize) -> Body {
    if body.size_hint().lower() > bytes_max as u64 {
        return Body::TooLarge;
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(why) => return Body::Broken(why),
        };
        // Trailers mean nothing here.
        let Ok(piece) = frame.into_data() else { continue };
        count += piece.len();
        if count > bytes_max {
            return Body::TooLarge;
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
    Body::Whole(if all.is_empty() { first } else { all.freeze() })
}

/// A body is JSON unless its headers say something else.
pub fn say_json(headers: &mut HeaderMap) {
    let json = HeaderValue::from_static("application/json");
    headers.entry(header::CONTENT_TYPE).or_insert(json);
}
