//! A histogram as a field of a record: the compact form of its library, in base64. Merging what was
//! read gives what would have been counted at once.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer as FromBytes, Serializer as _, V2Serializer},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// Times in microseconds, to three digits.
#[derive(Debug, Clone, PartialEq)]
pub struct Times(pub Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "three digits are within the library's bounds")]
        Self(Histogram::new(3).expect("three significant digits"))
    }
}

impl Times {
    /// Counts a span, at least a microsecond (a histogram holds no zero).
    pub fn record(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        // A histogram that resizes itself refuses nothing below its 64 bits.
        let _ = self.0.record(us);
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).map_err(ser::Error::custom)?;
        to.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        let read = FromBytes::new().deserialize(&mut &bytes[..]);
        read.map(Self).map_err(|why| de::Error::custom(format!("{why:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_a_record() {
        let mut times = Times::default();
        for us in [1, 412, 9_999, 3_600_000_000] {
            times.0.record(us).unwrap();
        }
        let text = serde_json::to_string(&times).unwrap();
        let read: Times = serde_json::from_str(&text).unwrap();
        assert_eq!((read.0.len(), read.0.max()), (4, times.0.max()));
        assert_eq!(read.0.value_at_quantile(0.5), times.0.value_at_quantile(0.5));
        assert!(serde_json::from_str::<Times>("\"bm90IG9uZQ==\"").is_err());
    }
}
