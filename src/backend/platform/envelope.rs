//! The envelope around every message between two nodes: protobuf (`proto/platform.proto`), written
//! and read by hand so that a frame is one allocation and a body is never copied. Knows nothing of
//! links, retries or services.

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{decode_varint, encoded_len_varint},
};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Wants a reply.
    #[default]
    Ask,
    /// Answers the ask with the same id on the same link.
    Reply,
    /// One way.
    News,
}

/// How an ask ended, as it travels. Those from [`Status::UNKNOWN`] on are not refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status(pub u32);

impl Status {
    /// The body is the answer.
    pub const OK: Self = Self(0);
    /// The handler does not know what happened.
    pub const UNKNOWN: Self = Self(16);
    /// The handler could ask nobody: nothing was done.
    pub const UNAVAILABLE: Self = Self(17);
    /// Too much is in flight at the node: nothing was done.
    pub const OVERLOADED: Self = Self(18);
    /// The node is still starting: nothing was done.
    pub const NOT_READY: Self = Self(19);
    /// Nothing serves that path there: nothing was done.
    pub const NO_SUCH_PATH: Self = Self(20);
}

/// All of an envelope but its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head<'a> {
    /// What it is.
    pub kind: Kind,
    /// Correlates a reply with its ask, on one link.
    pub id: u64,
    /// `/{tier}/{service}/{endpoint}`; empty on a reply.
    pub path: &'a str,
    /// How much of the caller's patience is left.
    pub left_ms: u64,
    /// The request from outside that this belongs to; 0 when nobody traces.
    pub trace: u64,
    /// This message's own id in a trace.
    pub message: u64,
    /// The message that was handled when this one was sent; 0 when nobody traces.
    pub parent: u64,
    /// How the ask ended.
    pub status: Status,
    /// Why, unless it is ok.
    pub why: &'a str,
}

/// A frame as received, opened: fields are read where they lie.
#[derive(Debug, Clone)]
pub struct Envelope {
    frame: Bytes,
    path: (usize, usize),
    why: (usize, usize),
    body: (usize, usize),
    /// What it is.
    pub kind: Kind,
    /// Correlates a reply with its ask, on one link.
    pub id: u64,
    /// How much of the caller's patience is left.
    pub left_ms: u64,
    /// The request from outside that this belongs to; 0 when nobody traces.
    pub trace: u64,
    /// This message's own id in a trace.
    pub message: u64,
    /// The message that was handled when this one was sent; 0 when nobody traces.
    pub parent: u64,
    /// How the ask ended.
    pub status: Status,
}

/// A frame that is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is no envelope")]
pub struct Malformed;

const VARINT: u8 = 0;
const BYTES: u8 = 2;
const KIND: u8 = 1;
const ID: u8 = 2;
const PATH: u8 = 3;
const LEFT_MS: u8 = 4;
const TRACE: u8 = 5;
const MESSAGE: u8 = 6;
const STATUS: u8 = 7;
const WHY: u8 = 8;
const PARENT: u8 = 9;
const BODY: u8 = 15;

/// The whole frame, in one buffer of exactly the right size: it becomes the frame as it is.
pub fn seal(head: &Head<'_>, body: &impl Message) -> Bytes {
    let body_len = body.encoded_len();
    let body_space =
        if body_len > 0 { 1 + encoded_len_varint(body_len as u64) + body_len } else { 0 };
    let mut to = Vec::with_capacity(head.len() + body_space);
    put_number(&mut to, KIND, head.kind as u64);
    put_number(&mut to, ID, head.id);
    put_text(&mut to, PATH, head.path);
    put_number(&mut to, LEFT_MS, head.left_ms);
    put_number(&mut to, TRACE, head.trace);
    put_number(&mut to, MESSAGE, head.message);
    put_number(&mut to, STATUS, u64::from(head.status.0));
    put_text(&mut to, WHY, head.why);
    put_number(&mut to, PARENT, head.parent);
    if body_len > 0 {
        to.push(BODY << 3 | BYTES);
        put_varint(&mut to, body_len as u64);
        // Cannot fail: the buffer has the room, and would grow.
        let _grows = body.encode(&mut to);
    }
    to.into()
}

impl Head<'_> {
    /// Bytes of it in a frame.
    fn len(&self) -> usize {
        let number = |value: u64| if value == 0 { 0 } else { 1 + encoded_len_varint(value) };
        let text = |text: &str| {
            let len = text.len();
            if len == 0 { 0 } else { 1 + encoded_len_varint(len as u64) + len }
        };
        number(self.kind as u64)
            + number(self.id)
            + text(self.path)
            + number(self.left_ms)
            + number(self.trace)
            + number(self.message)
            + number(u64::from(self.status.0))
            + text(self.why)
            + number(self.parent)
    }
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_number(to: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        to.push(field << 3 | VARINT);
        put_varint(to, value);
    }
}

fn put_text(to: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        to.push(field << 3 | BYTES);
        put_varint(to, text.len() as u64);
        to.extend_from_slice(text.as_bytes());
    }
}

impl Envelope {
    /// Opens a frame; unknown fields are skipped.
    pub fn open(frame: Bytes) -> Result<Self, Malformed> {
        let mut this = Self {
            frame: Bytes::new(),
            path: (0, 0),
            why: (0, 0),
            body: (0, 0),
            kind: Kind::Ask,
            id: 0,
            left_ms: 0,
            trace: 0,
            message: 0,
            parent: 0,
            status: Status::OK,
        };
        let whole: &[u8] = &frame;
        let mut rest = whole;
        while !rest.is_empty() {
            let key = rest.get_u8();
            match key & 7 {
                VARINT => {
                    let value = decode_varint(&mut rest).map_err(|_| Malformed)?;
                    this.number(key >> 3, value)?;
                }
                BYTES => {
                    let len = decode_varint(&mut rest).map_err(|_| Malformed)?;
                    let len = usize::try_from(len).map_err(|_| Malformed)?;
                    let start = whole.len() - rest.len();
                    if len > rest.len() {
                        return Err(Malformed);
                    }
                    rest.advance(len);
                    this.range(key >> 3, (start, start + len));
                }
                _ => return Err(Malformed),
            }
        }
        this.frame = frame;
        Ok(this)
    }

    fn number(&mut self, field: u8, value: u64) -> Result<(), Malformed> {
        match field {
            KIND => {
                self.kind = match value {
                    0 => Kind::Ask,
                    1 => Kind::Reply,
                    2 => Kind::News,
                    _ => return Err(Malformed),
                }
            }
            ID => self.id = value,
            LEFT_MS => self.left_ms = value,
            TRACE => self.trace = value,
            MESSAGE => self.message = value,
            PARENT => self.parent = value,
            STATUS => self.status = Status(u32::try_from(value).map_err(|_| Malformed)?),
            _ => {}
        }
        Ok(())
    }

    fn range(&mut self, field: u8, range: (usize, usize)) {
        match field {
            PATH => self.path = range,
            WHY => self.why = range,
            BODY => self.body = range,
            _ => {}
        }
    }

    /// `/{tier}/{service}/{endpoint}`.
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// The bytes of [`Self::path`], to look it up.
    pub fn path_bytes(&self) -> &[u8] {
        &self.frame[self.path.0..self.path.1]
    }

    /// Why it did not end well.
    pub fn why(&self) -> &str {
        self.text(self.why)
    }

    fn text(&self, (from, to): (usize, usize)) -> &str {
        // What is no text names no path and gives no reason.
        std::str::from_utf8(&self.frame[from..to]).unwrap_or_default()
    }

    /// The body, without a copy.
    pub fn into_body(mut self) -> Bytes {
        self.frame.truncate(self.body.1);
        self.frame.advance(self.body.0);
        self.frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::wire::platform as wire;

    fn head() -> Head<'static> {
        Head {
            kind: Kind::Reply,
            id: 1 << 40,
            path: "/core/job/accept",
            left_ms: 1_999,
            trace: 77_669_839_702_851_584,
            message: 3,
            parent: 2,
            status: Status::OVERLOADED,
            why: "zu viel",
        }
    }

    fn row() -> wire::Row {
        wire::Row { key: "k".into(), version: 9, value: Bytes::from_static(b"value") }
    }

    #[test]
    fn a_frame_is_the_protobuf_of_the_schema_both_ways() {
        let frame = seal(&head(), &row());
        let said = wire::Envelope::decode(frame.clone()).unwrap();
        assert_eq!((said.kind, said.id, said.left_ms), (1, 1 << 40, 1_999));
        assert_eq!((said.path.as_str(), said.why.as_str()), ("/core/job/accept", "zu viel"));
        assert_eq!((said.trace, said.message, said.status), (77_669_839_702_851_584, 3, 18));
        assert_eq!(said.parent, 2);
        assert_eq!(said.body, row().encode_to_vec());
        assert_eq!(frame.len(), head().len() + 2 + row().encoded_len(), "not a byte too many");

        let opened = Envelope::open(Bytes::from(said.encode_to_vec())).unwrap();
        assert_eq!((opened.path(), opened.why()), ("/core/job/accept", "zu viel"));
        assert_eq!((opened.kind, opened.id, opened.status), (Kind::Reply, 1 << 40, head().status));
        assert_eq!(wire::Row::decode(opened.into_body()).unwrap(), row());
    }

    #[test]
    fn an_empty_body_is_an_empty_message() {
        let opened = Envelope::open(seal(&Head::default(), &wire::HealthAsk::default())).unwrap();
        assert!(opened.into_body().is_empty());
    }

    #[test]
    fn every_cut_of_a_frame_is_an_envelope_or_malformed_and_never_a_panic() {
        let frame = seal(&head(), &row());
        let cut_in_the_body = Envelope::open(frame.slice(..frame.len() - 1));
        assert_eq!(cut_in_the_body.err(), Some(Malformed));
        for end in 0..frame.len() {
            let _either = Envelope::open(frame.slice(..end)).map(|e| e.path().len());
        }
        assert!(Envelope::open(Bytes::from_static(&[0x08, 9])).is_err(), "no such kind");
        assert_eq!(Envelope::open(Bytes::from_static(&[0x1a, 1, 0xff])).unwrap().path(), "");
    }
}
