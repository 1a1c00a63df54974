//! Ids. Strings everywhere: a 41+10+12-bit id does not fit a JSON number.

use std::{fmt, marker::PhantomData, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// An id that a backend gave out: opaque text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub CompactString);

impl Id {
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(compact_str::format_compact!("{number}"))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of robots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RobotKind {
    /// Offers journeys.
    Driver,
    /// Asks for journeys.
    Passenger,
    /// Reads back at the end of a run.
    Auditor,
    /// Asks what is wrong on purpose.
    Rogue,
}

impl RobotKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Driver, Self::Passenger, Self::Auditor, Self::Rogue];

    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Passenger => "passenger",
            Self::Auditor => "auditor",
            Self::Rogue => "rogue",
        }
    }
}

/// One robot of a run, written `driver/00042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RobotId {
    /// What it is.
    pub kind: RobotKind,
    /// Which one, from 0.
    pub number: u32,
}

impl RobotId {
    /// The driver of that number.
    pub const fn driver(number: u32) -> Self {
        Self { kind: RobotKind::Driver, number }
    }

    /// The passenger of that number.
    pub const fn passenger(number: u32) -> Self {
        Self { kind: RobotKind::Passenger, number }
    }

    /// Whom it is to the backend: a rogue plays a passenger or a driver.
    pub const fn plays(self) -> RobotKind {
        match self.kind {
            RobotKind::Rogue if self.rides() => RobotKind::Passenger,
            RobotKind::Rogue => RobotKind::Driver,
            kind => kind,
        }
    }

    /// Whether it plays a passenger, and not a driver: of the rogues every other one does.
    pub const fn rides(self) -> bool {
        match self.kind {
            RobotKind::Driver => false,
            RobotKind::Passenger | RobotKind::Auditor => true,
            RobotKind::Rogue => self.number.is_multiple_of(2),
        }
    }
}

impl fmt::Display for RobotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:05}", self.kind.word(), self.number)
    }
}

/// A text that is not a robot's id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a robot: write it like driver/00042")]
pub struct NotARobot(String);

impl FromStr for RobotId {
    type Err = NotARobot;
    fn from_str(text: &str) -> Result<Self, NotARobot> {
        let wrong = || NotARobot(text.to_owned());
        let (kind, number) = text.split_once('/').ok_or_else(wrong)?;
        let kind =
            RobotKind::ALL.into_iter().find(|known| known.word() == kind).ok_or_else(wrong)?;
        Ok(Self { kind, number: number.parse().map_err(|_| wrong())? })
    }
}

impl Serialize for RobotId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RobotId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Parsed(PhantomData))
    }
}

/// Reads a value from its text, which is not copied: a history has some of them on each line.
struct Parsed<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Serialises a number as a string, for ids in JSON: `#[serde(with = "id::as_text")]`.
pub mod as_text {
    use std::marker::PhantomData;

    use serde::{Deserializer, Serializer};

    use super::Parsed;

    /// A number to its text.
    pub fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    /// The text back to the number.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_str(Parsed(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robots_are_written_and_read_back() {
        let robot = RobotId::driver(42);
        assert_eq!(robot.to_string(), "driver/00042");
        assert_eq!("driver/00042".parse::<RobotId>().unwrap(), robot);
        assert!("tram/1".parse::<RobotId>().is_err());
    }
}
