//! Framed, ordered, bounded links between two nodes: a stream that may be slow or break, and that
//! never loses, doubles or reorders a frame while it lives.

use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::base::name::NodeName;

/// Frames that may wait on a link in one direction before senders are refused.
pub const FRAMES_MAX: usize = 4_096;
/// The largest frame in bytes; a larger one closes the link.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No link could be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there, or the way is cut.
    #[error("cannot reach {to}: {why}")]
    Unreachable {
        /// The node dialled.
        to: NodeName,
        /// What the system said.
        why: String,
    },
    /// Nobody of that name is known here.
    #[error("no node is called {0}")]
    UnknownName(NodeName),
    /// This node's own address cannot be taken.
    #[error("cannot listen on {address}: {why}")]
    CannotListen {
        /// The address.
        address: String,
        /// What the system said.
        why: String,
    },
}

/// A frame was not taken by the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`FRAMES_MAX`] frames wait already: the peer is slow.
    #[error("the link is full")]
    Full,
    /// The link has ended.
    #[error("the link is closed")]
    Closed,
}

/// The sending half of a link as a world implements it. Dropping the last handle closes the link.
pub trait Outgoing {
    /// Queues one frame, or refuses it at once; never waits.
    fn send(&self, frame: Bytes) -> Result<(), SendError>;
}

/// One end of a link. It is closed, in both directions, as soon as either end lets go of either
/// half; what was queued before still leaves unless the peer does not take it.
pub struct Link {
    /// The sending half; clone it freely.
    pub outgoing: Rc<dyn Outgoing>,
    /// The receiving half: `None` once the link has ended.
    pub incoming: mpsc::Receiver<Bytes>,
}

/// Links that others opened to this node, in the order of their arrival.
pub type Listener = mpsc::Receiver<Link>;
