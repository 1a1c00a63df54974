//! The way of one call to another node: its link, or the bus. What is sent is certainly not seen,
//! answered, or unknown; to try again is the caller's matter.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;

use super::{
    bus::{Bus, Line},
    calls::{Ended, Waiting},
    envelope::Envelope,
    peer::Peer,
    rpc::Code,
};
use crate::{
    base::{name::NodeName, time::Time},
    world::link::Outgoing,
};

/// How an attempt ended without an answer.
pub(super) enum Failed {
    /// The service said so: no use in asking another.
    Refused(Code, String),
    /// Nothing was done.
    Certain(String),
    /// Anything may have been done.
    Unknown(&'static str),
}

/// Where a call goes out.
pub(super) enum Way {
    /// Over the link to the peer.
    Link(Rc<Peer>, Rc<dyn Outgoing>),
    /// Over the broker at which this node is.
    Bus(Bus, Line),
}

impl Way {
    /// A place among the calls that wait, for one that is late at `until`; none when it is full.
    pub fn enter(&self, until: Time) -> Option<Waiting> {
        match self {
            Self::Link(peer, _) => peer.enter(until),
            Self::Bus(bus, _) => bus.enter(until),
        }
    }

    /// Sends the frame of a call to `node` and waits for its reply.
    pub async fn exchange(
        self,
        node: &NodeName,
        frame: Bytes,
        left: Duration,
        waiting: Waiting,
    ) -> Result<Envelope, Failed> {
        match self {
            Self::Link(_, link) => {
                // A frame that the link did not take was certainly not seen.
                link.send(frame).map_err(|why| Failed::Certain(format!("{node}: {why}")))?;
                // Nobody but the peer holds the link open.
                drop(link);
                of_end(waiting.await)
            }
            // Rare, and large: a call over a link needs no room for it.
            Self::Bus(bus, line) => Box::pin(bus.exchange(line, node, frame, left, waiting)).await,
        }
    }
}

/// What the end of a wait means.
pub(super) fn of_end(end: Ended) -> Result<Envelope, Failed> {
    match end {
        Ended::Reply(reply) => Ok(reply),
        Ended::Broken => Err(Failed::Unknown("the link broke")),
        Ended::Nowhere => Err(Failed::Certain("it is nowhere".to_owned())),
        Ended::Late => Err(Failed::Unknown("nothing came in time")),
    }
}
