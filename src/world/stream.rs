//! Streams from a node to its clients: text messages in order, over one connection that the client
//! opened at the address where the node serves HTTP (a `WebSocket` in the real world). A stream is a
//! [`Link`] with small bounds: a client that does not read is told so by a full queue, and it is for
//! the node to let go of it.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};

use super::link::Link;

/// Messages that may wait on a stream in one direction before senders are refused.
pub const MESSAGES_MAX: usize = 64;
/// The largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a node does with a client that wants a stream: says what becomes of it, or answers why not.
pub type StreamHandler = Rc<dyn Fn(&Request<Bytes>) -> Result<Welcome, Box<Response<Bytes>>>>;
/// Takes the stream once it is open.
pub type Welcome = Box<dyn FnOnce(Link)>;

/// A stream was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// Nobody answered, or not as a node does.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The node said no.
    #[error("refused with {0}")]
    Refused(u16),
}
