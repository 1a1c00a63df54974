//! Protobuf bodies of messages that are known only at run time: JSON in, bytes out, and back, by a
//! descriptor set or a `.proto` file. Knows nothing of who sends them.
//!
//! JSON is the one of the proto3 mapping, in both directions:
//! - fields are named in lowerCamelCase (`ride_id` is `rideId`); encoding takes both spellings;
//! - 64-bit integers are strings (`"42"`), encoding takes numbers too; `bytes` are base64;
//! - enums are the names of their values; encoding takes numbers too;
//! - a decoded field without presence is always there, with its zero (`0`, `""`, `false`, `[]`, the
//!   first enum value): a path that asks for it finds it. One with presence (`optional`, a message, a
//!   member of a `oneof`) is there only when it was sent;
//! - `Timestamp` and `Duration` are texts (`2024-05-01T12:00:00Z`, `1.5s`), the wrappers are plain.
//!
//! A field that a message does not have is an error when encoding; when decoding, it is skipped.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, prost::Message as _,
};
use serde_json::Value;

use crate::base::suggest;

/// The messages of a schema.
#[derive(Clone)]
pub struct Schema {
    pool: DescriptorPool,
    from: PathBuf,
}

/// One kind of message.
#[derive(Clone)]
pub struct Codec {
    descriptor: MessageDescriptor,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// A schema that cannot be read.
    #[error("{file}: {why}")]
    Schema {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A message that the schema does not have.
    #[error("{file} has no message `{name}`: {hint}")]
    NoMessage {
        /// The schema's file.
        file: String,
        /// The name that was asked for.
        name: String,
        /// What it has.
        hint: String,
    },
    /// JSON that is not this message.
    #[error("cannot encode as `{message}`: {why}")]
    Encode {
        /// The message.
        message: String,
        /// What is wrong with the JSON.
        why: String,
    },
    /// Bytes that are not this message.
    #[error("cannot decode as `{message}`: {why}")]
    Decode {
        /// The message.
        message: String,
        /// What is wrong with the bytes.
        why: String,
    },
}

impl Schema {
    /// Reads a `.proto` file (its imports are sought beside it) or a descriptor set, which any other
    /// file is taken for (`protoc --include_imports -o FILE`, `buf build -o FILE`).
    pub fn load(path: &Path) -> Result<Self, ProtobufError> {
        Self::load_with(path, &[])
    }

    /// The same, with more folders to seek imports in. When one of them holds the file, it is the
    /// file's root; otherwise its own folder is.
    pub fn load_with(path: &Path, includes: &[PathBuf]) -> Result<Self, ProtobufError> {
        let is_source = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("proto"));
        let pool = if is_source { compile(path, includes) } else { read_set(path) };
        let wrong = |why| ProtobufError::Schema { file: path.display().to_string(), why };
        Ok(Self { pool: pool.map_err(wrong)?, from: path.to_owned() })
    }

    /// A message by its full name, `package.Type`.
    pub fn message(&self, name: &str) -> Result<Codec, ProtobufError> {
        match self.pool.get_message_by_name(name) {
            Some(descriptor) => Ok(Codec { descriptor }),
            None => Err(ProtobufError::NoMessage {
                file: self.from.display().to_string(),
                name: name.to_owned(),
                hint: self.hint(name),
            }),
        }
    }

    /// The full names of all messages, those of Google's own package left out.
    pub fn names(&self) -> Vec<String> {
        let messages = self.pool.all_messages().filter(|message| !message.is_map_entry());
        let mut names: Vec<_> = messages.map(|message| message.full_name().to_owned()).collect();
        names.retain(|name| !name.starts_with("google.protobuf."));
        names.sort();
        names
    }

    fn hint(&self, name: &str) -> String {
        let names = self.names();
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
        // The package is what people leave out or get wrong.
        let same: Vec<_> = names.iter().filter(|known| last(known) == last(name)).collect();
        match same.as_slice() {
            [one] => format!("did you mean `{one}`?"),
            _ if names.is_empty() => "it has no messages at all".into(),
            _ => suggest::must_be_one_of(name, names.iter().map(String::as_str)),
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.from.display())
    }
}

fn compile(path: &Path, includes: &[PathBuf]) -> Result<DescriptorPool, String> {
    let own = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let held = |folder: &&PathBuf| path.starts_with(folder);
    let mut folders: Vec<PathBuf> = includes.iter().filter(held).cloned().collect();
    folders.push(own);
    folders.extend(includes.iter().filter(|folder| !path.starts_with(folder)).cloned());
    // `{:?}` is how this library tells file, line and column.
    let set = protox::compile([path], folders).map_err(|why| format!("{why:?}"))?;
    DescriptorPool::from_file_descriptor_set(set).map_err(|why| why.to_string())
}

fn read_set(path: &Path) -> Result<DescriptorPool, String> {
    let bytes = std::fs::read(path).map_err(|why| why.to_string())?;
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    DescriptorPool::decode(bytes.as_slice()).map_err(|why| {
        format!("not a complete descriptor set (protoc --include_imports -o FILE): {why}")
    })
}

impl Codec {
    /// The full name of the message.
    pub fn name(&self) -> &str {
        self.descriptor.full_name()
    }

    /// JSON to bytes. Unknown fields and enum values are errors.
    pub fn encode(&self, json: &Value) -> Result<Bytes, ProtobufError> {
        let message = DynamicMessage::deserialize(self.descriptor.clone(), json);
        let message = message.map_err(|why| ProtobufError::Encode {
            message: self.name().to_owned(),
            why: self.explain(&why.to_string(), json),
        })?;
        Ok(message.encode_to_vec().into())
    }

    /// Bytes to JSON.
    pub fn decode(&self, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let wrong = |why: String| ProtobufError::Decode { message: self.name().to_owned(), why };
        let message = DynamicMessage::decode(self.descriptor.clone(), bytes)
            .map_err(|why| wrong(why.to_string()))?;
        let options = SerializeOptions::new().skip_default_fields(false);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|why| wrong(why.to_string()))
    }

    /// The library names an unknown field, but not what there is.
    fn explain(&self, why: &str, json: &Value) -> String {
        let Some((path, descriptor, field)) = stranger(&self.descriptor, json, "") else {
            return why.to_owned();
        };
        let names: Vec<_> = descriptor.fields().map(|f| f.json_name().to_owned()).collect();
        let message = descriptor.full_name();
        if names.is_empty() {
            return format!("`{path}{field}` is not known: `{message}` has no fields");
        }
        let hint = suggest::must_be_one_of(&field, names.iter().map(String::as_str));
        format!("`{path}{field}` is not a field of `{message}`: {hint}")
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec({})", self.name())
    }
}

/// The first field of `json` that its message does not have: where, in what, which.
fn stranger(
    descriptor: &MessageDescriptor,
    json: &Value,
    path: &str,
) -> Option<(String, MessageDescriptor, String)> {
    // Messages of that package have JSON of their own.
    if descriptor.full_name().starts_with("google.protobuf.") {
        return None;
    }
    for (name, value) in json.as_object()? {
        let field =
            descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        let Some(field) = field else {
            return Some((path.to_owned(), descriptor.clone(), name.clone()));
        };
        let Some(inner) = field.kind().as_message().cloned() else { continue };
        let found = if field.is_map() {
            let Some(inner) = inner.map_entry_value_field().kind().as_message().cloned() else {
                continue;
            };
            let mut entries = value.as_object().into_iter().flatten();
            entries.find_map(|(key, v)| stranger(&inner, v, &format!("{path}{name}.{key}.")))
        } else if field.is_list() {
            let mut items = value.as_array().into_iter().flatten().enumerate();
            items.find_map(|(n, v)| stranger(&inner, v, &format!("{path}{name}[{n}].")))
        } else {
            stranger(&inner, value, &format!("{path}{name}."))
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const COMMON: &str = "syntax = \"proto3\"; package acme.common;\n\
        message Position { double lat = 1; double lon = 2; }";
    const RIDE: &str = r#"syntax = "proto3";
        package acme.rides;
        import "common.proto";
        import "google/protobuf/timestamp.proto";
        enum State { UNKNOWN = 0; REQUESTED = 1; MATCHED = 2; }
        message Stop { acme.common.Position at = 1; string name = 2; }
        message Ride {
            int64 ride_id = 1;
            State state = 2;
            bytes token = 3;
            repeated Stop stops = 4;
            map<string, Stop> by_name = 5;
            optional uint32 fare_cents = 6;
            google.protobuf.Timestamp asked_at = 7;
        }
        message Cancel { int64 ride_id = 1; }
    "#;

    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("common.proto"), COMMON).unwrap();
        fs::write(folder.path().join("ride.proto"), RIDE).unwrap();
        folder
    }

    fn ride() -> Codec {
        let folder = folder();
        Schema::load(&folder.path().join("ride.proto")).unwrap().message("acme.rides.Ride").unwrap()
    }

    #[test]
    fn json_comes_back_as_the_mapping_says() {
        let there = json!({
            "ride_id": 42, "state": "MATCHED", "token": "/wA=",
            "stops": [{"at": {"lat": 53.3, "lon": -6.25}, "name": "Quay"}],
            "byName": {"home": {"name": "Home"}}, "askedAt": "2024-05-01T12:00:00Z",
        });
        let back = ride().decode(&ride().encode(&there).unwrap()).unwrap();
        let expected = json!({
            "rideId": "42", "state": "MATCHED", "token": "/wA=",
            "stops": [{"at": {"lat": 53.3, "lon": -6.25}, "name": "Quay"}],
            "byName": {"home": {"name": "Home"}}, "askedAt": "2024-05-01T12:00:00Z",
        });
        assert_eq!(back, expected);
        // The same once more, from what came back: strings for integers are taken too.
        assert_eq!(ride().encode(&back).unwrap(), ride().encode(&there).unwrap());
    }

    #[test]
    fn fields_without_presence_are_always_there() {
        let empty = ride().decode(&[]).unwrap();
        let expected =
            json!({"rideId": "0", "state": "UNKNOWN", "token": "", "stops": [], "byName": {}});
        assert_eq!(empty, expected);
        let sent = ride().encode(&json!({"fareCents": 0})).unwrap();
        assert_eq!(ride().decode(&sent).unwrap()["fareCents"], json!(0));
    }

    #[test]
    fn a_descriptor_set_says_the_same_as_its_source() {
        let folder = folder();
        let set = protox::compile(["ride.proto"], [folder.path()]).unwrap();
        let file = folder.path().join("ride.binpb");
        fs::write(&file, set.encode_to_vec()).unwrap();
        let codec = Schema::load(&file).unwrap().message("acme.rides.Ride").unwrap();
        let json = json!({"rideId": "7", "stops": [{"name": "Quay"}]});
        assert_eq!(codec.encode(&json).unwrap(), ride().encode(&json).unwrap());
    }

    #[test]
    fn a_descriptor_set_without_its_imports_says_how_to_make_one() {
        let folder = folder();
        let mut set = protox::compile(["ride.proto"], [folder.path()]).unwrap();
        set.file.retain(|file| file.name() == "ride.proto");
        let file = folder.path().join("ride.pb");
        fs::write(&file, set.encode_to_vec()).unwrap();
        let why = Schema::load(&file).unwrap_err().to_string();
        assert!(why.contains("--include_imports") && why.contains("ride.pb"), "{why}");
        fs::write(&file, "").unwrap();
        assert!(Schema::load(&file).unwrap_err().to_string().contains("empty"));
        let why = Schema::load(&folder.path().join("none.pb")).unwrap_err().to_string();
        assert!(why.contains("none.pb: No such file"), "{why}");
    }

    #[test]
    fn imports_from_a_root_above_are_found_with_an_include() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("acme");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("common.proto"), COMMON).unwrap();
        let file = inner.join("ride.proto");
        fs::write(&file, RIDE.replace("\"common.proto\"", "\"acme/common.proto\"")).unwrap();
        assert!(Schema::load(&file).is_err());
        let schema = Schema::load_with(&file, &[folder.path().to_owned()]).unwrap();
        assert!(schema.message("acme.common.Position").is_ok());
    }

    #[test]
    fn a_source_that_is_wrong_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad.proto");
        fs::write(&file, "syntax = \"proto3\";\nmessage Ride { Rode rode = 1; }").unwrap();
        let why = Schema::load(&file).unwrap_err().to_string();
        assert!(why.contains("bad.proto:2:") && why.contains("Rode"), "{why}");
    }

    #[test]
    fn a_wrong_name_of_a_message_is_answered_with_the_near_ones() {
        let folder = folder();
        let schema = Schema::load(&folder.path().join("ride.proto")).unwrap();
        let why = |name| schema.message(name).unwrap_err().to_string();
        assert!(why("Ride").contains("did you mean `acme.rides.Ride`?"), "{}", why("Ride"));
        assert!(why("acme.ride.ride").contains("did you mean `acme.rides.Ride`?"));
        assert!(why("acme.rides.Cancle").contains("did you mean `acme.rides.Cancel`?"));
        assert!(why("Umbrella").contains("must be one of acme.common.Position, acme.rides.Cancel"));
    }

    #[test]
    fn what_a_message_does_not_have_is_named_with_its_place() {
        let why = |json: Value| ride().encode(&json).unwrap_err().to_string();
        let far = why(json!({"stops": [{}, {"nmae": "Quay"}]}));
        assert!(far.contains("`stops[1].nmae` is not a field of `acme.rides.Stop`"), "{far}");
        assert!(far.contains("did you mean `name`?"), "{far}");
        let far = why(json!({"byName": {"home": {"at": {"lng": 1}}}}));
        assert!(
            far.contains("`byName.home.at.lng` is not a field of `acme.common.Position`"),
            "{far}"
        );
        assert!(why(json!({"state": "LOST"})).contains("LOST"));
        assert!(why(json!({"rideId": "seven"})).contains("acme.rides.Ride"));
        assert!(why(json!([])).contains("acme.rides.Ride"));
    }

    #[test]
    fn bytes_of_something_else_are_refused() {
        for bytes in [&b"{\"rideId\": 7}"[..], &[0x0a, 0xff]] {
            let why = ride().decode(bytes).unwrap_err().to_string();
            assert!(why.starts_with("cannot decode as `acme.rides.Ride`: "), "{why}");
        }
    }
}
