//! `target init`: a first mapping file, from nothing or from an OpenAPI document. Never writes over
//! one that is there.

mod matching;
mod openapi;
mod written;

use std::{fs::OpenOptions, io::Write as _, path::Path};

use crate::base::file::{FileError, Source};

/// A mapping with a comment on everything.
pub const STARTING_POINT: &str = include_str!("../../target/mapped/starting_point.toml");

/// Writes a first mapping to `file`; tells what is left to do.
pub fn init(file: &Path, openapi: Option<&Path>) -> anyhow::Result<()> {
    let text = match openapi {
        None => STARTING_POINT.to_owned(),
        Some(spec) => from_openapi(spec)?,
    };
    put(file, &text)?;
    println!("{} is written", file.display());
    let todo = text.lines().filter(|line| line.contains("TODO")).count();
    if todo > 0 {
        println!("{todo} lines of it say TODO: what the document does not tell");
    }
    if let Err(error) = super::target_check::compile(&Source::new(file, &text), "init") {
        println!("what is wrong with it still: {error}");
    }
    println!("next: robot-city target check {}", crate::base::shell::word(&file.to_string_lossy()));
    Ok(())
}

/// The mapping that an OpenAPI document gives.
pub fn from_openapi(spec: &Path) -> anyhow::Result<String> {
    let text = Source::read(spec)?.text;
    let document = openapi::Document::parse(&text)
        .map_err(|why| FileError::whole(spec, format!("is no OpenAPI document: {why}")))?;
    let chosen = matching::choose(&document.operations);
    Ok(written::text(&document, &chosen))
}

fn put(file: &Path, text: &str) -> Result<(), FileError> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            FileError::whole(file, "is there already, and is not written over: choose another name")
        }
        _ => FileError::whole(file, format!("cannot be written: {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::target_check::compile;

    const SPEC: &str = r##"
openapi: 3.0.3
info: { title: Fleet, version: "1" }
servers: [{ url: "http://127.0.0.1:9000/api" }]
components:
  securitySchemes: { token: { type: http, scheme: bearer } }
  schemas:
    Point: { type: object, properties: { lat: { type: number }, lng: { type: number } } }
    Ride:
      type: object
      properties:
        ride_id: { type: string }
        status: { type: string, enum: [SEARCHING, CONFIRMED, ON_THE_WAY, DONE, CANCELLED] }
paths:
  /auth/register:
    post:
      requestBody: { content: { application/json: { schema: { properties: { phone: {}, password: {}, role: {}, shoe_size: {} } } } } }
      responses: { "201": { content: { application/json: { schema: { properties: { user_id: {} } } } } } }
  /auth/login:
    post:
      requestBody: { content: { application/json: { schema: { properties: { phone: {}, password: {} } } } } }
      responses: { "200": { content: { application/json: { schema: { properties: { data: { properties: { access_token: {} } } } } } } } }
  /drivers/me/online: { post: { responses: {} } }
  /drivers/me/location:
    put:
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Point" } } } }
      responses: {}
  /drivers/me/offers: { get: { responses: {} } }
  /rides:
    post:
      requestBody: { content: { application/json: { schema: { properties: { pickup: { $ref: "#/components/schemas/Point" }, dropoff: { $ref: "#/components/schemas/Point" } } } } } }
      responses: { "201": { content: { application/json: { schema: { $ref: "#/components/schemas/Ride" } } } } }
  /rides/{rideId}:
    get: { responses: { "200": { content: { application/json: { schema: { $ref: "#/components/schemas/Ride" } } } } } }
  /rides/{rideId}/accept: { post: { responses: {} } }
  /rides/{rideId}/arrived: { post: { responses: {} } }
  /rides/{rideId}/start: { post: { responses: {} } }
  /rides/{rideId}/complete: { post: { responses: {} } }
  /rides/{rideId}/cancel: { post: { responses: {} } }
  /weather: { get: { responses: {} } }
"##;

    #[test]
    fn the_starting_point_is_a_sound_mapping() {
        let source = Source::new(Path::new("starting_point.toml"), STARTING_POINT);
        if let Err(error) = compile(&source, "test") {
            panic!("{error}");
        }
    }

    #[test]
    fn a_document_becomes_a_mapping() {
        let folder = tempfile::tempdir().unwrap();
        let spec = folder.path().join("spec.yaml");
        std::fs::write(&spec, SPEC).unwrap();
        let text = from_openapi(&spec).unwrap();
        for line in [
            "url = \"http://127.0.0.1:9000/api\"",
            "[driver.register]\npost = \"/auth/register\"\nopen = true",
            "shoe_size = \"TODO\"",
            "keep.token = \"$.data.access_token\"",
            "put = \"/drivers/me/location\"",
            "[passenger.request_job]\npost = \"/rides\"",
            "pickup = { lat = \"{{ at.lat }}\", lng = \"{{ at.lon }}\" }",
            "dropoff = { lat = \"{{ to.lat }}\", lng = \"{{ to.lon }}\" }",
            "[passenger.job_status]\nget = \"/rides/{{ job.id }}\"",
            "[driver.drop_off]\npost = \"/rides/{{ job.id }}/complete\"",
            "how = \"poll\"",
            "completed = [\"DONE\"]",
            "id = \"$.ride_id\"",
            "#   GET /weather",
        ] {
            assert!(text.contains(line), "no `{line}` in:\n{text}");
        }
        if let Err(error) = compile(&Source::new(Path::new("made.toml"), &text), "test") {
            panic!("{error}\n{text}");
        }
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        init(&file, None).unwrap();
        let error = init(&file, None).unwrap_err().to_string();
        assert!(error.contains("is not written over"), "{error}");
    }
}
