//! Messages as mappings see them, and as AMQP 0-9-1 has them. Whatever AMQP cannot carry is refused
//! here, before a byte is sent: a frame that the broker cannot read would cost the whole connection.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::AmqpError;

/// What AMQP calls a persistent message; everything else is lost when the broker ends.
const PERSISTENT: u8 = 2;
/// Room in a header frame for what is not headers: frame, flags, and short strings of 255 bytes.
const PROPERTIES_BYTES: usize = 4_096;

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The exchange; empty for the default exchange, where the routing key is a queue's name.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// Headers: numbers, strings, booleans, null, arrays and objects of them.
    pub headers: Map<String, Value>,
    /// What else AMQP says about a message.
    pub properties: Properties,
    /// The body.
    pub body: Bytes,
}

/// The properties of a message that AMQP names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Properties {
    /// The MIME type of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The encoding of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// Whether a durable queue keeps it across an end of the broker.
    pub persistent: bool,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Which call an answer belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The queue that an answer goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// After how long in a queue it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_ms: Option<u64>,
    /// Its own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Its time, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_s: Option<u64>,
    /// The name of its type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The user who sent it; the broker checks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The application that sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
}

/// A message that came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Received {
    /// The exchange that it was published to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// Whether the broker gave it to somebody before.
    pub redelivered: bool,
    /// Its headers. Bytes that are not text are base64, a time is in seconds.
    pub headers: Map<String, Value>,
    /// What else AMQP says about it.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
}

/// A message in AMQP's own types.
#[derive(Debug)]
pub(super) struct Parcel {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub properties: BasicProperties,
    pub body: Bytes,
}

impl Message {
    /// Checks that AMQP, the limits and the broker's frames can carry it.
    pub(super) fn pack(&self, body_max: usize, frame_max: usize) -> Result<Parcel, AmqpError> {
        if self.body.len() > body_max {
            return Err(AmqpError::NotSent(format!(
                "the body has {} bytes; the limit is {body_max}",
                self.body.len()
            )));
        }
        let bytes: usize = self.headers.iter().map(|(name, v)| name.len() + 1 + size(v)).sum();
        let room = frame_max - PROPERTIES_BYTES.min(frame_max / 2);
        if bytes > room {
            return Err(AmqpError::NotSent(format!(
                "the headers take {bytes} bytes; the broker's frames have room for {room}"
            )));
        }
        let mut properties = self.properties.pack()?;
        if !self.headers.is_empty() {
            properties = properties.with_headers(table(&self.headers)?);
        }
        Ok(Parcel {
            exchange: short("exchange", &self.exchange)?,
            routing_key: short("routing key", &self.routing_key)?,
            properties,
            body: self.body.clone(),
        })
    }
}

impl Properties {
    fn pack(&self) -> Result<BasicProperties, AmqpError> {
        type With = fn(BasicProperties, ShortString) -> BasicProperties;
        let mut packed = BasicProperties::default();
        if self.persistent {
            packed = packed.with_delivery_mode(PERSISTENT);
        }
        if let Some(priority) = self.priority {
            packed = packed.with_priority(priority);
        }
        if let Some(ms) = self.expiration_ms {
            packed = packed.with_expiration(ms.to_string().into());
        }
        if let Some(seconds) = self.timestamp_s {
            packed = packed.with_timestamp(seconds);
        }
        let texts: [(&str, &Option<String>, With); 8] = [
            ("content type", &self.content_type, BasicProperties::with_content_type),
            ("content encoding", &self.content_encoding, BasicProperties::with_content_encoding),
            ("correlation id", &self.correlation_id, BasicProperties::with_correlation_id),
            ("reply-to", &self.reply_to, BasicProperties::with_reply_to),
            ("message id", &self.message_id, BasicProperties::with_message_id),
            ("type", &self.kind, BasicProperties::with_type),
            ("user id", &self.user_id, BasicProperties::with_user_id),
            ("application id", &self.app_id, BasicProperties::with_app_id),
        ];
        for (what, text, with) in texts {
            if let Some(text) = text {
                packed = with(packed, short(what, text)?);
            }
        }
        Ok(packed)
    }

    fn unpack(packed: &BasicProperties) -> Self {
        let text = |short: &Option<ShortString>| short.as_ref().map(ToString::to_string);
        Self {
            content_type: text(packed.content_type()),
            content_encoding: text(packed.content_encoding()),
            persistent: *packed.delivery_mode() == Some(PERSISTENT),
            priority: *packed.priority(),
            correlation_id: text(packed.correlation_id()),
            reply_to: text(packed.reply_to()),
            expiration_ms: packed.expiration().as_ref().and_then(|ms| ms.as_str().parse().ok()),
            message_id: text(packed.message_id()),
            timestamp_s: *packed.timestamp(),
            kind: text(packed.kind()),
            user_id: text(packed.user_id()),
            app_id: text(packed.app_id()),
        }
    }
}

impl From<Delivery> for Received {
    fn from(delivery: Delivery) -> Self {
        let headers = delivery.properties.headers().as_ref().map(object).unwrap_or_default();
        Self {
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            redelivered: delivery.redelivered,
            headers,
            properties: Properties::unpack(&delivery.properties),
            body: delivery.data.into(),
        }
    }
}

/// A text of at most 255 bytes, as AMQP has it for names.
pub(super) fn short(what: &str, text: &str) -> Result<ShortString, AmqpError> {
    ShortString::try_new(text).map_err(|_| {
        AmqpError::NotSent(format!("the {what} has {} bytes; AMQP allows 255", text.len()))
    })
}

/// At most the bytes that a value takes in a frame.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => 4 + text.len(),
        Value::Array(items) => 4 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => {
            4 + fields.iter().map(|(name, v)| name.len() + 1 + size(v)).sum::<usize>()
        }
    }
}

fn table(fields: &Map<String, Value>) -> Result<FieldTable, AmqpError> {
    let mut table = FieldTable::default();
    for (name, field) in fields {
        table.insert(short("name of a header", name)?, value(field)?);
    }
    Ok(table)
}

fn value(json: &Value) -> Result<AMQPValue, AmqpError> {
    Ok(match json {
        Value::Null => AMQPValue::Void,
        Value::Bool(yes) => AMQPValue::Boolean(*yes),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => AMQPValue::LongLongInt(whole),
            (None, Some(real)) if !number.is_u64() => AMQPValue::Double(real),
            _ => {
                let why = format!("the header value {number} is beyond AMQP's 64 bits, signed");
                return Err(AmqpError::NotSent(why));
            }
        },
        Value::String(text) => AMQPValue::LongString(text.as_bytes().into()),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(value).collect();
            AMQPValue::FieldArray(FieldArray::from(items?))
        }
        Value::Object(fields) => AMQPValue::FieldTable(table(fields)?),
    })
}

fn object(table: &FieldTable) -> Map<String, Value> {
    table.into_iter().map(|(name, field)| (name.to_string(), json(field))).collect()
}

fn json(field: &AMQPValue) -> Value {
    match field {
        AMQPValue::Boolean(yes) => (*yes).into(),
        AMQPValue::ShortShortInt(n) => (*n).into(),
        AMQPValue::ShortShortUInt(n) => (*n).into(),
        AMQPValue::ShortInt(n) => (*n).into(),
        AMQPValue::ShortUInt(n) => (*n).into(),
        AMQPValue::LongInt(n) => (*n).into(),
        AMQPValue::LongUInt(n) => (*n).into(),
        AMQPValue::LongLongInt(n) => (*n).into(),
        AMQPValue::Timestamp(n) => (*n).into(),
        AMQPValue::Float(real) => f64::from(*real).into(),
        AMQPValue::Double(real) => (*real).into(),
        AMQPValue::DecimalValue(decimal) => {
            (f64::from(decimal.value) / 10_f64.powi(decimal.scale.into())).into()
        }
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => bytes(text.as_bytes()),
        AMQPValue::ByteArray(array) => bytes(array.as_slice()),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => object(table).into(),
        AMQPValue::Void => Value::Null,
    }
}

fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => BASE64_STANDARD.encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(json: Value) -> Map<String, Value> {
        let Value::Object(headers) = json else { panic!("not an object") };
        headers
    }

    #[test]
    fn headers_come_back_as_they_went() {
        let there = headers(json!({
            "n": -7, "big": i64::MAX, "real": 1.5, "yes": true, "none": null, "word": "Dún Laoghaire",
            "list": [1, "two", [3]], "deep": {"a": {"b": 1}},
        }));
        assert_eq!(object(&table(&there).unwrap()), there);
    }

    #[test]
    fn bytes_that_are_no_text_come_as_base64() {
        assert_eq!(json(&AMQPValue::LongString(vec![0xff, 0x00].into())), json!("/wA="));
        assert_eq!(json(&AMQPValue::ByteArray(b"abc".as_slice().into())), json!("abc"));
    }

    #[test]
    fn properties_come_back_as_they_went() {
        let there = Properties {
            content_type: Some("application/json".into()),
            persistent: true,
            priority: Some(3),
            correlation_id: Some("7".into()),
            expiration_ms: Some(250),
            timestamp_s: Some(1_700_000_000),
            kind: Some("ride.requested".into()),
            ..Properties::default()
        };
        assert_eq!(Properties::unpack(&there.pack().unwrap()), there);
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_before_it_is_sent() {
        let refused = |message: Message| message.pack(8, 8_192).unwrap_err().to_string();
        let long = "x".repeat(256);
        let why = refused(Message { routing_key: long.clone(), ..Message::default() });
        assert!(why.contains("routing key has 256 bytes"), "{why}");
        let why = refused(Message { body: vec![0; 9].into(), ..Message::default() });
        assert!(why.contains("9 bytes; the limit is 8"), "{why}");
        let why = refused(Message { headers: headers(json!({long: 1})), ..Message::default() });
        assert!(why.contains("name of a header"), "{why}");
        let why =
            refused(Message { headers: headers(json!({"n": u64::MAX})), ..Message::default() });
        assert!(why.contains("beyond AMQP"), "{why}");
        let fat = headers(json!({"fat": "x".repeat(8_192)}));
        let why = refused(Message { headers: fat, ..Message::default() });
        assert!(why.contains("room for 4096"), "{why}");
    }
}
