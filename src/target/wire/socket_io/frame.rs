//! What travels on a Socket.IO connection (Engine.IO protocol 4, Socket.IO protocol 5), as text:
//! written and read, nothing else. Errors say what is wrong without quoting: frames carry tokens.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The namespace that everybody is in who asks for no other.
pub const ROOT: &str = "/";

/// A packet of Engine.IO.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// `0`: the server's first word.
    Open(Handshake),
    /// `1`: the end.
    Close,
    /// `2`, perhaps with a text that the answer repeats.
    Ping(String),
    /// `3`.
    Pong(String),
    /// `4`: a frame of Socket.IO.
    Frame(Frame),
    /// `5` and `6`: of other transports, nothing to do.
    Nothing,
}

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Handshake {
    /// Its name for the connection.
    pub sid: String,
    #[serde(rename = "pingInterval")]
    ping_interval_ms: u64,
    #[serde(rename = "pingTimeout")]
    ping_timeout_ms: u64,
}

impl Handshake {
    /// A server that says nothing for longer than this is gone.
    pub fn silence_max(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms.saturating_add(self.ping_timeout_ms))
    }
}

/// A frame of Socket.IO.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Begins with a `/`.
    pub namespace: String,
    /// What it says.
    pub kind: Kind,
}

/// What a frame says. Binary attachments are not read: the places where they belong are left as
/// they are in what carries them.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `0`: let me in with this; you are in.
    Connect(Option<Value>),
    /// `1`: out of the namespace.
    Disconnect,
    /// `2` (and `5`, with attachments): something happened.
    Event {
        /// Set if an acknowledgement with this number is wanted.
        id: Option<u64>,
        /// Its name.
        name: String,
        /// What belongs to it.
        payload: Vec<Value>,
    },
    /// `3` (and `6`, with attachments): the answer to the event of that number.
    Ack {
        /// The number.
        id: u64,
        /// The answer.
        payload: Vec<Value>,
    },
    /// `4`: you are not let in.
    ConnectError(Value),
}

/// A text that is no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of Socket.IO: {0}")]
pub struct FrameError(String);

/// Writes a packet.
pub fn encode(packet: &Packet) -> String {
    match packet {
        Packet::Open(Handshake { sid, ping_interval_ms, ping_timeout_ms }) => {
            let handshake = serde_json::json!({
                "sid": sid, "upgrades": [],
                "pingInterval": ping_interval_ms, "pingTimeout": ping_timeout_ms,
            });
            format!("0{handshake}")
        }
        Packet::Close => "1".to_owned(),
        Packet::Ping(text) => format!("2{text}"),
        Packet::Pong(text) => format!("3{text}"),
        Packet::Frame(frame) => encode_frame(frame),
        Packet::Nothing => "6".to_owned(),
    }
}

/// Reads a packet.
pub fn parse(text: &str) -> Result<Packet, FrameError> {
    let mut chars = text.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    Ok(match kind {
        Some('0') => Packet::Open(
            serde_json::from_str(rest)
                .map_err(|why| wrong(format!("the opening is not understood: {why}")))?,
        ),
        Some('1') => Packet::Close,
        Some('2') => Packet::Ping(rest.to_owned()),
        Some('3') => Packet::Pong(rest.to_owned()),
        Some('4') => Packet::Frame(parse_frame(rest)?),
        Some('5' | '6') => Packet::Nothing,
        Some(_) => return Err(wrong("it begins with none of the digits 0 to 6")),
        None => return Err(wrong("it is empty")),
    })
}

fn encode_frame(Frame { namespace, kind }: &Frame) -> String {
    let (digit, id, data) = match kind {
        Kind::Connect(data) => ('0', None, data.as_ref().map(Value::to_string)),
        Kind::Disconnect => ('1', None, None),
        Kind::Event { id, name, payload } => {
            // Written piece by piece: a payload is not copied for it.
            let mut data = format!("[{}", Value::from(name.as_str()));
            for value in payload {
                data.push(',');
                data.push_str(&value.to_string());
            }
            data.push(']');
            ('2', *id, Some(data))
        }
        Kind::Ack { id, payload } => {
            let values: Vec<String> = payload.iter().map(Value::to_string).collect();
            ('3', Some(*id), Some(format!("[{}]", values.join(","))))
        }
        Kind::ConnectError(data) => ('4', None, Some(data.to_string())),
    };
    let mut text = format!("4{digit}");
    if namespace != ROOT {
        text.push_str(namespace);
        text.push(',');
    }
    if let Some(id) = id {
        text.push_str(&id.to_string());
    }
    text.push_str(&data.unwrap_or_default());
    text
}

fn parse_frame(text: &str) -> Result<Frame, FrameError> {
    let mut chars = text.chars();
    let digit = chars.next().ok_or_else(|| wrong("it has no type behind the `4`"))?;
    let mut rest = chars.as_str();
    if matches!(digit, '5' | '6') {
        let attachments = take_number(&mut rest)?;
        rest = match (attachments, rest.strip_prefix('-')) {
            (Some(_), Some(behind)) => behind,
            _ => return Err(wrong("it does not say how many attachments it has")),
        };
    }
    let mut namespace = ROOT;
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    let id = take_number(&mut rest)?;
    let kind = match (digit, id) {
        ('0', None) => Kind::Connect((!rest.is_empty()).then(|| data(rest)).transpose()?),
        ('1', None) if rest.is_empty() => Kind::Disconnect,
        ('2' | '5', id) => {
            let mut payload = list(rest)?;
            if !payload.first().is_some_and(Value::is_string) {
                return Err(wrong("an event has no name"));
            }
            let Value::String(name) = payload.remove(0) else {
                return Err(wrong("an event has no name"));
            };
            Kind::Event { id, name, payload }
        }
        ('3' | '6', Some(id)) => Kind::Ack { id, payload: list(rest)? },
        ('3' | '6', None) => return Err(wrong("an acknowledgement has no number")),
        ('4', None) => Kind::ConnectError(data(rest)?),
        ('0' | '1' | '4', _) => return Err(wrong("there is more in it than there may be")),
        _ => return Err(wrong("its type is none of the digits 0 to 6")),
    };
    Ok(Frame { namespace: namespace.to_owned(), kind })
}

/// The number that `rest` begins with, if it does; `rest` goes on behind it.
fn take_number(rest: &mut &str) -> Result<Option<u64>, FrameError> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(end);
    if digits.is_empty() {
        return Ok(None);
    }
    *rest = behind;
    digits.parse().map(Some).map_err(|_| wrong("its number is too large"))
}

fn data(text: &str) -> Result<Value, FrameError> {
    serde_json::from_str(text).map_err(|why| wrong(format!("its JSON is not understood: {why}")))
}

fn list(text: &str) -> Result<Vec<Value>, FrameError> {
    match data(text)? {
        Value::Array(values) => Ok(values),
        _ => Err(wrong("its JSON is no list")),
    }
}

fn wrong(why: impl Into<String>) -> FrameError {
    FrameError(why.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(namespace: &str, kind: Kind) -> Packet {
        Packet::Frame(Frame { namespace: namespace.to_owned(), kind })
    }

    #[test]
    fn every_kind_is_written_and_read_back() {
        let event = |id, payload| Kind::Event { id, name: "gps".into(), payload };
        let cases = [
            ("1", Packet::Close),
            ("2", Packet::Ping(String::new())),
            ("2probe", Packet::Ping("probe".into())),
            ("3probe", Packet::Pong("probe".into())),
            ("6", Packet::Nothing),
            ("40", frame("/", Kind::Connect(None))),
            (r#"40{"token":"1"}"#, frame("/", Kind::Connect(Some(json!({"token": "1"}))))),
            (r#"40/taxi,{"sid":"x"}"#, frame("/taxi", Kind::Connect(Some(json!({"sid": "x"}))))),
            ("41", frame("/", Kind::Disconnect)),
            ("41/taxi,", frame("/taxi", Kind::Disconnect)),
            (r#"42["gps"]"#, frame("/", event(None, vec![]))),
            (
                r#"4212["gps",{"lat":1.5},null]"#,
                frame("/", event(Some(12), vec![json!({"lat": 1.5}), Value::Null])),
            ),
            (r#"42/taxi,7["gps",-1]"#, frame("/taxi", event(Some(7), vec![json!(-1)]))),
            ("430[]", frame("/", Kind::Ack { id: 0, payload: vec![] })),
            (
                r#"43/taxi,9[true,"é"]"#,
                frame("/taxi", Kind::Ack { id: 9, payload: vec![json!(true), json!("é")] }),
            ),
            (r#"44{"message":"no"}"#, frame("/", Kind::ConnectError(json!({"message": "no"})))),
        ];
        for (text, packet) in cases {
            assert_eq!(parse(text).as_ref(), Ok(&packet), "{text}");
            assert_eq!(encode(&packet), text);
        }
    }

    #[test]
    fn the_opening_is_read_with_what_servers_add_to_it() {
        let text = r#"0{"sid":"a","upgrades":["x"],"pingInterval":25000,"pingTimeout":20000,
            "maxPayload":1000000}"#;
        let Ok(Packet::Open(handshake)) = parse(text) else { panic!("{:?}", parse(text)) };
        assert_eq!((&handshake.sid[..], handshake.silence_max().as_secs()), ("a", 45));
        let packet = Packet::Open(handshake);
        assert_eq!(parse(&encode(&packet)), Ok(packet));
    }

    #[test]
    fn what_carries_attachments_is_read_without_them() {
        let hole = json!({"_placeholder": true, "num": 0});
        let kind = Kind::Event { id: Some(3), name: "x".into(), payload: vec![hole.clone()] };
        let text = r#"451-/t,3["x",{"_placeholder":true,"num":0}]"#;
        assert_eq!(parse(text), Ok(frame("/t", kind)));
        let kind = Kind::Ack { id: 5, payload: vec![hole] };
        assert_eq!(parse(r#"461-5[{"_placeholder":true,"num":0}]"#), Ok(frame("/", kind)));
        // A namespace may go without its comma when nothing follows.
        assert_eq!(parse("41/taxi"), Ok(frame("/taxi", Kind::Disconnect)));
    }

    #[test]
    fn what_is_malformed_is_refused_with_a_reason_and_unquoted() {
        let cases = [
            ("", "empty"),
            ("x", "0 to 6"),
            ("7secret", "0 to 6"),
            ("é", "0 to 6"),
            ("0", "opening"),
            (r#"0{"sid":"secret"}"#, "opening"),
            ("4", "no type"),
            ("49secret", "type"),
            ("4é", "type"),
            ("42", "JSON"),
            ("42{}", "no list"),
            ("42[]", "no name"),
            ("42[1]", "no name"),
            (r#"42["secret""#, "JSON"),
            (r#"42["secret"]x"#, "JSON"),
            (r#"4299999999999999999999["secret"]"#, "too large"),
            (r#"43["secret"]"#, "no number"),
            ("435", "JSON"),
            ("44", "JSON"),
            ("411", "more"),
            ("41secret", "more"),
            ("401{}", "more"),
            ("40{", "JSON"),
            (r#"45["secret"]"#, "attachments"),
            (r#"451["secret"]"#, "attachments"),
            ("42/taxi", "JSON"),
        ];
        for (text, wanted) in cases {
            let why = parse(text).unwrap_err().to_string();
            assert!(why.contains(wanted), "{text}: {why}");
            assert!(!why.contains("secret"), "{text}: {why}");
        }
    }
}
