//! The JSON Schema of a line of a history, for whoever writes or reads one. It is made from the very
//! types that are written; only what stands in a file in words of its own is told here.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{record::Record, times::Times};
use crate::base::{
    id::{Id, RobotId},
    name::NodeName,
    place::Place,
    span::Span,
    time::Time,
};

/// The schema of one line.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Record);
    schema.insert("title".into(), "One line of a history of Robot City".into());
    schema
}

macro_rules! words {
    ($($type:ty = $name:literal, $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

words! {
    Id = "Id", json_schema!({ "type": "string", "description": "An id, always as text." });
    NodeName = "NodeName", json_schema!({
        "type": "string",
        "description": "A node of the backend, like a/core-1.",
    });
    RobotId = "RobotId", json_schema!({
        "type": "string",
        "pattern": "^(driver|passenger|auditor|rogue)/[0-9]+$",
        "description": "A robot, like driver/00042.",
    });
    Time = "Time", json_schema!({
        "type": "integer",
        "minimum": 0,
        "description": "Nanoseconds since the run began.",
    });
    Span = "Span", json_schema!({
        "type": "string",
        "description": "A span of time, like 90s, 250ms or 1h 30m.",
    });
    Place = "Place", json_schema!({
        "type": "array",
        "description": "A place: latitude and longitude in millionths of a degree.",
        "items": { "type": "integer" },
        "minItems": 2,
        "maxItems": 2,
    });
    Times = "Times", json_schema!({
        "type": "string",
        "description": "An HdrHistogram of microseconds (V2, uncompressed), in base64.",
    });
}
