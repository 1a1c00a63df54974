//! One value for each hour of the day, as city files write them: a number, 24 numbers, or the
//! name of a profile.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// Hours of a day. Clock changes are not walked through.
pub const HOURS: usize = 24;

/// A value by the hour, as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Hours {
    /// The same in every hour.
    Same(f64),
    /// One for each hour, from midnight.
    Each([f64; HOURS]),
    /// As the profile of that name.
    Profile(String),
}

impl Default for Hours {
    fn default() -> Self {
        Self::Same(1.0)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(HoursVisitor)
    }
}

struct HoursVisitor;

impl<'de> Visitor<'de> for HoursVisitor {
    type Value = Hours;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, 24 numbers (one for each hour), or the name of a profile")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Hours, E> {
        Ok(Hours::Same(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Hours, E> {
        Ok(Hours::Same(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Hours, E> {
        Ok(Hours::Same(value as f64))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Hours, E> {
        Ok(Hours::Profile(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Hours, A::Error> {
        let mut values = [0.0; HOURS];
        let mut count = 0;
        while let Some(value) = seq.next_element::<f64>()? {
            if let Some(place) = values.get_mut(count) {
                *place = value;
            }
            count += 1;
        }
        if count == HOURS {
            Ok(Hours::Each(values))
        } else {
            let what =
                format!("needs 24 numbers, one for each hour from midnight, and has {count}");
            Err(A::Error::custom(what))
        }
    }
}
