//! What is read of an OpenAPI 3 document, in JSON or YAML: where it is, and each operation with its
//! words, body and answer. Chooses nothing.

use serde_json::{Map, Value};

/// References that are followed from one to the next.
const REFERENCES_MAX: usize = 16;

/// A document.
pub struct Document {
    pub title: String,
    /// Where it is; `None` where that is not told as a whole URL.
    pub url: Option<String>,
    /// The header with the token, and its value.
    pub auth: Option<(String, String)>,
    pub operations: Vec<Operation>,
    root: Value,
}

/// One operation of it.
pub struct Operation {
    /// In capitals.
    pub method: String,
    pub path: String,
    /// Words of its path and its id, in small letters.
    pub words: Vec<String>,
    /// `json` or `form`, and the schema.
    pub body: Option<(&'static str, Value)>,
    /// The schema of the answer that says yes.
    pub answer: Option<Value>,
    /// No token is asked for; `None` where nothing is said.
    pub open: Option<bool>,
}

impl Document {
    /// Reads it; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root: Value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|why| why.to_string())?
        } else {
            serde_saphyr::from_str(text).map_err(|why| why.to_string())?
        };
        let version = root["openapi"].as_str().unwrap_or_default();
        if !version.starts_with("3.") {
            return Err(
                "it has no `openapi: 3.…` (version 2, Swagger, must be converted first)".into()
            );
        }
        let Some(paths) = root["paths"].as_object() else {
            return Err("it has no `paths`".into());
        };
        let mut document = Self {
            title: root["info"]["title"].as_str().unwrap_or("mine").to_owned(),
            url: url(&root["servers"][0]),
            auth: auth(&root),
            operations: Vec::new(),
            root: Value::Null,
        };
        document.root = root.clone();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                    let operation = document.operation(path, method, operation);
                    document.operations.push(operation);
                }
            }
        }
        Ok(document)
    }

    fn operation(&self, path: &str, method: &str, operation: &Value) -> Operation {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let body = self.resolved(&operation["requestBody"]);
        let body = [("application/json", "json"), ("application/x-www-form-urlencoded", "form")]
            .into_iter()
            .find_map(|(kind, word)| {
                let schema = body.get("content")?.get(kind)?.get("schema")?;
                Some((word, self.resolved(schema)))
            });
        let answers = operation["responses"].as_object();
        let yes = answers.into_iter().flatten().find(|(status, _)| status.starts_with('2'));
        let answer = yes.and_then(|(_, answer)| {
            let answer = self.resolved(answer);
            Some(self.resolved(answer.get("content")?.get("application/json")?.get("schema")?))
        });
        let security = operation.get("security").or_else(|| self.root.get("security"));
        Operation {
            method: method.to_uppercase(),
            path: path.to_owned(),
            words: words(path).into_iter().chain(words(id)).collect(),
            body,
            answer,
            open: security.and_then(Value::as_array).map(Vec::is_empty),
        }
    }

    /// What a reference leads to, and `allOf` put together; anything else as it is.
    pub fn resolved(&self, value: &Value) -> Value {
        let mut value = value;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { break };
            let pointer = reference.strip_prefix('#').unwrap_or_default();
            match self.root.pointer(pointer) {
                Some(found) => value = found,
                None => return Value::Null,
            }
        }
        let Some(parts) = value.get("allOf").and_then(Value::as_array) else {
            return value.clone();
        };
        let mut properties = Map::new();
        for part in parts.iter().take(REFERENCES_MAX) {
            let part = match part.get("$ref") {
                Some(_) => self.resolved(part),
                None => part.clone(),
            };
            if let Some(more) = part["properties"].as_object() {
                properties.extend(more.clone());
            }
        }
        serde_json::json!({ "properties": properties })
    }
}

/// A whole URL of a server, its variables filled in.
fn url(server: &Value) -> Option<String> {
    let mut url = server["url"].as_str()?.trim_end_matches('/').to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        let value = variable["default"].as_str().unwrap_or("TODO");
        url = url.replace(&format!("{{{name}}}"), value);
    }
    url.contains("://").then_some(url)
}

fn auth(root: &Value) -> Option<(String, String)> {
    let schemes = root["components"]["securitySchemes"].as_object()?;
    schemes.values().find_map(|scheme| {
        let kind = scheme["type"].as_str()?;
        let bearer = kind == "oauth2"
            || kind == "openIdConnect"
            || kind == "http" && scheme["scheme"].as_str()?.eq_ignore_ascii_case("bearer");
        if bearer {
            return Some(("authorization".into(), "Bearer {{ me.token }}".into()));
        }
        let header = kind == "apiKey" && scheme["in"] == "header";
        let name = scheme["name"].as_str().filter(|_| header)?;
        Some((name.to_lowercase(), "{{ me.token }}".into()))
    })
}

/// `/rides/{rideId}/pickUp` as rides, rideid, pick, up, pickup…: names in camel case count whole and
/// in parts.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        let mut word = String::new();
        let mut parts = Vec::new();
        for c in part.chars() {
            if c.is_ascii_uppercase() && !word.is_empty() {
                parts.push(std::mem::take(&mut word));
            }
            word.push(c.to_ascii_lowercase());
        }
        parts.push(word);
        if parts.len() > 1 {
            all.push(part.to_lowercase());
        }
        all.extend(parts);
    }
    all
}
